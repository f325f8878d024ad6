//! [`VideoCacheLayer`]: the layer that an application configures and applies.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use http::{HeaderMap, request};
use tower_layer::Layer;

use crate::{
    clock::{Clock, SystemClock},
    engine::{
        config::Config,
        current::Current,
        state::{Engine, budget::Budget},
    },
    error::Error,
    format::key::CacheKey,
    handle::CacheHandle,
    observer::Observer,
    policy::Policy,
    service::VideoCache,
    settings::{Abandon, CacheStatus, ChunkSize, Fill, Limits, Retry, Timeouts},
    store::{BoxStore, ErasedStore, Store},
};

/// A [`Layer`] that stores the responses of a video service, and answers from the store.
///
/// The first [`layer`](Layer::layer) or [`handle`](Self::handle) starts the cache. All clones of the layer share this
/// cache, and so do all services that they make: `axum` applies a router's layer to each route.
///
/// A setter makes a cache of its own on the same store. Both caches find a stored response if their keys are equal.
/// Together, their fills reserve no more than half of the store. Each cache joins only its own fills.
///
/// Put the store in an [`Arc`] if the application needs it, too.
///
/// ```
/// # use std::time::Duration;
/// use tower_video_cache::{ChunkSize, MokaStore, Policy, VideoCacheLayer};
///
/// let layer = VideoCacheLayer::new(MokaStore::new(2 << 30)?)
///     .policy(Policy::default().default_ttl(Duration::from_secs(3600)))
///     .chunk_size(ChunkSize::new(256 << 10)?)
///     .bypass(|request| request.uri.path().starts_with("/live/"));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone)]
pub struct VideoCacheLayer {
    config: Config,
    store: Arc<dyn ErasedStore>,
    /// Half of the store, for all that were made of one layer by setters.
    half: Arc<Budget>,
    /// The limit that [`Limits::max_reserved`] sets in its place.
    reserved: Option<Arc<Budget>>,
    /// Made when it is needed first, so that a setter costs nothing.
    current: Arc<OnceLock<Arc<Current>>>,
}

impl VideoCacheLayer {
    /// A layer that stores responses in `store`.
    pub fn new(store: impl Store) -> Self {
        let store = BoxStore::new(store).into_erased();
        Self {
            config: Config::new(SystemClock),
            half: Arc::new(Budget::for_capacity(store.capacity())),
            store,
            reserved: None,
            current: Arc::default(),
        }
    }

