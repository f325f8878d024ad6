//! How one body gets chunks: from the store, else from the inner service by way of the store.

use std::{
    mem,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Mutex,
    },
};

use bytes::Bytes;
use tokio::{sync::watch, time::timeout};

use super::{fetcher::Fetch, slice::Slice};
use crate::{
    engine::state::{
        entry::Entry,
        flight::Follower,
        run::{landing, End, Progress},
        supply::{lock, Barred, Begun, Supply},
    },
    error::Error,
};

/// The line of one body to its chunks.
pub(crate) struct Demand {
    fetcher: Arc<dyn Fetch>,
    entry: Arc<Entry>,
    /// The chunk after the last that the viewer asked for.
    until: AtomicU64,
    /// Taken once a chunk is missing, or where some are sure to be.
    subscription: Mutex<Option<Arc<Subscription>>>,
    /// The rest of the body, should storing stop, is this viewer's.
    leads: bool,
    /// Its place among those for whom a fill goes on.
    _place: Option<Follower>,
}

/// What a line found for a chunk.
pub(crate) enum Found {
    Chunk(Bytes),
    /// All of the body at once, elsewhere: the same bytes in another generation.
    Elsewhere(Arc<Entry>),
    /// The body ended before this chunk.
    End,
}

/// Why a chunk is not to be had.
pub(crate) enum Missing {
    /// The representation is another by now.
    Changed,
    /// The inner service failed, or did not answer in time.
    Failed(Error),
    /// It is to come, and nobody knows when: the fill keeps pace with those who read, and they are not near it.
    OutOfReach,
    /// Too many other chunks of it were asked for, for too long.
    TooLate,
    /// The inner service gives no parts of it.
    NoParts(Error),
}

impl Demand {
    /// The line to a stored response of which the chunks before `until` are asked for.
    pub(crate) fn new(fetcher: Arc<dyn Fetch>, entry: Arc<Entry>, until: u64) -> Self {
        let (until, subscription) = (AtomicU64::new(until), Mutex::default());
        Self { fetcher, entry, until, subscription, leads: false, _place: None }
    }

    /// The line to what a fill is pouring; the fill goes on as long as it is there.
    pub(crate) fn to_fill(fetcher: Arc<dyn Fetch>, entry: Arc<Entry>, place: Follower, leads: bool) -> Self {
        Self { leads, _place: Some(place), ..Self::new(fetcher, entry, u64::MAX) }
    }

    /// The same for what the body goes on with in another generation.
    pub(crate) fn elsewhere(&self, entry: &Arc<Entry>) -> Self {
        Self::new(Arc::clone(&self.fetcher), Arc::clone(entry), entry.manifest.layout.chunks())
    }

    /// Nothing is asked for from this chunk on.
    pub(crate) fn set_end(&self, chunk: u64) {
        self.until.store(chunk, Ordering::Relaxed);
    }

