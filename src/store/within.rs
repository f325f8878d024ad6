//! One call of a store within a time limit: that it panics or takes too long is a failure like any other.

use std::{
    future::{poll_fn, Future},
    panic::{catch_unwind, AssertUnwindSafe},
    pin::pin,
    task::Poll,
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

/// What comes of a call that may take so long.
pub(crate) async fn within<T, F>(limit: Duration, call: impl FnOnce() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, BoxError>>,
{
    let mut call = pin!(async { call().await });
    let mut caught = pin!(poll_fn(move |cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        polled.map_or(Poll::Ready(Err(Failure::Panicked)), |poll| poll.map_err(Failure::Failed))
    }));
    // A store in memory answers at once, and needs no timer.
    match poll_fn(|cx| Poll::Ready(caught.as_mut().poll(cx))).await {
        Poll::Ready(done) => done,
        Poll::Pending => tokio::time::timeout(limit, caught).await.unwrap_or(Err(Failure::Late)),
    }
}
