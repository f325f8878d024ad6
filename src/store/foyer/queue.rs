//! The way to the disk: what was put and is not written yet, and whether it is then.

use std::{
    collections::VecDeque,
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::sync::Mutex;

use super::{
    blocks::{record, remove_all},
    code::{Key, Value},
    length, FoyerStore, TOO_LARGE,
};
use crate::{error::BoxError, store::is_chunk};

impl FoyerStore {
    /// Puts a value into memory and into the queue of the disk.
    pub(super) async fn enqueue(&self, key: &str, value: Value) -> Result<Place, BoxError> {
        let named = Key::new(key).ok_or("the key is too long")?;
        let bytes = record(length(named.len()), length(value.len()));
        if bytes > self.buffer {
            return Err(TOO_LARGE.into());
        }
        // Who comes first has room first: else one of many puts would wait for all the others.
        let _one_at_a_time = self.one_put.lock().await;
        loop {
            let room = {
                let mut queue = self.queue();
                self.check_open()?;
                queue.check()?;
                let grown = queue.put + bytes;
                if grown - queue.written <= self.buffer {
                    let change = self.stripe(key).change();
                    let place = Place { end: grown, change };
                    queue.push(Waiting { key: key.into(), place });
                    if !is_chunk(key) {
                        // Whatever becomes of this value, the one before must not be found any more.
                        self.cache.storage().delete(key);
                    }
                    self.cache.insert(named, value);
                    return Ok(place);
                }
                grown - self.buffer
            };
            self.written(room).await?;
        }
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
        if waited.is_ok() && self.queue().pass(all, |waiting| self.is_indexed(waiting)) {
            return Ok(());
        }
        // While the runtime ends foyer writes nothing, and the disk is not to blame.
        self.guarded(async { Ok(()) }).await?;
        self.fail();
        self.queue().check()
    }

    /// Whether foyer has something under the key of what it was to write, as far as it can be told.
    ///
    /// It says nothing of a write that failed, but has in its index only what was written. What it finds damaged it takes
    /// out, too, and also what it found moved while it read.
    fn is_indexed(&self, waiting: &Waiting) -> bool {
        let stripe = self.stripe(&waiting.key);
        let is_replaced = !is_chunk(&waiting.key) && !stripe.is_last(waiting.place);
        is_replaced
            || stripe.reading.try_lock().is_err()
            || stripe.doubted() >= waiting.place.end
            || self.cache.storage().may_contains(&*waiting.key)
    }

    /// Ends the writing, for good. After a write that failed foyer goes on in the block before, over what is there, and
    /// what was removed or replaced by that would be there again after a restart: so nothing must be found then.
    fn fail(&self) {
        self.queue().has_failed = true;
        // What is left, if anything, is tried again at the close.
        let _ = remove_all(&self.directory);
    }

    /// Waits until a record or a removal is written; an error if foyer then has nothing under the key.
    pub(super) async fn settled(&self, key: &str, place: Place) -> Result<(), BoxError> {
        let written = self.written(place.end).await;
        let queue = self.queue();
        let stripe = self.stripe(key);
        if written.is_ok() && (!stripe.is_last(place) || self.cache.storage().may_contains(key)) {
            return Ok(());
        }
        stripe.doubt(queue.put);
        self.cache.memory().remove(key);
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
    waiting: VecDeque<Waiting>,
}

impl Queue {
    pub(super) fn push(&mut self, waiting: Waiting) {
        self.put = waiting.place.end;
        self.waiting.push_back(waiting);
    }

    /// Takes as written what was put until `end`, unless some of it is not.
    pub(super) fn pass(&mut self, end: u64, is_written: impl Fn(&Waiting) -> bool) -> bool {
        let count = self.waiting.partition_point(|waiting| waiting.place.end <= end);
        let all_are = self.waiting.iter().take(count).all(is_written);
        if all_are {
            self.waiting.drain(..count);
            self.written = end;
        }
        all_are
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

/// Something that is to be written.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) key: Box<str>,
    pub(super) place: Place,
}

/// Where in the queue something was put.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// How much must be written until this is.
    pub(super) end: u64,
    /// Which change of its stripe it was.
    pub(super) change: u64,
}

/// What some of the keys share.
#[derive(Default)]
pub(super) struct Stripe {
    pub(super) reading: Mutex<()>,
    /// How often one of the keys was put or removed.
    changes: AtomicU64,
    /// How much was put when foyer may have lost one of the keys that is on the disk; 0 if it never did.
    doubted: AtomicU64,
}

impl Stripe {
    /// Counts a change; which one it is.
    pub(super) fn change(&self) -> u64 {
        self.changes.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn is_last(&self, place: Place) -> bool {
        self.changes() == place.change
    }

    pub(super) fn doubt(&self, put: u64) {
        self.doubted.store(put.max(1), Ordering::Relaxed);
    }

    pub(super) fn doubted(&self) -> u64 {
        self.doubted.load(Ordering::Relaxed)
    }
}

pub(super) const NOT_WRITTEN: &str = "the disk was not written";
