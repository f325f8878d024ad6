//! From the inner service to the store: one fill, in a task of its own.
//!
//! The only file that puts chunks and manifests. Chunks go first; the manifest's put is the commit.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{
    header::{self, HeaderName, HeaderValue},
    request, response, HeaderMap, Request, Response,
};
use http_body::Body;
use tokio::{task::JoinHandle, time::timeout};
use tower_service::Service;
use xxhash_rust::xxh3::Xxh3;

use super::{
    budget::Promise,
    collect::{Collected, Collector},
    flight::{Landing, Permit},
    inner::Inner,
    lookup::{decoded, Decoded, Target},
    Engine,
};
use crate::{
    error::BoxError,
    format::{
        key::{Generation, SelectingField, Slot},
        manifest::{Layout, Manifest, Record, Variants},
    },
    semantics::{
        cache_status::Refusal,
        etag::has_validator,
        fields::{remove_conditions_and_ranges, stored_fields},
        freshness::Exchange,
        storable::storable,
        vary::Vary,
    },
};

/// What a fill has for the request that led it.
pub(crate) enum Delivery<B, E> {
    /// The inner body broke its word before anything left: the viewer gets an error.
    Broken(Refusal),
    /// The inner service failed.
    Failed(E),
    /// The inner service takes too long for others to wait for it: here is its answer under way.
    Late(Answering<B, E>),
    /// The inner response may not be stored: here it is, untouched.
    Passed(Response<B>, Refusal),
    /// Storing stopped midway: here is the inner response, part stored, part in hand, part still to come.
    Salvaged(Box<Salvage<B>>),
    /// Committed under this generation.
    Stored(Generation),
}

/// A call of the inner service.
type Answering<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

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
/// The inner service gets the request without its conditions and ranges, for what is stored is for every viewer.
pub(crate) fn start<S, A, B>(
    engine: Arc<Engine>,
    inner: Inner<S>,
    request: &request::Parts,
    target: &Arc<Target>,
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
    engine.mark(&mut asked.extensions);
    let fill = Fill { engine, target: Arc::clone(target), request: asked.headers.clone() };
    let request = Request::from_parts(asked, A::default());
    tokio::spawn(async move { fill.run(inner, request, permit).await })
}

struct Fill {
    engine: Arc<Engine>,
    target: Arc<Target>,
    request: HeaderMap,
}

impl Fill {
    async fn run<S, A, B>(
        self,
        mut inner: Inner<S>,
        request: Request<A>,
        permit: Permit,
    ) -> Delivery<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        A: Send + 'static,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let clock = &self.engine.config.clock;
        let requested = clock.now();
        let mut answering: Answering<B, S::Error> = Box::pin(async move { inner.call(request).await });
        let (parts, body) = match timeout(self.engine.config.idle_limit, answering.as_mut()).await {
            Ok(Ok(response)) => response.into_parts(),
            Ok(Err(error)) => {
                permit.land(Landing::Passed);
                return Delivery::Failed(error);
            }
            Err(_) => {
                permit.land(Landing::Passed);
                return Delivery::Late(answering);
            }
        };
        let exchange = Exchange { requested, received: clock.now() };
        let admitted = self.admit(&parts, body.size_hint().exact(), exchange);
        let (length, generation, promise) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.remember(refusal, &parts.headers);
                permit.land(Landing::Passed);
                return Delivery::Passed(Response::from_parts(parts, body), refusal);
            }
        };
        let mut pour = Pour {
            fill: &self,
            layout: Layout { generation, chunk_size: self.chunk_size(), length: 0 },
            body: Collector::new(body, length),
            promise,
            promised_whole: length.is_some(),
            etag: (!has_validator(&parts.headers)).then(Xxh3::new),
        };
        let (refusal, in_hand) = match pour.all().await {
            Poured::All => {
                match self.commit(&parts, pour.layout, pour.etag.take(), exchange, &permit).await {
                    Ok(()) => {
                        permit.land(Landing::Stored(generation));
                        return Delivery::Stored(generation);
                    }
                    Err(refusal) => (refusal, Bytes::new()),
                }
            }
            Poured::Broken(refusal) => {
                permit.land(Landing::Broken);
                return Delivery::Broken(refusal);
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
        let length = storable(&self.request, parts, body_length, exchange, &self.engine.config.policy)?;
        let chunks = length.map_or(0, |length| length.div_ceil(u64::from(self.chunk_size())));
        let bytes = length.unwrap_or(0).saturating_add(chunks.saturating_mul(CHUNK_OVERHEAD));
        if !self.engine.budget.could_hold(bytes) {
            return Err(Refusal::TooLarge);
        }
        let promise = self.engine.budget.promise(bytes).ok_or(Refusal::NoRoom)?;
        let generation = Generation::random().ok_or(Refusal::StoreFailed)?;
        Ok((length, generation, promise))
    }

    /// As large as was set, and as the store can hold.
    fn chunk_size(&self) -> u32 {
        self.engine.records.chunk_size(self.engine.config.chunk_size.bytes())
    }

    /// Spares the next requests like this one a fill in vain.
    fn remember(&self, refusal: Refusal, response: &HeaderMap) {
        let selecting = match Vary::of(response) {
            Vary::Fields(names) => SelectingField::all(&names, &self.request),
            Vary::Anything | Vary::Nothing => Vec::new(),
        };
        let now = self.engine.config.clock.now();
        self.engine.passes.remember(&self.target.primary, selecting, refusal, now);
    }

    /// Makes what was poured a stored response, or says why not.
    async fn commit(
        &self,
        parts: &response::Parts,
        layout: Layout,
        etag: Option<Xxh3>,
        exchange: Exchange,
        permit: &Permit,
    ) -> Result<(), Refusal> {
        let mut headers = stored_fields(&parts.headers, exchange.received);
        if let Some(sum) = etag {
            // A quoted hexadecimal number is a valid field value.
            if let Ok(tag) = HeaderValue::try_from(format!("\"{:032x}\"", sum.digest128())) {
                headers.insert(header::ETAG, tag);
            }
        }
        let _committing = permit.commit().lock().await;
        if permit.is_revoked() {
            return Err(Refusal::Invalidated);
        }
        let (slot, selecting) = match Vary::of(&parts.headers) {
            Vary::Fields(names) => self.variant(&names).await?,
            Vary::Nothing => (self.target.primary.clone(), Vec::new()),
            Vary::Anything => return Err(Refusal::VaryAnything),
        };
        let key = self.target.key.clone();
        let manifest = Manifest { key, status: parts.status, headers, selecting, exchange, layout };
        let records = &self.engine.records;
        let put = records.put_record(&slot, &Record::Response(manifest)).await;
        let refusal = match put {
            // Whoever invalidates waits until this is over, and takes the key's own record out.
            Ok(()) if permit.is_revoked() => Refusal::Invalidated,
            Ok(()) => return Ok(()),
            Err(_) => Refusal::StoreFailed,
        };
        // A put that failed may have happened all the same: what is not committed must not be found.
        let _ = records.remove_record(&slot).await;
        Err(refusal)
    }

    /// The slot of the variant that this request selects, entered among the key's variants.
    async fn variant(&self, names: &[HeaderName]) -> Result<(Slot, Vec<SelectingField>), Refusal> {
        let known = decoded(&self.engine, &self.target.primary).await.ok().flatten();
        let known = match known.as_deref() {
            Some(Decoded::Variants(variants)) if variants.key == self.target.key => Some(variants),
            _ => None,
        };
        let variants = match known {
            Some(variants) if variants.selecting.first().is_some_and(|first| *first == names) => {
                variants.clone()
            }
            known => {
                let variants = self.with_selecting(known, names)?;
                let record = Record::Variants(variants.clone());
                let put = self.engine.records.put_record(&self.target.primary, &record).await;
                put.map_err(|_| Refusal::StoreFailed)?;
                variants
            }
        };
        let selecting = SelectingField::all(names, &self.request);
        Ok((Slot::variant(&self.target.key, variants.mark, &selecting), selecting))
    }

    /// The known variants with `names` put first, and no more sets of names than a lookup should try.
    fn with_selecting(&self, known: Option<&Variants>, names: &[HeaderName]) -> Result<Variants, Refusal> {
        let mark = match known {
            Some(known) => known.mark,
            None => Generation::random().ok_or(Refusal::StoreFailed)?,
        };
        let others = known.into_iter().flat_map(|known| &known.selecting).filter(|other| *other != names);
        let selecting = [names.to_vec()].into_iter().chain(others.cloned()).take(SELECTING_SETS).collect();
        Ok(Variants { key: self.target.key.clone(), mark, selecting })
    }
}

