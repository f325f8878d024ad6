//! A bounded set of keys with an open question.

use std::collections::HashSet;

/// A bounded set. Once it had to leave out a key, it is over for good: any key may be the missing one.
#[derive(Default)]
pub(super) struct Keys {
    keys: HashSet<Box<str>>,
    is_over: bool,
}

impl Keys {
    pub(super) fn add(&mut self, key: &str, most: usize) {
        if self.keys.len() < most {
            self.keys.insert(key.into());
        } else {
            self.is_over |= !self.keys.contains(key);
        }
    }

    pub(super) fn settle(&mut self, key: &str) {
        self.keys.remove(key);
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.keys.contains(key)
    }

    /// Whether the set had to leave out a key.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}
