//! [`Timeouts`]: how long the cache waits for others.

use std::time::Duration;

/// How long the cache waits: for another request's fill, for the inner service, for the store and for other nodes.
///
/// ```
/// # use std::time::Duration;
/// # use tower_video_cache::{MokaStore, Timeouts, VideoCacheLayer};
/// let timeouts = Timeouts::default().follower(Duration::from_secs(10)).store(Duration::from_millis(500));
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).timeouts(timeouts);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    pub(crate) follower: Duration,
    pub(crate) inner_idle: Duration,
    pub(crate) store: Duration,
    pub(crate) lease: Duration,
    pub(crate) endless: Duration,
}

impl Timeouts {
    /// How long a request waits for another request's fill before it goes to the inner service itself. Default: 30
    /// seconds.
    #[must_use]
    pub fn follower(mut self, timeout: Duration) -> Self {
        self.follower = timeout;
        self
    }

    /// How long the inner service may be silent before or within a body that is being stored. Default: 60 seconds.
    ///
    /// After that the fill ends, and its followers stop waiting. The request that led the fill gets the bytes that
    /// came, and then those that still come, live.
    #[must_use]
    pub fn inner_idle(mut self, timeout: Duration) -> Self {
        self.inner_idle = timeout;
        self
    }

    /// How long one call of the store may take before it counts as failed. Default: 2 seconds.
    ///
    /// Failed calls delay the first byte of one answer by about this long at most. Then the inner service answers.
    ///
    /// After three late calls in a row the cache leaves the store alone for five times as long. Meanwhile requests go
    /// to the inner service, and their responses are not stored. Bodies that have begun are read to their end.
    /// Invalidations are sent to the store at any time, and are tried again until they succeed.
    #[must_use]
    pub fn store(mut self, timeout: Duration) -> Self {
        self.store = timeout;
        self
    }

    /// How long a [lease](crate::Store::lease) lasts without renewal. Default: 10 seconds. Zero asks for no leases.
    ///
    /// With leases, one of the nodes that share a store fills a missing response. The other nodes wait, no longer than
    /// [`follower`](Self::follower), and serve the stored response. A fill renews its lease every third of this time. A
    /// node that dies during a fill delays the others by this time at most.
    ///
    /// A fill that loses its lease is not stored, with the detail `lease-lost`. Its clients still get their bytes.
    ///
    /// Two caches behind each other must not share a store with leases and its keys, or the inner cache waits for the
    /// lease that the outer one holds. Give each its own store or prefix, or set this to zero in the inner cache.
    #[must_use]
    pub fn lease(mut self, time: Duration) -> Self {
        self.lease = time;
        self
    }

    /// How long a body without a declared length may come before the cache takes it for a live stream, which has no end.
    /// Default: 10 minutes.
    ///
    /// After that the body is stored no longer, with the detail `endless`. The request that led the fill gets the rest
    /// live. Later requests like it pass for [`Policy::uncacheable_ttl`](crate::Policy::uncacheable_ttl). In the mode
    /// [`Fill::whole`](crate::Fill::whole), in which no client gets a byte before the end, [`follower`](Self::follower)
    /// is the limit if it is shorter.
    #[must_use]
    pub fn endless(mut self, timeout: Duration) -> Self {
        self.endless = timeout;
        self
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            follower: Duration::from_secs(30),
            inner_idle: Duration::from_secs(60),
            store: Duration::from_secs(2),
            lease: Duration::from_secs(10),
            endless: Duration::from_secs(600),
        }
    }
}
