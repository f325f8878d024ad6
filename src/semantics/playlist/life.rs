//! The life of a manifest: it goes on, or it has ended.

use std::time::Duration;

/// What the bytes of a manifest say of its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Playlist {
    /// The cache has not read all of the bytes in their order, or they are no manifest that it can read. This also
    /// stands for a response that is no manifest.
    #[default]
    Unknown,
    /// A later version may come. The duration is the target duration, or the least time between two versions.
    Live(Option<Duration>),
    /// No later version comes.
    Ended,
    /// A list of playlists. No player loads it twice (RFC 8216 §6.3.4), and it names no time.
    Multivariant,
}

impl Playlist {
    /// The word for it, if the cache knows it.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Unknown => None,
            Self::Live(_) => Some("live"),
            Self::Ended => Some("ended"),
            Self::Multivariant => Some("multivariant"),
        }
    }

    /// The target duration of a live playlist, if it names one.
    pub(crate) fn target(self) -> Option<Duration> {
        match self {
            Self::Live(target) => target,
            Self::Unknown | Self::Ended | Self::Multivariant => None,
        }
    }
}
