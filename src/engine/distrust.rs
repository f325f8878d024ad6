//! What should have been taken out of a store that could not: not to be believed until it is.

use std::{
    collections::HashMap,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, MutexGuard, PoisonError, Weak,
    },
    time::Duration,
};

use tokio::time::{sleep, Instant};

use super::records::Records;
use crate::{
    clock::moment,
    format::key::{commit_key, lease_key, Slot},
};

/// Slots whose records are untrue, as long as the store may still have them.
#[derive(Default)]
pub(crate) struct Distrust {
    /// With each, when it was tried last to take it out.
    slots: Mutex<HashMap<Slot, Option<Instant>>>,
    /// Whether there are any: a hit looks no further.
    any: AtomicBool,
    /// Whether a task tries to take them out by and by.
    is_clearing: AtomicBool,
}

impl Distrust {
    /// Takes the record at `slot` out, and before it the right of other nodes to commit there; if the store cannot,
    /// nobody here believes it any more.
    pub(crate) async fn invalidate(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot) {
        if !is_out(records, slot).await {
            self.note(records, slot);
        }
    }

    /// Takes the record at `slot` out; if the store cannot, nobody here believes it any more.
    pub(crate) async fn take_out(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot) {
        if records.remove_record(slot).await.is_err() {
            self.note(records, slot);
        }
    }

    /// Whether what lies at `slot` is not to be believed.
    pub(crate) fn holds(&self, slot: &Slot) -> bool {
        self.any.load(Ordering::Acquire) && self.slots().contains_key(slot)
    }

    /// What lies at `slot` is true again: something else was put there.
    pub(crate) fn forget(&self, slot: &Slot) {
        if self.any.load(Ordering::Acquire) {
            let mut slots = self.slots();
            slots.remove(slot);
            self.any.store(!slots.is_empty(), Ordering::Release);
        }
    }

    /// Whether what lies at `slot` may be believed; tries once more to take out what may not, unless that was tried a
    /// moment ago.
    pub(crate) async fn clears(&self, records: &Records, slot: &Slot) -> bool {
        if !self.holds(slot) {
            return true;
        }
        if !self.may_try(slot, records.limit()) {
            return false;
        }
        let is_out = is_out(records, slot).await;
        if is_out {
            self.forget(slot);
        }
        is_out
    }

    /// What lies at `slot`, or will by then, is taken out once more before anybody here looks at it; and if nobody does,
    /// by and by, for other nodes may.
    fn note(self: &Arc<Self>, records: &Arc<Records>, slot: &Slot) {
        let mut slots = self.slots();
        // A store that is down for long must not fill this process's memory.
        if slots.len() < MOST {
            slots.insert(slot.clone(), None);
            self.any.store(true, Ordering::Release);
            if !self.is_clearing.swap(true, Ordering::AcqRel) {
                tokio::spawn(cleared(Arc::downgrade(self), Arc::downgrade(records)));
            }
        }
    }

    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_clearing(&self) -> bool {
        self.is_clearing.load(Ordering::Acquire)
    }

    /// Whether it is this one's turn to try; then it is nobody else's for a while.
    fn may_try(&self, slot: &Slot, pause: Duration) -> bool {
        let now = moment();
        match self.slots().get_mut(slot) {
            Some(Some(tried)) if now.saturating_duration_since(*tried) < pause => false,
            Some(tried) => {
                *tried = Some(now);
                true
            }
            None => true,
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Slot, Option<Instant>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a record out, and before it the leases of those who would put it again; says whether all are out.
async fn is_out(records: &Records, slot: &Slot) -> bool {
    let mut are_out = true;
    if records.may_lease() {
        for key in [lease_key(slot), commit_key(slot)] {
            are_out &= records.remove_lease(&key).await.is_ok();
        }
    }
    // In this order: a fill that has put a record looks for its lease after that.
    records.remove_record(slot).await.is_ok() && are_out
}

/// Tries again and again to take out what should be, until all is.
async fn cleared(distrust: Weak<Distrust>, records: Weak<Records>) {
    let mut pause = FIRST_PAUSE;
    loop {
        sleep(pause).await;
        let (Some(distrust), Some(records)) = (distrust.upgrade(), records.upgrade()) else {
            return;
        };
        let mut slots = {
            let slots = distrust.slots();
            if slots.is_empty() {
                distrust.is_clearing.store(false, Ordering::Release);
                return;
            }
            slots.iter().map(|(slot, tried)| (*tried, slot.clone())).collect::<Vec<_>>()
        };
        slots.sort_unstable_by_key(|(tried, _)| *tried);
        pause = FIRST_PAUSE;
        for (_, slot) in slots {
            if !distrust.clears(&records, &slot).await {
                // The others would most likely fail as well, and come first the next time.
                pause = LATER_PAUSE;
                break;
            }
        }
    }
}

const MOST: usize = 65_536;

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LATER_PAUSE: Duration = Duration::from_secs(10);
