//! Stores an answer that is a part. The other parts are fetched when a client asks for them.
//!
//! RFC 9111 §3.3 (storing incomplete responses); RFC 9110 §15.3.7 (206).

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{
    delivery::{self, Delivery, Stored},
    draft::Draft,
    resume::Resumable,
    task::FillTask,
};
use crate::{
    clock::moment,
    engine::{
        config::lead,
        fetch::{
            audience::Audience,
            missing::whole_pieces,
            pour::{Pour, Poured},
        },
        inner::{Inner, chunks::InnerBody},
        state::{
            budget::Share,
            flight::{Landing, Permit},
            records::{CHUNK_OVERHEAD, Stretch},
            run::End,
            supply::Running,
        },
    },
    error::BoxError,
    format::{
        key::Generation,
        layout::{Layout, PIECE_SIZE},
    },
    semantics::{
        cache_status::Refusal,
        fields::only,
        freshness::Exchange,
        partial::{Binding, Part, Window, complete_of_unsatisfied, is_passing, of_the_whole},
        place::Place,
        range::ByteRange,
        storable::storable,
    },
    settings::Mode,
};

/// The judgement of a fill about an answer.
pub(super) enum Judged<B> {
    /// The fill must ask again, without a range.
    Again(Response<B>),
    /// The answer is a part that is all of its representation. This is the whole.
    All(Response<B>),
    Part(FirstPart<B>),
    /// The inner service does not satisfy the range that the fill asked for. The client must ask by itself.
    Unsatisfied,
    /// An ordinary answer.
    Whole(Response<B>),
}

