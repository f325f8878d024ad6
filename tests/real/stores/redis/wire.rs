//! The connection between the store and its server.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tower_video_cache::Store;

use super::{BUSY, PAUSE, failed, store_behind, value};
use crate::{
    servers::{Server, redis::Redis, soon},
    stores::relay::Relay,
    trials::tests,
};

tests! {
    Redis::PROGRAMS => on_one_thread:
        a_wire_cut_in_the_midst_of_a_value_is_an_error_or_the_value,
        a_slow_wire_costs_its_time_or_the_timeout,
        waiting_for_a_place_counts_towards_the_timeout_and_not_against_the_server;
}

async fn a_wire_cut_in_the_midst_of_a_value_is_an_error_or_the_value() {
    let server = Redis::start(&[]).await;
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay);
    store.put("c/a/0", value(1 << 20)).await.unwrap();
    // More bytes than the greeting of a new connection.
    for after in [1000, 10_000, 100_000, 500_000, (1 << 20) + 5] {
        relay.cut(after, 1);
        assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20), "asked once more");
        relay.cut(after, 2);
        let error = store.get("c/a/0").await.unwrap_err();
        assert_eq!(relay.cuts_left(), 0, "asked twice, not more: {error}");
        assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20), "the next call works");
    }
    relay.cut(1000, 1);
    relay.delay(Duration::from_millis(20));
    let together = join_all((0..20).map(|_| store.get("c/a/0"))).await;
    for got in together {
        assert_eq!(got.unwrap().unwrap(), value(1 << 20));
    }
}

async fn a_slow_wire_costs_its_time_or_the_timeout() {
    let server = Redis::start(&[]).await;
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay).connections(NonZeroUsize::MIN);
    let store = store.timeout(BUSY * 2);
    store.put("c/a/0", value(1 << 20)).await.unwrap();
    store.get("c/a/0").await.unwrap();
    let slow = Duration::from_secs(1);
    relay.delay(slow);
    let began = Instant::now();
    assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20));
    assert!(began.elapsed() >= slow && began.elapsed() < BUSY, "{:?}", began.elapsed());

    let limit = Duration::from_millis(300);
    let store = store.timeout(limit).pause(PAUSE);
    for _ in 0..2 {
        let (_, time) = failed(store.get("c/a/0")).await;
        assert!(time >= limit && time < BUSY, "{time:?}");
    }
    relay.delay(Duration::ZERO);
    let got = soon("the store works again", || async { store.get("c/a/0").await.ok() }).await;
    assert_eq!(got.unwrap(), value(1 << 20));
}

async fn waiting_for_a_place_counts_towards_the_timeout_and_not_against_the_server() {
    let server = Redis::start(&[]).await;
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay).max_in_flight(NonZeroUsize::MIN);
    let slow = Duration::from_millis(800);
    let store = store.connections(NonZeroUsize::MIN).timeout(slow * 3);
    store.put("c/a/0", value(10)).await.unwrap();
    store.put("m/a", value(10)).await.unwrap();
    relay.delay(slow);
    let began = Instant::now();
    let (chunks, record) = tokio::join!(join_all((0..12).map(|_| store.get("c/a/0"))), async {
        let got = store.get("m/a").await;
        (got, began.elapsed())
    });
    assert!(began.elapsed() < slow * 9, "{:?}", began.elapsed());
    let got = chunks.iter().filter(|chunk| chunk.is_ok()).count();
    assert!((1..=3).contains(&got), "{got} chunks, one at a time");
    assert_eq!(record.0.unwrap().unwrap(), value(10));
    assert!(record.1 < slow * 2, "a record waits for no chunk: {:?}", record.1);
    relay.delay(Duration::ZERO);
    assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(10));
}
