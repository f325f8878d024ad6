//! [`RedisStore`] over real servers: the values that it keeps, its cost when they are down, and the holders of its
//! leases.

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

use crate::{stores::relay::Relay, trials::Test};

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

/// Checks that the server is left alone. The error shows it; the time may be long on a busy machine.
async fn is_not_asked<T: Debug>(call: impl Future<Output = Result<T, BoxError>>) {
    let error = call.await.unwrap_err();
    assert!(error.to_string().contains("circuit breaker is open"), "{error}");
}

/// The error, and the time that the call took.
async fn failed<T: Debug>(call: impl Future<Output = Result<T, BoxError>>) -> (BoxError, Duration) {
    let began = Instant::now();
    let error = call.await.unwrap_err();
    (error, began.elapsed())
}

/// A value with all byte values, including the line ends of Redis' protocol.
fn value(length: usize) -> Bytes {
    b"$-1\r\n".iter().copied().chain((0..=u8::MAX).cycle()).take(length).collect()
}

const PAUSE: Duration = Duration::from_millis(300);

/// A pause that lasts until the next call, even on a busy machine.
const LONG_PAUSE: Duration = Duration::from_secs(3);

/// More than any call takes on a busy machine, apart from required waits.
const BUSY: Duration = Duration::from_secs(8);
