//! Sends a request to the inner service for itself alone: no other request waits for it, and its answer is not stored.

use std::{sync::Arc, time::SystemTime};

use http::{
    Method, Request, Response, StatusCode,
    header::{self, HeaderMap},
    request,
};
use tokio::task::JoinHandle;
use tower_service::Service;

use super::request::Miss;
use crate::{
    counters::Reason,
    engine::{
        body::ResponseBody,
        fill::{
            delivery::Prior,
            head::{self, Before, LoneAnswer},
            validate::{self, Verdict},
        },
        inner::Inner,
        state::{
            Engine,
            entry::{Accepted, Entry},
        },
    },
    semantics::{
        cache_status::Refusal,
        etag::has_strong_tag,
        fields::{has_conditions, has_conditions_or_ranges, remove_conditions_and_ranges},
        freshness::Exchange,
        place::Place,
        purge::Position,
        range::are_several,
        reload::say_max_age,
        storable::would_be_storable,
        validation::{News, ask_by_tag, has_same_tag},
    },
    settings::Mode,
};

impl Miss {
    /// The question that this request must ask by itself, if the stored response needs one for each request.
    pub(super) fn own_question(&self) -> Option<(Arc<Entry>, Question)> {
        let Prior::Stale(entry) = &self.missed.stored else {
            return None;
        };
        let for_one = self.missed.for_one;
        let is_for_one = match self.accepted {
            Accepted::Shared(found) | Accepted::Another(found) => for_one || found == entry.generation(),
            Accepted::Nothing | Accepted::Own(_) | Accepted::StandIn(_) => for_one,
        };
        let question = if for_one { Question::OfTheAuthorized } else { Question::OfAny };
        is_for_one.then(|| (Arc::clone(entry), question))
    }

    /// Asks the inner service as the client asked.
    ///
    /// The `stale` entry may stand in for an error. The answer to a HEAD may update it, and an answer that refuses the
    /// response may remove it.
    pub(super) async fn pass<S, A, B>(
        mut self,
        mut inner: Inner<S>,
        body: A,
        stale: Option<Arc<Entry>>,
    ) -> Result<Response<ResponseBody<B>>, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone,
    {
        let engine = Arc::clone(&self.engine);
        let mut inwards = self.request.clone();
        engine.mark(&mut inwards.extensions);
        let before = match &stale {
            Some(_) => Before::of(&engine, &self.target).await,
            None => Before::unseen(&engine),
        };
        let (requested, purges) = (engine.config.clock.now(), engine.purges.position());
        self.engine.count_call(Reason::Pass);
        let answer = inner.call(Request::from_parts(inwards, body)).await;
        let exchange = self.exchange(requested, purges);
        if let Some(entry) = &stale {
            let seen = answer.as_ref().ok().map(|answer| (answer.status(), answer.headers()));
            if validate::verdict(entry, &self.directives, seen, exchange.received) == Verdict::StandsIn {
                self.outcome.refusal = Some(Refusal::of_stand_in(seen.map(|(status, _)| status)));
                self.outcome.forwarded_status = seen.map(|(status, _)| status);
                if let Some(response) = self.serve(entry).await {
                    return Ok(response);
                }
            }
        }
        let answer = answer?;
        let status = answer.status();
        let is_told_by_head = self.request.method == Method::HEAD && status == StatusCode::OK;
        let news = News::of(&self.request.headers, status, Refusal::Status);
        let is_news = is_told_by_head || matches!(news, News::Gone | News::Withdrawn);
        match stale.filter(|_| is_news) {
            Some(entry) => {
                // The client gets the inner service's answer even if this task fails.
                let _ = self.heed(entry, &answer, exchange, before).await;
            }
            // An answer that may be stored ends the memory of answers that may not.
            None if self.ends_a_refusal(&answer, exchange) => {
                engine.uncacheable.forget(&self.target.primary);
            }
            None => {}
        }
        Ok(self.passed(answer))
    }

