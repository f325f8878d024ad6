//! [`VideoCacheLayer`]: what an application names, sets and applies.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::request;
use tower_layer::Layer;

use crate::{
    clock::{Clock, SystemClock},
    engine::{state::Engine, Abandon, ChunkSize, Config, Fill},
    format::key::CacheKey,
    policy::Policy,
    semantics::cache_status::CacheName,
    service::VideoCache,
    store::{ErasedStore, Store},
};

/// A [`Layer`] that stores what a video service answers, and answers from the store.
///
/// All clones share one cache, and so do all services that they are applied to: `axum` applies a router's layer
/// to each route. A setter makes a cache of its own on the same store: what is stored is found by both where their
/// keys are equal, and fills under way promise the store no more than half of it together, but each joins only its
/// own fills. A store that is to be kept at hand goes in as an `Arc`.
///
/// ```
/// # use std::time::Duration;
/// use tower_video_cache::{ChunkSize, MokaStore, Policy, VideoCacheLayer};
///
/// let layer = VideoCacheLayer::new(MokaStore::new(2 << 30))
///     .policy(Policy::default().default_ttl(Duration::from_secs(3600)))
///     .chunk_size(ChunkSize::new(256 << 10)?)
///     .bypass(|request| request.uri.path().starts_with("/live/"));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone)]
pub struct VideoCacheLayer {
    engine: Arc<Engine>,
}

impl VideoCacheLayer {
    /// A layer that keeps what it stores in `store`.
    pub fn new(store: impl Store) -> Self {
        let store: Arc<dyn ErasedStore> = Arc::new(store);
        Self { engine: Arc::new(Engine::new(Config::new(SystemClock), store)) }
    }

    /// Which responses are stored, and how long they are fresh. Default: [`Policy::default`].
    #[must_use]
    pub fn policy(self, policy: Policy) -> Self {
        self.set(|config| config.policy = policy)
    }

    /// What a request's response is found by. Default: [`CacheKey::of`]. [`TargetUri`](crate::TargetUri) has
    /// functions for what is often wanted.
    ///
    /// The function sees the request as it arrives at the layer: within axum's `nest`, without the prefix that was
    /// stripped. It is also asked for the key of a URI that the answer to an unsafe request names: with the method
    /// GET and that URI, and otherwise what that request had.
    ///
    /// Requests with equal keys get each other's responses, so **the key must have all that the inner service
    /// looks at**; what it leaves out shows one viewer what was made for another.
    ///
    /// - *What alters request fields* belongs outside of the cache: a proxy's own handling of `Connection`, `X-Forwarded-For`
    ///   or `Via`, a rewriting of `Host` or `Cookie`. Behind the cache, the inner service answers by fields that the cache
    ///   has not seen, and that answer is stored for those that it has. Fields that `Connection` lists (RFC 9110 §7.6.1) are
    ///   for this hop: of a GET or HEAD, the cache takes them off, and the list, before it does anything else with them;
    ///   neither the key nor the inner service sees them.
    /// - *Signed URLs.* If the key leaves the signature out, whatever checks it must stand outside of the cache; so it does with
    ///   [`TargetUri::without_signatures`](crate::TargetUri::without_signatures). Their end is heeded by [`expiry`](Self::expiry).
    /// - *Fields.* The inner service is asked with the fields of whoever came first. If it answers by one of them
    ///   (`X-Forwarded-Host`, `X-Original-URL`, `Cookie`, ...), it must name it in `Vary` or say `private`, or the
    ///   field must be in the key, or be taken off before the request comes here. `Authorization` alone is safe
    ///   by itself (RFC 9111 §3.5; [`share_with_authorized`](Policy::share_with_authorized)), and of what a `Cookie`
    ///   brought nothing is [guessed](Policy::default_ttl).
    ///
    /// ```
    /// # use tower_video_cache::{MokaStore, TargetUri, VideoCacheLayer};
    /// // The query proves who may see the video, and does not change it. Whatever checks it stands outside.
    /// let uri = TargetUri::new().without_parameters(["expires", "signature"]);
    /// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)).key(uri.into_fn());
    /// ```
    #[must_use]
    pub fn key(self, key: impl Fn(&request::Parts) -> CacheKey + Send + Sync + 'static) -> Self {
        self.set(|config| config.key = Arc::new(key))
    }

    /// Which requests go to the inner service untouched: those for which `bypass` is true. It sees the request as
    /// it arrives at the layer, as the [key function](Self::key) does. Their answers get no more than a member of
    /// `Cache-Status`. Default: none.
    ///
    /// Bypassed in any case, since their answers are no answers to a GET: a GET or HEAD with content, with `Upgrade`,
    /// or with a field that asks for another method (`X-HTTP-Method-Override`, `X-HTTP-Method`, `X-Method-Override`). Likewise
    /// one whose URL has [ended](Self::expiry).
    #[must_use]
    pub fn bypass(self, bypass: impl Fn(&request::Parts) -> bool + Send + Sync + 'static) -> Self {
        self.set(|config| config.bypass = Some(Arc::new(bypass)))
    }

