//! The use that one body makes of the runs of its response: it waits for them, begins them, and has them read ahead.

use std::{
    mem,
    ops::Range,
    sync::{Arc, Mutex, OnceLock},
};

use http::StatusCode;
use tokio::{sync::watch, time::timeout};

use super::{fetcher::Fetch, missing::Slice};
use crate::{
    engine::{
        config::lead,
        state::{
            entry::Entry,
            flight::Follower,
            records::Stretch,
            run::{Barred, End, Progress, landing, landing_in_whole},
            supply::{Begun, Supply},
        },
    },
    error::Error,
    sync::lock,
};

/// The result of a search for a byte.
pub(crate) enum Found {
    Bytes(Stretch),
    /// The same body in another generation, all of which is stored.
    Elsewhere(Arc<Entry>),
    /// The body ended before this byte.
    End,
}

/// Why a byte cannot be had.
pub(crate) enum Missing {
    /// The representation has changed.
    Changed,
    /// The inner service failed, or did not answer in time.
    Failed(Error),
    /// The byte is to come, but nobody can tell when: the fill goes no faster than its readers, and none of them is
    /// near.
    OutOfReach,
    /// Too many other parts of the response were being fetched, for too long.
    TooLate,
    /// The inner service gives no parts of the response.
    NoParts(Error),
}

/// The result of an attempt to have missing bytes fetched.
enum Attempt {
    Barred(Barred),
    /// A run was begun on behalf of this client.
    Begun(watch::Receiver<Progress>),
    /// There were too many runs, for too long.
    TooLate,
    UnderWay,
}

/// The use that one body makes of a supply.
pub(super) struct Subscription {
    supply: Arc<Supply>,
    until: u64,
    leads: bool,
    place: Arc<Mutex<Option<Follower>>>,
    /// The bytes that the body got last.
    last: Mutex<Range<u64>>,
    /// The status of the answer that brought missing bytes on behalf of this client, if the inner service was asked.
    pub(super) fetched: OnceLock<StatusCode>,
    /// The status of the answer to another client that this one waited for, if it did.
    pub(super) collapsed: OnceLock<StatusCode>,
    ahead: Mutex<Ahead>,
    /// The run of another client that brought bytes last. It goes on while this receiver is held.
    joined: Mutex<Option<watch::Receiver<Progress>>>,
}

/// The bytes that are fetched before the body comes to them.
#[derive(Default)]
struct Ahead {
    /// How many bytes the next run is to bring.
    bytes: u64,
    /// The offset after the last byte that was asked for.
    until: u64,
    /// Runs on behalf of this client, which go on while these receivers are held.
    runs: Vec<watch::Receiver<Progress>>,
}

impl Subscription {
    pub(super) fn new(
        supply: Arc<Supply>,
        until: u64,
        leads: bool,
        place: Arc<Mutex<Option<Follower>>>,
    ) -> Self {
        let (fetched, collapsed) = (OnceLock::new(), OnceLock::new());
        let (last, ahead, joined) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { supply, until, leads, place, last, fetched, collapsed, ahead, joined }
    }

    /// Returns the bytes around `offset`, or fetches them.
    pub(super) async fn at(&self, fetcher: &dyn Fetch, offset: u64) -> Result<Found, Missing> {
        // A fill that goes no faster than its readers goes on for a reader that moves, and not for one that only
        // waits.
        let last = lock(&self.last).clone();
        if !last.is_empty() && last.end == offset {
            self.supply.readers.note_moved(last.start, offset);
        }
        self.supply.note_reader(offset, false);
        let found = self.sought(fetcher, offset).await;
        if let Ok(Found::Bytes(stretch)) = &found {
            *lock(&self.last) = offset..stretch.end();
        }
        found
    }

