//! [`FoyerStore`]: memory and a disk, through the `foyer` crate.
//!
//! What foyer leaves to its user, and a [`Store`] must not: it drops what is put faster than it is written, without a
//! word, and a read that overlaps with a put or a remove can leave the old value in memory. So puts go through a
//! queue that is never longer than foyer's buffer, and reads are foyer's two halves, put together here.

mod blocks;
mod code;
mod options;

use std::{
    fmt,
    fs::File,
    mem,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Mutex as SyncMutex, MutexGuard, PoisonError,
    },
};

use bytes::Bytes;
use foyer::{HybridCache, Load};
use tokio::sync::Mutex;

pub use self::options::FoyerOptions;
use self::{
    blocks::record,
    code::{Key, Value},
};
use super::{is_chunk, Store};
use crate::{
    error::{BoxError, Error},
    stripes::Stripes,
};

/// Keeps values in memory and on a disk, and has those of the disk again after a restart.
///
/// For one process with a disk of its own. What is put is in memory at once and is written to the disk soon; what falls
/// out of memory is read from the disk. The disk is filled in blocks, a sixty-fourth of it each, and when it is full the
/// block that was written first is written again, whatever of it was read: so the disk keeps what was stored last, and
/// memory what is read most.
///
/// - **The directory** must be there, and is the store's alone. A second process that opens it gets an error, and so
///   does the same process as long as the first store there is not [closed](Self::close).
/// - **A restart** keeps all that was written. Call [`close`](Self::close) before the process ends, or what was put in
///   the last moments is lost. If the process is killed, only chunks are: the put of a record, and every remove,
///   ends when it is written. A failure of the machine may lose more, a removal too, for nothing
///   waits for the disk itself.
///   Nothing comes back as what it was not: each value is read with its key and a checksum.
/// - **Other memory and disk sizes** may be given the next time. A disk of another size starts empty, unless it has the
///   same blocks and more of them.
/// - **The largest value** is 4 MiB and something unless [`FoyerOptions`] says otherwise; chunks are cut to fit.
/// - **Beside `memory`**, values that wait to be written take up to 64 MiB in foyer's two buffers each.
///
/// ```no_run
/// use std::sync::Arc;
/// use tower_video_cache::{FoyerStore, VideoCacheLayer};
///
/// # async fn example() -> Result<(), tower_video_cache::Error> {
/// let store = FoyerStore::open("/var/cache/video", 2 << 30, 200 << 30).await?; // 2 GiB and 200 GiB
/// let store = Arc::new(store);
/// let layer = VideoCacheLayer::new(Arc::clone(&store));
/// // … and when the server has shut down:
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct FoyerStore {
    cache: HybridCache<Key, Value>,
    options: FoyerOptions,
    capacity: u64,
    buffer: u64,
    queue: SyncMutex<Queue>,
    closed: AtomicBool,
    one_put: Mutex<()>,
    one_flush: Mutex<()>,
    stripes: Stripes<Stripe, 64>,
    lock: SyncMutex<Option<File>>,
}

