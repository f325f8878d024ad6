//! [`Stats`]: the counters of a cache at one moment, and their text for a monitoring system.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use crate::{
    counters::{
        BODIES, Counters, EVENTS, INNER_BYTES, INNER_CALLS, MARKS, REFUSALS, REQUESTS, RESPONSE_BYTES,
        STORE_CALLS, STORE_ERRORS, STORE_MICROS,
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
    /// Calls of the store by operation: `get`, `put`, `remove`, `lease`, `renew`, `release`.
    pub store_calls: Counts,
    /// Calls of the store that failed, took too long or panicked.
    pub store_errors: Counts,
    /// Microseconds that calls of the store took. A call that answers at once takes none, as do those of a store in this
    /// process's memory.
    pub store_micros: Counts,
    /// Fills that were begun.
    pub fills: u64,
    /// Fills under way now.
    pub fills_under_way: u64,
    /// Requests that waited for a fill of another request.
    pub followers: u64,
    /// Chunks that failed their checksum.
    ///
    /// A disk, a network or another program altered them. No client received such bytes: the cache fetched the chunk
    /// again, or ended the body with an error. If the number grows, something is wrong with the store.
    pub damaged_chunks: u64,
    /// Whether the store is left alone for a while, because its last calls took too long.
    pub store_is_left_alone: bool,
}

/// Counters of one kind, each with its word.
///
/// ```
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// # let stats = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle().stats();
/// for (word, count) in stats.requests.iter() {
///     println!("{word}: {count}");
/// }
/// assert_eq!(stats.requests.total(), 0);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(Vec<(&'static str, u64)>);

impl Counts {
    /// The count of this word, or 0 for a word that is none of these.
    pub fn of(&self, word: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == word).map_or(0, |(_, count)| *count)
    }

    /// The sum of all.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Each word with its count, zeros among them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }
}

impl Stats {
    pub(crate) fn of(engine: &Engine) -> Self {
        let counters: &Counters = &engine.counters;
        let read = |group| Counts(counters.read(group));
        let events = read(EVENTS);
        Self {
            requests: read(REQUESTS),
            marks: read(MARKS),
            refusals: read(REFUSALS),
            response_bytes: read(RESPONSE_BYTES),
            bodies: read(BODIES),
            inner_requests: read(INNER_CALLS),
            inner_bytes: read(INNER_BYTES),
            store_calls: read(STORE_CALLS),
            store_errors: read(STORE_ERRORS),
            store_micros: read(STORE_MICROS),
            fills: events.of("fills"),
            fills_under_way: engine.fills_under_way(),
            followers: events.of("followers"),
            damaged_chunks: events.of("damaged"),
            store_is_left_alone: engine.records.is_left_alone(),
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
        Duration::from_micros(self.store_micros.total())
    }

    /// Bodies on their way to clients now.
    pub fn bodies_under_way(&self) -> u64 {
        let ended = ["whole", "left", "broken"].map(|word| self.bodies.of(word)).iter().sum();
        self.bodies.of("begun").saturating_sub(ended)
    }

    /// Writes all figures in the text format that Prometheus scrapes
    /// ([OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/)), with `cache` as a label.
    ///
    /// # Errors
    ///
    /// The errors of the writer. A `String` has none.
    ///
    /// ```
    /// # use tower_video_cache::{MokaStore, VideoCacheLayer};
    /// # let stats = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle().stats();
    /// let mut text = String::new();
    /// stats.open_metrics("videos", &mut text).expect("a String takes any text");
    /// assert!(text.contains("video_cache_requests_total{cache=\"videos\",outcome=\"hit\"} 0\n"));
    /// assert!(text.ends_with("# EOF\n"));
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    pub fn open_metrics(&self, cache: &str, text: &mut impl Write) -> fmt::Result {
        let cache = Label(cache);
        for (name, label, help, counts) in [
            ("requests", "outcome", "Requests by outcome.", &self.requests),
            ("answers", "mark", "Answers that were stored or collapsed.", &self.marks),
            ("refusals", "detail", "Answers by the detail of Cache-Status.", &self.refusals),
            ("response_body_bytes", "source", "Bytes of bodies that left.", &self.response_bytes),
            ("bodies", "end", "Bodies that began, and how they ended.", &self.bodies),
            ("inner_requests", "for", "Calls of the inner service.", &self.inner_requests),
            ("inner_body_bytes", "for", "Bytes of bodies of the inner service.", &self.inner_bytes),
            ("store_calls", "op", "Calls of the store.", &self.store_calls),
            ("store_errors", "op", "Calls of the store that failed.", &self.store_errors),
        ] {
            writeln!(text, "# TYPE video_cache_{name} counter\n# HELP video_cache_{name} {help}")?;
            for (word, count) in counts.iter() {
                writeln!(text, "video_cache_{name}_total{{cache=\"{cache}\",{label}=\"{word}\"}} {count}")?;
            }
        }
        let seconds = "store_duration_seconds";
        writeln!(text, "# TYPE video_cache_{seconds} counter\n# UNIT video_cache_{seconds} seconds")?;
        writeln!(text, "# HELP video_cache_{seconds} Time that calls of the store took.")?;
        for (word, micros) in self.store_micros.iter() {
            let (whole, part) = (micros / 1_000_000, micros % 1_000_000);
            writeln!(
                text,
                "video_cache_{seconds}_total{{cache=\"{cache}\",op=\"{word}\"}} {whole}.{part:06}"
            )?;
        }
        for (name, help, count) in [
            ("fills", "Fills that were begun.", self.fills),
            ("followers", "Requests that waited for a fill of another request.", self.followers),
            ("damaged_chunks", "Chunks that failed their checksum.", self.damaged_chunks),
        ] {
            writeln!(text, "# TYPE video_cache_{name} counter\n# HELP video_cache_{name} {help}")?;
            writeln!(text, "video_cache_{name}_total{{cache=\"{cache}\"}} {count}")?;
        }
        for (name, help, count) in [
            ("fills_in_flight", "Fills under way.", self.fills_under_way),
            ("bodies_in_flight", "Bodies on their way to clients.", self.bodies_under_way()),
            ("store_left_alone", "Whether the store is left alone.", u64::from(self.store_is_left_alone)),
        ] {
            writeln!(text, "# TYPE video_cache_{name} gauge\n# HELP video_cache_{name} {help}")?;
            writeln!(text, "video_cache_{name}{{cache=\"{cache}\"}} {count}")?;
        }
        writeln!(text, "# EOF")
    }
}

fn ratio(part: u64, of: u64) -> Option<f64> {
    // A part in a million is near enough, and a u32 is a float without loss.
    let millionths = u128::from(part) * 1_000_000 / u128::from(of.max(1));
    (of > 0).then(|| f64::from(u32::try_from(millionths).unwrap_or(u32::MAX)) / 1_000_000.0)
}

/// The value of a label, escaped.
struct Label<'a>(&'a str);

impl fmt::Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