    async fn sought(&self, fetcher: &dyn Fetch, offset: u64) -> Result<Found, Missing> {
        let mut error = Error::lost();
        let (mut own, mut begun, mut waits) = (0, None, 0);
        while waits < WAITS {
            // A run that was begun here may have ended by now. If the store did not take its bytes, only the end of
            // the run has them.
            let is_own = begun.is_some();
            if let Some(run) = begun.take().or_else(|| self.supply.bringing(offset)) {
                if !is_own && self.supply.is_out_of_reach(offset) {
                    return Err(Missing::OutOfReach);
                }
                if !is_own && own < TRIES && self.supply.is_better_off_alone(offset) {
                    // Another run may have stored the byte before.
                    if let Ok(stretch) = self.stored(fetcher, offset).await {
                        return Ok(Found::Bytes(stretch));
                    }
                    if let Attempt::Begun(run) = self.fetch(fetcher, offset, true).await {
                        (own, begun) = (own + 1, Some(run));
                        // The other run need not go on for the sake of this body, unless this one brings nothing.
                        if self.supply.is_had_in_parts() {
                            lock(&self.place).take();
                            lock(&self.joined).take();
                        }
                        continue;
                    }
                }
                waits += 1;
                match after(self.landed(run, offset, is_own).await, offset, self.is_leader(), is_own) {
                    Step::Take(stretch) => return Ok(Found::Bytes(stretch)),
                    Step::Look => {}
                    Step::LookAfterFailure => error = Error::broken(),
                    Step::Changed => return Err(Missing::Changed),
                    Step::GiveUp => return Err(Missing::Failed(Error::broken())),
                }
            }
            let length = self.supply.layout().length;
            if offset >= length && self.supply.length().is_some() {
                return Ok(Found::End);
            }
            if offset < length {
                match self.stored(fetcher, offset).await {
                    Ok(stretch) => {
                        self.read_ahead(fetcher, stretch.end());
                        return Ok(Found::Bytes(stretch));
                    }
                    Err(_) if error.is_inner() => {}
                    Err(lost) => error = lost,
                }
            }
            // The leader gets the next bytes live.
            if self.is_leader() && self.supply.has_stopped() {
                return Err(Missing::Failed(Error::broken()));
            }
            if own == TRIES {
                break;
            }
            match self.fetch(fetcher, offset, false).await {
                Attempt::Begun(run) => (own, begun) = (own + 1, Some(run)),
                Attempt::UnderWay => {}
                Attempt::Barred(Barred::Changed) => return Err(Missing::Changed),
                Attempt::Barred(Barred::NoParts) => return Err(Missing::NoParts(error)),
                Attempt::TooLate => return Err(Missing::TooLate),
            }
        }
        Err(Missing::Failed(error))
    }

    /// Whether the client leads a fill, and gets its bytes from that.
    fn is_leader(&self) -> bool {
        self.leads && lock(&self.place).is_some()
    }

    /// Reads the bytes around `offset` from the store. If the store has lost a piece of a chunk that is still under way,
    /// waits for the whole chunk.
    async fn stored(&self, fetcher: &dyn Fetch, offset: u64) -> Result<Stretch, Error> {
        let records = &fetcher.engine().records;
        if let Some(run) = self.supply.in_pieces(offset) {
            let layout = self.supply.layout();
            if let Ok(stretch) = records.piece_around(layout, offset).await {
                return Ok(stretch);
            }
            // Another run may have stored the chunk, and taken the piece away. Without a length, there is one run.
            if self.supply.length().is_some() {
                if let Ok(stretch) = records.around(layout, offset).await {
                    return Ok(stretch);
                }
            }
            landing_in_whole(run, offset).await;
        }
        // Only now is the length of the last chunk known, if the length of the body was not declared.
        records.around(self.supply.layout(), offset).await
    }

    /// Waits until the run has brought the byte, or has ended without it. Notes on whose behalf the inner service was
    /// asked.
    async fn landed(&self, run: watch::Receiver<Progress>, offset: u64, is_own: bool) -> Option<End> {
        if !is_own {
            *lock(&self.joined) = Some(run.clone());
        }
        self.supply.note_reader(offset, true);
        let end = landing(run.clone(), offset).await;
        if let Some(status) = run.borrow().came {
            let told = if is_own { &self.fetched } else { &self.collapsed };
            let _ = told.set(status);
        }
        end
    }

    /// Has missing bytes fetched, and as many after them as this body reads ahead.
    async fn fetch(&self, fetcher: &dyn Fetch, offset: u64, beside: bool) -> Attempt {
        let layout = self.supply.layout();
        let from = layout.piece_start(offset);
        let until = {
            let mut ahead = lock(&self.ahead);
            let end = self.until.min(layout.length).max(offset.saturating_add(1));
            let wanted = end - from;
            // A client that asked for a few bytes wants them all. A client that asked for more may leave before it
            // gets them.
            if self.supply.follows() {
                // The run brings no more than the client is about to read.
                ahead.bytes = wanted;
            } else if ahead.bytes == 0 {
                let is_little = wanted <= self.most(fetcher);
                ahead.bytes = if is_little { wanted } else { u64::from(layout.chunk_size).min(FIRST_STEP) };
            }
            self.end_of(from.saturating_add(ahead.bytes), end)
        };
        // The wait for a turn is no lock: a body that waits too long goes without.
        let waiting = timeout(fetcher.engine().config.timeouts.follower, self.turn(from, until, beside));
        match waiting.await {
            Ok(Begun::Barred(barred)) => Attempt::Barred(barred),
            Ok(Begun::Run(running, bytes)) => {
                let run = running.progress.subscribe();
                self.hold(run.clone(), bytes.end);
                fetcher.fetch(Slice { running, bytes });
                Attempt::Begun(run)
            }
            Ok(Begun::Full | Begun::UnderWay) => Attempt::UnderWay,
            Err(_) => Attempt::TooLate,
        }
    }

    /// The end of a run that is to bring the bytes before `until`, of which the client wants those before `wanted`: with
    /// the chunk, or with the last piece that is wanted.
    fn end_of(&self, until: u64, wanted: u64) -> u64 {
        let layout = self.supply.layout();
        let chunk = layout.chunk_around(until.saturating_sub(1)).end;
        chunk.min(layout.piece_end(wanted))
    }

