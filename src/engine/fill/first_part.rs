//! Stores an answer that is a part. The other parts are fetched when a client asks for them.
//!
//! RFC 9111 §3.3 (storing incomplete responses); RFC 9110 §15.3.7 (206).

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{
    commit::Draft,
    delivery::{self, Delivery, Stored},
    resume::Resumable,
    task::FillTask,
};
use crate::{
    engine::state::records::CHUNK_OVERHEAD,
    engine::{
        fetch::pour::{Audience, Pour, Poured},
        inner::{chunks::InnerBody, Inner},
        state::{
            budget::Share,
            flight::{Landing, Permit},
            run::End,
            supply::Running,
        },
    },
    error::BoxError,
    format::{key::Generation, manifest::Layout},
    semantics::{
        cache_status::Refusal,
        fields::{only, stored_fields},
        freshness::Exchange,
        partial::{of_the_whole, whole_chunks, Binding, Part},
        range::ByteRange,
        storable::storable,
    },
};

/// The judgement of a fill about an answer.
pub(super) enum Judged<B> {
    /// The fill must ask again, without a range.
    Again(Response<B>),
    Part(FirstPart<B>),
    /// The body has no byte in the range that the fill asked for.
    Unsatisfied,
    /// An ordinary answer.
    Whole(Response<B>),
}

