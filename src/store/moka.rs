//! [`MokaStore`]: this process's memory, weighed in bytes, through the `moka` crate.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use moka::{future::Cache, policy::EvictionPolicy};
use tokio::sync::Mutex;

use super::{PutNew, Store, Usage, is_log, log::Log};
use crate::{
    error::{BoxError, Error},
    stripes::Stripes,
};

/// Keeps values in this process's memory, up to a number of bytes. The least recently used values leave first.
///
/// ```
/// use tower_video_cache::{MokaStore, VideoCacheLayer};
///
/// let layer = VideoCacheLayer::new(MokaStore::new(2 << 30)?); // 2 GiB
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
pub struct MokaStore {
    cache: Cache<Box<str>, Bytes>,
    capacity: u64,
    /// Beside the cache, so that no video takes the place of a purge.
    log: Log,
    put_locks: Stripes<Mutex<()>, 64>,
    put_since_maintenance: AtomicU64,
    /// The weight of all entries that were put, and of those that were removed or replaced.
    put: AtomicU64,
    removed: AtomicU64,
    /// The weight of those that were dropped, as of the last maintenance.
    evicted: AtomicU64,
}

impl MokaStore {
    /// A store that holds up to `capacity_bytes`: keys, values, and about 400 bytes for each entry. The log of purges is
    /// beside it, and takes up to 4 MiB more.
    ///
    /// The layer stores no response that is larger than half of the capacity, and lowers its chunk size so that two
    /// chunks fit.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for zero.
    pub fn new(capacity_bytes: u64) -> Result<Self, Error> {
        if capacity_bytes == 0 {
            return Err(Error::config("the capacity of a store is at least 1 byte"));
        }
        Ok(Self {
            cache: Cache::builder()
                .max_capacity(capacity_bytes)
                .weigher(|key: &Box<_>, value| weight(key, value))
                // The default, TinyLFU, drops a chunk that no request has read yet.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            capacity: capacity_bytes,
            log: Log::default(),
            put_locks: Stripes::default(),
            put_since_maintenance: AtomicU64::new(0),
            put: AtomicU64::new(0),
            removed: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
        })
    }

    /// The bytes that the store holds now, by its own account. The call drops the bytes above the capacity first.
    pub async fn weighted_size(&self) -> u64 {
        self.maintain().await;
        self.cache.weighted_size()
    }

    /// Drops the bytes above the capacity. moka would tell of each dropped entry, but its listener makes a put wait for
    /// seconds. So the bytes that are neither there nor were removed count as dropped.
    async fn maintain(&self) {
        // An entry that comes meanwhile must not count as one that is gone.
        let put = self.put.load(Ordering::Relaxed);
        self.cache.run_pending_tasks().await;
        let there = self.cache.weighted_size();
        let gone = put.saturating_sub(self.removed.load(Ordering::Relaxed)).saturating_sub(there);
        self.evicted.fetch_max(gone, Ordering::Relaxed);
    }
}

impl Store for MokaStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        if is_log(key) {
            return Ok(self.log.get(key));
        }
        Ok(self.cache.get(key).await)
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        if is_log(key) {
            return self.log.put(key, value);
        }
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        // moka would take the value, and drop it and many others at the next maintenance.
        if length > self.capacity.saturating_sub(ENTRY_OVERHEAD) {
            return Err("the value is larger than the store".into());
        }
        {
            // After two inserts of one absent key at the same time, moka would count the weight of both for ever.
            let _one_at_a_time = self.put_locks.of(key).lock().await;
            let weight = weight(key, &value);
            if let Some(replaced) = self.cache.get(key).await {
                self.removed.fetch_add(self::weight(key, &replaced).into(), Ordering::Relaxed);
            }
            self.cache.insert(key.into(), value).await;
            self.put.fetch_add(weight.into(), Ordering::Relaxed);
        }
        // moka drops the bytes above the capacity only every 64 puts, at any weight.
        let since = self.put_since_maintenance.fetch_add(length, Ordering::Relaxed).saturating_add(length);
        if since >= MAINTENANCE_INTERVAL {
            self.put_since_maintenance.store(0, Ordering::Relaxed);
            self.maintain().await;
        }
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        if is_log(key) {
            self.log.remove(key);
            return Ok(());
        }
        if let Some(value) = self.cache.remove(key).await {
            self.removed.fetch_add(weight(key, &value).into(), Ordering::Relaxed);
        }
        Ok(())
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        if is_log(key) {
            return self.log.put_new(key, value);
        }
        Err("the key is not one of the log of purges".into())
    }

    fn max_value_size(&self) -> Option<u64> {
        Some(self.capacity.saturating_sub(ENTRY_OVERHEAD))
    }

    fn capacity(&self) -> Option<u64> {
        Some(self.capacity)
    }

    fn usage(&self) -> Option<Usage> {
        let evicted = self.evicted.load(Ordering::Relaxed);
        Some(Usage::new(self.cache.weighted_size()).evicted(evicted))
    }

    fn can_alter(&self) -> bool {
        false
    }
}

