//! One call of a tier: that it panics or takes too long is an error like any other.

use std::{
    error::Error as StdError,
    fmt,
    future::{poll_fn, Future},
    panic::{catch_unwind, AssertUnwindSafe},
    pin::pin,
    task::Poll,
    time::Duration,
};

use crate::error::BoxError;

/// What comes of a call that may take so long.
pub(super) async fn within<T, F>(limit: Duration, call: impl FnOnce() -> F) -> Result<T, BoxError>
where
    F: Future<Output = Result<T, BoxError>>,
{
    let mut call = pin!(async { call().await });
    let caught = poll_fn(move |cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err("the tier panicked".into())))
    });
    let mut caught = pin!(caught);
    // A tier in memory answers at once, and needs no timer.
    let first = poll_fn(|cx| Poll::Ready(caught.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(done) => done,
        Poll::Pending => tokio::time::timeout(limit, caught).await.unwrap_or_else(|_| Err(Late.into())),
    }
}

/// Both, at the same time.
pub(super) async fn both<A: Future, B: Future>(one: A, other: B) -> (A::Output, B::Output) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut done = (None, None);
    poll_fn(|cx| {
        if done.0.is_none() {
            done.0 = ready(one.as_mut().poll(cx));
        }
        if done.1.is_none() {
            done.1 = ready(other.as_mut().poll(cx));
        }
        match (done.0.take(), done.1.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            so_far => {
                done = so_far;
                Poll::Pending
            }
        }
    })
    .await
}

/// The call ran into its limit.
#[derive(Debug)]
pub(super) struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the tier took too long")
    }
}

impl StdError for Late {}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}
