//! Records removals that failed. Lookups ignore those slots until a retry succeeds.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::time::{Instant, timeout};

use super::records::Records;
use crate::{
    clock::moment,
    format::key::{Slot, commit_key, lease_key},
    sync::lock,
};

/// Slots whose records are no longer true, but may still be in the store.
#[derive(Default)]
pub(crate) struct Tombstones {
    slots: Mutex<HashMap<Slot, Doubt>>,
    /// Whether there are any slots. If there are none, a hit reads only this flag.
    any: AtomicBool,
    /// How many failed removals were noted.
    notes: AtomicU64,
    /// Whether a background task is retrying the removals.
    is_clearing: AtomicBool,
    /// How many failed removals were not noted, because there were too many.
    unnoted: AtomicU64,
    /// The number of unnoted removals that a lookup saw, and the time when a lookup first saw that number.
    seen: Mutex<Option<(u64, SystemTime)>>,
}

/// A failed removal that is to be retried.
struct Doubt {
    /// The number of this note.
    note: u64,
    /// Whether other nodes must also lose their leases, so that they cannot put the record again.
    leases: bool,
    /// When the removal was retried last.
    tried: Option<Instant>,
}

impl Tombstones {
    /// Takes away the right of other nodes to commit at `slot`, then removes the record there. If the store cannot do
    /// both within the time for one call, lookups on this node ignore the record from now on.
    ///
    /// Returns whether the store could.
    pub(crate) async fn invalidate(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot) -> bool {
        // The order matters: a fill puts its record first, and checks its lease after that.
        let invalidation = timeout(records.limit(), async {
            let are_barred = bar_others(records, slot).await;
            (are_barred, records.remove_record(slot).await.is_ok())
        });
        let (are_barred, is_out) = invalidation.await.unwrap_or_default();
        if !is_out || !are_barred {
            self.note(records, slot, !are_barred);
        }
        is_out && are_barred
    }

    /// Takes away the right of other nodes to commit at `slot` what they asked for before now. Returns whether the store
    /// could, within the time for one call.
    pub(crate) async fn bar_others(&self, records: &Arc<Records>, slot: &Slot) -> bool {
        timeout(records.limit(), bar_others(records, slot)).await.unwrap_or_default()
    }

    /// Removes the record at `slot`. If the store cannot, lookups on this node ignore the record from now on.
    pub(crate) async fn take_out(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot) {
        if records.remove_record(slot).await.is_err() {
            self.note(records, slot, false);
        }
    }

    /// Whether lookups must ignore the record at `slot`.
    pub(crate) fn holds(&self, slot: &Slot) -> bool {
        self.any.load(Ordering::Acquire) && self.slots().contains_key(slot)
    }

    /// Whether a response received at this time may be used, in spite of the removals that were not noted. Such a
    /// removal may concern any response that was stored by the time when the cache sees the removal. A response
    /// received later may be used.
    pub(crate) fn may_believe(&self, received: SystemTime, now: impl FnOnce() -> SystemTime) -> bool {
        let unnoted = self.unnoted.load(Ordering::Acquire);
        if unnoted == 0 {
            return true;
        }
        let mut seen = lock(&self.seen);
        let since = match *seen {
            Some((count, since)) if count == unnoted => since,
            // A record from before 1970 says 1970.
            _ => now().max(UNIX_EPOCH),
        };
        *seen = Some((unnoted, since));
        received > since
    }

    /// How many failed removals were noted so far.
    pub(crate) fn notes(&self) -> u64 {
        self.notes.load(Ordering::Acquire)
    }

    /// Forgets a failed removal at `slot` that was noted before `notes` was read, because another record was put
    /// there.
    pub(crate) fn forget(&self, slot: &Slot, notes: u64) {
        if self.any.load(Ordering::Acquire) {
            let mut slots = self.slots();
            if slots.get(slot).is_some_and(|doubt| doubt.note < notes) {
                slots.remove(slot);
                self.any.store(!slots.is_empty(), Ordering::Release);
            }
        }
    }

    /// Whether the record at `slot` may be used. If it may not, retries the removal, unless that was tried a moment
    /// ago.
    pub(crate) async fn retry_if_due(&self, records: &Records, slot: &Slot) -> bool {
        let now = moment();
        let is_early = |tried| now.saturating_duration_since(tried) < records.limit();
        let tried = match self.slots().get_mut(slot) {
            None => return true,
            Some(doubt) => doubt.tried.replace(now),
        };
        !tried.is_some_and(is_early) && self.retry(records, slot).await
    }

