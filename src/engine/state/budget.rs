//! Shares places, and bytes promised to the store, among the fills under way.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::sync::lock;

/// A bound on the bytes of all fills under way together. If they filled more than half of the store, they would push
/// out each other's first chunks before their last chunks were stored.
pub(crate) struct Budget {
    limit: u64,
    promised: AtomicU64,
    shares: Mutex<Shares>,
}

/// The shares of the fills under way, in the order in which they began.
#[derive(Default)]
struct Shares {
    by_number: BTreeMap<u64, Weak<Share>>,
    numbers: u64,
}

impl Budget {
    /// A budget for a store that holds `capacity` bytes, if that is known.
    pub(crate) fn for_capacity(capacity: Option<u64>) -> Self {
        Self::of(capacity.map_or(u64::MAX, |capacity| capacity / 2))
    }

    /// A budget of at most `limit` bytes.
    pub(crate) fn of(limit: u64) -> Self {
        Self { limit, promised: AtomicU64::new(0), shares: Mutex::default() }
    }

    /// Whether `bytes` would fit if no other bytes were promised.
    pub(crate) fn could_hold(&self, bytes: u64) -> bool {
        bytes <= self.limit
    }

    /// The bytes that are promised now.
    pub(crate) fn all_promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// An empty share for a fill that somebody waits for as long as `is_wanted` says so.
    pub(crate) fn share(
        self: &Arc<Self>,
        is_wanted: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Arc<Share> {
        let mut shares = lock(&self.shares);
        shares.numbers += 1;
        let number = shares.numbers;
        let share = Arc::new(Share {
            budget: Arc::clone(self),
            number,
            is_wanted: Box::new(is_wanted),
            holds: Mutex::default(),
            yielded: watch::Sender::new(false),
        });
        shares.by_number.insert(number, Arc::downgrade(&share));
        share
    }

    fn reserve(&self, more: u64) -> bool {
        let grown = |promised: u64| promised.checked_add(more).filter(|sum| *sum <= self.limit);
        self.promised.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    /// Reserves `more` bytes. If there is no room, fills that nobody waits for yield theirs, the oldest first, if
    /// that is enough.
    fn reserve_for_wanted(&self, more: u64) -> bool {
        let unwanted = self.unwanted();
        let theirs = unwanted.iter().map(|share| lock(&share.holds).promised).fold(0, u64::saturating_add);
        let others = self.promised.load(Ordering::Relaxed).saturating_sub(theirs);
        if others.checked_add(more).is_none_or(|sum| sum > self.limit) {
            return false;
        }
        let has_promised = |share: &&Arc<Share>| lock(&share.holds).promised > 0;
        for share in unwanted.iter().filter(has_promised) {
            share.yield_all();
            if self.reserve(more) {
                return true;
            }
        }
        self.reserve(more)
    }

    /// Takes the place of the oldest fill that nobody waits for.
    fn yielded_place(&self, places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        let has_place = |share: &&Arc<Share>| {
            lock(&share.holds).place.as_ref().is_some_and(|place| Arc::ptr_eq(place.semaphore(), places))
        };
        self.unwanted().iter().filter(has_place).find_map(|share| share.yield_all())
    }

    fn unwanted(&self) -> Vec<Arc<Share>> {
        let all: Vec<_> = lock(&self.shares).by_number.values().filter_map(Weak::upgrade).collect();
        all.into_iter().filter(|share| !share.is_wanted()).collect()
    }
}

/// The share of one fill: a place among the fills, and bytes promised to the store. A dropped share gives both back.
///
/// While nobody waits for the fill, it yields both, at once and for good, to a fill that somebody waits for.
pub(crate) struct Share {
    budget: Arc<Budget>,
    number: u64,
    is_wanted: Box<dyn Fn() -> bool + Send + Sync>,
    holds: Mutex<Holds>,
    yielded: watch::Sender<bool>,
}

#[derive(Default)]
struct Holds {
    place: Option<OwnedSemaphorePermit>,
    promised: u64,
    has_yielded: bool,
}

impl Share {
    /// Takes one of the `places`, if one is free or another fill yields its own. Returns whether it got one.
    pub(crate) fn take_place(&self, places: &Arc<Semaphore>) -> bool {
        let free = Arc::clone(places).try_acquire_owned().ok();
        let place = free.or_else(|| self.is_wanted().then(|| self.budget.yielded_place(places)).flatten());
        let has_place = place.is_some();
        lock(&self.holds).place = place;
        has_place
    }

    pub(crate) fn leave_place(&self) {
        lock(&self.holds).place = None;
    }

    /// Promises `more` bytes to the store. Returns `false`, and changes nothing, if there is no room and no other
    /// fill yields enough.
    pub(crate) fn promise(&self, more: u64) -> bool {
        let fits = self.budget.reserve(more) || self.is_wanted() && self.budget.reserve_for_wanted(more);
        let mut holds = lock(&self.holds);
        // Meanwhile another fill may have found this one unwanted and taken its share.
        if fits && holds.has_yielded {
            self.budget.promised.fetch_sub(more, Ordering::Relaxed);
        } else if fits {
            holds.promised += more;
        }
        fits && !holds.has_yielded
    }

    /// Bytes promised so far.
    pub(crate) fn promised(&self) -> u64 {
        lock(&self.holds).promised
    }

    /// Waits until this share has had to yield.
    pub(crate) async fn yielded(&self) {
        // The share owns the sender, so the wait cannot fail.
        let _ = self.yielded.subscribe().wait_for(|yielded| *yielded).await;
    }

    fn is_wanted(&self) -> bool {
        (self.is_wanted)()
    }

    fn yield_all(&self) -> Option<OwnedSemaphorePermit> {
        let Holds { place, promised, .. } =
            std::mem::replace(&mut *lock(&self.holds), Holds { has_yielded: true, ..Holds::default() });
        self.budget.promised.fetch_sub(promised, Ordering::Relaxed);
        self.yielded.send_replace(true);
        place
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        lock(&self.budget.shares).by_number.remove(&self.number);
        self.budget.promised.fetch_sub(self.promised(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// A share that is wanted until the flag says otherwise.
    fn wanted(budget: &Arc<Budget>) -> (Arc<Share>, Arc<AtomicBool>) {
        let flag = Arc::new(AtomicBool::new(true));
        let told = Arc::clone(&flag);
        (budget.share(move || told.load(Ordering::SeqCst)), flag)
    }

    fn has_yielded(share: &Share) -> bool {
        *share.yielded.borrow()
    }

    #[test]
    fn promises_never_exceed_half_the_capacity_and_come_back() {
        let budget = Arc::new(Budget::for_capacity(Some(100)));
        let [(first, _), (second, _)] = [wanted(&budget), wanted(&budget)];
        assert!(first.promise(30));
        assert!(!second.promise(21));
        assert!(first.promise(20));
        assert!(!first.promise(1));
        assert!(!first.promise(u64::MAX));
        drop(first);
        assert!(second.promise(50));
        assert_eq!(lock(&budget.shares).by_number.len(), 1);
    }

    #[test]
    fn an_unknown_capacity_holds_nothing_back() {
        let budget = Arc::new(Budget::for_capacity(None));
        assert!(wanted(&budget).0.promise(u64::MAX));
    }

    #[test]
    fn the_oldest_unwanted_fills_yield_and_no_more_of_them_than_needed() {
        let budget = Arc::new(Budget::of(100));
        let [(one, one_flag), (two, two_flag), (three, three_flag), (new, new_flag)] =
            std::array::from_fn(|_| wanted(&budget));
        for share in [&one, &two, &three] {
            assert!(share.promise(30));
        }
        assert!(!new.promise(30));
        for flag in [one_flag, two_flag, three_flag] {
            flag.store(false, Ordering::SeqCst);
        }
        // All of them together are not enough, so none of them yields in vain.
        assert!(!new.promise(101));
        assert!(![&one, &two, &three].into_iter().any(|share| has_yielded(share)));
        assert!(new.promise(60));
        assert_eq!([&one, &two, &three].map(|share| has_yielded(share)), [true, true, false]);
        assert_eq!([&one, &two, &three].map(|share| share.promised()), [0, 0, 30]);
        // A share that has yielded gets no more bytes. A share that nobody waits for makes no other share yield.
        assert!(!one.promise(1));
        new_flag.store(false, Ordering::SeqCst);
        assert!(!new.promise(30));
        drop([one, two, three, new]);
        assert_eq!(budget.promised.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn an_unwanted_fill_yields_its_place_to_a_wanted_one() {
        let budget = Arc::new(Budget::for_capacity(None));
        let places = Arc::new(Semaphore::new(1));
        let elsewhere = Arc::new(Semaphore::new(1));
        let [(other, other_flag), (one, one_flag), (new, _)] = std::array::from_fn(|_| wanted(&budget));
        assert!(other.take_place(&elsewhere) && one.take_place(&places));
        other_flag.store(false, Ordering::SeqCst);
        assert!(!new.take_place(&places));
        one_flag.store(false, Ordering::SeqCst);
        assert!(new.take_place(&places));
        assert_eq!([&other, &one].map(|share| has_yielded(share)), [false, true]);
        drop(one);
        assert_eq!(places.available_permits(), 0);
        new.leave_place();
        assert_eq!(places.available_permits(), 1);
    }
}
