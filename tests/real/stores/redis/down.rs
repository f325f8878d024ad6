//! A server that is down, hangs, or is full.

use std::time::{Duration, Instant};

use tower_video_cache::{RedisStore, Store};

use super::{BUSY, LONG_PAUSE, PAUSE, failed, is_not_asked, value};
use crate::{
    servers::{Server, redis::Redis, soon},
    trials::tests,
};

tests! {
    Redis::PROGRAMS => on_one_thread:
        a_dead_server_costs_next_to_nothing_and_is_found_again,
        a_server_that_was_started_anew_between_two_calls_is_met_at_the_first,
        a_server_that_starts_late_is_found_once_it_runs,
        a_server_that_hangs_costs_the_timeout_a_few_times,
        a_full_server_refuses_and_still_gives,
        a_refusal_is_no_reason_to_leave_the_server_alone;
}

async fn a_dead_server_costs_next_to_nothing_and_is_found_again() {
    let mut server = Redis::start(&[]).await;
    let store = RedisStore::new(&server.url()).unwrap().timeout(BUSY * 2).pause(LONG_PAUSE);
    store.put("m/a", value(10)).await.unwrap();
    store.put("c/a/0", value(10)).await.unwrap();
    server.kill();
    for key in ["m/a", "c/a/0", "m/b"] {
        let (_, time) = failed(store.get(key)).await;
        assert!(time < BUSY, "{key}: {time:?}");
    }
    for _ in 0..1000 {
        is_not_asked(store.get("m/a")).await;
    }
    assert!(store.put("c/a/1", value(10)).await.is_err());

    server.start_again().await;
    let began = Instant::now();
    soon("the store works again", || async { store.put("m/a", value(20)).await.ok() }).await;
    assert!(began.elapsed() < LONG_PAUSE + BUSY, "{:?}", began.elapsed());
    assert_eq!(store.get("m/a").await.unwrap().unwrap(), value(20));
    for _ in 0..8 {
        assert_eq!(store.get("c/a/0").await.unwrap(), None, "it started empty, and each connection anew");
    }
}

async fn a_server_that_was_started_anew_between_two_calls_is_met_at_the_first() {
    let mut server = Redis::start(&[]).await;
    let store = RedisStore::new(&server.url()).unwrap();
    for round in 0..3 {
        for key in ["m/a", "c/a/0", "c/a/1", "c/a/2", "c/a/3"] {
            assert_eq!(store.get(key).await.unwrap(), None, "round {round}");
            store.put(key, value(10)).await.unwrap();
        }
        server.start_again().await;
    }
}

async fn a_server_that_starts_late_is_found_once_it_runs() {
    let mut server = Redis::start(&[]).await;
    server.kill();
    let store = RedisStore::new(&server.url()).unwrap().timeout(BUSY * 2).pause(PAUSE);
    let (_, time) = failed(store.get("m/a")).await;
    assert!(time < BUSY, "{time:?}");
    server.start_again().await;
    soon("the store works", || async { store.get("m/a").await.ok() }).await;
}

async fn a_server_that_hangs_costs_the_timeout_a_few_times() {
    let server = Redis::start(&[]).await;
    let limit = Duration::from_millis(300);
    let store = RedisStore::new(&server.url()).unwrap().timeout(limit).pause(LONG_PAUSE);
    soon("it is kept", || async { store.put("m/a", value(10)).await.ok() }).await;
    server.hang();
    for _ in 0..3 {
        let (error, time) = failed(store.get("m/a")).await;
        assert!(time >= limit && time < BUSY, "{time:?}: {error}");
    }
    is_not_asked(store.get("m/a")).await;
    server.go_on();
    let began = Instant::now();
    let got = soon("the store works again", || async { store.get("m/a").await.ok() }).await;
    assert!(began.elapsed() < LONG_PAUSE + BUSY, "{:?}", began.elapsed());
    assert_eq!(got.unwrap(), value(10));
}

async fn a_full_server_refuses_and_still_gives() {
    let full = ["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"];
    let server = Redis::start(&full).await;
    let store = RedisStore::new(&server.url()).unwrap();
    store.put("c/a/0", value(1 << 20)).await.unwrap();
    let mut refused = 0;
    for index in 1..20 {
        refused += u32::from(store.put(&format!("c/a/{index}"), value(1 << 20)).await.is_err());
        // A refusal is an answer, so the store does not leave the server alone.
        assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20));
    }
    assert!(refused > 5, "{refused}");
    for index in 20..25 {
        store.put(&format!("c/a/{index}"), value(1 << 20)).await.unwrap_err();
    }
    assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20));
    store.remove("c/a/0").await.unwrap();
}

async fn a_refusal_is_no_reason_to_leave_the_server_alone() {
    let server = Redis::start(&[]).await;
    let store = RedisStore::new(&server.url()).unwrap();
    server.says(&["lpush", "tvc:c/list", "x"]);
    for _ in 0..10 {
        let error = store.get("c/list").await.unwrap_err();
        assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    }
    store.put("c/list", value(10)).await.unwrap();
    assert_eq!(store.get("c/list").await.unwrap().unwrap(), value(10));
}
