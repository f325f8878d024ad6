//! [`Stats`]: the counters of a cache at one moment.

mod counts;
mod open_metrics;

use std::time::Duration;

pub use self::counts::{Counts, Latencies, Latency};
use crate::{
    counters::{
        BODIES, Counters, EVENTS, FILL_ENDS, INNER_BYTES, INNER_CALLS, MARKS, REFUSALS, REQUESTS,
        RESPONSE_BYTES, STORE_CALLS, STORE_ERRORS,
    },
    engine::state::Engine,
};

/// The counters of a cache, from [`CacheHandle::stats`](crate::CacheHandle::stats).
///
/// All counters begin at 0 when the cache is made, and only grow. The words are those of `Cache-Status` (RFC 9211), so
/// that figures and logs can be compared. Bytes are counted as they leave, and appear when the body ends: a client that
/// goes away counts for what it got.
///
/// ```
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// # let cache = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle();
/// let stats = cache.stats();
/// let misses = stats.requests.of("uri-miss") + stats.requests.of("vary-miss");
/// println!("{:?} of all requests were hits; {misses} misses", stats.hit_ratio());
/// # assert_eq!((stats.hit_ratio(), misses), (None, 0));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests by outcome: `hit`, `hit-stale`, a reason why the request was forwarded (`bypass`, `method`, `miss`,
    /// `partial`, `request`, `stale`, `uri-miss`, `vary-miss`), `generated` for an answer of the cache's own (504), and
    /// `error` if the inner service failed and there was no answer.
    pub requests: Counts,
    /// How long clients waited for answers, by outcome. The first bytes are at hand when an answer leaves, so this is the
    /// time to the first byte. An answer that was made at once took no time.
    pub first_byte: Latencies,
    /// Answers of which `Cache-Status` says `stored`, and those of which it says `collapsed`.
    pub marks: Counts,
    /// Answers by the `detail` of `Cache-Status`: why they were not stored, or not served from the store.
    pub refusals: Counts,
    /// Bytes of bodies that left: from the `store`, or from the `inner` service, unstored.
    pub response_bytes: Counts,
    /// Bodies: those that have `begun`, and those that ended as a `whole`, because the client `left`, or `broken`. A body
    /// without bytes is none of these.
    pub bodies: Counts,
    /// Calls of the inner service by reason: a `fill`, a `slice` of a response that comes in parts, to `heal` a lost chunk,
    /// to `resume` a body that broke, to `validate` a stored response, to `refresh` one in the background, or to `pass` a
    /// request.
    pub inner_requests: Counts,
    /// Bytes of bodies of the inner service, by the reason of the call.
    pub inner_bytes: Counts,
    /// Calls of the store by operation: `get`, `put`, `put_new`, `remove`, `lease`, `renew`, `release`.
    pub store_calls: Counts,
    /// Calls of the store that failed, took too long or panicked.
    pub store_errors: Counts,
    /// How long calls of the store took, by operation. A call that answers at once takes no time, as do those of a store in
    /// this process's memory.
    pub store_latency: Latencies,
    /// Fills that were begun.
    pub fills: u64,
    /// How long fills took, by how they ended: `stored`, here or by another node; `salvaged` if storing stopped midway,
    /// and the client got the rest live; `refused` if the answer was not stored; `broken` if the inner body broke;
    /// `failed` if the inner service did; `late` if it took longer than clients wait; `stopped` if the task ended
    /// before the fill did.
    pub fill_durations: Latencies,
    /// Fills under way now.
    pub fills_under_way: u64,
    /// The bytes of the store that fills under way have reserved:
    /// [`Limits::max_reserved`](crate::Limits::max_reserved). Layers that were made of one by setters share them.
    pub reserved_bytes: u64,
    /// Requests that waited for a fill of another request.
    pub followers: u64,
    /// Chunks that failed their checksum.
    ///
    /// A disk, a network or another program altered them. No client received such bytes: the cache fetched the chunk
    /// again, or ended the body with an error. If the number grows, something is wrong with the store.
    pub damaged_chunks: u64,
    /// How often a reader met a chunk of a stored response that the store had lost: most often, it evicted the chunk.
    pub lost_chunks: u64,
    /// Whole chunks that were fetched again because the store lost them.
    pub healed_chunks: u64,
    /// The bytes that the store can hold, if it knows.
    pub store_capacity: Option<u64>,
    /// The bytes that the store holds, if it knows.
    pub store_weight: Option<u64>,
    /// The bytes that the store has dropped to make room, if it knows.
    pub store_evicted_bytes: Option<u64>,
    /// Whether the store is left alone for a while, because its last calls took too long.
    pub store_is_left_alone: bool,
    /// The purges of the [log](crate::Purger) that this node has learned of.
    pub purges: u64,
    /// Whether the log of purges could not be read the last time. The cache then goes by the purges that it knows.
    pub purge_log_is_unreadable: bool,
}

