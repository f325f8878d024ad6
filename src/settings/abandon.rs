//! [`Abandon`]: the end of a fill that nobody waits for.

/// The end of a fill after the last client that waits for it has left.
///
/// A fill without a waiting client yields its place ([`Limits::max_fills`](crate::Limits::max_fills)) and its reserved
/// bytes ([`Limits::max_reserved`](crate::Limits::max_reserved)) to a fill that a client waits for. The oldest such
/// fill stops first, and the cache stops no more of them than it must. Every variant is subject to this.
///
/// The cache keeps the chunks of a stopped fill if a strong validator binds them to the response. A later fill then
/// fetches only the rest. Without a strong validator the chunks are lost.
///
/// ```
/// # use tower_video_cache::{Abandon, MokaStore, VideoCacheLayer};
/// // Clients often leave, and the origin is paid by the byte.
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).abandon(Abandon::Stop);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Abandon {
    /// The fill is finished. A client that asks for one byte of a large video and leaves then makes the inner service
    /// send all of it, so use this where you trust the clients.
    Finish,
    /// The fill stops at once.
    Stop,
    /// The fill is finished if at least this percentage of a known length is stored. Otherwise it stops.
    FinishFromPercent(u8),
    /// The fill is finished if at most this many bytes are missing. Otherwise it stops. A fill of unknown length goes
    /// on for this many bytes, rounded up to chunks, and stops if the body has not ended by then.
    FinishWithin(u64),
}

impl Default for Abandon {
    /// [`FinishWithin`](Self::FinishWithin) 8 MiB. A client that leaves costs the inner service no more than that.
    fn default() -> Self {
        Self::FinishWithin(8 << 20)
    }
}

impl Abandon {
    /// Whether an abandoned fill stops, with `stored` bytes of `length`, and `since` bytes stored after the last client
    /// left.
    pub(crate) fn stops(self, stored: u64, length: Option<u64>, since: u64) -> bool {
        match (self, length) {
            (Self::Finish, _) => false,
            (Self::Stop, _) | (Self::FinishFromPercent(_), None) => true,
            (Self::FinishWithin(bytes), None) => since >= bytes,
            (Self::FinishFromPercent(percent), Some(length)) => {
                u128::from(stored) * 100 < u128::from(length) * u128::from(percent)
            }
            (Self::FinishWithin(bytes), Some(length)) => length.saturating_sub(stored) > bytes,
        }
    }
}
