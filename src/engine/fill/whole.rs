//! Stores a whole answer, and lets requests read it while it comes.
//!
//! RFC 9111 §3 (storing), §3.3 (incomplete responses).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::HeaderMap, response};
use http_body::Body;
use tower_service::Service;
use xxhash_rust::xxh3::Xxh3;

use super::{
    admission::Admitted,
    delivery::{self, Delivery, Prior, Purpose, Stored},
    draft::Draft,
    resume::Resumable,
    task::FillTask,
};
use crate::{
    clock::moment,
    engine::{
        body::salvaged::Salvage,
        fetch::{
            audience::Audience,
            pour::{Pour, Poured},
            room::Pace,
        },
        inner::{
            Inner,
            chunks::{InnerBody, broken_by},
        },
        state::{
            entry::Entry,
            flight::{Landing, Permit},
            records::{Stretch, Waited},
            run::{End, InParts},
            supply::Running,
        },
    },
    error::BoxError,
    format::layout::Layout,
    semantics::{
        cache_status::Refusal,
        etag::has_validator,
        fields::only,
        freshness::Exchange,
        partial::{Binding, gives_parts},
        range::ByteRange,
    },
    settings::{Abandon, Mode},
};

impl FillTask {
    /// How long a body of unknown length is stored.
    fn endless_limit(&self) -> Duration {
        let config = &self.engine.config;
        // In this mode the clients wait meanwhile.
        if config.fill.mode == Mode::Whole && self.purpose == Purpose::Client {
            return config.timeouts.endless.min(config.timeouts.follower);
        }
        config.timeouts.endless
    }

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
        match self.admit(&parts, body.size_hint().exact(), exchange) {
            Ok(admitted) => {
                permit.tell(&admitted.draft.membership);
                let mut whole = WholeFill::new(self, admitted, parts, body, permit);
                let poured = whole.pour(inner).await;
                whole.settle(poured).await
            }
            Err(refusal) => {
                self.refused(refusal, parts.status, &parts.headers, permit).await;
                // A part answers the range that the fill asked for, and not the client's request.
                if self.came_as_a_part {
                    return Delivery::Refused(refusal);
                }
                Delivery::Passed(Response::from_parts(parts, body), refusal)
            }
        }
    }
}

/// A whole answer on its way into the store.
struct WholeFill<'a, B> {
    fill: &'a FillTask,
    permit: Permit,
    parts: response::Parts,
    /// The record to commit.
    draft: Draft,
    pour: Pour<B>,
    binding: Option<Binding>,
    length: Option<u64>,
    /// The response has no validator, so the cache makes a tag once all of the content is known.
    tags: bool,
    /// Fields for the leader alone.
    withheld: HeaderMap,
    /// Whether parts of the response can be had by other runs. If so, the fill need not bring all of it.
    in_parts: InParts,
    /// Requests may read the response while it comes.
    is_read: bool,
    /// The run that readers wait for. `None` before the response can be read, and after the run has ended.
    running: Option<Running>,
}

