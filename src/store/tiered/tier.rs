//! Calls of the tiers: what is said of those that came to nothing, and two at the same time.

use std::{
    error::Error as StdError,
    fmt,
    future::{poll_fn, Future},
    pin::pin,
    task::Poll,
};

use crate::{error::BoxError, store::Failure};

/// What is said of a call that came to nothing.
pub(super) fn said(failure: Failure) -> BoxError {
    match failure {
        Failure::Failed(error) => error,
        Failure::Late => Late.into(),
        Failure::Panicked => "the tier panicked".into(),
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