    /// Until when the URI of a request holds, for URLs that end by what they say themselves. Default: the end of URLs signed as
    /// S3, `CloudFront`, Google Cloud Storage, Google Cloud CDN or Azure have it (see
    /// [`TargetUri::without_signatures`](crate::TargetUri::without_signatures)), none for others.
    ///
    /// From then on the request goes to the inner service untouched, as those that [`bypass`](Self::bypass) names, however
    /// fresh what is stored; and what a URL brought is fresh no longer than that URL holds, whichever requests share it. A URL
    /// that is read as signed, and whose end cannot be read, holds no more.
    ///
    /// Ends are by the layer's [`clock`](Self::clock). A body that has begun is sent to its end; where chunks of it have to be
    /// fetched after the URL has ended, as with [`Fill::Sliced`] they may, the inner service decides whether it goes on.
    ///
    /// ```
    /// # use std::time::{Duration, UNIX_EPOCH};
    /// # use tower_video_cache::{MokaStore, VideoCacheLayer};
    /// // A URL of one's own making: `?until=1795341600&proof=…`.
    /// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)).expiry(|request| {
    ///     let mut parameters = request.uri.query()?.split('&');
    ///     let seconds = parameters.find_map(|parameter| parameter.strip_prefix("until="))?;
    ///     Some(UNIX_EPOCH + Duration::from_secs(seconds.parse().unwrap_or(0).min(1 << 40)))
    /// });
    /// ```
    #[must_use]
    pub fn expiry(
        self,
        expiry: impl Fn(&request::Parts) -> Option<SystemTime> + Send + Sync + 'static,
    ) -> Self {
        self.set(|config| config.expiry = Arc::new(expiry))
    }

    /// What this cache calls itself in `Cache-Status`. Default: `tower-video-cache`.
    ///
    /// ```
    /// # use tower_video_cache::{CacheName, MokaStore, VideoCacheLayer};
    /// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)).name(CacheName::new("edge-1")?);
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    #[must_use]
    pub fn name(self, name: CacheName) -> Self {
        self.set(|config| config.name = name)
    }

    /// Whether `Cache-Status` has the key that the cache looked for, as `key="…"` with what is not printable ASCII
    /// escaped. Default: false.
    ///
    /// To find out why two requests do not share a response. The keys made here are `@` and the authority (`:` and the
    /// scheme before it, where it counts), a line feed, then path and query. Where no key was looked for, as with
    /// `fwd=bypass` and `fwd=method`, none is shown.
    /// Every viewer sees it, and so does whatever logs the
    /// fields of responses: a key holds the URL, tokens in its query included, unless the
    /// [key function](Self::key) leaves them out; and it tells who would poison the cache what counts and what
    /// does not (RFC 9211 §6).
    #[must_use]
    pub fn show_key(self, show_key: bool) -> Self {
        self.set(|config| config.show_key = show_key)
    }

    /// How large the chunks are; fewer bytes where the store's values hold no more. Default: 1 MiB.
    #[must_use]
    pub fn chunk_size(self, chunk_size: ChunkSize) -> Self {
        self.set(|config| config.chunk_size = chunk_size)
    }

    /// When the first byte of a miss leaves. Default: [`Fill::Whole`].
    #[must_use]
    pub fn fill(self, fill: Fill) -> Self {
        self.set(|config| config.fill = fill)
    }

