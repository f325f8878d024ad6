//! Which keys were answered lately by what cannot be stored: their requests pass at once, with their ranges.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::{format::key::Slot, semantics::cache_status::Refusal};

/// A bounded, forgetful memory; keys that fall on one place replace each other.
pub(crate) struct Passes {
    places: Box<[Mutex<Option<Pass>>]>,
    hasher: RandomState,
}

struct Pass {
    slot: Slot,
    since: SystemTime,
    refusal: Refusal,
}

impl Passes {
    pub(crate) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::new(None)).collect(), hasher: RandomState::new() }
    }

    /// Remembers why the answer for `slot` was not stored, if the next answer will hardly be another.
    pub(crate) fn remember(&self, slot: &Slot, refusal: Refusal, now: SystemTime) {
        if !is_lasting(refusal) {
            return;
        }
        if let Some(place) = self.place(slot) {
            let pass = Pass { slot: slot.clone(), since: now, refusal };
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(pass);
        }
    }

    /// Why a fill for `slot` would be in vain, if that was found out lately.
    pub(crate) fn recall(&self, slot: &Slot, now: SystemTime) -> Option<Refusal> {
        let place = self.place(slot)?.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = place.as_ref().filter(|pass| pass.slot == *slot)?;
        // A clock set back makes a memory of the future: no memory at all.
        (now.duration_since(pass.since).ok()? < REMEMBERED).then_some(pass.refusal)
    }

    pub(crate) fn forget(&self, slot: &Slot) {
        if let Some(place) = self.place(slot) {
            let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
            if place.as_ref().is_some_and(|pass| pass.slot == *slot) {
                *place = None;
            }
        }
    }

    fn place(&self, slot: &Slot) -> Option<&Mutex<Option<Pass>>> {
        self.places.get(usize::try_from(self.hasher.hash_one(slot) % PLACES).ok()?)
    }
}

/// Whether the reason lies in the resource or the store: not in this viewer's request or this moment's load.
fn is_lasting(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::Media
            | Refusal::NeverFresh
            | Refusal::NoCache
            | Refusal::NoStore
            | Refusal::Private
            | Refusal::StoreLost
            | Refusal::TooLarge
            | Refusal::VaryAnything
    )
}

/// How long a key is passed before its answer is judged again.
const REMEMBERED: Duration = Duration::from_secs(10);

const PLACES: u64 = 1024;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::format::key::CacheKey;

    #[test]
    fn a_lasting_reason_is_remembered_for_a_while_and_a_passing_one_never() {
        let passes = Passes::new();
        let slot = Slot::primary(&CacheKey::new("a"));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for passing in [Refusal::Status, Refusal::NoRoom, Refusal::Authorization, Refusal::SetCookie] {
            passes.remember(&slot, passing, at(100));
            assert_eq!(passes.recall(&slot, at(100)), None, "{passing:?}");
        }
        passes.remember(&slot, Refusal::NoStore, at(100));
        assert_eq!(passes.recall(&slot, at(109)), Some(Refusal::NoStore));
        assert_eq!(passes.recall(&slot, at(110)), None);
        assert_eq!(passes.recall(&slot, at(99)), None);
        assert_eq!(passes.recall(&Slot::primary(&CacheKey::new("b")), at(100)), None);
        passes.forget(&slot);
        assert_eq!(passes.recall(&slot, at(101)), None);
    }
}
