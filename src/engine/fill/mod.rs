//! From the inner service to the store: one fill, in a task of its own.
//!
//! The only room that puts chunks and manifests. Chunks go first; the manifest's put is the commit. A fill of what is
//! stored already begins with the question whether that is still good (RFC 9111 §4.3).

mod commit;
mod pour;
mod validate;

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{
    header::{self, HeaderMap, HeaderName, HeaderValue},
    request, response, Method, Request, Response, StatusCode,
};
use http_body::Body;
use tokio::{task::JoinHandle, time::timeout};
use tower_service::Service;
use xxhash_rust::xxh3::Xxh3;

pub(crate) use self::validate::{freshen_by_head, question, verdict, Verdict};
use self::{
    commit::Draft,
    pour::{Pour, Poured, CHUNK_OVERHEAD},
};
use super::{
    budget::Promise,
    collect::Collector,
    flight::{Landing, Permit},
    inner::Inner,
    lookup::{Entry, Target},
    purge::forget,
    Engine,
};
use crate::{
    error::BoxError,
    format::{
        key::{Generation, SelectingField},
        manifest::{Layout, Tagged},
    },
    semantics::{
        cache_control::{RequestDirectives, ResponseDirectives},
        cache_status::Refusal,
        etag::has_validator,
        fields::{only, remove_conditions_and_ranges, stored_fields},
        freshness::Exchange,
        storable::storable,
        validation::supersedes,
        vary::Vary,
    },
};

/// What a fill has for the request that led it.
pub(crate) enum Delivery<B, E> {
    /// The inner body, of an answer with this status, broke its word before anything left: the viewer gets an error.
    Broken(StatusCode, Refusal),
    /// The inner service failed.
    Failed(E),
    /// The inner service takes too long for others to wait for it: here is its answer under way.
    Late(Answering<B, E>),
    /// The inner response may not be stored: here it is, untouched.
    Passed(Response<B>, Refusal),
    /// Storing stopped midway: here is the inner response, part stored, part in hand, part still to come.
    Salvaged(Box<Salvage<B>>),
    /// In the store.
    Stored(Stored),
    /// What was stored before may be used, though the store does not say so: why, and what the inner service answered.
    Usable(Arc<Entry>, Option<StatusCode>, Refusal),
}

/// A call of the inner service.
type Answering<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

/// A response that a fill has put into the store, or found to be still good there.
pub(crate) struct Stored {
    pub(crate) generation: Generation,
    /// The inner service's, 304 (Not Modified) if what was stored is still good.
    pub(crate) status: StatusCode,
    /// What came for the viewer who asked, and is stored for nobody (RFC 9111 §5.2.2.4, §5.2.2.7).
    pub(crate) withheld: HeaderMap,
}

/// What is stored when a fill begins.
#[derive(Default)]
pub(crate) enum Known {
    #[default]
    Nothing,
    /// What other requests of the key selected.
    Others(Vec<Tagged>),
    /// What the request selects, and may be good still.
    Stale(Arc<Entry>),
}

/// An inner response whose storing stopped midway.
pub(crate) struct Salvage<B> {
    pub(crate) parts: response::Parts,
    /// The chunks that are in the store: a body of their own.
    pub(crate) stored: Layout,
    /// The chunk that did not get there.
    pub(crate) in_hand: Bytes,
    pub(crate) rest: Collector<B>,
    pub(crate) refusal: Refusal,
}

/// Starts the fill of `target` on behalf of `request`. It goes on whoever waits for it.
///
/// The inner service gets the request without its conditions and ranges, for what is stored is for every viewer; with
/// the conditions of the response that is stored already, if one is.
pub(crate) fn start<S, A, B>(
    engine: Arc<Engine>,
    inner: Inner<S>,
    request: &request::Parts,
    target: &Arc<Target>,
    stored: Known,
    permit: Permit,
) -> JoinHandle<Delivery<B, S::Error>>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    A: Default + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let mut asked = request.clone();
    remove_conditions_and_ranges(&mut asked.headers);
    // The request of a fill is one of its own, and has no content, whatever the viewer's said.
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        asked.headers.remove(name);
    }
    asked.method = Method::GET;
    engine.mark(&mut asked.extensions);
    let directives = engine.directives(request);
    let fill = Fill { engine, target: Arc::clone(target), asked, directives, stored };
    tokio::spawn(async move { fill.run(inner, permit).await })
}

