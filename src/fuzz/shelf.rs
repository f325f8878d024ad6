//! The clock and the store of a run.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;

use super::origin::START;
use crate::{BoxError, Clock, Store};

/// A clock that a script sets. Clones are one.
#[derive(Clone, Debug)]
pub(super) struct Hand(Arc<AtomicU64>);

impl Hand {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    /// Moves the clock, and tells its seconds.
    pub(super) fn moved(&self, by: i64) -> u64 {
        let now = self.0.load(Ordering::Relaxed).saturating_add_signed(by);
        self.0.store(now, Ordering::Relaxed);
        now
    }
}

impl Clock for Hand {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// Each with the number of its put: keys are random, and a run is to be the same each time.
type Values = HashMap<String, (usize, Bytes)>;

/// A store that forgets what it is told to. Clones are one.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    values: Arc<Mutex<Values>>,
    can_alter: bool,
    capacity: Option<u64>,
}

impl Shelf {
    pub(super) fn new(can_alter: bool, capacity: Option<u64>) -> Self {
        Self { values: Arc::default(), can_alter, capacity }
    }

    /// Forgets one value, if there are any.
    pub(super) fn evict(&self, number: u8) {
        let mut values = self.values();
        let mut keys: Vec<_> = values.iter().map(|(key, (put, _))| (*put, key.clone())).collect();
        keys.sort();
        let chosen = usize::from(number).checked_rem(keys.len()).and_then(|index| keys.get(index));
        if let Some((_, key)) = chosen {
            values.remove(key);
        }
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Shelf {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        Ok(self.values().get(key).map(|(_, value)| value.clone()))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        let mut values = self.values();
        let put = values.values().map(|(put, _)| put + 1).max().unwrap_or_default();
        values.insert(key.to_owned(), (put, value));
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.values().remove(key);
        Ok(())
    }

    fn can_alter(&self) -> bool {
        self.can_alter
    }

    fn capacity(&self) -> Option<u64> {
        self.capacity
    }
}
