//! Which keys were answered lately by what cannot be stored: their requests pass at once, with their ranges.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use http::{header, HeaderMap};

use crate::{
    format::key::{SelectingField, Slot},
    semantics::{cache_status::Refusal, vary::selecting_value},
    stripes::Stripes,
};

/// A bounded, forgetful memory; keys that fall on one place replace each other.
pub(crate) struct Passes {
    places: Stripes<Mutex<Option<Pass>>, 1024>,
    /// How long a key is passed before its answer is judged again.
    ttl: Duration,
}

struct Pass {
    slot: Slot,
    /// What the answer was selected by: it says nothing of requests that differ in it.
    selecting: Vec<SelectingField>,
    since: SystemTime,
    refusal: Refusal,
}

impl Passes {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { places: Stripes::default(), ttl }
    }

    /// Remembers why the answer for `slot`, selected by these fields, was not stored, if the next answer will hardly
    /// be another.
    pub(crate) fn remember(
        &self,
        slot: &Slot,
        selecting: Vec<SelectingField>,
        refusal: Refusal,
        now: SystemTime,
    ) {
        if !is_lasting(refusal) {
            return;
        }
        *self.place(slot) = Some(Pass { slot: slot.clone(), selecting, since: now, refusal });
    }

    /// Why a fill for `slot` on behalf of this request would be in vain, if that was found out lately.
    pub(crate) fn recall(&self, slot: &Slot, request: &HeaderMap, now: SystemTime) -> Option<Refusal> {
        let place = self.place(slot);
        let pass = place.as_ref().filter(|pass| pass.slot == *slot && pass.is_about(request))?;
        // A clock set back makes a memory of the future: no memory at all.
        (now.duration_since(pass.since).ok()? < self.ttl).then_some(pass.refusal)
    }

    pub(crate) fn forget(&self, slot: &Slot) {
        let mut place = self.place(slot);
        if place.as_ref().is_some_and(|pass| pass.slot == *slot) {
            *place = None;
        }
    }

    fn place(&self, slot: &Slot) -> MutexGuard<'_, Option<Pass>> {
        self.places.of(slot).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    fn is_about(&self, request: &HeaderMap) -> bool {
        // One viewer's credentials say nothing of those who have none.
        let of_credentials = self.refusal == Refusal::Authorization;
        let selects = |field: &SelectingField| selecting_value(request, &field.name) == field.value;
        (!of_credentials || request.contains_key(header::AUTHORIZATION)) && self.selecting.iter().all(selects)
    }
}

/// Whether the reason will hold for the next request too: it lies not in this moment's load.
fn is_lasting(refusal: Refusal) -> bool {
    refusal.is_of_the_response()
        || matches!(refusal, Refusal::NoParts | Refusal::StoreLost | Refusal::TooLarge)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::format::key::CacheKey;

    #[test]
    fn a_lasting_reason_is_remembered_for_a_while_and_a_passing_one_never() {
        let passes = Passes::new(Duration::from_secs(10));
        let slot = Slot::primary(&CacheKey::new("a"));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let any = HeaderMap::new();
        for passing in [Refusal::InnerStalled, Refusal::NoRoom, Refusal::StoreFailed] {
            passes.remember(&slot, Vec::new(), passing, at(100));
            assert_eq!(passes.recall(&slot, &any, at(100)), None, "{passing:?}");
        }
        passes.remember(&slot, Vec::new(), Refusal::NoStore, at(100));
        assert_eq!(passes.recall(&slot, &any, at(109)), Some(Refusal::NoStore));
        assert_eq!(passes.recall(&slot, &any, at(110)), None);
        assert_eq!(passes.recall(&slot, &any, at(99)), None);
        assert_eq!(passes.recall(&Slot::primary(&CacheKey::new("b")), &any, at(100)), None);
        passes.forget(&slot);
        assert_eq!(passes.recall(&slot, &any, at(101)), None);
    }

    #[test]
    fn one_viewers_answer_says_nothing_of_viewers_who_differ() {
        let passes = Passes::new(Duration::from_secs(10));
        let slot = Slot::primary(&CacheKey::new("a"));
        let by = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(
                header::HeaderName::from_static(name),
                header::HeaderValue::from_static(value),
            )])
        };
        let selecting = SelectingField::all(&[header::COOKIE], &by("cookie", "user=1"));
        passes.remember(&slot, selecting, Refusal::Private, UNIX_EPOCH);
        assert_eq!(passes.recall(&slot, &by("cookie", "user=1"), UNIX_EPOCH), Some(Refusal::Private));
        assert_eq!(passes.recall(&slot, &by("cookie", "user=2"), UNIX_EPOCH), None);

        passes.remember(&slot, Vec::new(), Refusal::Authorization, UNIX_EPOCH);
        assert_eq!(passes.recall(&slot, &by("authorization", "x"), UNIX_EPOCH), Some(Refusal::Authorization));
        assert_eq!(passes.recall(&slot, &HeaderMap::new(), UNIX_EPOCH), None);
    }
}
