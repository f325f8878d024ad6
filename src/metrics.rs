//! [`MetricsObserver`]: the events of a cache as metrics of the `metrics` facade.

use std::{fmt, ptr, sync::OnceLock, time::Duration};

use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

use crate::{
    counters::{BODIES, FILL_ENDS, INNER_CALLS, REQUESTS, RESPONSE_BYTES, STORE_CALLS},
    observer::{Event, Observer},
    semantics::cache_status::DETAILS,
};

/// Writes the events of a cache into the recorder of the [`metrics`] facade, under the names and labels of
/// [`Stats::open_metrics`](crate::Stats::open_metrics). Needs the feature `metrics`.
///
/// Calls of the store that answer at once are counted, and are not in the histogram of their durations.
///
/// The recorder is looked for at the first event of each kind, so an application may install it after the layer is built.
/// Some figures are no events, and are in [`Stats`](crate::Stats) alone: answers that were stored or collapsed, followers,
/// bodies that have begun, what is in flight or reserved, and what the store holds, can hold and has dropped. The gauge
/// `video_cache_store_left_alone` has the label `op`.
///
/// ```
/// use tower_video_cache::{MetricsObserver, MokaStore, VideoCacheLayer};
///
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).observer(MetricsObserver::new("videos"));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
pub struct MetricsObserver {
    cache: String,
    requests: Family<Counter>,
    refusals: Family<Counter>,
    first_byte: Family<Histogram>,
    response_bytes: Family<Counter>,
    bodies: Family<Counter>,
    inner_requests: Family<Counter>,
    inner_bytes: Family<Counter>,
    fill_durations: Family<Histogram>,
    store_calls: Family<Counter>,
    store_errors: Family<Counter>,
    store_durations: Family<Histogram>,
    store_left_alone: Family<Gauge>,
    alone: Family<Counter>,
}

impl MetricsObserver {
    /// An observer whose metrics have this label `cache`.
    pub fn new(cache: impl Into<String>) -> Self {
        let (reasons, operations) = (INNER_CALLS.words, STORE_CALLS.counts.words);
        Self {
            cache: cache.into(),
            requests: Family::new("video_cache_requests_total", "outcome", REQUESTS.counts.words),
            refusals: Family::new("video_cache_refusals_total", "detail", DETAILS),
            first_byte: Family::new("video_cache_first_byte_seconds", "outcome", REQUESTS.counts.words),
            response_bytes: Family::new(
                "video_cache_response_body_bytes_total",
                "source",
                RESPONSE_BYTES.words,
            ),
            bodies: Family::new("video_cache_bodies_total", "end", BODIES.words),
            inner_requests: Family::new("video_cache_inner_requests_total", "for", reasons),
            inner_bytes: Family::new("video_cache_inner_body_bytes_total", "for", reasons),
            fill_durations: Family::new("video_cache_fill_duration_seconds", "end", FILL_ENDS.counts.words),
            store_calls: Family::new("video_cache_store_calls_total", "op", operations),
            store_errors: Family::new("video_cache_store_errors_total", "op", operations),
            store_durations: Family::new("video_cache_store_duration_seconds", "op", operations),
            store_left_alone: Family::new("video_cache_store_left_alone", "op", operations),
            alone: Family::new("", "", &ALONE),
        }
    }

    fn counter(&self, family: &Family<Counter>, word: &str, count: u64) {
        let handle = family.handle(word, |name, word| match family.label {
            // The word is the name.
            "" => counter!(word, "cache" => self.cache.clone()),
            label => {
                counter!(name, [Label::new("cache", self.cache.clone()), Label::new(label, word)].iter())
            }
        });
        if let Some(handle) = handle {
            handle.increment(count);
        }
    }

    fn histogram(&self, family: &Family<Histogram>, word: &str, seconds: f64) {
        let handle = family.handle(word, |name, word| {
            histogram!(name, [Label::new("cache", self.cache.clone()), Label::new(family.label, word)].iter())
        });
        if let Some(handle) = handle {
            handle.record(seconds);
        }
    }

