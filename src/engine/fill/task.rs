//! The state of one fill, and the small steps that its stages share.

use std::{sync::Arc, time::SystemTime};

use http::{
    Request, Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    request,
};
use tokio::time::timeout;
use tower_service::Service;

use super::delivery::Answering;
use super::{
    delivery::{Delivery, Order, Prior, Purpose},
    invalidated::Seen,
};
use crate::{
    counters::{Meter, Reason},
    engine::{
        config::lead,
        fetch::subscription::FIRST_STEP,
        inner::Inner,
        state::{
            Engine,
            budget::Share,
            entry::{Entry, Target},
            flight::{Landing, Permit},
            records::Waited,
            run::InParts,
        },
    },
    format::{
        key::Generation,
        layout::{Layout, PIECE_SIZE},
    },
    futures::{Raced, race},
    semantics::{
        cache_control::{RequestDirectives, ResponseDirectives},
        cache_status::Refusal,
        fields::stored_fields,
        freshness::Exchange,
        partial::{Window, gives_parts},
        playlist::Scanner,
        range::{ByteRange, Wanted},
        select::if_range,
        text::may_be_coded,
        vary::Vary,
    },
    settings::{Abandon, Mode},
};

/// One fill: the facts that each of its steps needs.
pub(crate) struct FillTask {
    pub(crate) engine: Arc<Engine>,
    pub(crate) target: Arc<Target>,
    /// The request that the fill sends, without the client's conditions and ranges.
    pub(crate) asked: request::Parts,
    pub(crate) directives: RequestDirectives,
    pub(crate) stored: Prior,
    /// The time at which `stored` was true.
    pub(crate) began: SystemTime,
    /// The mark that tells of a later invalidation of the key, where no lease does.
    pub(crate) seen: Seen,
    /// How long the fill has waited for the store in vain.
    pub(crate) waited: Waited,
    /// The wait was long enough: the fill asks the store no more, and stores no response.
    pub(crate) forgoes: bool,
    /// The bytes to ask for first, if the fill does not ask for the whole.
    pub(crate) window: Option<Window>,
    /// The client's `If-Range`, which goes with the window. If it does not hold, the client wants the whole.
    pub(crate) if_range: Option<HeaderValue>,
    /// The answer is a 206 with all of the representation, and the fill takes it for the 200.
    pub(crate) came_as_a_part: bool,
    pub(crate) purpose: Purpose,
    /// The place among the fills that may be under way at once, and the room that was promised in the store. An update
    /// by a HEAD needs no place, and neither does a wait for another node.
    pub(crate) share: Arc<Share>,
}