    /// One chunk, whatever it takes to have it; one that is to come is waited for.
    ///
    /// # Errors
    ///
    /// It cannot be had, or not proved to be of the same body.
    pub(crate) async fn chunk(&self, index: u64) -> Result<Found, Error> {
        match self.sought(index).await {
            Ok(found) => Ok(found),
            Err(Missing::Failed(error)) => Err(error),
            // Only before a body begins, and there is another way then.
            Err(Missing::OutOfReach | Missing::TooLate) => Err(Error::timed_out()),
            Err(Missing::Changed) => {
                self.entry.forget(&self.fetcher.engine().records).await;
                Err(Error::changed())
            }
            Err(Missing::NoParts(error)) => {
                let stored = match &self.entry.pouring {
                    // While it is being filled there is nothing to compare another fill with.
                    Some(_) => self.fetcher.committed(&self.entry).await,
                    None => Some(Arc::clone(&self.entry)),
                };
                if let Some(stored) = stored {
                    return self.fetcher.refill(stored).await.map(Found::Elsewhere).ok_or(error);
                }
                if let Some(supply) = &self.entry.pouring {
                    supply.holed.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    /// The same, without a refill.
    pub(crate) async fn sought(&self, index: u64) -> Result<Found, Missing> {
        match self.subscription(true) {
            Some(subscription) => subscription.chunk(&*self.fetcher, index).await,
            None => Err(Missing::NoParts(Error::lost())),
        }
    }

    /// Whether a chunk was missing, or was sure to be.
    pub(crate) fn is_subscribed(&self) -> bool {
        lock(&self.subscription).is_some()
    }

    /// Whether the inner service was asked for a chunk that was missing, on behalf of this viewer.
    pub(crate) fn has_fetched(&self) -> bool {
        self.subscription(false).is_some_and(|subscription| subscription.fetched.load(Ordering::Relaxed))
    }

    /// Whether it was asked on behalf of another, for whose chunk this viewer waited.
    pub(crate) fn has_collapsed(&self) -> bool {
        self.subscription(false).is_some_and(|subscription| subscription.collapsed.load(Ordering::Relaxed))
    }

    fn subscription(&self, wanted: bool) -> Option<Arc<Subscription>> {
        let mut subscription = lock(&self.subscription);
        if subscription.is_none() && wanted {
            let engine = self.fetcher.engine();
            let supply = self.entry.supply(&engine.supplies);
            let until = self.until.load(Ordering::Relaxed);
            *subscription = Some(Arc::new(Subscription::new(supply, until, self.leads)));
        }
        subscription.clone()
    }
}

/// What became of a missing chunk.
enum Attempt {
    Barred(Barred),
    /// On behalf of this viewer.
    Begun(watch::Receiver<Progress>),
    /// There were too many runs for too long.
    TooLate,
    UnderWay,
}

/// A viewer's place at a supply.
struct Subscription {
    supply: Arc<Supply>,
    until: u64,
    leads: bool,
    /// The chunk after the last that the viewer got; it has got none at 0.
    next: AtomicU64,
    /// The inner service was asked for a missing chunk on behalf of this viewer.
    fetched: AtomicBool,
    /// It was asked on behalf of another one, for whose chunk this one waited.
    collapsed: AtomicBool,
    ahead: Mutex<Ahead>,
}

/// What is fetched for a viewer before it asks.
#[derive(Default)]
struct Ahead {
    /// How many chunks the next run is to bring.
    chunks: u64,
    /// The chunk after the last that was asked for.
    until: u64,
    /// Runs on behalf of this viewer; they go on while these are held.
    runs: Vec<watch::Receiver<Progress>>,
}

impl Subscription {
    fn new(supply: Arc<Supply>, until: u64, leads: bool) -> Self {
        let (fetched, collapsed) = (AtomicBool::new(false), AtomicBool::new(false));
        let next = AtomicU64::new(0);
        Self { supply, until, leads, next, fetched, collapsed, ahead: Mutex::default() }
    }

    async fn chunk(&self, fetcher: &dyn Fetch, index: u64) -> Result<Found, Missing> {
        // A fill that keeps its pace by its readers goes on for one who reads on, and for nobody who only waits.
        if index > 0 && self.next.load(Ordering::Relaxed) == index {
            self.supply.note_reader_moved(index);
        }
        let found = self.sought(fetcher, index).await;
        self.next.store(index.saturating_add(1), Ordering::Relaxed);
        found
    }

    async fn sought(&self, fetcher: &dyn Fetch, index: u64) -> Result<Found, Missing> {
        let engine = fetcher.engine();
        let mut error = Error::lost();
        let (mut own, mut begun, mut waits) = (0, None, 0);
        while waits < WAITS {
            // One that was begun here may have ended by now, and what it brought may be in its last word alone.
            let is_own = begun.is_some();
            if let Some(run) = begun.take().or_else(|| self.supply.bringing(index)) {
                if !is_own && self.supply.is_out_of_reach(index) {
                    return Err(Missing::OutOfReach);
                }
                waits += 1;
                let end = landing(run.clone(), index).await;
                if run.borrow().called {
                    let told = if is_own { &self.fetched } else { &self.collapsed };
                    told.store(true, Ordering::Relaxed);
                }
                match end {
                    Some(End::Unstored(unstored, chunk)) if unstored == index && !self.leads => {
                        return Ok(Found::Chunk(chunk));
                    }
                    Some(End::Changed) => return Err(Missing::Changed),
                    // What comes next is this viewer's own, live.
                    Some(End::Failed | End::Stopped | End::Unstored(..)) if self.leads => {
                        return Err(Missing::Failed(Error::broken()));
                    }
                    // What another one's request failed to bring, this one's may.
                    Some(End::Failed) if is_own => return Err(Missing::Failed(Error::broken())),
                    Some(End::Failed) => error = Error::broken(),
                    _ => {}
                }
            }
            let layout = self.supply.layout();
            let is_past_the_end = index >= layout.chunks();
            if is_past_the_end && self.supply.length().is_some() {
                return Ok(Found::End);
            }
            if !is_past_the_end {
                match engine.records.chunk(layout.chunk(index)).await {
                    Ok(chunk) => {
                        self.read_ahead(fetcher, index + 1);
                        return Ok(Found::Chunk(chunk));
                    }
                    Err(_) if error.is_inner() => {}
                    Err(lost) => error = lost,
                }
            }
            // What comes next is this viewer's own, live.
            if self.leads && self.supply.has_stopped() {
                return Err(Missing::Failed(Error::broken()));
            }
            if own == TRIES {
                break;
            }
            match self.fetch(fetcher, index).await {
                Attempt::Begun(run) => (own, begun) = (own + 1, Some(run)),
                Attempt::UnderWay => {}
                Attempt::Barred(Barred::Changed) => return Err(Missing::Changed),
                Attempt::Barred(Barred::NoParts) => return Err(Missing::NoParts(error)),
                Attempt::TooLate => return Err(Missing::TooLate),
            }
        }
        Err(Missing::Failed(error))
    }

    /// Has a missing chunk fetched, with as many after it as this viewer reads at a time.
    async fn fetch(&self, fetcher: &dyn Fetch, index: u64) -> Attempt {
        let until = {
            let mut ahead = lock(&self.ahead);
            let wanted = self.until.min(self.supply.layout().chunks()).saturating_sub(index).max(1);
            // Who asked for a few chunks wants them all; who asked for more may leave before it gets them.
            if ahead.chunks == 0 {
                ahead.chunks = if wanted <= self.most(fetcher) { wanted } else { 1 };
            }
            index.saturating_add(ahead.chunks.min(wanted))
        };
        // No lock: who waits too long for its turn goes without.
        let waiting = timeout(fetcher.engine().config.follower_limit, self.turn(index, until));
        match waiting.await {
            Ok(Begun::Barred(barred)) => Attempt::Barred(barred),
            Ok(Begun::Run(running, chunks)) => {
                let run = running.progress.subscribe();
                self.hold(run.clone(), chunks.end);
                fetcher.fetch(Slice { running, chunks });
                Attempt::Begun(run)
            }
            Ok(Begun::Full | Begun::UnderWay) => Attempt::UnderWay,
            Err(_) => Attempt::TooLate,
        }
    }

    /// Begins a run, once there are not too many.
    async fn turn(&self, index: u64, until: u64) -> Begun {
        loop {
            let turn = self.supply.turn.notified();
            match self.supply.begin(index, until) {
                Begun::Full => turn.await,
                begun => return begun,
            }
        }
    }

    /// Has the next chunks fetched before this viewer comes to them, if they were missing lately.
    fn read_ahead(&self, fetcher: &dyn Fetch, next: u64) {
        let (from, until) = {
            let mut ahead = lock(&self.ahead);
            if ahead.chunks == 0 {
                return;
            }
            // What is asked for and was there all along is no longer fetched before it is needed.
            let is_idle = |run: &watch::Receiver<Progress>| {
                let progress = run.borrow();
                matches!(progress.end, Some(End::Done)) && progress.next < ahead.until
            };
            if ahead.runs.last().is_some_and(is_idle) && next >= ahead.until {
                *ahead = Ahead::default();
                return;
            }
            let left = ahead.until.saturating_sub(next);
            if left > ahead.chunks / 2 {
                return;
            }
            ahead.chunks = ahead.chunks.saturating_mul(2).min(self.most(fetcher));
            let from = ahead.until.max(next);
            (from, next.saturating_add(ahead.chunks).min(self.until))
        };
        if from >= until {
            return;
        }
        if let Begun::Run(running, chunks) = self.supply.begin(from, until) {
            self.hold(running.progress.subscribe(), chunks.end);
            fetcher.fetch(Slice { running, chunks });
        }
    }

    /// How many chunks are fetched ahead of a viewer at most.
    fn most(&self, fetcher: &dyn Fetch) -> u64 {
        let size = u64::from(self.supply.layout().chunk_size.max(1));
        fetcher.engine().config.read_ahead.div_ceil(size).max(1)
    }

    fn hold(&self, run: watch::Receiver<Progress>, until: u64) {
        let mut ahead = lock(&self.ahead);
        let runs = mem::take(&mut ahead.runs);
        ahead.runs = runs.into_iter().filter(|run| run.borrow().end.is_none()).chain([run]).collect();
        ahead.until = until;
    }
}

/// How often a viewer has one chunk fetched: a store may lose it again as soon as it was stored.
const TRIES: u32 = 2;

/// How many runs that end without a chunk one viewer waits for; they may be others' that were stopped.
const WAITS: u32 = 32;
