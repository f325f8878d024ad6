//! The values that a server keeps, and for how long. Also the settings.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tower_video_cache::{Lease, PutNew, RedisStore, Store, conformance};

use super::{LONG_PAUSE, is_not_asked, store_behind, value};
use crate::{
    servers::{
        Server,
        redis::{Cluster, Redis},
        soon,
    },
    stores::relay::Relay,
    trials::tests,
};

tests! {
    Redis::PROGRAMS => on_one_thread:
        a_server_keeps_the_contract,
        a_server_behind_a_socket_keeps_the_contract,
        a_cluster_keeps_the_contract_and_shares_the_chunks,
        a_value_is_kept_for_its_time,
        the_log_of_purges_is_kept_without_a_time,
        a_value_is_new_for_one_of_all_nodes,
        a_value_is_new_for_one_of_all_nodes_on_a_cluster,
        a_new_value_whose_answer_was_lost_exists,
        a_new_value_is_put_even_during_a_pause,
        a_user_who_may_do_no_more_than_the_documentation_says_keeps_the_contract;
    &[] => plain:
        a_wrong_url_is_a_wrong_setting_and_a_right_one_needs_no_runtime;
    &[] => on_one_thread:
        a_prefix_of_other_characters_is_a_wrong_setting,
        a_value_that_redis_does_not_keep_is_declined;
}

// The contract.

async fn a_server_keeps_the_contract() {
    let server = Redis::start(&[]).await;
    let store = RedisStore::new(&server.url()).unwrap();
    conformance::check(&store).await;
    let refreshed = store.expiry(Duration::from_secs(60)).refresh_on_use(true).prefix("another:");
    conformance::check(&refreshed).await;
    assert!(server.keys("*").iter().all(|key| key.starts_with("tvc:") || key.starts_with("another:")));
}

async fn a_server_behind_a_socket_keeps_the_contract() {
    let server = Redis::start(&["--unixsocket", "socket"]).await;
    let store = RedisStore::new(&format!("unix://{}?db=3", server.socket())).unwrap();
    conformance::check(&store).await;
    assert!(server.says(&["info", "keyspace"]).contains("db3:keys="));
}

async fn a_cluster_keeps_the_contract_and_shares_the_chunks() {
    let cluster = Cluster::start(&[]).await;
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

async fn a_value_is_kept_for_its_time() {
    let server = Redis::start(&[]).await;
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
    let store = store.refresh_on_use(true);
    assert_eq!(store.get("c/hour").await.unwrap().unwrap(), value(10));
    assert!(server.number(&["pttl", "tvc:c/hour"]) > 3_500_000, "since it was used");

    let store = store.expiry(Duration::from_millis(30)).refresh_on_use(false);
    store.put("c/moment", value(10)).await.unwrap();
    soon("it expires", || async { store.get("c/moment").await.unwrap().is_none().then_some(()) }).await;
    // Neither an expiry of zero nor the longest possible one is an error.
    for expiry in [Duration::ZERO, Duration::MAX] {
        RedisStore::new(&server.url()).unwrap().expiry(expiry).put("c/odd", value(10)).await.unwrap();
    }
}

async fn the_log_of_purges_is_kept_without_a_time() {
    let server = Redis::start(&[]).await;
    let store = RedisStore::new(&server.url()).unwrap().expiry(Duration::from_secs(60)).refresh_on_use(true);
    assert_eq!(store.put_new("p/1", value(10)).await.unwrap(), PutNew::Created);
    assert_eq!(store.put_new("p/1", value(20)).await.unwrap(), PutNew::Exists);
    store.put("p/head", value(10)).await.unwrap();
    store.put("m/a", value(10)).await.unwrap();
    for key in ["p/1", "p/head", "m/a"] {
        assert_eq!(store.get(key).await.unwrap().unwrap(), value(10), "{key}");
    }
    for key in ["tvc:p/1", "tvc:p/head"] {
        assert_eq!(server.number(&["pttl", key]), -1, "{key}");
    }
    assert!(server.number(&["pttl", "tvc:m/a"]) > 0);
}

async fn a_value_is_new_for_one_of_all_nodes() {
    let server = Redis::start(&[]).await;
    let stores: Vec<_> = (0..8).map(|_| RedisStore::new(&server.url()).unwrap()).collect();
    one_creates(&stores).await;
}

async fn a_value_is_new_for_one_of_all_nodes_on_a_cluster() {
    let cluster = Cluster::start(&[]).await;
    let stores: Vec<_> = (0..4).map(|_| RedisStore::cluster(cluster.urls()).unwrap()).collect();
    one_creates(&stores).await;
}

async fn one_creates(stores: &[RedisStore]) {
    for round in 0..20 {
        let key = format!("p/{round}");
        let puts = (1..).zip(stores).map(|(length, store)| store.put_new(&key, value(length)));
        let puts: Vec<_> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
        let created: Vec<_> = (1..).zip(&puts).filter(|(_, put)| **put == PutNew::Created).collect();
        assert_eq!(created.len(), 1, "{puts:?}");
        assert!(puts.iter().all(|put| *put != PutNew::NotOffered));
        for store in stores {
            assert_eq!(store.get(&key).await.unwrap().unwrap(), value(created[0].0));
        }
    }
}

async fn a_new_value_whose_answer_was_lost_exists() {
    let server = Redis::start(&[]).await;
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay);
    store.get("m/a").await.unwrap();
    // Not a byte of the answer passes, and the store asks again.
    relay.cut(0, 1);
    assert_eq!(store.put_new("p/1", value(10)).await.unwrap(), PutNew::Exists);
    assert_eq!(relay.cuts_left(), 0);
    assert_eq!(store.get("p/1").await.unwrap().unwrap(), value(10), "its own");
}