    /// Sets which responses are stored, and for how long they are fresh. Default: [`Policy::default`].
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        self.set(|config| config.policy = policy)
    }

    /// Sets the function that makes the cache key of a request. Default: [`CacheKey::of`].
    /// [`TargetUri`](crate::TargetUri) makes functions for common needs.
    ///
    /// Requests with equal keys share one response. So **the key must contain every part of the request that the inner
    /// service's answer depends on**. Otherwise a client gets a response that was made for another client.
    ///
    /// - *URI.* The function sees the request as it arrives at the layer. Under axum's `nest`, the URI lacks the
    ///   prefix.
    /// - *Signatures.* If the key leaves out the signature of a URL, the check of the signature must stand outside of
    ///   the cache.
    /// - *Fields.* If the inner service answers by a request field (`X-Forwarded-Host`, `X-Original-URL`, …), it must
    ///   name the field in `Vary` or answer `private`. Otherwise put the field into the key, or remove the field before
    ///   the cache. `Authorization` and `Cookie` are safe by default: see [`Policy::share_with_authorized`] and
    ///   [`Policy::default_ttl`].
    /// - *Changed requests.* A middleware that changes request fields belongs outside of the cache, so that the cache
    ///   sees the same fields as the inner service. The cache itself removes the fields that `Connection` lists (RFC
    ///   9110 §7.6.1).
    ///
    /// The cache also calls the function for URIs that the answer to an unsafe request names. That request then has the
    /// method GET, the named URI, and the other parts of the unsafe request.
    ///
    /// ```
    /// # use tower_video_cache::{MokaStore, TargetUri, VideoCacheLayer};
    /// // The query proves who may see the video, and does not change the video. A middleware outside checks it.
    /// let uri = TargetUri::new().without_parameters(["expires", "signature"]);
    /// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).key(uri.into_fn());
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    #[must_use]
    pub fn key(self, key: impl Fn(&request::Parts) -> CacheKey + Send + Sync + 'static) -> Self {
        self.set(|config| config.key = Arc::new(key))
    }

    /// Sets which requests go to the inner service untouched: those for which `bypass` returns `true`. Default: none.
    ///
    /// The function sees the request as the [key function](Self::key) does. The response of a bypassed request gets a
    /// member of `Cache-Status`, and is otherwise untouched.
    ///
    /// The cache always bypasses a GET or HEAD with content, with `Upgrade`, or with a field that asks for another
    /// method (`X-HTTP-Method-Override`, `X-HTTP-Method`, `X-Method-Override`), and a request whose URL has
    /// [expired](Self::expiry).
    #[must_use]
    pub fn bypass(self, bypass: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.set(|config| config.bypass = Some(Arc::new(bypass)))
    }

    /// Sets the function that reads the expiry of a signed URL. Default: the expiry of URLs signed for S3,
    /// `CloudFront`, Google Cloud Storage, Google Cloud CDN or Azure; none for other URLs. See
    /// [`TargetUri::without_signatures`](crate::TargetUri::without_signatures).
    ///
    /// From that time on, by the layer's [`clock`](Self::clock), the cache bypasses requests for the URL. A response is
    /// also never fresh for longer than the URL that brought it. A signed URL with an unreadable expiry counts as
    /// expired.
    ///
    /// A body that has begun is sent to its end. If the cache has to fetch chunks of the body after the expiry, as with
    /// [`Fill::sliced`], the inner service decides.
    ///
    /// ```
    /// # use std::time::{Duration, UNIX_EPOCH};
    /// # use tower_video_cache::{MokaStore, VideoCacheLayer};
    /// // URLs of the application's own making: `?until=1795341600&proof=…`.
    /// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).expiry(|request| {
    ///     let mut parameters = request.uri.query()?.split('&');
    ///     let seconds = parameters.find_map(|parameter| parameter.strip_prefix("until="))?;
    ///     Some(UNIX_EPOCH + Duration::from_secs(seconds.parse().unwrap_or(0).min(1 << 40)))
    /// });
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    #[must_use]
    pub fn expiry(
        self,
        expiry: impl Fn(&request::Parts) -> Option<SystemTime> + Send + Sync + 'static,
    ) -> Self {
        self.set(|config| config.expiry = Arc::new(expiry))
    }

    /// Sets how long bytes that have come wait for more before they leave. Default: 50 ms. A test that must not depend on
    /// real time sets the longest duration: bytes then leave in whole pieces and chunks.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn patience(self, patience: std::time::Duration) -> Self {
        self.set(|config| config.patience = patience)
    }

    /// Sets the clock for ages and freshness. Default: [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.set(|config| config.clock = Arc::new(clock))
    }

    /// Sets the size of the chunks that bodies are stored in. Default: 1 MiB.
    ///
    /// The cache uses smaller chunks if the store's [values](Store::max_value_size) hold less, or if the store's
    /// [capacity](Store::capacity) holds fewer than two chunks.
    #[must_use]
    pub fn chunk_size(self, chunk_size: ChunkSize) -> Self {
        self.set(|config| config.chunk_size = chunk_size)
    }

    /// Sets how a missing response is fetched, and when its first byte leaves. Default: [`Fill::auto`].
    #[must_use]
    pub fn fill(self, fill: Fill) -> Self {
        self.set(|config| config.fill = fill)
    }

    /// Sets how a fill ends after its last client has left. Default: [`Abandon::FinishWithin`] 8 MiB.
    #[must_use]
    pub fn abandon(self, abandon: Abandon) -> Self {
        self.set(|config| config.abandon = abandon)
    }

    /// Sets the name of this cache in `Cache-Status`, and whether the field shows the key. Default:
    /// [`CacheStatus::default`].
    #[must_use]
    pub fn cache_status(self, cache_status: CacheStatus) -> Self {
        self.set(|config| config.cache_status = cache_status)
    }

    /// Sets how long the cache waits for others. Default: [`Timeouts::default`].
    #[must_use]
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        self.set(|config| config.timeouts = timeouts)
    }

    /// Sets how many fills run at a time, and how many bytes they reserve. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        if limits.max_reserved != self.config.limits.max_reserved {
            self.reserved = limits.max_reserved.map(|bytes| Arc::new(Budget::of(bytes)));
        }
        self.set(|config| config.limits = limits)
    }

    /// Sets how a body that broke off is continued. Default: [`Retry::default`].
    #[must_use]
    pub fn retry(self, retry: Retry) -> Self {
        self.set(|config| config.retry = retry)
    }

    /// Adds an observer, who hears of each event of the cache. Default: none.
    #[must_use]
    pub fn observer(self, observer: impl Observer) -> Self {
        self.set(|config| config.observers.add(observer))
    }

    /// Sets a function that names groups of a response, beside those that its fields name: see
    /// [`Purger::groups`](crate::Purger::groups). Default: none.
    ///
    /// The function sees the request as the cache sends it, and the fields of the response. The cache calls it when it
    /// stores the response, and when an answer updates the response. It ignores names that are not 1 to 128 printable
    /// ASCII characters, and what is more than 64 groups.
    ///
    /// ```
    /// # use tower_video_cache::{MokaStore, VideoCacheLayer};
    /// // The first segment of the path names the tenant.
    /// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).groups(|request, _response| {
    ///     let tenant = request.uri.path().split('/').nth(1).unwrap_or_default();
    ///     vec![format!("tenant-{tenant}")]
    /// });
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    #[must_use]
    pub fn groups(
        self,
        groups: impl Fn(&request::Parts, &HeaderMap) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.set(|config| config.groups = Some(Arc::new(groups)))
    }

    /// Sets where the log of the purges by prefix, group, origin and all lies: see [`Purger`](crate::Purger). Default: in the
    /// store of the responses.
    ///
    /// Nodes that have stores of their own share purges by a log that they share. Then a purge of a key goes into the
    /// log, too. The store must offer [`Store::put_new`], as [`RedisStore`](crate::RedisStore) does.
    ///
    /// ```no_run
    /// # #[cfg(feature = "redis")]
    /// # fn layer() -> Result<tower_video_cache::VideoCacheLayer, tower_video_cache::Error> {
    /// use tower_video_cache::{MokaStore, RedisStore, VideoCacheLayer};
    ///
    /// let layer = VideoCacheLayer::new(MokaStore::new(8 << 30)?)
    ///     .purge_log(RedisStore::new("redis://127.0.0.1:6379")?);
    /// # Ok(layer)
    /// # }
    /// ```
    #[must_use]
    pub fn purge_log(self, store: impl Store) -> Self {
        let store = BoxStore::new(store).into_erased();
        self.set(|config| config.purge_log = Some(store))
    }

    /// Sets how old the knowledge of the log of purges may be when a request uses it. Default: 2 seconds.
    ///
    /// A purge by the log is effective on other nodes within this time. Under traffic, a node reads the log twice in
    /// this time, beside the requests: three or four small values if there was no purge. With zero, each request waits for the
    /// log. If the log cannot be read, the cache goes by the purges that it knows.
    #[must_use]
    pub fn purge_age(self, age: std::time::Duration) -> Self {
        self.set(|config| config.purge_age = age)
    }

    /// A handle to the cache that this layer's services share. It starts the cache if no service did so.
    pub fn handle(&self) -> CacheHandle {
        CacheHandle::new(self.current())
    }

    /// Gives a running cache all settings of this layer, its policy too, whatever [`CacheHandle::reconfigure`] set
    /// before. The layer is a clone of the one that the cache was made with, changed by setters.
    ///
    /// These can change: the policy, the bypass, the expiry, the groups, the fill, the abandonment, the retries, the
    /// timeouts but [`Timeouts::store`], and whether `Cache-Status` shows the key. Requests that come from now on go by
    /// the new settings, also with what is stored: see [`CacheHandle::reconfigure`]. The cache loses nothing that is
    /// stored or under way, and forgets only what the old policy refused to store.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) if another setting is not the cache's own: the store, the key function, the
    /// chunk size, the name, the clock, the limits, the observers, the log of purges, its age, the timeout of the
    /// store. The error names the first one, and nothing has changed. Such a setting needs a cache of its own, which
    /// may be on the same store.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_video_cache::{Fill, MokaStore, Policy, TargetUri, VideoCacheLayer};
    /// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).fill(Fill::progressive());
    /// let cache = layer.handle();
    /// // Later, when the operator has changed the settings:
    /// let policy = Policy::default().default_ttl(Duration::from_secs(60));
    /// layer.clone().policy(policy).fill(Fill::auto()).apply_to(&cache)?;
    ///
    /// let refused = layer.clone().key(TargetUri::new().into_fn()).apply_to(&cache).unwrap_err();
    /// assert!(refused.is_config() && refused.to_string().contains("key function"));
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    pub fn apply_to(&self, cache: &CacheHandle) -> Result<(), Error> {
        cache.current().reconfigure(&self.store, self.config.clone())
    }

    pub(crate) fn current(&self) -> Arc<Current> {
        let make = || {
            let budget = self.reserved.as_ref().unwrap_or(&self.half);
            let engine = Engine::new(self.config.clone(), Arc::clone(&self.store), Arc::clone(budget));
            Arc::new(Current::new(engine))
        };
        Arc::clone(self.current.get_or_init(make))
    }

    #[cfg(test)]
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.current().engine()
    }

    fn set(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        Self { current: Arc::default(), ..self }
    }
}