impl Stats {
    pub(crate) fn of(engine: &Engine) -> Self {
        let counters: &Counters = &engine.counters;
        let read = |group| Counts(counters.read(group));
        let latencies = |durations| Latencies::of_all(counters.read_durations(durations));
        let (events, usage) = (read(EVENTS), engine.store.usage());
        Self {
            requests: read(REQUESTS.counts),
            first_byte: latencies(REQUESTS),
            marks: read(MARKS),
            refusals: read(REFUSALS),
            response_bytes: read(RESPONSE_BYTES),
            bodies: read(BODIES),
            inner_requests: read(INNER_CALLS),
            inner_bytes: read(INNER_BYTES),
            store_calls: read(STORE_CALLS.counts),
            store_errors: read(STORE_ERRORS),
            store_latency: latencies(STORE_CALLS),
            fills: events.of("fills"),
            fill_durations: latencies(FILL_ENDS),
            fills_under_way: engine.fills_under_way(),
            reserved_bytes: engine.budget.all_promised(),
            followers: events.of("followers"),
            damaged_chunks: events.of("damaged"),
            lost_chunks: events.of("lost"),
            healed_chunks: events.of("healed"),
            store_capacity: engine.store.capacity(),
            store_weight: usage.map(|usage| usage.weight),
            store_evicted_bytes: usage.and_then(|usage| usage.evicted),
            store_is_left_alone: engine.records.is_left_alone(),
            purges: engine.purges.learned(),
            purge_log_is_unreadable: engine.purges.is_unreadable(),
        }
    }

    /// The part of all answers that were hits, fresh or stale, from 0 to 1. `None` before the first answer. A player that
    /// asks for ranges makes many hits of one video: [`byte_hit_ratio`](Self::byte_hit_ratio) is not misled by them.
    pub fn hit_ratio(&self) -> Option<f64> {
        let hits = self.requests.of("hit").saturating_add(self.requests.of("hit-stale"));
        ratio(hits, self.requests.total())
    }

    /// The part of all bytes to clients that the inner service did not send for them, from 0 to 1. `None` before the first
    /// byte. Bytes that were fetched and not read count against it.
    pub fn byte_hit_ratio(&self) -> Option<f64> {
        let sent = self.response_bytes.total();
        ratio(sent.saturating_sub(self.inner_bytes.total()), sent)
    }

    /// The time that all calls of the store took together.
    pub fn store_time(&self) -> Duration {
        self.store_latency.all().total()
    }

    /// Bodies on their way to clients now.
    pub fn bodies_under_way(&self) -> u64 {
        let ended = ["whole", "left", "broken"].map(|word| self.bodies.of(word)).iter().sum();
        self.bodies.of("begun").saturating_sub(ended)
    }
}

fn ratio(part: u64, of: u64) -> Option<f64> {
    // A part in a million is near enough, and a u32 is a float without loss.
    let millionths = u128::from(part) * 1_000_000 / u128::from(of.max(1));
    (of > 0).then(|| f64::from(u32::try_from(millionths).unwrap_or(u32::MAX)) / 1_000_000.0)
}
