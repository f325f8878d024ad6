//! The loop that joins the deeds: look up, serve; else fill or wait, and look again.
//!
//! A miss has no way to answer of its own. It can only make the next lookup succeed.

mod budget;
pub(crate) mod collect;
mod config;
mod fill;
mod flight;
mod inner;
mod lookup;
mod memo;
mod passes;
mod purge;
pub(crate) mod reader;
mod records;
mod serve;

use std::{panic::resume_unwind, sync::Arc};

use bytes::Bytes;
use http::{header, request, Method, Request, Response};
use http_body::Body;
use tokio::task::JoinHandle;
use tower_service::Service;

pub use self::config::{ChunkSize, Fill};
use self::{
    budget::Budget,
    fill::Delivery,
    flight::{Flights, Follower, Landing, Role},
    lookup::{lookup, Decoded, Look, Target},
    memo::Memo,
    passes::Passes,
    records::Records,
};
pub(crate) use self::{config::Config, inner::Inner};
use crate::{
    body::ResponseBody,
    error::BoxError,
    format::key::{Generation, Slot},
    semantics::{
        cache_control::CacheControl,
        cache_status::{Forwarded, Outcome, Refusal},
        fields::{has_conditions_or_ranges, overrides_method},
    },
    store::ErasedStore,
};

/// What all clones of a layer, and all services it made, share.
pub(crate) struct Engine {
    config: Config,
    store: Arc<dyn ErasedStore>,
    records: Arc<Records>,
    memo: Memo<Decoded>,
    flights: Arc<Flights>,
    budget: Arc<Budget>,
    passes: Passes,
}

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Not this cache's: to the inner service, untouched.
    Bypass,
    /// May be answered from the store.
    Cache,
    /// Unsafe: if it succeeds, what is stored is no longer true (RFC 9111 §4.4).
    Invalidate,
}

impl Engine {
    pub(crate) fn new(config: Config, store: Arc<dyn ErasedStore>) -> Self {
        let budget = Arc::new(Budget::for_capacity(store.capacity()));
        Self::sharing(config, store, budget)
    }

    /// The same store, and what is promised to it, under another configuration.
    pub(crate) fn reconfigured(&self, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = self.config.clone();
        change(&mut config);
        Self::sharing(config, Arc::clone(&self.store), Arc::clone(&self.budget))
    }

    fn sharing(config: Config, store: Arc<dyn ErasedStore>, budget: Arc<Budget>) -> Self {
        let records = Arc::new(Records::new(Arc::clone(&store), config.store_limit));
        Self {
            config,
            store,
            records,
            memo: Memo::new(),
            flights: Arc::default(),
            budget,
            passes: Passes::new(),
        }
    }

    /// `has_content`: the request has a body. A GET with one has no meaning that a cache knows (RFC 9110 §9.3.1), and
    /// neither has one that asks for another method.
    pub(crate) fn treatment(&self, request: &request::Parts, has_content: bool) -> Treatment {
        let is_within = |within: &Within| Arc::ptr_eq(&within.0, &self.flights);
        let bypasses = self.config.bypass.as_ref().is_some_and(|bypass| bypass(request));
        if bypasses || request.extensions.get().is_some_and(is_within) {
            return Treatment::Bypass;
        }
        match request.method {
            Method::GET | Method::HEAD
                if has_content
                    || request.headers.contains_key(header::UPGRADE)
                    || overrides_method(&request.headers) =>
            {
                Treatment::Bypass
            }
            Method::GET | Method::HEAD => Treatment::Cache,
            Method::OPTIONS | Method::TRACE | Method::CONNECT => Treatment::Bypass,
            _ => Treatment::Invalidate,
        }
    }

    /// Answers a GET or HEAD request: from the store as far as it can, else as the inner service does.
    ///
    /// # Errors
    ///
    /// Those of the inner service, unchanged.
    ///
    /// # Cancel safety
    ///
    /// A fill that was begun goes on without the request that began it.
    pub(crate) async fn respond<S, A, B>(
        self: Arc<Self>,
        mut inner: Inner<S>,
        parts: request::Parts,
        body: A,
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
        // RFC 9111 §5.2.1.5: nothing of this request or its response is to be stored.
        if CacheControl::of(&parts.headers).no_store {
            outcome.forwarded = Some(Forwarded::Request);
            let response = inner.call(Request::from_parts(parts, body)).await?;
            return Ok(serve::pass(response, outcome));
        }
        let target = Target::new((self.config.key)(&parts));
        match self.look(&target, &parts, None, outcome).await {
            Ok(response) => Ok(response),
            // In a box of its own, so that a hit has a small one.
            Err(missed) => Box::pin(self.forward(inner, parts, body, target, missed)).await,
        }
    }

    /// One look: the answer from the store, or why there is none.
    async fn look<B>(
        &self,
        target: &Target,
        request: &request::Parts,
        accepted: Option<Generation>,
        outcome: Outcome,
    ) -> Result<Response<ResponseBody<B>>, Missed> {
        let missed =
            |reason, slot: &Slot| Missed { reason, slot: slot.clone(), gone: None, store_failed: false };
        match lookup(self, target, &request.headers, accepted).await {
            Look::Failed => Err(Missed { store_failed: true, ..missed(Forwarded::UriMiss, &target.primary) }),
            Look::Nothing(reason, slot) => Err(missed(reason, &slot)),
            Look::Fresh(entry) => serve::serve(self, &entry, request, outcome).await.ok_or_else(|| Missed {
                gone: Some(entry.generation()),
                ..missed(Forwarded::Miss, &entry.slot)
            }),
        }
    }