    /// Asks the `question` about `entry` for this request alone, and stores no response.
    pub(super) async fn validate<S, A, B>(
        mut self,
        mut inner: Inner<S>,
        body: A,
        entry: Arc<Entry>,
        question: Question,
    ) -> Result<Response<ResponseBody<B>>, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone,
        A: Default,
    {
        let engine = Arc::clone(&self.engine);
        self.outcome.collapsed = false;
        if question == Question::OfTheAuthorized {
            self.outcome.refusal = Some(Refusal::Authorization);
        }
        let Some(putting) = question.about(&entry, &engine, &self.request) else {
            let stale = (question == Question::OfAny).then_some(entry);
            return self.pass(inner, body, stale).await;
        };
        let before = Before::of(&engine, &self.target).await;
        let (requested, purges) = (engine.config.clock.now(), engine.purges.position());
        engine.count_call(Reason::Validate);
        let answer = inner.call(Request::from_parts(putting, A::default())).await;
        let exchange = self.exchange(requested, purges);
        let seen = answer.as_ref().ok().map(|answer| (answer.status(), answer.headers()));
        let usable = match validate::verdict(&entry, &self.directives, seen, exchange.received) {
            Verdict::StillGood if !question.is_answered_by(&entry, seen) => None,
            Verdict::StillGood => {
                seen.map(|(_, headers)| Arc::new(entry.updated(&engine.config.policy, headers, exchange)))
            }
            Verdict::StandsIn => {
                self.outcome.refusal = Some(Refusal::of_stand_in(seen.map(|(status, _)| status)));
                Some(entry)
            }
            Verdict::New => {
                let answer = answer?;
                let news = News::of(&self.request.headers, answer.status(), Refusal::Status);
                if matches!(news, News::Gone | News::Withdrawn) {
                    // The client gets the inner service's answer even if this task fails.
                    let _ = self.heed(entry, &answer, exchange, before).await;
                }
                if question.hid_something_of(&self.request, answer.status()) {
                    // An inner service may wait for the end of one answer before it gives the next.
                    drop(answer);
                    return self.pass(inner, body, None).await;
                }
                return Ok(self.passed(answer));
            }
            Verdict::AboutAnother => None,
        };
        self.outcome.forwarded_status = seen.map(|(status, _)| status);
        drop(answer);
        if let Some(entry) = usable {
            if let Some(response) = self.serve(&entry).await {
                return Ok(response);
            }
        }
        self.pass(inner, body, None).await
    }

    /// The exchange that ends now.
    fn exchange(&self, requested: SystemTime, purges: Position) -> Exchange {
        let with_cookie = self.request.headers.contains_key(header::COOKIE);
        Exchange { requested, received: self.engine.config.clock.now(), with_cookie, purges }
    }

    /// Updates or removes the stored response by an answer about it, in a task.
    fn heed<B>(
        &self,
        entry: Arc<Entry>,
        answer: &Response<B>,
        exchange: Exchange,
        before: Before,
    ) -> JoinHandle<()> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        let answer = LoneAnswer { status, headers, exchange, before };
        let (engine, target) = (Arc::clone(&self.engine), Arc::clone(&self.target));
        tokio::spawn(head::heed(engine, target, self.request.clone(), entry, answer))
    }

    /// Whether the answer may be stored, though answers like it were remembered as refused.
    fn ends_a_refusal<B>(&self, answer: &Response<B>, exchange: Exchange) -> bool {
        let (refusal, status) = (self.outcome.refusal, answer.status());
        // A part does not show the status that the whole would have.
        let is_of_the_whole = refusal != Some(Refusal::Status) || status != StatusCode::PARTIAL_CONTENT;
        let (asked, place, policy) =
            (&self.request.headers, Place::of(&self.request), &self.engine.config.policy);
        refusal.is_some_and(Refusal::is_of_the_response)
            && is_of_the_whole
            && would_be_storable(asked, &place, status, answer.headers(), exchange, policy)
    }
}

/// A question about a stored response that a request asks for itself alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Whether the stored response is still good.
    OfAny,
    /// Whether this request's credentials would bring the same response (RFC 9111 §3.5).
    OfTheAuthorized,
}

impl Question {
    /// Builds the request that asks this question. Returns `None` if the entry has no validator to ask by: the answer
    /// would be a whole response, which the client may not have asked for.
    fn about(self, entry: &Entry, engine: &Engine, request: &request::Parts) -> Option<request::Parts> {
        let mut asked = request.clone();
        engine.mark(&mut asked.extensions);
        say_max_age(&mut asked.headers);
        match self {
            Self::OfAny if entry.manifest.own_etag => None,
            Self::OfAny => {
                remove_conditions_and_ranges(&mut asked.headers);
                Some(validate::question(entry, &asked))
            }
            Self::OfTheAuthorized => {
                let is_whole = !entry.manifest.sparse || engine.config.fill.mode != Mode::Whole;
                let has_tag = !entry.manifest.own_etag && has_strong_tag(&entry.manifest.headers);
                (is_whole && has_tag).then(|| {
                    ask_by_tag(&entry.manifest.headers, &mut asked.headers);
                    asked
                })
            }
        }
    }

    /// Whether a 304 answers this question. Only a strong tag proves that credentials bring the same response.
    fn is_answered_by(self, entry: &Entry, answer: Option<(StatusCode, &HeaderMap)>) -> bool {
        let has_tag = |headers| has_same_tag(&entry.manifest.headers, headers);
        self == Self::OfAny || answer.is_some_and(|(_, headers)| has_tag(headers))
    }

    /// Whether this question left out conditions or ranges of the client that could change the answer. The inner
    /// service has no better answer to give than an error.
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

/// Whether the request must go to the inner service once more, as the client sent it.
///
/// The fill asked for the whole response, without the client's conditions and ranges. So a seek in a video that cannot
/// be stored still gets a part. An error has no parts.
pub(crate) fn is_for_another_try<B>(answer: &Response<B>, request: &request::Parts) -> bool {
    // A 416 is to the first range alone. A condition or another range may have another answer.
    let is_to_the_range = answer.status() == StatusCode::RANGE_NOT_SATISFIABLE
        && (has_conditions(&request.headers) || are_several(&request.headers));
    is_to_the_range || answer.status().is_success() && has_conditions_or_ranges(&request.headers)
}
