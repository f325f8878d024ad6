//! [`RedisStore`] over real servers: what it keeps, what it costs when they are down, and whose a lease is.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::BodyExt;
use tower_video_cache::{conformance, BoxError, ChunkSize, Lease, RedisStore, Store, VideoCacheLayer};

use crate::{
    film::Film,
    relay::Relay,
    servers::{
        free_port,
        redis::{Cluster, Redis, Watched},
        soon,
    },
};

// The contract.

#[tokio::test]
async fn a_server_keeps_the_contract() {
    let Some(server) = Redis::start("a_server_keeps_the_contract", &[]).await else { return };
    let store = RedisStore::new(&server.url()).unwrap();
    conformance::check(&store).await;
    let refreshed = store.expiry(Duration::from_secs(60)).refreshed_on_use(true).prefix("another:");
    conformance::check(&refreshed).await;
    assert!(server.keys("*").iter().all(|key| key.starts_with("tvc:") || key.starts_with("another:")));
}

#[tokio::test]
async fn a_server_behind_a_socket_keeps_the_contract() {
    let started = Redis::start("a_server_behind_a_socket_keeps_the_contract", &["--unixsocket", "socket"]);
    let Some(server) = started.await else { return };
    let store = RedisStore::new(&format!("unix://{}?db=3", server.socket())).unwrap();
    conformance::check(&store).await;
    assert!(server.says(&["info", "keyspace"]).contains("db3:keys="));
}

#[tokio::test]
async fn a_cluster_keeps_the_contract_and_shares_the_chunks() {
    let Some(cluster) = Cluster::start("a_cluster_keeps_the_contract_and_shares_the_chunks", &[]).await
    else {
        return;
    };
    let store = RedisStore::cluster(cluster.urls().iter().take(1)).unwrap();
    conformance::check(&store).await;
    for index in 0..60 {
        let key = format!("c/0123456789abcdef0123456789abcdef/{index}");
        store.put(&key, value(1000)).await.unwrap();
        assert_eq!(store.get(&key).await.unwrap().unwrap(), value(1000));
    }
    for node in &cluster.0 {
        assert!(node.keys("tvc:c/*").len() > 5, "the chunks of one video are on all nodes");
    }
}

#[tokio::test]
async fn a_value_is_kept_for_its_time() {
    let Some(server) = Redis::start("a_value_is_kept_for_its_time", &[]).await else { return };
    let store = RedisStore::new(&server.url()).unwrap();
    store.put("c/ever", value(10)).await.unwrap();
    assert_eq!(server.number(&["pttl", "tvc:c/ever"]), -1, "until it is evicted");

    let hour = Duration::from_secs(3600);
    let store = store.expiry(hour);
    store.put("c/hour", value(10)).await.unwrap();
    assert!((3_500_000..=3_600_000).contains(&server.number(&["pttl", "tvc:c/hour"])));
    server.says(&["pexpire", "tvc:c/hour", "60000"]);
    store.get("c/hour").await.unwrap().unwrap();
    assert!(server.number(&["pttl", "tvc:c/hour"]) <= 60_000, "since it was put");
    let store = store.refreshed_on_use(true);
    assert_eq!(store.get("c/hour").await.unwrap().unwrap(), value(10));
    assert!(server.number(&["pttl", "tvc:c/hour"]) > 3_500_000, "since it was used");

    let store = store.expiry(Duration::from_millis(30)).refreshed_on_use(false);
    store.put("c/moment", value(10)).await.unwrap();
    soon("it expires", || async { store.get("c/moment").await.unwrap().is_none().then_some(()) }).await;
    // Neither none nor the longest that can be said is an error.
    for expiry in [Duration::ZERO, Duration::MAX] {
        RedisStore::new(&server.url()).unwrap().expiry(expiry).put("c/odd", value(10)).await.unwrap();
    }
}

// Settings.

