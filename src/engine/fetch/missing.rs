//! Fetches missing bytes: asks the inner service for a part, checks the answer, and stores the bytes.
//!
//! RFC 9110 §14.2 (`Range`), §13.1.5 (`If-Range`); RFC 9111 §3.4.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request};
use http_body::Body;
use tokio::time::{sleep, timeout};
use tower_service::Service;

use super::{
    audience::Audience,
    pour::{Pour, Poured},
};
use crate::{
    counters::{EVENTS, HEALED, LOST, Meter, Reason},
    engine::state::records::CHUNK_OVERHEAD,
    engine::{
        config::lead,
        inner::{Inner, chunks::InnerBody},
        state::Engine,
        state::{
            records::Stretch,
            run::{Barred, End},
            supply::{Running, Supply},
        },
    },
    error::BoxError,
    format::{key::Slot, layout::Layout, manifest::Manifest},
    observer::Event,
    semantics::{
        cache_status::Refusal,
        partial::{Further, Part, Question, further},
        range::ByteRange,
        storable::{may_go_on, remove_credentials},
        validation::is_of_a_client,
    },
    trace::{self, Work},
};

/// Bytes to be fetched, if the store still lacks them. They begin with a piece.
pub(crate) struct Slice {
    pub(super) running: Running,
    pub(super) bytes: Range<u64>,
}

