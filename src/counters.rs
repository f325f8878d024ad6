//! Counters that are always on: relaxed atomics, a row of them for each of a few stripes, summed up when they are read.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// A row of counters, each with a word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    first: usize,
    pub(crate) words: &'static [&'static str],
}

impl Group {
    const fn first(words: &'static [&'static str]) -> Self {
        Self { first: 0, words }
    }

    /// The group after this one.
    const fn then(self, words: &'static [&'static str]) -> Self {
        Self { first: self.end(), words }
    }

    const fn end(self) -> usize {
        self.first + self.words.len()
    }
}

/// Answers by the word of `Cache-Status` (RFC 9211 §2.1, §2.2). `generated` are answers of the cache's own.
pub(crate) const REQUESTS: Group = Group::first(&[
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
]);

/// Answers that were stored or collapsed, as `Cache-Status` says (RFC 9211 §2.5, §2.6).
pub(crate) const MARKS: Group = REQUESTS.then(&["stored", "collapsed"]);

/// Bytes of bodies that left, by where they came from.
pub(crate) const RESPONSE_BYTES: Group = MARKS.then(&["store", "inner"]);

/// Bodies by how they ended: all of it left, the client was gone before that, or the body broke.
pub(crate) const BODIES: Group = RESPONSE_BYTES.then(&["begun", "whole", "left", "broken"]);

/// Calls of the inner service, by reason.
pub(crate) const INNER_CALLS: Group = BODIES.then(REASONS);

/// Bytes of inner bodies, by the reason of the call.
pub(crate) const INNER_BYTES: Group = INNER_CALLS.then(REASONS);

/// Calls of the store, by operation.
pub(crate) const STORE_CALLS: Group = INNER_BYTES.then(OPERATIONS);

/// Calls of the store that failed.
pub(crate) const STORE_ERRORS: Group = STORE_CALLS.then(OPERATIONS);

/// Microseconds of calls that did not answer at once.
pub(crate) const STORE_MICROS: Group = STORE_ERRORS.then(OPERATIONS);

/// Chunks and fills.
pub(crate) const EVENTS: Group = STORE_MICROS.then(&["damaged", "fills", "followers"]);

/// Answers by the `detail` of `Cache-Status`, in the order of its names.
pub(crate) const REFUSALS: Group = EVENTS.then(crate::semantics::cache_status::DETAILS);

/// The places in [`EVENTS`].
pub(crate) const DAMAGED: usize = 0;
pub(crate) const FILLS: usize = 1;
pub(crate) const FOLLOWERS: usize = 2;

const REASONS: &[&str] = &["fill", "heal", "pass", "refresh", "resume", "slice", "validate"];

const OPERATIONS: &[&str] = &["get", "lease", "put", "release", "remove", "renew"];

const COUNTERS: usize = REFUSALS.end();

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
}

/// The places in [`OPERATIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Lease,
    Put,
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
            Self::Release => 3,
            Self::Remove => 4,
            Self::Renew => 5,
        }
    }
}

/// All counters of one cache.
pub(crate) struct Counters {
    stripes: [Stripe; STRIPES],
}

/// Threads of different stripes do not write to one cache line.
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTERS]);

impl Counters {
    /// Adds to the counter at this place of the group. A place that the group does not have counts nothing.
    pub(crate) fn add(&self, group: Group, place: usize, count: u64) {
        let stripe = STRIPE.with(|stripe| {
            if stripe.get() == usize::MAX {
                stripe.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
            }
            stripe.get()
        });
        let counter = self.stripes.get(stripe).and_then(|stripe| stripe.0.get(group.first + place));
        if let Some(counter) = counter.filter(|_| place < group.words.len()) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The sums of a group, each with its word.
    pub(crate) fn read(&self, group: Group) -> Vec<(&'static str, u64)> {
        let sum = |place: usize| {
            let counters = self.stripes.iter().filter_map(|stripe| stripe.0.get(group.first + place));
            counters.map(|counter| counter.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
        };
        group.words.iter().enumerate().map(|(place, word)| (*word, sum(place))).collect()
    }
}

impl Default for Counters {
    fn default() -> Self {
        let stripe = |_| Stripe(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { stripes: std::array::from_fn(stripe) }
    }
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
    pub(crate) reason: Reason,
}

impl Meter {
    pub(crate) fn new(counters: &Arc<Counters>, reason: Reason) -> Self {
        Self { counters: Arc::clone(counters), reason }
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.counters.add(INNER_BYTES, self.reason.place(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn sums_are_over_all_threads() {
        let counters = Arc::new(Counters::default());
        let threads: Vec<_> = (0..20)
            .map(|_| {
                let counters = Arc::clone(&counters);
                thread::spawn(move || (0..1000).for_each(|_| counters.add(REQUESTS, 0, 1)))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(counters.read(REQUESTS)[0], ("hit", 20_000));
        assert!(counters.read(REQUESTS)[1..].iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn groups_share_no_counter_and_a_place_beyond_a_group_counts_nothing() {
        let counters = Counters::default();
        counters.add(REQUESTS, REQUESTS.words.len(), 1);
        let groups = [
            REQUESTS,
            MARKS,
            RESPONSE_BYTES,
            BODIES,
            INNER_CALLS,
            INNER_BYTES,
            STORE_CALLS,
            STORE_ERRORS,
            STORE_MICROS,
            EVENTS,
            REFUSALS,
        ];
        let all =
            || groups.iter().flat_map(|group| counters.read(*group)).map(|(_, count)| count).sum::<u64>();
        assert_eq!(all(), 0);
        let mut counted = 0_u64;
        for group in groups {
            for place in 0..group.words.len() {
                counters.add(group, place, 1);
                counted += 1;
                assert_eq!(counters.read(group)[place].1, 1);
            }
        }
        assert_eq!((all(), usize::try_from(counted).unwrap()), (counted, COUNTERS));
    }

    #[test]
    fn a_reason_and_an_operation_have_their_words() {
        use Operation::{Get, Lease, Put, Release, Remove, Renew};
        use Reason::{Fill, Heal, Pass, Refresh, Resume, Slice, Validate};

        for reason in [Fill, Heal, Pass, Refresh, Resume, Slice, Validate] {
            assert_eq!(REASONS[reason.place()], format!("{reason:?}").to_lowercase());
        }
        for operation in [Get, Lease, Put, Release, Remove, Renew] {
            assert_eq!(OPERATIONS[operation.place()], format!("{operation:?}").to_lowercase());
        }
    }
}
