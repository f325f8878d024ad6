//! Gets the chunks of one body: from the store, or else from the inner service by way of the store.

use std::{
    mem,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Mutex,
    },
};

use bytes::Bytes;
use tokio::{sync::watch, time::timeout};

use super::{fetcher::Fetch, missing::Slice};
use crate::{
    engine::state::{
        entry::Entry,
        flight::Follower,
        run::{landing, End, Progress},
        supply::{Barred, Begun, Supply},
    },
    error::Error,
    sync::lock,
};

/// The demand of one body for chunks.
pub(crate) struct Demand {
    fetcher: Arc<dyn Fetch>,
    entry: Arc<Entry>,
    /// The chunk after the last that the client asked for.
    until: AtomicU64,
    /// Set once a chunk is missing, or when some are sure to be.
    subscription: Mutex<Option<Arc<Subscription>>>,
    /// Whether the client leads the fill. If storing stops, the leader alone gets the rest of the body.
    leads: bool,
    /// Keeps the fill going while this body is read.
    _place: Option<Follower>,
}

/// The result of a search for a chunk.
pub(crate) enum Found {
    Chunk(Bytes),
    /// The same body in another generation, all of which is stored.
    Elsewhere(Arc<Entry>),
    /// The body ended before this chunk.
    End,
}

/// Why a chunk cannot be had.
pub(crate) enum Missing {
    /// The representation has changed.
    Changed,
    /// The inner service failed, or did not answer in time.
    Failed(Error),
    /// The chunk is to come, but nobody can tell when: the fill goes no faster than its readers, and none of them is
    /// near.
    OutOfReach,
    /// Too many other chunks of the response were being fetched, for too long.
    TooLate,
    /// The inner service gives no parts of the response.
    NoParts(Error),
}

impl Demand {
    /// The demand of a body that needs the chunks before `until` of a stored response.
    pub(crate) fn new(fetcher: Arc<dyn Fetch>, entry: Arc<Entry>, until: u64) -> Self {
        let (until, subscription) = (AtomicU64::new(until), Mutex::default());
        Self { fetcher, entry, until, subscription, leads: false, _place: None }
    }

    /// The demand of a body that reads from a running fill. The fill goes on as long as this value lives.
    pub(crate) fn to_fill(fetcher: Arc<dyn Fetch>, entry: Arc<Entry>, place: Follower, leads: bool) -> Self {
        Self { leads, _place: Some(place), ..Self::new(fetcher, entry, u64::MAX) }
    }

    /// The demand of the same body after it has moved to another generation.
    pub(crate) fn elsewhere(&self, entry: &Arc<Entry>) -> Self {
        Self::new(Arc::clone(&self.fetcher), Arc::clone(entry), entry.manifest.layout.chunks())
    }

    /// Records that the body needs no chunk from this one on.
    pub(crate) fn set_end(&self, chunk: u64) {
        self.until.store(chunk, Ordering::Relaxed);
    }

