//! What a miss can do: fill, or wait for a fill, and look again; at last, ask the inner service as the viewer asked.

pub(crate) mod heal;
pub(crate) mod pass;
pub(crate) mod read_along;
pub(crate) mod viewer;
pub(crate) mod wait;

use std::sync::Arc;

use bytes::Bytes;
use http::{header::HeaderMap, request, Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::time::timeout;
use tower_service::Service;

use self::{
    heal::NotHealed,
    pass::{pass, validate, Question},
    viewer::Viewer,
    wait::Turn,
};
use super::{
    body::ResponseBody,
    fetch::fetcher::Fetch,
    fill::{
        delivery::{For, Known},
        run,
    },
    hit::{Answer, Asked, Missed},
    inner::Inner,
    lookup::{lookup, Look},
    serve,
    state::{
        entry::{Accepted, Entry, Target},
        flight::{Landing, Role},
        records::Waited,
        Engine,
    },
};
use crate::{
    error::BoxError,
    semantics::{
        cache_control::RequestDirectives,
        cache_status::{Forwarded, Outcome, Refusal},
        freshness::Reuse,
    },
};

/// Fills, or waits for a fill, and looks again; at last, asks the inner service as the viewer asked.
pub(crate) async fn forward<S, A, B>(
    engine: Arc<Engine>,
    mut inner: Inner<S>,
    asked: Asked<A>,
    mut missed: Missed,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Default + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut outcome = Outcome::default();
    // RFC 9111 §5.2.1.7
    if asked.directives.only_if_cached {
        let by = engine.config.signature(Some(&asked.target.key));
        return Ok(serve::gateway_timeout(&asked.parts.method, by));
    }
    let Asked { parts, target, directives, .. } = &asked;
    let fetcher = Viewer::<S, A>::beside(&engine, &inner, parts, target);
    let (mut accepted, mut led, mut withheld) = (Accepted::Nothing, false, HeaderMap::new());
    for look in 1.. {
        outcome.forwarded.get_or_insert(missed.reason);
        // Another one's answer, which is good for nobody else: this request needs one of its own.
        if let (true, Known::Stale(entry)) = (missed.is_for_one(accepted), &missed.stored) {
            let question = if missed.for_one { Question::OfTheAuthorized } else { Question::OfAny };
            let entry = Arc::clone(entry);
            return validate(&engine, inner, asked, entry, question, &fetcher, outcome).await;
        }
        // It may not have what stood in for an error: the error, or a better answer, is its own to get.
        if matches!(accepted, Accepted::StandIn(_)) {
            outcome.refusal = None;
            break;
        }
        if let Some((entry, gone)) = missed.gone.take() {
            inner.release();
            missed.gone_before = Some(entry.generation());
            match engine.heal(&fetcher, &entry, gone, parts, accepted, outcome).await {
                Ok(response) => return Ok(response),
                Err(NotHealed::Forgotten) => {}
                Err(NotHealed::Now(refusal)) => {
                    outcome.refusal = Some(refusal);
                    break;
                }
            }
        }
        if engine.is_lost(target, accepted, &mut led, &missed, &mut outcome) || look == LOOKS || led {
            break;
        }
        if parts.method == Method::HEAD {
            match engine.read_head(&fetcher, &missed.slot, parts, outcome).await {
                Some(response) => return Ok(response),
                None => break,
            }
        }
        let now = engine.config.clock.now();
        if let Some(refusal) = engine.uncacheable.recall(&target.primary, &parts.headers, now) {
            outcome.refusal = Some(refusal);
            break;
        }
        let turn = match engine.flights.join(&missed.slot, &target.primary) {
            Role::Follow(follower) => {
                inner.release();
                engine.follow(follower, &fetcher, parts, &mut outcome).await
            }
            Role::Lead(permit) => {
                let instead =
                    engine.instead_of_a_fill(target, parts, directives, accepted, &mut missed, &mut outcome);
                if let Some((landing, turn)) = instead.await {
                    permit.land(landing);
                    turn
                } else {
                    let stored = missed.known();
                    led = true;
                    let filling = run::start(&engine, inner.take(), parts, target, stored, For::Now, permit);
                    engine.lead(filling, &fetcher, parts, target, &mut outcome).await?
                }
            }
        };
        // What another node brought is another's, as what this one followed is.
        led &= !matches!(turn, Turn::LookFor(Accepted::Shared(_), _));
        match turn {
            Turn::Answer(response) => return Ok(response),
            Turn::Forward => {
                match engine.stand_in(&mut missed, parts, &fetcher, directives, &mut outcome).await {
                    Some(response) => return Ok(response),
                    None => break,
                }
            }
            // The fields are those of the answer that brought it, not of one that completed it.
            Turn::LookFor(found, fields) if found != accepted => (accepted, withheld) = (found, fields),
            Turn::LookAgain | Turn::LookFor(..) => {}
            Turn::Serve(entry) => match engine.serve_unstored(&entry, parts, outcome, &fetcher).await {
                Some(response) => return Ok(response),
                None => break,
            },
        }
        match engine.look(target, parts, directives, accepted, outcome).await {
            Ok(Answer { mut response, of, .. }) => {
                // What came for this viewer goes with what it came with, and not with what another has stored since.
                if accepted == Accepted::Own(of) {
                    response.headers_mut().extend(withheld);
                }
                response.body_mut().supply(|| fetcher);
                return Ok(response);
            }
            Err(again) => missed = again,
        }
    }
    (outcome.stored, outcome.collapsed) = (false, false);
    let stale = missed.stored.stale();
    pass(&engine, inner, asked, stale, &fetcher, outcome).await
}

impl Engine {
    /// Whether what is stored for this request is not to be had, for the store does not answer; or is gone again: the store
    /// does not keep it, and another fill would not help. If something was found in its place, somebody else has stored it
    /// since.
    fn is_lost(
        &self,
        target: &Target,
        accepted: Accepted,
        led: &mut bool,
        missed: &Missed,
        outcome: &mut Outcome,
    ) -> bool {
        if self.has_waited_enough(missed, outcome) {
            return true;
        }
        if accepted == Accepted::Nothing
            || missed.reason == Forwarded::VaryMiss
            || matches!(missed.stored, Known::Stale(_))
        {
            return false;
        }
        // What a 304 was about was stored long ago: that it is gone says nothing of what is stored now.
        if *led && outcome.forwarded_status == Some(StatusCode::NOT_MODIFIED) {
            *led = false;
            return false;
        }
        // What came, and is whole nowhere yet, is completed by another fill.
        if matches!(missed.stored, Known::Sparse(_)) {
            *led = false;
            return false;
        }
        outcome.refusal = Some(Refusal::StoreLost);
        if *led {
            let now = self.config.clock.now();
            self.uncacheable.remember(
                &target.primary,
                Vec::new(),
                &HeaderMap::new(),
                Refusal::StoreLost,
                now,
            );
        }
        true
    }

    /// The answer from what the store does not say may be used.
    async fn serve_unstored<B>(
        &self,
        entry: &Arc<Entry>,
        request: &request::Parts,
        outcome: Outcome,
        fetcher: &Arc<dyn Fetch>,
    ) -> Option<Response<ResponseBody<B>>> {
        let serving = serve::supplied(self, entry, request, outcome, fetcher);
        // The store may have been waited for long enough; what it has at hand it gives at once.
        if outcome.refusal == Some(Refusal::StoreFailed) {
            return timeout(self.records.limit() / 4, serving).await.ok()?;
        }
        serving.await
    }

    /// Whether the store was waited for long enough, on behalf of this answer: it waits once for one that does not come to
    /// an end.
    fn has_waited_enough(&self, missed: &Missed, outcome: &mut Outcome) -> bool {
        let is_enough = missed.store_failed.is_some_and(|waited| self.records.is_enough(waited));
        if is_enough {
            outcome.refusal = Some(Refusal::StoreFailed);
        }
        is_enough
    }

    /// What is stale, for one who waited too long for something better. For any other it is of no more use: who led has
    /// heard it called untrue, or failed without its help.
    async fn stand_in<B>(
        &self,
        missed: &mut Missed,
        request: &request::Parts,
        fetcher: &Arc<dyn Fetch>,
        directives: &RequestDirectives,
        outcome: &mut Outcome,
    ) -> Option<Response<ResponseBody<B>>> {
        let (Some(Refusal::WaitedTooLong), Known::Stale(entry)) =
            (outcome.refusal, std::mem::take(&mut missed.stored))
        else {
            return None;
        };
        if !entry.stands_in(directives, self.config.clock.now()) {
            return None;
        }
        outcome.refusal = Some(Refusal::StaleIfSilent);
        serve::supplied(self, &entry, request, *outcome, fetcher).await
    }

    /// What comes of a flight that need not, or cannot, fill: how it lands, and what its leader does then.
    async fn instead_of_a_fill<R>(
        &self,
        target: &Target,
        request: &request::Parts,
        directives: &RequestDirectives,
        accepted: Accepted,
        missed: &mut Missed,
        outcome: &mut Outcome,
    ) -> Option<(Landing, Turn<R>)> {
        if let Some(landing) = self.landed_before(target, request, directives, accepted, missed).await {
            // Nothing was forwarded: the next look is the first to count.
            outcome.forwarded = None;
            return Some((landing, Turn::LookAgain));
        }
        self.has_waited_enough(missed, outcome).then_some((Landing::Passed, Turn::Forward))
    }

    /// What the flight before has stored, if it landed between the look and the joining.
    async fn landed_before(
        &self,
        target: &Target,
        request: &request::Parts,
        directives: &RequestDirectives,
        accepted: Accepted,
        missed: &mut Missed,
    ) -> Option<Landing> {
        // What was found before the flight was joined may have been taken out since, and nothing would tell.
        if matches!(missed.stored, Known::Sparse(_)) {
            missed.stored = Known::Unknown(Waited::default());
        }
        // A store that failed a moment ago is not asked again: it may take its time to fail.
        if missed.store_failed.is_some() {
            return None;
        }
        match lookup(self, target, &request.headers, directives, accepted).await {
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated)
                if self.is_half_good(&entry, request, directives) =>
            {
                missed.stored = Known::Sparse(entry);
                None
            }
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated) => {
                let generation = Some(entry.generation()).filter(|found| Some(*found) != missed.gone_before);
                generation.map(Landing::Stored)
            }
            // It is to be asked about by this request alone.
            Look::Found(_, Reuse::ValidatedForOne(_)) => Some(Landing::Broken),
            Look::Failed(waited) if self.records.is_enough(waited) => {
                missed.store_failed = Some(waited);
                None
            }
            Look::Found(_, Reuse::Validated(_)) | Look::Failed(_) | Look::Nothing(..) => None,
        }
    }
}

impl Missed {
    /// Whether the stored response is to be asked about by this request alone.
    fn is_for_one(&self, accepted: Accepted) -> bool {
        match (accepted, &self.stored) {
            (Accepted::Shared(found) | Accepted::Another(found), Known::Stale(entry)) => {
                self.for_one || found == entry.generation()
            }
            _ => self.for_one,
        }
    }

    /// What a fill is to know of the store.
    fn known(&mut self) -> Known {
        match (std::mem::take(&mut self.stored), self.gone_before, self.store_failed) {
            (Known::Nothing, Some(gone), _) => Known::Gone(gone),
            (Known::Nothing, None, Some(waited)) => Known::Unknown(waited),
            (stored, ..) => stored,
        }
    }
}

/// Looks at the store for one request: the first, one after a wait, one after a fill.
const LOOKS: u32 = 3;