impl fmt::Debug for MokaStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MokaStore").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

fn weight(key: &str, value: &Bytes) -> u32 {
    let bytes = key.len().saturating_add(value.len());
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(ENTRY_OVERHEAD_U32)
}

/// Bytes put between two rounds of maintenance. Rounds are rare enough to cost nothing, and frequent enough that memory
/// stays within a few chunks of the capacity.
const MAINTENANCE_INTERVAL: u64 = 4 << 20;

/// The bytes that moka needs for an entry beside its key and value, as measured.
const ENTRY_OVERHEAD_U32: u32 = 400;
const ENTRY_OVERHEAD: u64 = 400;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_chunk_just_put_survives_maintenance_in_a_full_store() {
        let store = MokaStore::new(64 << 10).unwrap();
        let chunk = Bytes::from(vec![7; 1 << 10]);
        for index in 0..200 {
            store.put(&format!("c/old/{index}"), chunk.clone()).await.unwrap();
        }
        for index in 0..200 {
            store.get(&format!("c/old/{index}")).await.unwrap();
        }
        for index in 0..20 {
            store.put(&format!("c/new/{index}"), chunk.clone()).await.unwrap();
        }
        assert!(store.weighted_size().await <= 64 << 10);
        for index in 0..20 {
            assert!(store.get(&format!("c/new/{index}")).await.unwrap().is_some(), "chunk {index}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_reckoned_weight_is_that_of_what_is_held() {
        let store = Arc::new(MokaStore::new(300 << 10).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16_usize {
            let store = Arc::clone(&store);
            tasks.spawn(async move {
                for round in 0..2000 {
                    let key = format!("c/{}", (round * 7 + task) % 500);
                    if round % 5 == 0 {
                        store.remove(&key).await.unwrap();
                    } else {
                        store.put(&key, Bytes::from(vec![0; 600])).await.unwrap();
                    }
                }
            });
        }
        tasks.join_all().await;
        let reckoned = store.weighted_size().await;
        let held: u64 = store.cache.iter().map(|(key, value)| u64::from(weight(&key, &value))).sum();
        assert_eq!(reckoned, held);
        assert!(held <= 300 << 10);
    }

    #[tokio::test]
    async fn dropped_bytes_are_told_apart_from_those_that_were_removed_or_replaced() {
        let store = MokaStore::new(16 << 20).unwrap();
        let chunk = Bytes::from(vec![0; (1 << 20) - 1000]);
        for round in 0..3 {
            for index in 0..8 {
                store.put(&format!("c/{index}"), chunk.clone()).await.unwrap();
            }
            assert_eq!(store.usage().unwrap().evicted, Some(0), "in round {round}");
        }
        for index in 0..8 {
            store.remove(&format!("c/{index}")).await.unwrap();
        }
        assert_eq!((store.weighted_size().await, store.usage()), (0, Some(Usage::new(0).evicted(0))));
        for index in 0..40 {
            store.put(&format!("c/{index}"), chunk.clone()).await.unwrap();
        }
        let held = store.weighted_size().await;
        let one = u64::from(weight("c/10", &chunk));
        let usage = store.usage().unwrap();
        assert!(usage.weight == held && held <= 16 << 20);
        // The ten keys of one digit are a byte shorter.
        assert_eq!(usage.evicted, Some(40 * one - 10 - held));
    }

    #[tokio::test]
    async fn memory_stays_near_the_capacity_while_megabytes_are_put() {
        let store = MokaStore::new(16 << 20).unwrap();
        for index in 0..64 {
            store.put(&format!("c/{index}"), Bytes::from(vec![0; 1 << 20])).await.unwrap();
            // An iteration finds all entries that moka has not dropped yet.
            assert!(store.cache.iter().count() <= 16 + 5, "after {index} puts");
        }
    }
}
