//! [`Explanation`]: what a request would get, and why.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, StatusCode, header, request};

use crate::{
    counters::REQUESTS,
    engine::{
        lookup::{Look, lookup},
        respond::Treatment,
        state::{
            Engine,
            entry::{Accepted, Entry, Target},
        },
    },
    semantics::{
        cache_status::{Forwarded, Generated, Outcome, Refusal},
        fields::remove_listed,
        freshness::Reuse,
    },
};

/// The answer that a request would get, and why, from [`CacheHandle::explain`](crate::CacheHandle::explain).
///
/// It prints as a few lines of text.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// # let cache = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle();
/// let (request, ()) = http::Request::get("http://example.com/video.mp4").body(())?.into_parts();
/// let explanation = cache.explain(&request).await;
/// assert_eq!(explanation.outcome, "uri-miss");
/// assert!(explanation.stored.is_none());
/// println!("{explanation}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The cache key, with `\x..` for bytes that are not printable.
    pub key: String,
    /// The outcome that the request would have now, by the word of `Cache-Status`: `hit`, `hit-stale`, the reason why it
    /// would be forwarded, or `generated` for a 504.
    pub outcome: &'static str,
    /// Why the last answer to a request like this one was not stored, as long as the cache remembers: a `detail` of
    /// `Cache-Status`. Such requests go to the inner service at once.
    pub detail: Option<&'static str>,
    /// Whether a fill is under way that the request would join.
    pub is_being_filled: bool,
    /// The stored response that the request selects.
    pub stored: Option<StoredResponse>,
}

/// A stored response in an [`Explanation`].
///
/// ```
/// use tower_video_cache::StoredResponse;
///
/// fn is_complete(stored: &StoredResponse) -> bool {
///     stored.chunks_found == stored.chunks_sought && !stored.is_sparse
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredResponse {
    /// The status.
    pub status: StatusCode,
    /// The tag (RFC 9110 §8.8.3), if there is one. The cache may have made it.
    pub etag: Option<String>,
    /// The length of the body in bytes.
    pub length: u64,
    /// The bytes of a chunk.
    pub chunk_size: u32,
    /// The number of chunks of the whole body.
    pub chunks: u64,
    /// Whether only parts of the body were fetched, so that chunks may be missing without being lost.
    pub is_sparse: bool,
    /// How many chunks were sought: all of a short body, else some that lie evenly apart.
    pub chunks_sought: u64,
    /// How many of those the store has.
    pub chunks_found: u64,
    /// The first hexadecimal digits of the name of this body. A new fill makes another one.
    pub generation: String,
    /// When the response came from the inner service, or was last confirmed.
    pub received: SystemTime,
    /// Its age (RFC 9111 §4.2.3).
    pub age: Duration,
    /// How long it is fresh (RFC 9111 §4.2.1).
    pub lifetime: Duration,
    /// The source of the lifetime: `s-maxage`, `max-age`, `expires`, a `heuristic`, the policy's `default`, a `rule` of the
    /// policy, its preset for `streaming`, the expiry of a signed `url`, a `purge`, or `nothing` if no lifetime may be
    /// guessed.
    pub lifetime_by: &'static str,
    /// The life of an HLS or DASH manifest: `live`, `ended`, or `multivariant` for a list of playlists.
    /// `None` for any other response, and for a manifest that the cache has not read as a whole.
    pub playlist: Option<&'static str>,
    /// The target duration of a live playlist, by which [`Policy::streaming`](crate::Policy::streaming) bounds its
    /// lifetime.
    pub target_duration: Option<Duration>,
    /// The request fields that selected it (RFC 9111 §4.1).
    pub selected_by: Vec<String>,
}