impl FillTask {
    /// Judges whether a stored response can begin with this answer as its first part.
    pub(super) fn judge<B>(&self, response: Response<B>, exchange: Exchange) -> Judged<B> {
        let asked = self.window;
        match (response.status(), asked) {
            (StatusCode::PARTIAL_CONTENT, _) => match self.first_part(&response, exchange) {
                Some(part) => Judged::Part(FirstPart { response, part, exchange }),
                None if asked.is_some() => {
                    self.remember_partless(response.headers());
                    Judged::Again(response)
                }
                None => Judged::Whole(response),
            },
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(window)) if window.start > 0 => Judged::Unsatisfied,
            // The body is empty, or the answer tells nothing.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(_)) => Judged::Again(response),
            (StatusCode::OK, Some(_)) => {
                self.remember_partless(response.headers());
                Judged::Whole(response)
            }
            _ => Judged::Whole(response),
        }
    }

    /// The part that a 206 brings, if further parts can be bound to it and it contains a whole chunk.
    fn first_part<B>(&self, response: &Response<B>, exchange: Exchange) -> Option<Part> {
        let part = Part::of(response.headers())?;
        // RFC 9110 §15.3.7: the part must lie in the range that the fill asked for.
        let is_asked = |asked: ByteRange| part.range.start == asked.start && part.range.end <= asked.end;
        if !self.window.is_none_or(is_asked) {
            return None;
        }
        Binding::of(&stored_fields(response.headers(), &[], exchange.received))?;
        let chunks = whole_chunks(part, u64::from(self.chunk_size()));
        (!chunks.is_empty()).then_some(part)
    }

    /// Stores the first chunk of a part, and commits a record of the whole. The next chunks of the part land after that.
    pub(super) async fn store_part<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        first: FirstPart<B>,
        permit: Permit,
    ) -> Delivery<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let FirstPart { response, part, exchange } = first;
        let (parts, body) = response.into_parts();
        let fields = of_the_whole(&parts.headers, part.complete);
        if self.forgoes {
            permit.land(Landing::Passed);
            return Delivery::Refused(Refusal::StoreFailed);
        }
        let (asked, path, policy) = (&self.asked.headers, self.asked.uri.path(), &self.engine.config.policy);
        if let Err(refusal) = storable(asked, path, StatusCode::OK, &fields, None, exchange, policy) {
            self.refused(refusal, StatusCode::OK, &fields, permit).await;
            return Delivery::Refused(refusal);
        }
        let refuse = |refusal, permit: Permit| {
            permit.land(delivery::landing(refusal));
            Delivery::Refused(refusal)
        };
        let opening = match self.open(&fields, part, exchange, &permit) {
            Ok(opening) => opening,
            Err(refusal) => return refuse(refusal, permit),
        };
        let pour = match self.pour_first(inner, &opening, part, body).await {
            Ok(pour) => pour,
            Err(refusal) => return refuse(refusal, permit),
        };
        let Opening { draft, chunks, running, .. } = opening;
        if let Err(refusal) = self.commit(&draft, &permit).await {
            return refuse(refusal, permit);
        }
        let generation = draft.layout.generation;
        permit.land(Landing::Stored(generation));
        tokio::spawn(pour_on(pour, running, chunks));
        let withheld = only(&parts.headers, &self.withheld(&fields));
        Delivery::Stored(Stored { generation, status: parts.status, withheld })
    }

    /// Opens a supply for the response, and promises the room for its first part.
    fn open(
        &self,
        fields: &HeaderMap,
        part: Part,
        exchange: Exchange,
        permit: &Permit,
    ) -> Result<Opening, Refusal> {
        let chunk_size = self.chunk_size();
        let mut chunks = whole_chunks(part, u64::from(chunk_size));
        // No client wants more than the read-ahead yet, however much came.
        let most = self.engine.config.read_ahead.div_ceil(u64::from(chunk_size)).max(1);
        chunks.end = chunks.end.min(chunks.start.saturating_add(most));
        let generation = Generation::random().ok_or(Refusal::StoreFailed)?;
        let weight = (chunks.end - chunks.start).saturating_mul(CHUNK_OVERHEAD);
        let layout = Layout { generation, chunk_size, length: part.complete };
        let headers = stored_fields(fields, &self.withheld(fields), exchange.received);
        let sparse = chunks != (0..1) || layout.chunks() > 1;
        let draft = Draft { sparse, ..Draft::new(StatusCode::OK, headers, exchange, layout) };
        let manifest = self.manifest(&draft)?;
        let supply = self.engine.supplies.open(&manifest, Some(part.complete), HeaderMap::new());
        let running = supply.pour(chunks.clone());
        let (flight, run) = (permit.waited_for(), running.waited_for());
        // The part has a share of its own: it goes on after the fill, without a place among the fills.
        let share = self.engine.budget.share(move || flight() || run());
        if !share.promise(part.range.length().saturating_add(weight)) {
            return Err(Refusal::NoRoom);
        }
        Ok(Opening { draft, chunks, running, share })
    }

    /// Pours the first chunk of the part, and returns the pour that has the rest. If the body dies, another answer
    /// brings the chunk.
    async fn pour_first<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        opening: &Opening,
        part: Part,
        body: B,
    ) -> Result<Pour<B>, Refusal>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let Opening { draft, chunks, running, share } = opening;
        let Layout { generation, chunk_size, .. } = draft.layout;
        let mut body = InnerBody::new(body, Some(part.range.length()));
        let before = draft.layout.bytes(chunks).start - part.range.start;
        let skipped = body.skip(before, self.engine.config.idle_limit).await;
        skipped.map_err(|_| Refusal::InnerFailed)?;
        let share = Some(Arc::clone(share));
        let mut pour = Pour::new(&self.engine, generation, chunk_size, body, share).of(chunks.clone());
        let (binding, mut failures) = (Binding::of(&draft.headers), 0);
        loop {
            let refusal = match pour.one(&Audience::Later, Some(running)).await {
                Poured::All => return Ok(pour),
                Poured::Stopped(refusal, _) => return Err(refusal),
                Poured::Deserted => return Err(Refusal::Abandoned),
                Poured::Broken(refusal) => refusal,
            };
            let of = Resumable {
                headers: &draft.headers,
                binding: binding.as_ref(),
                length: Some(part.complete),
                range: part.range,
                failures: &mut failures,
            };
            if !self.resume(inner, of, &mut pour).await {
                return Err(refusal);
            }
        }
    }
}

/// An answer that is the first part of a stored response.
pub(super) struct FirstPart<B> {
    response: Response<B>,
    part: Part,
    exchange: Exchange,
}

/// A stored response that is about to begin with its first part.
struct Opening {
    draft: Draft,
    /// The chunks of the part.
    chunks: Range<u64>,
    running: Running,
    share: Arc<Share>,
}

/// Stores the rest of a first part. If the body breaks, a reader that needs the rest asks for it by itself.
async fn pour_on<B>(mut pour: Pour<B>, running: Running, chunks: Range<u64>)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let end = match pour.all(&Audience::Later, Some(&running)).await {
        Poured::All if pour.next() == chunks.end => End::Done,
        Poured::Stopped(refusal, in_hand) if refusal != Refusal::InnerStalled => {
            End::Unstored(pour.next(), in_hand)
        }
        _ => End::Stopped,
    };
    running.end(end);
}
