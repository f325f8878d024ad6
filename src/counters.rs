//! Counters that are always on: relaxed atomics, a row of them for each of a few stripes, summed up when they are read.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{observer::Event, watchers::Watchers};

/// A row of counters, each with a word. A counter of durations has a place for each of [`BOUNDS`] and one above them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    first: usize,
    width: usize,
    pub(crate) words: &'static [&'static str],
}

impl Group {
    const fn first(words: &'static [&'static str]) -> Self {
        Self { first: 0, width: 1, words }
    }

    /// The group after this one.
    const fn then(self, words: &'static [&'static str]) -> Self {
        Self { first: self.end(), width: 1, words }
    }

    /// The group of durations after this one.
    const fn then_durations(self, words: &'static [&'static str]) -> Self {
        Self { first: self.end(), width: BUCKETS, words }
    }

    const fn end(self) -> usize {
        self.first + self.words.len() * self.width
    }
}

/// Counted durations: how many in each bucket, and the microseconds of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Durations {
    pub(crate) counts: Group,
    micros: Group,
}

impl Durations {
    const fn after(before: Group, words: &'static [&'static str]) -> Self {
        let counts = before.then_durations(words);
        Self { counts, micros: counts.then(words) }
    }

    const fn then(self, words: &'static [&'static str]) -> Group {
        self.micros.then(words)
    }
}

/// The upper bounds of the buckets, in microseconds, inclusive.
pub(crate) const BOUNDS: [u64; BUCKETS - 1] =
    [100, 500, 1_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000];

pub(crate) const BUCKETS: usize = 13;

/// Answers that were stored or collapsed, as `Cache-Status` says (RFC 9211 §2.5, §2.6).
pub(crate) const MARKS: Group = Group::first(&["stored", "collapsed"]);

/// Bytes of bodies that left, by where they came from.
pub(crate) const RESPONSE_BYTES: Group = MARKS.then(&SOURCES);

/// Bodies by how they ended: all of it left, the client was gone before that, or the body broke.
pub(crate) const BODIES: Group = RESPONSE_BYTES.then(&ENDS);

/// Calls of the inner service, by reason.
pub(crate) const INNER_CALLS: Group = BODIES.then(&REASONS);

/// Bytes of inner bodies, by the reason of the call.
pub(crate) const INNER_BYTES: Group = INNER_CALLS.then(&REASONS);

/// Chunks and fills.
pub(crate) const EVENTS: Group = INNER_BYTES.then(&["damaged", "fills", "followers", "healed", "lost"]);

/// Answers by the `detail` of `Cache-Status`, in the order of its names.
pub(crate) const REFUSALS: Group = EVENTS.then(crate::semantics::cache_status::DETAILS);

/// Calls of the store that failed.
pub(crate) const STORE_ERRORS: Group = REFUSALS.then(&OPERATIONS);

/// Calls of the store, by operation. A call that answers at once takes no time.
pub(crate) const STORE_CALLS: Durations = Durations::after(STORE_ERRORS, &OPERATIONS);

/// Fills by how they ended.
pub(crate) const FILL_ENDS: Durations = Durations::after(
    STORE_CALLS.then(&[]),
    &["broken", "failed", "late", "refused", "salvaged", "stopped", "stored"],
);

/// Answers by the word of `Cache-Status` (RFC 9211 §2.1, §2.2), and how long they were waited for. `generated` are answers
/// of the cache's own. `error` is no answer: the inner service failed.
pub(crate) const REQUESTS: Durations = Durations::after(FILL_ENDS.then(&[]), &OUTCOMES);

/// The places in [`EVENTS`].
pub(crate) const DAMAGED: usize = 0;
pub(crate) const FILLS: usize = 1;
pub(crate) const FOLLOWERS: usize = 2;
pub(crate) const HEALED: usize = 3;
pub(crate) const LOST: usize = 4;

// Statics, so that a word has one address: a metric is found by it.
static REASONS: [&str; 7] = ["fill", "heal", "pass", "refresh", "resume", "slice", "validate"];

static SOURCES: [&str; 2] = ["store", "inner"];

static ENDS: [&str; 4] = ["begun", "whole", "left", "broken"];

static OUTCOMES: [&str; 12] = [
    "hit",
    "hit-stale",
    "bypass",
    "method",
    "miss",
    "partial",
    "request",
    "stale",
    "uri-miss",
    "vary-miss",
    "generated",
    "error",
];

