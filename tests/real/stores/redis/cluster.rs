//! A cluster, and sentinels.

use std::time::Instant;

use tower_video_cache::{ChunkSize, RedisStore, Store, VideoCacheLayer, conformance};

use super::{BUSY, LONG_PAUSE, PAUSE, failed, is_not_asked, value};
use crate::{
    servers::{
        Server,
        redis::{Cluster, Redis, Watched},
        soon,
    },
    stores::film::Film,
    trials::tests,
};

tests! {
    Redis::PROGRAMS => on_one_thread:
        a_node_of_a_cluster_that_dies_and_comes_back_is_found_again,
        a_node_of_a_cluster_that_hangs_costs_the_others_little_and_is_found_again,
        the_successor_of_a_node_that_hangs_is_found,
        a_cluster_that_was_started_anew_is_found_again,
        sentinels_lead_to_the_new_master;
}

async fn a_node_of_a_cluster_that_dies_and_comes_back_is_found_again() {
    let partly = ["--cluster-require-full-coverage", "no"];
    let mut cluster = Cluster::start(&partly).await;
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
            Err(error) => assert!(began.elapsed() < BUSY, "{error}"),
        }
    }
    soon("values on other nodes are there", || async {
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

async fn a_node_of_a_cluster_that_hangs_costs_the_others_little_and_is_found_again() {
    let partly = ["--cluster-require-full-coverage", "no"];
    let cluster = Cluster::start(&partly).await;
    let film = Film::of(400_000);
    let nodes =
        [(); 2].map(|()| RedisStore::cluster(cluster.urls()).unwrap().timeout(PAUSE * 2).pause(PAUSE));
    let [store, behind] = nodes;
    let layer = VideoCacheLayer::new(behind).chunk_size(ChunkSize::new(64 << 10).unwrap());
    film.watch(&layer).await;
    let keys: Vec<_> = (0..16).map(|index| format!("c/a/{index}")).collect();
    for key in &keys {
        store.put(key, value(1000)).await.unwrap();
    }
    let lost = cluster.0[0].keys("tvc:c/a/*");
    let is_lost = |key: &String| lost.contains(&format!("tvc:{key}"));
    assert!(keys.iter().any(is_lost) && !keys.iter().all(is_lost));
    cluster.0[0].hang();
    for key in &keys {
        let began = Instant::now();
        let got = store.get(key).await;
        assert!(began.elapsed() < BUSY, "{key}: {:?}", began.elapsed());
        assert!(got.is_err() || !is_lost(key), "{key}");
    }
    film.watch(&layer).await;
    film.watch_part_or_all(&layer, 100_000..300_000).await;
    soon("values on other nodes are there", || async {
        let mut got = 0;
        for key in keys.iter().filter(|key| !is_lost(key)) {
            got += usize::from(store.get(key).await.is_ok());
        }
        (got + lost.len() == keys.len()).then_some(())
    })
    .await;
    cluster.0[0].go_on();
    for key in &keys {
        let got = soon("every key is there", || async { store.get(key).await.ok() }).await;
        assert_eq!(got.unwrap(), value(1000), "{key}");
    }
    soon("it is a hit again", || async { film.watch(&layer).await.contains("hit").then_some(()) }).await;
}

async fn the_successor_of_a_node_that_hangs_is_found() {
    let cluster = Cluster::start(&[]).await;
    let follower = cluster.follow_the_first().await;
    let store = RedisStore::cluster(cluster.urls()).unwrap().timeout(PAUSE * 3).pause(PAUSE);
    let keys: Vec<_> = (0..16).map(|index| format!("c/a/{index}")).collect();
    for key in keys.iter().map(String::as_str).chain(["m/a", "m/b", "m/c"]) {
        store.put(key, value(1000)).await.unwrap();
    }
    let of_first = cluster.0[0].keys("tvc:*").len();
    soon("it is told", || async { (follower.keys("tvc:*").len() == of_first).then_some(()) }).await;
    // Its kernel still acknowledges everything that is sent to it.
    cluster.0[0].hang();
    soon("there is a successor", || async { follower.says(&["role"]).starts_with("master").then_some(()) })
        .await;
    for key in &keys {
        let got = soon("every key is there", || async { store.get(key).await.ok() }).await;
        assert_eq!(got.unwrap(), value(1000), "{key}");
    }
    // The calls go over every connection.
    for key in keys.iter().map(String::as_str).chain(["m/a", "m/b", "m/c"]).cycle().take(95) {
        assert_eq!(store.get(key).await.unwrap().unwrap(), value(1000), "{key}");
    }
}

async fn a_cluster_that_was_started_anew_is_found_again() {
    let mut cluster = Cluster::start(&[]).await;
    let store = RedisStore::cluster(cluster.urls()).unwrap().pause(LONG_PAUSE);
    store.put("m/a", value(10)).await.unwrap();
    cluster.0.iter_mut().for_each(Redis::kill);
    for _ in 0..3 {
        let (error, time) = failed(store.get("m/a")).await;
        assert!(time < BUSY, "{time:?}: {error}");
    }
    is_not_asked(store.get("m/a")).await;
    for node in &mut cluster.0 {
        node.start_again().await;
    }
    cluster.is_whole().await;
    let began = Instant::now();
    soon("the store works again", || async { store.put("m/a", value(20)).await.ok() }).await;
    assert!(began.elapsed() < LONG_PAUSE + BUSY, "{:?}", began.elapsed());
    assert_eq!(store.get("m/a").await.unwrap().unwrap(), value(20));
}

async fn sentinels_lead_to_the_new_master() {
    let mut watched = Watched::start().await;
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
