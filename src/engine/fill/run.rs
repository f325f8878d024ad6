//! The order of a fill's steps: election, validation, storing.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    delivery::{Delivery, Ended, Filling, Order, Prior, Purpose},
    election::NotElected,
    first_part::Judged,
    invalidated::Seen,
    task::{Called, FillTask, window},
};
use crate::{
    clock::moment,
    counters::{Counters, EVENTS, FILL_ENDS, FILLS, Reason},
    engine::{
        fetch::fetcher::request_of_its_own,
        inner::Inner,
        state::{
            Engine,
            flight::{Landing, Permit},
            records::Waited,
        },
    },
    error::BoxError,
    format::key::CacheKey,
    observer::Event,
    semantics::{cache_status::Refusal, select::if_range},
    trace::{self, Work},
};

impl FillTask {
    /// Fills once the node has the lease, or ends as another node's fill does.
    pub(super) async fn run<S, A, B>(
        mut self,
        mut inner: Inner<S>,
        mut permit: Permit,
    ) -> Delivery<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let claim = match self.lease(&mut inner, &mut permit).await {
            Ok(()) => return self.go(inner, permit).await,
            Err(NotElected::Late(claim)) => claim,
            Err(not_elected) => return not_elected.land(permit),
        };
        let delivery = match self.stand_in() {
            Some(entry) => Delivery::Usable(entry, None, Refusal::StaleIfSilent),
            None => Delivery::Refused(Refusal::WaitedTooLong),
        };
        tokio::spawn(async move {
            match self.lease_late(*claim, &mut permit).await {
                Ok(()) => drop(self.go(inner, permit).await),
                Err(not_elected) => drop(not_elected.land::<B, S::Error>(permit)),
            }
        });
        delivery
    }
}

/// Starts a fill. Returns `None`, and ends the flight, if too many fills are under way.
///
/// When no request waits any more, the policy for abandoned fills decides how the fill goes on.
///
/// The fill sends the request without the client's conditions and ranges, because the stored response is for every
/// client. If a response is stored already, the fill adds the conditions of that response. In sliced mode, the fill
/// adds a range of its own, for the chunks that the client wants.
pub(crate) fn start<S, A, B>(
    engine: &Arc<Engine>,
    inner: Inner<S>,
    order: Order<'_>,
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
    let window = window(engine, &order);
    let Order { request, target, stored, purpose } = order;
    // A fill that a request waits for takes the place of a fill that no request waits for.
    let waiting = (purpose == Purpose::Client).then(|| permit.follower());
    let share = engine.budget.share(permit.waited_for());
    if !share.take_place(&engine.fills) {
        permit.land(Landing::Passed);
        return None;
    }
    let ending = Ending::of(&engine.counters, target.key.clone());
    let asked = request_of_its_own(engine, request);
    // The question whether a stored response is still good comes first.
    let is_free = !matches!(stored, Prior::Stale(_));
    let if_range = if_range(&request.headers).ok().flatten().filter(|_| is_free).cloned();
    let directives = engine.directives(request);
    let (engine, target) = (Arc::clone(engine), Arc::clone(target));
    let began = engine.config.clock.now();
    let (seen, forgoes) = (Seen::Nothing, false);
    let waited = match stored {
        Prior::Unknown(waited) => waited,
        _ => Waited::default(),
    };
    let fill = FillTask {
        engine,
        target,
        asked,
        directives,
        stored,
        began,
        seen,
        waited,
        forgoes,
        window,
        if_range,
        came_as_a_part: false,
        purpose,
        share,
    };
    let follower = waiting.unwrap_or_else(|| permit.follower());
    let work = match fill.reason() {
        Reason::Refresh => Work::Refresh,
        Reason::Validate => Work::Validate,
        _ => Work::Fill,
    };
    let key = ending.key.clone();
    let run = async move {
        let delivery = fill.run(inner, permit).await;
        ending.as_(end(&delivery));
        delivery
    };
    Some(Filling { task: tokio::spawn(trace::within(work, key.as_bytes(), run)), follower })
}