impl FoyerStore {
    /// Opens the store in `directory`, with up to `memory` bytes of values in memory and `disk` bytes of files.
    ///
    /// # Errors
    ///
    /// [`is_setting`](Error::is_setting) for a disk that is too small: under about 130 MiB.
    /// [`is_store`](Error::is_store) if the directory is not there, cannot be written, or is in use.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn open(directory: impl AsRef<Path>, memory: u64, disk: u64) -> Result<Self, Error> {
        FoyerOptions::new(memory, disk).open(directory).await
    }

    /// Writes all that was put, and gives the directory back. Call it when the process shuts down; from then on, each
    /// call of the store is an error.
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if not all was written.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the store closed to calls; another call of it does the rest.
    pub async fn close(&self) -> Result<(), Error> {
        let all = {
            let queue = self.queue();
            self.closed.store(true, Ordering::Release);
            queue.put
        };
        self.written(all).await;
        self.cache.storage().close().await.map_err(|error| Error::store(error.into()))?;
        // Does nothing more, but would be done when the cache is dropped.
        self.cache.close().await.map_err(|error| Error::store(error.into()))?;
        drop(self.lock().take());
        Ok(())
    }

    /// Puts a value into memory and into the queue of the disk.
    async fn enqueue(&self, key: &str, value: Value) -> Result<Place, BoxError> {
        let named = Key::new(key).ok_or("the key is too long")?;
        let bytes = record(length(named.len()), length(value.len()));
        // Who comes first has room first: else one of many puts would wait for all the others.
        let _one_at_a_time = self.one_put.lock().await;
        loop {
            let room = {
                let mut queue = self.queue();
                self.check_open()?;
                let grown = queue.put + bytes;
                if grown - queue.written <= self.buffer {
                    queue.put = grown;
                    let change = self.stripe(key).changes.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
                    if !is_chunk(key) {
                        // Whatever becomes of this value, the one before must not be found any more.
                        self.cache.storage().delete(key);
                    }
                    self.cache.insert(named, value);
                    return Ok(Place { end: grown, change });
                }
                grown - self.buffer
            };
            self.written(room).await;
        }
    }

    /// Waits until so much of all that was put is written, or given up. Those who wait share foyer's rounds.
    async fn written(&self, much: u64) {
        while self.queue().written < much {
            let _one_at_a_time = self.one_flush.lock().await;
            let all = {
                let queue = self.queue();
                if queue.written >= much {
                    return;
                }
                queue.put
            };
            self.cache.storage().wait().await;
            self.queue().written = all;
        }
    }

    /// Waits until a record or a removal is written; an error if foyer then has nothing under the key.
    async fn settled(&self, key: &str, place: Place) -> Result<(), BoxError> {
        self.written(place.end).await;
        let _no_change = self.queue();
        let is_last = self.stripe(key).changes.load(Ordering::Relaxed) == place.change;
        if !is_last || self.cache.storage().may_contains(key) {
            return Ok(());
        }
        self.cache.memory().remove(key);
        Err("the disk was not written".into())
    }

    /// Reads from the disk, into memory too if nothing was put meanwhile.
    async fn load(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let changes = &self.stripe(key).changes;
        let before = changes.load(Ordering::Acquire);
        let value = match self.cache.storage().load(key).await? {
            Load::Entry { value, .. } => value,
            Load::Piece { piece, .. } => return Ok(piece.value().put()),
            Load::Throttled | Load::Miss => return Ok(None),
        };
        let found = value.put();
        let _no_change = self.queue();
        if changes.load(Ordering::Relaxed) == before {
            if let Some(key) = Key::new(key) {
                self.cache.memory().insert(key, value);
            }
        }
        Ok(found)
    }

    fn in_memory(&self, key: &str) -> Option<Value> {
        self.cache.memory().get(key).map(|entry| entry.value().clone())
    }

    /// Whether there can be anything under the key, in memory, in the queue or on the disk.
    fn is_known(&self, key: &str) -> bool {
        let queue = self.queue();
        // What waits to be written is not in foyer's index yet.
        queue.put != queue.written
            || self.cache.storage().may_contains(key)
            || self.cache.memory().contains(key)
    }

    fn stripe(&self, key: &str) -> &Stripe {
        self.stripes.of(key)
    }

    fn check_open(&self) -> Result<(), BoxError> {
        if self.closed.load(Ordering::Acquire) {
            return Err("the store is closed".into());
        }
        Ok(())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for FoyerStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.check_open()?;
        if let Some(value) = self.in_memory(key) {
            return Ok(value.put());
        }
        // A crowd that comes for one chunk reads it once.
        let _one_at_a_time = self.stripe(key).reading.lock().await;
        if let Some(value) = self.in_memory(key) {
            return Ok(value.put());
        }
        self.load(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        if length(value.len()) > self.options.largest_value {
            return Err("the value is larger than the store was opened for".into());
        }
        let place = self.enqueue(key, Value::Put(value)).await?;
        if is_chunk(key) {
            return Ok(());
        }
        self.settled(key, place).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        // Anybody can have anything invalidated; what is not there need not be written down.
        self.check_open()?;
        if !self.is_known(key) {
            return Ok(());
        }
        let place = self.enqueue(key, Value::Removed).await?;
        self.settled(key, place).await
    }

    fn largest_value(&self) -> Option<u64> {
        Some(self.options.largest_value)
    }

    /// What the disk holds in any case; memory holds some of the same.
    fn capacity(&self) -> Option<u64> {
        Some(self.capacity)
    }

    fn can_alter(&self) -> bool {
        true
    }
}

