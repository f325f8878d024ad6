//! [`Watchers`]: those who hear of each event of a cache.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{Method, Uri};

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
    /// The request in the events of an answer that observers hear of who look at no request.
    nobody: (Method, Uri),
}

/// The observers that a layer was made with.
#[derive(Clone, Default)]
pub(crate) struct Observers {
    all: Vec<Arc<dyn Observer>>,
    /// Those of them who look at no request, and not at the time that a body took. Nothing is kept for them beside an
    /// answer.
    plain: Vec<Arc<dyn Observer>>,
}

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observer) {
        let observer: Arc<dyn Observer> = Arc::new(observer);
        if !observer.looks_at_requests() {
            self.plain.push(Arc::clone(&observer));
        }
        self.all.push(observer);
    }

    /// Whether these are the same observers.
    pub(crate) fn are(&self, others: &Self) -> bool {
        let is_same = |(one, other): (&Arc<dyn Observer>, &Arc<dyn Observer>)| Arc::ptr_eq(one, other);
        self.all.len() == others.all.len() && self.all.iter().zip(&others.all).all(is_same)
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all.len().fmt(f)
    }
}

impl Watchers {
    pub(crate) fn new(observers: Observers) -> Self {
        let count = observers.all.len().into();
        Self { observers, count, ..Self::default() }
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

    /// Whether anybody hears of each answer who looks at its request.
    #[inline]
    pub(crate) fn look_at_requests(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.observers.plain.len() || trace::hears_of_answers()
    }

    /// Tells those who look at no request of an answer whose request nobody looks at.
    #[inline]
    pub(crate) fn tell_plainly<'a>(&'a self, event: impl FnOnce(&'a Method, &'a Uri) -> Event<'a>) {
        if !self.observers.plain.is_empty() {
            let (method, uri) = &self.nobody;
            self.tell_plain(&event(method, uri));
        }
    }

    #[cold]
    fn tell_plain(&self, event: &Event<'_>) {
        self.observers.plain.iter().for_each(|observer| tell(observer, event));
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
        trace::tell(event);
        self.observers.all.iter().for_each(|observer| tell(observer, event));
        if self.count.load(Ordering::Relaxed) > self.observers.all.len() {
            self.tell_guests(event);
        }
    }

    #[inline(never)]
    fn tell_guests(&self, event: &Event<'_>) {
        // An observer may be slow, and must not hold the lock meanwhile.
        let guests = lock(&self.guests).clone();
        for (_, guest) in &guests {
            tell(guest, event);
        }
    }
}

fn tell(observer: &Arc<dyn Observer>, event: &Event<'_>) {
    // A panic here would break a fill or a body, or end the process if it met another panic.
    let _ = catch_unwind(AssertUnwindSafe(|| observer.observe(event)));
}
