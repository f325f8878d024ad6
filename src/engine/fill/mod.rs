//! From the inner service to the store: one fill, in a task of its own.
//!
//! The only room that puts chunks and manifests. Chunks go first; the manifest's put is the commit. A fill of what is
//! stored already begins with the question whether that is still good (RFC 9111 §4.3); one of what is stored in part
//! fetches what is missing (§3.4).

mod claim;
mod commit;
mod complete;
mod delivery;
mod invalidated;
mod lease;
mod part;
mod pour;
mod resume;
mod store;
mod validate;
mod withdraw;

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{
    header::{self, HeaderMap, HeaderName},
    request, Method, Request, Response, StatusCode,
};
use http_body::Body;
use tokio::time::timeout;
use tower_service::Service;

pub(crate) use self::{
    claim::Held,
    delivery::{Delivery, Filling, For, Known, Salvage, Stored},
    invalidated::Seen,
    pour::{Audience, Pace, Pour, Poured},
    resume::pause,
    validate::{heed, question, verdict, Verdict},
};
use self::{
    complete::Completed,
    delivery::Answering,
    part::{window, Judged},
};
pub(crate) use super::records::CHUNK_OVERHEAD;
use super::{
    budget::Share,
    flight::{Landing, Permit},
    inner::Inner,
    lookup::{Entry, Target},
    passes::Passes,
    race::{race, Raced},
    records::Waited,
    Engine,
};
use crate::{
    error::BoxError,
    semantics::{
        cache_control::{RequestDirectives, ResponseDirectives},
        cache_status::Refusal,
        fields::remove_conditions_and_ranges,
        freshness::Exchange,
        partial::ask,
        range::ByteRange,
        vary::Vary,
    },
    settings::Abandon,
};

/// Starts the fill of `target` on behalf of `request`, who waits for it if it is for now; what becomes of it when nobody waits any more, the policy for
/// abandoned fills says. `None`, and the flight is over, if too many are under way.
///
/// The inner service gets the request without its conditions and ranges, for what is stored is for every viewer; with
/// the conditions of the response that is stored already, if one is; and with a range of its own where only chunks that
/// somebody asked for are to be fetched.
pub(crate) fn start<S, A, B>(
    engine: &Arc<Engine>,
    inner: Inner<S>,
    request: &request::Parts,
    target: &Arc<Target>,
    stored: Known,
    whom: For,
    permit: Permit,
) -> Option<Filling<B, S::Error>>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Default + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    // A viewer's fill makes those yield that nobody waits for.
    let waiting = (whom == For::Now).then(|| permit.follower());
    let share = engine.budget.share(permit.waited_for());
    if !share.takes_place(&engine.fills) {
        permit.land(Landing::Passed);
        return None;
    }
    let asked = request_of_its_own(engine, request);
    let directives = engine.directives(request);
    let window = window(engine, target, request);
    let (engine, target) = (Arc::clone(engine), Arc::clone(target));
    let began = engine.config.clock.now();
    let (seen, forgoes) = (Seen::Nothing, false);
    let waited = match stored {
        Known::Unknown(waited) => waited,
        _ => Waited::default(),
    };
    let fill =
        Fill { engine, target, asked, directives, stored, began, seen, waited, forgoes, window, whom, share };
    let follower = waiting.unwrap_or_else(|| permit.follower());
    Some(Filling { task: tokio::spawn(fill.run(inner, permit)), follower })
}

/// The request of a fill: one of its own, without content, conditions and ranges, whatever the viewer's said.
pub(crate) fn request_of_its_own(engine: &Engine, request: &request::Parts) -> request::Parts {
    let mut asked = request.clone();
    remove_conditions_and_ranges(&mut asked.headers);
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        asked.headers.remove(name);
    }
    asked.method = Method::GET;
    engine.mark(&mut asked.extensions);
    asked
}

struct Fill {
    engine: Arc<Engine>,
    target: Arc<Target>,
    /// The request without conditions.
    asked: request::Parts,
    directives: RequestDirectives,
    stored: Known,
    /// When `stored` was what is stored.
    began: SystemTime,
    /// By which it can tell whether the key was invalidated since, where no lease does.
    seen: Seen,
    /// How long the store was waited for in vain.
    waited: Waited,
    /// That was long enough: nothing more is asked of it, and nothing stored.
    forgoes: bool,
    /// What is asked for first, if not all is.
    window: Option<ByteRange>,
    whom: For,
    /// Its place among the fills that may be under way at once, and what it promised to the store. An update by a HEAD
    /// needs no place, and neither does a wait for another node.
    share: Arc<Share>,
}