impl FillTask {
    /// Calls the inner service.
    ///
    /// # Errors
    ///
    /// The delivery of a fill without an answer: failed, late or refused.
    pub(crate) async fn call<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        mut asked: request::Parts,
    ) -> Called<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Send + 'static,
    {
        if let Some(window) = self.window {
            window.ask(&mut asked.headers);
            asked.headers.extend(self.if_range.clone().map(|validator| (header::IF_RANGE, validator)));
        }
        let clock = &self.engine.config.clock;
        let with_cookie = asked.headers.contains_key(header::COOKIE);
        let (mut inner, request) = (inner.take(), Request::from_parts(asked, A::default()));
        let (requested, purges) = (clock.now(), self.engine.purges.position());
        self.engine.count_call(self.reason());
        let mut answering: Answering<B, S::Error> = Box::pin(async move { inner.call(request).await });
        let answered = timeout(self.engine.config.timeouts.inner_idle, answering.as_mut());
        match race(answered, self.share.yielded()).await {
            Raced::First(Ok(Ok(response))) => {
                Ok((response, Exchange { requested, received: clock.now(), with_cookie, purges }))
            }
            Raced::First(Ok(Err(error))) => Err(Delivery::Failed(error)),
            // A late answer would be a part, and not the part that the client asked for.
            Raced::First(Err(_)) if self.window.is_some() => Err(Delivery::Refused(Refusal::InnerStalled)),
            Raced::First(Err(_)) => Err(Delivery::Late(answering)),
            Raced::Second(()) => Err(Delivery::Refused(Refusal::Abandoned)),
        }
    }

    pub(super) fn reason(&self) -> Reason {
        match (self.purpose, &self.stored) {
            (Purpose::Background, _) => Reason::Refresh,
            (Purpose::Client, Prior::Stale(_)) => Reason::Validate,
            (Purpose::Client, _) => Reason::Fill,
        }
    }

    /// The meter of an inner body that this fill reads.
    pub(super) fn meter(&self) -> Meter {
        Meter::new(&self.engine.counters, self.reason())
    }

    /// How the fill goes on when no request waits for it.
    pub(crate) fn abandon(&self) -> Abandon {
        match self.purpose {
            Purpose::Background => Abandon::Finish,
            Purpose::Client => self.engine.config.abandon,
        }
    }

    /// The stored response, if it may stand in for an error.
    pub(crate) fn stand_in(&self) -> Option<Arc<Entry>> {
        let now = self.engine.config.clock.now();
        match &self.stored {
            Prior::Stale(stale) if stale.stands_in(&self.directives, now) => Some(Arc::clone(stale)),
            _ => None,
        }
    }

    /// Ends the flight of a body that broke its word before any byte left the cache.
    pub(crate) fn broken<B, E>(
        &self,
        status: StatusCode,
        refusal: Refusal,
        permit: Permit,
    ) -> Delivery<B, E> {
        if let Some(entry) = self.stand_in() {
            permit.land(Landing::StoodIn(entry.generation()));
            return Delivery::Usable(entry, Some(status), Refusal::StaleIfError);
        }
        permit.land(Landing::Broken);
        Delivery::Broken(status, refusal)
    }

    /// Whether other runs may bring parts of the response with these fields while this fill brings the whole.
    pub(super) fn in_parts(&self, response: &HeaderMap) -> InParts {
        let may_be_asked_for = self.engine.config.fill.mode == Mode::Auto
            && self.purpose == Purpose::Client
            && !matches!(self.stored, Prior::Stale(_))
            && self.engine.may_give_parts(&self.target.primary, &self.asked);
        match (may_be_asked_for, gives_parts(response)) {
            (false, _) => InParts::No,
            (true, false) => InParts::Perhaps,
            (true, true) => InParts::Yes,
        }
    }

    /// The chunk size: as configured, or smaller if the store cannot hold such chunks.
    pub(crate) fn chunk_size(&self) -> u32 {
        self.engine.records.chunk_size(self.engine.config.chunk_size.bytes())
    }

    /// The status of the answer that is stored as one with `status`.
    pub(crate) fn came(&self, status: StatusCode) -> StatusCode {
        if self.came_as_a_part { StatusCode::PARTIAL_CONTENT } else { status }
    }

    /// The reader of an answer with these fields, if it is a manifest.
    pub(super) fn scanner(&self, status: StatusCode, response: &HeaderMap) -> Option<Box<Scanner>> {
        Scanner::of(self.asked.uri.path(), status, response, &self.engine.config.policy)
    }

    /// Names of the fields that the response keeps from all clients but the one that asked. A field that the policy hides
    /// is kept from that client, too.
    pub(super) fn withheld(&self, response: &HeaderMap) -> Vec<HeaderName> {
        let policy = &self.engine.config.policy;
        let mut withheld = ResponseDirectives::heeded(response, policy.targeted()).withheld;
        withheld.retain(|name| !policy.grouping().hides(name));
        withheld
    }

    /// The fields of a response as they are stored, and as each hit sends them: without the fields that the policy hides.
    pub(super) fn fields_to_store(&self, response: &HeaderMap, received: SystemTime) -> HeaderMap {
        let mut fields = stored_fields(response, &self.withheld(response), received);
        self.engine.config.policy.grouping().hide(&mut fields);
        fields
    }

    /// Remembers the refusal, so that the next requests like this one do not fill in vain.
    pub(crate) fn remember(&self, refusal: Refusal, response: &HeaderMap) {
        let (selecting, now) = (Vary::of(response).names(), self.engine.config.clock.now());
        let Engine { uncacheable, .. } = &*self.engine;
        uncacheable.remember(&self.target.primary, selecting, &self.asked.headers, refusal, now);
    }

    /// Remembers that the answer gave no part, so that the next fills like this one ask for the whole.
    pub(crate) fn remember_partless(&self, response: &HeaderMap) {
        self.engine.remember_partless(&self.target.primary, &self.asked, response);
    }
}

/// An answer of the inner service, or the delivery that it ends in without one.
pub(crate) type Called<B, E> = Result<(Response<B>, Exchange), Delivery<B, E>>;

/// The bytes to ask for first: those that the request wants, in whole pieces, and no more than the read-ahead. Returns
/// `None` if the fill asks for the whole.
pub(super) fn window(engine: &Engine, order: &Order<'_>) -> Option<Window> {
    let Order { request, target, stored, .. } = order;
    let config = &engine.config;
    let wanted = Wanted::of(&request.headers);
    let asks_for_parts = match config.fill.mode {
        Mode::Whole | Mode::Progressive => false,
        Mode::Sliced => true,
        // A stale response is asked about as a whole: most often, it is still good.
        Mode::Auto => wanted != Wanted::From(0) && !matches!(stored, Prior::Stale(_)),
    };
    let wants_whole = if_range(&request.headers).is_err();
    if !asks_for_parts
        || wants_whole
        || may_be_coded(request)
        || !engine.may_give_parts(&target.primary, request)
    {
        return None;
    }
    let chunk_size = engine.records.chunk_size(config.chunk_size.bytes());
    let layout = Layout { generation: Generation(0), chunk_size, length: u64::MAX };
    let most = lead(config.fill.read_ahead, chunk_size);
    let (start, end) = match wanted {
        Wanted::Last(bytes) if config.fill.mode == Mode::Auto && (1..=most).contains(&bytes) => {
            // The first bytes of the answer are of no use, if they are not the first of a piece.
            return Some(Window::Last(bytes.saturating_add(PIECE_SIZE)));
        }
        // One byte from the start is enough to learn the length.
        Wanted::Last(_) => (0, Some(1)),
        Wanted::Between(start, end) => (start, Some(end)),
        Wanted::From(start) => (start, None),
    };
    let start = layout.piece_start(start);
    // A client with an open range may leave soon, so the fill begins with one chunk.
    let step = u64::from(chunk_size).min(FIRST_STEP);
    let until = layout.chunk_around(start.saturating_add(step - 1)).end;
    let end = match (config.fill.mode, end) {
        // The fill brings no more of it than its readers are about to read.
        (Mode::Auto, None) => u64::MAX,
        (Mode::Auto, Some(end)) => layout.piece_end(end),
        (_, end) => {
            let end = end.map_or(until, |end| layout.piece_end(end)).min(start.saturating_add(most));
            end.min(u64::MAX - 1)
        }
    };
    (start < end).then_some(Window::Bytes(ByteRange { start, end }))
}
