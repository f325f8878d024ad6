//! Takes a missed request from step to step until it has an answer.

use std::{mem, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response, header::HeaderMap};
use http_body::Body;
use tower_service::Service;

use super::{heal::HealFailed, request::Miss, viewer::Viewer, wait::Next};
use crate::{
    counters::{EVENTS, FOLLOWERS},
    engine::{
        body::ResponseBody,
        fill::{
            delivery::{Order, Prior, Purpose},
            run,
        },
        hit::{Answer, Missed, MissedRequest},
        inner::Inner,
        lookup::{Look, lookup},
        serve,
        state::{
            Engine,
            entry::{Accepted, Entry},
            flight::{Landing, Role},
            purges::Judgement,
            records::Waited,
        },
    },
    error::BoxError,
    format::key::lease_key,
    semantics::{
        cache_status::{Outcome, Refusal},
        freshness::Reuse,
        purge::{Membership, Position},
        range::Wanted,
        reference::origin,
        signature::is_sealed,
    },
};

/// Answers a missed request: leads or follows a fill, and looks again. After the last look, the request goes to the
/// inner service as the client sent it.
pub(crate) async fn answer_miss<S, A, B>(
    engine: Arc<Engine>,
    mut inner: Inner<S>,
    missed_request: MissedRequest<A>,
    missed: Missed,
) -> Result<Response<ResponseBody<B>>, S::Error>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Default + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let MissedRequest { parts: request, body, target, directives } = missed_request;
    // RFC 9111 §5.2.1.7
    if directives.only_if_cached {
        let by = engine.config.signature(Some(&target.key));
        return Ok(serve::gateway_timeout(&request.method, by));
    }
    engine.rankings.add_missed(target.key.as_bytes());
    let fetcher = Viewer::<S, A>::beside(&engine, &inner, &request, &target);
    let mut miss = Miss {
        engine,
        request,
        target,
        directives,
        fetcher,
        missed,
        outcome: Outcome::default(),
        accepted: Accepted::Nothing,
        withheld: HeaderMap::new(),
        has_led: false,
    };
    for look in 1.. {
        match miss.step(&mut inner, look == LOOKS).await? {
            Next::Answer(response) => return Ok(response),
            Next::Validate(entry, question) => return miss.validate(inner, body, entry, question).await,
            Next::Forward => break,
            // The fields belong to the answer that brought the response, not to an answer that completed it.
            Next::LookFor(found, withheld) if found != miss.accepted => {
                (miss.accepted, miss.withheld) = (found, withheld);
            }
            Next::LookAgain | Next::LookFor(..) => {}
        }
        match miss.look().await {
            Ok(response) => return Ok(response),
            Err(again) => miss.missed = again,
        }
    }
    (miss.outcome.stored, miss.outcome.collapsed) = (false, false);
    let stale = mem::take(&mut miss.missed.stored).stale();
    miss.pass(inner, body, stale).await
}