#[test]
fn a_wrong_url_is_a_wrong_setting_and_a_right_one_needs_no_runtime() {
    for url in ["", "redis", "http://127.0.0.1", "redis://127.0.0.1/films", "redis://0.0.0.0"] {
        assert!(RedisStore::new(url).unwrap_err().is_setting(), "{url}");
        assert!(RedisStore::cluster([url]).unwrap_err().is_setting(), "{url}");
        assert!(RedisStore::sentinel([url], "films").unwrap_err().is_setting(), "{url}");
    }
    assert!(RedisStore::cluster([""; 0]).unwrap_err().is_setting());
    assert!(RedisStore::sentinel(["redis://127.0.0.1"], "unix:///films").unwrap_err().is_setting());
    let secret = format!("{:?}", RedisStore::new("redis://me:secret@127.0.0.1:1/2").unwrap());
    assert!(!secret.contains("secret"), "{secret}");
    RedisStore::cluster(["redis://127.0.0.1:1", "redis://127.0.0.1:2"]).unwrap();
    RedisStore::sentinel(["redis://127.0.0.1:1"], "redis://:secret@films/0").unwrap();
}

#[tokio::test]
async fn a_prefix_of_other_characters_is_a_wrong_setting() {
    for prefix in ["{one node}", "spa ce", "ümlaut", "line\n"] {
        let store = RedisStore::new("redis://127.0.0.1:1").unwrap().prefix(prefix);
        for error in [store.get("c/a").await.unwrap_err(), store.put("c/a", value(1)).await.unwrap_err()] {
            let error = error.downcast::<tower_video_cache::Error>().unwrap();
            assert!(error.is_setting(), "{prefix}");
        }
    }
}

#[tokio::test]
async fn a_value_that_redis_does_not_keep_is_declined() {
    let store = RedisStore::new("redis://127.0.0.1:1").unwrap();
    let largest = usize::try_from(store.largest_value().unwrap()).unwrap();
    // Zeros that nobody touches are no memory.
    let refused = store.put("c/a", Bytes::from(vec![0; largest + 1])).await.unwrap_err();
    assert!(refused.to_string().contains("larger"), "{refused}");
}

// A server that is down, hangs, or is full.

