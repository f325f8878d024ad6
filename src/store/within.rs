//! One call of a store within a time limit: that it panics or takes too long is a failure like any other.

use std::{
    future::{poll_fn, Future},
    panic::{catch_unwind, AssertUnwindSafe},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{clock::moment, error::BoxError};

/// Why a call came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store says so.
    Failed(BoxError),
    /// It ran into its limit.
    Late,
    Panicked,
}

/// What comes of a call that may take so long; `said` makes an error of its failure, and of how long it was waited for.
pub(crate) async fn within<T, E, F>(
    limit: Duration,
    call: impl FnOnce() -> F,
    said: impl FnOnce(Failure, Duration) -> E,
) -> Result<T, E>
where
    F: Future<Output = Result<T, BoxError>> + Unpin,
{
    let called = catch_unwind(AssertUnwindSafe(call));
    let Ok(mut under_way) = called else { return Err(said(Failure::Panicked, Duration::ZERO)) };
    // A store in memory answers at once, and needs no timer.
    let first = poll_fn(|cx| Poll::Ready(polled(&mut under_way, cx))).await;
    match first {
        Poll::Ready(done) => done.map_err(|failure| said(failure, Duration::ZERO)),
        // The timer is in a box of its own: each hit is made of several such calls, and is moved as a whole.
        Poll::Pending => Box::pin(waited_for(limit, under_way, said)).await,
    }
}

/// The rest of a call that did not answer at once.
async fn waited_for<T, E, F>(
    limit: Duration,
    mut under_way: F,
    said: impl FnOnce(Failure, Duration) -> E,
) -> Result<T, E>
where
    F: Future<Output = Result<T, BoxError>> + Unpin,
{
    let began = moment();
    let rest = poll_fn(|cx| polled(&mut under_way, cx));
    let done = tokio::time::timeout(limit, rest).await.unwrap_or(Err(Failure::Late));
    done.map_err(|failure| said(failure, moment().saturating_duration_since(began)))
}

/// One poll, for which a panic is a failure. Inlined, for every hit comes here a few times.
#[inline]
fn polled<T, F>(under_way: &mut F, cx: &mut Context<'_>) -> Poll<Result<T, Failure>>
where
    F: Future<Output = Result<T, BoxError>> + Unpin,
{
    let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(under_way).poll(cx)));
    polled.map_or(Poll::Ready(Err(Failure::Panicked)), |poll| poll.map_err(Failure::Failed))
}