impl<'a, B> WholeFill<'a, B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn new(fill: &'a FillTask, admitted: Admitted, parts: response::Parts, body: B, permit: Permit) -> Self {
        let Admitted { draft, length, paced } = admitted;
        // RFC 9110 §14.2: only a 200 has parts.
        let binding = Binding::of(&draft.headers).filter(|_| parts.status == StatusCode::OK);
        let (body, share) = (InnerBody::new(body, length, fill.meter()), Arc::clone(&fill.share));
        let Layout { generation, chunk_size, .. } = draft.layout;
        let mut pour = Pour::new(&fill.engine, generation, chunk_size, body, Some(share));
        pour.complete = length;
        pour.endless_at = if length.is_none() { moment().checked_add(fill.endless_limit()) } else { None };
        pour.keeps = binding.is_some() && length.is_some();
        pour.room.is_for_all = length.is_some() && !paced;
        pour.room.pace = match (paced, fill.purpose) {
            (true, _) => Pace::OfReaders,
            (false, Purpose::Client) => Pace::OfReadersIfNeeded,
            (false, Purpose::Background) => Pace::Own,
        };
        pour.sum = binding.is_none().then(Xxh3::new);
        pour.scanner = fill.scanner(parts.status, &parts.headers);
        let withheld = only(&parts.headers, &fill.withheld(&parts.headers));
        let tags = !has_validator(&parts.headers);
        let is_bound = binding.is_some() && length.is_some();
        let in_parts = if is_bound { fill.in_parts(&parts.headers) } else { InParts::No };
        Self {
            fill,
            permit,
            parts,
            draft,
            pour,
            binding,
            length,
            tags,
            withheld,
            in_parts,
            is_read: false,
            running: None,
        }
    }

    /// Pours the body. If the body dies, another answer brings the rest.
    ///
    /// Unless the mode stores only whole responses, waiting requests read the response from its first chunk on.
    async fn pour<S, A>(&mut self, inner: &mut Inner<S>) -> Poured
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        A: Default,
    {
        let may_be_read = self.fill.engine.config.fill.mode != Mode::Whole;
        let mut failures = 0;
        // A pour that can be continued by parts brings nothing that nobody waits for.
        let abandon = if self.in_parts == InParts::Yes { Abandon::Stop } else { self.fill.abandon() };
        loop {
            let begins = may_be_read && !self.is_read;
            let audience = Audience::Flight(&self.permit, abandon, self.length);
            let poured = if begins {
                self.pour.first(&audience).await
            } else {
                self.pour.all(&audience, self.running.as_ref()).await
            };
            match poured {
                Poured::Broken(refusal) => {
                    let of = Resumable {
                        headers: &self.draft.headers,
                        binding: self.binding.as_ref(),
                        length: self.length,
                        range: ByteRange { start: 0, end: u64::MAX },
                        failures: &mut failures,
                    };
                    if !self.fill.resume(inner, of, &mut self.pour).await {
                        return Poured::Broken(refusal);
                    }
                }
                // All promised bytes have come. The rest is the end, or bytes too many.
                Poured::All if begins && Some(self.pour.layout().length) == self.length => {
                    return self.pour.all(&audience, None).await;
                }
                Poured::All if begins && !self.pour.has_ended() => {
                    self.publish();
                    // Other nodes need not wait for the end, which comes only as fast as the clients here read.
                    if self.is_read && self.in_parts == InParts::Yes {
                        self.keep(self.length).await;
                    }
                    // A response that cannot be read while it comes is poured as a whole.
                    if !self.is_read {
                        let audience = Audience::Flight(&self.permit, abandon, self.length);
                        return self.pour.all(&audience, None).await;
                    }
                }
                poured => return poured,
            }
        }
    }

    /// Lets waiting requests read the stored chunks of the body, and the chunks to come.
    fn publish(&mut self) {
        // Without a validator the response has no tag yet: the sum of its content is not known, and a client that gave
        // another tag back later would be thrown out.
        let Ok(manifest) = self.fill.manifest(&self.draft) else {
            return;
        };
        let FillTask { engine, target, .. } = self.fill;
        let stored = self.pour.layout();
        let supply = engine.supplies.open(&manifest, self.length, self.withheld.clone());
        // The supply is new, or was opened for the same fill.
        let _ = supply.in_parts.set(self.in_parts);
        supply.came_as_a_part.store(self.fill.came_as_a_part, Ordering::Relaxed);
        let running = supply.pour();
        running.landed(self.pour.landed(), stored.length);
        // Before any request sees the supply: a request for a chunk far ahead must not wait for it.
        if self.pour.room.pace == Pace::OfReaders {
            supply.readers.slow_the_fill_down();
        }
        let mut entry = Entry::of(&engine.config.policy, manifest, target.primary.clone(), Bytes::new());
        entry.pouring = Some(supply);
        self.permit.pour(Arc::new(entry));
        (self.is_read, self.running) = (true, Some(running));
    }

    /// Ends the flight of a pour that has ended.
    async fn settle<E>(self, poured: Poured) -> Delivery<B, E> {
        match poured {
            Poured::All => self.finish().await,
            Poured::Broken(refusal) => self.give_up(refusal).await,
            Poured::Deserted | Poured::Met => self.abandon().await,
            Poured::Stopped(refusal, in_hand) => self.stop(refusal, in_hand).await,
        }
    }

    /// Commits a body that was poured to its end.
    async fn finish<E>(mut self) -> Delivery<B, E> {
        self.draft.layout = self.pour.layout();
        self.draft.digest = self.pour.sum.take().map(|sum| sum.digest128());
        self.draft.playlist = self.pour.playlist(self.draft.layout.length);
        // If the whole does not fit, some of its chunks are gone by now.
        self.draft.sparse = self.pour.room.pace == Pace::OfReaders;
        if let (Some(digest), true) = (self.draft.digest, self.tags) {
            self.draft.tag(digest);
        }
        let Layout { generation, length, .. } = self.draft.layout;
        if let Some(running) = self.running.take() {
            running.supply().complete(length);
            running.end(End::Done);
        }
        // Chunks that are gone must be fetched again for a later reader.
        let is_of_use = !self.draft.sparse || self.binding.is_some() && gives_parts(&self.parts.headers);
        let asked = moment();
        let committed = if is_of_use {
            self.fill.commit(&self.draft, &self.permit).await.map(drop)
        } else {
            Err(Refusal::NoRoom)
        };
        if let Err(refusal) = committed {
            let waited = self.fill.engine.records.waited_since(asked);
            return self.salvage(refusal, Bytes::new(), waited).await;
        }
        // If the answer is selected by other fields than the stale response, that one is still stored beside it.
        self.fill.heed(Refusal::Status, self.parts.status, &self.permit).await;
        self.permit.land(Landing::Stored(generation));
        let status = Some(self.fill.came(self.parts.status));
        Delivery::Stored(Stored { generation, status, withheld: self.withheld })
    }

    /// Keeps the stored chunks of a body that broke its word, if they are of use.
    async fn give_up<E>(mut self, refusal: Refusal) -> Delivery<B, E> {
        // If a body is longer than it said, its length is unknown.
        let length = self.length.filter(|length| self.pour.body.taken() <= *length);
        if self.fill.stand_in().is_none() {
            self.keep(length).await;
        }
        self.fill.broken(self.fill.came(self.parts.status), refusal, self.permit)
    }

    /// Keeps the stored bytes of a body whose rest no request waits for, if they are of use.
    async fn abandon<E>(mut self) -> Delivery<B, E> {
        let generation = self.draft.layout.generation;
        let is_kept = self.keep(self.length).await;
        if let Some(running) = self.running {
            running.end(End::Stopped);
        }
        self.permit.land(if is_kept { Landing::Stored(generation) } else { Landing::Abandoned });
        Delivery::Refused(Refusal::Abandoned)
    }

    /// Hands the chunk in hand to its readers, after the store did not take it or the body fell silent.
    async fn stop<E>(mut self, refusal: Refusal, in_hand: Bytes) -> Delivery<B, E> {
        if let Some(running) = self.running.take() {
            // The bytes before a silence are no whole chunk.
            running.end(match refusal {
                Refusal::InnerStalled => End::Stopped,
                _ => End::Unstored(Stretch { start: self.pour.at(), bytes: in_hand.clone() }),
            });
        }
        let waited = self.pour.waited;
        self.salvage(refusal, in_hand, waited).await
    }

    /// Hands the response over to the leader, after storing has stopped.
    async fn salvage<E>(mut self, refusal: Refusal, in_hand: Bytes, waited: Waited) -> Delivery<B, E> {
        // If the body breaks before any byte has left the cache, the client can still get an error.
        if !self.is_read {
            if let Err(error) = self.pour.body.look_ahead(in_hand.len()).await {
                return self.fill.broken(self.fill.came(self.parts.status), broken_by(&error), self.permit);
            }
        }
        self.fill.remember(refusal, &self.parts.headers);
        self.permit.land(delivery::landing(refusal));
        if self.fill.came_as_a_part && !self.is_read {
            return Delivery::Refused(refusal);
        }
        let (stored, waited) = (self.pour.layout(), self.fill.waited.and(waited));
        let (parts, rest) = (self.parts, self.pour.body);
        Delivery::Salvaged(Box::new(Salvage { parts, stored, in_hand, rest, refusal, waited }))
    }

    /// Keeps the stored chunks for later fills, and says whether it did. A later fill must be sure that they are a part
    /// of its answer (RFC 9111 §3.3), so the response needs a strong validator and a known length.
    async fn keep(&mut self, length: Option<u64>) -> bool {
        let stored = self.pour.layout();
        let is_of_use = self.binding.is_some() && self.pour.landed() > 0;
        let Some(length) = length.filter(|_| is_of_use) else {
            return false;
        };
        // The stale response is whole and may still serve. A part must not replace it.
        if matches!(self.fill.stored, Prior::Stale(_)) {
            return false;
        }
        self.draft.layout = Layout { length, ..stored };
        // The body may have died after its last byte. Then no chunk is missing.
        self.draft.sparse = stored.length < length;
        self.fill.commit(&self.draft, &self.permit).await.is_ok()
    }
}