#[tokio::test]
async fn a_dead_server_costs_next_to_nothing_and_is_found_again() {
    let test = "a_dead_server_costs_next_to_nothing_and_is_found_again";
    let Some(mut server) = Redis::start(test, &[]).await else { return };
    let store = RedisStore::new(&server.url()).unwrap().pause(PAUSE);
    store.put("m/a", value(10)).await.unwrap();
    store.put("c/a/0", value(10)).await.unwrap();
    server.kill();
    for key in ["m/a", "c/a/0", "m/b"] {
        let (_, time) = failed(store.get(key)).await;
        assert!(time < Duration::from_millis(400), "{key}: {time:?}");
    }
    let began = Instant::now();
    for _ in 0..1000 {
        let error = store.get("m/a").await.unwrap_err();
        assert!(error.to_string().contains("not asked"), "{error}");
    }
    let time = began.elapsed();
    assert!(time < Duration::from_millis(500), "1000 calls: {time:?}");
    assert!(store.put("c/a/1", value(10)).await.is_err());

    server.start_again().await;
    let began = Instant::now();
    soon("the store works again", || async { store.put("m/a", value(20)).await.ok() }).await;
    assert!(began.elapsed() < PAUSE + Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(store.get("m/a").await.unwrap().unwrap(), value(20));
    for _ in 0..8 {
        assert_eq!(store.get("c/a/0").await.unwrap(), None, "it started empty, and each connection anew");
    }
}

#[tokio::test]
async fn a_server_that_was_started_anew_between_two_calls_is_met_at_the_first() {
    let test = "a_server_that_was_started_anew_between_two_calls_is_met_at_the_first";
    let Some(mut server) = Redis::start(test, &[]).await else { return };
    let store = RedisStore::new(&server.url()).unwrap();
    for round in 0..3 {
        for key in ["m/a", "c/a/0", "c/a/1", "c/a/2", "c/a/3"] {
            assert_eq!(store.get(key).await.unwrap(), None, "round {round}");
            store.put(key, value(10)).await.unwrap();
        }
        server.start_again().await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_found_when_it_is() {
    let test = "a_server_that_is_not_there_yet_is_found_when_it_is";
    let Some(mut server) = Redis::start(test, &[]).await else { return };
    server.kill();
    let store = RedisStore::new(&server.url()).unwrap().pause(PAUSE);
    let (_, time) = failed(store.get("m/a")).await;
    assert!(time < Duration::from_millis(400), "{time:?}");
    server.start_again().await;
    soon("the store works", || async { store.get("m/a").await.ok() }).await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_timeout_a_few_times() {
    let test = "a_server_that_hangs_costs_the_timeout_a_few_times";
    let Some(server) = Redis::start(test, &[]).await else { return };
    let limit = Duration::from_millis(100);
    let store = RedisStore::new(&server.url()).unwrap().timeout(limit).pause(PAUSE);
    store.put("m/a", value(10)).await.unwrap();
    server.hang();
    for _ in 0..3 {
        let (error, time) = failed(store.get("m/a")).await;
        assert!(time >= limit && time < limit * 5, "{time:?}: {error}");
    }
    let (_, time) = failed(store.get("m/a")).await;
    assert!(time < Duration::from_millis(90), "at once: {time:?}");
    server.go_on();
    let began = Instant::now();
    soon("the store works again", || async { store.get("m/a").await.ok() }).await;
    assert!(began.elapsed() < PAUSE + limit * 10, "{:?}", began.elapsed());
    assert_eq!(store.get("m/a").await.unwrap().unwrap(), value(10));
}

#[tokio::test]
async fn a_full_server_refuses_and_still_gives() {
    let full = ["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"];
    let Some(server) = Redis::start("a_full_server_refuses_and_still_gives", &full).await else { return };
    let store = RedisStore::new(&server.url()).unwrap();
    store.put("c/a/0", value(1 << 20)).await.unwrap();
    let mut refused = 0;
    for index in 1..20 {
        refused += u32::from(store.put(&format!("c/a/{index}"), value(1 << 20)).await.is_err());
        // A refusal is an answer: the server is not left alone for it.
        assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20));
    }
    assert!(refused > 5, "{refused}");
    for index in 20..25 {
        store.put(&format!("c/a/{index}"), value(1 << 20)).await.unwrap_err();
    }
    assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20));
    store.remove("c/a/0").await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_no_reason_to_leave_the_server_alone() {
    let test = "a_refusal_is_no_reason_to_leave_the_server_alone";
    let Some(server) = Redis::start(test, &[]).await else { return };
    let store = RedisStore::new(&server.url()).unwrap();
    server.says(&["lpush", "tvc:c/list", "x"]);
    for _ in 0..10 {
        let error = store.get("c/list").await.unwrap_err();
        assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    }
    store.put("c/list", value(10)).await.unwrap();
    assert_eq!(store.get("c/list").await.unwrap().unwrap(), value(10));
}

// The wire between.

#[tokio::test]
async fn a_wire_cut_in_the_midst_of_a_value_is_an_error_or_the_value() {
    let test = "a_wire_cut_in_the_midst_of_a_value_is_an_error_or_the_value";
    let Some(server) = Redis::start(test, &[]).await else { return };
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay);
    store.put("c/a/0", value(1 << 20)).await.unwrap();
    // More than the greeting of a new connection.
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

#[tokio::test]
async fn a_slow_wire_costs_its_time_or_the_timeout() {
    let Some(server) = Redis::start("a_slow_wire_costs_its_time_or_the_timeout", &[]).await else { return };
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay).connections(NonZeroUsize::MIN);
    let store = store.timeout(Duration::from_secs(5));
    store.put("c/a/0", value(1 << 20)).await.unwrap();
    store.get("c/a/0").await.unwrap();
    let slow = Duration::from_millis(200);
    relay.delay(slow);
    let began = Instant::now();
    assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20));
    assert!(began.elapsed() >= slow && began.elapsed() < slow * 5, "{:?}", began.elapsed());

    let limit = Duration::from_millis(80);
    let store = store.timeout(limit).pause(PAUSE);
    for _ in 0..2 {
        let (_, time) = failed(store.get("c/a/0")).await;
        assert!(time >= limit && time < slow * 3, "{time:?}");
    }
    relay.delay(Duration::ZERO);
    soon("the store works again", || async { store.get("c/a/0").await.ok() }).await;
    assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(1 << 20));
}