    /// Returns one chunk. If the store does not have it, waits for it, fetches it, or has the response filled again.
    ///
    /// # Errors
    ///
    /// The chunk cannot be had, or cannot be proved to be of the same body.
    pub(crate) async fn chunk(&self, index: u64) -> Result<Found, Error> {
        match self.sought(index).await {
            Ok(found) => Ok(found),
            Err(Missing::Failed(error)) => Err(error),
            // These two happen only before a body begins, and there is another way then.
            Err(Missing::OutOfReach | Missing::TooLate) => Err(Error::timed_out()),
            Err(Missing::Changed) => {
                self.entry.forget(&self.fetcher.engine().records).await;
                Err(Error::changed())
            }
            Err(Missing::NoParts(error)) => {
                let stored = match &self.entry.pouring {
                    // While the response is being filled, there is no record to compare another fill with.
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

    /// Returns one chunk as [`chunk`](Self::chunk) does, but never has the response filled again.
    pub(crate) async fn sought(&self, index: u64) -> Result<Found, Missing> {
        match self.subscription(true) {
            Some(subscription) => subscription.chunk(&*self.fetcher, index).await,
            None => Err(Missing::NoParts(Error::lost())),
        }
    }

    /// Whether a chunk was missing, or some were sure to be.
    pub(crate) fn is_subscribed(&self) -> bool {
        lock(&self.subscription).is_some()
    }

    /// Whether the inner service was asked for a missing chunk on behalf of this client.
    pub(crate) fn has_fetched(&self) -> bool {
        self.subscription(false).is_some_and(|subscription| subscription.fetched.load(Ordering::Relaxed))
    }

    /// Whether this client waited for a chunk that was fetched on behalf of another.
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

/// The result of an attempt to have a missing chunk fetched.
enum Attempt {
    Barred(Barred),
    /// A run was begun on behalf of this client.
    Begun(watch::Receiver<Progress>),
    /// There were too many runs, for too long.
    TooLate,
    UnderWay,
}

/// The use that one body makes of a supply.
struct Subscription {
    supply: Arc<Supply>,
    until: u64,
    leads: bool,
    /// The chunk after the last one that the body got; 0 before the first.
    next: AtomicU64,
    /// Whether the inner service was asked for a missing chunk on behalf of this client.
    fetched: AtomicBool,
    /// Whether this client waited for a chunk that was fetched on behalf of another.
    collapsed: AtomicBool,
    ahead: Mutex<Ahead>,
}

/// The chunks that are fetched before the body comes to them.
#[derive(Default)]
struct Ahead {
    /// How many chunks the next run is to bring.
    chunks: u64,
    /// The chunk after the last one that was asked for.
    until: u64,
    /// Runs on behalf of this client, which go on while these receivers are held.
    runs: Vec<watch::Receiver<Progress>>,
}

impl Subscription {
    fn new(supply: Arc<Supply>, until: u64, leads: bool) -> Self {
        let (fetched, collapsed) = (AtomicBool::new(false), AtomicBool::new(false));
        let next = AtomicU64::new(0);
        Self { supply, until, leads, next, fetched, collapsed, ahead: Mutex::default() }
    }

    async fn chunk(&self, fetcher: &dyn Fetch, index: u64) -> Result<Found, Missing> {
        // A fill that goes no faster than its readers goes on for a reader that moves, and not for one that only
        // waits.
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
            // A run that was begun here may have ended by now. If the store did not take its chunk, only the end of
            // the run has it.
            let is_own = begun.is_some();
            if let Some(run) = begun.take().or_else(|| self.supply.bringing(index)) {
                if !is_own && self.supply.is_out_of_reach(index) {
                    return Err(Missing::OutOfReach);
                }
                waits += 1;
                match after(self.landed(run, index, is_own).await, index, self.leads, is_own) {
                    Step::Take(chunk) => return Ok(Found::Chunk(chunk)),
                    Step::Look => {}
                    Step::LookAfterFailure => error = Error::broken(),
                    Step::Changed => return Err(Missing::Changed),
                    Step::GiveUp => return Err(Missing::Failed(Error::broken())),
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
            // The leader gets the next bytes live.
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

    /// Waits until the run has brought the chunk, or has ended without it. Notes on whose behalf the inner service was
    /// asked.
    async fn landed(&self, run: watch::Receiver<Progress>, index: u64, is_own: bool) -> Option<End> {
        let end = landing(run.clone(), index).await;
        if run.borrow().called {
            let told = if is_own { &self.fetched } else { &self.collapsed };
            told.store(true, Ordering::Relaxed);
        }
        end
    }

    /// Has a missing chunk fetched, and as many after it as this body reads ahead.
    async fn fetch(&self, fetcher: &dyn Fetch, index: u64) -> Attempt {
        let until = {
            let mut ahead = lock(&self.ahead);
            let wanted = self.until.min(self.supply.layout().chunks()).saturating_sub(index).max(1);
            // A client that asked for a few chunks wants them all. A client that asked for more may leave before it
            // gets them.
            if ahead.chunks == 0 {
                ahead.chunks = if wanted <= self.most(fetcher) { wanted } else { 1 };
            }
            index.saturating_add(ahead.chunks.min(wanted))
        };
        // The wait for a turn is no lock: a body that waits too long goes without.
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

    /// Begins a run, once there are not too many of them.
    async fn turn(&self, index: u64, until: u64) -> Begun {
        loop {
            let turn = self.supply.turn.notified();
            match self.supply.begin(index, until) {
                Begun::Full => turn.await,
                begun => return begun,
            }
        }
    }

    /// Has the next chunks fetched before the body comes to them, if chunks were missing lately.
    fn read_ahead(&self, fetcher: &dyn Fetch, next: u64) {
        let (from, until) = {
            let mut ahead = lock(&self.ahead);
            if ahead.chunks == 0 {
                return;
            }
            // If the store turns out to have had the chunks all along, the body stops reading ahead.
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

    /// The most chunks that are fetched ahead of a body.
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

/// The next step of a body once the run that it waited for has brought the chunk, or has ended.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The run gives the chunk itself.
    Take(Bytes),
    /// The store may have the chunk. If it does not, another run may bring it.
    Look,
    /// The same, but the inner service failed.
    LookAfterFailure,
    Changed,
    GiveUp,
}

/// Decides what a body does after the end of a run; `None` if the run has brought the chunk.
fn after(end: Option<End>, index: u64, leads: bool, is_own: bool) -> Step {
    match end {
        Some(End::Unstored(unstored, chunk)) if unstored == index && !leads => Step::Take(chunk),
        Some(End::Changed) => Step::Changed,
        // The leader gets the next bytes live.
        Some(End::Failed | End::Stopped | End::Unstored(..)) if leads => Step::GiveUp,
        // A request of another client failed to bring the chunk. A request of this client may bring it.
        Some(End::Failed) if is_own => Step::GiveUp,
        Some(End::Failed) => Step::LookAfterFailure,
        Some(End::Done | End::NoParts | End::Stopped | End::Unstored(..)) | None => Step::Look,
    }
}

/// How often a body has one chunk fetched. A store may lose the chunk again as soon as it was stored.
const TRIES: u32 = 2;

/// How many runs that end without its chunk a body waits for. Runs of other clients may have been stopped.
const WAITS: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_goes_on_by_the_end_of_the_run_that_it_waited_for() {
        let chunk = Bytes::from_static(b"chunk");
        let unstored = |index| Some(End::Unstored(index, Bytes::from_static(b"chunk")));
        // The end of the run; the steps of the leader, of another body whose own run it was, and of any other body.
        let table = [
            (None, [Step::Look, Step::Look, Step::Look]),
            (Some(End::Done), [Step::Look, Step::Look, Step::Look]),
            (Some(End::NoParts), [Step::Look, Step::Look, Step::Look]),
            (Some(End::Changed), [Step::Changed, Step::Changed, Step::Changed]),
            (Some(End::Failed), [Step::GiveUp, Step::GiveUp, Step::LookAfterFailure]),
            (Some(End::Stopped), [Step::GiveUp, Step::Look, Step::Look]),
            (unstored(7), [Step::GiveUp, Step::Take(chunk.clone()), Step::Take(chunk)]),
            (unstored(6), [Step::GiveUp, Step::Look, Step::Look]),
        ];
        for (end, steps) in table {
            let bodies = [(true, false), (false, true), (false, false)];
            assert_eq!(bodies.map(|(leads, is_own)| after(end.clone(), 7, leads, is_own)), steps, "{end:?}");
        }
    }
}
