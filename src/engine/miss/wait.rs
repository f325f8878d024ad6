//! Waits for a fill, the request's own or another's, and decides what the miss does next.

use std::{panic::resume_unwind, sync::Arc};

use http::{header::HeaderMap, request, Response, StatusCode};
use tokio::time::timeout;

use super::pass::is_for_another_try;
use crate::{
    engine::{
        body::ResponseBody,
        fetch::fetcher::Fetch,
        fill::delivery::{Delivery, Filling},
        serve,
        state::{
            entry::{Accepted, Entry, Target},
            flight::{Follower, Landing},
            Engine,
        },
    },
    futures::{race, Raced},
    semantics::cache_status::{Outcome, Refusal},
};

/// The next step of a miss after a flight.
pub(super) enum Next<R> {
    Answer(R),
    /// Send the request to the inner service, as if there were no cache.
    Forward,
    LookAgain,
    /// Look for the generation that was fetched, whatever its freshness. The fields are for this client alone.
    LookFor(Accepted, HeaderMap),
    /// Answer from this entry, though its record does not say that it may be used.
    Serve(Arc<Entry>),
}

impl Engine {
    /// Waits until another request's fill ends or can be read, but no longer than a follower may wait.
    pub(super) async fn follow<B>(
        &self,
        mut follower: Follower,
        fetcher: &Arc<dyn Fetch>,
        request: &request::Parts,
        outcome: &mut Outcome,
    ) -> Next<Response<ResponseBody<B>>> {
        let reader = follower.clone();
        let read = Outcome { collapsed: true, ..*outcome };
        let reading = self.reads(fetcher, reader, false, request, read);
        match timeout(self.config.follower_limit, race(follower.landing(), reading)).await {
            Ok(Raced::Second(Ok(response))) => Next::Answer(response),
            Ok(Raced::Second(Err(refusal))) => {
                outcome.refusal = Some(refusal);
                Next::Forward
            }
            Ok(Raced::First(landing)) => landed_elsewhere(landing, outcome),
            Err(_) => {
                outcome.refusal = Some(Refusal::WaitedTooLong);
                Next::Forward
            }
        }
    }

    /// Waits until this request's own fill ends or can be read.
    pub(super) async fn lead<B, E>(
        &self,
        filling: Option<Filling<B, E>>,
        fetcher: &Arc<dyn Fetch>,
        request: &request::Parts,
        target: &Target,
        outcome: &mut Outcome,
    ) -> Result<Next<Response<ResponseBody<B>>>, E>
    where
        B: Send + 'static,
        E: Send + 'static,
    {
        let Some(Filling { mut task, follower }) = filling else {
            outcome.refusal = Some(Refusal::TooManyFills);
            return Ok(Next::Forward);
        };
        let read = Outcome { stored: true, ..*outcome };
        let reading = self.reads(fetcher, follower, true, request, read);
        // The reading goes first: a fill that can be read may still end without a stored response.
        let landed = match race(reading, &mut task).await {
            Raced::Second(landed) => landed,
            Raced::First(Err(refusal)) => {
                outcome.refusal = Some(refusal);
                return Ok(Next::Forward);
            }
            Raced::First(Ok(response)) => {
                let rest = async move {
                    match task.await {
                        Ok(Delivery::Salvaged(salvage)) => Some(salvage),
                        Ok(_) | Err(_) => None,
                    }
                };
                return Ok(Next::Answer(response.map(|body: ResponseBody<B>| body.led(Box::pin(rest)))));
            }
        };
        let delivery = match landed {
            Ok(delivery) => delivery,
            // The inner service panicked. The panic goes on in its caller, as if the layer were not there.
            Err(stopped) => match stopped.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => return Ok(Next::Forward),
            },
        };
        let by = self.config.signature(Some(&target.key));
        Ok(match delivery {
            Delivery::Stored(stored) => {
                outcome.stored = stored.status != StatusCode::NOT_MODIFIED;
                outcome.forwarded_status = Some(stored.status);
                Next::LookFor(Accepted::Own(stored.generation), stored.withheld)
            }
            Delivery::Elsewhere(landing) => landed_elsewhere(landing, outcome),
            Delivery::Usable(entry, status, refusal) => {
                (outcome.forwarded_status, outcome.refusal) = (status, Some(refusal));
                Next::Serve(entry)
            }
            Delivery::Passed(response, refusal) => {
                outcome.refusal = Some(refusal);
                if is_for_another_try(&response, request) {
                    Next::Forward
                } else {
                    Next::Answer(serve::pass(response, *outcome, by, &self.config.policy))
                }
            }
            Delivery::Refused(refusal) => {
                outcome.refusal = Some(refusal);
                Next::Forward
            }
            Delivery::Salvaged(salvage) => {
                outcome.refusal = Some(salvage.refusal);
                serve::salvage(self, *salvage, *outcome, by).await.map_or(Next::Forward, Next::Answer)
            }
            Delivery::Broken(status, refusal) => {
                (outcome.forwarded_status, outcome.refusal) = (Some(status), Some(refusal));
                Next::Answer(serve::bad_gateway(refusal, *outcome, by))
            }
            Delivery::Late(answering) => {
                outcome.refusal = Some(Refusal::InnerStalled);
                let response = answering.await?;
                // A 304 answers the cache's question about the stored response. The client asked another question.
                if response.status() == StatusCode::NOT_MODIFIED {
                    Next::Forward
                } else {
                    Next::Answer(serve::pass(response, *outcome, by, &self.config.policy))
                }
            }
            Delivery::Failed(error) => return Err(error),
        })
    }
}

/// Returns the next step after a fill for another request, here or on another node.
fn landed_elsewhere<R>(landing: Landing, outcome: &mut Outcome) -> Next<R> {
    match landing {
        Landing::Stored(generation) => {
            outcome.collapsed = true;
            Next::LookFor(Accepted::Shared(generation), HeaderMap::new())
        }
        Landing::ForOne(generation) => Next::LookFor(Accepted::Another(generation), HeaderMap::new()),
        Landing::StoodIn(generation) => {
            (outcome.collapsed, outcome.refusal) = (true, Some(Refusal::StaleIfError));
            Next::LookFor(Accepted::StandIn(generation), HeaderMap::new())
        }
        Landing::Abandoned | Landing::Broken => Next::LookAgain,
        Landing::Passed => Next::Forward,
    }
}
