//! The facts of this process about near records: which bytes the far store had, and when.
//!
//! The near store only keeps bytes. Puts, removes and promotions of one key may overtake each other on their way to it.
//! So a near value counts only if it matches the fact noted here. A value that was written or read during another write
//! gets no fact.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128;

use super::keys::Keys;
use crate::stripes::Stripes;

/// A bounded memory. A full one forgets all, and the far store is then asked again.
#[derive(Default)]
pub(super) struct Known {
    shards: Stripes<Mutex<Shard>, SHARDS>,
}

/// The far store had this value at that time.
#[derive(Clone, Copy)]
pub(super) struct Fact {
    fingerprint: u128,
    since: Instant,
}

/// The state of a key at a moment. While the mark stays the same, no call wrote the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    forgotten: u64,
    number: u64,
    /// No call was writing.
    is_quiet: bool,
}

impl Known {
    /// Whether `value` is what the far store had less than `age` before `now`.
    pub(super) fn is_young(&self, key: &str, value: &[u8], age: Duration, now: Instant) -> bool {
        let fact = self.shard(key).entries.get(key).and_then(|entry| entry.fact);
        fact.is_some_and(|fact| now.duration_since(fact.since) < age && fact.fingerprint == xxh3_128(value))
    }

    pub(super) fn mark(&self, key: &str) -> Mark {
        self.shard(key).mark(key)
    }

    /// Whether a value that was read since this `mark` is still current.
    pub(super) fn is_at(&self, key: &str, mark: Mark) -> bool {
        mark.is_quiet && self.mark(key) == mark
    }

    /// Notes a value that was read since this `mark`, unless a call wrote meanwhile. Returns whether it noted.
    pub(super) fn note(&self, key: &str, mark: Mark, fact: Option<Fact>) -> bool {
        let mut shard = self.shard(key);
        if !mark.is_quiet || shard.mark(key) != mark {
            return false;
        }
        // An absent value needs no entry.
        if fact.is_some() || shard.entries.contains_key(key) {
            shard.entry(key).fact = fact;
        }
        if fact.is_some() {
            shard.unwanted.settle(key);
        }
        true
    }

    /// Notes that the near store may have a removed or replaced value, until it takes a put or a remove.
    pub(super) fn distrust(&self, key: &str) {
        self.shard(key).unwanted.add(key, MOST_HELD / SHARDS);
    }

    /// Notes that the near store has no value since this `mark`, unless a call wrote meanwhile.
    pub(super) fn let_go(&self, key: &str, mark: Mark) {
        let mut shard = self.shard(key);
        if mark.is_quiet && shard.mark(key) == mark {
            shard.unwanted.settle(key);
        }
    }

    /// Whether this near value may have been removed or replaced.
    pub(super) fn is_unwanted(&self, key: &str, value: &Fact) -> bool {
        let shard = self.shard(key);
        let fact = shard.entries.get(key).and_then(|entry| entry.fact);
        let is_known = fact.is_some_and(|fact| fact.fingerprint == value.fingerprint);
        shard.unwanted.has(key) || (shard.unwanted.is_over() && !is_known)
    }

    /// Begins a write. The facts about the key are dropped, and no new ones are noted until the write is over.
    pub(super) fn write<'a>(&'a self, key: &'a str) -> Writing<'a> {
        let mut shard = self.shard(key);
        let number = shard.next();
        let entry = shard.entry(key);
        *entry = Entry { number, writers: entry.writers + 1, fact: None };
        Writing { known: self, key, number }
    }

