//! [`Observer`]: hears of each event of a cache, for metrics, logs and traces of an application's own.

use std::time::Duration;

use http::{Method, StatusCode, Uri};

/// Hears of each event of a cache: [`VideoCacheLayer::observer`](crate::VideoCacheLayer::observer).
///
/// The cache calls the observer in the midst of its work, at times for each chunk. So the observer must be quick, and
/// must not block. A panic of an observer is caught and ignored. Any closure of the right type is an observer.
///
/// If all that you want is figures, [`CacheHandle::stats`](crate::CacheHandle::stats) has them without an observer.
///
/// ```
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// use tower_video_cache::Event;
///
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).observer(|event: &Event<'_>| {
///     if let Event::Answered { uri, outcome, status: Some(status), waited, .. } = event {
///         println!("{} {status} {outcome} after {waited:?}", uri.path());
///     }
/// });
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// Hears of one event.
    fn observe(&self, event: &Event<'_>);

    /// Whether the observer looks at the method and the URI of requests, and at the time that a body took. Default: yes.
    ///
    /// If no observer of a cache does, an answer costs less. The observer then gets `GET`, `/` and no time in place of
    /// them.
    fn looks_at_requests(&self) -> bool {
        true
    }
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

/// An event of a cache. The words are those of [`Stats`](crate::Stats).
///
/// A URI is the one of the client's request, with its whole query. **A query may prove who may see the video**, so
/// think before you write it down.
///
/// ```
/// use tower_video_cache::Event;
///
/// fn is_trouble(event: &Event<'_>) -> bool {
///     matches!(event, Event::ChunkDamaged { .. } | Event::StoreLeftAlone { .. })
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An answer is about to leave.
    #[non_exhaustive]
    Answered {
        /// The method of the request.
        method: &'a Method,
        /// The URI of the request, as it came to the layer.
        uri: &'a Uri,
        /// The status of the answer; `None` if the inner service failed, and there was no answer.
        status: Option<StatusCode>,
        /// The outcome by the word of `Cache-Status`, as in [`Stats::requests`](crate::Stats::requests).
        outcome: &'static str,
        /// The `detail` of `Cache-Status`.
        detail: Option<&'static str>,
        /// The time for which the client waited; zero if the answer was there at once. The first bytes of an answer are
        /// at hand when it leaves.
        waited: Duration,
    },
    /// The body of an answer has ended. An answer without bytes has no such event.
    #[non_exhaustive]
    BodyEnded {
        /// The method of the request.
        method: &'a Method,
        /// The URI of the request, as it came to the layer.
        uri: &'a Uri,
        /// The outcome of the request, as in [`Stats::requests`](crate::Stats::requests).
        outcome: &'static str,
        /// Bytes that left, and came from the store.
        from_store: u64,
        /// Bytes that left, and came from the inner service, unstored.
        from_inner: u64,
        /// How the body ended: `whole`, `left` by its client, or `broken`.
        end: &'static str,
        /// The time since the request.
        took: Duration,
    },
    /// The inner service is about to be called.
    #[non_exhaustive]
    InnerCalled {
        /// The reason, as in [`Stats::inner_requests`](crate::Stats::inner_requests).
        reason: &'static str,
    },
    /// A body of the inner service has been read, to its end or as far as it was needed.
    #[non_exhaustive]
    InnerRead {
        /// The reason of the call, as in [`Stats::inner_bytes`](crate::Stats::inner_bytes).
        reason: &'static str,
        /// The bytes that came.
        bytes: u64,
    },
    /// A fill has begun.
    #[non_exhaustive]
    FillBegan {
        /// The cache key.
        key: &'a [u8],
    },
    /// A fill has ended.
    #[non_exhaustive]
    FillEnded {
        /// The cache key.
        key: &'a [u8],
        /// How it ended, as in [`Stats::fill_durations`](crate::Stats::fill_durations).
        end: &'static str,
        /// The time since it began.
        took: Duration,
    },
    /// The store has been called.
    #[non_exhaustive]
    StoreCalled {
        /// The operation, as in [`Stats::store_calls`](crate::Stats::store_calls).
        operation: &'static str,
        /// The time that the call took; zero if it answered at once.
        took: Duration,
        /// Whether it failed, took too long or panicked.
        has_failed: bool,
    },
    /// The store's last calls took too long. It is left alone for a while, and then tried again.
    #[non_exhaustive]
    StoreLeftAlone {
        /// The operation that is not called: `get` or `put`.
        operation: &'static str,
    },
    /// The store answers again.
    #[non_exhaustive]
    StoreBack {
        /// The operation that is called again: `get` or `put`.
        operation: &'static str,
    },
    /// A chunk failed its checksum. No client gets its bytes.
    ChunkDamaged,
    /// The store lost a chunk of a stored response. The chunk is fetched again.
    ChunkLost,
    /// Chunks that the store lost were fetched again.
    #[non_exhaustive]
    ChunksHealed {
        /// How many.
        chunks: u64,
    },
    /// A stored response is removed, because a request made it untrue (RFC 9111 §4.4).
    #[non_exhaustive]
    Invalidated {
        /// The cache key.
        key: &'a [u8],
    },
}
