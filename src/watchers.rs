//! [`Watchers`]: those who hear of each event of a cache.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{
    observer::{Event, Observer},
    sync::lock,
    trace,
};

/// The observers of a layer, and those that came later and may leave.
#[derive(Default)]
pub(crate) struct Watchers {
    observers: Observers,
    /// Each with a number of its own.
    guests: Mutex<Vec<(u64, Arc<dyn Observer>)>>,
    /// The number of all.
    count: AtomicUsize,
}

/// The observers that a layer was made with.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observer) {
        self.0.push(Arc::new(observer));
    }

    /// Whether these are the same observers.
    pub(crate) fn are(&self, others: &Self) -> bool {
        let is_same = |(one, other): (&Arc<dyn Observer>, &Arc<dyn Observer>)| Arc::ptr_eq(one, other);
        self.0.len() == others.0.len() && self.0.iter().zip(&others.0).all(is_same)
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.len().fmt(f)
    }
}

impl Watchers {
    pub(crate) fn new(observers: Observers) -> Self {
        let count = observers.0.len().into();
        Self { observers, guests: Mutex::default(), count }
    }

    /// Has a guest hear of each event. Returns its number.
    #[cfg(feature = "admin")]
    pub(crate) fn enter(&self, guest: Arc<dyn Observer>) -> u64 {
        let mut guests = lock(&self.guests);
        let number = guests.last().map_or(0, |(last, _)| last + 1);
        guests.push((number, guest));
        self.count.fetch_add(1, Ordering::Relaxed);
        number
    }

    #[cfg(feature = "admin")]
    pub(crate) fn leave(&self, number: u64) {
        let mut guests = lock(&self.guests);
        let before = guests.len();
        guests.retain(|(guest, _)| *guest != number);
        self.count.fetch_sub(before - guests.len(), Ordering::Relaxed);
    }

    /// Whether anybody hears of each answer.
    #[inline]
    pub(crate) fn hear_of_answers(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0 || trace::hears_of_answers()
    }

    /// Tells all of an event.
    #[inline]
    pub(crate) fn tell<'a>(&self, event: impl FnOnce() -> Event<'a>) {
        if self.count.load(Ordering::Relaxed) > 0 || trace::hears() {
            self.tell_all(&event());
        }
    }

    #[cold]
    fn tell_all(&self, event: &Event<'_>) {
        let tell = |observer: &Arc<dyn Observer>| {
            // A panic here would break a fill or a body, or end the process if it met another panic.
            let _ = catch_unwind(AssertUnwindSafe(|| observer.observe(event)));
        };
        trace::tell(event);
        self.observers.0.iter().for_each(tell);
        if self.count.load(Ordering::Relaxed) > self.observers.0.len() {
            // An observer may be slow, and must not hold the lock meanwhile.
            let guests = lock(&self.guests).clone();
            guests.iter().map(|(_, guest)| guest).for_each(tell);
        }
    }
}
