//! [`FoyerOptions`]: the settings of a [`FoyerStore`](super::FoyerStore).

use std::{path::Path, sync::Mutex as SyncMutex};

use foyer::{
    BlockEngineConfig, DeviceBuilder, FsDeviceBuilder, HybridCache, HybridCacheBuilder, HybridCachePolicy,
};
use tokio::{runtime::Handle, sync::Mutex};

use super::{
    blocks::{Division, OldestFirst, prepare},
    code::{Key, LARGEST_VALUE, Value},
    inside::Inside,
    lock::DirectoryLock,
};
use crate::{
    error::{BoxError, Error},
    stripes::Stripes,
};

/// The settings of a [`FoyerStore`](super::FoyerStore).
///
/// ```no_run
/// use tower_video_cache::{FoyerOptions, FoyerStore};
///
/// # async fn example() -> Result<(), tower_video_cache::Error> {
/// let store: FoyerStore =
///     FoyerOptions::new(2 << 30, 200 << 30).max_value_size((8 << 20) + 40).open("/var/cache/video").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FoyerOptions {
    memory: u64,
    disk: u64,
    pub(super) max_value_size: u64,
}

impl FoyerOptions {
    /// A store with up to `memory` bytes of values in memory and `disk` bytes of files.
    pub fn new(memory: u64, disk: u64) -> Self {
        Self { memory, disk, max_value_size: LARGEST_CHUNK_BY_DEFAULT + SEAL }
    }

    /// Sets the size of the largest value: a chunk and its 40 bytes. Default: 4 MiB and 40 bytes.
    ///
    /// The disk must have room for about 32 such values. On a larger disk, a smaller value wastes less room.
    #[must_use]
    pub fn max_value_size(mut self, bytes: u64) -> Self {
        self.max_value_size = bytes;
        self
    }

    /// Opens the directory for a store; the number is the store's capacity.
    pub(super) async fn opened(&self, directory: &Path) -> Result<(Inside, u64), Error> {
        if !(1..=u64::from(LARGEST_VALUE)).contains(&self.max_value_size) {
            return Err(Error::config("the largest value is from 1 byte to 64 MiB and 4 KiB"));
        }
        let division = Division::of(self.disk, self.max_value_size)?;
        let lock = DirectoryLock::take(directory).map_err(|error| Error::store(error.into()))?;
        let order = prepare(directory, division).map_err(|error| Error::store(error.into()))?;
        let cache = self.cache(directory, division, order).await.map_err(Error::store)?;
        let inside = Inside {
            cache,
            directory: directory.to_owned(),
            runtime: Handle::current(),
            disk: division.block * division.blocks,
            buffer: division.buffer(),
            queue: SyncMutex::default(),
            closed: false.into(),
            one_put: Mutex::default(),
            one_flush: Mutex::default(),
            stripes: Stripes::default(),
            lock: SyncMutex::new(Some(lock)),
        };
        Ok((inside, division.capacity()))
    }

    async fn cache(
        &self,
        directory: &Path,
        division: Division,
        order: OldestFirst,
    ) -> Result<HybridCache<Key, Value>, BoxError> {
        let device = FsDeviceBuilder::new(directory)
            .with_capacity(size(division.block.saturating_mul(division.blocks))?)
            .build()?;
        let buffer = size(division.buffer())?;
        let engine = BlockEngineConfig::new(device)
            .with_block_size(size(division.block)?)
            // One flusher writes all records in the order of their puts.
            .with_flushers(1)
            .with_buffer_pool_size(buffer)
            // The store bounds the queue itself. foyer would drop values above this threshold.
            .with_submit_queue_size_threshold(usize::MAX)
            .with_eviction_pickers(vec![Box::new(order)]);
        let shards = self.memory / self.max_value_size.saturating_mul(CHUNKS_PER_SHARD);
        let shards = size(shards.clamp(1, MOST_SHARDS))?;
        let memory = size(self.memory)?;
        let cache = HybridCacheBuilder::new()
            .with_name("tower-video-cache")
            .with_policy(HybridCachePolicy::WriteOnInsertion)
            // All values are on the disk or in the queue.
            .with_flush_on_close(false)
            .memory(memory)
            .with_shards(shards)
            .with_weighter(weight)
            .with_filter(move |key, value| weight(key, value) <= memory / shards)
            .storage()
            .with_engine_config(engine)
            .build()
            .await?;
        Ok(cache)
    }
}

/// The memory that an entry takes.
fn weight(key: &Key, value: &Value) -> usize {
    key.len().saturating_add(value.len()).saturating_add(ENTRY_OVERHEAD)
}

fn size(bytes: u64) -> Result<usize, BoxError> {
    usize::try_from(bytes).map_err(|_| "more bytes than this machine can address".into())
}

const LARGEST_CHUNK_BY_DEFAULT: u64 = 4 << 20;

/// The bytes of a chunk's trailer.
const SEAL: u64 = 40;

/// Each shard of the memory evicts by itself, so large chunks need few and large shards.
const CHUNKS_PER_SHARD: u64 = 16;
const MOST_SHARDS: u64 = 8;

/// The bytes that an entry takes beside its key and value, about.
const ENTRY_OVERHEAD: usize = 300;