    /// Fills, or waits for a fill, and looks again; at last, asks the inner service as the viewer asked.
    async fn forward<S, A, B>(
        self: Arc<Self>,
        mut inner: Inner<S>,
        mut parts: request::Parts,
        body: A,
        target: Target,
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
        let target = Arc::new(target);
        let mut accepted = None;
        for look in 1.. {
            outcome.forwarded.get_or_insert(missed.reason);
            // Stored for this request, and gone again: the store does not keep it, and another fill would not help.
            let lost = accepted.is_some() && missed.reason != Forwarded::VaryMiss;
            if lost {
                outcome.refusal = Some(Refusal::StoreLost);
            }
            if lost && outcome.stored {
                let now = self.config.clock.now();
                self.passes.remember(&target.primary, Vec::new(), Refusal::StoreLost, now);
            }
            if look == LOOKS || outcome.stored || lost || parts.method == Method::HEAD {
                break;
            }
            if let Some(refusal) =
                self.passes.recall(&target.primary, &parts.headers, self.config.clock.now())
            {
                outcome.refusal = Some(refusal);
                break;
            }
            let turn = match self.flights.join(&missed.slot, &target.primary) {
                Role::Follow(follower) => {
                    inner.release();
                    self.follow(follower, &mut outcome).await
                }
                Role::Lead(permit) => {
                    if let Some(generation) = self.landed_before(&target, &parts, accepted, &missed).await {
                        permit.land(Landing::Stored(generation));
                        // Nothing was forwarded: the next look is the first to count.
                        outcome.forwarded = None;
                        Turn::LookAgain(None)
                    } else {
                        let filling = fill::start(Arc::clone(&self), inner.take(), &parts, &target, permit);
                        self.lead(filling, &parts, &mut outcome).await?
                    }
                }
            };
            match turn {
                Turn::Answer(response) => return Ok(response),
                Turn::Forward => break,
                Turn::LookAgain(generation) => accepted = generation.or(accepted),
            }
            match self.look(&target, &parts, accepted, outcome).await {
                Ok(response) => return Ok(response),
                Err(again) => missed = again,
            }
        }
        (outcome.stored, outcome.collapsed) = (false, false);
        self.mark(&mut parts.extensions);
        let response = inner.call(Request::from_parts(parts, body)).await?;
        Ok(serve::pass(response, outcome))
    }

    /// Marks a request that goes inwards. Should it come to this cache again, applied twice on its way, it would
    /// wait there for itself.
    fn mark(&self, extensions: &mut http::Extensions) {
        extensions.insert(Within(Arc::clone(&self.flights)));
    }

    /// What the flight before has stored, if it landed between the look and the joining.
    async fn landed_before(
        &self,
        target: &Target,
        request: &request::Parts,
        accepted: Option<Generation>,
        missed: &Missed,
    ) -> Option<Generation> {
        // A store that failed a moment ago is not asked again: it may take its time to fail.
        if missed.store_failed {
            return None;
        }
        match lookup(self, target, &request.headers, accepted).await {
            Look::Fresh(entry) => Some(entry.generation()).filter(|found| Some(*found) != missed.gone),
            Look::Failed | Look::Nothing(..) => None,
        }
    }

    /// Waits for another request's fill, within the limit.
    async fn follow<R>(&self, follower: Follower, outcome: &mut Outcome) -> Turn<R> {
        match tokio::time::timeout(self.config.follower_limit, follower.landing()).await {
            Ok(Landing::Stored(generation)) => {
                outcome.collapsed = true;
                Turn::LookAgain(Some(generation))
            }
            Ok(Landing::Abandoned | Landing::Broken) => Turn::LookAgain(None),
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
        Ok(match delivery {
            Delivery::Stored(generation) => {
                outcome.stored = true;
                Turn::LookAgain(Some(generation))
            }
            Delivery::Passed(response, refusal) => {
                outcome.refusal = Some(refusal);
                // Asked for the whole to store it, the inner service did not get to see what this viewer asked:
                // a seek in a video that cannot be stored is a seek all the same. No part is to be had of an error.
                if response.status().is_success() && has_conditions_or_ranges(&request.headers) {
                    Turn::Forward
                } else {
                    Turn::Answer(serve::pass(response, *outcome))
                }
            }
            Delivery::Salvaged(salvage) => {
                outcome.refusal = Some(salvage.refusal);
                serve::salvage(self, *salvage, *outcome).await.map_or(Turn::Forward, Turn::Answer)
            }
            Delivery::Broken(refusal) => {
                outcome.refusal = Some(refusal);
                Turn::Answer(serve::bad_gateway(refusal, *outcome))
            }
            Delivery::Late(answering) => {
                outcome.refusal = Some(Refusal::InnerStalled);
                Turn::Answer(serve::pass(answering.await?, *outcome))
            }
            Delivery::Failed(error) => return Err(error),
        })
    }
}

/// In a request's extensions: the flights of the cache that it comes from.
#[derive(Clone)]
struct Within(Arc<Flights>);

/// Why a look gave no answer.
struct Missed {
    reason: Forwarded,
    /// Where the answer would be.
    slot: Slot,
    /// The response that was found without its bytes.
    gone: Option<Generation>,
    store_failed: bool,
}

/// What comes after a flight.
enum Turn<R> {
    Answer(R),
    /// To the inner service, as if there were no cache.
    Forward,
    /// For what this generation, if it is known, has brought.
    LookAgain(Option<Generation>),
}

/// Looks at the store for one request: the first, one after a wait, one after a fill.
const LOOKS: u32 = 3;