impl Explanation {
    /// Looks into the store as a request would, and asks the inner service nothing.
    pub(crate) async fn of(engine: &Engine, request: &request::Parts) -> Self {
        let mut request = request.clone();
        remove_listed(&mut request.headers);
        let target = Target::new((engine.config.key)(&request));
        let directives = engine.directives(&request);
        let now = engine.config.clock.now();
        let look = lookup(engine, &target, &request.headers, &directives, Accepted::Nothing).await;
        let (forwarded, entry, slot) = match &look {
            Look::Failed(_) => (Some(Forwarded::Miss), None, &target.primary),
            Look::Nothing(reason, slot, _) => (Some(*reason), None, slot),
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated, _) => {
                (None, Some(entry), &entry.slot)
            }
            Look::Found(entry, Reuse::Validated(reason) | Reuse::ValidatedForOne(reason), _) => {
                (Some(*reason), Some(entry), &entry.slot)
            }
        };
        let forwarded = match entry {
            _ if directives.no_store && !directives.only_if_cached => Some(Forwarded::Request),
            Some(entry) if engine.is_half_good(entry, &request, &directives) => {
                forwarded.or(Some(Forwarded::Partial))
            }
            _ => forwarded,
        };
        let ttl = entry.map(|entry| entry.freshness.ttl(now));
        let told = match engine.treatment(&request, false) {
            Treatment::Bypass(reason) => Outcome { forwarded: Some(reason), ..Outcome::default() }.told(),
            Treatment::Invalidate => {
                Outcome { forwarded: Some(Forwarded::Method), ..Outcome::default() }.told()
            }
            // RFC 9111 §5.2.1.7: the client gets a 504 in the place of a forwarded request.
            Treatment::Cache if directives.only_if_cached && forwarded.is_some() => {
                Generated(Refusal::OnlyIfCached).told()
            }
            Treatment::Cache => Outcome { forwarded, ttl, ..Outcome::default() }.told(),
        };
        let refusal = engine.uncacheable.recall(&target.primary, &request.headers, now);
        let is_being_filled = engine.flights.is_under_way(slot);
        Self {
            key: target.key.as_bytes().escape_ascii().to_string(),
            outcome: REQUESTS.counts.words.get(usize::from(told.place)).copied().unwrap_or_default(),
            detail: refusal.map(Refusal::name),
            is_being_filled,
            stored: match entry {
                Some(entry) => Some(StoredResponse::of(engine, entry, now).await),
                None => None,
            },
        }
    }
}

impl StoredResponse {
    async fn of(engine: &Engine, entry: &Entry, now: SystemTime) -> Self {
        let (manifest, layout) = (&entry.manifest, entry.manifest.layout);
        let chunks = layout.length.div_ceil(u64::from(layout.chunk_size.max(1)));
        // A chunk of a store elsewhere is a mebibyte on the wire.
        let most = if engine.store.can_alter() { MOST_ELSEWHERE } else { MOST_AT_HAND };
        let chunks_sought = chunks.min(most);
        let mut chunks_found = 0;
        for sought in 0..chunks_sought {
            // Evenly apart, and the first and the last among them.
            let index = if chunks_sought < 2 { 0 } else { sought * (chunks - 1) / (chunks_sought - 1) };
            if engine.records.chunk(layout.chunk(index)).await.is_ok() {
                chunks_found += 1;
            }
        }
        let (lifetime, given_by) = entry.freshness.lifetime();
        Self {
            status: manifest.status,
            etag: text(&manifest.headers, &header::ETAG),
            length: layout.length,
            chunk_size: layout.chunk_size,
            chunks,
            is_sparse: manifest.sparse,
            chunks_sought,
            chunks_found,
            generation: format!("{:032x}", layout.generation.0).chars().take(8).collect(),
            received: manifest.exchange.received,
            age: entry.freshness.age(now),
            lifetime,
            lifetime_by: given_by.name(),
            playlist: manifest.playlist.name(),
            target_duration: manifest.playlist.target(),
            selected_by: manifest.selecting.iter().map(|field| field.name.to_string()).collect(),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key: {}", self.key)?;
        writeln!(f, "outcome: {}", self.outcome)?;
        if let Some(detail) = self.detail {
            writeln!(f, "last answer was not stored: {detail}")?;
        }
        if self.is_being_filled {
            writeln!(f, "a fill is under way")?;
        }
        match &self.stored {
            Some(stored) => stored.fmt(f),
            None => writeln!(f, "nothing is stored"),
        }
    }
}

impl fmt::Display for StoredResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "stored: {} of {} bytes, generation {}", self.status, self.length, self.generation)?;
        if let Some(etag) = &self.etag {
            writeln!(f, "tag: {etag}")?;
        }
        let fetched = if self.is_sparse { "in parts" } else { "as a whole" };
        writeln!(
            f,
            "chunks: {} of up to {} bytes, fetched {fetched}; {} of {} sought are there",
            self.chunks, self.chunk_size, self.chunks_found, self.chunks_sought
        )?;
        let (age, lifetime) = (self.age.as_secs(), self.lifetime.as_secs());
        writeln!(f, "age: {age} s of {lifetime} s, by {}", self.lifetime_by)?;
        if let Some(playlist) = self.playlist {
            write!(f, "playlist: {playlist}")?;
            self.target_duration
                .map_or(Ok(()), |target| write!(f, ", a target of {} s", target.as_secs_f64()))?;
            writeln!(f)?;
        }
        if !self.selected_by.is_empty() {
            writeln!(f, "selected by: {}", self.selected_by.join(", "))?;
        }
        Ok(())
    }
}

fn text(headers: &HeaderMap, name: &header::HeaderName) -> Option<String> {
    headers.get(name).map(HeaderValue::as_bytes).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// The most chunks that are sought in this process's memory, and elsewhere.
const MOST_AT_HAND: u64 = 64;
const MOST_ELSEWHERE: u64 = 8;