impl Fill {
    /// Fills: it has the lease, if there are any.
    async fn go<S, A, B>(mut self, mut inner: Inner<S>, permit: Permit) -> Delivery<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if let Known::Sparse(entry) = &self.stored {
            match self.complete(&mut inner, entry, &permit).await {
                Completed::Stored(stored) => {
                    permit.land(Landing::Stored(stored.generation));
                    return Delivery::Stored(stored);
                }
                Completed::Deserted => {
                    permit.land(Landing::Abandoned);
                    return Delivery::Refused(Refusal::Abandoned);
                }
                Completed::Unstored(refusal) => {
                    permit.land(lease::landing(refusal));
                    return Delivery::Usable(Arc::clone(entry), Some(StatusCode::PARTIAL_CONTENT), refusal);
                }
                Completed::Not => {}
            }
            self.stored = Known::Nothing;
        }
        let validated = match &self.stored {
            Known::Stale(entry) => self.validate(&mut inner, entry, &permit).await,
            Known::Others(variants) if !variants.is_empty() => {
                self.validate_any(&mut inner, variants, &permit).await
            }
            Known::Gone(_) | Known::Nothing | Known::Others(_) | Known::Sparse(_) | Known::Unknown(_) => {
                Ok(self.call(&mut inner, self.asked.clone()).await)
            }
        };
        let answer = match validated {
            Ok(answer) => answer,
            Err((landing, delivery)) => {
                permit.land(landing);
                return delivery;
            }
        };
        let answer = match answer {
            Ok((response, exchange)) => match self.judge(response, exchange) {
                Judged::Part(response, part) => {
                    return self.store_part(&mut inner, response, part, exchange, permit).await
                }
                Judged::Whole(response) => Ok((response, exchange)),
                Judged::Again(response) => {
                    // An inner service may wait for the end of one answer before it gives the next.
                    drop(response);
                    self.window = None;
                    self.call(&mut inner, self.asked.clone()).await
                }
                Judged::Unsatisfied => Err(Delivery::Refused(Refusal::Status)),
            },
            Err(delivery) => Err(delivery),
        };
        match answer {
            Ok((response, exchange)) => self.store(&mut inner, response, exchange, permit).await,
            Err(delivery) => {
                // A request that joined after it had yielded tries again.
                let has_yielded = matches!(delivery, Delivery::Refused(Refusal::Abandoned));
                permit.land(if has_yielded { Landing::Abandoned } else { Landing::Passed });
                delivery
            }
        }
    }

    /// Calls the inner service; the error is a delivery without an answer, failed or late.
    async fn call<S, A, B>(&self, inner: &mut Inner<S>, mut asked: request::Parts) -> Called<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Send + 'static,
    {
        if let Some(window) = self.window {
            ask(window, &mut asked.headers);
        }
        let clock = &self.engine.config.clock;
        let with_cookie = asked.headers.contains_key(header::COOKIE);
        let (mut inner, request) = (inner.take(), Request::from_parts(asked, A::default()));
        let requested = clock.now();
        let mut answering: Answering<B, S::Error> = Box::pin(async move { inner.call(request).await });
        let answered = timeout(self.engine.config.idle_limit, answering.as_mut());
        match race(answered, self.share.yielded()).await {
            Raced::First(Ok(Ok(response))) => {
                Ok((response, Exchange { requested, received: clock.now(), with_cookie }))
            }
            Raced::First(Ok(Err(error))) => Err(Delivery::Failed(error)),
            // It would be a part, and not the one that the viewer asked for.
            Raced::First(Err(_)) if self.window.is_some() => Err(Delivery::Refused(Refusal::InnerStalled)),
            Raced::First(Err(_)) => Err(Delivery::Late(answering)),
            Raced::Second(()) => Err(Delivery::Refused(Refusal::Abandoned)),
        }
    }

    /// What becomes of it when nobody waits.
    fn abandon(&self) -> Abandon {
        match self.whom {
            For::Later => Abandon::Finish,
            For::Now => self.engine.config.abandon,
        }
    }

    /// The stored response, if it may stand in for an error.
    fn stand_in(&self) -> Option<Arc<Entry>> {
        let now = self.engine.config.clock.now();
        match &self.stored {
            Known::Stale(stale) if stale.stands_in(&self.directives, now) => Some(Arc::clone(stale)),
            _ => None,
        }
    }

    /// Ends the flight of a body that broke its word before anything left.
    fn broken<B, E>(&self, status: StatusCode, refusal: Refusal, permit: Permit) -> Delivery<B, E> {
        if let Some(entry) = self.stand_in() {
            permit.land(Landing::StoodIn(entry.generation()));
            return Delivery::Usable(entry, Some(status), Refusal::StaleIfError);
        }
        permit.land(Landing::Broken);
        Delivery::Broken(status, refusal)
    }

    /// As large as was set, and as the store can hold.
    fn chunk_size(&self) -> u32 {
        self.engine.records.chunk_size(self.engine.config.chunk_size.bytes())
    }

    /// The fields that the response keeps from all but the viewer who asked.
    pub(super) fn withheld(&self, response: &HeaderMap) -> Vec<HeaderName> {
        ResponseDirectives::heeded(response, self.engine.config.policy.targeted()).withheld
    }

    /// Spares the next requests like this one a fill in vain.
    fn remember(&self, refusal: Refusal, response: &HeaderMap) {
        self.remember_in(&self.engine.passes, refusal, response);
    }

    /// Has the next fills like this one ask for the whole at once.
    fn remember_partless(&self, response: &HeaderMap) {
        self.remember_in(&self.engine.partless, Refusal::NoParts, response);
    }

    fn remember_in(&self, passes: &Passes, refusal: Refusal, response: &HeaderMap) {
        let selecting = match Vary::of(response) {
            Vary::Fields(names) => names,
            Vary::Anything | Vary::Nothing => Vec::new(),
        };
        let now = self.engine.config.clock.now();
        passes.remember(&self.target.primary, selecting, &self.asked.headers, refusal, now);
    }
}

/// An answer of the inner service, or the delivery that it ends in without one.
type Called<B, E> = Result<(Response<B>, Exchange), Delivery<B, E>>;
