//! Pours an inner body into the store, chunk by chunk.

use std::{future::pending, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    engine::{
        inner::chunks::{Collected, InnerBody},
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

/// An inner body that is being put into the store.
pub(crate) struct Pour<B> {
    engine: Arc<Engine>,
    /// The layout of the stored bytes, whose length is the offset where they end.
    layout: Layout,
    /// The chunks that are still to be stored. The body may end before the last of them.
    chunks: Range<u64>,
    ended: bool,
    pub(crate) body: InnerBody<B>,
    /// The share with the bytes promised to the store. Without a share, the pour puts no chunk.
    pub(crate) share: Option<Arc<Share>>,
    /// Whether the whole length was promised at once.
    pub(crate) promised_whole: bool,
    pub(crate) pace: Pace,
    /// How long the pour waited for a store that did not take a chunk.
    pub(crate) waited: Waited,
    /// The digest by which a response without a strong validator is known again.
    pub(crate) sum: Option<Xxh3>,
    /// How many bytes were stored when the last client left.
    left_at: Option<u64>,
}

/// How fast a body is poured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As fast as it comes. If there is no room for the whole body, the pour stops.
    Own,
    /// No faster than the body is read, because there is no room for the whole of it.
    OfReaders,
    /// As fast as it comes. If there is no room for the whole body, no faster than it is read.
    OfReadersIfNeeded,
}

/// How a pour ended.
pub(crate) enum Poured {
    /// Every chunk that was to be stored is stored.
    All,
    Broken(Refusal),
    /// The pour gave up: no client was left to wait for it, or its share went to another fill.
    Deserted,
    /// Storing stopped at this chunk, which did not get into the store.
    Stopped(Refusal, Bytes),
}

/// The clients that a body is poured for.
pub(crate) enum Audience<'a> {
    /// The clients that wait for a flight; the policy for when they have left; the length of the body, if it is
    /// known.
    Flight(&'a Permit, Abandon, Option<u64>),
    /// Clients to come.
    Later,
    Run(&'a Running),
}

impl<B> Pour<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// A pour of all chunks, from the first on.
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

    /// The layout of the bytes in the store, for a body that was poured from its start.
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

    /// Tells the pour which chunks the body has.
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

    /// Stores all chunks, with one in memory at a time.
    pub(crate) async fn all(&mut self, audience: &Audience<'_>, run: Option<&Running>) -> Poured {
        // A chunk size is 32 bits, and so is the smallest usize that tokio runs on.
        let size = usize::try_from(self.layout.chunk_size).unwrap_or(usize::MAX);
        let share = self.share.clone();
        while !self.ended && !self.chunks.is_empty() {
            // The chunk under way is always finished. Otherwise it would be fetched twice.
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
            // An inner body that is always ready must not hide that all clients have left. So the pour looks at the
            // clients first.
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

    /// Promises one more chunk to the store, unless all of them are promised already. If there is no room, a body
    /// that is read while it is poured goes on no faster than it is read.
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
    /// Whether no client waits for the body now.
    fn is_gone(&self) -> bool {
        matches!(self, Self::Flight(permit, ..) if permit.is_deserted())
    }

    /// Waits until no client is left for whom it is worth while to store more than the `stored` bytes. `since` is how
    /// many of them were stored after the last client left.
    pub(crate) async fn leaves(&self, stored: u64, since: u64, paced: bool) {
        match self {
            // Without a reader there is no pace to keep.
            Self::Flight(permit, ..) if paced => permit.deserted().await,
            Self::Flight(permit, abandon, length) if abandon.stops(stored, *length, since) => {
                permit.deserted().await;
            }
            Self::Flight(..) | Self::Later | Self::Run(_) => pending().await,
        }
    }
}

/// Waits until the share has yielded to a fill that somebody waits for.
async fn yielded(share: Option<&Arc<Share>>) {
    match share {
        Some(share) => share.yielded().await,
        None => pending().await,
    }
}

/// The refusal for a body that broke with this error.
pub(crate) fn broken_by(error: &Error) -> Refusal {
    if error.is_truncated() {
        Refusal::ChangedLength
    } else {
        Refusal::InnerFailed
    }
}

/// How long to wait after so many earlier `failures`: twice as long each time.
pub(crate) fn pause(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures))
}
