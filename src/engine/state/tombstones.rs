//! What should have been taken out of a store that could not: not to be believed until it is.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Mutex, MutexGuard, PoisonError, Weak,
    },
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::time::{timeout, Instant};

use super::records::Records;
use crate::{
    clock::moment,
    format::key::{commit_key, lease_key, Slot},
};

/// Slots whose records are untrue, as long as the store may still have them.
#[derive(Default)]
pub(crate) struct Tombstones {
    slots: Mutex<HashMap<Slot, Doubt>>,
    /// Whether there are any: a hit looks no further.
    any: AtomicBool,
    /// How often one was noted.
    notes: AtomicU64,
    /// Whether a task tries to take them out by and by.
    is_clearing: AtomicBool,
    /// How often one was not noted, for there were too many.
    unnoted: AtomicU64,
    /// How often by the time at which that was seen, and the time.
    seen: Mutex<Option<(u64, SystemTime)>>,
}

/// What is to be done about a slot.
struct Doubt {
    /// Which note it was.
    note: u64,
    /// Whether those who would put it again are to be kept from it, too.
    leases: bool,
    /// When it was tried last.
    tried: Option<Instant>,
}

impl Tombstones {
    /// Takes the record at `slot` out, and before it the right of other nodes to commit there; if the store cannot, or not
    /// within the time for one call, nobody here believes it any more.
    pub(crate) async fn invalidate(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot) {
        // In this order: a fill that has put a record looks for its lease after that.
        let invalidation = timeout(records.limit(), async {
            let are_barred = bar_others(records, slot).await;
            (are_barred, records.remove_record(slot).await.is_ok())
        });
        let (are_barred, is_out) = invalidation.await.unwrap_or_default();
        if !is_out || !are_barred {
            self.note(records, slot, !are_barred);
        }
    }

    /// Takes the record at `slot` out; if the store cannot, nobody here believes it any more.
    pub(crate) async fn take_out(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot) {
        if records.remove_record(slot).await.is_err() {
            self.note(records, slot, false);
        }
    }

    /// Whether what lies at `slot` is not to be believed.
    pub(crate) fn holds(&self, slot: &Slot) -> bool {
        self.any.load(Ordering::Acquire) && self.slots().contains_key(slot)
    }

