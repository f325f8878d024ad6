//! What a miss can do: fill, or wait for a fill, and look again; at last, ask the inner service as the viewer asked.

use std::{panic::resume_unwind, sync::Arc};

use bytes::Bytes;
use http::{header::HeaderMap, request, Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::{task::JoinHandle, time::timeout};
use tower_service::Service;

use super::{
    alone::{is_for_another_try, pass, validate},
    fill::{self, Delivery, Known},
    flight::{Follower, Landing, Role},
    inner::Inner,
    lookup::{lookup, Accepted, Entry, Look, Target},
    serve, Answer, Engine, Missed,
};
use crate::{
    body::ResponseBody,
    error::BoxError,
    format::key::Generation,
    semantics::{
        cache_control::RequestDirectives,
        cache_status::{Forwarded, Outcome, Refusal},
        freshness::Reuse,
    },
};

/// A request that the store did not answer.
pub(crate) struct Asked<A> {
    pub(crate) parts: request::Parts,
    pub(crate) body: A,
    pub(crate) target: Arc<Target>,
    pub(crate) directives: RequestDirectives,
}

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
    let (mut accepted, mut led, mut withheld) = (Accepted::Nothing, false, HeaderMap::new());
    for look in 1.. {
        outcome.forwarded.get_or_insert(missed.reason);
        // Another one's answer, which is good for nobody else: this request needs one of its own.
        if let (Accepted::Shared(generation), Known::Stale(entry)) = (accepted, &missed.stored) {
            if generation == entry.generation() {
                let entry = Arc::clone(entry);
                return validate(&engine, inner, asked, entry, outcome).await;
            }
        }
        // It may not have what stood in for an error: the error, or a better answer, is its own to get.
        if matches!(accepted, Accepted::StandIn(_)) {
            outcome.refusal = None;
            break;
        }
        // Stored for this request, and gone again: the store does not keep it, and another fill would not help. What
        // was found in its place, somebody else has stored since.
        let is_gone = missed.reason != Forwarded::VaryMiss && !matches!(missed.stored, Known::Stale(_));
        let mut lost = accepted != Accepted::Nothing && is_gone;
        // What a 304 was about was stored long ago: that it is gone says nothing of what is stored now.
        if lost && led && outcome.forwarded_status == Some(StatusCode::NOT_MODIFIED) {
            (lost, led) = (false, false);
        }
        if lost {
            outcome.refusal = Some(Refusal::StoreLost);
        }
        let now = engine.config.clock.now();
        if lost && led {
            engine.passes.remember(&target.primary, Vec::new(), Refusal::StoreLost, now);
        }
        if look == LOOKS || led || lost || parts.method == Method::HEAD {
            break;
        }
        if let Some(refusal) = engine.passes.recall(&target.primary, &parts.headers, now) {
            outcome.refusal = Some(refusal);
            break;
        }
        let turn = match engine.flights.join(&missed.slot, &target.primary) {
            Role::Follow(follower) => {
                inner.release();
                engine.follow(follower, &mut outcome).await
            }
            Role::Lead(permit) => {
                if let Some(generation) =
                    engine.landed_before(target, parts, directives, accepted, &missed).await
                {
                    permit.land(Landing::Stored(generation));
                    // Nothing was forwarded: the next look is the first to count.
                    outcome.forwarded = None;
                    Turn::LookAgain
                } else {
                    let (engine, stored) = (Arc::clone(&engine), std::mem::take(&mut missed.stored));
                    led = true;
                    let filling =
                        fill::start(Arc::clone(&engine), inner.take(), parts, target, stored, permit);
                    engine.lead(filling, parts, target, &mut outcome).await?
                }
            }
        };
        match turn {
            Turn::Answer(response) => return Ok(response),
            Turn::Forward => {
                let stored = std::mem::take(&mut missed.stored);
                // Else, who led has heard what is stored called untrue, or failed without its help.
                if let (Some(Refusal::WaitedTooLong), Known::Stale(entry)) = (outcome.refusal, stored) {
                    let now = engine.config.clock.now();
                    if entry.freshness.stands_in(directives, now) {
                        outcome.refusal = Some(Refusal::StaleIfError);
                        if let Some(response) = serve::serve(&engine, &entry, parts, outcome).await {
                            return Ok(response);
                        }
                    }
                }
                break;
            }
            Turn::LookAgain => {}
            Turn::LookFor(found, fields) => (accepted, withheld) = (found, fields),
            Turn::Serve(entry) => match serve::serve(&engine, &entry, parts, outcome).await {
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
                return Ok(response);
            }
            Err(again) => missed = again,
        }
    }
    (outcome.stored, outcome.collapsed) = (false, false);
    let stale = match missed.stored {
        Known::Stale(entry) => Some(entry),
        Known::Nothing | Known::Others(_) => None,
    };
    pass(&engine, inner, asked, stale, outcome).await
}

