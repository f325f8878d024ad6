//! What should have been taken out of a store that could not: not to be believed until it is.

use std::{
    collections::HashSet,
    sync::{
        atomic::{AtomicBool, Ordering},
        Mutex, MutexGuard, PoisonError,
    },
};

use super::records::Records;
use crate::format::key::Slot;

/// Slots whose records are untrue, as long as the store may still have them.
#[derive(Default)]
pub(crate) struct Distrust {
    slots: Mutex<HashSet<Slot>>,
    /// Whether there are any: a hit looks no further.
    any: AtomicBool,
}

impl Distrust {
    /// Takes the record at `slot` out; if the store cannot, nobody here believes it any more.
    pub(crate) async fn take_out(&self, records: &Records, slot: &Slot) {
        if records.remove_record(slot).await.is_err() {
            self.note(slot);
        }
    }

    /// Whether what lies at `slot` is not to be believed.
    pub(crate) fn holds(&self, slot: &Slot) -> bool {
        self.any.load(Ordering::Acquire) && self.slots().contains(slot)
    }

    /// What lies at `slot` is true again: something else was put there.
    pub(crate) fn forget(&self, slot: &Slot) {
        if self.any.load(Ordering::Acquire) {
            let mut slots = self.slots();
            slots.remove(slot);
            self.any.store(!slots.is_empty(), Ordering::Release);
        }
    }

    /// Whether what lies at `slot` may be believed; tries once more to take out what may not.
    pub(crate) async fn clears(&self, records: &Records, slot: &Slot) -> bool {
        if !self.holds(slot) {
            return true;
        }
        let is_out = records.remove_record(slot).await.is_ok();
        if is_out {
            self.forget(slot);
        }
        is_out
    }

    /// What lies at `slot`, or will by then, is taken out once more before anybody here looks at it.
    pub(crate) fn note(&self, slot: &Slot) {
        let mut slots = self.slots();
        // A store that is down for long must not fill this process's memory.
        if slots.len() < MOST {
            slots.insert(slot.clone());
            self.any.store(true, Ordering::Release);
        }
    }

    fn slots(&self) -> MutexGuard<'_, HashSet<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MOST: usize = 65_536;
