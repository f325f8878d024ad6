//! An inner body on its way into the store, chunk by chunk.

use std::{future::pending, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    engine::{
        inner::body::{Collected, InnerBody},
        state::{
            budget::Share,
            flight::Permit,
            records::{Waited, CHUNK_OVERHEAD},
            supply::Running,
            Engine,
        },
    },
    error::{BoxError, Error},
    format::{key::Generation, manifest::Layout},
    futures::{race, Raced},
    semantics::cache_status::Refusal,
    settings::Abandon,
};

/// A body being put into the store.
pub(crate) struct Pour<B> {
    engine: Arc<Engine>,
    /// Its length is where the bytes end that are in the store.
    layout: Layout,
    /// The chunks still to come, as far as they are to be stored; all to the end of the body if that comes before.
    chunks: Range<u64>,
    ended: bool,
    pub(crate) body: InnerBody<B>,
    /// What the store was promised; without it, nothing is put.
    pub(crate) share: Option<Arc<Share>>,
    /// The promise was made for the whole length at once.
    pub(crate) promised_whole: bool,
    pub(crate) pace: Pace,
    /// How long the store was waited for that did not take a chunk.
    pub(crate) waited: Waited,
    /// The sum by which a response without a strong validator is known again.
    pub(crate) sum: Option<Xxh3>,
    /// How much was stored when the last viewer left.
    left_at: Option<u64>,
}

/// How fast a body is poured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it comes; where there is no room for the whole, it stops.
    Own,
    /// There is no room for the whole: no faster than it is read.
    OfReaders,
    /// As fast as it comes; where there is no room for the whole, no faster than it is read.
    OfReadersIfNeeded,
}

/// How a pour ended.
pub(crate) enum Poured {
    /// All that was to be stored is.
    All,
    Broken(Refusal),
    /// Nobody was left to wait for it.
    Deserted,
    /// With the chunk that did not get into the store.
    Stopped(Refusal, Bytes),
}