#[tokio::test]
async fn waiting_for_a_place_counts_towards_the_timeout_and_not_against_the_server() {
    let test = "waiting_for_a_place_counts_towards_the_timeout_and_not_against_the_server";
    let Some(server) = Redis::start(test, &[]).await else { return };
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay).in_flight(NonZeroUsize::MIN);
    let store = store.connections(NonZeroUsize::MIN).timeout(Duration::from_millis(300));
    store.put("c/a/0", value(10)).await.unwrap();
    store.put("m/a", value(10)).await.unwrap();
    relay.delay(Duration::from_millis(100));
    let began = Instant::now();
    let (chunks, record) = tokio::join!(join_all((0..12).map(|_| store.get("c/a/0"))), async {
        let got = store.get("m/a").await;
        (got, began.elapsed())
    });
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    let got = chunks.iter().filter(|chunk| chunk.is_ok()).count();
    assert!((1..=3).contains(&got), "{got} chunks, one at a time");
    assert_eq!(record.0.unwrap().unwrap(), value(10));
    assert!(record.1 < Duration::from_millis(290), "a record waits for no chunk: {:?}", record.1);
    relay.delay(Duration::ZERO);
    assert_eq!(store.get("c/a/0").await.unwrap().unwrap(), value(10));
}

// A cluster, and sentinels.

#[tokio::test]
async fn a_node_of_a_cluster_that_dies_and_comes_back_is_found_again() {
    let test = "a_node_of_a_cluster_that_dies_and_comes_back_is_found_again";
    let partly = ["--cluster-require-full-coverage", "no"];
    let Some(mut cluster) = Cluster::start(test, &partly).await else { return };
    let store = RedisStore::cluster(cluster.urls()).unwrap().pause(PAUSE);
    let keys: Vec<_> = (0..30).map(|index| format!("c/a/{index}")).collect();
    for key in &keys {
        store.put(key, value(1000)).await.unwrap();
    }
    let lost = cluster.0[0].keys("tvc:c/*");
    cluster.0[0].kill();
    for key in &keys {
        let began = Instant::now();
        match store.get(key).await {
            Ok(got) => assert_eq!(got.unwrap(), value(1000)),
            Err(error) => assert!(began.elapsed() < Duration::from_secs(2), "{error}"),
        }
    }
    soon("what is on other nodes is there", || async {
        let mut got = 0;
        for key in &keys {
            got += usize::from(store.get(key).await.is_ok());
        }
        (got + lost.len() >= keys.len()).then_some(())
    })
    .await;
    cluster.0[0].start_again().await;
    cluster.is_whole().await;
    for key in &keys {
        soon("every key can be asked for", || async { store.get(key).await.ok() }).await;
    }
}

