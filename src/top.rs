//! [`Top`]: the responses that are served, missed and refused most.

use crate::engine::state::{Engine, ranking};

/// The responses that are served, missed and refused most, from [`CacheHandle::top`](crate::CacheHandle::top).
///
/// Each list has at most 256 places, most first, and memory stays bounded whatever clients ask for. A key that comes late
/// takes the place of the last one in the list and inherits its number, so numbers near the end of a list are too high:
/// [`Ranked::inherited`] says by how much at most.
///
/// ```
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// # let cache = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle();
/// for video in cache.top().served.iter().take(10) {
///     println!("{}: {} bytes in {} answers", video.key, video.weight, video.requests);
/// }
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Top {
    /// By the bytes that clients asked for of stored responses.
    pub served: Vec<Ranked>,
    /// By the requests that the store did not answer at once.
    pub missed: Vec<Ranked>,
    /// By the requests whose answers were not stored.
    pub refused: Vec<Ranked>,
}

/// One place in [`Top`].
///
/// ```
/// use tower_video_cache::Ranked;
///
/// /// The least that can be true of it.
/// fn at_least(ranked: &Ranked) -> u64 {
///     ranked.weight - ranked.inherited
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ranked {
    /// The cache key, with `\x..` for bytes that are not printable. Of a long key, the first 512 bytes.
    pub key: String,
    /// The bytes or requests by which the list is sorted.
    pub weight: u64,
    /// The part of `weight` that may be that of other keys.
    pub inherited: u64,
    /// The requests since the key has its place.
    pub requests: u64,
    /// The `detail` of the last answer, in the list of the refused.
    pub detail: Option<&'static str>,
}

impl Top {
    pub(crate) fn of(engine: &Engine) -> Self {
        let since = engine.memo.all().filter_map(|decoded| {
            let (key, requests, bytes) = decoded.served()?;
            Some((key.to_vec(), requests, bytes))
        });
        let rankings = &engine.rankings;
        let [served, missed, refused] = [rankings.served(since), rankings.missed(), rankings.refused()]
            .map(|places| places.into_iter().map(Ranked::of).collect());
        Self { served, missed, refused }
    }
}

impl Ranked {
    fn of(ranked: ranking::Ranked) -> Self {
        let ranking::Ranked { key, weight, inherited, requests, why } = ranked;
        Self { key: key.escape_ascii().to_string(), weight, inherited, requests, detail: why }
    }
}
