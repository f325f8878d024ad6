//! Two waits at once.

use std::{
    future::{poll_fn, Future},
    pin::pin,
    task::Poll,
};

/// Which of two was ready first.
pub(crate) enum Raced<A, B> {
    First(A),
    Second(B),
}

/// Waits for either; the first one where both are ready.
///
/// # Cancel safety
///
/// That of both: whichever loses is dropped.
pub(crate) async fn race<A: Future, B: Future>(first: A, second: B) -> Raced<A::Output, B::Output> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|cx| {
        if let Poll::Ready(first) = first.as_mut().poll(cx) {
            return Poll::Ready(Raced::First(first));
        }
        second.as_mut().poll(cx).map(Raced::Second)
    })
    .await
}