static OPERATIONS: [&str; 7] = ["get", "lease", "put", "put_new", "release", "remove", "renew"];

const COUNTERS: usize = REQUESTS.micros.end();

/// Why the inner service is called: the places in [`REASONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Fill,
    Heal,
    Pass,
    Refresh,
    Resume,
    Slice,
    Validate,
}

impl Reason {
    pub(crate) fn place(self) -> usize {
        match self {
            Self::Fill => 0,
            Self::Heal => 1,
            Self::Pass => 2,
            Self::Refresh => 3,
            Self::Resume => 4,
            Self::Slice => 5,
            Self::Validate => 6,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        REASONS.get(self.place()).copied().unwrap_or_default()
    }
}

/// The places in [`OPERATIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Lease,
    Put,
    PutNew,
    Release,
    Remove,
    Renew,
}

impl Operation {
    pub(crate) fn place(self) -> usize {
        match self {
            Self::Get => 0,
            Self::Lease => 1,
            Self::Put => 2,
            Self::PutNew => 3,
            Self::Release => 4,
            Self::Remove => 5,
            Self::Renew => 6,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        OPERATIONS.get(self.place()).copied().unwrap_or_default()
    }
}

/// All counters of one cache, and those who hear of each event.
pub(crate) struct Counters {
    stripes: [Stripe; STRIPES],
    watchers: Watchers,
}

/// Threads of different stripes do not write to one cache line.
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTERS]);

impl Counters {
    pub(crate) fn new(watchers: Watchers) -> Self {
        let stripe = |_| Stripe(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { stripes: std::array::from_fn(stripe), watchers }
    }

    /// Adds to the counter at this place of the group. A place that the group does not have counts nothing.
    // Inlined, so that the place of a counter is a constant where it is known.
    #[inline]
    pub(crate) fn add(&self, group: Group, place: usize, count: u64) {
        self.add_in(group, place, 0, count);
    }

    /// Counts a duration.
    #[inline]
    pub(crate) fn add_duration(&self, durations: Durations, place: usize, took: Duration) {
        if took.is_zero() {
            self.add(durations.counts, place, 1);
        } else {
            self.add_some(durations, place, took);
        }
    }

    #[cold]
    fn add_some(&self, durations: Durations, place: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS - 1);
        self.add_in(durations.counts, place, bucket, 1);
        self.add(durations.micros, place, micros);
    }

