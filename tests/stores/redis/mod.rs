//! [`RedisStore`] over real servers: what it keeps, what it costs when they are down, and whose a lease is.

mod cluster;
mod down;
mod keeps;
mod leases;
mod tls;
mod viewers;
mod wire;

use std::{
    fmt::Debug,
    future::Future,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tower_video_cache::{BoxError, RedisStore};

use crate::{relay::Relay, trials::Test};

pub(crate) fn tests() -> Vec<Test> {
    let files = [
        cluster::tests(),
        down::tests(),
        keeps::tests(),
        leases::tests(),
        tls::tests(),
        viewers::tests(),
        wire::tests(),
    ];
    files.into_iter().flatten().collect()
}

fn store_behind(relay: &Relay) -> RedisStore {
    RedisStore::new(&format!("redis://127.0.0.1:{}", relay.port)).unwrap()
}

/// The server is left alone. The error tells, and not the time, which may be long on a busy machine.
async fn is_not_asked<T: Debug>(call: impl Future<Output = Result<T, BoxError>>) {
    let error = call.await.unwrap_err();
    assert!(error.to_string().contains("circuit breaker is open"), "{error}");
}

/// The error, and how long it took.
async fn failed<T: Debug>(call: impl Future<Output = Result<T, BoxError>>) -> (BoxError, Duration) {
    let began = Instant::now();
    let error = call.await.unwrap_err();
    (error, began.elapsed())
}

/// Bytes of every value, the line ends of Redis' protocol among them.
fn value(length: usize) -> Bytes {
    b"$-1\r\n".iter().copied().chain((0..=u8::MAX).cycle()).take(length).collect()
}

const PAUSE: Duration = Duration::from_millis(300);

/// One that is not over before the next call, though others have the processor.
const LONG_PAUSE: Duration = Duration::from_secs(3);

/// More than anything takes on a busy machine but what has to be waited for.
const BUSY: Duration = Duration::from_secs(8);