impl FillTask {
    /// Judges whether a stored response can begin with this answer as its first part.
    pub(super) fn judge<B>(&self, response: Response<B>, exchange: Exchange) -> Judged<B> {
        let asked = self.window;
        match (response.status(), asked) {
            (StatusCode::PARTIAL_CONTENT, Some(asked)) => match self.first_part(&response, exchange) {
                Some(part) => {
                    self.engine.note_part(&self.asked);
                    Judged::Part(FirstPart { response, part, exchange })
                }
                None => match Part::of(response.headers()) {
                    Some(part) if part.is_all() && asked.is_answered_by(part) => {
                        Judged::All(as_the_whole(response, part.complete))
                    }
                    // The client need not wait for all that lies before its part.
                    Some(part) if self.is_adaptive() && asked.is_answered_by(part) => {
                        self.engine.remember_unbound(&self.target.primary, &self.asked, response.headers());
                        Judged::Unsatisfied
                    }
                    _ => {
                        self.remember_partless(response.headers());
                        Judged::Again(response)
                    }
                },
            },
            // A part that no range asked for (S3 `partNumber`, Azure `x-ms-range`) is a part of something else than the
            // answer to this target. It is passed on as it is.
            (StatusCode::PARTIAL_CONTENT, None) => Judged::Whole(response),
            // The body is empty, or the answer tells nothing.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(Window::Bytes(ByteRange { start: 0, .. }))) => {
                Judged::Again(response)
            }
            // The fill asked for no less than the client did. So the answer is the client's, too.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(asked)) if is_beyond(asked, response.headers()) => {
                Judged::Whole(response)
            }
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(asked)) => {
                if matches!(asked, Window::Last(_)) {
                    self.remember_partless(response.headers());
                } else if self.is_adaptive() {
                    self.engine.remember_unbound(&self.target.primary, &self.asked, response.headers());
                }
                Judged::Unsatisfied
            }
            (StatusCode::OK, Some(_)) => {
                // A 200 to `If-Range` says nothing about parts.
                if self.if_range.is_none() {
                    self.remember_partless(response.headers());
                }
                Judged::Whole(response)
            }
            // These say that there is no such resource, or not for this client, in parts or not.
            (StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::UNAUTHORIZED, _) | (_, None) => {
                Judged::Whole(response)
            }
            // The answer may be one to the range that the fill asked for, and the client did not.
            (status, Some(_)) => {
                if !is_passing(status) {
                    self.remember_partless(response.headers());
                }
                Judged::Unsatisfied
            }
        }
    }

    fn is_adaptive(&self) -> bool {
        self.engine.config.fill.mode == Mode::Auto
    }

    /// The part that a 206 brings, if further parts can be bound to it and it contains a whole piece.
    fn first_part<B>(&self, response: &Response<B>, exchange: Exchange) -> Option<Part> {
        let part = Part::of(response.headers())?;
        if !self.window.is_none_or(|asked| asked.is_answered_by(part)) {
            return None;
        }
        Binding::of(&self.fields_to_store(response.headers(), exchange.received))?;
        (!self.pieces(part).is_empty()).then_some(part)
    }

    /// The bytes of the pieces that lie wholly in the part. The last piece of all may be short.
    fn pieces(&self, part: Part) -> Range<u64> {
        let layout =
            Layout { generation: Generation(0), chunk_size: self.chunk_size(), length: part.complete };
        let start = match part.range.start {
            start if layout.piece_start(start) == start => start,
            start => layout.piece_end(start.saturating_add(1)),
        };
        start..whole_pieces(part, layout)
    }

    /// Stores the first bytes of a part, and commits a record of the whole. The rest of the part lands after that.
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
        let (asked, place, policy) =
            (&self.asked.headers, Place::of(&self.asked), &self.engine.config.policy);
        if let Err(refusal) = storable(asked, &place, StatusCode::OK, &fields, None, exchange, policy) {
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
        let mut pour = match self.pour_first(inner, &opening, part, body).await {
            Ok(pour) => pour,
            Err(refusal) => return refuse(refusal, permit),
        };
        let Opening { mut draft, bytes, running, .. } = opening;
        draft.sparse = bytes.start > 0 || pour.landed() < part.complete;
        // The bytes of another part come from other runs, and in any order.
        draft.playlist = pour.playlist(part.complete);
        if let Err(refusal) = self.commit(&draft, &permit).await {
            return refuse(refusal, permit);
        }
        // If the answer is selected by other fields than the stale response, that one is still stored beside it.
        self.heed(Refusal::Status, StatusCode::OK, &permit).await;
        let generation = draft.layout.generation;
        permit.land(Landing::Stored(generation));
        tokio::spawn(pour_on(pour, running));
        let withheld = only(&parts.headers, &self.withheld(&fields));
        Delivery::Stored(Stored { generation, status: Some(parts.status), withheld })
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
        let mut bytes = self.pieces(part);
        // No client wants more than the read-ahead yet, however much came. A window may begin a piece before that.
        let most = lead(self.engine.config.fill.read_ahead, chunk_size).saturating_add(PIECE_SIZE);
        if self.engine.config.fill.mode != Mode::Auto {
            bytes.end = bytes.end.min(bytes.start.saturating_add(most));
        }
        let generation = Generation::random().ok_or(Refusal::StoreFailed)?;
        let weight = (bytes.end - bytes.start).div_ceil(u64::from(chunk_size)).saturating_mul(CHUNK_OVERHEAD);
        let layout = Layout { generation, chunk_size, length: part.complete };
        let headers = self.fields_to_store(fields, exchange.received);
        let membership = self.membership(StatusCode::OK, fields);
        let draft =
            Draft { sparse: true, ..Draft::new(StatusCode::OK, headers, exchange, layout, membership) };
        permit.tell(&draft.membership);
        let manifest = self.manifest(&draft)?;
        let supply = self.engine.supplies.open(&manifest, Some(part.complete), HeaderMap::new());
        let running = supply.pour_part(bytes.clone());
        let (flight, run) = (permit.waited_for(), running.waited_for());
        // The part has a share of its own: it goes on after the fill, without a place among the fills.
        let share = self.engine.budget.share(move || flight() || run());
        // A run that follows its readers is no farther ahead of them than the read-ahead.
        let ahead = if running.follows { most.saturating_add(chunk_size.into()) } else { u64::MAX };
        let weight = part.range.length().saturating_add(weight).min(ahead);
        if !share.promise(weight) {
            return Err(Refusal::NoRoom);
        }
        Ok(Opening { draft, bytes, running, share })
    }

    /// Pours the first bytes of the part, and returns the pour that has the rest. If the body dies, another answer
    /// brings them.
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
        let Opening { draft, bytes, running, share } = opening;
        let Layout { generation, chunk_size, .. } = draft.layout;
        let mut body = InnerBody::new(body, Some(part.range.length()), self.meter());
        let skipped = body.skip(bytes.start - part.range.start, self.engine.config.timeouts.inner_idle).await;
        skipped.map_err(|_| Refusal::InnerFailed)?;
        let share = Some(Arc::clone(share));
        let pour = Pour::new(&self.engine, generation, chunk_size, body, share);
        let mut pour = pour.of(bytes.clone(), Some(part.complete));
        pour.scanner = self.scanner(StatusCode::OK, &draft.headers);
        let (binding, mut failures) = (Binding::of(&draft.headers), 0);
        loop {
            let refusal = match pour.first(&Audience::Later).await {
                Poured::All | Poured::Met => {
                    running.landed(pour.landed(), pour.layout().length);
                    return Ok(pour);
                }
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

/// Makes the whole of a part that is all of a representation of so many bytes.
fn as_the_whole<B>(part: Response<B>, complete: u64) -> Response<B> {
    let (mut parts, body) = part.into_parts();
    (parts.status, parts.headers) = (StatusCode::OK, of_the_whole(&parts.headers, complete));
    Response::from_parts(parts, body)
}

/// Whether a 416 with these fields says that the representation ends before the bytes that were asked for.
fn is_beyond(asked: Window, headers: &HeaderMap) -> bool {
    let Some(complete) = complete_of_unsatisfied(headers) else {
        return false;
    };
    match asked {
        Window::Bytes(range) => complete <= range.start,
        Window::Last(_) => complete == 0,
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
    /// The bytes of the part that are stored.
    bytes: Range<u64>,
    running: Running,
    share: Arc<Share>,
}

/// Stores the rest of a first part, as long as somebody reads it. If the body breaks, a reader that needs the rest asks
/// for it by itself.
async fn pour_on<B>(mut pour: Pour<B>, running: Running)
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let audience = match moment().checked_add(GRACE) {
        Some(by) => Audience::Soon(&running, by),
        None => Audience::Run(&running),
    };
    let end = match pour.all(&audience, Some(&running)).await {
        Poured::All | Poured::Met => End::Done,
        Poured::Stopped(refusal, bytes) if refusal != Refusal::InnerStalled => {
            End::Unstored(Stretch { start: pour.at(), bytes })
        }
        Poured::Broken(_) | Poured::Deserted | Poured::Stopped(..) => End::Stopped,
    };
    running.end(end);
}

/// How long the rest of a first part is stored for the requests that waited for its first bytes, and look for them now.
const GRACE: Duration = Duration::from_millis(500);
