//! Requests that ask the inner service for themselves alone: nobody waits for them, and nothing they bring is stored.

use std::sync::Arc;

use http::{request, Method, Request, Response, StatusCode};
use tower_service::Service;

use super::{
    fill::{self, Verdict},
    forward::Asked,
    inner::Inner,
    lookup::Entry,
    serve,
    supply::Upstream,
    Engine,
};
use crate::{
    body::ResponseBody,
    semantics::{
        cache_status::{Outcome, Refusal},
        fields::{has_conditions_or_ranges, remove_conditions_and_ranges},
        freshness::Exchange,
        storable::would_be_storable,
    },
};

/// Asks the inner service as the viewer asked. `stale` may stand in for an error, and a HEAD brings news of it.
pub(crate) async fn pass<S, A, B>(
    engine: &Arc<Engine>,
    mut inner: Inner<S>,
    asked: Asked<A>,
    stale: Option<Arc<Entry>>,
    upstream: &Arc<dyn Upstream>,
    mut outcome: Outcome,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
{
    let Asked { parts, body, target, directives } = asked;
    let mut inwards = parts.clone();
    engine.mark(&mut inwards.extensions);
    let (clock, revocations) = (&engine.config.clock, engine.flights.revocations());
    let requested = clock.now();
    let answer = inner.call(Request::from_parts(inwards, body)).await;
    let exchange = Exchange { requested, received: clock.now() };
    if let Some(entry) = &stale {
        let seen = answer.as_ref().ok().map(|answer| (answer.status(), answer.headers()));
        if fill::verdict(entry, &directives, seen, exchange.received) == Verdict::StandsIn {
            outcome.refusal = Some(Refusal::StaleIfError);
            outcome.forwarded_status = seen.map(|(status, _)| status);
            if let Some(response) = serve::supplied(engine, entry, &parts, outcome, upstream).await {
                return Ok(response);
            }
        }
    }
    let answer = answer?;
    let (status, policy) = (answer.status(), &engine.config.policy);
    match stale.filter(|_| parts.method == Method::HEAD && status == StatusCode::OK) {
        Some(entry) => {
            let headers = answer.headers().clone();
            let (engine, target) = (Arc::clone(engine), Arc::clone(&target));
            let news = fill::freshen_by_head(engine, target, parts, entry, headers, exchange, revocations);
            // Whatever becomes of it, the answer is the inner service's.
            let _ = tokio::spawn(news).await;
        }
        // An answer that may be stored ends the memory of those that may not. A part does not show of which status the
        // whole would be.
        None if outcome.refusal.is_some_and(Refusal::is_of_the_response)
            && (outcome.refusal != Some(Refusal::Status) || status != StatusCode::PARTIAL_CONTENT)
            && would_be_storable(
                &parts.headers,
                parts.uri.path(),
                status,
                answer.headers(),
                exchange,
                policy,
            ) =>
        {
            engine.passes.forget(&target.primary);
        }
        None => {}
    }
    Ok(serve::pass(answer, outcome, engine.config.signature(Some(&target.key))))
}

/// Asks whether `entry` is still good for this request alone, and stores nothing.
pub(crate) async fn validate<S, A, B>(
    engine: &Arc<Engine>,
    mut inner: Inner<S>,
    asked: Asked<A>,
    entry: Arc<Entry>,
    upstream: &Arc<dyn Upstream>,
    mut outcome: Outcome,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    A: Default,
{
    outcome.collapsed = false;
    // There is nothing to ask by, and the answer would be a whole that this viewer may not have asked for.
    if entry.manifest.own_etag {
        return pass(engine, inner, asked, Some(entry), upstream, outcome).await;
    }
    let Asked { parts, directives, target, .. } = &asked;
    let mut question = parts.clone();
    remove_conditions_and_ranges(&mut question.headers);
    engine.mark(&mut question.extensions);
    let question = fill::question(&entry, &question);
    let requested = engine.config.clock.now();
    let answer = inner.call(Request::from_parts(question, A::default())).await;
    let exchange = Exchange { requested, received: engine.config.clock.now() };
    let seen = answer.as_ref().ok().map(|answer| (answer.status(), answer.headers()));
    let usable = match fill::verdict(&entry, directives, seen, exchange.received) {
        Verdict::StillGood => seen.map(|(_, headers)| Arc::new(entry.updated(engine, headers, exchange))),
        Verdict::StandsIn => {
            outcome.refusal = Some(Refusal::StaleIfError);
            Some(entry)
        }
        Verdict::New => {
            let answer = answer?;
            if is_for_another_try(&answer, parts) {
                // An inner service may wait for the end of one answer before it gives the next.
                drop(answer);
                return pass(engine, inner, asked, None, upstream, outcome).await;
            }
            return Ok(serve::pass(answer, outcome, engine.config.signature(Some(&target.key))));
        }
        Verdict::AboutAnother => None,
    };
    outcome.forwarded_status = seen.map(|(status, _)| status);
    drop(answer);
    if let Some(entry) = usable {
        if let Some(response) = serve::supplied(engine, &entry, parts, outcome, upstream).await {
            return Ok(response);
        }
    }
    pass(engine, inner, asked, None, upstream, outcome).await
}

/// Asked for the whole to store it, the inner service did not get to see what this viewer asked: a seek in a video that
/// cannot be stored is a seek all the same. No part is to be had of an error.
pub(crate) fn is_for_another_try<B>(answer: &Response<B>, request: &request::Parts) -> bool {
    answer.status().is_success() && has_conditions_or_ranges(&request.headers)
}
