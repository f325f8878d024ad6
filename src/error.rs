//! The one error type: what went wrong while a body was stored or read back.

use std::{error::Error as StdError, fmt, time::Duration};

/// Any error, owned and sendable: what stores fail with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What can end a [`ResponseBody`](crate::ResponseBody) early, or refuse a setting.
///
/// Opaque; ask it with [`is_store`](Self::is_store), [`is_corrupt`](Self::is_corrupt),
/// [`is_truncated`](Self::is_truncated), [`is_inner`](Self::is_inner), [`is_changed`](Self::is_changed) and
/// [`is_setting`](Self::is_setting).
/// The cause, where there is one, is its [`source`](StdError::source).
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

    pub(crate) fn setting(what: &'static str) -> Self {
        Self::new(Kind::Setting(what))
    }

    #[cfg(feature = "redis")]
    pub(crate) fn refused_setting(what: &'static str, source: BoxError) -> Self {
        Self { kind: Kind::Setting(what), source: Some(source) }
    }

    pub(crate) fn store(source: BoxError) -> Self {
        Self { kind: Kind::Store, source: Some(source) }
    }

    /// The store failed, and took so long for it.
    pub(crate) fn late_store(source: BoxError, waited: Duration) -> Self {
        let micros = u32::try_from(waited.as_micros()).unwrap_or(u32::MAX);
        Self { kind: Kind::LateStore(micros), source: Some(source) }
    }

    pub(crate) fn inner(source: BoxError) -> Self {
        Self { kind: Kind::Inner, source: Some(source) }
    }

    /// The store failed, took too long, or no longer has a chunk that it had.
    pub fn is_store(&self) -> bool {
        matches!(self.kind, Kind::Store | Kind::LateStore(_) | Kind::LeftAlone | Kind::Lost | Kind::TimedOut)
    }

    /// The store gave a value that does not prove to be the one that was put.
    pub fn is_corrupt(&self) -> bool {
        matches!(self.kind, Kind::Corrupt)
    }

    /// The inner body ended before its `Content-Length`, or ran past it.
    pub fn is_truncated(&self) -> bool {
        matches!(self.kind, Kind::TooShort | Kind::TooLong)
    }

    /// The inner body ended with an error: of its own, which is the [`source`](StdError::source), or while another
    /// viewer's request was bringing it.
    pub fn is_inner(&self) -> bool {
        matches!(self.kind, Kind::Inner | Kind::Broken)
    }

    /// A part that was still to be fetched is of another representation by now, or cannot be proved to be of the same.
    pub fn is_changed(&self) -> bool {
        matches!(self.kind, Kind::Changed)
    }

    /// A setting was out of its bounds.
    pub fn is_setting(&self) -> bool {
        matches!(self.kind, Kind::Setting(_))
    }

    /// The store knows that it does not have the chunk, or has something else.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.kind, Kind::Lost | Kind::Corrupt)
    }

    /// The store was not asked, for it hung a moment ago.
    pub(crate) fn left_alone(source: BoxError) -> Self {
        Self { kind: Kind::LeftAlone, source: Some(source) }
    }

    pub(crate) fn is_left_alone(&self) -> bool {
        matches!(self.kind, Kind::LeftAlone)
    }

    /// A call of the store ran into its limit.
    pub(crate) fn is_timed_out(&self) -> bool {
        matches!(self.kind, Kind::TimedOut)
    }

    /// How long the store was waited for in vain, if that is worth a word.
    pub(crate) fn waited(&self) -> Duration {
        match self.kind {
            Kind::LateStore(micros) => Duration::from_micros(micros.into()),
            // As long as a call may take.
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
            Kind::Store | Kind::LateStore(_) => "the store failed",
            Kind::LeftAlone => "the store is left alone for a while",
            Kind::Lost => "the store no longer has this chunk",
            Kind::TimedOut => "the store took too long",
            Kind::Corrupt => "the store gave a value that was not put",
            Kind::TooShort => "the inner body ended before its content-length",
            Kind::TooLong => "the inner body is longer than its content-length",
            Kind::Inner => "the inner body failed",
            Kind::Broken => "the inner body that brought this chunk failed",
            Kind::Changed => "the inner service has another representation by now",
            Kind::Setting(what) => what,
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
    /// After so many microseconds: a small number, for every result of a hit has room for an error.
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
    Setting(&'static str),
}
