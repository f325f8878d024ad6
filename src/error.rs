//! [`Error`]: why a body ended early, or a setting was refused.

use std::{error::Error as StdError, fmt, time::Duration};

/// Any error, owned and sendable. Stores fail with it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// The reason why a [`ResponseBody`](crate::ResponseBody) ended early, or why a setting was refused.
///
/// The type is opaque. Ask it with [`is_store`](Self::is_store), [`is_timeout`](Self::is_timeout),
/// [`is_corrupt`](Self::is_corrupt), [`is_truncated`](Self::is_truncated), [`is_inner`](Self::is_inner),
/// [`is_changed`](Self::is_changed), [`is_config`](Self::is_config) and [`is_not_offered`](Self::is_not_offered). Its
/// [`source`](StdError::source) is the cause, if there is one.
///
/// ```
/// use tower_video_cache::Error;
///
/// /// The label of a metric.
/// fn label(error: &Error) -> &'static str {
///     if error.is_timeout() {
///         "store-timeout"
///     } else if error.is_store() || error.is_corrupt() {
///         "store"
///     } else if error.is_inner() || error.is_truncated() || error.is_changed() {
///         "inner"
///     } else {
///         "other"
///     }
/// }
/// # let refused = tower_video_cache::ChunkSize::new(0).unwrap_err();
/// # assert_eq!((label(&refused), refused.is_config()), ("other", true));
/// ```
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: Option<BoxError>,
}

impl Error {
    pub(crate) fn lost() -> Self {
        Self::new(Kind::Lost)
    }

    pub(crate) fn corrupt() -> Self {
        Self::new(Kind::Corrupt)
    }

    pub(crate) fn timed_out() -> Self {
        Self::new(Kind::TimedOut)
    }

    pub(crate) fn too_short() -> Self {
        Self::new(Kind::TooShort)
    }

    pub(crate) fn too_long() -> Self {
        Self::new(Kind::TooLong)
    }

    pub(crate) fn changed() -> Self {
        Self::new(Kind::Changed)
    }

    pub(crate) fn broken() -> Self {
        Self::new(Kind::Broken)
    }

    pub(crate) fn config(what: &'static str) -> Self {
        Self::new(Kind::Config(what))
    }

    #[cfg(feature = "redis")]
    pub(crate) fn refused_config(what: &'static str, source: BoxError) -> Self {
        Self { kind: Kind::Config(what), source: Some(source) }
    }

    pub(crate) fn not_offered() -> Self {
        Self::new(Kind::NotOffered)
    }

    pub(crate) fn store(source: BoxError) -> Self {
        Self { kind: Kind::Store, source: Some(source) }
    }

    /// The store failed after a wait of this length.
    pub(crate) fn late_store(source: BoxError, waited: Duration) -> Self {
        let micros = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
        Self { kind: Kind::LateStore(micros), source: Some(source) }
    }

    pub(crate) fn inner(source: BoxError) -> Self {
        Self { kind: Kind::Inner, source: Some(source) }
    }

    /// The store failed, took too long, or no longer has a chunk.
    pub fn is_store(&self) -> bool {
        matches!(self.kind, Kind::Store | Kind::LateStore(_) | Kind::LeftAlone | Kind::Lost | Kind::TimedOut)
    }

    /// A stored chunk failed its checksum.
    pub fn is_corrupt(&self) -> bool {
        matches!(self.kind, Kind::Corrupt)
    }

    /// A wait for the next bytes took too long, most often for the store: see [`Timeouts`](crate::Timeouts).
    /// [`is_store`](Self::is_store) is true, too.
    pub fn is_timeout(&self) -> bool {
        matches!(self.kind, Kind::TimedOut)
    }

    /// The inner body ended before its `Content-Length`, or ran past it.
    pub fn is_truncated(&self) -> bool {
        matches!(self.kind, Kind::TooShort | Kind::TooLong)
    }

    /// The inner body failed. The [`source`](StdError::source) is its error, unless the body belonged to another
    /// client's request.
    pub fn is_inner(&self) -> bool {
        matches!(self.kind, Kind::Inner | Kind::Broken)
    }

    /// The inner service now has another representation, so that the rest of the body cannot be fetched. The same goes
    /// if the inner service does not prove that it has the same representation.
    pub fn is_changed(&self) -> bool {
        matches!(self.kind, Kind::Changed)
    }

    /// A setting is out of its bounds.
    pub fn is_config(&self) -> bool {
        matches!(self.kind, Kind::Config(_))
    }

    /// The store does not offer what the call needs: see [`Store::put_new`](crate::Store::put_new).
    pub fn is_not_offered(&self) -> bool {
        matches!(self.kind, Kind::NotOffered)
    }

    /// The store does not have the chunk, or has other bytes for it.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.kind, Kind::Lost | Kind::Corrupt)
    }

    /// The store was not called, because it hung a moment ago.
    pub(crate) fn left_alone(source: BoxError) -> Self {
        Self { kind: Kind::LeftAlone, source: Some(source) }
    }

    pub(crate) fn is_left_alone(&self) -> bool {
        matches!(self.kind, Kind::LeftAlone)
    }

    /// How long the cache waited for the store in vain, if it was long enough to count.
    pub(crate) fn waited(&self) -> Duration {
        match self.kind {
            Kind::LateStore(micros) => Duration::from_micros(micros.into()),
            // As long as any call may take.
            Kind::TimedOut => Duration::MAX,
            _ => Duration::ZERO,
        }
    }

    fn new(kind: Kind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Store | Kind::LateStore(_) => "store failed",
            Kind::LeftAlone => "store circuit breaker is open",
            Kind::Lost => "store no longer has this chunk",
            Kind::TimedOut => "timed out waiting for the store",
            Kind::Corrupt => "stored chunk failed its checksum",
            Kind::TooShort => "inner body ended before its content-length",
            Kind::TooLong => "inner body is longer than its content-length",
            Kind::Inner => "inner body failed",
            Kind::Broken => "inner body that was to bring this chunk failed",
            Kind::Changed => "inner service has another representation by now",
            Kind::Config(what) => what,
            Kind::NotOffered => "the store keeps no log of purges",
        })
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

#[derive(Debug)]
enum Kind {
    Store,
    /// Microseconds. The number is small because every result of a hit has room for an error.
    LateStore(u32),
    LeftAlone,
    Lost,
    TimedOut,
    Corrupt,
    TooShort,
    TooLong,
    Inner,
    Broken,
    Changed,
    Config(&'static str),
    NotOffered,
}