impl Miss {
    /// Takes the request one step on, by itself or in a flight.
    async fn step<S, A, B>(
        &mut self,
        inner: &mut Inner<S>,
        is_last_look: bool,
    ) -> Result<Next<Response<ResponseBody<B>>>, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.outcome.forwarded.get_or_insert(self.missed.reason);
        if let Some(next) = self.without_a_flight(inner, is_last_look).await {
            return Ok(next);
        }
        let purges = self.engine.purges.position();
        let is_of_old = self.leave_a_purged_flight(purges).await;
        let next = match self.engine.flights.join(&self.missed.slot, &self.target.primary, purges) {
            Role::Follow(follower) => {
                self.engine.counters.add(EVENTS, FOLLOWERS, 1);
                inner.release();
                match self.follow(follower).await {
                    // The response that it stored is judged as any other one. If a purge names it, one request validates
                    // it for all.
                    Next::LookFor(Accepted::Shared(_), _) if is_of_old => {
                        self.outcome.collapsed = false;
                        Next::LookAgain
                    }
                    next => next,
                }
            }
            Role::Lead(permit) => {
                if let Some((landing, next)) = self.instead_of_a_fill().await {
                    permit.land(landing);
                    next
                } else {
                    let (stored, inner) = (self.take_prior(), inner.take());
                    self.has_led = true;
                    let Self { engine, request, target, .. } = &*self;
                    let order = Order { request, target, stored, purpose: Purpose::Client };
                    let filling = run::start(engine, inner, order, permit);
                    self.lead(filling).await?
                }
            }
        };
        // A response that another node stored is no fill of this request's own.
        self.has_led &= !matches!(next, Next::LookFor(Accepted::Shared(_), _));
        Ok(match next {
            Next::Forward => self.stand_in().await.map_or(Next::Forward, Next::Answer),
            next => next,
        })
    }

    /// Takes the place of a flight that began before a purge of its response. As long as the groups of the response are not
    /// known, the flight may be joined: the response is judged when it is there.
    ///
    /// Returns whether there is a flight that began when other purges were known, and may be joined.
    async fn leave_a_purged_flight(&self, purges: Position) -> bool {
        let Self { engine, missed, target, request, .. } = self;
        let Some(begun) = engine.flights.begun_before(&missed.slot, purges) else { return false };
        let membership = begun.membership.clone().unwrap_or_else(|| Membership::of(&origin(request), []));
        let judgement = engine.purges.judge_named(begun.purges, target.key.as_bytes(), &membership);
        if judgement == Judgement::Kept {
            return true;
        }
        engine.flights.revoke_begun(&missed.slot, &begun);
        if let Some(holder) = begun.holder {
            // Otherwise this node would wait for itself. If the store fails, it waits for the old flight to end. The lease may
            // be another node's by now, so it is given back under the name of the flight.
            let _ = engine.records.release(&lease_key(&missed.slot), &holder).await;
        }
        false
    }

    /// The next step of a request that needs no flight, or has no use for one.
    async fn without_a_flight<S: Clone, B>(
        &mut self,
        inner: &mut Inner<S>,
        is_last_look: bool,
    ) -> Option<Next<Response<ResponseBody<B>>>> {
        if is_sealed(&self.request) {
            return Some(self.refuse(Refusal::Signed));
        }
        if let Some((entry, question)) = self.own_question() {
            return Some(Next::Validate(entry, question));
        }
        if let Some(refusal) = self.missed.for_the_origin {
            return Some(self.refuse(refusal));
        }
        // A stale response stood in for an error, and this request may not have it stale. So it asks by itself.
        if matches!(self.accepted, Accepted::StandIn(_)) {
            self.outcome.refusal = None;
            return Some(Next::Forward);
        }
        if let Some((entry, gone)) = self.missed.gone.take() {
            inner.release();
            self.missed.gone_before = Some(entry.generation());
            match self.heal(&entry, gone).await {
                Ok(response) => return Some(Next::Answer(response)),
                Err(HealFailed::Forgotten) => {}
                Err(HealFailed::Now(refusal)) => return Some(self.refuse(refusal)),
            }
        }
        if self.gives_up(is_last_look) {
            return Some(Next::Forward);
        }
        if self.request.method == Method::HEAD {
            return Some(self.read_head().await.map_or(Next::Forward, Next::Answer));
        }
        let is_for_a_part = Wanted::of(&self.request.headers) != Wanted::From(0);
        if is_for_a_part
            && !matches!(self.missed.stored, Prior::Stale(_) | Prior::Sparse(_))
            && self.engine.has_unbound_parts(&self.target.primary, &self.request)
        {
            return Some(self.refuse(Refusal::NoParts));
        }
        let Engine { config, uncacheable, .. } = &*self.engine;
        let now = config.clock.now();
        let refusal = uncacheable.recall(&self.target.primary, &self.request.headers, now)?;
        Some(self.refuse(refusal))
    }

    /// Looks once more: the answer, or why there is none.
    async fn look<B>(&mut self) -> Result<Response<ResponseBody<B>>, Missed> {
        let Self { engine, request, target, directives, accepted, outcome, .. } = &*self;
        let Answer { mut response, of, .. } =
            engine.look(target, request, directives, *accepted, *outcome).await?;
        // The withheld fields go with the response that they came with, not with another one stored since.
        if self.accepted == Accepted::Own(of) {
            response.headers_mut().extend(mem::take(&mut self.withheld));
        }
        response.body_mut().supply(|| Arc::clone(&self.fetcher));
        Ok(response)
    }

    /// Answers from the stale response if the request waited too long for a better one.
    ///
    /// In any other case the stale response is of no more use: the leader's answer replaced it, or the fill failed and
    /// could not use it.
    async fn stand_in<B>(&mut self) -> Option<Response<ResponseBody<B>>> {
        let stale = mem::take(&mut self.missed.stored).stale();
        let entry = stale.filter(|_| self.outcome.refusal == Some(Refusal::WaitedTooLong))?;
        if !entry.stands_in(&self.directives, self.engine.config.clock.now()) {
            return None;
        }
        self.outcome.refusal = Some(Refusal::StaleIfSilent);
        self.serve(&entry).await
    }

    /// Decides how a flight lands that needs no fill or cannot fill, and what its leader does then. Returns `None` if
    /// the leader must fill.
    async fn instead_of_a_fill<R>(&mut self) -> Option<(Landing, Next<R>)> {
        if let Some(landing) = self.landed_before().await {
            // The request was not forwarded: the next look gives the reason that is reported.
            self.outcome.forwarded = None;
            return Some((landing, Next::LookAgain));
        }
        self.stops_waiting().then_some((Landing::Passed, Next::Forward))
    }

    /// Returns the landing of this flight if an earlier flight stored the response after this request's look and before
    /// its join.
    async fn landed_before(&mut self) -> Option<Landing> {
        let Self { engine, request, target, directives, accepted, missed, .. } = self;
        // The entry was found before the join. An invalidation may have removed it since, and no later step would
        // notice.
        if matches!(missed.stored, Prior::Sparse(_)) {
            missed.stored = Prior::Unknown(Waited::default());
        }
        // The store failed a moment ago, and a second failure may take long. So it is not asked again.
        if missed.store_failed.is_some() {
            return None;
        }
        let is_asked_about = |entry: &Entry| match &missed.stored {
            Prior::Stale(asked) => asked.record == entry.record,
            _ => false,
        };
        match lookup(engine, target, &request.headers, directives, *accepted).await {
            // It is fresh, and the request wants better all the same.
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated, _) if is_asked_about(&entry) => None,
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated, _)
                if engine.is_half_good(&entry, request, directives) =>
            {
                missed.stored = Prior::Sparse(entry);
                None
            }
            Look::Found(entry, Reuse::AsItIs | Reuse::WhileRevalidated, _) => {
                let generation = Some(entry.generation()).filter(|found| Some(*found) != missed.gone_before);
                generation.map(Landing::Stored)
            }
            // This request must ask about the entry by itself.
            Look::Found(_, Reuse::ValidatedForOne(_), _) => Some(Landing::Broken),
            Look::Failed(waited) if engine.records.is_enough(waited) => {
                missed.store_failed = Some(waited);
                None
            }
            Look::Found(_, Reuse::Validated(_), _) | Look::Failed(_) | Look::Nothing(..) => None,
        }
    }
}

/// The most looks at the store for one request: the first, one after a wait, one after a fill.
const LOOKS: u32 = 3;
