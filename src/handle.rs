//! [`CacheHandle`]: a running cache, apart from its settings.

use std::{fmt, sync::Arc};

use http::request;

#[cfg(feature = "admin")]
use crate::observer::Observer;
use crate::{
    engine::state::Engine, explain::Explanation, purger::Purger, stats::Stats, top::Top, transfers::Transfer,
};

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

    /// The name of this cache: [`CacheStatus::named`](crate::CacheStatus::named).
    pub fn name(&self) -> &str {
        self.engine.config.name.as_plain()
    }

    /// The counters of this cache, as they are now. The call takes some microseconds, and no lock.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.engine)
    }

    /// The responses that are served, missed and refused most. The call takes some hundred microseconds.
    pub fn top(&self) -> Top {
        Top::of(&self.engine)
    }

    /// Takes stored responses out, or ends their freshness.
    pub fn purger(&self) -> Purger {
        Purger::new(Arc::clone(&self.engine))
    }

    /// The bytes that are on their way from the inner service into the store, where clients can follow them: not those of
    /// [`Fill::whole`](crate::Fill::whole).
    pub fn transfers(&self) -> Vec<Transfer> {
        Transfer::all(&self.engine)
    }

    /// Has an observer hear of each event until the returned value is dropped.
    #[cfg(feature = "admin")]
    pub(crate) fn watch(&self, observer: impl Observer) -> Watching {
        let number = self.engine.counters.watchers().enter(Arc::new(observer));
        Watching { engine: Arc::clone(&self.engine), number }
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

/// As long as it lives, an observer hears of each event.
#[cfg(feature = "admin")]
pub(crate) struct Watching {
    engine: Arc<Engine>,
    number: u64,
}

#[cfg(feature = "admin")]
impl Drop for Watching {
    fn drop(&mut self) {
        self.engine.counters.watchers().leave(self.number);
    }
}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("stats", &self.stats()).finish()
    }
}