/// Counts the end of a fill, and tells of it.
struct Ending {
    counters: Arc<Counters>,
    key: CacheKey,
    began: Instant,
    /// The place among [`FILL_ENDS`].
    end: usize,
}

impl Ending {
    fn of(counters: &Arc<Counters>, key: CacheKey) -> Self {
        counters.add(EVENTS, FILLS, 1);
        counters.tell(|| Event::FillBegan { key: key.as_bytes() });
        Self { counters: Arc::clone(counters), key, began: moment(), end: STOPPED }
    }

    fn as_(mut self, end: usize) {
        self.end = end;
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let took = moment().saturating_duration_since(self.began);
        self.counters.add_duration(FILL_ENDS, self.end, took);
        let (key, end) = (self.key.as_bytes(), FILL_ENDS.counts.words.get(self.end));
        self.counters.tell(|| Event::FillEnded { key, end: end.copied().unwrap_or_default(), took });
    }
}

/// The place of a fill with this delivery among [`FILL_ENDS`].
fn end<B, E>(delivery: &Delivery<B, E>) -> usize {
    match delivery {
        Delivery::Broken(..) => 0,
        Delivery::Failed(_) | Delivery::Usable(_, _, Refusal::StaleIfError | Refusal::StaleIfFailed) => 1,
        Delivery::Late(_) | Delivery::Usable(_, _, Refusal::StaleIfSilent) => 2,
        Delivery::Salvaged(_) => 4,
        Delivery::Stored(_) | Delivery::Elsewhere(Landing::Stored(_)) => 6,
        Delivery::Passed(..) | Delivery::Refused(_) | Delivery::Elsewhere(_) | Delivery::Usable(..) => 3,
    }
}

/// The place of a fill whose task ended before it had an end of its own.
const STOPPED: usize = 5;

impl FillTask {
    /// Fills. This node has the lease by now, if the store has leases.
    async fn go<S, A, B>(mut self, mut inner: Inner<S>, permit: Permit) -> Delivery<B, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if let Prior::Sparse(entry) = &self.stored {
            let completed = self.complete(&mut inner, entry, &permit).await;
            if let Some((landing, delivery)) = completed.ended(entry) {
                permit.land(landing);
                return delivery;
            }
            self.stored = Prior::Nothing;
        }
        let called = match self.ask(&mut inner, &permit).await {
            Ok(called) => called,
            Err((landing, delivery)) => {
                permit.land(landing);
                return delivery;
            }
        };
        let called = match called {
            Ok((response, exchange)) => match self.judge(response, exchange) {
                Judged::Part(first) => return self.store_part(&mut inner, first, permit).await,
                Judged::Whole(response) => Ok((response, exchange)),
                Judged::All(response) => {
                    self.came_as_a_part = true;
                    Ok((response, exchange))
                }
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
        match called {
            Ok((response, exchange)) => self.store(&mut inner, response, exchange, permit).await,
            Err(delivery) => {
                // A request that joined after the fill had yielded tries again.
                let has_yielded = matches!(delivery, Delivery::Refused(Refusal::Abandoned));
                permit.land(if has_yielded { Landing::Abandoned } else { Landing::Passed });
                delivery
            }
        }
    }

    /// Asks the inner service for the response, with a question about the stored one if there is one.
    async fn ask<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        permit: &Permit,
    ) -> Result<Called<B, S::Error>, Ended<B, S::Error>>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match &self.stored {
            Prior::Stale(entry) => self.validate(inner, entry, permit).await,
            Prior::Others(variants) if !variants.is_empty() => {
                self.validate_any(inner, variants, permit).await
            }
            Prior::Gone(_) | Prior::Nothing | Prior::Others(_) | Prior::Sparse(_) | Prior::Unknown(_) => {
                Ok(self.call(inner, self.asked.clone()).await)
            }
        }
    }
}
