//! Waits for a fill, the request's own or another's, and decides what the miss does next.

use std::{panic::resume_unwind, sync::Arc};

use http::{Response, StatusCode, header::HeaderMap};
use tokio::{task::JoinError, time::timeout};

use super::{
    pass::{Question, is_for_another_try},
    read_along::NotRead,
    request::Miss,
};
use crate::{
    engine::{
        body::ResponseBody,
        fill::delivery::{Delivery, Filling},
        serve,
        state::{
            entry::{Accepted, Entry},
            flight::{Follower, Landing},
        },
    },
    futures::{Raced, race},
    semantics::cache_status::{Outcome, Refusal},
};

/// The next step of a miss.
pub(super) enum Next<R> {
    Answer(R),
    /// Send the request to the inner service, as if there were no cache.
    Forward,
    LookAgain,
    /// Look for the generation that was fetched, whatever its freshness. The fields are for this client alone.
    LookFor(Accepted, HeaderMap),
    /// Ask this question about the entry, for this request alone.
    Validate(Arc<Entry>, Question),
}

impl Miss {
    /// Waits until another request's fill ends or can be read, but no longer than a follower may wait.
    pub(super) async fn follow<B>(&mut self, mut follower: Follower) -> Next<Response<ResponseBody<B>>> {
        let reading = self.reads(follower.clone(), false);
        let waiting = race(follower.landing(), reading);
        match timeout(self.engine.config.timeouts.follower, waiting).await {
            Ok(Raced::Second(Ok(response))) => Next::Answer(response),
            Ok(Raced::Second(Err(NotRead::Purged))) => Next::LookAgain,
            Ok(Raced::Second(Err(NotRead::Refused(refusal)))) => self.refuse(refusal),
            Ok(Raced::First(landing)) => self.landed_elsewhere(landing),
            Err(_) => self.refuse(Refusal::WaitedTooLong),
        }
    }

    /// Waits until this request's own fill ends or can be read.
    pub(super) async fn lead<B, E>(
        &mut self,
        filling: Option<Filling<B, E>>,
    ) -> Result<Next<Response<ResponseBody<B>>>, E>
    where
        B: Send + 'static,
        E: Send + 'static,
    {
        let Some(Filling { mut task, follower }) = filling else {
            return Ok(self.refuse(Refusal::TooManyFills));
        };
        // The reading goes first: a fill that can be read may still end without a stored response.
        match race(self.reads(follower, true), &mut task).await {
            Raced::First(Ok(response)) => {
                let rest = async move {
                    match task.await {
                        Ok(Delivery::Salvaged(salvage)) => Some(salvage),
                        Ok(_) | Err(_) => None,
                    }
                };
                Ok(Next::Answer(response.map(|body: ResponseBody<B>| body.led(Box::pin(rest)))))
            }
            Raced::First(Err(NotRead::Purged)) => Ok(Next::LookAgain),
            Raced::First(Err(NotRead::Refused(refusal))) => Ok(self.refuse(refusal)),
            Raced::Second(Ok(delivery)) => self.take(delivery).await,
            Raced::Second(Err(stopped)) => Ok(forward_or_panic(stopped)),
        }
    }

    /// Takes the delivery of this request's own fill.
    async fn take<B, E>(&mut self, delivery: Delivery<B, E>) -> Result<Next<Response<ResponseBody<B>>>, E> {
        Ok(match delivery {
            Delivery::Stored(stored) => {
                match stored.status {
                    None => self.outcome = Outcome::default(),
                    status => {
                        self.outcome.stored = status != Some(StatusCode::NOT_MODIFIED);
                        self.outcome.forwarded_status = status;
                    }
                }
                Next::LookFor(Accepted::Own(stored.generation), stored.withheld)
            }
            Delivery::Elsewhere(landing) => self.landed_elsewhere(landing),
            Delivery::Usable(entry, status, refusal) => {
                (self.outcome.forwarded_status, self.outcome.refusal) = (status, Some(refusal));
                self.serve_unstored(&entry).await.map_or(Next::Forward, Next::Answer)
            }
            Delivery::Passed(response, refusal) => {
                self.outcome.refusal = Some(refusal);
                if is_for_another_try(&response, &self.request) {
                    Next::Forward
                } else {
                    Next::Answer(self.passed(response))
                }
            }
            Delivery::Refused(refusal) => self.refuse(refusal),
            Delivery::Salvaged(salvage) => {
                self.outcome.refusal = Some(salvage.refusal);
                let by = self.engine.config.signature(Some(&self.target.key));
                let salvaged = serve::salvage(&self.engine, *salvage, self.outcome, by).await;
                salvaged.map_or(Next::Forward, Next::Answer)
            }
            Delivery::Broken(status, refusal) => {
                (self.outcome.forwarded_status, self.outcome.refusal) = (Some(status), Some(refusal));
                let by = self.engine.config.signature(Some(&self.target.key));
                Next::Answer(serve::bad_gateway(refusal, self.outcome, by))
            }
            Delivery::Late(answering) => {
                self.outcome.refusal = Some(Refusal::InnerStalled);
                let response = answering.await?;
                // A 304 answers the cache's question about the stored response. The client asked another question.
                if response.status() == StatusCode::NOT_MODIFIED {
                    Next::Forward
                } else {
                    Next::Answer(self.passed(response))
                }
            }
            Delivery::Failed(error) => return Err(error),
        })
    }

    /// Answers from an entry that may be used, though its record does not say so.
    async fn serve_unstored<B>(&self, entry: &Arc<Entry>) -> Option<Response<ResponseBody<B>>> {
        // The request has waited for the store long enough. A store that has the chunk at hand gives it at once.
        if self.outcome.refusal == Some(Refusal::StoreFailed) {
            return timeout(self.engine.records.limit() / 4, self.serve(entry)).await.ok()?;
        }
        self.serve(entry).await
    }

    /// The next step after a fill for another request, here or on another node.
    fn landed_elsewhere<R>(&mut self, landing: Landing) -> Next<R> {
        let Outcome { collapsed, refusal, .. } = &mut self.outcome;
        match landing {
            Landing::Stored(generation) => {
                *collapsed = true;
                Next::LookFor(Accepted::Shared(generation), HeaderMap::new())
            }
            Landing::ForOne(generation) => Next::LookFor(Accepted::Another(generation), HeaderMap::new()),
            Landing::StoodIn(generation) => {
                (*collapsed, *refusal) = (true, Some(Refusal::StaleIfError));
                Next::LookFor(Accepted::StandIn(generation), HeaderMap::new())
            }
            Landing::Abandoned | Landing::Broken => Next::LookAgain,
            Landing::Passed => Next::Forward,
        }
    }

    /// Sends the request to the inner service, for this reason.
    pub(super) fn refuse<R>(&mut self, refusal: Refusal) -> Next<R> {
        self.outcome.refusal = Some(refusal);
        Next::Forward
    }
}

/// The next step after a fill whose task was stopped.
///
/// # Panics
///
/// The inner service panicked. The panic goes on in its caller, as if the layer were not there.
fn forward_or_panic<R>(stopped: JoinError) -> Next<R> {
    match stopped.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(_) => Next::Forward,
    }
}
