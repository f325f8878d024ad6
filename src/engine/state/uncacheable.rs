//! Remembers keys whose answers could not be stored. Requests for them pass at once, with their ranges.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderName, header};

use crate::{
    format::key::Slot,
    semantics::{cache_status::Refusal, vary::selecting_value},
    stripes::Stripes,
    sync::lock,
};

/// A bounded memory that forgets: keys that share a place replace each other.
///
/// A place usually holds a few hundred bytes, and at most 5 KiB: it keeps only a hash of the values that a client
/// sent.
pub(crate) struct Uncacheable {
    places: Arc<Stripes<Mutex<Option<Pass>>, 1024>>,
    /// Hashes values with random keys, so that nobody outside this process can find two values that collide.
    hasher: RandomState,
    /// How long requests for a key pass before its answer is judged again.
    ttl: Duration,
}

struct Pass {
    slot: Slot,
    /// The fields that selected the answer, and a hash of their values. Requests with other values are not concerned.
    selecting: Vec<HeaderName>,
    values: u64,
    of: Client,
    since: SystemTime,
    refusal: Refusal,
}

/// The fields by which the client identified itself. The answer says nothing about clients that do not send the same
/// fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Client {
    authorization: bool,
    cookie: bool,
}

impl Client {
    pub(crate) fn of(request: &HeaderMap) -> Self {
        let has = |name| request.contains_key(name);
        Self { authorization: has(header::AUTHORIZATION), cookie: has(header::COOKIE) }
    }

    fn is_like(self, request: &HeaderMap) -> bool {
        let other = Self::of(request);
        (!self.authorization || other.authorization) && (!self.cookie || other.cookie)
    }
}

impl Uncacheable {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self { places: Arc::default(), hasher: RandomState::new(), ttl }
    }

    /// The same memory, with another time.
    pub(crate) fn with_ttl(&self, ttl: Duration) -> Self {
        Self { places: Arc::clone(&self.places), hasher: self.hasher.clone(), ttl }
    }

    /// Remembers why the answer for `slot` was not stored, if the next answer will hardly differ. These fields of
    /// this request selected the answer.
    pub(crate) fn remember(
        &self,
        slot: &Slot,
        selecting: Vec<HeaderName>,
        request: &HeaderMap,
        refusal: Refusal,
        now: SystemTime,
    ) {
        if !is_lasting(refusal) {
            return;
        }
        let (values, of) = (self.values(&selecting, request), Client::of(request));
        *self.place(slot) = Some(Pass { slot: slot.clone(), selecting, values, of, since: now, refusal });
    }

    /// Why a fill for `slot` on behalf of this request would be in vain, if the cache found that out lately.
    pub(crate) fn recall(&self, slot: &Slot, request: &HeaderMap, now: SystemTime) -> Option<Refusal> {
        let place = self.place(slot);
        let pass = place.as_ref().filter(|pass| pass.slot == *slot && self.is_about(pass, request))?;
        // If the clock was set back, the memory lies in the future and does not count.
        (now.duration_since(pass.since).ok()? < self.ttl).then_some(pass.refusal)
    }

    pub(crate) fn forget(&self, slot: &Slot) {
        let mut place = self.place(slot);
        if place.as_ref().is_some_and(|pass| pass.slot == *slot) {
            *place = None;
        }
    }

    fn is_about(&self, pass: &Pass, request: &HeaderMap) -> bool {
        pass.of.is_like(request) && self.values(&pass.selecting, request) == pass.values
    }

    /// A hash of the values that the request has for these fields.
    fn values(&self, names: &[HeaderName], request: &HeaderMap) -> u64 {
        let values = names.iter().map(|name| selecting_value(request, name));
        self.hasher.hash_one(values.collect::<Vec<_>>())
    }

    fn place(&self, slot: &Slot) -> MutexGuard<'_, Option<Pass>> {
        lock(self.places.of(slot))
    }
}

/// Whether the reason will hold for the next request too, because it does not depend on the load of the moment.
fn is_lasting(refusal: Refusal) -> bool {
    refusal.is_of_the_response()
        || matches!(refusal, Refusal::Endless | Refusal::NoParts | Refusal::StoreLost | Refusal::TooLarge)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::format::key::CacheKey;

    #[test]
    fn a_lasting_reason_is_remembered_for_a_while_and_a_passing_one_never() {
        let uncacheable = Uncacheable::new(Duration::from_secs(10));
        let slot = Slot::primary(&CacheKey::new("a"));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let any = HeaderMap::new();
        for passing in [Refusal::InnerStalled, Refusal::NoRoom, Refusal::StoreFailed] {
            uncacheable.remember(&slot, Vec::new(), &any, passing, at(100));
            assert_eq!(uncacheable.recall(&slot, &any, at(100)), None, "{passing:?}");
        }
        uncacheable.remember(&slot, Vec::new(), &any, Refusal::NoStore, at(100));
        assert_eq!(uncacheable.recall(&slot, &any, at(109)), Some(Refusal::NoStore));
        assert_eq!(uncacheable.recall(&slot, &any, at(110)), None);
        assert_eq!(uncacheable.recall(&slot, &any, at(99)), None);
        assert_eq!(uncacheable.recall(&Slot::primary(&CacheKey::new("b")), &any, at(100)), None);
        uncacheable.forget(&slot);
        assert_eq!(uncacheable.recall(&slot, &any, at(101)), None);
    }

    #[test]
    fn a_refusal_is_not_applied_to_clients_with_other_credentials() {
        let uncacheable = Uncacheable::new(Duration::from_secs(10));
        let slot = Slot::primary(&CacheKey::new("a"));
        let by = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(name), header::HeaderValue::from_static(value))])
        };
        uncacheable.remember(
            &slot,
            vec![header::COOKIE],
            &by("cookie", "user=1"),
            Refusal::Private,
            UNIX_EPOCH,
        );
        assert_eq!(uncacheable.recall(&slot, &by("cookie", "user=1"), UNIX_EPOCH), Some(Refusal::Private));
        for other in [by("cookie", "user=2"), by("cookie", ""), HeaderMap::new()] {
            assert_eq!(uncacheable.recall(&slot, &other, UNIX_EPOCH), None, "{other:?}");
        }

        for (name, other, refusal) in [
            ("authorization", "cookie", Refusal::Authorization),
            ("cookie", "authorization", Refusal::SetCookie),
            ("cookie", "x-user", Refusal::NoStore),
        ] {
            uncacheable.remember(&slot, Vec::new(), &by(name, "x"), refusal, UNIX_EPOCH);
            assert_eq!(uncacheable.recall(&slot, &by(name, "y"), UNIX_EPOCH), Some(refusal), "{name}");
            assert_eq!(uncacheable.recall(&slot, &by(other, "x"), UNIX_EPOCH), None, "{name}");
            assert_eq!(uncacheable.recall(&slot, &HeaderMap::new(), UNIX_EPOCH), None, "{name}");
        }
    }
}
