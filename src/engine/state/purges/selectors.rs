//! The purges that a node knows, by what they name.

use std::{
    collections::{BTreeSet, HashMap},
    time::SystemTime,
};

use crate::{
    format::purges::{Purge, Selector},
    semantics::purge::{Fate, Membership, key_hash},
};

/// The newest purges of each selector. There is no index of responses: each response is tested when it is used.
#[derive(Default)]
pub(super) struct Selectors {
    all: Newest,
    sets: HashMap<u64, Newest>,
    prefixes: HashMap<Box<[u8]>, Newest>,
    /// The lengths of the prefixes.
    lengths: BTreeSet<usize>,
}

/// The numbers of the newest purges of one selector, one for each fate. Zero if there was none.
#[derive(Clone, Copy)]
struct Newest {
    numbers: [u64; 3],
    /// When this node learned of the newest one.
    learned: SystemTime,
}

impl Default for Newest {
    fn default() -> Self {
        Self { numbers: [0; 3], learned: SystemTime::UNIX_EPOCH }
    }
}

impl Newest {
    fn note(&mut self, number: u64, fate: Fate, now: SystemTime) {
        for (known, of) in self.numbers.iter_mut().zip(Fate::ALL) {
            if of == fate {
                *known = number.max(*known);
            }
        }
        self.learned = now;
    }

    /// The strongest fate that a purge after `number` has.
    fn after(&self, number: u64) -> Option<Fate> {
        Fate::ALL
            .into_iter()
            .zip(self.numbers)
            .rev()
            .find_map(|(fate, newest)| (newest > number).then_some(fate))
    }

    fn newest(&self) -> u64 {
        self.numbers.into_iter().max().unwrap_or_default()
    }

    fn join(&mut self, other: &Self) {
        for (known, number) in self.numbers.iter_mut().zip(other.numbers) {
            *known = number.max(*known);
        }
        self.learned = self.learned.max(other.learned);
    }
}

impl Selectors {
    pub(super) fn note(&mut self, number: u64, purge: &Purge, now: SystemTime) {
        for selector in &purge.selectors {
            let newest = match selector {
                Selector::All => &mut self.all,
                Selector::Set(hash) => self.sets.entry(*hash).or_default(),
                Selector::Prefix(prefix) => {
                    self.lengths.insert(prefix.len());
                    self.prefixes.entry(prefix.clone()).or_default()
                }
            };
            newest.note(number, purge.fate, now);
        }
        if self.sets.len() + self.prefixes.len() > MOST {
            self.fold();
        }
    }

    /// Notes that the purges up to `number` are not known, but for the strongest fate among them.
    pub(super) fn note_unknown(&mut self, number: u64, fate: Fate, now: SystemTime) {
        self.all.note(number, fate, now);
    }

    /// The strongest fate that a purge after `number` has for this response, and when this node learned of it.
    pub(super) fn fate(
        &self,
        number: u64,
        key: &[u8],
        membership: &Membership,
    ) -> Option<(Fate, SystemTime)> {
        let mut strongest = None;
        let mut add = |newest: &Newest| {
            strongest = strongest.max(newest.after(number).map(|fate| (fate, newest.learned)));
        };
        add(&self.all);
        if !self.sets.is_empty() {
            let hashes =
                [key_hash(key), membership.origin].into_iter().chain(membership.groups.iter().copied());
            hashes.filter_map(|hash| self.sets.get(&hash)).for_each(&mut add);
        }
        for length in &self.lengths {
            let Some(prefix) = key.get(..*length) else { break };
            self.prefixes.get(prefix).into_iter().for_each(&mut add);
        }
        strongest
    }

    /// Takes the older half of the selectors together: all responses that were asked for before those purges have the
    /// fate of the strongest one.
    fn fold(&mut self) {
        let mut numbers: Vec<_> =
            self.sets.values().chain(self.prefixes.values()).map(Newest::newest).collect();
        let middle = numbers.len() / 2;
        let (_, limit, _) = numbers.select_nth_unstable(middle);
        let (limit, all) = (*limit, &mut self.all);
        let mut is_kept = |newest: &Newest| {
            let is_newer = newest.newest() > limit;
            if !is_newer {
                all.join(newest);
            }
            is_newer
        };
        self.sets.retain(|_, newest| is_kept(newest));
        self.prefixes.retain(|_, newest| is_kept(newest));
        self.lengths = self.prefixes.keys().map(|prefix| prefix.len()).collect();
    }
}