    fn left_alone(&self, word: &str, is_left_alone: bool) {
        let family = &self.store_left_alone;
        let handle = family.handle(word, |name, word| {
            gauge!(name, [Label::new("cache", self.cache.clone()), Label::new(family.label, word)].iter())
        });
        if let Some(handle) = handle {
            handle.set(if is_left_alone { 1.0 } else { 0.0 });
        }
    }
}

impl Observer for MetricsObserver {
    fn looks_at_requests(&self) -> bool {
        false
    }

    fn observe(&self, event: &Event<'_>) {
        match *event {
            Event::Answered { outcome, detail, waited, .. } => {
                self.counter(&self.requests, outcome, 1);
                self.histogram(&self.first_byte, outcome, waited.as_secs_f64());
                if let Some(detail) = detail {
                    self.counter(&self.refusals, detail, 1);
                }
            }
            Event::BodyEnded { from_store, from_inner, end, .. } => {
                self.counter(&self.bodies, end, 1);
                for (source, bytes) in RESPONSE_BYTES.words.iter().zip([from_store, from_inner]) {
                    if bytes > 0 {
                        self.counter(&self.response_bytes, source, bytes);
                    }
                }
            }
            Event::InnerCalled { reason } => self.counter(&self.inner_requests, reason, 1),
            Event::InnerRead { reason, bytes } => self.counter(&self.inner_bytes, reason, bytes),
            Event::FillBegan { .. } => self.counter(&self.alone, FILLS, 1),
            Event::FillEnded { end, took, .. } => {
                self.histogram(&self.fill_durations, end, took.as_secs_f64());
            }
            Event::StoreCalled { operation, took, has_failed } => {
                self.counter(&self.store_calls, operation, 1);
                if took > Duration::ZERO {
                    self.histogram(&self.store_durations, operation, took.as_secs_f64());
                }
                if has_failed {
                    self.counter(&self.store_errors, operation, 1);
                }
            }
            Event::StoreLeftAlone { operation } => self.left_alone(operation, true),
            Event::StoreBack { operation } => self.left_alone(operation, false),
            Event::ChunkDamaged => self.counter(&self.alone, DAMAGED, 1),
            Event::ChunkLost => self.counter(&self.alone, LOST, 1),
            Event::ChunksHealed { chunks } => self.counter(&self.alone, HEALED, chunks),
            Event::Invalidated { .. } => {}
        }
    }
}

impl fmt::Debug for MetricsObserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsObserver").field("cache", &self.cache).finish_non_exhaustive()
    }
}

/// The metrics of one name, one for each word. A handle is taken when its word comes first: one that was taken before the
/// application installs its recorder would do nothing for ever.
struct Family<H> {
    name: &'static str,
    label: &'static str,
    words: &'static [&'static str],
    handles: Box<[OnceLock<H>]>,
}

impl<H> Family<H> {
    fn new(name: &'static str, label: &'static str, words: &'static [&'static str]) -> Self {
        Self { name, label, words, handles: words.iter().map(|_| OnceLock::new()).collect() }
    }

    #[inline]
    fn handle(&self, word: &str, take: impl FnOnce(&'static str, &'static str) -> H) -> Option<&H> {
        // The words of an event are nearly always those very ones, and each hit looks for a few.
        let place = self.words.iter().position(|known| ptr::eq(*known, word));
        match place.and_then(|place| self.handles.get(place)).and_then(OnceLock::get) {
            Some(handle) => Some(handle),
            None => self.taken(word, take),
        }
    }

    #[cold]
    fn taken(&self, word: &str, take: impl FnOnce(&'static str, &'static str) -> H) -> Option<&H> {
        let place = self.words.iter().position(|known| *known == word)?;
        let (word, handle) = (self.words.get(place)?, self.handles.get(place)?);
        Some(handle.get_or_init(|| take(self.name, word)))
    }
}

/// The metrics without a word.
static ALONE: [&str; 4] = [FILLS, DAMAGED, LOST, HEALED];
const FILLS: &str = "video_cache_fills_total";
const DAMAGED: &str = "video_cache_damaged_chunks_total";
const LOST: &str = "video_cache_lost_chunks_total";
const HEALED: &str = "video_cache_healed_chunks_total";
