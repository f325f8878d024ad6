//! One call of a store within a time limit. A panic and a timeout are failures like any other.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::{clock::moment, error::BoxError};

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store returned this error.
    Failed(BoxError),
    /// The call took too long.
    Late,
    Panicked,
}

/// Runs a call within `limit`. `ended` gets its result and the time that it was waited for: none if it answered at once.
pub(crate) async fn within<T, E, F>(
    limit: Duration,
    call: impl FnOnce() -> F,
    ended: impl FnOnce(Result<T, Failure>, Duration) -> Result<T, E>,
) -> Result<T, E>
where
    F: Future<Output = Result<T, BoxError>> + Unpin,
{
    let called = catch_unwind(AssertUnwindSafe(call));
    let Ok(mut under_way) = called else { return ended(Err(Failure::Panicked), Duration::ZERO) };
    // A store in memory answers at once, without a timer.
    let first = poll_fn(|cx| Poll::Ready(polled(&mut under_way, cx))).await;
    match first {
        Poll::Ready(done) => ended(done, Duration::ZERO),
        // A hit consists of several such calls and is moved as a whole. The box keeps the timer out of it.
        Poll::Pending => Box::pin(waited_for(limit, under_way, ended)).await,
    }
}

/// The rest of a call that did not answer at the first poll.
async fn waited_for<T, E, F>(
    limit: Duration,
    mut under_way: F,
    ended: impl FnOnce(Result<T, Failure>, Duration) -> Result<T, E>,
) -> Result<T, E>
where
    F: Future<Output = Result<T, BoxError>> + Unpin,
{
    let began = moment();
    let rest = poll_fn(|cx| polled(&mut under_way, cx));
    let done = tokio::time::timeout(limit, rest).await.unwrap_or(Err(Failure::Late));
    ended(done, moment().saturating_duration_since(began))
}

/// One poll, which turns a panic into a failure. Inlined because every hit calls it a few times.
#[inline]
fn polled<T, F>(under_way: &mut F, cx: &mut Context<'_>) -> Poll<Result<T, Failure>>
where
    F: Future<Output = Result<T, BoxError>> + Unpin,
{
    let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(under_way).poll(cx)));
    polled.map_or(Poll::Ready(Err(Failure::Panicked)), |poll| poll.map_err(Failure::Failed))
}
