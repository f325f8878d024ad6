//! Stores a whole answer, and lets requests read it while it comes.
//!
//! RFC 9111 §3 (storing), §3.3 (incomplete responses).

use std::sync::Arc;

use bytes::Bytes;
use http::{header::HeaderMap, response, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;
use xxhash_rust::xxh3::Xxh3;

use super::{
    commit::Draft,
    delivery::{self, Delivery, Prior, Purpose, Stored},
    resume::Resumable,
    task::FillTask,
};
use crate::{
    clock::moment,
    engine::state::records::CHUNK_OVERHEAD,
    engine::{
        body::salvaged::Salvage,
        fetch::pour::{broken_by, Audience, Pace, Pour, Poured},
        inner::{body::InnerBody, Inner},
        state::{
            entry::Entry,
            flight::{Landing, Permit},
            run::End,
            supply::Running,
        },
    },
    error::BoxError,
    format::{key::Generation, manifest::Layout},
    semantics::{
        cache_status::Refusal,
        etag::has_validator,
        fields::{only, stored_fields},
        freshness::{Exchange, Freshness},
        partial::{gives_parts, Binding},
        range::ByteRange,
        storable::storable,
    },
    settings::Mode,
};

/// The permission to store a response.
struct Admitted {
    length: Option<u64>,
    generation: Generation,
    /// The store has no room for the whole.
    paced: bool,
}

/// The facts that a pour goes by.
struct Pouring {
    binding: Option<Binding>,
    length: Option<u64>,
    /// The response has no validator, so the cache makes a tag.
    tags: bool,
    /// Fields for the leader alone.
    withheld: HeaderMap,
    /// The run that readers wait for, once the response can be read.
    running: Option<Running>,
}

impl FillTask {
    /// Stores the inner answer, if it may be stored.
    pub(super) async fn store<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        response: Response<B>,
        exchange: Exchange,
        permit: Permit,
    ) -> Delivery<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = response.into_parts();
        let Admitted { length, generation, paced } =
            match self.admit(&parts, body.size_hint().exact(), exchange) {
                Ok(admitted) => admitted,
                Err(refusal) => {
                    self.refused(refusal, parts.status, &parts.headers, permit).await;
                    return Delivery::Passed(Response::from_parts(parts, body), refusal);
                }
            };
        let mut draft = self.draft(&parts, exchange);
        draft.layout = Layout { generation, chunk_size: self.chunk_size(), length: length.unwrap_or(0) };
        // RFC 9110 §14.2: only a 200 has parts.
        let binding = Binding::of(&draft.headers).filter(|_| parts.status == StatusCode::OK);
        let body = InnerBody::new(body, length);
        let share = Arc::clone(&self.share);
        let mut pour = Pour::new(&self.engine, generation, draft.layout.chunk_size, body, Some(share));
        pour.promised_whole = length.is_some() && !paced;
        pour.pace = match (paced, self.purpose) {
            (true, _) => Pace::OfReaders,
            (false, Purpose::Client) => Pace::OfReadersIfNeeded,
            (false, Purpose::Background) => Pace::Own,
        };
        pour.sum = binding.is_none().then(Xxh3::new);

        let withheld = only(&parts.headers, &self.withheld(&parts.headers));
        let tags = !has_validator(&parts.headers);
        let mut pouring = Pouring { binding, length, tags, withheld, running: None };
        let poured = self.pour(inner, &mut draft, &mut pour, &mut pouring, &permit).await;
        let Pouring { binding, tags, withheld, running, .. } = pouring;
        let stored = pour.layout();
        let is_read = running.is_some();
        let (refusal, in_hand, waited) = match poured {
            Poured::All => {
                let digest = pour.sum.take().map(|sum| sum.digest128());
                draft.layout = stored;
                draft.digest = digest;
                // If the whole does not fit, some of its chunks are gone by now.
                draft.sparse = pour.pace == Pace::OfReaders;
                if let (Some(digest), true, None) = (digest, tags, &running) {
                    draft.tag(digest);
                }
                if let Some(running) = running {
                    running.supply().complete(stored.length);
                    running.end(End::Done);
                }
                // Chunks that are gone must be fetched again for a later reader.
                let is_of_use = !draft.sparse || binding.is_some() && gives_parts(&parts.headers);
                let asked = moment();
                let committed =
                    if is_of_use { self.commit(draft, &permit).await } else { Err(Refusal::NoRoom) };
                match committed {
                    Ok(_) => {
                        permit.land(Landing::Stored(generation));
                        return Delivery::Stored(Stored { generation, status: parts.status, withheld });
                    }
                    Err(refusal) => (refusal, Bytes::new(), self.engine.records.waited_since(asked)),
                }
            }
            Poured::Broken(refusal) => {
                // If a body is longer than it said, its length is unknown.
                let bound = binding.and(length).filter(|length| pour.body.taken() <= *length);
                if self.stand_in().is_none() {
                    self.keep(draft, stored, bound, &permit).await;
                }
                return self.broken(parts.status, refusal, permit);
            }
            Poured::Deserted => {
                let is_kept = self.keep(draft, stored, binding.and(length), &permit).await;
                let landing = if is_kept { Landing::Stored(generation) } else { Landing::Abandoned };
                if let Some(running) = running {
                    running.end(End::Stopped);
                }
                permit.land(landing);
                return Delivery::Refused(Refusal::Abandoned);
            }
            Poured::Stopped(refusal, in_hand) => {
                if let Some(running) = running {
                    // The bytes before a silence are no whole chunk.
                    running.end(match refusal {
                        Refusal::InnerStalled => End::Stopped,
                        _ => End::Unstored(pour.next(), in_hand.clone()),
                    });
                }
                (refusal, in_hand, pour.waited)
            }
        };
        // If the body breaks before any byte has left the cache, the client can still get an error.
        let broken = if is_read { Ok(()) } else { pour.body.look_ahead(in_hand.len()).await };
        if let Err(error) = broken {
            return self.broken(parts.status, broken_by(&error), permit);
        }
        self.remember(refusal, &parts.headers);
        permit.land(delivery::landing(refusal));
        let (rest, waited) = (pour.body, self.waited.and(waited));
        Delivery::Salvaged(Box::new(Salvage { parts, stored, in_hand, rest, refusal, waited }))
    }

    /// Pours the body. If the body dies, another answer brings the rest.
    ///
    /// Unless the mode stores only whole responses, waiting requests read the response from its first chunk on.
    async fn pour<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        draft: &mut Draft,
        pour: &mut Pour<B>,
        pouring: &mut Pouring,
        permit: &Permit,
    ) -> Poured
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default,
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let is_read = self.engine.config.fill != Mode::Whole;
        let audience = Audience::Flight(permit, self.abandon(), pouring.length);
        let mut failures = 0;
        loop {
            let begins = is_read && pouring.running.is_none();
            let poured = if begins {
                pour.one(&audience, None).await
            } else {
                pour.all(&audience, pouring.running.as_ref()).await
            };
            match poured {
                Poured::Broken(refusal) => {
                    let of = Resumable {
                        headers: &draft.headers,
                        binding: pouring.binding.as_ref(),
                        length: pouring.length,
                        range: ByteRange { start: 0, end: u64::MAX },
                        failures: &mut failures,
                    };
                    if !self.resume(inner, of, pour).await {
                        return Poured::Broken(refusal);
                    }
                }
                // All promised bytes have come. The rest is the end, or bytes too many.
                Poured::All if begins && Some(pour.layout().length) == pouring.length => {
                    return pour.all(&audience, None).await;
                }
                Poured::All if begins && !pour.has_ended() => {
                    if pouring.tags {
                        // The sum of the content is not known yet, and a tag that a client gets now must hold later.
                        if let Some(Generation(tag)) = Generation::random() {
                            draft.tag(tag);
                        }
                    }
                    pouring.running = self.publish(draft, pouring, pour, permit);
                    // A response that cannot be read while it comes is poured as a whole.
                    if pouring.running.is_none() {
                        return pour.all(&audience, None).await;
                    }
                }
                poured => return poured,
            }
        }
    }

    /// Lets waiting requests read the stored chunks of the body, and the chunks to come.
    fn publish<B>(&self, draft: &Draft, pouring: &Pouring, pour: &Pour<B>, permit: &Permit) -> Option<Running>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let stored = pour.layout();
        let manifest = self.manifest(draft).ok()?;
        let supply = self.engine.supplies.open(&manifest, pouring.length, pouring.withheld.clone());
        let running = supply.pour(0..u64::MAX);
        running.landed(stored.chunks(), stored.length);
        // Before any request sees the supply: a request for a chunk far ahead must not wait for it.
        if pour.pace == Pace::OfReaders {
            supply.slow_down();
        }
        let mut entry =
            Entry::of(&self.engine.config.policy, manifest, self.target.primary.clone(), Bytes::new());
        entry.pouring = Some(supply);
        permit.pour(Arc::new(entry));
        Some(running)
    }

    /// Keeps the stored chunks for later fills, if a later fill can be sure that they are a part of its answer (RFC
    /// 9111 §3.3).
    async fn keep(&self, draft: Draft, stored: Layout, bound: Option<u64>, permit: &Permit) -> bool {
        let Some(length) = bound.filter(|_| stored.length > 0) else {
            return false;
        };
        // The stale response is whole and may still serve. A part must not replace it.
        if matches!(self.stored, Prior::Stale(_)) {
            return false;
        }
        let layout = Layout { length, ..stored };
        // The body may have died after its last byte. Then no chunk is missing.
        let sparse = stored.length < length;
        self.commit(Draft { layout, sparse, ..draft }, permit).await.is_ok()
    }

    /// Permits to store the response, if it may be stored and the store has room for it.
    fn admit(
        &self,
        parts: &response::Parts,
        body_length: Option<u64>,
        exchange: Exchange,
    ) -> Result<Admitted, Refusal> {
        if self.forgoes {
            return Err(Refusal::StoreFailed);
        }
        let (config, budget) = (&self.engine.config, &self.engine.budget);
        let (asked, path) = (&self.asked.headers, self.asked.uri.path());
        let length =
            storable(asked, path, parts.status, &parts.headers, body_length, exchange, &config.policy)?;
        // A response to a cookie may be for one client alone. Such a response does not replace one that other clients
        // may use without asking.
        if let Prior::Stale(stale) = &self.stored {
            let comes = Freshness::of(parts.status, &parts.headers, exchange, &config.policy);
            if comes.is_of_a_cookie() && stale.freshness.is_fresh(exchange.received) {
                return Err(Refusal::Cookie);
            }
        }
        let size = u64::from(self.chunk_size());
        let weight = |bytes: u64| bytes.saturating_add(bytes.div_ceil(size).saturating_mul(CHUNK_OVERHEAD));
        let bytes = weight(length.unwrap_or(0));
        let paced = !self.share.promise(bytes);
        if paced {
            // A response that is read while it comes needs room only for the chunks between the pour and its readers.
            let is_read = config.fill != Mode::Whole && self.purpose == Purpose::Client;
            let ahead = || weight(size.saturating_mul(config.lead(self.chunk_size()).saturating_add(1)));
            if !(is_read && self.share.promise(ahead())) {
                let could_be = is_read || budget.could_hold(bytes);
                return Err(if could_be { Refusal::NoRoom } else { Refusal::TooLarge });
            }
        }
        let generation = Generation::random().ok_or(Refusal::StoreFailed)?;
        Ok(Admitted { length, generation, paced })
    }

    /// Drafts the record of a response. The layout is still empty.
    fn draft(&self, parts: &response::Parts, exchange: Exchange) -> Draft {
        let withheld = self.withheld(&parts.headers);
        Draft {
            status: parts.status,
            headers: stored_fields(&parts.headers, &withheld, exchange.received),
            exchange,
            layout: Layout { generation: Generation(0), chunk_size: 1, length: 0 },
            own_etag: false,
            sparse: false,
            withdrawn: false,
            digest: None,
            by_uri: None,
        }
    }
}