impl VideoCache<()> {
    /// A layer with default settings that stores responses in `store`.
    pub fn layer(store: impl Store) -> VideoCacheLayer {
        VideoCacheLayer::new(store)
    }
}

impl<S> VideoCache<S> {
    /// Wraps `inner` with default settings, and stores its responses in `store`.
    ///
    /// Each call makes a cache of its own. Services that are to share one come from a
    /// [`VideoCacheLayer`](crate::VideoCacheLayer).
    pub fn new(inner: S, store: impl Store) -> Self {
        Self::of(inner, VideoCacheLayer::new(store).current())
    }
}

impl<S> Layer<S> for VideoCacheLayer {
    type Service = VideoCache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VideoCache::of(inner, self.current())
    }
}

impl fmt::Debug for VideoCacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VideoCacheLayer").field("config", &self.config).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, time::Duration};

    use super::*;
    use crate::store::MokaStore;

    fn new() -> VideoCacheLayer {
        VideoCacheLayer::new(MokaStore::new(1 << 20).unwrap())
    }

    #[test]
    fn no_setter_starts_a_cache() {
        let layer = new()
            .policy(Policy::default())
            .key(CacheKey::of)
            .bypass(|_| false)
            .expiry(|_| None)
            .clock(SystemClock)
            .chunk_size(ChunkSize::default())
            .fill(Fill::sliced())
            .abandon(Abandon::Stop)
            .cache_status(CacheStatus::default().with_key())
            .timeouts(Timeouts::default())
            .limits(Limits::default().max_fills(NonZeroUsize::MIN))
            .retry(Retry::default());
        assert!(layer.current.get().is_none());
        let clone = layer.clone();
        drop(layer.layer(()));
        assert!(Arc::ptr_eq(clone.current.get().unwrap(), layer.current.get().unwrap()));
    }

    #[test]
    fn the_clones_of_a_layer_share_one_cache_and_a_setter_makes_another() {
        let layer = new();
        let first = layer.clone().engine();
        assert!(Arc::ptr_eq(&first, &layer.engine()));
        let other = layer.clone().timeouts(Timeouts::default().follower(Duration::ZERO));
        assert!(!Arc::ptr_eq(&first, &other.engine()));
        assert!(Arc::ptr_eq(&first, &layer.engine()), "the setter left the first layer alone");
    }

    #[test]
    fn layers_of_one_store_share_its_half_unless_a_limit_is_set() {
        let layer = new();
        let other = layer.clone().fill(Fill::progressive());
        assert!(Arc::ptr_eq(&layer.half, &other.half) && other.reserved.is_none());
        let limited = layer.clone().limits(Limits::default().max_reserved(1000));
        let same = limited.clone().limits(Limits::default().max_reserved(1000).max_fills(NonZeroUsize::MIN));
        assert!(Arc::ptr_eq(limited.reserved.as_ref().unwrap(), same.reserved.as_ref().unwrap()));
        assert!(limited.limits(Limits::default()).reserved.is_none());
    }

    #[test]
    fn debug_prints_the_settings() {
        let layer = new().cache_status(CacheStatus::named("edge-1").unwrap()).fill(Fill::sliced());
        let printed = format!("{layer:?}");
        for word in ["edge-1", "Sliced", "follower: 30s", "ChunkSize(1048576)", "Policy"] {
            assert!(printed.contains(word), "{printed}");
        }
    }
}