    /// Whether a response that was received then may be believed, as far as it depends on what was not noted: that may
    /// be any which was stored by the time at which this is seen. Whatever is received later may.
    pub(crate) fn may_believe(&self, received: SystemTime, now: impl FnOnce() -> SystemTime) -> bool {
        let unnoted = self.unnoted.load(Ordering::Acquire);
        if unnoted == 0 {
            return true;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match *seen {
            Some((count, since)) if count == unnoted => since,
            // A record from before 1970 says 1970.
            _ => now().max(UNIX_EPOCH),
        };
        *seen = Some((unnoted, since));
        received > since
    }

    /// How much was noted so far.
    pub(crate) fn notes(&self) -> u64 {
        self.notes.load(Ordering::Acquire)
    }

    /// What lies at `slot` is true again, as far as it was noted by then: something else was put there.
    pub(crate) fn forget(&self, slot: &Slot, notes: u64) {
        if self.any.load(Ordering::Acquire) {
            let mut slots = self.slots();
            if slots.get(slot).is_some_and(|doubt| doubt.note < notes) {
                slots.remove(slot);
                self.any.store(!slots.is_empty(), Ordering::Release);
            }
        }
    }

    /// Whether what lies at `slot` may be believed; tries once more to take out what may not, unless that was tried a
    /// moment ago.
    pub(crate) async fn retry_if_due(&self, records: &Records, slot: &Slot) -> bool {
        let now = moment();
        let is_early = |tried| now.saturating_duration_since(tried) < records.limit();
        let tried = match self.slots().get_mut(slot) {
            None => return true,
            Some(doubt) => doubt.tried.replace(now),
        };
        !tried.is_some_and(is_early) && self.retry(records, slot).await
    }

    /// Tries once more to take out what lies at `slot`; says whether that may be believed now.
    async fn retry(&self, records: &Records, slot: &Slot) -> bool {
        let (note, leases) = match self.slots().get_mut(slot) {
            None => return true,
            Some(doubt) => {
                doubt.tried = Some(moment());
                (doubt.note, doubt.leases)
            }
        };
        // A store that does not even do that has no time for the record either.
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

    /// What lies at `slot`, or will by then, is taken out once more before anybody here looks at it; and if nobody does,
    /// by and by, for other nodes may.
    fn note(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot, leases: bool) {
        let mut slots = self.slots();
        // A store that is down for long must not fill this process's memory. Then all that it holds is in doubt.
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

    /// Those who have the leases from now on are not to be kept from anything by this note.
    fn leases_are_taken(&self, slot: &Slot, note: u64) {
        if let Some(doubt) = self.slots().get_mut(slot).filter(|doubt| doubt.note == note) {
            (doubt.leases, doubt.tried) = (false, Some(moment()));
        }
    }

    /// The slot that is to be tried next; if there is none, nobody tries from now on.
    fn longest_untried(&self) -> Option<Slot> {
        let slots = self.slots();
        let first = slots.iter().min_by_key(|(_, doubt)| doubt.tried).map(|(slot, _)| slot.clone());
        if first.is_none() {
            self.is_clearing.store(false, Ordering::Release);
        }
        first
    }

    /// All slots, those first that were not tried for longest.
    fn in_order(&self) -> Vec<Slot> {
        let mut slots: Vec<_> =
            self.slots().iter().map(|(slot, doubt)| (doubt.tried, slot.clone())).collect();
        slots.sort_unstable_by_key(|(tried, _)| *tried);
        slots.into_iter().map(|(_, slot)| slot).collect()
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_clearing(&self) -> bool {
        self.is_clearing.load(Ordering::Acquire)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Slot, Doubt>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps other nodes from putting what they fetched for `slot` before now: those who fill without a lease see the mark, the
/// others lose theirs. Says whether that is done.
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

/// Tries again and again to take out what should be, until all is: with the first call that the store answers, and after a
/// second at the latest, for other nodes may believe it.
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
                // The others would most likely fail as well, and come first the next time.
                break;
            }
        }
    }
}

/// Slots in doubt, each with some hundred bytes; a test has not the time to fill them all.
const MOST: usize = if cfg!(test) { 16 } else { 65_536 };

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::{
        clock::Clock,
        engine::{
            lookup::{lookup, Look},
            state::{
                entry::{Accepted, Target},
                Engine,
            },
        },
        error::BoxError,
        format::{
            key::{CacheKey, Generation},
            manifest::{Layout, Manifest, Record},
        },
        semantics::{
            cache_control::RequestDirectives,
            freshness::{ByUri, Exchange},
        },
        store::Store,
        VideoCacheLayer,
    };

    /// A store that takes nothing out.
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
            exchange: Exchange { requested: now, received: now, with_cookie: false },
            layout: Layout { generation: Generation(1), chunk_size: 1, length: 0 },
            own_etag: false,
            sparse: false,
            by_uri: ByUri::default(),
            withdrawn: false,
            digest: None,
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
            // One of those that are noted, once more: that takes no room.
            tombstones.invalidate(records, &target(0).primary).await;
            assert!(finds(&engine, &target(MOST), Accepted::Nothing).await);

            tombstones.invalidate(records, &target(MOST).primary).await;
            for name in 0..MOST + 3 {
                assert!(!finds(&engine, &target(name), Accepted::Nothing).await, "{name}");
            }
            // Who has just fetched it knows better, and so does everybody about what comes later.
            assert!(finds(&engine, &target(MOST), Accepted::Own(Generation(1))).await);
            let later = start.max(UNIX_EPOCH) + Duration::from_secs(1);
            *clock.0.lock().unwrap() = later;
            put(&engine, &target(MOST), later).await;
            assert!(finds(&engine, &target(MOST), Accepted::Nothing).await);
            assert!(!finds(&engine, &target(MOST + 1), Accepted::Nothing).await);

            // The next one puts that in doubt again.
            tombstones.invalidate(records, &target(MOST + 2).primary).await;
            assert!(!finds(&engine, &target(MOST), Accepted::Nothing).await);
        }
    }
}
