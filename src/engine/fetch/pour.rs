//! Pours an inner body into the store: chunk by chunk, and in pieces of a chunk where somebody waits for the first bytes.

use std::{future::Future, ops::Range, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body::Body;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use super::{
    audience::{Audience, Reading},
    pieces::{is_stored, put_pieces},
    room::{Pace, Room, past, yielded},
};
use crate::{
    clock::moment,
    engine::{
        inner::chunks::{Collected, InnerBody, PieceRule, broken_by},
        state::{Engine, budget::Share, records::Waited, supply::Running},
    },
    error::BoxError,
    format::{key::Generation, layout::Layout},
    futures::{Raced, race},
    semantics::{
        cache_status::Refusal,
        playlist::{Playlist, Scanner},
    },
};

/// An inner body that is being put into the store.
pub(crate) struct Pour<B> {
    engine: Arc<Engine>,
    /// The layout of the stored bytes, whose length is the offset where the last whole chunk of them ends.
    layout: Layout,
    /// The bytes that are still to be stored, from the first of the chunk under way on. The body may end before the
    /// last of them.
    bytes: Range<u64>,
    /// The length of the whole body, if it is known.
    pub(crate) complete: Option<u64>,
    /// The offset after the last byte that has landed: in a chunk, or in a piece of the chunk under way.
    landed: u64,
    /// No piece is landed before this moment.
    not_before: Instant,
    /// The offset of the first byte.
    began: u64,
    /// Whether the pour ends before a chunk that an earlier run has stored.
    pub(crate) skips: bool,
    /// When a body of unknown length is taken for one that has no end.
    pub(crate) endless_at: Option<Instant>,
    /// Whether the stored bytes are of use though the body does not come to its end.
    pub(crate) keeps: bool,
    ended: bool,
    pub(crate) body: InnerBody<B>,
    /// The room that the store has for the body.
    pub(crate) room: Room,
    /// How long the pour waited for a store that did not take a chunk.
    pub(crate) waited: Waited,
    /// The digest by which a response without a strong validator is known again.
    pub(crate) sum: Option<Xxh3>,
    /// Reads a manifest on its way.
    pub(crate) scanner: Option<Box<Scanner>>,
    /// How many bytes were stored when the last client left.
    left_at: Option<u64>,
}

/// How a pour ended.
pub(crate) enum Poured {
    /// Every byte that was to be stored is stored.
    All,
    Broken(Refusal),
    /// The pour gave up: no client was left to wait for it, or its share went to another fill.
    Deserted,
    /// The next chunk was stored by an earlier run.
    Met,
    /// Storing stopped at these bytes of the chunk under way, which did not get into the store.
    Stopped(Refusal, Bytes),
}

impl<B> Pour<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// A pour of the whole body, from the first byte on.
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
            bytes: 0..u64::MAX,
            complete: None,
            landed: 0,
            not_before: moment(),
            began: 0,
            skips: false,
            endless_at: None,
            keeps: true,
            ended: false,
            body,
            room: Room::of(share),
            waited: Waited::default(),
            sum: None,
            scanner: None,
            left_at: None,
        }
    }

    /// The layout of the bytes in whole chunks, for a body that was poured from its start.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The offset of the first byte that is not stored in a whole chunk, or not landed at all.
    pub(crate) fn at(&self) -> u64 {
        self.bytes.start
    }

    /// The offset after the last byte that has landed.
    pub(crate) fn landed(&self) -> u64 {
        self.landed
    }

    /// Whether the body has come to its end.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The life of the body, if it is a manifest of `complete` bytes, all of which came in chunks.
    pub(crate) fn playlist(&mut self, complete: u64) -> Playlist {
        self.scanner.take().map_or(Playlist::Unknown, |scanner| scanner.found(complete))
    }

    /// Tells the pour which bytes the body has, and how long the whole is. The bytes begin with a piece.
    pub(crate) fn of(mut self, bytes: Range<u64>, complete: Option<u64>) -> Self {
        self.layout.length = bytes.start;
        (self.began, self.landed, self.room.promised) = (bytes.start, bytes.start, bytes.start);
        (self.bytes, self.complete) = (bytes, complete);
        self
    }

    /// Stores the first bytes: a chunk, or pieces of it.
    pub(crate) async fn first(&mut self, audience: &Audience<'_>) -> Poured {
        self.go(audience, Reading::First).await
    }

    /// Stores all bytes, with one chunk in memory at a time. If the body is read while it comes, pieces of a chunk land
    /// before the rest of the chunk has come.
    pub(crate) async fn all(&mut self, audience: &Audience<'_>, run: Option<&Running>) -> Poured {
        self.go(audience, run.map_or(Reading::Nobody, Reading::By)).await
    }

    async fn go(&mut self, audience: &Audience<'_>, reading: Reading<'_>) -> Poured {
        let share = self.room.share.clone();
        let run = reading.run();
        while !self.ended {
            if self.bytes.is_empty() {
                return Poured::All;
            }
            if self.skips
                && self.landed > self.began
                && is_stored(&self.engine.records, self.layout, self.complete, self.at()).await
            {
                return Poured::Met;
            }
            self.left_at = audience.is_gone().then(|| self.left_at.unwrap_or(self.landed));
            let since = self.landed.saturating_sub(self.left_at.unwrap_or(self.landed));
            let paced = self.room.pace == Pace::OfReaders;
            if let Some(run) = run {
                let near = self.reader_near(run);
                let leaving = audience.leaves(self.landed, since, paced);
                if let Raced::Second(_) = race(near, race(leaving, yielded(share.as_ref()))).await {
                    return self.deserted(reading).await;
                }
            }
            // An inner body that is always ready must not hide that all clients have left. So the pour looks at the
            // clients first.
            let leaving = audience.leaves(self.landed, since, paced);
            let leaving = race(leaving, race(yielded(share.as_ref()), past(self.endless_at)));
            // A chunk size is 32 bits, and so is the smallest usize that tokio runs on.
            let chunk_end = self.layout.chunk_around(self.bytes.start).end;
            let size =
                usize::try_from(chunk_end.min(self.bytes.end) - self.bytes.start).unwrap_or(usize::MAX);
            let (silence, landing) = (self.engine.config.timeouts.inner_idle, self.landing(reading));
            let collected = race(leaving, self.body.chunk(size, silence, landing)).await;
            let payload = match collected {
                Raced::Second(Ok(Collected::Chunk(payload))) => payload,
                Raced::Second(Ok(Collected::Due)) => {
                    self.land(reading).await;
                    if matches!(reading, Reading::First) && self.landed > self.bytes.start {
                        return Poured::All;
                    }
                    continue;
                }
                Raced::Second(Ok(Collected::End)) => {
                    self.ended = true;
                    break;
                }
                Raced::Second(Ok(Collected::Stalled(payload))) => {
                    return Poured::Stopped(Refusal::InnerStalled, payload.freeze());
                }
                Raced::Second(Err(error)) => return Poured::Broken(broken_by(&error)),
                Raced::First(Raced::Second(Raced::Second(()))) => {
                    return Poured::Stopped(Refusal::Endless, self.body.take_under_way());
                }
                Raced::First(_) => return self.deserted(reading).await,
            };
            if let Err(stopped) = self.put(payload, run).await {
                return stopped;
            }
            if matches!(reading, Reading::First) {
                return Poured::All;
            }
        }
        Poured::All
    }

    /// Waits until a reader is near enough for the pour to go on.
    fn reader_near<'r>(&self, run: &'r Running) -> impl Future<Output = ()> + use<'r, B> {
        let (config, supply, at) = (&self.engine.config, run.supply(), self.bytes.start);
        let (lead, most) = (config.lead(self.layout.chunk_size), config.fill.read_ahead);
        let is_paced = self.room.pace == Pace::OfReaders;
        if is_paced {
            supply.readers.slow_the_fill_down();
        }
        if let (true, Some(share)) = (run.follows, &self.room.share) {
            // A client that reads for an hour must not keep others from their fills.
            share.leave_place();
        }
        async move {
            if is_paced {
                supply.readers.near(at, lead).await;
            } else if run.follows {
                run.reader_follows(at, most).await;
            }
        }
    }

    /// Stores the bytes of the chunk under way, all that this pour is to bring of it: as a chunk, or as pieces if the pour
    /// has not the whole of it.
    async fn put(&mut self, payload: BytesMut, run: Option<&Running>) -> Result<(), Poured> {
        let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        let (start, end) = (self.bytes.start, self.bytes.start.saturating_add(length));
        if self.body.taken() > self.engine.config.policy.largest_body() {
            return Err(Poured::Stopped(Refusal::TooLarge, payload.freeze()));
        }
        if let Err(refusal) = self.promise(end, run.is_some()) {
            return Err(Poured::Stopped(refusal, payload.freeze()));
        }
        if let Some(sum) = &mut self.sum {
            sum.update(&payload);
        }
        if let Some(scanner) = &mut self.scanner {
            scanner.read(&payload);
        }
        let chunk = self.layout.chunk_around(start);
        let is_last = self.complete.map_or(end < chunk.end && self.bytes.end == u64::MAX, |all| end == all);
        if start == chunk.start && (end == chunk.end || is_last) {
            let (index, _) = self.layout.locate(start);
            let put = self.engine.records.put_chunk(self.layout.generation, index, payload);
            if let Err((in_hand, error)) = put.await {
                self.waited = Waited::of(&error);
                return Err(Poured::Stopped(Refusal::StoreFailed, in_hand));
            }
            self.layout.length = end;
            self.move_on(end, run);
            return Ok(());
        }
        let (payload, from) = (payload.freeze(), self.piece_under_way());
        let skipped = usize::try_from(from - start).unwrap_or(usize::MAX).min(payload.len());
        let left = payload.slice(skipped..);
        if let Err(error) = put_pieces(&self.engine.records, self.layout, from, &left).await {
            self.waited = Waited::of(&error);
            return Err(Poured::Stopped(Refusal::StoreFailed, payload));
        }
        self.move_on(end, run);
        if end == chunk.end || is_last {
            let (engine, layout) = (Arc::clone(&self.engine), self.layout);
            tokio::spawn(async move { engine.records.join_pieces(layout, chunk.start..end).await });
        }
        Ok(())
    }

    /// Goes on with the chunk at `end`. The pieces of the chunk before it are no longer needed if that is whole.
    fn move_on(&mut self, end: u64, run: Option<&Running>) {
        let (start, landed) = (self.bytes.start, self.landed);
        (self.bytes.start, self.landed) = (end, end);
        if let Some(run) = run {
            run.landed(end, self.layout.length);
        }
        if landed > start && self.layout.length == end {
            let (engine, layout) = (Arc::clone(&self.engine), self.layout);
            tokio::spawn(async move { engine.records.remove_pieces(layout, start..landed).await });
        }
    }

    /// When the bytes of the chunk under way are to land.
    fn landing(&self, reading: Reading<'_>) -> Option<PieceRule> {
        // Pieces beside their chunk would take more of a scarce room.
        if matches!(reading, Reading::Nobody)
            || self.room.share.is_none()
            || self.room.pace == Pace::OfReaders
        {
            return None;
        }
        let within = |offset: u64| usize::try_from(offset - self.bytes.start).unwrap_or(usize::MAX);
        let next = self.layout.piece_end(self.landed.max(self.bytes.start).saturating_add(1));
        Some(PieceRule {
            landed: within(self.landed.max(self.bytes.start)),
            enough: within(next),
            patience: self.engine.config.patience,
            not_before: self.not_before,
        })
    }

    /// Lands the bytes of the chunk under way in pieces. If the store does not take them, or has no room, they land with
    /// the chunk.
    async fn land(&mut self, reading: Reading<'_>) {
        let (start, from) = (self.bytes.start, self.piece_under_way());
        let skipped = usize::try_from(from - start).unwrap_or(usize::MAX);
        let Some(bytes) = self.body.under_way().get(skipped..).map(Bytes::copy_from_slice) else {
            return;
        };
        let end = from.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let began = moment();
        let has_landed = self.promise(end, reading.run().is_some()).is_ok()
            && put_pieces(&self.engine.records, self.layout, from, &bytes).await.is_ok();
        let took = moment().saturating_duration_since(began);
        let rest = if has_landed { LEAST_REST.max(took.saturating_mul(REST)) } else { AFTER_A_REFUSAL };
        self.not_before = moment().checked_add(rest).unwrap_or(self.not_before);
        self.body.mark_landed();
        if has_landed {
            self.landed = end;
            if let Some(run) = reading.run() {
                run.landed(end, self.layout.length);
            }
        }
    }

    /// The offset where the first piece begins that is not landed, or not all of it.
    fn piece_under_way(&self) -> u64 {
        self.layout.piece_start(self.landed.max(self.bytes.start)).max(self.bytes.start)
    }

    /// Lands what has come, after the last client has left: the next one may want it.
    async fn deserted(&mut self, reading: Reading<'_>) -> Poured {
        let length = u64::try_from(self.body.under_way().len()).unwrap_or(u64::MAX);
        let is_of_use = self.keeps && self.landing(reading).is_some();
        if is_of_use && self.bytes.start.saturating_add(length) > self.landed {
            self.land(reading).await;
        }
        Poured::Deserted
    }

    /// Promises the bytes of the chunk under way that are before `end` to the store.
    fn promise(&mut self, end: u64, is_read: bool) -> Result<(), Refusal> {
        self.room.promise(&self.engine, self.bytes.start, end, is_read)
    }
}

/// The shortest time between two landings within a chunk. A chunk that comes faster lands as a whole.
const LEAST_REST: Duration = Duration::from_millis(5);

/// The time between two landings within a chunk, in times that a landing takes. So a slow store does not slow the pour
/// by more than a fifth.
const REST: u32 = 4;

/// How long no piece is put after the store has not taken one.
const AFTER_A_REFUSAL: Duration = Duration::from_secs(1);
