//! Remembers what another node is refreshing, so that hits on this node need not ask for its lease each time.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::entry::Entry;
use crate::{
    format::key::{Generation, Slot},
    stripes::Stripes,
    sync::lock,
};

/// A bounded memory that forgets: slots that share a place replace each other.
pub(crate) struct RemoteRefreshes {
    places: Arc<Stripes<Mutex<Option<Refresh>>, 512>>,
    /// How long the cache assumes that the refresh goes on. The other node may die.
    time: Duration,
}

struct Refresh {
    slot: Slot,
    of: Version,
    since: Instant,
}

/// Tells the responses at one slot apart: a refreshed response is another version.
type Version = (Generation, SystemTime);

impl RemoteRefreshes {
    pub(crate) fn new(lease_time: Duration) -> Self {
        Self { places: Arc::default(), time: lease_time / 3 }
    }

    /// The same memory, with another time.
    pub(crate) fn with_lease_time(&self, lease_time: Duration) -> Self {
        Self { places: Arc::clone(&self.places), ..Self::new(lease_time) }
    }

    /// Remembers that another node has the lease for `entry`.
    pub(crate) fn remember(&self, entry: &Entry, now: Instant) {
        let refresh = Refresh { slot: entry.slot.clone(), of: version(entry), since: now };
        *self.place(entry) = Some(refresh);
    }

    /// Whether another node refreshes `entry`, as far as this node learned lately.
    pub(crate) fn refreshes(&self, entry: &Entry, now: Instant) -> bool {
        self.place(entry).as_ref().is_some_and(|refresh| {
            refresh.slot == entry.slot
                && refresh.of == version(entry)
                && now.saturating_duration_since(refresh.since) < self.time
        })
    }

    fn place(&self, entry: &Entry) -> MutexGuard<'_, Option<Refresh>> {
        lock(self.places.of(&entry.slot))
    }
}

fn version(entry: &Entry) -> Version {
    (entry.generation(), entry.manifest.exchange.received)
}