#[tokio::test]
async fn a_cluster_that_was_started_anew_is_found_again() {
    let test = "a_cluster_that_was_started_anew_is_found_again";
    let Some(mut cluster) = Cluster::start(test, &[]).await else { return };
    let store = RedisStore::cluster(cluster.urls()).unwrap().pause(PAUSE);
    store.put("m/a", value(10)).await.unwrap();
    cluster.0.iter_mut().for_each(Redis::kill);
    for _ in 0..3 {
        let (error, time) = failed(store.get("m/a")).await;
        assert!(time < Duration::from_secs(2), "{time:?}: {error}");
    }
    let (_, time) = failed(store.get("m/a")).await;
    assert!(time < Duration::from_millis(90), "at once: {time:?}");
    for node in &mut cluster.0 {
        node.start_again().await;
    }
    cluster.is_whole().await;
    let began = Instant::now();
    soon("the store works again", || async { store.put("m/a", value(20)).await.ok() }).await;
    assert!(began.elapsed() < PAUSE + Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(store.get("m/a").await.unwrap().unwrap(), value(20));
}

#[tokio::test]
async fn sentinels_lead_to_the_new_master() {
    let Some(mut watched) = Watched::start("sentinels_lead_to_the_new_master").await else { return };
    let store = RedisStore::sentinel([watched.sentinel.url()], "films").unwrap().pause(PAUSE);
    conformance::check(&store).await;
    store.put("m/a", value(10)).await.unwrap();
    soon("the replica follows", || async { (watched.replica.keys("tvc:m/a").len() == 1).then_some(()) })
        .await;
    watched.master.kill();
    soon("a put to the new master", || async { store.put("m/b", value(20)).await.ok() }).await;
    assert_eq!(store.get("m/a").await.unwrap().unwrap(), value(10));
    assert_eq!(watched.replica.keys("tvc:m/b").len(), 1);
}

// The layer over it.

#[tokio::test]
async fn viewers_get_the_movie_from_redis_and_what_redis_evicted_from_the_inner_service() {
    let test = "viewers_get_the_movie_from_redis_and_what_redis_evicted_from_the_inner_service";
    let Some(server) = Redis::start(test, &["--maxmemory-policy", "allkeys-lru"]).await else { return };
    let film = Film::of(LENGTH);
    let layer = node(RedisStore::new(&server.url()).unwrap());
    assert!(film.watch(&layer).await.contains("stored"));
    assert_eq!(film.asked().len(), 1);
    assert!(film.watch(&layer).await.contains("hit"));
    assert!(film.watch_part(&layer, 100_000..300_001).await.contains("hit"));
    // Another node of the application.
    let neighbour = node(RedisStore::new(&server.url()).unwrap());
    assert!(film.watch(&neighbour).await.contains("hit"));
    assert_eq!(film.asked().len(), 1);

    let chunks = server.keys("tvc:c/*").len();
    assert_eq!(chunks, LENGTH / CHUNK);
    let used = server.says(&["info", "memory"]);
    let used: usize =
        used.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse().unwrap();
    server.says(&["config", "set", "maxmemory", &(used - LENGTH / 2).to_string()]);
    soon("half of it is evicted", || async { (server.keys("tvc:c/*").len() < chunks * 2 / 3).then_some(()) })
        .await;
    server.says(&["config", "set", "maxmemory", "0"]);
    assert!(!server.keys("tvc:c/*").is_empty());
    film.watch(&layer).await;
    film.watch_part_or_all(&layer, 100_000..300_001).await;
    film.watch(&layer).await;
    let asked = film.asked().len();
    assert!(film.watch(&layer).await.contains("hit"));
    assert_eq!(film.asked().len(), asked, "what was evicted is stored again");
}

#[tokio::test]
async fn viewers_get_the_movie_though_redis_dies_before_and_while_they_watch() {
    let test = "viewers_get_the_movie_though_redis_dies_before_and_while_they_watch";
    let Some(mut server) = Redis::start(test, &[]).await else { return };
    let film = Film::of(LENGTH);
    let layer = node(RedisStore::new(&server.url()).unwrap().pause(PAUSE));
    film.watch(&layer).await;

    let mut body = film.open(&layer).await.into_body();
    let mut got = body.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
    server.kill();
    while let Some(frame) = body.frame().await {
        got.extend_from_slice(&frame.unwrap().into_data().unwrap());
    }
    assert!(got == *film.bytes(), "{} bytes", got.len());
    for _ in 0..2 {
        film.watch(&layer).await;
        film.watch_part_or_all(&layer, 1_000_000..1_000_100).await;
    }
    assert!(film.asked().len() >= 4);

    server.start_again().await;
    soon("it is stored again", || async { film.watch(&layer).await.contains("hit").then_some(()) }).await;
    let asked = film.asked().len();
    film.watch(&layer).await;
    assert_eq!(film.asked().len(), asked);
}

#[tokio::test]
async fn viewers_get_the_movie_though_redis_hangs() {
    let Some(server) = Redis::start("viewers_get_the_movie_though_redis_hangs", &[]).await else { return };
    let store = RedisStore::new(&server.url()).unwrap().timeout(Duration::from_millis(100)).pause(PAUSE);
    let (film, layer) = (Film::of(LENGTH), node(store));
    film.watch(&layer).await;
    server.hang();
    let began = Instant::now();
    film.watch(&layer).await;
    film.watch(&layer).await;
    let time = began.elapsed();
    assert!(time < Duration::from_secs(10), "{time:?}");
    server.go_on();
    soon("it is a hit again", || async { film.watch(&layer).await.contains("hit").then_some(()) }).await;
}

/// A layer of its own, as another node would have.
fn node(store: RedisStore) -> VideoCacheLayer {
    VideoCacheLayer::new(store).chunk_size(ChunkSize::new(CHUNK.try_into().unwrap()).unwrap())
}

// Leases.

#[tokio::test]
async fn a_lease_is_granted_to_one_of_all_nodes() {
    let Some(server) = Redis::start("a_lease_is_granted_to_one_of_all_nodes", &[]).await else { return };
    let stores: Vec<_> = (0..8).map(|_| RedisStore::new(&server.url()).unwrap()).collect();
    leases_are_exclusive(&stores).await;
}

#[tokio::test]
async fn a_lease_of_a_cluster_is_granted_to_one_of_all_nodes() {
    let test = "a_lease_of_a_cluster_is_granted_to_one_of_all_nodes";
    let Some(cluster) = Cluster::start(test, &[]).await else { return };
    let stores: Vec<_> = (0..4).map(|_| RedisStore::cluster(cluster.urls()).unwrap()).collect();
    leases_are_exclusive(&stores).await;
}

async fn leases_are_exclusive(stores: &[RedisStore]) {
    let minute = Duration::from_secs(60);
    let holders: Vec<_> = (0..stores.len()).map(|number| format!("{number:032x}")).collect();
    for round in 0..10 {
        let key = format!("l/{round}");
        let asked = stores.iter().zip(&holders).map(|(store, holder)| store.lease(&key, holder, minute));
        let leases: Vec<_> = join_all(asked).await.into_iter().map(Result::unwrap).collect();
        let granted: Vec<_> =
            leases.iter().enumerate().filter(|(_, lease)| **lease == Lease::Granted).collect();
        assert_eq!(granted.len(), 1, "{leases:?}");
        assert!(leases.iter().all(|lease| *lease != Lease::NotOffered));
        let holder = granted[0].0;
        let other = (holder + 1) % stores.len();
        assert!(stores[holder].renew(&key, &holders[holder], minute).await.unwrap());
        assert!(!stores[other].renew(&key, &holders[other], minute).await.unwrap());
        stores[other].release(&key, &holders[other]).await.unwrap();
        assert_eq!(stores[other].lease(&key, &holders[other], minute).await.unwrap(), Lease::Taken);
        if round % 2 == 0 {
            stores[holder].release(&key, &holders[holder]).await.unwrap();
        } else {
            stores[other].remove(&key).await.unwrap();
        }
        assert_eq!(stores[other].lease(&key, &holders[other], minute).await.unwrap(), Lease::Granted);
        assert!(!stores[holder].renew(&key, &holders[holder], minute).await.unwrap());
    }
}

#[tokio::test]
async fn a_lease_ends_with_its_time_unless_it_is_renewed() {
    let test = "a_lease_ends_with_its_time_unless_it_is_renewed";
    let Some(server) = Redis::start(test, &[]).await else { return };
    let [one, other] = [(); 2].map(|()| RedisStore::new(&server.url()).unwrap());
    let short = Duration::from_millis(500);
    assert_eq!(one.lease("l/a", ONE, short).await.unwrap(), Lease::Granted);
    assert!((1..=500).contains(&server.number(&["pttl", "tvc:l/a"])));
    soon("it is over", || async {
        (other.lease("l/a", OTHER, short).await.unwrap() == Lease::Granted).then_some(())
    })
    .await;
    assert!(other.renew("l/a", OTHER, Duration::from_secs(60)).await.unwrap());
    assert!(server.number(&["pttl", "tvc:l/a"]) > 50_000);
    assert_eq!(one.lease("l/a", ONE, short).await.unwrap(), Lease::Taken);
}

#[tokio::test]
async fn a_lease_granted_just_before_the_wire_broke_is_granted() {
    let test = "a_lease_granted_just_before_the_wire_broke_is_granted";
    let Some(server) = Redis::start(test, &[]).await else { return };
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay);
    store.get("m/a").await.unwrap();
    // Not a byte of the answer.
    relay.cut(0, 1);
    assert_eq!(store.lease("l/a", ONE, Duration::from_secs(60)).await.unwrap(), Lease::Granted);
    assert_eq!(relay.cuts_left(), 0);
    assert_eq!(store.lease("l/a", OTHER, Duration::from_secs(60)).await.unwrap(), Lease::Taken);
}

