//! Calls of the tiers: what is said of those that came to nothing, what is spared them, and two at the same time.

use std::{
    error::Error as StdError,
    fmt,
    future::{poll_fn, Future},
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::runtime::Handle;

use super::Writes;
use crate::{
    error::BoxError,
    store::{Breaker, Failure},
};

/// What is said of a call that came to nothing.
pub(super) fn said(failure: Failure, _: Duration) -> BoxError {
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

/// Runs it in a task of its own: of those who wait for a value, the one who began may be reading for a viewer that
/// has no room for more just now, and is not polled until it has.
pub(super) async fn run(errand: impl Future<Output = ()> + Send + 'static) {
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(errand)),
        Err(_) => errand.await,
    }
}

/// The breakers of looks and of puts, where a call may take so long.
pub(super) fn spared(limit: Duration) -> (Arc<Breaker>, Arc<Breaker>) {
    let breaker = |late, rest| Arc::new(Breaker::new(late, limit.saturating_mul(rest)));
    (breaker(LATE_LOOKS, LOOKS_REST), breaker(LATE_PUTS, PUTS_REST))
}

/// How the tiers are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) writes: Writes,
    pub(super) record_age: Duration,
    pub(super) near_timeout: Duration,
    pub(super) far_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            writes: Writes::default(),
            record_age: RECORD_AGE,
            near_timeout: NEAR_LIMIT,
            far_timeout: FAR_LIMIT,
        }
    }
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

const RECORD_AGE: Duration = Duration::from_secs(2);
const NEAR_LIMIT: Duration = Duration::from_millis(250);
pub(super) const FAR_LIMIT: Duration = Duration::from_secs(1);

/// In a row, before the far store is not looked into for so many times its limit.
const LATE_LOOKS: NonZeroU32 = NonZeroU32::new(3).unwrap();
const LOOKS_REST: u32 = 5;

/// One, and the far store is left out of puts for so many times its limit.
const LATE_PUTS: NonZeroU32 = NonZeroU32::new(1).unwrap();
const PUTS_REST: u32 = 10;
