//! [`Limits`]: the bounds of all fills together.

use std::num::NonZeroUsize;

/// How many fills run at a time, and how many bytes of the store they reserve.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use tower_video_cache::{Limits, MokaStore, VideoCacheLayer};
/// let fills = NonZeroUsize::new(64).unwrap();
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).limits(Limits::default().max_fills(fills));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(crate) max_fills: NonZeroUsize,
    pub(crate) max_reserved: Option<u64>,
}

impl Limits {
    /// The most fills at a time. Default: 256.
    ///
    /// One more fill takes the place of the oldest fill that no client waits for. If there is none, the response passes
    /// through, with the detail `fills-limit` in `Cache-Status`. A fill that waits for another node's
    /// [lease](crate::Timeouts::lease) does not count.
    #[must_use]
    pub fn max_fills(mut self, fills: NonZeroUsize) -> Self {
        self.max_fills = fills;
        self
    }

    /// The most bytes that all fills together reserve in the store. Default: half of the store's
    /// [capacity](crate::Store::capacity), or no limit if the capacity is not known.
    ///
    /// A fill that needs more makes the fills yield that no client waits for. If that is not enough, the response
    /// passes through, with the detail `no-room`.
    #[must_use]
    pub fn max_reserved(mut self, bytes: u64) -> Self {
        self.max_reserved = Some(bytes);
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_fills: MAX_FILLS, max_reserved: None }
    }
}

const MAX_FILLS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
