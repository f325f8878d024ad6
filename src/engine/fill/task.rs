//! The task that a fill is: the parts that each step of it needs.

use std::{sync::Arc, time::SystemTime};

use http::{
    header::{self, HeaderMap, HeaderName},
    request, Request, Response, StatusCode,
};
use tokio::time::timeout;
use tower_service::Service;

use super::delivery::Answering;
use super::{
    delivery::{Delivery, For, Known},
    invalidated::Seen,
};
use crate::{
    engine::{
        inner::Inner,
        state::{
            budget::Share,
            entry::{Entry, Target},
            flight::{Landing, Permit},
            records::Waited,
            uncacheable::Uncacheable,
            Engine,
        },
    },
    futures::{race, Raced},
    semantics::{
        cache_control::{RequestDirectives, ResponseDirectives},
        cache_status::Refusal,
        freshness::Exchange,
        partial::ask,
        range::{wanted, ByteRange},
        vary::Vary,
    },
    settings::{Abandon, Mode},
};

pub(crate) struct Fill {
    pub(crate) engine: Arc<Engine>,
    pub(crate) target: Arc<Target>,
    /// The request without conditions.
    pub(crate) asked: request::Parts,
    pub(crate) directives: RequestDirectives,
    pub(crate) stored: Known,
    /// When `stored` was what is stored.
    pub(crate) began: SystemTime,
    /// By which it can tell whether the key was invalidated since, where no lease does.
    pub(crate) seen: Seen,
    /// How long the store was waited for in vain.
    pub(crate) waited: Waited,
    /// That was long enough: nothing more is asked of it, and nothing stored.
    pub(crate) forgoes: bool,
    /// What is asked for first, if not all is.
    pub(crate) window: Option<ByteRange>,
    pub(crate) whom: For,
    /// Its place among the fills that may be under way at once, and what it promised to the store. An update by a HEAD
    /// needs no place, and neither does a wait for another node.
    pub(crate) share: Arc<Share>,
}

impl Fill {
    /// Calls the inner service; the error is a delivery without an answer, failed or late.
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
    pub(crate) fn abandon(&self) -> Abandon {
        match self.whom {
            For::Later => Abandon::Finish,
            For::Now => self.engine.config.abandon,
        }
    }

    /// The stored response, if it may stand in for an error.
    pub(crate) fn stand_in(&self) -> Option<Arc<Entry>> {
        let now = self.engine.config.clock.now();
        match &self.stored {
            Known::Stale(stale) if stale.stands_in(&self.directives, now) => Some(Arc::clone(stale)),
            _ => None,
        }
    }

    /// Ends the flight of a body that broke its word before anything left.
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

    /// As large as was set, and as the store can hold.
    pub(crate) fn chunk_size(&self) -> u32 {
        self.engine.records.chunk_size(self.engine.config.chunk_size.bytes())
    }

    /// The fields that the response keeps from all but the viewer who asked.
    pub(super) fn withheld(&self, response: &HeaderMap) -> Vec<HeaderName> {
        ResponseDirectives::heeded(response, self.engine.config.policy.targeted()).withheld
    }

    /// Spares the next requests like this one a fill in vain.
    pub(crate) fn remember(&self, refusal: Refusal, response: &HeaderMap) {
        self.remember_in(&self.engine.uncacheable, refusal, response);
    }

    /// Has the next fills like this one ask for the whole at once.
    pub(crate) fn remember_partless(&self, response: &HeaderMap) {
        self.remember_in(&self.engine.partless, Refusal::NoParts, response);
    }

    fn remember_in(&self, passes: &Uncacheable, refusal: Refusal, response: &HeaderMap) {
        let selecting = match Vary::of(response) {
            Vary::Fields(names) => names,
            Vary::Anything | Vary::Nothing => Vec::new(),
        };
        let now = self.engine.config.clock.now();
        passes.remember(&self.target.primary, selecting, &self.asked.headers, refusal, now);
    }
}

/// An answer of the inner service, or the delivery that it ends in without one.
pub(crate) type Called<B, E> = Result<(Response<B>, Exchange), Delivery<B, E>>;

/// The bytes to ask for first, in whole chunks, where not all are to be fetched: those that the request wants, no more
/// than are read ahead.
pub(super) fn window(engine: &Engine, target: &Target, request: &request::Parts) -> Option<ByteRange> {
    let config = &engine.config;
    let gives_parts =
        || engine.partless.recall(&target.primary, &request.headers, config.clock.now()).is_none();
    if config.fill != Mode::Sliced || !gives_parts() {
        return None;
    }
    let size = u64::from(engine.records.chunk_size(config.chunk_size.bytes()));
    let (start, end) = wanted(&request.headers);
    let (first, most) = (start / size, config.read_ahead.div_ceil(size).max(1));
    // Who wants all that follows may leave soon.
    let chunks = end.map_or(1, |end| end.div_ceil(size).saturating_sub(first)).clamp(1, most);
    let offset = |chunk: u64| chunk.saturating_mul(size).min(u64::MAX - 1);
    Some(ByteRange { start: offset(first), end: offset(first.saturating_add(chunks)) })
        .filter(|window| window.start < window.end)
}