async fn a_new_value_is_put_even_during_a_pause() {
    let mut server = Redis::start(&[]).await;
    let store = RedisStore::new(&server.url()).unwrap().pause(LONG_PAUSE);
    server.process().kill();
    for _ in 0..3 {
        store.get("m/a").await.unwrap_err();
    }
    is_not_asked(store.get("m/a")).await;
    server.begin_again().await;
    assert_eq!(store.put_new("p/1", value(10)).await.unwrap(), PutNew::Created);
}

async fn a_user_who_may_do_no_more_than_the_documentation_says_keeps_the_contract() {
    let server = Redis::start(&[]).await;
    let allow = |server: &Redis, more: &[&str]| {
        let user = ["acl", "setuser", "films", "on", ">secret", "~tvc:*"];
        let commands = ["+get", "+getex", "+set", "+unlink", "+eval", "+pexpire", "+del"];
        assert_eq!(server.says(&[&user[..], &commands, more].concat()), "OK");
        server.url().replace("//", "//films:secret@")
    };
    let keeps = |store: RedisStore| async move {
        let store = store.expiry(Duration::from_secs(60)).refresh_on_use(true);
        conformance::check(&store).await;
        let minute = Duration::from_secs(60);
        assert_eq!(store.lease("l/a", "me", minute).await.unwrap(), Lease::Granted);
        assert!(store.renew("l/a", "me", minute).await.unwrap());
        store.release("l/a", "me").await.unwrap();
        assert_eq!(store.lease("l/a", "you", minute).await.unwrap(), Lease::Granted);
    };
    keeps(RedisStore::new(&allow(&server, &[])).unwrap()).await;
    let cluster = Cluster::start(&[]).await;
    let urls = cluster.0.iter().map(|node| allow(node, &["+cluster|slots", "+ping", "+asking"]));
    keeps(RedisStore::cluster(urls).unwrap()).await;
}

// Settings.

fn a_wrong_url_is_a_wrong_setting_and_a_right_one_needs_no_runtime() {
    for url in ["", "redis", "http://127.0.0.1", "redis://127.0.0.1/films", "redis://0.0.0.0"] {
        assert!(RedisStore::new(url).unwrap_err().is_config(), "{url}");
        assert!(RedisStore::cluster([url]).unwrap_err().is_config(), "{url}");
        assert!(RedisStore::sentinel([url], "films").unwrap_err().is_config(), "{url}");
    }
    assert!(RedisStore::cluster([""; 0]).unwrap_err().is_config());
    assert!(RedisStore::sentinel(["redis://127.0.0.1"], "unix:///films").unwrap_err().is_config());
    let secret = format!("{:?}", RedisStore::new("redis://me:secret@127.0.0.1:1/2").unwrap());
    assert!(!secret.contains("secret"), "{secret}");
    RedisStore::cluster(["redis://127.0.0.1:1", "redis://127.0.0.1:2"]).unwrap();
    RedisStore::sentinel(["redis://127.0.0.1:1"], "redis://:secret@films/0").unwrap();
}

async fn a_prefix_of_other_characters_is_a_wrong_setting() {
    for prefix in ["{one node}", "spa ce", "ümlaut", "line\n"] {
        let store = RedisStore::new("redis://127.0.0.1:1").unwrap().prefix(prefix);
        for error in [store.get("c/a").await.unwrap_err(), store.put("c/a", value(1)).await.unwrap_err()] {
            let error = error.downcast::<tower_video_cache::Error>().unwrap();
            assert!(error.is_config(), "{prefix}");
        }
    }
}

async fn a_value_that_redis_does_not_keep_is_declined() {
    let store = RedisStore::new("redis://127.0.0.1:1").unwrap();
    let largest = usize::try_from(store.max_value_size().unwrap()).unwrap();
    // Zeros that no code touches take no memory.
    let refused = store.put("c/a", Bytes::from(vec![0; largest + 1])).await.unwrap_err();
    assert!(refused.to_string().contains("larger"), "{refused}");
}
