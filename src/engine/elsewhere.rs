//! What another node was found refreshing a moment ago: hits on this one need not ask for its lease each time.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::lookup::Entry;
use crate::format::key::{Generation, Slot};

/// A bounded, forgetful memory; slots that fall on one place replace each other.
pub(crate) struct Elsewhere {
    places: Box<[Mutex<Option<Refresh>>]>,
    /// How long it is taken for granted: the other node may die.
    time: Duration,
}

struct Refresh {
    slot: Slot,
    of: Version,
    since: Instant,
}

/// Which of the responses at a slot: what was refreshed is another one.
type Version = (Generation, SystemTime);

impl Elsewhere {
    pub(crate) fn new(lease_time: Duration) -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::new(None)).collect(), time: lease_time / 3 }
    }

    /// Remembers that the lease for `entry` is another node's.
    pub(crate) fn remember(&self, entry: &Entry, now: Instant) {
        if let Some(place) = self.place(&entry.slot) {
            let refresh = Refresh { slot: entry.slot.clone(), of: version(entry), since: now };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(refresh);
        }
    }

    /// Whether another node refreshes `entry`, as far as was heard lately.
    pub(crate) fn refreshes(&self, entry: &Entry, now: Instant) -> bool {
        let Some(place) = self.place(&entry.slot) else {
            return false;
        };
        place.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|refresh| {
            refresh.slot == entry.slot
                && refresh.of == version(entry)
                && now.saturating_duration_since(refresh.since) < self.time
        })
    }

    fn place(&self, slot: &Slot) -> Option<&Mutex<Option<Refresh>>> {
        self.places.get(usize::try_from(xxh3_64(slot.as_str().as_bytes()) % PLACES).ok()?)
    }
}

fn version(entry: &Entry) -> Version {
    (entry.generation(), entry.manifest.exchange.received)
}

const PLACES: u64 = 512;
