//! Calls of the tiers: their errors, their breakers, and two calls at the same time.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, poll_fn},
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::runtime::Handle;

use crate::{
    error::BoxError,
    store::{Breaker, Failure},
};

/// The order of the puts of a [`Tiered`](super::Tiered) store.
///
/// Either way, a put is done once the far store has the value. If the far store fails, the put is done once the near
/// store has the value.
///
/// ```
/// # use tower_video_cache::{MokaStore, Tiered, Writes};
/// # let (disk, network) = (MokaStore::new(1 << 20)?, MokaStore::new(1 << 20)?);
/// let store = Tiered::new(disk, network).writes(Writes::Both);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Writes {
    /// First the far store, then the near store. A near value has always been offered to the far store.
    #[default]
    FarFirst,
    /// Both at the same time. This saves the time of the near store, if that is a disk.
    Both,
}

/// The error of a failed call.
pub(super) fn said<T>(done: Result<T, Failure>, _: Duration) -> Result<T, BoxError> {
    done.map_err(|failure| match failure {
        Failure::Failed(error) => error,
        Failure::Late => Late.into(),
        Failure::Panicked => "tier panicked".into(),
    })
}

/// Runs both at the same time.
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

/// Runs an errand in a task of its own. The call that opened the read may be for a client without room for more bytes,
/// and is then not polled for a while. Other calls must not wait for that.
pub(super) async fn run(errand: impl Future<Output = ()> + Send + 'static) {
    match Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(errand)),
        Err(_) => errand.await,
    }
}

/// The breakers for looks and for puts, with a call that may take `limit`.
pub(super) fn spared(limit: Duration) -> (Arc<Breaker>, Arc<Breaker>) {
    let breaker = |late, rest| Arc::new(Breaker::new(late, limit.saturating_mul(rest)));
    (breaker(LATE_LOOKS, LOOKS_REST), breaker(LATE_PUTS, PUTS_REST))
}

/// The settings of the two tiers.
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

/// The call took too long.
#[derive(Debug)]
pub(super) struct Late;

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tier call timed out")
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

/// After this many late looks in a row, looks skip the far store for `LOOKS_REST` times its timeout.
const LATE_LOOKS: NonZeroU32 = NonZeroU32::new(3).unwrap();
const LOOKS_REST: u32 = 5;

/// After one late put, puts skip the far store for `PUTS_REST` times its timeout.
const LATE_PUTS: NonZeroU32 = NonZeroU32::new(1).unwrap();
const PUTS_REST: u32 = 10;
