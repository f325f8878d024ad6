//! [`CacheHandle`]: a running cache, apart from its settings.

use std::{fmt, sync::Arc};

use http::request;

use crate::{engine::state::Engine, explain::Explanation, stats::Stats, top::Top};

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

    /// The responses that are served, missed and refused most. The call takes some hundred microseconds.
    pub fn top(&self) -> Top {
        Top::of(&self.engine)
    }

    /// Tells what a request would get now, and why. The cache looks into the store, and asks the inner service nothing.
    ///
    /// The request is one as it arrives at the layer: what the [key function](crate::VideoCacheLayer::key) reads must be
    /// there, `Host` above all. The lookup counts as a use of the record and of up to 64 chunks, 8 of a store elsewhere.
    ///
    /// # Cancel safety
    ///
    /// The future changes nothing, and may be dropped at any time.
    pub async fn explain(&self, request: &request::Parts) -> Explanation {
        Explanation::of(&self.engine, request).await
    }
}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("stats", &self.stats()).finish()
    }
}
