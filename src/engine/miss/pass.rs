//! Requests that ask the inner service for themselves alone: nobody waits for them, and nothing they bring is stored.

use std::sync::Arc;

use http::{
    header::{self, HeaderMap},
    request, Method, Request, Response, StatusCode,
};
use tower_service::Service;

use crate::{
    engine::{
        body::ResponseBody,
        fetch::fetcher::Fetch,
        fill::{
            head,
            invalidated::Seen,
            validate::{self, Verdict},
        },
        hit::Asked,
        inner::Inner,
        serve,
        state::{entry::Entry, Engine},
    },
    semantics::{
        cache_status::{Outcome, Refusal},
        etag::has_strong_tag,
        fields::{has_conditions_or_ranges, remove_conditions_and_ranges},
        freshness::Exchange,
        storable::would_be_storable,
        validation::{ask_by_tag, has_same_tag, News},
    },
    settings::Mode,
};

/// Asks the inner service as the viewer asked. `stale` may stand in for an error, and a HEAD brings news of it.
pub(crate) async fn pass<S, A, B>(
    engine: &Arc<Engine>,
    mut inner: Inner<S>,
    asked: Asked<A>,
    stale: Option<Arc<Entry>>,
    fetcher: &Arc<dyn Fetch>,
    mut outcome: Outcome,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
{
    let Asked { parts, body, target, directives } = asked;
    let mut inwards = parts.clone();
    engine.mark(&mut inwards.extensions);
    let (clock, revocations) = (&engine.config.clock, engine.flights.revocations());
    let mark = match &stale {
        Some(_) => Seen::before_a_question(engine, &target.primary).await,
        None => Seen::Nothing,
    };
    let requested = clock.now();
    let answer = inner.call(Request::from_parts(inwards, body)).await;
    let with_cookie = parts.headers.contains_key(header::COOKIE);
    let exchange = Exchange { requested, received: clock.now(), with_cookie };
    if let Some(entry) = &stale {
        let seen = answer.as_ref().ok().map(|answer| (answer.status(), answer.headers()));
        if validate::verdict(entry, &directives, seen, exchange.received) == Verdict::StandsIn {
            outcome.refusal = Some(Refusal::of_stand_in(seen.map(|(status, _)| status)));
            outcome.forwarded_status = seen.map(|(status, _)| status);
            if let Some(response) = serve::supplied(engine, entry, &parts, outcome, fetcher).await {
                return Ok(response);
            }
        }
    }
    let answer = answer?;
    let (status, policy) = (answer.status(), &engine.config.policy);
    let is_told_by_head = parts.method == Method::HEAD && status == StatusCode::OK;
    let news = News::of(&parts.headers, status, Refusal::Status);
    let is_news = is_told_by_head || matches!(news, News::Gone | News::Withdrawn);
    match stale.filter(|_| is_news) {
        Some(entry) => {
            let said = (status, answer.headers().clone());
            let (engine, target) = (Arc::clone(engine), Arc::clone(&target));
            let before = (revocations, mark);
            let news = head::heed(engine, target, parts, entry, said, exchange, before);
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
            engine.uncacheable.forget(&target.primary);
        }
        None => {}
    }
    Ok(serve::pass(answer, outcome, engine.config.signature(Some(&target.key)), policy))
}

/// What a request asks for itself alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether what is stored is still good.
    OfAny,
    /// Whether it is what this request's credentials would bring (RFC 9111 §3.5).
    OfTheAuthorized,
}

impl Question {
    /// The request that puts it; none where there is nothing to ask by, and the answer would be a whole that this viewer may
    /// not have asked for.
    fn about(self, entry: &Entry, engine: &Engine, request: &request::Parts) -> Option<request::Parts> {
        let mut asked = request.clone();
        engine.mark(&mut asked.extensions);
        match self {
            Self::OfAny if entry.manifest.own_etag => None,
            Self::OfAny => {
                remove_conditions_and_ranges(&mut asked.headers);
                Some(validate::question(entry, &asked))
            }
            Self::OfTheAuthorized => {
                let is_whole = !entry.manifest.sparse || engine.config.fill != Mode::Whole;
                let has_tag = !entry.manifest.own_etag && has_strong_tag(&entry.manifest.headers);
                (is_whole && has_tag).then(|| {
                    ask_by_tag(&entry.manifest.headers, &mut asked.headers);
                    asked
                })
            }
        }
    }

