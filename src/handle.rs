//! [`CacheHandle`]: a running cache, apart from its settings.

use std::{fmt, sync::Arc};

use http::request;

#[cfg(feature = "admin")]
use crate::{counters::Counters, observer::Observer};
use crate::{
    engine::current::Current, explain::Explanation, policy::Policy, purger::Purger,
    semantics::cache_status::CacheName, stats::Stats, top::Top, transfers::Transfer,
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
    current: Arc<Current>,
    name: CacheName,
}

impl CacheHandle {
    pub(crate) fn new(current: Arc<Current>) -> Self {
        let name = current.engine().config.cache_status.name.clone();
        Self { current, name }
    }

    /// The name of this cache: [`CacheStatus::named`](crate::CacheStatus::named).
    pub fn name(&self) -> &str {
        self.name.as_plain()
    }

    /// Gives the running cache another policy. The other settings that can change come by
    /// [`VideoCacheLayer::apply_to`](crate::VideoCacheLayer::apply_to).
    ///
    /// Requests that come from now on go by the new policy, also with what is stored. So a response that was stored
    /// with another [`default_ttl`](Policy::default_ttl), or other [rules](Policy::rule), gets the lifetime that the
    /// new ones give. The new policy does not decide again which responses are stored, with which fields and in which
    /// groups. Only a rule with [`never`](crate::Rule::never) takes out what is stored.
    ///
    /// The cache loses nothing that is stored, under way or remembered, but for the responses that the old policy
    /// refused to store: they are judged anew. A request or a fill that is under way ends as it began.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_video_cache::{MokaStore, Policy, Rule, VideoCacheLayer};
    /// let cache = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle();
    /// // Later, when the operator has changed the settings:
    /// let rule = Rule::path("/live/**").at_most(Duration::from_secs(2));
    /// cache.reconfigure(Policy::default().rule(rule)?);
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    pub fn reconfigure(&self, policy: Policy) {
        self.current.set_policy(policy);
    }

    pub(crate) fn current(&self) -> &Current {
        &self.current
    }

    /// The counters of this cache, as they are now. The call takes some microseconds, and waits for no request.
    pub fn stats(&self) -> Stats {
        Stats::of(&self.current.engine())
    }

    /// The responses that are served, missed and refused most. The call takes some hundred microseconds.
    pub fn top(&self) -> Top {
        Top::of(&self.current.engine())
    }

    /// Takes stored responses out, or ends their freshness.
    pub fn purger(&self) -> Purger {
        Purger::new(Arc::clone(&self.current))
    }

    /// The bytes that are on their way from the inner service into the store, where clients can follow them: not those of
    /// [`Fill::whole`](crate::Fill::whole).
    pub fn transfers(&self) -> Vec<Transfer> {
        Transfer::all(&self.current.engine())
    }

    /// Has an observer hear of each event until the returned value is dropped.
    #[cfg(feature = "admin")]
    pub(crate) fn watch(&self, observer: impl Observer) -> Watching {
        let counters = Arc::clone(&self.current.engine().counters);
        let number = counters.watchers().enter(Arc::new(observer));
        Watching { counters, number }
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
        Explanation::of(&self.current.engine_for(request), request).await
    }
}

/// As long as it lives, an observer hears of each event.
#[cfg(feature = "admin")]
pub(crate) struct Watching {
    counters: Arc<Counters>,
    number: u64,
}

#[cfg(feature = "admin")]
impl Drop for Watching {
    fn drop(&mut self) {
        self.counters.watchers().leave(self.number);
    }
}

impl fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHandle").field("stats", &self.stats()).finish()
    }
}
