//! [`Log`]: the log of purges of a store in memory, which evicts none of it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::PutNew;
use crate::error::BoxError;

/// The values of the log. It refuses a value beyond its limit, because nobody would notice that another one was dropped.
#[derive(Default)]
pub(super) struct Log(Mutex<Values>);

#[derive(Default)]
struct Values {
    by_key: HashMap<Box<str>, Bytes>,
    weight: usize,
}

impl Log {
    pub(super) fn get(&self, key: &str) -> Option<Bytes> {
        self.values().by_key.get(key).cloned()
    }

    pub(super) fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.values().put(key, value)
    }

    pub(super) fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        let mut values = self.values();
        if values.by_key.contains_key(key) {
            return Ok(PutNew::Exists);
        }
        values.put(key, value)?;
        Ok(PutNew::Created)
    }

    pub(super) fn remove(&self, key: &str) {
        let mut values = self.values();
        if let Some(value) = values.by_key.remove(key) {
            values.weight = values.weight.saturating_sub(weight(key, &value));
        }
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Values {
    fn put(&mut self, key: &str, value: Bytes) -> Result<(), BoxError> {
        let replaced = self.by_key.get(key).map_or(0, |replaced| weight(key, replaced));
        let weight = self.weight.saturating_sub(replaced).saturating_add(weight(key, &value));
        if weight > LIMIT {
            return Err("the log of purges is full".into());
        }
        self.weight = weight;
        self.by_key.insert(key.into(), value);
        Ok(())
    }
}

fn weight(key: &str, value: &Bytes) -> usize {
    key.len().saturating_add(value.len()).saturating_add(ENTRY_OVERHEAD)
}

/// More than the cache keeps: it folds its log into few values before.
const LIMIT: usize = 4 << 20;

/// The bytes of a map's entry and of its two allocations, roughly.
const ENTRY_OVERHEAD: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_refuses_a_value_and_drops_none() {
        let log = Log::default();
        let value = Bytes::from(vec![7; (1 << 20) - 1000]);
        for key in ["p/1", "p/2", "p/3", "p/4"] {
            assert_eq!(log.put_new(key, value.clone()).unwrap(), PutNew::Created);
        }
        assert!(log.put_new("p/5", value.clone()).is_err());
        assert!(log.put("p/5", value.clone()).is_err());
        assert_eq!(log.get("p/5"), None);
        // A value in the place of another takes no more room.
        for _ in 0..10 {
            log.put("p/4", value.clone()).unwrap();
        }
        assert_eq!(log.put_new("p/1", value.clone()).unwrap(), PutNew::Exists);
        for key in ["p/1", "p/2", "p/3", "p/4"] {
            assert_eq!(log.get(key).unwrap(), value);
            log.remove(key);
            log.remove(key);
        }
        assert_eq!(log.values().weight, 0);
    }
}
