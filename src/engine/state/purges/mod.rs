//! The log of purges, as far as this node knows it.
//!
//! Each purge has a number. A fill notes the last number that its node knew when it called the inner service, and the
//! record of the response carries this number. A purge is for the responses that it names and that have a smaller
//! number. So there is no index, and no clock of a node counts. A node that is behind gives its responses too small a
//! number, and they are purged once too often.
//!
//! The nodes share the log through a store that can put a value unless there is one. A node reads the log again after
//! half of its age, and no request goes by a log that is older than its age.
//!
//! A log that was lost has a new random number. The responses of another log are validated before any use, because the
//! purges of that log are not known any more.

mod log;
mod selectors;

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use self::selectors::Selectors;
use super::records::Records;
use crate::{
    clock::{Clock, moment},
    format::{
        manifest::Manifest,
        purges::{Head, Purge},
    },
    semantics::{
        freshness::Ended,
        purge::{Fate, Membership, Position},
    },
};

/// The purges that this node knows, and the log that it shares with others.
pub(crate) struct Purges {
    log: Arc<Records>,
    /// How old the knowledge of a request may be.
    age: Duration,
    clock: Arc<dyn Clock>,
    began: Instant,
    /// When the log is to be read again, in nanoseconds after `began`.
    due: AtomicU64,
    /// When a request has to wait for the reading, in nanoseconds after `began`.
    late: AtomicU64,
    /// Changes with each purge that this node learns of.
    epoch: AtomicU64,
    view: RwLock<View>,
    /// How many purges this node has learned of.
    learned: AtomicU64,
    /// The last reading failed.
    is_unreadable: AtomicBool,
    /// Held by the one who reads the log, or appends to it.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// The content of the log.
#[derive(Default)]
struct View {
    /// The random number of the log. Zero if it is not known yet.
    log: u64,
    /// The number of the last purge that is known.
    number: u64,
    selectors: Selectors,
    /// The fates of the last purges, the oldest first.
    fates: VecDeque<Fate>,
    /// The strongest fate among those before.
    floor: Option<Fate>,
    /// The log that was lost, as far as it was known.
    before: Option<(u64, Selectors)>,
    /// The random bits of the last purge, if that purge was read.
    last: Option<u64>,
}

/// The fate of a stored response by the purges that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// No purge is for it.
    Kept,
    Ended(Ended),
    Gone,
}