/// A body being put into the store.
struct Pour<'a, B> {
    fill: &'a Fill,
    /// What is in the store so far.
    layout: Layout,
    body: Collector<B>,
    promise: Promise,
    /// The promise was made for the whole length at once.
    promised_whole: bool,
    /// The sum that becomes the `ETag` of a response without a validator.
    etag: Option<Xxh3>,
}

enum Poured {
    All,
    Broken(Refusal),
    /// With the chunk that did not get into the store.
    Stopped(Refusal, Bytes),
}

impl<B> Pour<'_, B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Stores chunk after chunk, one in memory at a time.
    async fn all(&mut self) -> Poured {
        // A chunk size is 32 bits, and so is the smallest usize that tokio runs on.
        let size = usize::try_from(self.layout.chunk_size).unwrap_or(usize::MAX);
        let records = &self.fill.engine.records;
        for index in 0.. {
            let payload = match self.body.chunk(size, self.fill.engine.config.idle_limit).await {
                Ok(Collected::Chunk(payload)) => payload,
                Ok(Collected::End) => break,
                Ok(Collected::Stalled(payload)) => {
                    return Poured::Stopped(Refusal::InnerStalled, payload.freeze());
                }
                Err(error) if error.is_truncated() => return Poured::Broken(Refusal::ChangedLength),
                Err(_) => return Poured::Broken(Refusal::InnerFailed),
            };
            let length = u64::try_from(payload.len()).unwrap_or(u64::MAX);
            if self.body.taken() > self.fill.engine.config.policy.largest_body() {
                return Poured::Stopped(Refusal::TooLarge, payload.freeze());
            }
            let weight = length.saturating_add(CHUNK_OVERHEAD);
            if !self.promised_whole && !self.promise.grow(weight) {
                let in_all = self.promise.bytes().saturating_add(weight);
                let could_be = self.fill.engine.budget.could_hold(in_all);
                let refusal = if could_be { Refusal::NoRoom } else { Refusal::TooLarge };
                return Poured::Stopped(refusal, payload.freeze());
            }
            if let Some(sum) = &mut self.etag {
                sum.update(&payload);
            }
            if let Err((in_hand, _)) = records.put_chunk(self.layout.generation, index, payload).await {
                return Poured::Stopped(Refusal::StoreFailed, in_hand);
            }
            self.layout.length = self.layout.length.saturating_add(length);
        }
        Poured::All
    }
}

/// What a chunk weighs in a store beside its bytes, about: its trailer, its key, the store's own bookkeeping.
const CHUNK_OVERHEAD: u64 = 512;

/// Sets of selecting fields kept for one key; an inner service that varies its `Vary` more than this is refilled.
const SELECTING_SETS: usize = 4;
