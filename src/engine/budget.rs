//! How much the fills under way have promised to the store.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    Arc,
};

/// A bound on the bytes of all fills under way together: were they to fill more than half of the store, they
/// would push out each other's first chunks before the last were there.
pub(crate) struct Budget {
    limit: u64,
    promised: AtomicU64,
}

impl Budget {
    /// For a store that holds `capacity` bytes, where that is known.
    pub(crate) fn for_capacity(capacity: Option<u64>) -> Self {
        Self::of(capacity.map_or(u64::MAX, |capacity| capacity / 2))
    }

    /// For at most `limit` bytes.
    pub(crate) fn of(limit: u64) -> Self {
        Self { limit, promised: AtomicU64::new(0) }
    }

    /// Whether `bytes` would ever fit, were nothing else promised.
    pub(crate) fn could_hold(&self, bytes: u64) -> bool {
        bytes <= self.limit
    }

    /// A promise of `bytes`, if there is room for it.
    pub(crate) fn promise(self: &Arc<Self>, bytes: u64) -> Option<Promise> {
        let mut promise = Promise { budget: Arc::clone(self), bytes: 0 };
        promise.grow(bytes).then_some(promise)
    }
}

/// Bytes promised to the store; given back when dropped.
pub(crate) struct Promise {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Promise {
    /// Bytes promised so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Promises `more` bytes; `false`, and nothing changes, if there is no room for them.
    pub(crate) fn grow(&mut self, more: u64) -> bool {
        let grown = |promised: u64| promised.checked_add(more).filter(|sum| *sum <= self.budget.limit);
        let fits = self.budget.promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok();
        if fits {
            self.bytes += more;
        }
        fits
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.budget.promised.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promises_never_exceed_half_the_capacity_and_come_back() {
        let budget = Arc::new(Budget::for_capacity(Some(100)));
        let mut first = budget.promise(30).unwrap();
        assert!(budget.promise(21).is_none());
        assert!(first.grow(20));
        assert!(!first.grow(1));
        assert!(!first.grow(u64::MAX));
        drop(first);
        assert!(budget.promise(50).is_some());
    }

    #[test]
    fn an_unknown_capacity_holds_nothing_back() {
        let budget = Arc::new(Budget::for_capacity(None));
        assert!(budget.promise(u64::MAX).is_some());
    }
}