    /// Whether the far store may still have a value that was removed here.
    pub(super) fn is_doubted(&self, key: &str) -> bool {
        let shard = self.shard(key);
        shard.doubted.has(key) || shard.doubted.is_over()
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, Shard> {
        self.shards.of(key).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fact {
    pub(super) fn of(value: &[u8], since: Instant) -> Self {
        Self { fingerprint: xxh3_128(value), since }
    }
}

/// A running put or remove. Its drop ends the write, with any result.
pub(super) struct Writing<'a> {
    known: &'a Known,
    key: &'a str,
    number: u64,
}

impl Writing<'_> {
    /// Notes the written value, unless another call wrote meanwhile. Returns whether it noted.
    pub(super) fn note(&self, fact: Fact) -> bool {
        self.alone(|shard| {
            shard.entry(self.key).fact = Some(fact);
            shard.unwanted.settle(self.key);
        })
    }

    /// Notes that the near store has no value now, unless another call wrote meanwhile.
    pub(super) fn let_go(&self) {
        self.alone(|shard| shard.unwanted.settle(self.key));
    }

    /// Notes that the far store may have the removed value, until it takes a put or a remove.
    pub(super) fn doubt(&self) {
        self.known.shard(self.key).doubted.add(self.key, MOST_HELD / SHARDS);
    }

    /// Notes that the far store took the write, unless another call wrote meanwhile.
    pub(super) fn believe(&self) {
        self.alone(|shard| shard.doubted.settle(self.key));
    }

    /// Acts unless another call wrote meanwhile or is writing. Returns whether it acted.
    fn alone(&self, act: impl FnOnce(&mut Shard)) -> bool {
        let mut shard = self.known.shard(self.key);
        let entry = shard.entries.get(self.key);
        let is_alone = entry.is_some_and(|entry| entry.number == self.number && entry.writers == 1);
        if is_alone {
            act(&mut shard);
        }
        is_alone
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        let mut shard = self.known.shard(self.key);
        let number = shard.next();
        if let Some(entry) = shard.entries.get_mut(self.key) {
            entry.writers = entry.writers.saturating_sub(1);
            // A value that was read meanwhile may be older than the write.
            entry.number = number;
        }
    }
}

#[derive(Default)]
struct Shard {
    entries: HashMap<Box<str>, Entry>,
    /// Counts the changes, so that no two have the same number.
    numbers: u64,
    /// How often the shard forgot all.
    forgotten: u64,
    /// Keys that were removed here and may still be in the far store.
    doubted: Keys,
    /// Keys that were removed or replaced and may still be in the near store.
    unwanted: Keys,
}

#[derive(Default)]
struct Entry {
    number: u64,
    writers: usize,
    fact: Option<Fact>,
}

impl Shard {
    fn mark(&self, key: &str) -> Mark {
        let (number, writers) = self.entries.get(key).map_or((0, 0), |entry| (entry.number, entry.writers));
        Mark { forgotten: self.forgotten, number, is_quiet: writers == 0 }
    }

    fn next(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn entry(&mut self, key: &str) -> &mut Entry {
        if self.entries.len() >= MOST_KNOWN / SHARDS && !self.entries.contains_key(key) {
            self.entries.retain(|_, entry| entry.writers > 0);
            self.forgotten += 1;
        }
        self.entries.entry(key.into()).or_default()
    }
}

const SHARDS: usize = 16;

/// The most known records, of about 100 bytes each.
const MOST_KNOWN: usize = 16 << 10;

/// The most records with an open question, each by its name.
const MOST_HELD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::moment;

    const AGE: Duration = Duration::from_secs(2);

    fn is_known(known: &Known, key: &str, value: &[u8]) -> bool {
        known.is_young(key, value, AGE, moment())
    }

    #[test]
    fn what_was_read_while_another_wrote_is_not_noted() {
        let known = Known::default();
        let fact = || Some(Fact::of(b"value", moment()));
        let before = known.mark("m/0");
        assert!(known.is_at("m/0", before));
        let writing = known.write("m/0");
        let meanwhile = known.mark("m/0");
        for mark in [before, meanwhile] {
            assert!(!known.is_at("m/0", mark) && !known.note("m/0", mark, fact()));
        }
        drop(writing);
        for mark in [before, meanwhile] {
            assert!(!known.is_at("m/0", mark) && !known.note("m/0", mark, fact()));
        }
        assert!(!is_known(&known, "m/0", b"value"));
        assert!(known.note("m/0", known.mark("m/0"), fact()));
        assert!(is_known(&known, "m/0", b"value") && !is_known(&known, "m/0", b"another"));
        drop(known.write("m/0"));
        assert!(!is_known(&known, "m/0", b"value"));
    }

