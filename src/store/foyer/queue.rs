//! The queue of values on their way to the disk.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    mem,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Mutex as SyncMutex, MutexGuard, PoisonError,
    },
};

use tokio::sync::Mutex;

use super::{
    blocks::{record, remove_all},
    code::{Key, Value},
    inside::Inside,
    length, TOO_LARGE,
};
use crate::{error::BoxError, store::is_chunk};

impl Inside {
    /// Puts a value into memory and into the queue. If the disk has failed, the key has no value afterwards.
    pub(super) async fn enqueue(&self, key: &str, value: Value) -> Result<Arc<Waiting>, BoxError> {
        let queued = self.queued(key, value).await;
        queued.or_else(|error| self.check_disk(key).and(Err(error)))
    }

    async fn queued(&self, key: &str, value: Value) -> Result<Arc<Waiting>, BoxError> {
        let named = Key::new(key).ok_or("key is too long")?;
        let bytes = record(length(named.len()), length(value.len()));
        if bytes > self.buffer {
            return Err(TOO_LARGE.into());
        }
        // First come, first served. Otherwise one of many puts could wait for all the others.
        let _one_at_a_time = self.one_put.lock().await;
        loop {
            let needed = {
                let mut queue = self.queue();
                self.check_open()?;
                queue.check()?;
                let end = queue.put + bytes;
                // The index cannot tell two waiting values of one key apart.
                let needed = queue.end_of(key).max(end.saturating_sub(self.buffer));
                if needed <= queue.written {
                    let waiting = queue.push(key, end);
                    self.stripe(key).change();
                    if !is_chunk(key) {
                        // Even if this value is lost, the earlier one must not be found any more.
                        self.cache.storage().delete(key);
                    }
                    self.cache.insert(named, value);
                    return Ok(waiting);
                }
                needed
            };
            self.written(needed).await?;
        }
    }

    /// Starts a task that waits until all values are written, even if no caller waits. It notices a failed write at
    /// once, because foyer's next write overwrites earlier ones.
    pub(super) fn watch(self: &Arc<Self>) {
        if mem::replace(&mut self.queue().is_watched, true) {
            return;
        }
        let inside = Arc::clone(self);
        self.runtime.spawn(async move {
            while let Some(end) = inside.unwritten() {
                // Unless the disk failed, the runtime is ending, and this task with it.
                if inside.written(end).await.is_err() {
                    return;
                }
            }
        });
    }

    /// The end of the queue, if values wait. Otherwise the watch ends.
    fn unwritten(&self) -> Option<u64> {
        let mut queue = self.queue();
        queue.is_watched = queue.put != queue.written;
        queue.is_watched.then_some(queue.put)
    }

    /// Waits until the first `much` bytes of all puts are written. Returns an error if some are lost. Concurrent
    /// callers share the rounds of foyer.
    pub(super) async fn written(&self, much: u64) -> Result<(), BoxError> {
        if self.queue().is_written(much)? {
            return Ok(());
        }
        let _one_at_a_time = self.one_flush.lock().await;
        let all = {
            let queue = self.queue();
            if queue.is_written(much)? {
                return Ok(());
            }
            queue.put
        };
        let cache = self.cache.clone();
        let waited = self
            .guarded(async move {
                cache.storage().wait().await;
                Ok(())
            })
            .await;
        if waited.is_ok() && self.pass(all) {
            return Ok(());
        }
        // While the runtime ends, foyer does not write. The disk is then not to blame.
        self.guarded(async { Ok(()) }).await?;
        self.fail();
        self.queue().check()
    }

    /// Marks the puts until `end` as written, after a round, unless one of them is known to be missing.
    ///
    /// foyer does not report a failed write, but its index has only written values. A read may have taken a value out
    /// of the index, and says so in the same turn.
    fn pass(&self, end: u64) -> bool {
        let is_absent = |waiting: &&Arc<Waiting>| !self.cache.storage().may_contains(&*waiting.key);
        let absent: Vec<_> = self.queue().until(end).filter(is_absent).cloned().collect();
        let all_are = absent.iter().all(|waiting| {
            drop(self.stripe(&waiting.key).turn());
            waiting.is_lost()
        });
        if all_are {
            self.queue().pass(end);
        }
        all_are
    }

    /// Ends the writing for good. After a failed write, foyer goes on in the block before and overwrites its values.
    /// Values that those had removed or replaced would be back after a restart. So all blocks are removed.
    pub(super) fn fail(&self) {
        // The directory stays locked until the blocks are gone.
        let _lock = self.lock();
        self.queue().has_failed = true;
        // `close` tries again to remove the rest.
        let _ = remove_all(&self.directory);
    }

    /// Waits until a record or a removal is written. Returns an error if foyer then has no entry for the key.
    pub(super) async fn settled(&self, waiting: &Waiting) -> Result<(), BoxError> {
        let written = self.written(waiting.end).await;
        let queue = self.queue();
        if written.is_ok() && !waiting.is_lost() {
            return Ok(());
        }
        self.stripe(&waiting.key).doubt(queue.put);
        self.cache.memory().remove(&*waiting.key);
        written.and(Err(NOT_WRITTEN.into()))
    }

    /// Returns an error if the disk has failed. It then also takes the key out of memory and out of foyer's index,
    /// because its value was to be replaced or removed.
    pub(super) fn check_disk(&self, key: &str) -> Result<(), BoxError> {
        let queue = self.queue();
        let failed = queue.check();
        if failed.is_err() {
            self.stripe(key).change();
            self.cache.storage().delete(key);
            self.cache.memory().remove(key);
        }
        failed
    }

    /// Runs a call of foyer in a task, because foyer may panic after a failed write. If this future is dropped, the
    /// call runs on.
    pub(super) async fn guarded(
        &self,
        call: impl Future<Output = Result<(), BoxError>> + Send + 'static,
    ) -> Result<(), BoxError> {
        self.runtime.spawn(call).await?
    }
}

/// The bytes put and written since the store was opened. A caller also holds its lock while it passes a change to
/// foyer, so that all changes have one order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) put: u64,
    pub(super) written: u64,
    /// A write failed. The store writes no more.
    pub(super) has_failed: bool,
    /// A task waits until all values are written.
    is_watched: bool,
    waiting: VecDeque<Arc<Waiting>>,
    by_key: HashMap<Arc<str>, Arc<Waiting>>,
}

impl Queue {
    fn push(&mut self, key: &str, end: u64) -> Arc<Waiting> {
        let waiting = Arc::new(Waiting { key: key.into(), end, is_lost: false.into() });
        self.put = end;
        self.waiting.push_back(Arc::clone(&waiting));
        self.by_key.insert(Arc::clone(&waiting.key), Arc::clone(&waiting));
        waiting
    }

    /// How much must be written until no value of the key waits.
    fn end_of(&self, key: &str) -> u64 {
        self.by_key.get(key).map_or(0, |waiting| waiting.end)
    }

    fn until(&self, end: u64) -> impl Iterator<Item = &Arc<Waiting>> {
        self.waiting.iter().take_while(move |waiting| waiting.end <= end)
    }

    /// Marks the puts until `end` as written.
    fn pass(&mut self, end: u64) {
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
    key: Arc<str>,
    /// How much must be written until this value is.
    end: u64,
    is_lost: AtomicBool,
}

impl Waiting {
    fn is_lost(&self) -> bool {
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
