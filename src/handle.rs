//! [`CacheHandle`]: a running cache, apart from its settings.

use std::{fmt, sync::Arc};

use crate::{engine::state::Engine, stats::Stats};

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

    /// The counters of this cache, as they are now. The call takes some microseconds, and no lock.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.engine)
    }
}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("stats", &self.stats()).finish()
    }
}