impl Engine {
    /// What the flight before has stored, if it landed between the look and the joining.
    async fn landed_before(
        &self,
        target: &Target,
        request: &request::Parts,
        directives: &RequestDirectives,
        accepted: Accepted,
        missed: &Missed,
    ) -> Option<Generation> {
        // A store that failed a moment ago is not asked again: it may take its time to fail.
        if missed.store_failed {
            return None;
        }
        match lookup(self, target, &request.headers, directives, accepted).await {
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated) => {
                Some(entry.generation()).filter(|found| Some(*found) != missed.gone)
            }
            Look::Found(_, Reuse::Validated(_)) | Look::Failed | Look::Nothing(..) => None,
        }
    }

    /// Waits for another request's fill, within the limit.
    async fn follow<R>(&self, follower: Follower, outcome: &mut Outcome) -> Turn<R> {
        match timeout(self.config.follower_limit, follower.landing()).await {
            Ok(Landing::Stored(generation)) => {
                outcome.collapsed = true;
                Turn::LookFor(Accepted::Shared(generation), HeaderMap::new())
            }
            Ok(Landing::StoodIn(generation)) => {
                (outcome.collapsed, outcome.refusal) = (true, Some(Refusal::StaleIfError));
                Turn::LookFor(Accepted::StandIn(generation), HeaderMap::new())
            }
            Ok(Landing::Abandoned | Landing::Broken) => Turn::LookAgain,
            Ok(Landing::Passed) => Turn::Forward,
            Err(_) => {
                outcome.refusal = Some(Refusal::WaitedTooLong);
                Turn::Forward
            }
        }
    }

    /// Waits for this request's own fill.
    async fn lead<B, E>(
        &self,
        filling: JoinHandle<Delivery<B, E>>,
        request: &request::Parts,
        target: &Target,
        outcome: &mut Outcome,
    ) -> Result<Turn<Response<ResponseBody<B>>>, E> {
        let delivery = match filling.await {
            Ok(delivery) => delivery,
            // The inner service panicked: so does its caller, as if the layer were not there.
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => return Ok(Turn::Forward),
            },
        };
        let by = self.config.signature(Some(&target.key));
        Ok(match delivery {
            Delivery::Stored(stored) => {
                outcome.stored = stored.status != StatusCode::NOT_MODIFIED;
                outcome.forwarded_status = Some(stored.status);
                Turn::LookFor(Accepted::Own(stored.generation), stored.withheld)
            }
            Delivery::Usable(entry, status, refusal) => {
                (outcome.forwarded_status, outcome.refusal) = (status, Some(refusal));
                Turn::Serve(entry)
            }
            Delivery::Passed(response, refusal) => {
                outcome.refusal = Some(refusal);
                if is_for_another_try(&response, request) {
                    Turn::Forward
                } else {
                    Turn::Answer(serve::pass(response, *outcome, by))
                }
            }
            Delivery::Salvaged(salvage) => {
                outcome.refusal = Some(salvage.refusal);
                serve::salvage(self, *salvage, *outcome, by).await.map_or(Turn::Forward, Turn::Answer)
            }
            Delivery::Broken(status, refusal) => {
                (outcome.forwarded_status, outcome.refusal) = (Some(status), Some(refusal));
                Turn::Answer(serve::bad_gateway(refusal, *outcome, by))
            }
            Delivery::Late(answering) => {
                outcome.refusal = Some(Refusal::InnerStalled);
                let response = answering.await?;
                // It answers the question whether what is stored is still good, and this viewer asked another.
                if response.status() == StatusCode::NOT_MODIFIED {
                    Turn::Forward
                } else {
                    Turn::Answer(serve::pass(response, *outcome, by))
                }
            }
            Delivery::Failed(error) => return Err(error),
        })
    }
}

/// What comes after a flight.
enum Turn<R> {
    Answer(R),
    /// To the inner service, as if there were no cache.
    Forward,
    LookAgain,
    /// For what was fetched, whatever its freshness; with the fields that are for this viewer alone.
    LookFor(Accepted, HeaderMap),
    /// What the store does not say may be used.
    Serve(Arc<Entry>),
}

/// Looks at the store for one request: the first, one after a wait, one after a fill.
const LOOKS: u32 = 3;