/// The most selectors that are kept apart.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(fate: Fate, selectors: Vec<Selector>) -> Purge {
        Purge { nonce: 0, fate, selectors }
    }

    fn fate(selectors: &Selectors, number: u64, key: &str, membership: &Membership) -> Option<Fate> {
        selectors.fate(number, key.as_bytes(), membership).map(|(fate, _)| fate)
    }

    #[test]
    fn the_strongest_later_purge_that_names_a_response_counts() {
        let mut selectors = Selectors::default();
        let member = Membership::of("a.example", [&b"news"[..]]);
        let other = Membership::of("b.example", [&b"news"[..]]);
        let now = SystemTime::UNIX_EPOCH;
        let group = Selector::Set(member.groups[0]);
        selectors.note(1, &purge(Fate::Gone, vec![group.clone()]), now);
        selectors.note(2, &purge(Fate::Stale, vec![group]), now);
        for (number, expected) in [(0, Some(Fate::Gone)), (1, Some(Fate::Stale)), (2, None), (9, None)] {
            assert_eq!(fate(&selectors, number, "k", &member), expected, "{number}");
        }
        assert_eq!(fate(&selectors, 0, "k", &other), None);
        selectors.note(3, &purge(Fate::Invalid, vec![Selector::Set(other.origin)]), now);
        assert_eq!(fate(&selectors, 0, "k", &other), Some(Fate::Invalid));
        assert_eq!(fate(&selectors, 2, "k", &member), None);
    }

    #[test]
    fn a_prefix_names_the_keys_that_begin_with_it() {
        let mut selectors = Selectors::default();
        let nobody = Membership::default();
        let prefix = |text: &str| Selector::Prefix(text.as_bytes().into());
        let purged = purge(Fate::Invalid, vec![prefix("/a/"), prefix("/a/b/c"), prefix("/b")]);
        selectors.note(1, &purged, SystemTime::UNIX_EPOCH);
        for (key, is_named) in
            [("/a/x", true), ("/a/", true), ("/a", false), ("/bc", true), ("/c", false), ("", false)]
        {
            assert_eq!(fate(&selectors, 0, key, &nobody).is_some(), is_named, "{key}");
        }
    }

    #[test]
    fn a_key_is_named_by_its_hash() {
        let mut selectors = Selectors::default();
        let purged = purge(Fate::Gone, vec![Selector::Set(key_hash(b"/a"))]);
        selectors.note(1, &purged, SystemTime::UNIX_EPOCH);
        assert_eq!(fate(&selectors, 0, "/a", &Membership::default()), Some(Fate::Gone));
        assert_eq!(fate(&selectors, 0, "/ab", &Membership::default()), None);
    }

    #[test]
    fn more_selectors_than_fit_purge_too_much_and_never_too_little() {
        let mut selectors = Selectors::default();
        let now = SystemTime::UNIX_EPOCH;
        let count = u64::try_from(MOST).unwrap() + 2;
        for number in 1..=count {
            let fate = if number == 5 { Fate::Gone } else { Fate::Stale };
            selectors.note(number, &purge(fate, vec![Selector::Set(number)]), now);
        }
        assert!(selectors.sets.len() <= MOST / 2 + 2);
        let member = |hash| Membership { origin: 0, groups: vec![hash] };
        for hash in [1, 5, 1000, count / 2, count] {
            assert!(fate(&selectors, hash - 1, "k", &member(hash)).is_some(), "{hash}");
            assert_eq!(fate(&selectors, count, "k", &member(hash)), None);
        }
        assert_eq!(fate(&selectors, 4, "k", &member(count + 1)), Some(Fate::Gone));
        assert_eq!(fate(&selectors, count - 5, "k", &member(count + 1)), None);
    }
}