    #[test]
    fn of_those_who_write_at_the_same_time_none_notes_anything() {
        let known = Known::default();
        let fact = || Fact::of(b"value", moment());
        let (first, second) = (known.write("m/0"), known.write("m/0"));
        assert!(!first.note(fact()) && !second.note(fact()));
        drop(first);
        assert!(!second.note(fact()));
        // The other write is still running.
        let mark = known.mark("m/0");
        assert!(!known.note("m/0", mark, Some(fact())));
        drop(second);
        let alone = known.write("m/0");
        assert!(alone.note(fact()));
        drop(alone);
        assert!(is_known(&known, "m/0", b"value"));
    }

    #[test]
    fn it_is_bounded_and_what_was_read_before_it_forgot_is_not_noted() {
        let known = Known::default();
        let fact = || Some(Fact::of(b"value", moment()));
        let before = known.mark("m/0");
        let writing = known.write("m/under-way");
        for index in 1..3 * MOST_KNOWN {
            let key = format!("m/{index}");
            assert!(known.note(&key, known.mark(&key), fact()));
            assert!(is_known(&known, &key, b"value"));
        }
        let held: usize = known.shards.iter().map(|shard| shard.lock().unwrap().entries.len()).sum();
        assert!(held <= MOST_KNOWN, "{held}");
        assert!(!known.note("m/0", before, fact()));
        assert!(!known.mark("m/under-way").is_quiet);
        drop(writing);
        // An absent key without a note takes no entry.
        assert!(known.note("m/absent", known.mark("m/absent"), None));
        assert!(!known.shard("m/absent").entries.contains_key("m/absent"));
    }

    #[test]
    fn a_doubt_lasts_until_the_far_store_took_a_write_that_was_alone() {
        let known = Known::default();
        let remove = known.write("m/0");
        remove.doubt();
        let put = known.write("m/0");
        put.believe();
        remove.believe();
        assert!(known.is_doubted("m/0") && !known.is_doubted("m/1"));
        drop((remove, put));
        known.write("m/0").believe();
        assert!(!known.is_doubted("m/0"));
    }

    #[test]
    fn doubts_that_are_too_many_are_doubts_of_all() {
        let known = Known::default();
        for index in 0..3 * MOST_HELD {
            known.write(&format!("m/{index}")).doubt();
        }
        assert!((0..3 * MOST_HELD).all(|index| known.is_doubted(&format!("m/{index}"))));
        let held: usize = known.shards.iter().map(|shard| shard.lock().unwrap().doubted.len()).sum();
        assert!(held <= MOST_HELD, "{held}");
    }

    #[test]
    fn once_too_much_is_unwanted_near_only_what_is_known_is_not() {
        let known = Known::default();
        let (ours, others) = (Fact::of(b"value", moment()), Fact::of(b"another", moment()));
        assert!(!known.is_unwanted("m/0", &ours));
        for index in 0..3 * MOST_HELD {
            known.distrust(&format!("m/{index}"));
        }
        assert!((0..3 * MOST_HELD).all(|index| known.is_unwanted(&format!("m/{index}"), &ours)));
        let held: usize = known.shards.iter().map(|shard| shard.lock().unwrap().unwanted.len()).sum();
        assert!(held <= MOST_HELD, "{held}");
        assert!(known.write("m/0").note(ours));
        assert!(!known.is_unwanted("m/0", &ours) && known.is_unwanted("m/0", &others));
    }

    #[test]
    fn what_another_writes_meanwhile_is_not_taken_for_gone() {
        let known = Known::default();
        let fact = Fact::of(b"value", moment());
        let mark = known.mark("m/0");
        known.distrust("m/0");
        let (first, second) = (known.write("m/0"), known.write("m/0"));
        first.let_go();
        second.let_go();
        known.let_go("m/0", mark);
        drop((first, second));
        known.let_go("m/0", mark);
        assert!(known.is_unwanted("m/0", &fact));
        known.let_go("m/0", known.mark("m/0"));
        assert!(!known.is_unwanted("m/0", &fact));
    }
}
