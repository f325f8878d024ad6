//! [`Transfer`]: bytes on their way from the inner service into the store.

use crate::engine::state::Engine;

/// Bytes on their way from the inner service into the store, from
/// [`CacheHandle::transfers`](crate::CacheHandle::transfers).
///
/// ```
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// # let cache = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle();
/// for transfer in cache.transfers() {
///     println!("{}: bytes {} to {} are stored", transfer.key, transfer.start, transfer.next);
/// }
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transfer {
    /// The cache key, with `\x..` for bytes that are not printable.
    pub key: String,
    /// The length of the whole body in bytes, if it is known.
    pub length: Option<u64>,
    /// The offset of the first byte that the transfer brings.
    pub start: u64,
    /// The offset of the byte that is stored next: all from `start` up to it are stored.
    pub next: u64,
}

impl Transfer {
    pub(crate) fn all(engine: &Engine) -> Vec<Self> {
        let of = |(key, length, start, next): (Vec<u8>, _, _, _)| Self {
            key: key.escape_ascii().to_string(),
            length,
            start,
            next,
        };
        let mut all: Vec<_> = engine.supplies.under_way().into_iter().map(of).collect();
        all.sort_by(|one, other| (&one.key, one.start).cmp(&(&other.key, other.start)));
        all
    }
}
