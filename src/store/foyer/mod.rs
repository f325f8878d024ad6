//! [`FoyerStore`]: memory and a disk, through the `foyer` crate.
//!
//! What foyer leaves to its user, and a [`Store`] must not: it drops what is put faster than it is written, without a
//! word, and a read that overlaps with a put or a remove can leave the old value in memory. So puts go through a
//! queue that is never longer than foyer's buffer, and reads are foyer's two halves, put together here.

mod blocks;
mod code;
mod options;
mod queue;

use std::{
    fmt,
    fs::File,
    mem,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        Mutex as SyncMutex, MutexGuard, PoisonError,
    },
};

use bytes::Bytes;
use foyer::{HybridCache, Load};
use tokio::{runtime::Handle, sync::Mutex};

pub use self::options::FoyerOptions;
use self::{
    code::{Key, Value},
    queue::{Queue, Stripe},
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
///   ends when it is written.
///   Nothing comes back as what it was not: each value is read with its key and a checksum.
/// - **A failure of the machine** may lose what was put or removed since the store was last closed, so that an older
///   record is there again: only `close` waits for the disk itself.
/// - **A disk that cannot be written** ends the writing for good: puts and removes are errors, what is there is still read,
///   and the blocks go, for foyer writes on in places where a removal may be. The next store in the directory starts empty.
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
    directory: PathBuf,
    runtime: Handle,
    capacity: u64,
    disk: u64,
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

    /// Writes all that was put, has the system write it to the disk itself, and gives the directory back. Call it when the
    /// process shuts down; from then on, each call of the store is an error.
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
        let written = self.written(all).await;
        let (cache, directory) = (self.cache.clone(), self.directory.clone());
        let closed = self.guarded(async move { Ok(cache.storage().close().await?) }).await;
        let cache = self.cache.clone();
        // Does nothing more, but would be done when the cache is dropped.
        let done = self.guarded(async move { Ok(cache.close().await?) }).await;
        if self.queue().has_failed {
            self.leave();
        }
        written.and(closed).and(done).map_err(Error::store)?;
        if self.lock().is_some() {
            let synced = self.runtime.spawn_blocking(move || blocks::sync(&directory)).await;
            synced.unwrap_or_else(|error| Err(error.into())).map_err(|error| Error::store(error.into()))?;
            drop(self.lock().take());
        }
        Ok(())
    }

    /// Gives back the directory of a disk that failed, without the blocks; or keeps it, as long as this process lives.
    fn leave(&self) {
        let mut lock = self.lock();
        if lock.is_some() && blocks::remove_all(&self.directory).is_ok() {
            drop(lock.take());
        }
    }

    /// Reads from the disk, into memory too if nothing was put meanwhile.
    async fn load(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let stripe = self.stripe(key);
        let before = stripe.changes();
        let was_known = self.cache.storage().may_contains(key);
        let value = match self.cache.storage().load(key).await? {
            Load::Entry { value, .. } => value,
            Load::Piece { piece, .. } => return Ok(piece.value().put()),
            Load::Throttled | Load::Miss => {
                if was_known {
                    stripe.doubt(self.queue().put);
                }
                return Ok(None);
            }
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

    fn in_memory(&self, key: &str) -> Option<Value> {
        self.cache.memory().get(key).map(|entry| entry.value().clone())
    }

    /// Whether there can be anything under the key, in memory, in the queue or on the disk.
    fn is_known(&self, key: &str) -> bool {
        let queue = self.queue();
        let doubted = self.stripe(key).doubted();
        // What waits to be written is not in foyer's index yet, and what foyer took out of it may be on the disk until that
        // is written all over.
        queue.put != queue.written
            || (doubted > 0 && queue.put.saturating_sub(doubted) < self.disk)
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
            return Err(TOO_LARGE.into());
        }
        self.check_disk(key)?;
        let place = self.enqueue(key, Value::Put(value)).await?;
        if is_chunk(key) {
            return Ok(());
        }
        self.settled(key, place).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        // Anybody can have anything invalidated; what is not there need not be written down.
        self.check_open()?;
        self.check_disk(key)?;
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

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

const TOO_LARGE: &str = "the value is larger than the store was opened for";

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
        let place = store.enqueue("m/key", Value::Put(Bytes::from_static(b"after"))).await.unwrap();
        // What foyer drops is not in its index, and it says nothing.
        store.cache.storage().wait().await;
        store.cache.storage().delete("m/key");
        assert!(store.settled("m/key", place).await.is_err());
        assert_eq!(store.get("m/key").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_panic_of_foyer_is_an_error() {
        let store = store("panic").await;
        let error = store.guarded(async { panic!("poisoned") }).await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
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
