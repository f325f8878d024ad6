//! Answers a request that the store did not answer.
//!
//! The request leads a fill or follows another one, then looks again. After the last look, the request goes to the
//! inner service alone.

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
    heal::HealFailed,
    pass::{pass, validate, Question},
    viewer::Viewer,
    wait::Next,
};
use super::{
    body::ResponseBody,
    fetch::fetcher::Fetch,
    fill::{
        delivery::{Prior, Purpose},
        run,
    },
    hit::{Answer, Missed, MissedRequest},
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

/// Answers a missed request: leads or follows a fill, and looks again. After the last look, the request goes to the
/// inner service as the client sent it.
pub(crate) async fn answer_miss<S, A, B>(
    engine: Arc<Engine>,
    mut inner: Inner<S>,
    asked: MissedRequest<A>,
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
    let MissedRequest { parts, target, directives, .. } = &asked;
    let fetcher = Viewer::<S, A>::beside(&engine, &inner, parts, target);
    let (mut accepted, mut led, mut withheld) = (Accepted::Nothing, false, HeaderMap::new());
    for look in 1.. {
        outcome.forwarded.get_or_insert(missed.reason);
        // Each request must validate this response for itself.
        if let (true, Prior::Stale(entry)) = (missed.is_for_one(accepted), &missed.stored) {
            let question = if missed.for_one { Question::OfTheAuthorized } else { Question::OfAny };
            let entry = Arc::clone(entry);
            return validate(&engine, inner, asked, entry, question, &fetcher, outcome).await;
        }
        // A stale response stood in for an error, and this request may not have it stale. So it asks by itself.
        if matches!(accepted, Accepted::StandIn(_)) {
            outcome.refusal = None;
            break;
        }
        if let Some((entry, gone)) = missed.gone.take() {
            inner.release();
            missed.gone_before = Some(entry.generation());
            match engine.heal(&fetcher, &entry, gone, parts, accepted, outcome).await {
                Ok(response) => return Ok(response),
                Err(HealFailed::Forgotten) => {}
                Err(HealFailed::Now(refusal)) => {
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
        let next = match engine.flights.join(&missed.slot, &target.primary) {
            Role::Follow(follower) => {
                inner.release();
                engine.follow(follower, &fetcher, parts, &mut outcome).await
            }
            Role::Lead(permit) => {
                let instead =
                    engine.instead_of_a_fill(target, parts, directives, accepted, &mut missed, &mut outcome);
                if let Some((landing, next)) = instead.await {
                    permit.land(landing);
                    next
                } else {
                    let stored = missed.prior();
                    led = true;
                    let filling =
                        run::start(&engine, inner.take(), parts, target, stored, Purpose::Client, permit);
                    engine.lead(filling, &fetcher, parts, target, &mut outcome).await?
                }
            }
        };
        // A response that another node stored is no fill of this request's own.
        led &= !matches!(next, Next::LookFor(Accepted::Shared(_), _));
        match next {
            Next::Answer(response) => return Ok(response),
            Next::Forward => {
                match engine.stand_in(&mut missed, parts, &fetcher, directives, &mut outcome).await {
                    Some(response) => return Ok(response),
                    None => break,
                }
            }
            // The fields belong to the answer that brought the response, not to an answer that completed it.
            Next::LookFor(found, fields) if found != accepted => (accepted, withheld) = (found, fields),
            Next::LookAgain | Next::LookFor(..) => {}
            Next::Serve(entry) => match engine.serve_unstored(&entry, parts, outcome, &fetcher).await {
                Some(response) => return Ok(response),
                None => break,
            },
        }
        match engine.look(target, parts, directives, accepted, outcome).await {
            Ok(Answer { mut response, of, .. }) => {
                // The withheld fields go with the response that they came with, not with another one stored since.
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
    /// Whether another fill would not help: the store does not answer, or it lost the response that a fill just stored.
    ///
    /// A response found in the place of the lost one was stored by another request since, and is no loss.
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
            || matches!(missed.stored, Prior::Stale(_))
        {
            return false;
        }
        // A 304 was about a response stored long ago. Its loss says nothing about a response stored now.
        if *led && outcome.forwarded_status == Some(StatusCode::NOT_MODIFIED) {
            *led = false;
            return false;
        }
        // The response is stored in part. Another fill completes it.
        if matches!(missed.stored, Prior::Sparse(_)) {
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

    /// Answers from an entry that may be used, though its record does not say so.
    async fn serve_unstored<B>(
        &self,
        entry: &Arc<Entry>,
        request: &request::Parts,
        outcome: Outcome,
        fetcher: &Arc<dyn Fetch>,
    ) -> Option<Response<ResponseBody<B>>> {
        let serving = serve::supplied(self, entry, request, outcome, fetcher);
        // The request has waited for the store long enough. A store that has the chunk at hand gives it at once.
        if outcome.refusal == Some(Refusal::StoreFailed) {
            return timeout(self.records.limit() / 4, serving).await.ok()?;
        }
        serving.await
    }

    /// Whether this answer has waited for the store long enough: it waits only once for a store that hangs.
    fn has_waited_enough(&self, missed: &Missed, outcome: &mut Outcome) -> bool {
        let is_enough = missed.store_failed.is_some_and(|waited| self.records.is_enough(waited));
        if is_enough {
            outcome.refusal = Some(Refusal::StoreFailed);
        }
        is_enough
    }

    /// Answers from the stale response if the request waited too long for a better one.
    ///
    /// In any other case the stale response is of no more use: the leader's answer replaced it, or the fill failed and
    /// could not use it.
    async fn stand_in<B>(
        &self,
        missed: &mut Missed,
        request: &request::Parts,
        fetcher: &Arc<dyn Fetch>,
        directives: &RequestDirectives,
        outcome: &mut Outcome,
    ) -> Option<Response<ResponseBody<B>>> {
        let (Some(Refusal::WaitedTooLong), Prior::Stale(entry)) =
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

    /// Decides how a flight lands that needs no fill or cannot fill, and what its leader does then. Returns `None` if
    /// the leader must fill.
    async fn instead_of_a_fill<R>(
        &self,
        target: &Target,
        request: &request::Parts,
        directives: &RequestDirectives,
        accepted: Accepted,
        missed: &mut Missed,
        outcome: &mut Outcome,
    ) -> Option<(Landing, Next<R>)> {
        if let Some(landing) = self.landed_before(target, request, directives, accepted, missed).await {
            // The request was not forwarded: the next look gives the reason that is reported.
            outcome.forwarded = None;
            return Some((landing, Next::LookAgain));
        }
        self.has_waited_enough(missed, outcome).then_some((Landing::Passed, Next::Forward))
    }

    /// Returns the landing of this flight if an earlier flight stored the response after this request's look and before
    /// its join.
    async fn landed_before(
        &self,
        target: &Target,
        request: &request::Parts,
        directives: &RequestDirectives,
        accepted: Accepted,
        missed: &mut Missed,
    ) -> Option<Landing> {
        // The entry was found before the join. It may have been removed since, and no later step would notice.
        if matches!(missed.stored, Prior::Sparse(_)) {
            missed.stored = Prior::Unknown(Waited::default());
        }
        // The store failed a moment ago, and a second failure may take long. So it is not asked again.
        if missed.store_failed.is_some() {
            return None;
        }
        match lookup(self, target, &request.headers, directives, accepted).await {
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated)
                if self.is_half_good(&entry, request, directives) =>
            {
                missed.stored = Prior::Sparse(entry);
                None
            }
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated) => {
                let generation = Some(entry.generation()).filter(|found| Some(*found) != missed.gone_before);
                generation.map(Landing::Stored)
            }
            // This request must ask about the entry by itself.
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
    /// Whether this request must ask about the stored response by itself.
    fn is_for_one(&self, accepted: Accepted) -> bool {
        match (accepted, &self.stored) {
            (Accepted::Shared(found) | Accepted::Another(found), Prior::Stale(entry)) => {
                self.for_one || found == entry.generation()
            }
            _ => self.for_one,
        }
    }

    /// Takes the knowledge of the store that a fill begins with.
    fn prior(&mut self) -> Prior {
        match (std::mem::take(&mut self.stored), self.gone_before, self.store_failed) {
            (Prior::Nothing, Some(gone), _) => Prior::Gone(gone),
            (Prior::Nothing, None, Some(waited)) => Prior::Unknown(waited),
            (stored, ..) => stored,
        }
    }
}

/// The most looks at the store for one request: the first, one after a wait, one after a fill.
const LOOKS: u32 = 3;
