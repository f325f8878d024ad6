//! [`Rankings`]: the responses that are served, missed and refused most, in bounded memory.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::sync::lock;

/// The rankings of one cache.
#[derive(Default)]
pub(crate) struct Rankings {
    /// The ranking by the bytes that clients asked for.
    served: Mutex<Ranking>,
    /// The ranking by the requests that the store did not answer.
    missed: Mutex<Ranking>,
    /// The ranking by the requests whose answers were not stored, with the last reason.
    refused: Mutex<Ranking>,
}

impl Rankings {
    pub(crate) fn add_served(&self, key: &[u8], requests: u64, bytes: u64) {
        if requests > 0 {
            lock(&self.served).add(key, bytes, requests, None);
        }
    }

    pub(crate) fn add_missed(&self, key: &[u8]) {
        lock(&self.missed).add(key, 1, 1, None);
    }

    pub(crate) fn add_refused(&self, key: &[u8], why: &'static str) {
        lock(&self.refused).add(key, 1, 1, Some(why));
    }

    /// The ranking by bytes, with those that were served since and are not in it yet.
    pub(crate) fn served(&self, since: impl IntoIterator<Item = (Vec<u8>, u64, u64)>) -> Vec<Ranked> {
        let mut served = lock(&self.served).clone();
        for (key, requests, bytes) in since {
            served.add(&key, bytes, requests, None);
        }
        served.sorted()
    }

    pub(crate) fn missed(&self) -> Vec<Ranked> {
        lock(&self.missed).sorted()
    }

    pub(crate) fn refused(&self) -> Vec<Ranked> {
        lock(&self.refused).sorted()
    }
}

/// A place in a ranking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ranked {
    pub(crate) key: Box<[u8]>,
    pub(crate) weight: u64,
    /// The weight of others that had this place before, and is counted in `weight`.
    pub(crate) inherited: u64,
    pub(crate) requests: u64,
    pub(crate) why: Option<&'static str>,
}

/// The keys with the most weight, by the algorithm Space-Saving (Metwally, Agrawal, El Abbadi 2005): a new key takes the
/// place of the one with the least weight, and inherits that weight. A key that has more than its share of all the weight
/// is never missing.
#[derive(Clone, Default)]
struct Ranking {
    places: HashMap<Box<[u8]>, Ranked>,
}

impl Ranking {
    fn add(&mut self, key: &[u8], weight: u64, requests: u64, why: Option<&'static str>) {
        // Clients choose how long a key is.
        let key = key.get(..LONGEST_KEY).unwrap_or(key);
        if !self.places.contains_key(key) {
            let inherited = if self.places.len() < PLACES { 0 } else { self.make_room() };
            let ranked = Ranked { key: key.into(), weight: inherited, inherited, requests: 0, why: None };
            self.places.insert(key.into(), ranked);
        }
        if let Some(ranked) = self.places.get_mut(key) {
            ranked.weight = ranked.weight.saturating_add(weight);
            ranked.requests = ranked.requests.saturating_add(requests);
            ranked.why = why.or(ranked.why);
        }
    }

    /// Takes the place of the key with the least weight, and returns that weight.
    fn make_room(&mut self) -> u64 {
        let least = self.places.values().min_by_key(|ranked| ranked.weight);
        let least = least.map(|ranked| (ranked.key.clone(), ranked.weight));
        least.map_or(0, |(key, weight)| {
            self.places.remove(&key);
            weight
        })
    }

    fn sorted(&self) -> Vec<Ranked> {
        let mut all: Vec<_> = self.places.values().cloned().collect();
        all.sort_by(|one, other| other.weight.cmp(&one.weight).then_with(|| one.key.cmp(&other.key)));
        all
    }
}

/// How often a stored response was served since its record was decoded, and how many bytes were asked for.
#[derive(Default)]
pub(crate) struct Served {
    requests: AtomicU64,
    bytes: AtomicU64,
}

impl Served {
    pub(crate) fn add(&self, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The requests and the bytes.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.requests.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

/// The places of a ranking.
const PLACES: usize = 256;

/// The most bytes of a key that are kept. Keys that begin alike for so long count as one.
const LONGEST_KEY: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_more_than_its_share_is_in_the_ranking_whatever_else_comes() {
        let mut ranking = Ranking::default();
        for round in 0..20_000_u32 {
            ranking.add(format!("once {round}").as_bytes(), 1, 1, None);
            if round % 20 == 0 {
                ranking.add(b"often", 1, 1, None);
            }
        }
        let sorted = ranking.sorted();
        assert_eq!(sorted.len(), PLACES);
        let often = sorted.iter().position(|ranked| &*ranked.key == b"often").unwrap();
        assert_eq!(often, 0);
        let Ranked { weight, inherited, .. } = sorted[often];
        assert!(weight >= 1000 && weight - inherited <= 1000, "{weight} {inherited}");
    }

    #[test]
    fn a_ranking_holds_a_bounded_number_of_bounded_keys() {
        let rankings = Rankings::default();
        for round in 0..1000_u32 {
            let key = format!("{}{round}", "k".repeat(100_000));
            rankings.add_missed(key.as_bytes());
            rankings.add_refused(format!("{round}").as_bytes(), "no-store");
        }
        assert_eq!(rankings.missed().len(), 1, "they begin alike for long");
        assert!(rankings.missed().iter().all(|ranked| ranked.key.len() == LONGEST_KEY));
        assert_eq!(rankings.refused().len(), PLACES);
        assert!(rankings.refused().iter().all(|ranked| ranked.why == Some("no-store")));
        let since = [(b"b".to_vec(), 1, 7), (b"a".to_vec(), 2, 7), (b"b".to_vec(), 1, 1)];
        let served: Vec<_> = rankings
            .served(since)
            .into_iter()
            .map(|ranked| (ranked.key, ranked.weight, ranked.requests))
            .collect();
        assert_eq!(served, [((*b"b").into(), 8, 2), ((*b"a").into(), 7, 2)]);
        assert!(rankings.served([]).is_empty(), "what is asked for changes nothing");
    }
}