    /// Retries the removal of the record at `slot`. Returns whether the slot may be used now.
    async fn retry(&self, records: &Records, slot: &Slot) -> bool {
        let (note, leases) = match self.slots().get_mut(slot) {
            None => return true,
            Some(doubt) => {
                doubt.tried = Some(moment());
                (doubt.note, doubt.leases)
            }
        };
        // A store that cannot even do that has no time for the record either.
        let are_taken = !leases || bar_others(records, slot).await;
        if are_taken {
            self.leases_are_taken(slot, note);
        }
        let is_out = are_taken && records.remove_record(slot).await.is_ok();
        if is_out {
            self.forget(slot, note + 1);
        }
        is_out && !self.holds(slot)
    }

    /// Notes that the record at `slot`, also one put there by then, must be removed before lookups on this node use
    /// it. A background task retries as well, because other nodes may use the record.
    fn note(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot, leases: bool) {
        let mut slots = self.slots();
        // A store that is down for long must not fill this process's memory. At the limit, all of its records are in
        // doubt.
        if slots.len() >= MOST && !slots.contains_key(slot) {
            self.unnoted.fetch_add(1, Ordering::AcqRel);
        } else {
            let note = self.notes.fetch_add(1, Ordering::AcqRel);
            let leases = leases || slots.get(slot).is_some_and(|doubt| doubt.leases);
            slots.insert(slot.clone(), Doubt { note, leases, tried: None });
            self.any.store(true, Ordering::Release);
            if !self.is_clearing.swap(true, Ordering::AcqRel) {
                tokio::spawn(cleared(Arc::downgrade(self), Arc::downgrade(records)));
            }
        }
    }

    /// Notes that the leases are taken away. Nodes that get them from now on may commit.
    fn leases_are_taken(&self, slot: &Slot, note: u64) {
        if let Some(doubt) = self.slots().get_mut(slot).filter(|doubt| doubt.note == note) {
            (doubt.leases, doubt.tried) = (false, Some(moment()));
        }
    }

    /// The slot to retry next. If there is none, the background task ends.
    fn longest_untried(&self) -> Option<Slot> {
        let slots = self.slots();
        let first = slots.iter().min_by_key(|(_, doubt)| doubt.tried).map(|(slot, _)| slot.clone());
        if first.is_none() {
            self.is_clearing.store(false, Ordering::Release);
        }
        first
    }

    /// All slots, those first that have waited longest for a retry.
    fn in_order(&self) -> Vec<Slot> {
        let mut slots: Vec<_> =
            self.slots().iter().map(|(slot, doubt)| (doubt.tried, slot.clone())).collect();
        slots.sort_unstable_by_key(|(tried, _)| *tried);
        slots.into_iter().map(|(_, slot)| slot).collect()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Slot, Doubt>> {
        lock(&self.slots)
    }
}

/// Keeps other nodes from putting a response that they fetched for `slot` before now. Nodes that fill without a lease
/// see the mark; the others lose their leases. Returns whether the store has done all that.
async fn bar_others(records: &Records, slot: &Slot) -> bool {
    if records.mark_invalidation(slot).await.is_err() {
        return false;
    }
    if !records.may_lease() {
        return true;
    }
    for key in [lease_key(slot), commit_key(slot)] {
        if records.remove_lease(&key).await.is_err() {
            return false;
        }
    }
    true
}

/// Retries the removals until all have succeeded. The next try comes when the store answers some call, and after a
/// second at the latest, because other nodes may use the records.
async fn cleared(tombstones: Weak<Tombstones>, records: Weak<Records>) {
    loop {
        if let Some(records) = records.upgrade() {
            records.next_try().await;
        }
        let (Some(tombstones), Some(records)) = (tombstones.upgrade(), records.upgrade()) else {
            return;
        };
        let Some(first) = tombstones.longest_untried() else {
            return;
        };
        if !tombstones.retry(&records, &first).await {
            continue;
        }
        for slot in tombstones.in_order() {
            if !tombstones.retry(&records, &slot).await {
                // The other removals would most likely fail as well, and come first the next time.
                break;
            }
        }
    }
}

/// The most slots that are noted, each with some hundred bytes. Tests have no time to fill that many.
const MOST: usize = if cfg!(test) { 16 } else { 65_536 };

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::{
        VideoCacheLayer,
        clock::Clock,
        engine::{
            lookup::{Look, lookup},
            state::{
                Engine,
                entry::{Accepted, Target},
            },
        },
        error::BoxError,
        format::{
            key::{CacheKey, Generation},
            layout::Layout,
            manifest::{Manifest, Record},
        },
        semantics::{
            cache_control::RequestDirectives,
            freshness::{ByUri, Exchange},
            purge::{Membership, Position},
        },
        store::Store,
    };

