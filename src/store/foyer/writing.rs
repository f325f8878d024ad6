//! The way of a value to the disk: into the queue, and out of it once it is written.

use std::{future::Future, mem, sync::Arc};

use super::{
    blocks::{record, remove_all},
    code::{Key, TOO_LARGE, Value, length},
    inside::Inside,
    queue::{NOT_WRITTEN, Waiting},
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
