//! [`Inside`]: the state that a store shares with the task that watches its writes.

use std::{
    future::{Future, poll_fn},
    path::PathBuf,
    pin::pin,
    sync::{
        Mutex as SyncMutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use bytes::Bytes;
use foyer::{HybridCache, HybridCacheProperties, Load};
use tokio::{runtime::Handle, sync::Mutex};

use super::{
    blocks::remove_all,
    code::{Key, Value},
    lock::DirectoryLock,
    queue::{Queue, Stripe},
};
use crate::{error::BoxError, stripes::Stripes};

pub(super) struct Inside {
    pub(super) cache: HybridCache<Key, Value>,
    pub(super) directory: PathBuf,
    pub(super) runtime: Handle,
    /// The bytes of the disk, and the bytes that may wait to be written.
    pub(super) disk: u64,
    pub(super) buffer: u64,
    pub(super) queue: SyncMutex<Queue>,
    pub(super) closed: AtomicBool,
    pub(super) one_put: Mutex<()>,
    pub(super) one_flush: Mutex<()>,
    pub(super) stripes: Stripes<Stripe, 64>,
    /// The lock file of the directory. A holder of this mutex may remove the blocks.
    pub(super) lock: SyncMutex<Option<DirectoryLock>>,
}

impl Inside {
    /// Reads from the disk. The value also goes into memory if no key of the stripe changed meanwhile.
    pub(super) async fn load(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let stripe = self.stripe(key);
        let before = stripe.changes();
        let value = match self.find(key).await? {
            Load::Entry { value, .. } => value,
            Load::Piece { piece, .. } => return Ok(piece.value().put()),
            Load::Throttled | Load::Miss => return Ok(None),
        };
        let found = value.put();
        let _no_change = self.queue();
        if stripe.changes() == before {
            if let Some(key) = Key::new(key) {
                self.cache.memory().insert(key, value);
            }
        }
        Ok(found)
    }

    /// Reads a value from foyer. foyer takes a damaged value out of its index, and also one that moved during the read.
    /// The queue learns of that in the same turn, so that no caller mistakes the missing entry for a failed write.
    async fn find(&self, key: &str) -> Result<Load<Key, Value, HybridCacheProperties>, BoxError> {
        let stripe = self.stripe(key);
        let storage = self.cache.storage();
        let was_known = storage.may_contains(key);
        let mut load = pin!(storage.load(key));
        let mut has_read = false;
        let found = poll_fn(|context| {
            let _turn = stripe.turn();
            let Poll::Ready(found) = load.as_mut().poll(context) else {
                has_read = true;
                return Poll::Pending;
            };
            if was_known && matches!(found, Ok(Load::Throttled | Load::Miss)) {
                let queue = self.queue();
                stripe.doubt(queue.put);
                // Without a read of the disk, the key was already missing from the index. A write may have failed
                // meanwhile.
                if has_read {
                    queue.lose(key);
                }
            }
            Poll::Ready(found)
        });
        Ok(found.await?)
    }

    pub(super) fn in_memory(&self, key: &str) -> Option<Value> {
        self.cache.memory().get(key).map(|entry| entry.value().clone())
    }

    /// Whether the key may have a value in memory, in the queue or on the disk.
    pub(super) fn is_known(&self, key: &str) -> bool {
        let queue = self.queue();
        let doubted = self.stripe(key).doubted();
        // A waiting value is not in foyer's index yet. A value that foyer took out of its index may be on the disk
        // until the whole disk is written again.
        queue.put != queue.written
            || (doubted > 0 && queue.put.saturating_sub(doubted) < self.disk)
            || self.cache.storage().may_contains(key)
            || self.cache.memory().contains(key)
    }

    /// Releases the directory of a failed disk if its blocks can be removed. Otherwise the directory stays locked as
    /// long as this process lives.
    pub(super) fn leave(&self) {
        let mut lock = self.lock();
        if lock.is_some() && remove_all(&self.directory).is_ok() {
            drop(lock.take());
        }
    }

    pub(super) fn stripe(&self, key: &str) -> &Stripe {
        self.stripes.of(key)
    }

    pub(super) fn check_open(&self) -> Result<(), BoxError> {
        if self.closed.load(Ordering::Acquire) {
            return Err("store is closed".into());
        }
        Ok(())
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<DirectoryLock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
