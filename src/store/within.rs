//! One call of a store within a time limit: that it panics or takes too long is a failure like any other.

use std::{
    future::{poll_fn, Future},
    panic::{catch_unwind, AssertUnwindSafe},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use crate::error::BoxError;

/// Why a call came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store says so.
    Failed(BoxError),
    /// It ran into its limit.
    Late,
    Panicked,
}

/// What comes of a call that may take so long; `said` makes an error of its failure.
pub(crate) async fn within<T, E, F>(
    limit: Duration,
    call: impl FnOnce() -> F,
    said: impl FnOnce(Failure) -> E,
) -> Result<T, E>
where
    F: Future<Output = Result<T, BoxError>> + Unpin,
{
    let called = catch_unwind(AssertUnwindSafe(call));
    let Ok(mut under_way) = called else { return Err(said(Failure::Panicked)) };
    // A store in memory answers at once, and needs no timer.
    let first = poll_fn(|cx| Poll::Ready(polled(&mut under_way, cx))).await;
    let done = match first {
        Poll::Ready(done) => done,
        Poll::Pending => {
            let rest = poll_fn(|cx| polled(&mut under_way, cx));
            tokio::time::timeout(limit, rest).await.unwrap_or(Err(Failure::Late))
        }
    };
    done.map_err(said)
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
