//! The holder of a lease.

use std::time::Duration;

use futures_util::future::join_all;
use tower_video_cache::{Lease, RedisStore, Store};

use super::{PAUSE, store_behind};
use crate::{
    servers::{
        Server, free_port,
        redis::{Cluster, Redis},
        soon,
    },
    stores::relay::Relay,
    trials::tests,
};

tests! {
    Redis::PROGRAMS => on_one_thread:
        a_lease_is_granted_to_one_of_all_nodes,
        a_lease_of_a_cluster_is_granted_to_one_of_all_nodes,
        a_lease_ends_with_its_time_unless_it_is_renewed,
        a_lease_granted_just_before_the_wire_broke_is_granted,
        a_user_without_scripts_is_offered_no_lease_and_none_is_left_behind,
        a_server_without_the_command_offers_no_lease,
        a_user_who_loses_scripts_loses_its_lease_and_is_offered_no_other,
        a_full_server_says_nothing_of_scripts;
    &[] => on_one_thread:
        a_dead_server_gives_no_lease;
}

async fn a_lease_is_granted_to_one_of_all_nodes() {
    let server = Redis::start(&[]).await;
    let stores: Vec<_> = (0..8).map(|_| RedisStore::new(&server.url()).unwrap()).collect();
    leases_are_exclusive(&stores).await;
}

async fn a_lease_of_a_cluster_is_granted_to_one_of_all_nodes() {
    let cluster = Cluster::start(&[]).await;
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

async fn a_lease_ends_with_its_time_unless_it_is_renewed() {
    let server = Redis::start(&[]).await;
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

async fn a_lease_granted_just_before_the_wire_broke_is_granted() {
    let server = Redis::start(&[]).await;
    let relay = Relay::to(server.port).await;
    let store = store_behind(&relay);
    store.get("m/a").await.unwrap();
    // Not a byte of the answer passes.
    relay.cut(0, 1);
    assert_eq!(store.lease("l/a", ONE, Duration::from_secs(60)).await.unwrap(), Lease::Granted);
    assert_eq!(relay.cuts_left(), 0);
    assert_eq!(store.lease("l/a", OTHER, Duration::from_secs(60)).await.unwrap(), Lease::Taken);
}

/// Commands that a user is not allowed, or a server does not know.
const WITHOUT_SCRIPTS: [&[&str]; 3] = [&["-eval"], &["-pexpire"], &["-@scripting"]];

async fn a_user_without_scripts_is_offered_no_lease_and_none_is_left_behind() {
    let server = Redis::start(&[]).await;
    let minute = Duration::from_secs(60);
    for rules in WITHOUT_SCRIPTS {
        server.says(&[&["acl", "setuser", "default", "+@all"], rules].concat());
        let store = RedisStore::new(&server.url()).unwrap();
        for _ in 0..2 {
            assert_eq!(store.lease("l/a", ONE, minute).await.unwrap(), Lease::NotOffered, "{rules:?}");
            assert!(server.keys("*").is_empty(), "{rules:?}");
        }
    }
}

async fn a_server_without_the_command_offers_no_lease() {
    let server = Redis::start(&["--rename-command", "EVAL", ""]).await;
    let store = RedisStore::new(&server.url()).unwrap();
    assert_eq!(store.lease("l/a", ONE, PAUSE).await.unwrap(), Lease::NotOffered);
    assert!(server.keys("*").is_empty());
}

async fn a_user_who_loses_scripts_loses_its_lease_and_is_offered_no_other() {
    let server = Redis::start(&[]).await;
    let (store, minute) = (RedisStore::new(&server.url()).unwrap(), Duration::from_secs(60));
    assert_eq!(store.lease("l/a", ONE, minute).await.unwrap(), Lease::Granted);
    server.says(&["acl", "setuser", "default", "-eval"]);
    store.renew("l/a", ONE, minute).await.unwrap_err();
    store.release("l/a", OTHER).await.unwrap();
    assert_eq!(server.keys("*").len(), 1, "it is not the other's");
    store.release("l/a", ONE).await.unwrap();
    assert!(server.keys("*").is_empty());
    assert_eq!(store.lease("l/a", OTHER, minute).await.unwrap(), Lease::NotOffered);
}

async fn a_full_server_says_nothing_of_scripts() {
    let server = Redis::start(&[]).await;
    let (store, minute) = (RedisStore::new(&server.url()).unwrap(), Duration::from_secs(60));
    assert_eq!(store.lease("l/a", ONE, minute).await.unwrap(), Lease::Granted);
    server.says(&["config", "set", "maxmemory", "1"]);
    store.lease("l/b", ONE, minute).await.unwrap_err();
    let _ = store.renew("l/a", ONE, minute).await;
    server.says(&["config", "set", "maxmemory", "0"]);
    assert_eq!(store.lease("l/b", ONE, minute).await.unwrap(), Lease::Granted);
}

async fn a_dead_server_gives_no_lease() {
    let store = RedisStore::new(&format!("redis://127.0.0.1:{}", free_port())).unwrap();
    store.lease("l/a", ONE, PAUSE).await.unwrap_err();
    store.renew("l/a", ONE, PAUSE).await.unwrap_err();
    store.release("l/a", ONE).await.unwrap_err();
}

const ONE: &str = "11111111111111111111111111111111";
const OTHER: &str = "22222222222222222222222222222222";