impl Drop for FoyerStore {
    /// Without [`close`](FoyerStore::close), foyer goes on writing behind our back: the directory stays locked as long as
    /// this process lives.
    fn drop(&mut self) {
        if let Some(lock) = self.lock().take() {
            mem::forget(lock);
        }
    }
}

impl fmt::Debug for FoyerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoyerStore").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What was put and what is written, in bytes since the store was opened. Its lock is also held while foyer is told of
/// a change, so that all changes have one order.
#[derive(Debug, Default)]
struct Queue {
    put: u64,
    written: u64,
}

/// Where in the queue something was put.
struct Place {
    /// How much must be written until this is.
    end: u64,
    /// Which change of its stripe it was.
    change: u64,
}

/// What some of the keys share.
#[derive(Default)]
struct Stripe {
    reading: Mutex<()>,
    /// How often one of the keys was put or removed.
    changes: AtomicU64,
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{
        env, fs,
        future::Future,
        process,
        task::{Context, Waker},
    };

    use super::*;

    async fn store(name: &str) -> FoyerStore {
        let folder = env::temp_dir().join(format!("tower-video-cache-{}-{name}", process::id()));
        fs::create_dir(&folder).unwrap();
        let store = FoyerOptions::new(1 << 20, 8 << 20).largest_value(100 << 10).open(&folder).await.unwrap();
        // Its files are open, and that will do.
        fs::remove_dir_all(&folder).unwrap();
        store
    }

    #[tokio::test]
    async fn a_read_that_a_put_or_a_remove_overtakes_leaves_nothing_old_in_memory() {
        let store = store("overtaken").await;
        for after in [Some(Bytes::from_static(b"after")), None] {
            store.put("m/key", Bytes::from_static(b"before")).await.unwrap();
            // A read that is done when it is polled for the first time proves nothing.
            let read = loop {
                store.cache.memory().remove("m/key");
                let mut read = Box::pin(store.load("m/key"));
                if read.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                    break read;
                }
            };
            match after.clone() {
                Some(after) => store.put("m/key", after).await.unwrap(),
                None => store.remove("m/key").await.unwrap(),
            }
            read.await.unwrap();
            assert_eq!(store.get("m/key").await.unwrap(), after);
            store.cache.memory().remove("m/key");
            assert_eq!(
                store.get("m/key").await.unwrap(),
                after,
                "and what is on the disk comes back to memory"
            );
            assert!(store.cache.memory().contains("m/key"));
        }
    }

    #[tokio::test]
    async fn a_record_that_is_not_written_is_an_error_and_the_one_before_is_gone() {
        let store = store("unwritten").await;
        store.put("m/key", Bytes::from_static(b"before")).await.unwrap();
        // foyer drops what is larger than a block, and says nothing.
        let dropped = Value::Put(vec![7; 1 << 20].into());
        let place = store.enqueue("m/key", dropped).await.unwrap();
        assert!(store.settled("m/key", place).await.is_err());
        assert_eq!(store.get("m/key").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_was_never_put_is_not_written_down_when_it_is_removed() {
        let store = store("unknown").await;
        store.put("m/key", Bytes::from_static(b"here")).await.unwrap();
        let put = store.queue().put;
        store.remove("m/absent").await.unwrap();
        assert_eq!(store.queue().put, put);
        store.remove("m/key").await.unwrap();
        assert!(store.queue().put > put);
    }
}
