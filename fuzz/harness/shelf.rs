//! The clock and the store of a run.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tower_video_cache::{BoxError, Clock, Store};

use super::{
    modes::{Harm, Mishap},
    origin::START,
};

/// A clock that a script sets. Clones share one time.
#[derive(Clone, Debug)]
pub(super) struct Hand(Arc<AtomicU64>);

impl Hand {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    /// Moves the clock, and returns its seconds.
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

/// Each value has the number of its put. Keys are random, so the numbers make each run the same.
type Values = HashMap<String, (usize, Bytes)>;

/// A store that forgets values on demand. Clones share one.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    values: Arc<Mutex<Values>>,
    can_alter: bool,
    capacity: Option<u64>,
    /// The mishaps to come, and the number of calls since they were set.
    mishaps: Arc<Mutex<(Vec<Mishap>, u8)>>,
    /// Whether any call has failed yet.
    has_failed: Arc<AtomicBool>,
}

impl Shelf {
    pub(super) fn new(can_alter: bool, capacity: Option<u64>) -> Self {
        Self {
            values: Arc::default(),
            can_alter,
            capacity,
            mishaps: Arc::default(),
            has_failed: Arc::default(),
        }
    }

    /// Whether any call has failed yet.
    pub(super) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed)
    }

    /// Sets the mishaps from now on.
    pub(super) fn expect(&self, mishaps: &[Mishap]) {
        *self.mishaps() = (mishaps.to_vec(), 0);
    }

    /// Forgets one value, if there is one.
    pub(super) fn evict(&self, number: u8) {
        if let Some(key) = self.chosen(number) {
            self.values().remove(&key);
        }
    }

    /// Lets the mishaps happen that are due before a call.
    ///
    /// # Errors
    ///
    /// The call is one that must fail.
    fn called(&self) -> Result<(), BoxError> {
        let mut expected = self.mishaps();
        let calls = expected.1;
        expected.1 = calls.saturating_add(1);
        let due: Vec<_> = expected.0.iter().copied().filter(|mishap| mishap.after == calls).collect();
        drop(expected);
        for Mishap { harm, number, .. } in due {
            match harm {
                Harm::Lost => self.evict(number),
                Harm::Altered => self.alter(number),
                Harm::Failed => {
                    self.has_failed.store(true, Ordering::Relaxed);
                    return Err("failed by the script".into());
                }
            }
        }
        Ok(())
    }

    fn alter(&self, number: u8) {
        let Some(key) = self.chosen(number).filter(|_| self.can_alter) else { return };
        if let Some((_, value)) = self.values().get_mut(&key) {
            let mut altered = value.to_vec();
            let place = usize::from(number) * 7 % altered.len().max(1);
            if let Some(byte) = altered.get_mut(place) {
                *byte ^= 1;
            }
            *value = altered.into();
        }
    }

    fn chosen(&self, number: u8) -> Option<String> {
        let values = self.values();
        let mut keys: Vec<_> = values.iter().map(|(key, (put, _))| (*put, key.clone())).collect();
        keys.sort();
        let chosen = usize::from(number).checked_rem(keys.len())?;
        keys.get(chosen).map(|(_, key)| key.clone())
    }

    fn mishaps(&self) -> MutexGuard<'_, (Vec<Mishap>, u8)> {
        self.mishaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Shelf {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.called()?;
        Ok(self.values().get(key).map(|(_, value)| value.clone()))
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.called()?;
        let mut values = self.values();
        let put = values.values().map(|(put, _)| put + 1).max().unwrap_or_default();
        values.insert(key.to_owned(), (put, value));
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.called()?;
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
