//! The state of one fill, and the small steps that its stages share.

use std::{sync::Arc, time::SystemTime};

use http::{
    header::{self, HeaderMap, HeaderName},
    request, Request, Response, StatusCode,
};
use tokio::time::timeout;
use tower_service::Service;

use super::delivery::Answering;
use super::{
    delivery::{Delivery, Prior, Purpose},
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
    pub(crate) window: Option<ByteRange>,
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
            // A late answer would be a part, and not the part that the client asked for.
            Raced::First(Err(_)) if self.window.is_some() => Err(Delivery::Refused(Refusal::InnerStalled)),
            Raced::First(Err(_)) => Err(Delivery::Late(answering)),
            Raced::Second(()) => Err(Delivery::Refused(Refusal::Abandoned)),
        }
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

    /// The chunk size: as configured, or smaller if the store cannot hold such chunks.
    pub(crate) fn chunk_size(&self) -> u32 {
        self.engine.records.chunk_size(self.engine.config.chunk_size.bytes())
    }

    /// Names of the fields that the response keeps from all clients but the one that asked.
    pub(super) fn withheld(&self, response: &HeaderMap) -> Vec<HeaderName> {
        ResponseDirectives::heeded(response, self.engine.config.policy.targeted()).withheld
    }

    /// Remembers the refusal, so that the next requests like this one do not fill in vain.
    pub(crate) fn remember(&self, refusal: Refusal, response: &HeaderMap) {
        self.remember_in(&self.engine.uncacheable, refusal, response);
    }

    /// Remembers that the answer gave no part, so that the next fills like this one ask for the whole.
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

/// The bytes to ask for first in sliced mode, in whole chunks: the bytes that the request wants, and no more than the
/// read-ahead. Returns `None` if the fill asks for the whole.
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
    // A client with an open range may leave soon, so the fill begins with one chunk.
    let chunks = end.map_or(1, |end| end.div_ceil(size).saturating_sub(first)).clamp(1, most);
    let offset = |chunk: u64| chunk.saturating_mul(size).min(u64::MAX - 1);
    Some(ByteRange { start: offset(first), end: offset(first.saturating_add(chunks)) })
        .filter(|window| window.start < window.end)
}
