//! [`CacheHandle`]: a running cache, apart from its settings.

use std::{fmt, sync::Arc};

use crate::engine::state::Engine;

/// A handle to a running cache, from [`VideoCacheLayer::handle`](crate::VideoCacheLayer::handle).
///
/// The handle and the services of the layer share one cache. Clones are cheap.
///
/// ```
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?);
/// let cache = layer.handle();
/// // Later, in a task that reports figures:
/// assert_eq!(cache.stats().damaged_chunks, 0);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone)]
pub struct CacheHandle {
    engine: Arc<Engine>,
}

impl CacheHandle {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// The counters of this cache, as they are now.
    pub fn stats(&self) -> Stats {
        Stats { damaged_chunks: self.engine.damaged_chunks() }
    }
}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("stats", &self.stats()).finish()
    }
}

/// The counters of a cache, from [`CacheHandle::stats`].
///
/// ```
/// # use tower_video_cache::{MokaStore, Stats, VideoCacheLayer};
/// # let cache = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle();
/// let Stats { damaged_chunks, .. } = cache.stats();
/// # assert_eq!(damaged_chunks, 0);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Chunks that failed their checksum since the cache was made.
    ///
    /// A disk, a network or another program altered them. No client received such bytes: the cache fetched the chunk
    /// again, or ended the body with an error. If the number grows, something is wrong with the store.
    pub damaged_chunks: u64,
}
