//! Waits for two futures at once.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use tokio::task::JoinError;

/// The output of the future that was ready first.
pub(crate) enum Raced<A, B> {
    First(A),
    Second(B),
}

/// Waits for either future. If both are ready, returns the output of the first one.
///
/// # Cancel safety
///
/// As safe as both futures. The one that loses is dropped.
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

/// Runs a future to its end, even if the caller goes away before. A future that is ready at once needs no task.
///
/// # Errors
///
/// The task was stopped, or panicked.
///
/// # Cancel safety
///
/// The future goes on.
pub(crate) async fn to_its_end<F>(future: F) -> Result<F::Output, JoinError>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut future = Box::pin(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => tokio::spawn(future).await,
    }
}

/// Waits for both futures, which go on at the same time.
///
/// # Cancel safety
///
/// As safe as both futures.
pub(crate) async fn both<A: Future, B: Future>(first: A, second: B) -> (A::Output, B::Output) {
    let (mut first, mut second) = (pin!(first), pin!(second));
    let (mut one, mut two) = (None, None);
    poll_fn(|cx| {
        if one.is_none() {
            if let Poll::Ready(output) = first.as_mut().poll(cx) {
                one = Some(output);
            }
        }
        if two.is_none() {
            if let Poll::Ready(output) = second.as_mut().poll(cx) {
                two = Some(output);
            }
        }
        match (one.take(), two.take()) {
            (Some(one), Some(two)) => Poll::Ready((one, two)),
            (first, second) => {
                (one, two) = (first, second);
                Poll::Pending
            }
        }
    })
    .await
}
