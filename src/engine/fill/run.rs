//! The order of a fill's steps: election, validation, storing.

use std::sync::Arc;

use bytes::Bytes;
use http::{request, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{
    complete::Completed,
    delivery,
    election::NotGiven,
    first_part::Judged,
    task::{window, Fill},
};
use super::{
    delivery::{Delivery, Filling, For, Known},
    invalidated::Seen,
};
use crate::{
    engine::{
        fetch::fetcher::request_of_its_own,
        inner::Inner,
        state::{
            entry::Target,
            flight::{Landing, Permit},
            records::Waited,
            Engine,
        },
    },
    error::BoxError,
    semantics::cache_status::Refusal,
};

impl Fill {
    /// Fills once it has the lease, or ends as another node's fill does.
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
            Err(NotGiven::Late(claim)) => claim,
            Err(not_given) => return not_given.land(permit),
        };
        let delivery = match self.stand_in() {
            Some(entry) => Delivery::Usable(entry, None, Refusal::StaleIfSilent),
            None => Delivery::Refused(Refusal::WaitedTooLong),
        };
        tokio::spawn(async move {
            match self.lease_late(*claim, &mut permit).await {
                Ok(()) => drop(self.go(inner, permit).await),
                Err(not_given) => drop(not_given.land::<B, S::Error>(permit)),
            }
        });
        delivery
    }
}

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
    if !share.take_place(&engine.fills) {
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
                    permit.land(delivery::landing(refusal));
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
}
