//! The way to the disk: what was put and is not written yet, and whether it is then.

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
    /// Puts a value into memory and into the queue of the disk. If that cannot be because the disk failed, nothing is under
    /// the key any more.
    pub(super) async fn enqueue(&self, key: &str, value: Value) -> Result<Arc<Waiting>, BoxError> {
        let queued = self.queued(key, value).await;
        queued.or_else(|error| self.check_disk(key).and(Err(error)))
    }

    async fn queued(&self, key: &str, value: Value) -> Result<Arc<Waiting>, BoxError> {
        let named = Key::new(key).ok_or("the key is too long")?;
        let bytes = record(length(named.len()), length(value.len()));
        if bytes > self.buffer {
            return Err(TOO_LARGE.into());
        }
        // Who comes first has room first: else one of many puts would wait for all the others.
        let _one_at_a_time = self.one_put.lock().await;
        loop {
            let needed = {
                let mut queue = self.queue();
                self.check_open()?;
                queue.check()?;
                let end = queue.put + bytes;
                // Two under one key could not be told apart, when it is asked what was written.
                let needed = queue.end_of(key).max(end.saturating_sub(self.buffer));
                if needed <= queue.written {
                    let waiting = queue.push(key, end);
                    self.stripe(key).change();
                    if !is_chunk(key) {
                        // Whatever becomes of this value, the one before must not be found any more.
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

    /// Has a task go from round to round until all that was put is written, whoever waits for it: a write that failed must
    /// be noticed at once, for what foyer writes next is over what it wrote before.
    pub(super) fn watch(self: &Arc<Self>) {
        if mem::replace(&mut self.queue().is_watched, true) {
            return;
        }
        let inside = Arc::clone(self);
        self.runtime.spawn(async move {
            while let Some(end) = inside.unwritten() {
                // Without a failed disk it is the runtime that ends, and this with it.
                if inside.written(end).await.is_err() {
                    return;
                }
            }
        });
    }

    /// The end of what waits, if anything does; else it is watched no more.
    fn unwritten(&self) -> Option<u64> {
        let mut queue = self.queue();
        queue.is_watched = queue.put != queue.written;
        queue.is_watched.then_some(queue.put)
    }

    /// Waits until so much of all that was put is written; an error if some of it is not. Those who wait share foyer's
    /// rounds.
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
        // While the runtime ends foyer writes nothing, and the disk is not to blame.
        self.guarded(async { Ok(()) }).await?;
        self.fail();
        self.queue().check()
    }

    /// Takes as written what was put until `end`, after a round, unless some of it is not, as far as it can be told.
    ///
    /// foyer says nothing of a write that failed, but has in its index only what was written. A read may have taken that
    /// out, and says so in the same turn.
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

    /// Ends the writing, for good. After a write that failed foyer goes on in the block before, over what is there, and
    /// what was removed or replaced by that would be there again after a restart: so nothing must be found then.
    pub(super) fn fail(&self) {
        // Until the blocks are gone the directory is not given back.
        let _lock = self.lock();
        self.queue().has_failed = true;
        // What is left, if anything, is tried again at the close.
        let _ = remove_all(&self.directory);
    }

    /// Waits until a record or a removal is written; an error if foyer then has nothing under the key.
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

    /// An error if nothing is written any more. Then it takes the key out of memory and out of foyer's index, for what is
    /// under it was to be replaced or removed.
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

    /// foyer panics where it waits after some of its writes failed. Dropped, it leaves the call running.
    pub(super) async fn guarded(
        &self,
        call: impl Future<Output = Result<(), BoxError>> + Send + 'static,
    ) -> Result<(), BoxError> {
        self.runtime.spawn(call).await?
    }
}

/// What was put and what is written, in bytes since the store was opened. Its lock is also held while foyer is told of
/// a change, so that all changes have one order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) put: u64,
    pub(super) written: u64,
    /// That something was not written. Nothing is from then on.
    pub(super) has_failed: bool,
    /// That a task waits until all is written.
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

    /// How much must be written until nothing waits under the key.
    fn end_of(&self, key: &str) -> u64 {
        self.by_key.get(key).map_or(0, |waiting| waiting.end)
    }

    fn until(&self, end: u64) -> impl Iterator<Item = &Arc<Waiting>> {
        self.waiting.iter().take_while(move |waiting| waiting.end <= end)
    }

    /// Takes as written what was put until `end`.
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

/// Something that is to be written; one of each key at a time.
#[derive(Debug)]
pub(super) struct Waiting {
    key: Arc<str>,
    /// How much must be written until this is.
    end: u64,
    is_lost: AtomicBool,
}

impl Waiting {
    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}

/// What some of the keys share.
#[derive(Default)]
pub(super) struct Stripe {
    pub(super) reading: Mutex<()>,
    turn: SyncMutex<()>,
    /// How often one of the keys was put or removed.
    changes: AtomicU64,
    /// How much was put when foyer may have lost one of the keys that is on the disk; 0 if it never did.
    doubted: AtomicU64,
}

impl Stripe {
    /// A turn of foyer's in which it may take one of the keys out of its index. Who reads waits for the disk between two
    /// of them, or for as long as nobody asks how far the read is; so who must know what was taken out waits for a turn.
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

pub(super) const NOT_WRITTEN: &str = "the disk was not written";
