//! What a miss can do: fill, or wait for a fill, and look again; at last, ask the inner service as the viewer asked.

use std::sync::Arc;

use bytes::Bytes;
use http::{header::HeaderMap, request, Method, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{
    alone::{pass, validate},
    fill::{self, Known},
    flight::{Landing, Role},
    inner::Inner,
    lookup::{lookup, Accepted, Look, Target},
    purge::forget,
    serve::{self, served, Service as Serving},
    supply::{Upstream, Viewer},
    turn::Turn,
    Answer, Engine, Fill, Missed,
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
    let (spare, request) = (inner.spare(), parts.clone());
    let viewer = Viewer::<S, A>::new(Arc::clone(&engine), spare, request, Arc::clone(target));
    let upstream: Arc<dyn Upstream> = Arc::new(viewer);
    let (mut accepted, mut led, mut withheld) = (Accepted::Nothing, false, HeaderMap::new());
    let mut gone_before = None;
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
        if let Some((entry, gone)) = missed.gone.take() {
            inner.release();
            gone_before = Some(entry.generation());
            // What is lost as soon as it was stored would be lost again.
            let healed = match accepted {
                Accepted::Nothing => engine.heal(&upstream, &entry, gone).await,
                _ => None,
            };
            if let Some(line) = healed {
                let status = Some(StatusCode::PARTIAL_CONTENT);
                let outcome = match line.has_fetched() {
                    true => Outcome { forwarded_status: status, stored: true, ..outcome },
                    // The store had it after all.
                    false => Outcome::default(),
                };
                let service = Serving { outcome, line: Some(line) };
                if let Ok(response) = serve::serve(&engine, &entry, parts, service).await {
                    return Ok(response);
                }
            }
            forget(&engine.records, &entry).await;
        }
        // Stored for this request, and gone again: the store does not keep it, and another fill would not help. What
        // was found in its place, somebody else has stored since.
        let is_gone = missed.reason != Forwarded::VaryMiss
            && !matches!(missed.stored, Known::Stale(_) | Known::Sparse(_));
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
        if look == LOOKS || led || lost {
            break;
        }
        if parts.method == Method::HEAD {
            if let Some((entry, follower)) = engine.flights.pouring(&missed.slot) {
                let outcome = Outcome { collapsed: true, ..outcome };
                if let Some(response) = engine.read(&upstream, entry, &follower, false, parts, outcome).await
                {
                    return Ok(response);
                }
            }
            break;
        }
        if let Some(refusal) = engine.passes.recall(&target.primary, &parts.headers, now) {
            outcome.refusal = Some(refusal);
            break;
        }
        let turn = match engine.flights.join(&missed.slot, &target.primary) {
            Role::Follow(follower) => {
                inner.release();
                engine.follow(follower, &upstream, parts, &mut outcome).await
            }
            Role::Lead(permit) => {
                let before = engine.landed_before(target, parts, directives, accepted, &missed).await;
                if let Some(generation) = before.filter(|found| Some(*found) != gone_before) {
                    permit.land(Landing::Stored(generation));
                    // Nothing was forwarded: the next look is the first to count.
                    outcome.forwarded = None;
                    Turn::LookAgain
                } else {
                    let (engine, stored) = (Arc::clone(&engine), std::mem::take(&mut missed.stored));
                    led = true;
                    let fill_of = Arc::clone(&engine);
                    match fill::start(fill_of, inner.take(), parts, target, stored, false, permit) {
                        Some(filling) => engine.lead(filling, &upstream, parts, target, &mut outcome).await?,
                        None => {
                            outcome.refusal = Some(Refusal::TooManyFills);
                            Turn::Forward
                        }
                    }
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
                        if let Ok(response) = serve::serve(&engine, &entry, parts, served(outcome)).await {
                            return Ok(response);
                        }
                    }
                }
                break;
            }
            Turn::LookAgain => {}
            Turn::LookFor(found, fields) => (accepted, withheld) = (found, fields),
            Turn::Serve(entry) => match serve::serve(&engine, &entry, parts, served(outcome)).await {
                Ok(response) => return Ok(response),
                Err(_) => break,
            },
        }
        match engine.look(target, parts, directives, accepted, outcome).await {
            Ok(Answer { mut response, of, .. }) => {
                // What came for this viewer goes with what it came with, and not with what another has stored since.
                if accepted == Accepted::Own(of) {
                    response.headers_mut().extend(withheld);
                }
                response.body_mut().supply(|| upstream);
                return Ok(response);
            }
            Err(again) => missed = again,
        }
    }
    (outcome.stored, outcome.collapsed) = (false, false);
    let stale = match missed.stored {
        Known::Stale(entry) => Some(entry),
        Known::Nothing | Known::Others(_) | Known::Sparse(_) => None,
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
            // What is there in part is no answer, but what this fill is to make whole.
            Look::Found(entry, _) if entry.manifest.sparse && self.config.fill == Fill::Whole => None,
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated) => Some(entry.generation()),
            Look::Found(_, Reuse::Validated(_)) | Look::Failed | Look::Nothing(..) => None,
        }
    }
}

/// Looks at the store for one request: the first, one after a wait, one after a fill.
const LOOKS: u32 = 3;