#[tokio::test]
async fn a_lease_whose_holder_is_not_told_is_taken() {
    let Some(server) = Redis::start("a_lease_whose_holder_is_not_told_is_taken", &[]).await else { return };
    let store = RedisStore::new(&server.url()).unwrap();
    server.says(&["acl", "setuser", "default", "-eval"]);
    let minute = Duration::from_secs(60);
    assert_eq!(store.lease("l/a", ONE, minute).await.unwrap(), Lease::Granted);
    store.renew("l/a", ONE, minute).await.unwrap_err();
    assert_eq!(store.lease("l/a", OTHER, minute).await.unwrap(), Lease::Taken);
}

#[tokio::test]
async fn a_dead_server_gives_no_lease() {
    let store = RedisStore::new(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    store.lease("l/a", ONE, PAUSE).await.unwrap_err();
    store.renew("l/a", ONE, PAUSE).await.unwrap_err();
    store.release("l/a", ONE).await.unwrap_err();
}

fn store_behind(relay: &Relay) -> RedisStore {
    RedisStore::new(&format!("redis://127.0.0.1:{}", relay.port)).unwrap()
}

/// The error, and how long it took.
async fn failed<T: std::fmt::Debug>(
    call: impl std::future::Future<Output = Result<T, BoxError>>,
) -> (BoxError, Duration) {
    let began = Instant::now();
    let error = call.await.unwrap_err();
    (error, began.elapsed())
}

/// Bytes of every value, the line ends of Redis' protocol among them.
fn value(length: usize) -> Bytes {
    b"$-1\r\n".iter().copied().chain((0..=u8::MAX).cycle()).take(length).collect()
}

const ONE: &str = "11111111111111111111111111111111";
const OTHER: &str = "22222222222222222222222222222222";
/// Of a film of 48 chunks.
const LENGTH: usize = 3 << 20;
const CHUNK: usize = 64 << 10;
const PAUSE: Duration = Duration::from_millis(300);