    /// Where the time comes from. Default: [`SystemClock`].
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        self.set(|config| config.clock = Arc::new(clock))
    }

    /// How long a request waits for another one's fill before it goes to the inner service itself.
    /// Default: 30 seconds.
    #[must_use]
    pub fn follower_limit(self, limit: Duration) -> Self {
        self.set(|config| config.follower_limit = limit)
    }

    /// How long the inner service may be silent while its answer is being stored, before it begins or within it.
    /// Then the fill is given up, those who wait for it are let go, and who led it gets what has come and what will
    /// come, live. Default: 60 seconds.
    #[must_use]
    pub fn idle_limit(self, limit: Duration) -> Self {
        self.set(|config| config.idle_limit = limit)
    }

    /// How long it is remembered that a response may not be stored: requests like its own go to the inner service at once,
    /// as their viewers asked, and none waits for another. An answer that may be stored ends it. Default: 10 seconds.
    #[must_use]
    pub fn refusal_ttl(self, ttl: Duration) -> Self {
        self.set(|config| config.refusal_ttl = ttl)
    }

    /// How long one call of the store may take before it counts as failed, and about how long all that fails for one answer
    /// may take before its first byte: then the inner service answers. After three in a row that took longer the
    /// store is left alone for five times as long: requests are answered at once, as if nothing were stored, and what they
    /// bring is not; a body that has begun is read to its end. What an unsafe request invalidates is tried to be taken
    /// out at any time, and again and again if it could not be. Default: 2 seconds.
    #[must_use]
    pub fn store_limit(self, limit: Duration) -> Self {
        self.set(|config| config.store_limit = limit)
    }

    /// How long a [lease](Store::lease) lasts that is not renewed; a fill renews its own every third of it. It is what a node
    /// that dies while it fills costs the others at most. Zero asks for no leases. Default: 10 seconds.
    ///
    /// Where the store has leases, a miss is filled by one of all the nodes that share the store. The others wait, no longer
    /// than [`follower_limit`](Self::follower_limit), and serve what that one has stored; past it, their viewers go to the
    /// inner service themselves, with the detail `waited-too-long`. What a node pours with [`Fill::Progressive`] can be read on
    /// that node alone until all of it is stored: where that takes long, viewers of other nodes wait for as long as the limit
    /// lets them. Of what is [`Fill::Sliced`], the first part is fetched under a lease, and later ones without.
    ///
    /// A fill that lost its lease (it was paused or could not ask the store for longer, or another node invalidated what it
    /// fetches) is not stored, with the detail `lease-lost`; its viewers get their bytes all the same.
    ///
    /// Two caches behind each other must not share a store with leases and the keys in it: what the inner one misses it
    /// would wait for while the outer one, which holds the lease, waits for it. Give them a store each, or a prefix; or ask
    /// for no leases in the inner one.
    #[must_use]
    pub fn lease_time(self, time: Duration) -> Self {
        self.set(|config| config.lease_time = time)
    }

    /// What becomes of a fill when its last viewer has gone. Default: [`Abandon::FinishWithin`] 8 MiB.
    #[must_use]
    pub fn abandon(self, abandon: Abandon) -> Self {
        self.set(|config| config.abandon = abandon)
    }

    /// With [`Fill::Sliced`], and where lost chunks are fetched again: how many bytes beyond those that a viewer has read
    /// are fetched for it at most, rounded to chunks, and never beyond those that it asked for. They grow to this with
    /// what it reads, and end when it leaves. Default: 8 MiB.
    #[must_use]
    pub fn read_ahead(self, bytes: u64) -> Self {
        self.set(|config| config.read_ahead = bytes)
    }

    /// With [`Fill::Progressive`], and where the store has no room for the whole: how many chunks a fill may be ahead of
    /// the viewer that is farthest. Only who reads on moves it; who wants a part farther ahead goes to the inner service by
    /// itself, with the detail `no-room`. Default: 32.
    #[must_use]
    pub fn fill_ahead(self, chunks: u64) -> Self {
        self.set(|config| config.fill_ahead = chunks)
    }

    /// How many fills may be under way at once. What would be one more takes the place of the oldest that nobody waits for;
    /// if there is none, it passes through, with the detail `fills-limit` in `Cache-Status`. One that waits for another node's [lease](Self::lease_time) is none yet. Default: 256.
    #[must_use]
    pub fn most_fills(self, fills: usize) -> Self {
        self.set(|config| config.most_fills = fills)
    }

    /// How many bytes all fills under way may have promised to the store together. For what does not fit, those that nobody
    /// waits for yield, if that is enough; else it passes through, with the detail `no-room`. Default: half of the store's [capacity](Store::capacity), or no limit where that is not
    /// known.
    #[must_use]
    pub fn most_promised(self, bytes: u64) -> Self {
        self.set(|config| config.most_promised = Some(bytes))
    }

    /// How many calls of the inner service for parts of one object may be under way at once. Whoever needs one more waits
    /// for its turn, no longer than [`follower_limit`](Self::follower_limit). Default: 32.
    #[must_use]
    pub fn most_slices(self, calls: usize) -> Self {
        self.set(|config| config.most_slices = calls)
    }

    /// How often the body of one response that dies midway is continued by a `Range` request under its strong validator,
    /// before the fill fails. Default: 3.
    #[must_use]
    pub fn resumes(self, times: u32) -> Self {
        self.set(|config| config.resumes = times)
    }

    /// How long a fill waits before it continues a body for the first time; each further time twice as long.
    /// Default: 100 milliseconds.
    #[must_use]
    pub fn resume_pause(self, pause: Duration) -> Self {
        self.set(|config| config.resume_pause = pause)
    }

    /// How often the store has given back a chunk as something else than what was put, since this layer was set up: bytes
    /// that a disk, a network or another program altered. None of them reached a viewer: the chunk was fetched again, or ended
    /// the body with an error. If the number grows, something is wrong with the store.
    pub fn damaged_chunks(&self) -> u64 {
        self.engine.damaged_chunks()
    }

    fn set(self, change: impl FnOnce(&mut Config)) -> Self {
        Self { engine: Arc::new(self.engine.reconfigured(change)) }
    }
}

impl<S> Layer<S> for VideoCacheLayer {
    type Service = VideoCache<S>;

    fn layer(&self, inner: S) -> Self::Service {
        VideoCache::new(inner, Arc::clone(&self.engine))
    }
}

impl fmt::Debug for VideoCacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VideoCacheLayer").finish_non_exhaustive()
    }
}