    /// Begins a run, once there are not too many of them.
    async fn turn(&self, from: u64, until: u64, beside: bool) -> Begun {
        loop {
            let turn = self.supply.turn.notified();
            match self.supply.begin(from, until, beside) {
                Begun::Full => turn.await,
                begun => return begun,
            }
        }
    }

    /// Has the next bytes fetched before the body comes to them, if bytes were missing lately.
    fn read_ahead(&self, fetcher: &dyn Fetch, next: u64) {
        let (from, until) = {
            let mut ahead = lock(&self.ahead);
            if ahead.bytes == 0 || self.supply.follows() {
                return;
            }
            // If the store turns out to have had the bytes all along, the body stops reading ahead.
            let is_idle = |run: &watch::Receiver<Progress>| {
                let progress = run.borrow();
                matches!(progress.end, Some(End::Done)) && progress.next < ahead.until
            };
            if ahead.runs.last().is_some_and(is_idle) && next >= ahead.until {
                *ahead = Ahead::default();
                return;
            }
            let left = ahead.until.saturating_sub(next);
            if left > ahead.bytes / 2 {
                return;
            }
            ahead.bytes = ahead.bytes.saturating_mul(2).min(self.most(fetcher));
            let (from, wanted) = (ahead.until.max(next), self.until.min(self.supply.layout().length));
            if from >= wanted {
                return;
            }
            // The last piece may have been a short one.
            let from = self.supply.layout().piece_start(from);
            (from, self.end_of(next.saturating_add(ahead.bytes), wanted))
        };
        if from >= until {
            return;
        }
        if let Begun::Run(running, bytes) = self.supply.begin(from, until, false) {
            self.hold(running.progress.subscribe(), bytes.end);
            fetcher.fetch(Slice { running, bytes });
        }
    }

    /// The most bytes that are fetched ahead of a body.
    fn most(&self, fetcher: &dyn Fetch) -> u64 {
        lead(fetcher.engine().config.fill.read_ahead, self.supply.layout().chunk_size)
    }

    fn hold(&self, run: watch::Receiver<Progress>, until: u64) {
        let mut ahead = lock(&self.ahead);
        let runs = mem::take(&mut ahead.runs);
        ahead.runs = runs.into_iter().filter(|run| run.borrow().end.is_none()).chain([run]).collect();
        ahead.until = until;
    }
}

/// The next step of a body once the run that it waited for has brought the byte, or has ended.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// The run gives the bytes itself.
    Take(Stretch),
    /// The store may have the byte. If it does not, another run may bring it.
    Look,
    /// The same, but the inner service failed.
    LookAfterFailure,
    Changed,
    GiveUp,
}

/// Decides what a body does after the end of a run; `None` if the run has brought the byte.
fn after(end: Option<End>, offset: u64, leads: bool, is_own: bool) -> Step {
    match end {
        Some(End::Unstored(stretch)) if stretch.holds(offset) && !leads => Step::Take(stretch),
        Some(End::Changed) => Step::Changed,
        // The leader gets the next bytes live.
        Some(End::Failed | End::Stopped | End::Unstored(..)) if leads => Step::GiveUp,
        // A request of another client failed to bring the byte. A request of this client may bring it.
        Some(End::Failed) if is_own => Step::GiveUp,
        Some(End::Failed) => Step::LookAfterFailure,
        Some(End::Done | End::NoParts | End::Stopped | End::Unstored(..)) | None => Step::Look,
    }
}

/// How many bytes a body that may not be read to its end has fetched first.
pub(crate) const FIRST_STEP: u64 = 1 << 20;

/// How often a body has one byte fetched. A store may lose it again as soon as it was stored.
const TRIES: u32 = 2;

/// How many runs that end without its byte a body waits for. Runs of other clients may have been stopped.
const WAITS: u32 = 32;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_body_goes_on_by_the_end_of_the_run_that_it_waited_for() {
        let unstored = |start| Some(End::Unstored(Stretch { start, bytes: Bytes::from_static(b"bytes") }));
        let take = || Step::Take(Stretch { start: 5, bytes: Bytes::from_static(b"bytes") });
        // The end of the run; the steps of the leader, of another body whose own run it was, and of any other body.
        let table = [
            (None, [Step::Look, Step::Look, Step::Look]),
            (Some(End::Done), [Step::Look, Step::Look, Step::Look]),
            (Some(End::NoParts), [Step::Look, Step::Look, Step::Look]),
            (Some(End::Changed), [Step::Changed, Step::Changed, Step::Changed]),
            (Some(End::Failed), [Step::GiveUp, Step::GiveUp, Step::LookAfterFailure]),
            (Some(End::Stopped), [Step::GiveUp, Step::Look, Step::Look]),
            (unstored(5), [Step::GiveUp, take(), take()]),
            (unstored(2), [Step::GiveUp, Step::Look, Step::Look]),
            (unstored(8), [Step::GiveUp, Step::Look, Step::Look]),
        ];
        for (end, steps) in table {
            let bodies = [(true, false), (false, true), (false, false)];
            assert_eq!(bodies.map(|(leads, is_own)| after(end.clone(), 7, leads, is_own)), steps, "{end:?}");
        }
    }
}