struct Fill {
    engine: Arc<Engine>,
    target: Arc<Target>,
    /// The request without conditions.
    asked: request::Parts,
    directives: RequestDirectives,
    stored: Known,
}

impl Fill {
    async fn run<S, A, B>(self, mut inner: Inner<S>, permit: Permit) -> Delivery<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let validated = match &self.stored {
            Known::Stale(entry) => self.validate(&mut inner, entry, &permit).await,
            Known::Others(variants) if !variants.is_empty() => {
                self.validate_any(&mut inner, variants, &permit).await
            }
            Known::Nothing | Known::Others(_) => Ok(self.call(&mut inner, self.asked.clone()).await),
        };
        let answer = match validated {
            Ok(answer) => answer,
            Err((landing, delivery)) => {
                permit.land(landing);
                return delivery;
            }
        };
        match answer {
            Ok((response, exchange)) => self.store(response, exchange, permit).await,
            Err(delivery) => {
                permit.land(Landing::Passed);
                delivery
            }
        }
    }

    /// Calls the inner service; the error is a delivery without an answer, failed or late.
    async fn call<S, A, B>(&self, inner: &mut Inner<S>, asked: request::Parts) -> Called<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Default + Send + 'static,
        B: Send + 'static,
    {
        let clock = &self.engine.config.clock;
        let (mut inner, request) = (inner.take(), Request::from_parts(asked, A::default()));
        let requested = clock.now();
        let mut answering: Answering<B, S::Error> = Box::pin(async move { inner.call(request).await });
        match timeout(self.engine.config.idle_limit, answering.as_mut()).await {
            Ok(Ok(response)) => Ok((response, Exchange { requested, received: clock.now() })),
            Ok(Err(error)) => Err(Delivery::Failed(error)),
            Err(_) => Err(Delivery::Late(answering)),
        }
    }

    /// Stores what the inner service answered, if it may be stored.
    async fn store<B, E>(&self, response: Response<B>, exchange: Exchange, permit: Permit) -> Delivery<B, E>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = response.into_parts();
        let admitted = self.admit(&parts, body.size_hint().exact(), exchange);
        let (length, generation, promise) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                // An error or a redirection may be this viewer's alone, or over in a moment.
                if refusal != Refusal::Status || parts.status.is_success() {
                    self.remember(refusal, &parts.headers);
                }
                // RFC 9111 §3.5: those without credentials may get what can be stored; the others have been remembered.
                let is_for_owner = refusal == Refusal::Authorization;
                permit.land(if is_for_owner { Landing::Broken } else { Landing::Passed });
                // RFC 9111 §3.5: what credentials brought says nothing of what others may have.
                let is_news = supersedes(parts.status) && refusal != Refusal::Authorization;
                if let (Known::Stale(stale), true) = (&self.stored, is_news) {
                    forget(&self.engine.records, stale).await;
                }
                return Delivery::Passed(Response::from_parts(parts, body), refusal);
            }
        };
        let mut pour = Pour {
            engine: &self.engine,
            layout: Layout { generation, chunk_size: self.chunk_size(), length: 0 },
            body: Collector::new(body, length),
            promise,
            promised_whole: length.is_some(),
            etag: (!has_validator(&parts.headers)).then(Xxh3::new),
        };
        let (refusal, in_hand) = match pour.all().await {
            Poured::All => {
                let draft = self.draft(&parts, pour.layout, pour.etag.take(), exchange);
                match self.commit(draft, &permit).await {
                    Ok(_) => {
                        permit.land(Landing::Stored(generation));
                        let withheld = only(&parts.headers, &self.withheld(&parts.headers));
                        return Delivery::Stored(Stored { generation, status: parts.status, withheld });
                    }
                    Err(refusal) => (refusal, Bytes::new()),
                }
            }
            Poured::Broken(refusal) => {
                if let Some(entry) = self.stand_in() {
                    permit.land(Landing::StoodIn(entry.generation()));
                    return Delivery::Usable(entry, Some(parts.status), Refusal::StaleIfError);
                }
                permit.land(Landing::Broken);
                return Delivery::Broken(parts.status, refusal);
            }
            Poured::Stopped(refusal, in_hand) => (refusal, in_hand),
        };
        self.remember(refusal, &parts.headers);
        permit.land(Landing::Passed);
        let salvage = Salvage { parts, stored: pour.layout, in_hand, rest: pour.body, refusal };
        Delivery::Salvaged(Box::new(salvage))
    }

    /// Whether the response may be stored and there is room for it.
    fn admit(
        &self,
        parts: &response::Parts,
        body_length: Option<u64>,
        exchange: Exchange,
    ) -> Result<(Option<u64>, Generation, Promise), Refusal> {
        let policy = &self.engine.config.policy;
        let asked = &self.asked.headers;
        let length = storable(asked, parts.status, &parts.headers, body_length, exchange, policy)?;
        let chunks = length.map_or(0, |length| length.div_ceil(u64::from(self.chunk_size())));
        let bytes = length.unwrap_or(0).saturating_add(chunks.saturating_mul(CHUNK_OVERHEAD));
        if !self.engine.budget.could_hold(bytes) {
            return Err(Refusal::TooLarge);
        }
        let promise = self.engine.budget.promise(bytes).ok_or(Refusal::NoRoom)?;
        let generation = Generation::random().ok_or(Refusal::StoreFailed)?;
        Ok((length, generation, promise))
    }

    /// What is to be found of a response once it is poured.
    fn draft(
        &self,
        parts: &response::Parts,
        layout: Layout,
        etag: Option<Xxh3>,
        exchange: Exchange,
    ) -> Draft {
        let withheld = self.withheld(&parts.headers);
        let mut headers = stored_fields(&parts.headers, &withheld, exchange.received);
        let own_etag = etag.is_some();
        if let Some(sum) = etag {
            // A quoted hexadecimal number is a valid field value.
            if let Ok(tag) = HeaderValue::try_from(format!("\"{:032x}\"", sum.digest128())) {
                headers.insert(header::ETAG, tag);
            }
        }
        Draft { status: parts.status, headers, exchange, layout, own_etag }
    }

    /// The fields that the response keeps from all but the viewer who asked.
    fn withheld(&self, response: &HeaderMap) -> Vec<HeaderName> {
        ResponseDirectives::heeded(response, self.engine.config.policy.targeted_fields()).withheld
    }

    /// The stored response, if it may stand in for an error.
    fn stand_in(&self) -> Option<Arc<Entry>> {
        let now = self.engine.config.clock.now();
        match &self.stored {
            Known::Stale(stale) if stale.freshness.stands_in(&self.directives, now) => {
                Some(Arc::clone(stale))
            }
            _ => None,
        }
    }

    /// As large as was set, and as the store can hold.
    fn chunk_size(&self) -> u32 {
        self.engine.records.chunk_size(self.engine.config.chunk_size.bytes())
    }

    /// Spares the next requests like this one a fill in vain.
    fn remember(&self, refusal: Refusal, response: &HeaderMap) {
        let selecting = match Vary::of(response) {
            Vary::Fields(names) => SelectingField::all(&names, &self.asked.headers),
            Vary::Anything | Vary::Nothing => Vec::new(),
        };
        let now = self.engine.config.clock.now();
        self.engine.passes.remember(&self.target.primary, selecting, refusal, now);
    }
}

/// An answer of the inner service, or the delivery that it ends in without one.
type Called<B, E> = Result<(Response<B>, Exchange), Delivery<B, E>>;