    /// Whether a 304 answers it: what credentials bring is told by a strong tag alone.
    fn is_answered_by(self, entry: &Entry, answer: Option<(StatusCode, &HeaderMap)>) -> bool {
        let has_tag = |headers| has_same_tag(&entry.manifest.headers, headers);
        self == Self::OfAny || answer.is_some_and(|(_, headers)| has_tag(headers))
    }

    /// Whether the inner service did not get to see all that this request asked, and would have answered otherwise: of an
    /// error there is nothing else to be had.
    fn hid_something_of(self, request: &request::Parts, status: StatusCode) -> bool {
        let by_condition = [StatusCode::PRECONDITION_FAILED, StatusCode::RANGE_NOT_SATISFIABLE];
        if !status.is_success() && !by_condition.contains(&status) {
            return false;
        }
        match self {
            Self::OfAny => has_conditions_or_ranges(&request.headers),
            Self::OfTheAuthorized => {
                let validators = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
                validators.iter().any(|name| request.headers.contains_key(name))
            }
        }
    }
}

/// Asks the `question` about `entry` for this request alone, and stores nothing.
pub(crate) async fn validate<S, A, B>(
    engine: &Arc<Engine>,
    mut inner: Inner<S>,
    asked: Asked<A>,
    entry: Arc<Entry>,
    question: Question,
    fetcher: &Arc<dyn Fetch>,
    mut outcome: Outcome,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<A>, Response = Response<B>> + Clone,
    A: Default,
{
    outcome.collapsed = false;
    if question == Question::OfTheAuthorized {
        outcome.refusal = Some(Refusal::Authorization);
    }
    let Some(putting) = question.about(&entry, engine, &asked.parts) else {
        let stale = (question == Question::OfAny).then_some(entry);
        return pass(engine, inner, asked, stale, fetcher, outcome).await;
    };
    let Asked { parts, directives, target, .. } = &asked;
    let with_cookie = parts.headers.contains_key(header::COOKIE);
    let before = (engine.flights.revocations(), Seen::before_a_question(engine, &target.primary).await);
    let requested = engine.config.clock.now();
    let answer = inner.call(Request::from_parts(putting, A::default())).await;
    let exchange = Exchange { requested, received: engine.config.clock.now(), with_cookie };
    let seen = answer.as_ref().ok().map(|answer| (answer.status(), answer.headers()));
    let usable = match validate::verdict(&entry, directives, seen, exchange.received) {
        Verdict::StillGood if !question.is_answered_by(&entry, seen) => None,
        Verdict::StillGood => {
            seen.map(|(_, headers)| Arc::new(entry.updated(&engine.config.policy, headers, exchange)))
        }
        Verdict::StandsIn => {
            outcome.refusal = Some(Refusal::of_stand_in(seen.map(|(status, _)| status)));
            Some(entry)
        }
        Verdict::New => {
            let answer = answer?;
            let news = News::of(&parts.headers, answer.status(), Refusal::Status);
            if matches!(news, News::Gone | News::Withdrawn) {
                let said = (answer.status(), answer.headers().clone());
                let (engine, target) = (Arc::clone(engine), Arc::clone(target));
                let heeding = head::heed(engine, target, parts.clone(), entry, said, exchange, before);
                // Whatever becomes of it, the answer is the inner service's.
                let _ = tokio::spawn(heeding).await;
            }
            if question.hid_something_of(parts, answer.status()) {
                // An inner service may wait for the end of one answer before it gives the next.
                drop(answer);
                return pass(engine, inner, asked, None, fetcher, outcome).await;
            }
            let by = engine.config.signature(Some(&target.key));
            return Ok(serve::pass(answer, outcome, by, &engine.config.policy));
        }
        Verdict::AboutAnother => None,
    };
    outcome.forwarded_status = seen.map(|(status, _)| status);
    drop(answer);
    if let Some(entry) = usable {
        if let Some(response) = serve::supplied(engine, &entry, parts, outcome, fetcher).await {
            return Ok(response);
        }
    }
    pass(engine, inner, asked, None, fetcher, outcome).await
}

/// Asked for the whole to store it, the inner service did not get to see what this viewer asked: a seek in a video that
/// cannot be stored is a seek all the same. No part is to be had of an error.
pub(crate) fn is_for_another_try<B>(answer: &Response<B>, request: &request::Parts) -> bool {
    answer.status().is_success() && has_conditions_or_ranges(&request.headers)
}