impl Purges {
    pub(crate) fn new(log: Arc<Records>, age: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            log,
            age,
            clock,
            began: moment(),
            due: AtomicU64::new(0),
            late: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            view: RwLock::default(),
            learned: AtomicU64::new(0),
            is_unreadable: AtomicBool::new(false),
            reading: Arc::default(),
        }
    }

    /// How long another node that shares the log may go on without a purge.
    pub(crate) fn age(&self) -> Duration {
        self.age
    }

    /// How many purges this node has learned of.
    pub(crate) fn learned(&self) -> u64 {
        self.learned.load(Ordering::Relaxed)
    }

    /// Whether the last reading of the log failed.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.is_unreadable.load(Ordering::Relaxed)
    }

    /// The purges that are known now.
    pub(crate) fn position(&self) -> Position {
        self.with_view(|view| Position { log: view.log, number: view.number })
    }

    /// A number that changes with each purge that this node learns of.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether the log is to be read again.
    pub(crate) fn is_due(&self) -> bool {
        self.elapsed() >= self.due.load(Ordering::Relaxed)
    }

    /// Whether what is known has become too old while a request waited for its record. If no age is allowed, it is
    /// enough that the log was read after the request came.
    pub(crate) fn is_outdated(&self) -> bool {
        !self.age.is_zero() && self.is_late()
    }

    /// Whether a request must not go by what is known.
    fn is_late(&self) -> bool {
        self.elapsed() >= self.late.load(Ordering::Relaxed)
    }

    /// Judges a stored response by the purges that are known.
    pub(crate) fn judge(&self, manifest: &Manifest) -> Judgement {
        self.judge_named(manifest.exchange.purges, manifest.key.as_bytes(), &manifest.membership)
    }

    /// Judges a response with this key and membership by the purges after `since`.
    pub(crate) fn judge_named(&self, since: Position, key: &[u8], membership: &Membership) -> Judgement {
        let fate = self.with_view(|view| {
            // Without a log, a response was asked for before the first purge of this one, unless one before it was lost.
            let is_of_the_first = since.log == 0 && !self.log.can_lose();
            let since = if is_of_the_first { Position { log: view.log, ..since } } else { since };
            view.fate(since, key, membership, || self.clock.now())
        });
        match fate {
            None => Judgement::Kept,
            Some((Fate::Gone, _)) => Judgement::Gone,
            Some((fate, at)) => Judgement::Ended(Ended { at, must_be_validated: fate == Fate::Invalid }),
        }
    }

    /// Whether a reading has begun since then, and has ended.
    fn was_read_since(&self, then: Instant) -> bool {
        let read = self.due.load(Ordering::Relaxed).saturating_sub(nanoseconds(self.age / 2));
        read > 0 && read >= nanoseconds(then.saturating_duration_since(self.began))
    }

    /// Takes the knowledge of the log for as old as it is at `at`, and sets when it is read again.
    fn note_reading(&self, at: Instant) {
        let after = |age: Duration| nanoseconds(at.saturating_duration_since(self.began).saturating_add(age));
        self.late.store(after(self.age), Ordering::Relaxed);
        self.due.store(after(self.age / 2), Ordering::Relaxed);
    }

    /// The store keeps no log, so there is nothing to read.
    fn never_read(&self) {
        self.late.store(u64::MAX, Ordering::Relaxed);
        self.due.store(u64::MAX, Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        nanoseconds(moment().saturating_duration_since(self.began))
    }

    fn with_view<T>(&self, read: impl FnOnce(&View) -> T) -> T {
        read(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the view, so that each response is tested once more.
    fn change(&self, change: impl FnOnce(&mut View)) {
        let mut view = self.view.write().unwrap_or_else(PoisonError::into_inner);
        let (log, number) = (view.log, view.number);
        change(&mut view);
        let learned = if view.log == log { view.number.saturating_sub(number) } else { view.number };
        self.learned.fetch_add(learned, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::Release);
    }
}

impl View {
    fn fate(
        &self,
        since: Position,
        key: &[u8],
        membership: &Membership,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<(Fate, SystemTime)> {
        if since.log == self.log || self.log == 0 {
            return self.selectors.fate(since.number, key, membership);
        }
        // All purges of this log came after those of the other one.
        let after = self.selectors.fate(0, key, membership);
        let known = self.before.as_ref().filter(|(log, _)| *log == since.log);
        let known = known.and_then(|(_, selectors)| selectors.fate(since.number, key, membership));
        let is_gone = |(fate, _): &(Fate, SystemTime)| *fate == Fate::Gone;
        after.filter(is_gone).or(known.filter(is_gone)).or_else(|| Some((Fate::Invalid, now())))
    }

    /// Goes over to another log, of which nothing is known yet.
    fn adopt(&mut self, log: u64) {
        let before = std::mem::take(self);
        self.log = log;
        if before.log != 0 {
            self.before = Some((before.log, before.selectors));
        }
    }

    /// Notes the next purge.
    fn note(&mut self, purge: &Purge, now: SystemTime) {
        self.number += 1;
        self.last = Some(purge.nonce);
        self.selectors.note(self.number, purge, now);
        self.push(purge.fate);
    }

    /// Notes that the purges up to `number` are lost, or were taken out.
    fn note_unknown(&mut self, number: u64, fate: Fate, now: SystemTime) {
        (self.number, self.last) = (number, None);
        self.selectors.note_unknown(number, fate, now);
        // A node that begins anew does not read those before, though this node has.
        let strongest = self.fates.drain(..).max();
        self.floor = self.floor.max(strongest).max(Some(fate));
    }

    fn push(&mut self, fate: Fate) {
        self.fates.push_back(fate);
        if self.fates.len() > usize::from(KEPT) {
            self.floor = self.floor.max(self.fates.pop_front());
        }
    }

    /// The end of the log: the last [`KEPT`] purges stay in it.
    fn head(&self) -> Head {
        let kept = u64::try_from(self.fates.len()).unwrap_or(u64::MAX);
        Head { number: self.number, floor: self.number.saturating_sub(kept), fate: self.floor }
    }
}

/// At most those of 584 years.
fn nanoseconds(time: Duration) -> u64 {
    // `as_nanos` reckons in 128 bits, and each hit comes here.
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}

/// The purges that stay in the log. A node that begins reads all of them.
const KEPT: u16 = 1024;
