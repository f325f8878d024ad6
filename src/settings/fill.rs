//! [`Fill`]: how a missing response is fetched and stored.

use std::num::NonZeroUsize;

/// How the cache fetches a response that it does not have, and when the first byte of it leaves.
///
/// | | first byte to the client | calls of the inner service |
/// |---|---|---|
/// | [`auto`](Self::auto) | once the first bytes of the range are stored | one, and one for each part that a client asks for beside it |
/// | [`whole`](Self::whole) | once all of the response is stored | one |
/// | [`progressive`](Self::progressive) | once the first bytes are stored | one |
/// | [`sliced`](Self::sliced) | once the first bytes of the range are stored | one for each part that a client asks for |
///
/// Each mode takes the settings below. A mode that never needs a setting ignores it.
///
/// ```
/// # use tower_video_cache::{Fill, MokaStore, VideoCacheLayer};
/// let layer =
///     VideoCacheLayer::new(MokaStore::new(1 << 30)?).fill(Fill::auto().read_ahead(4 << 20));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    pub(crate) mode: Mode,
    pub(crate) max_lead: u64,
    pub(crate) read_ahead: u64,
    pub(crate) max_calls: NonZeroUsize,
    pub(crate) awaits_length: bool,
}

impl Fill {
    /// The request of the client, and what is known of the inner service, decide. This is the default.
    ///
    /// A request without `Range`, or for `bytes=0-`, makes one call that brings the response from its start. A request for
    /// another range makes a call for that range, if the inner service gives parts, even while the start is still coming.
    /// Clients get each byte as soon as it is stored.
    pub const fn auto() -> Self {
        Self::of(Mode::Auto)
    }

    /// Clients get a response once all of it is stored. The cache never serves a part of an unfinished response.
    pub const fn whole() -> Self {
        Self::of(Mode::Whole)
    }

    /// Clients get each byte once it is stored. One call of the inner service brings all of the response.
    pub const fn progressive() -> Self {
        Self::of(Mode::Progressive)
    }

    /// The cache fetches only the parts that clients ask for, by `Range` requests bound to one strong validator, in windows
    /// that grow while a client reads.
    ///
    /// The cache falls back to [`progressive`](Self::progressive) if the inner service answers without parts, without a
    /// strong validator or without a complete length.
    pub const fn sliced() -> Self {
        Self::of(Mode::Sliced)
    }

    /// The most bytes that a fill may be ahead of the client that has read farthest. Default: 32 MiB.
    ///
    /// The cache rounds this up to chunks, at least one. The limit holds where the store has no room for the whole
    /// response, in every mode but [`whole`](Self::whole). Only a client that reads moves the fill on. A client that
    /// wants a part farther ahead goes to the inner service by itself, with the detail `no-room`.
    #[must_use]
    pub const fn max_lead(mut self, bytes: u64) -> Self {
        self.max_lead = bytes;
        self
    }

    /// The most bytes that the cache fetches beyond those that a client has read. Default: 8 MiB.
    ///
    /// The cache rounds this to chunks, and never fetches beyond the range that the client asked for. The read-ahead
    /// grows to this limit while the client reads, and ends when the client leaves. [`sliced`](Self::sliced) and
    /// [`auto`](Self::auto) use it, and every mode uses it to fetch lost chunks again.
    #[must_use]
    pub const fn read_ahead(mut self, bytes: u64) -> Self {
        self.read_ahead = bytes;
        self
    }

    /// The most calls of the inner service for parts of one response at a time. Default: 32. [`auto`](Self::auto) ignores
    /// this: there, each client has one call at a time, as it would have without the cache.
    ///
    /// A request that needs one more call waits for its turn, no longer than
    /// [`Timeouts::follower`](crate::Timeouts::follower).
    #[must_use]
    pub const fn max_calls(mut self, calls: NonZeroUsize) -> Self {
        self.max_calls = calls;
        self
    }

    /// Whether clients get a body without a declared length only once its end is known. Default: no.
    ///
    /// Some servers hide it from their clients if such a body breaks. An inner service behind one of them may then give
    /// a short body that looks whole. If this is set, the cache knows the length before the first byte leaves, and all
    /// clients get a `Content-Length`. A client of HTTP/1.0 always waits, because it could not tell a broken body from a
    /// whole one.
    #[must_use]
    pub const fn await_length(mut self, awaits: bool) -> Self {
        self.awaits_length = awaits;
        self
    }

    const fn of(mode: Mode) -> Self {
        Self { mode, max_lead: 32 << 20, read_ahead: 8 << 20, max_calls: MAX_CALLS, awaits_length: false }
    }
}

impl Default for Fill {
    /// [`Fill::auto`].
    fn default() -> Self {
        Self::auto()
    }
}

/// The mode alone, for the engine's decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Auto,
    Whole,
    Progressive,
    Sliced,
}

const MAX_CALLS: NonZeroUsize = NonZeroUsize::new(32).unwrap();