/// Whom a body is poured for.
pub(crate) enum Audience<'a> {
    /// Those who wait for a flight; what becomes of it when they leave; the length of the body, if it is known.
    Flight(&'a Permit, Abandon, Option<u64>),
    /// Viewers to come.
    Later,
    Run(&'a Running),
}

impl<B> Pour<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// A pour of chunk after chunk, from the first on.
    pub(crate) fn new(
        engine: &Arc<Engine>,
        generation: Generation,
        chunk_size: u32,
        body: InnerBody<B>,
        share: Option<Arc<Share>>,
    ) -> Self {
        Self {
            engine: Arc::clone(engine),
            layout: Layout { generation, chunk_size, length: 0 },
            chunks: 0..u64::MAX,
            ended: false,
            body,
            share,
            promised_whole: true,
            pace: Pace::Own,
            waited: Waited::default(),
            sum: None,
            left_at: None,
        }
    }

    /// What is in the store of a body that was poured from its start.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The chunk that comes next.
    pub(crate) fn next(&self) -> u64 {
        self.chunks.start
    }

    /// Whether the body has come to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The body is of these chunks.
    pub(crate) fn of(mut self, chunks: Range<u64>) -> Self {
        self.layout.length = chunks.start.saturating_mul(u64::from(self.layout.chunk_size));
        self.chunks = chunks;
        self
    }

    /// Stores one chunk, if there is one.
    pub(crate) async fn one(&mut self, audience: &Audience<'_>, run: Option<&Running>) -> Poured {
        let end = self.chunks.end;
        self.chunks.end = end.min(self.chunks.start.saturating_add(1));
        let poured = self.all(audience, run).await;
        self.chunks.end = end;
        poured
    }

    /// Stores chunk after chunk, one in memory at a time.
    pub(crate) async fn all(&mut self, audience: &Audience<'_>, run: Option<&Running>) -> Poured {
        // A chunk size is 32 bits, and so is the smallest usize that tokio runs on.
        let size = usize::try_from(self.layout.chunk_size).unwrap_or(usize::MAX);
        let share = self.share.clone();
        while !self.ended && !self.chunks.is_empty() {
            // The chunk under way is always finished: it would be fetched twice.
            if let Audience::Run(run) = audience {
                if run.is_deserted() {
                    return Poured::Deserted;
                }
            }
            self.left_at = audience.is_gone().then(|| self.left_at.unwrap_or(self.layout.length));
            let since = self.layout.length.saturating_sub(self.left_at.unwrap_or(self.layout.length));
            let (limit, paced) = (self.engine.config.idle_limit, self.pace == Pace::OfReaders);
            if let (true, Some(run)) = (paced, run) {
                run.supply().slow_down();
                let near = run
                    .supply()
                    .reader_near(self.chunks.start, self.engine.config.lead(self.layout.chunk_size));
                let leaving = audience.leaves(self.layout.length, since, paced);
                if let Raced::Second(_) = race(near, race(leaving, yielded(share.as_ref()))).await {
                    return Poured::Deserted;
                }
            }
            // An inner body that never waits would not let anybody see that all have left.
            let leaving = audience.leaves(self.layout.length, since, paced);
            let leaving = race(leaving, yielded(share.as_ref()));
            let payload = match race(leaving, self.body.chunk(size, limit)).await {
                Raced::Second(Ok(Collected::Chunk(payload))) => payload,
                Raced::Second(Ok(Collected::End)) => {
                    self.ended = true;
                    break;
                }
                Raced::Second(Ok(Collected::Stalled(payload))) => {
                    return Poured::Stopped(Refusal::InnerStalled, payload.freeze());
                }
                Raced::Second(Err(error)) => return Poured::Broken(broken_by(&error)),
                Raced::First(_) => return Poured::Deserted,
            };
            let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            if self.body.taken() > self.engine.config.policy.largest_body() {
                return Poured::Stopped(Refusal::TooLarge, payload.freeze());
            }
            if let Err(refusal) = self.make_room(length.saturating_add(CHUNK_OVERHEAD), run.is_some()) {
                return Poured::Stopped(refusal, payload.freeze());
            }
            if let Some(sum) = &mut self.sum {
                sum.update(&payload);
            }
            let put = self.engine.records.put_chunk(self.layout.generation, self.chunks.start, payload);
            if let Err((in_hand, error)) = put.await {
                self.waited = Waited::of(&error);
                return Poured::Stopped(Refusal::StoreFailed, in_hand);
            }
            self.layout.length = self.layout.length.saturating_add(length);
            self.chunks.start += 1;
            if let Some(run) = run {
                run.landed(self.chunks.start, self.layout.length);
            }
        }
        Poured::All
    }

    /// Promises the store one more chunk, where not all of them are promised yet. Where there is no room for more, one that
    /// is read while it is poured goes on no faster than it is read.
    fn make_room(&mut self, weight: u64, is_read: bool) -> Result<(), Refusal> {
        let Some(share) = &self.share else {
            return Err(Refusal::NoRoom);
        };
        if self.promised_whole || self.pace == Pace::OfReaders || share.promise(weight) {
            return Ok(());
        }
        if is_read && self.pace == Pace::OfReadersIfNeeded {
            self.pace = Pace::OfReaders;
            return Ok(());
        }
        let in_all = share.promised().saturating_add(weight);
        let could_be = self.engine.budget.could_hold(in_all);
        Err(if could_be { Refusal::NoRoom } else { Refusal::TooLarge })
    }
}

impl Audience<'_> {
    /// Whether nobody waits for it now.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Flight(permit, ..) if permit.is_deserted())
    }

    /// Until nobody is left for whom it would be worth while to store more than the `stored` bytes; so many of them `since`
    /// the last one left.
    pub(crate) async fn leaves(&self, stored: u64, since: u64, paced: bool) {
        match self {
            // With nobody who reads, there is no pace.
            Self::Flight(permit, ..) if paced => permit.deserted().await,
            Self::Flight(permit, abandon, length) if abandon.stops(stored, *length, since) => {
                permit.deserted().await;
            }
            Self::Flight(..) | Self::Later | Self::Run(_) => pending().await,
        }
    }
}

/// Until its share is another's, who is waited for.
async fn yielded(share: Option<&Arc<Share>>) {
    match share {
        Some(share) => share.yielded().await,
        None => pending().await,
    }
}

/// What is said of a body that broke so.
pub(crate) fn broken_by(error: &Error) -> Refusal {
    if error.is_truncated() {
        Refusal::ChangedLength
    } else {
        Refusal::InnerFailed
    }
}

/// How long to wait after so many `failures` before: twice as long each time.
pub(crate) fn pause(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures))
}