    /// A store that removes nothing.
    #[derive(Default)]
    struct Sticky(Mutex<HashMap<String, Bytes>>);

    impl Store for Sticky {
        async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
            Ok(self.0.lock().unwrap().get(key).cloned())
        }

        async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
            self.0.lock().unwrap().insert(key.to_owned(), value);
            Ok(())
        }

        async fn remove(&self, _: &str) -> Result<(), BoxError> {
            Err("it is full".into())
        }
    }

    #[derive(Clone)]
    struct At(Arc<Mutex<SystemTime>>);

    impl Clock for At {
        fn now(&self) -> SystemTime {
            *self.0.lock().unwrap()
        }
    }

    fn target(name: usize) -> Target {
        Target::new(CacheKey::new(name.to_string()))
    }

    async fn put(engine: &Engine, target: &Target, now: SystemTime) {
        let record = Record::Response(Manifest {
            key: target.key.clone(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            selecting: Vec::new(),
            exchange: Exchange {
                requested: now,
                received: now,
                with_cookie: false,
                purges: Position::default(),
            },
            layout: Layout { generation: Generation(1), chunk_size: 1, length: 0 },
            own_etag: false,
            sparse: false,
            by_uri: ByUri::default(),
            withdrawn: false,
            purged: None,
            membership: Membership::default(),
            digest: None,
            playlist: crate::semantics::playlist::Playlist::Unknown,
        });
        engine.records.put_record(&target.primary, &record).await.unwrap();
    }

    async fn finds(engine: &Engine, target: &Target, accepted: Accepted) -> bool {
        let (request, directives) = (HeaderMap::new(), RequestDirectives::default());
        matches!(lookup(engine, target, &request, &directives, accepted).await, Look::Found(..))
    }

    #[tokio::test(start_paused = true)]
    async fn too_many_failed_removals_put_all_older_records_in_doubt() {
        for start in [UNIX_EPOCH + Duration::from_secs(1_795_000_000), UNIX_EPOCH - Duration::from_secs(9)] {
            let clock = At(Arc::new(Mutex::new(start)));
            let engine = VideoCacheLayer::new(Sticky::default()).clock(clock.clone()).engine();
            for name in 0..MOST + 3 {
                put(&engine, &target(name), start).await;
            }
            let (tombstones, records) = (&engine.tombstones, &engine.records);
            for name in 0..MOST {
                tombstones.invalidate(records, &target(name).primary).await;
                assert!(!finds(&engine, &target(name), Accepted::Nothing).await);
            }
            // A slot that is noted already takes no more room.
            tombstones.invalidate(records, &target(0).primary).await;
            assert!(finds(&engine, &target(MOST), Accepted::Nothing).await);

            tombstones.invalidate(records, &target(MOST).primary).await;
            for name in 0..MOST + 3 {
                assert!(!finds(&engine, &target(name), Accepted::Nothing).await, "{name}");
            }
            // The request that has just fetched it may use it. A response that comes later may be used by all.
            assert!(finds(&engine, &target(MOST), Accepted::Own(Generation(1))).await);
            let later = start.max(UNIX_EPOCH) + Duration::from_secs(1);
            *clock.0.lock().unwrap() = later;
            put(&engine, &target(MOST), later).await;
            assert!(finds(&engine, &target(MOST), Accepted::Nothing).await);
            assert!(!finds(&engine, &target(MOST + 1), Accepted::Nothing).await);

            // The next removal that is not noted puts that response in doubt again.
            tombstones.invalidate(records, &target(MOST + 2).primary).await;
            assert!(!finds(&engine, &target(MOST), Accepted::Nothing).await);
        }
    }
}