    #[inline]
    fn add_in(&self, group: Group, place: usize, bucket: usize, count: u64) {
        let index = group.first + place * group.width + bucket;
        let counter = self.stripes.get(stripe()).and_then(|stripe| stripe.0.get(index));
        if let Some(counter) = counter.filter(|_| place < group.words.len()) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The sums of a group, each with its word.
    pub(crate) fn read(&self, group: Group) -> Vec<(&'static str, u64)> {
        let sum = |place: usize| {
            let first = group.first + place * group.width;
            (first..first + group.width).map(|index| self.sum(index)).fold(0, u64::wrapping_add)
        };
        group.words.iter().enumerate().map(|(place, word)| (*word, sum(place))).collect()
    }

    /// The durations of each word: the count of each bucket, and the microseconds of all.
    pub(crate) fn read_durations(&self, durations: Durations) -> Vec<(&'static str, [u64; BUCKETS], u64)> {
        let Durations { counts, micros } = durations;
        let of = |(place, word): (usize, &&'static str)| {
            let buckets = std::array::from_fn(|bucket| self.sum(counts.first + place * BUCKETS + bucket));
            (*word, buckets, self.sum(micros.first + place))
        };
        counts.words.iter().enumerate().map(of).collect()
    }

    fn sum(&self, index: usize) -> u64 {
        let counters = self.stripes.iter().filter_map(|stripe| stripe.0.get(index));
        counters.map(|counter| counter.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
    }

    pub(crate) fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    /// Tells of an event, if anybody hears of it.
    pub(crate) fn tell<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        self.watchers.tell(event);
    }
}

/// The stripe of this thread.
#[inline]
fn stripe() -> usize {
    let known = STRIPE.with(Cell::get);
    if known == usize::MAX { new_stripe() } else { known }
}

#[cold]
fn new_stripe() -> usize {
    let new = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    STRIPE.with(|stripe| stripe.set(new));
    new
}

thread_local! {
    /// The stripe of this thread, once it has one.
    static STRIPE: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// The stripe of the next thread that counts.
static NEXT: AtomicUsize = AtomicUsize::new(0);

const STRIPES: usize = 8;

/// Counts the bytes of inner bodies under one reason at a time.
pub(crate) struct Meter {
    counters: Arc<Counters>,
    reason: Reason,
    /// The bytes since observers were told.
    bytes: u64,
}

impl Meter {
    pub(crate) fn new(counters: &Arc<Counters>, reason: Reason) -> Self {
        Self { counters: Arc::clone(counters), reason, bytes: 0 }
    }

    pub(crate) fn add(&mut self, bytes: u64) {
        self.counters.add(INNER_BYTES, self.reason.place(), bytes);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Counts further bytes under another reason.
    pub(crate) fn go_on_for(&mut self, reason: Reason) {
        self.tell();
        (self.reason, self.bytes) = (reason, 0);
    }

    fn tell(&self) {
        let (reason, bytes) = (self.reason.word(), self.bytes);
        if bytes > 0 {
            self.counters.tell(|| Event::InnerRead { reason, bytes });
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn sums_are_over_all_threads() {
        let counters = Arc::new(Counters::new(Watchers::default()));
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let counters = Arc::clone(&counters);
                thread::spawn(move || (0..1000).for_each(|_| counters.add(REQUESTS.counts, 0, 1)))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let read = counters.read(REQUESTS.counts);
        assert_eq!(read[0], ("hit", 20_000));
        assert!(read[1..].iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn a_duration_is_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let counters = Counters::new(Watchers::default());
        for (micros, bucket) in
            [(0, 0), (100, 0), (101, 1), (30_000_000, 11), (30_000_001, 12), (u64::MAX, 12)]
        {
            let before = counters.read_durations(FILL_ENDS)[1].1[bucket];
            counters.add_duration(FILL_ENDS, 1, Duration::from_micros(micros));
            assert_eq!(counters.read_durations(FILL_ENDS)[1].1[bucket], before + 1, "{micros}");
        }
        assert_eq!(counters.read(FILL_ENDS.counts)[1], ("failed", 6));
        assert_eq!(counters.read_durations(FILL_ENDS)[0].2, 0);
    }

    #[test]
    fn groups_share_no_counter_and_a_place_beyond_a_group_counts_nothing() {
        let counters = Counters::new(Watchers::default());
        counters.add(REQUESTS.counts, REQUESTS.counts.words.len(), 1);
        let durations = [STORE_CALLS, FILL_ENDS, REQUESTS];
        let of = |durations: &Durations| [durations.counts, durations.micros];
        let groups =
            [MARKS, RESPONSE_BYTES, BODIES, INNER_CALLS, INNER_BYTES, EVENTS, REFUSALS, STORE_ERRORS];
        let groups: Vec<_> = groups.into_iter().chain(durations.iter().flat_map(of)).collect();
        let all =
            || groups.iter().flat_map(|group| counters.read(*group)).map(|(_, count)| count).sum::<u64>();
        assert_eq!(all(), 0);
        let mut counted = 0_u64;
        for group in &groups {
            for place in 0..group.words.len() {
                for bucket in 0..group.width {
                    counters.add_in(*group, place, bucket, 1);
                    counted += 1;
                    assert_eq!(counters.read(*group)[place].1, u64::try_from(bucket).unwrap() + 1);
                }
            }
        }
        assert_eq!((all(), usize::try_from(counted).unwrap()), (counted, COUNTERS));
    }

    #[test]
    fn a_reason_and_an_operation_have_their_words() {
        use Operation::{Get, Lease, Put, PutNew, Release, Remove, Renew};
        use Reason::{Fill, Heal, Pass, Refresh, Resume, Slice, Validate};

        for reason in [Fill, Heal, Pass, Refresh, Resume, Slice, Validate] {
            assert_eq!(reason.word(), format!("{reason:?}").to_lowercase());
        }
        for operation in [Get, Lease, Put, Release, Remove, Renew] {
            assert_eq!(operation.word(), format!("{operation:?}").to_lowercase());
        }
        assert_eq!(PutNew.word(), "put_new");
    }
}
