//! [`FoyerStore`]: memory and a disk, through the `foyer` crate.
//!
//! foyer silently drops values that are put faster than it writes them. A read of foyer that overlaps with a put or a
//! remove can leave the old value in memory. A [`Store`] must do neither. So puts here go through a queue that is never
//! longer than foyer's buffer, and a read calls foyer's memory and foyer's disk one after the other.

mod blocks;
mod code;
mod inside;
mod lock;
mod options;
mod queue;
mod writing;

use std::{
    fmt, mem,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use tokio::sync::Mutex;

pub use self::options::FoyerOptions;
use self::{
    code::{TOO_LARGE, Value, length},
    inside::Inside,
};
use super::{PutNew, Store, is_chunk};
use crate::error::{BoxError, Error};

/// Keeps values in memory and on a disk. The values on the disk survive a restart.
///
/// The store is for one process with its own disk. A put value is in memory at once, and on the disk soon. A value that
/// memory has evicted is read from the disk. The disk has blocks of a sixty-fourth of its size each. When the disk is
/// full, the store reuses the block that was written first, even if its values are read often. So the disk keeps the
/// values that were stored last, and memory keeps the values that are read most.
///
/// - **Directory.** It must exist, and belongs to the store alone. A second process that opens it gets an error. So
///   does the same process until the first store there is [closed](Self::close).
/// - **Restart.** All written values stay. Call [`close`](Self::close) before the process ends, or the last values are
///   lost. A killed process loses only chunks, because the put of a record and every remove end once they are written.
///   Each value is read with its key and a checksum.
/// - **Failure of the machine.** Puts and removes since the last `close` may be lost, so that an older record comes
///   back. Only `close` waits for the disk itself.
/// - **Failure of the disk.** If a write fails, the store stops writing for good. Puts and removes fail, and reads go
///   on. The store deletes its blocks, because foyer may overwrite a removal there. The next store in the directory
///   starts empty.
/// - **Other sizes.** The next store may have another memory and disk size. A disk of another size starts empty, unless
///   it has the same blocks and more of them.
/// - **Largest value.** 4 MiB and 40 bytes, unless [`FoyerOptions`] sets another. The cache cuts its chunks to fit.
/// - **Log of purges.** The store evicts its values with their block, like all others, so memory may keep a response for
///   longer. The cache notices the loss, and then validates the stored responses.
/// - **Beside `memory`.** Values that wait to be written take up to 64 MiB in each of foyer's two buffers.
///
/// ```no_run
/// use std::sync::Arc;
/// use tower_video_cache::{FoyerStore, VideoCacheLayer};
///
/// # async fn example() -> Result<(), tower_video_cache::Error> {
/// let store = FoyerStore::open("/var/cache/video", 2 << 30, 200 << 30).await?; // 2 GiB and 200 GiB
/// let store = Arc::new(store);
/// let layer = VideoCacheLayer::new(Arc::clone(&store));
/// // After the server has shut down:
/// store.close().await?;
/// # Ok(())
/// # }
/// ```
pub struct FoyerStore {
    inside: Arc<Inside>,
    options: FoyerOptions,
    capacity: u64,
    one_new: Mutex<()>,
}

impl FoyerOptions {
    /// Opens the store in `directory`.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for a largest value of zero or more than 64 MiB and 4 KiB, and for a disk
    /// without room for about 32 of them. [`is_store`](Error::is_store) if the directory does not exist, cannot be
    /// written, or is in use.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn open(self, directory: impl AsRef<Path>) -> Result<FoyerStore, Error> {
        let (inside, capacity) = self.opened(directory.as_ref()).await?;
        Ok(FoyerStore { inside: Arc::new(inside), capacity, options: self, one_new: Mutex::default() })
    }
}

impl FoyerStore {
    /// Opens the store in `directory`, with up to `memory` bytes of values in memory and `disk` bytes of files.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for a disk that is too small: under about 130 MiB.
    /// [`is_store`](Error::is_store) if the directory is not there, cannot be written, or is in use.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub async fn open(directory: impl AsRef<Path>, memory: u64, disk: u64) -> Result<Self, Error> {
        FoyerOptions::new(memory, disk).open(directory).await
    }

    /// Writes all values, syncs them to the disk, and releases the directory. Call it when the process shuts down.
    /// Later calls of the store fail.
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if a value was not written.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the store refuses further calls. Another `close` does the rest.
    pub async fn close(&self) -> Result<(), Error> {
        let inside = &self.inside;
        let all = {
            let queue = inside.queue();
            inside.closed.store(true, Ordering::Release);
            queue.put
        };
        let written = inside.written(all).await;
        let (cache, directory) = (inside.cache.clone(), inside.directory.clone());
        let closed = inside.guarded(async move { Ok(cache.storage().close().await?) }).await;
        let cache = inside.cache.clone();
        // The call has no more work, but foyer would make it when the cache is dropped.
        let done = inside.guarded(async move { Ok(cache.close().await?) }).await;
        if inside.queue().has_failed {
            inside.leave();
        }
        written.and(closed).and(done).map_err(Error::store)?;
        if inside.lock().is_some() {
            let synced = inside.runtime.spawn_blocking(move || blocks::sync(&directory)).await;
            synced.unwrap_or_else(|error| Err(error.into())).map_err(|error| Error::store(error.into()))?;
            drop(inside.lock().take());
        }
        Ok(())
    }
}

impl Store for FoyerStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let inside = &self.inside;
        inside.check_open()?;
        if let Some(value) = inside.in_memory(key) {
            return Ok(value.put());
        }
        // Concurrent reads of one chunk read the disk once.
        let _one_at_a_time = inside.stripe(key).reading.lock().await;
        if let Some(value) = inside.in_memory(key) {
            return Ok(value.put());
        }
        inside.load(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        if length(value.len()) > self.options.max_value_size {
            return Err(TOO_LARGE.into());
        }
        let place = self.inside.enqueue(key, Value::Put(value)).await?;
        self.inside.watch();
        if is_chunk(key) {
            return Ok(());
        }
        self.inside.settled(&place).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        // Any client can invalidate any URL. A removal is written only for a key that may have a value.
        self.inside.check_open()?;
        self.inside.check_disk(key)?;
        if !self.inside.is_known(key) {
            return Ok(());
        }
        let place = self.inside.enqueue(key, Value::Removed).await?;
        self.inside.watch();
        self.inside.settled(&place).await
    }

    /// The store is one process's own, so no other process puts.
    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        let _one_at_a_time = self.one_new.lock().await;
        if self.get(key).await?.is_some() {
            return Ok(PutNew::Exists);
        }
        self.put(key, value).await?;
        Ok(PutNew::Created)
    }

    fn max_value_size(&self) -> Option<u64> {
        Some(self.options.max_value_size)
    }

    /// The bytes that the disk always holds. Memory holds some of the same values.
    fn capacity(&self) -> Option<u64> {
        Some(self.capacity)
    }

    fn can_alter(&self) -> bool {
        true
    }
}

impl Drop for FoyerStore {
    /// Without [`close`](FoyerStore::close), foyer still writes in the background. So the directory stays locked as
    /// long as this process lives.
    fn drop(&mut self) {
        if let Some(lock) = self.inside.lock().take() {
            mem::forget(lock);
        }
    }
}

impl fmt::Debug for FoyerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoyerStore").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
