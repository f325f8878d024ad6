//! The queue of values on their way to the disk.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex as SyncMutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::Mutex;

use crate::error::BoxError;

/// The bytes put and written since the store was opened. A caller also holds its lock while it passes a change to
/// foyer, so that all changes have one order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) put: u64,
    pub(super) written: u64,
    /// A write failed. The store writes no more.
    pub(super) has_failed: bool,
    /// A task waits until all values are written.
    pub(super) is_watched: bool,
    pub(super) waiting: VecDeque<Arc<Waiting>>,
    pub(super) by_key: HashMap<Arc<str>, Arc<Waiting>>,
}

impl Queue {
    pub(super) fn push(&mut self, key: &str, end: u64) -> Arc<Waiting> {
        let waiting = Arc::new(Waiting { key: key.into(), end, is_lost: false.into() });
        self.put = end;
        self.waiting.push_back(Arc::clone(&waiting));
        self.by_key.insert(Arc::clone(&waiting.key), Arc::clone(&waiting));
        waiting
    }

    /// How much must be written until no value of the key waits.
    pub(super) fn end_of(&self, key: &str) -> u64 {
        self.by_key.get(key).map_or(0, |waiting| waiting.end)
    }

    pub(super) fn until(&self, end: u64) -> impl Iterator<Item = &Arc<Waiting>> {
        self.waiting.iter().take_while(move |waiting| waiting.end <= end)
    }

    /// Marks the puts until `end` as written.
    pub(super) fn pass(&mut self, end: u64) {
        let count = self.until(end).count();
        for waiting in self.waiting.drain(..count) {
            self.by_key.remove(&waiting.key);
        }
        self.written = end;
    }

    /// Notes that foyer may have taken the key out of its index.
    pub(super) fn lose(&self, key: &str) {
        if let Some(waiting) = self.by_key.get(key) {
            waiting.is_lost.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_written(&self, much: u64) -> Result<bool, BoxError> {
        self.check()?;
        Ok(self.written >= much)
    }

    pub(super) fn check(&self) -> Result<(), BoxError> {
        if self.has_failed {
            return Err(NOT_WRITTEN.into());
        }
        Ok(())
    }
}

/// A value that waits to be written. Each key has at most one.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) key: Arc<str>,
    /// How much must be written until this value is.
    pub(super) end: u64,
    is_lost: AtomicBool,
}

impl Waiting {
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}

/// The state that some of the keys share.
#[derive(Default)]
pub(super) struct Stripe {
    pub(super) reading: Mutex<()>,
    turn: SyncMutex<()>,
    /// The number of puts and removes of these keys.
    changes: AtomicU64,
    /// How much was put when foyer may have lost a key that is on the disk. 0 if it never did.
    doubted: AtomicU64,
}

impl Stripe {
    /// A turn in which foyer may take one of the keys out of its index. Between two turns, a read waits for the disk,
    /// or for its next poll. A caller that must know which keys foyer took out waits for a turn.
    pub(super) fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a change.
    pub(super) fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn doubt(&self, put: u64) {
        self.doubted.store(put.max(1), Ordering::Relaxed);
    }

    pub(super) fn doubted(&self) -> u64 {
        self.doubted.load(Ordering::Relaxed)
    }
}

pub(super) const NOT_WRITTEN: &str = "disk was not written";