impl Slice {
    /// Fetches the bytes and stores them. Once nobody waits for the run, it ends.
    ///
    /// `asked` is a client's request without conditions and ranges.
    pub(crate) async fn run<S, A, B>(
        self,
        engine: Arc<Engine>,
        mut inner: Inner<S>,
        mut asked: request::Parts,
    ) where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let supply = &self.running.supply;
        let Manifest { headers, exchange, .. } = &supply.manifest;
        remove_credentials(&mut asked.headers, headers, *exchange, &engine.config.policy);
        let is_of_a_client = is_of_a_client(&asked.headers);
        let work = if self.reason() == Reason::Heal { Work::Heal } else { Work::Slice };
        let fetching = self.fetch(&engine, &mut inner, asked.clone());
        let end = match trace::within(work, supply.manifest.key.as_bytes(), fetching).await {
            // The answer to one client says nothing about other clients.
            End::Changed if is_of_a_client => End::Failed,
            end => end,
        };
        match end {
            End::Changed => {
                engine.remember_change(&Slot::primary(&supply.manifest.key), &asked, headers);
                self.running.supply.bar(Barred::Changed);
            }
            End::NoParts => {
                // The next fill of this key asks for the whole.
                if !is_of_a_client {
                    engine.remember_partless(&Slot::primary(&supply.manifest.key), &asked, headers);
                }
                self.running.supply.bar(Barred::NoParts);
            }
            _ => {}
        }
        self.running.end(end);
    }

    async fn fetch<S, A, B>(&self, engine: &Arc<Engine>, inner: &mut Inner<S>, asked: request::Parts) -> End
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let config = &engine.config;
        let mut missing = self.missing(engine).await;
        let mut failures = 0;
        while !missing.is_empty() {
            // The last try is another question, which may not meet the same trouble.
            let is_last_try = failures > 0 && failures == config.retry.attempts;
            let question = if is_last_try { Question::Plain } else { Question::Bound };
            match self.part(engine, inner, &asked, (question, &missing)).await {
                Ok(next) if next > missing.start => missing.start = next,
                // The answer had fewer bytes than a piece. Such an answer would be asked for without end.
                Ok(_) => return End::NoParts,
                Err(End::Failed) if failures < config.retry.attempts => {
                    sleep(pause(config.retry.first_delay, failures)).await;
                    failures += 1;
                    let next = self.running.progress.borrow().next;
                    missing.start = self.running.supply.layout().piece_start(next);
                }
                Err(end) => return end,
            }
        }
        End::Done
    }

    /// The first bytes of the run, as far as the store lacks their chunks in one row. Another run may have stored some of
    /// them meanwhile.
    async fn missing(&self, engine: &Engine) -> Range<u64> {
        let layout = self.running.supply.layout();
        let mut end = self.bytes.start;
        // A run that follows its readers looks for more stored chunks as it comes to them.
        let most = match (self.running.follows, self.running.supply.manifest.sparse) {
            (false, _) => u64::MAX,
            (true, true) => 1,
            (true, false) => CHUNKS_AHEAD,
        };
        let mut looks = 0;
        while end < self.bytes.end {
            if looks == most {
                return self.bytes.clone();
            }
            looks += 1;
            let (index, _) = layout.locate(end);
            match engine.records.chunk(layout.chunk(index)).await {
                Ok(_) => break,
                Err(error) if error.is_lost() => {
                    // The first one is missed by a reader. Those after it are looked for ahead, and would count again.
                    if looks == 1 && self.reason() == Reason::Heal {
                        engine.counters.add(EVENTS, LOST, 1);
                        engine.counters.tell(|| Event::ChunkLost);
                    }
                    end = layout.chunk_around(end).end;
                }
                // If the store cannot tell, it is not asked about one chunk after the other.
                Err(_) => end = self.bytes.end,
            }
        }
        self.bytes.start..end.min(self.bytes.end)
    }

    /// Asks for the missing bytes and stores those that come. Returns the offset after the last that was stored.
    async fn part<S, A, B>(
        &self,
        engine: &Arc<Engine>,
        inner: &mut Inner<S>,
        asked: &request::Parts,
        (question, missing): (Question, &Range<u64>),
    ) -> Result<u64, End>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let range = ByteRange { start: missing.start, end: missing.end };
        let Supply { manifest, asks_plainly, .. } = &*self.running.supply;
        let (part, status, body) = if asks_plainly.load(Ordering::Relaxed) {
            self.ask(engine, inner, asked, (Question::Plain, range)).await?
        } else {
            match self.ask(engine, inner, asked, (question, range)).await {
                // The inner service has given parts of this response to questions without a validator.
                Err(End::NoParts) if manifest.sparse && question == Question::Bound => {
                    let answered = self.ask(engine, inner, asked, (Question::Plain, range)).await?;
                    asks_plainly.store(true, Ordering::Relaxed);
                    answered
                }
                answered => answered?,
            }
        };
        let layout = self.running.supply.layout();
        self.running.mark_called(status);
        let bytes = missing.start..whole_pieces(part, layout);
        // A run that follows its readers is no farther ahead of them than the read-ahead.
        let ahead = if self.running.follows {
            lead(engine.config.fill.read_ahead, layout.chunk_size).saturating_add(layout.chunk_size.into())
        } else {
            u64::MAX
        };
        let weight = part.range.length().min(ahead).saturating_add(CHUNK_OVERHEAD);
        let body =
            InnerBody::new(body, Some(part.range.length()), Meter::new(&engine.counters, self.reason()));
        let share = engine.budget.share(self.running.waited_for());
        let share = share.promise(weight).then_some(share);
        let mut pour = Pour::new(engine, layout.generation, layout.chunk_size, body, share)
            .of(bytes.clone(), Some(part.complete));
        pour.skips = self.running.follows;
        let poured = pour.all(&Audience::Run(&self.running), Some(&self.running)).await;
        if self.reason() == Reason::Heal {
            let chunks = chunks(layout, bytes.start..pour.landed());
            if chunks > 0 {
                engine.counters.add(EVENTS, HEALED, chunks);
                engine.counters.tell(|| Event::ChunksHealed { chunks });
            }
        }
        match poured {
            Poured::All => Ok(pour.landed()),
            Poured::Met => Err(End::Done),
            Poured::Broken(_) | Poured::Stopped(Refusal::InnerStalled, _) => Err(End::Failed),
            Poured::Deserted => Err(End::Stopped),
            Poured::Stopped(_, in_hand) => Err(End::Unstored(Stretch { start: pour.at(), bytes: in_hand })),
        }
    }

    /// A response that came in parts needs more of them. Any other one has lost a chunk.
    fn reason(&self) -> Reason {
        let supply = &self.running.supply;
        let comes_in_parts = supply.manifest.sparse || supply.in_parts.get().is_some();
        if comes_in_parts { Reason::Slice } else { Reason::Heal }
    }

    /// Asks for these bytes once. Returns the part that came of them.
    async fn ask<S, A, B>(
        &self,
        engine: &Arc<Engine>,
        inner: &mut Inner<S>,
        asked: &request::Parts,
        (question, range): (Question, ByteRange),
    ) -> Result<(Part, StatusCode, B), End>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default + Send + 'static,
    {
        let supply = &self.running.supply;
        let binding = supply.binding.as_ref().ok_or(End::NoParts)?;
        let mut asked = asked.clone();
        binding.ask(question, range, &mut asked.headers);
        engine.mark(&mut asked.extensions);
        engine.count_call(self.reason());
        let calling = inner.call(Request::from_parts(asked.clone(), A::default()));
        let Ok(Ok(answer)) = timeout(engine.config.timeouts.inner_idle, calling).await else {
            return Err(End::Failed);
        };
        let (answer, body) = answer.into_parts();
        let stored = (&supply.manifest.headers, binding, supply.length());
        let is_last = question == Question::Plain || !supply.manifest.sparse;
        match further(stored, (question, range), answer.status, &answer.headers) {
            Further::Part(part) if may_go_on(&asked.headers, &answer.headers, &engine.config.policy) => {
                Ok((part, answer.status, body))
            }
            // As long as the stored response is fresh, other requests would begin slices that none of them could finish.
            Further::Part(_) if is_last => Err(End::Changed),
            Further::Another => Err(End::Changed),
            // The answer to one client says nothing about other clients.
            Further::Unproved if is_last && is_of_a_client(&asked.headers) => Err(End::Failed),
            Further::Part(_) | Further::Whole | Further::Unproved => Err(End::NoParts),
            Further::Nothing => Err(End::Failed),
        }
    }
}

/// The offset after the last piece that lies wholly in a part which begins with a piece. The last piece of all may be
/// short.
pub(crate) fn whole_pieces(part: Part, layout: Layout) -> u64 {
    let ByteRange { end, .. } = part.range;
    if end == part.complete || layout.piece_end(end) == end { end } else { layout.piece_start(end) }
}

/// How many whole chunks these bytes have.
fn chunks(layout: Layout, bytes: Range<u64>) -> u64 {
    let (first, offset) = layout.locate(bytes.start);
    let first = first + u64::from(offset > 0);
    let is_all = bytes.end >= layout.length;
    let end =
        if is_all { layout.length.div_ceil(layout.chunk_size.into()) } else { layout.locate(bytes.end).0 };
    end.saturating_sub(first)
}

/// How long to wait after so many earlier `failures`: twice as long each time.
pub(crate) fn pause(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(failures))
}

/// How many chunks of a response that was stored as a whole are looked for before a lost one is fetched again.
const CHUNKS_AHEAD: u64 = 8;
