//! A real memcached.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use opendal::{services, Operator};
use tokio::time;
use tower_video_cache::{conformance, ChunkSize, OpendalStore, Store, VideoCacheLayer};

use crate::{film::Film, relay::Relay, servers::memcached::Memcached};

fn store(port: u16) -> OpendalStore {
    let service = services::Memcached::default()
        .endpoint(&format!("tcp://127.0.0.1:{port}"))
        .root("films")
        .default_ttl(Duration::from_secs(3600));
    OpendalStore::new(Operator::new(service).unwrap())
}

fn value(length: usize, seed: u8) -> Bytes {
    (0..=255_u8).cycle().take(length).map(|byte| byte.wrapping_mul(31).wrapping_add(seed)).collect()
}

#[tokio::test]
async fn a_memcached_as_it_is_keeps_the_contract_for_values_below_its_limit() {
    let Some(server) = Memcached::start("a_memcached_as_it_is_keeps_the_contract", &[]).await else { return };
    let store = store(server.port).largest_value(ITEM - ITEM_OVERHEAD);
    conformance::check(&store).await;
    let largest = value(usize::try_from(ITEM - ITEM_OVERHEAD).unwrap(), 1);
    store.put("c/0123456789abcdef0123456789abcdef/1234567", largest.clone()).await.unwrap();
    let got = store.get("c/0123456789abcdef0123456789abcdef/1234567").await.unwrap();
    assert!(got.unwrap() == largest);
}

#[tokio::test]
async fn a_memcached_of_large_items_keeps_the_contract_for_chunks_of_a_mebibyte() {
    let Some(server) = Memcached::start("a_memcached_of_large_items", &["-I", "8m"]).await else { return };
    let store = store(server.port);
    conformance::check(&store).await;
    store.put("c/1/0", value((1 << 20) + 40, 1)).await.unwrap();
    assert!(store.get("c/1/0").await.unwrap().unwrap() == value((1 << 20) + 40, 1));
}

#[tokio::test]
async fn calls_that_were_dropped_leave_no_answer_behind_for_another_call() {
    let name = "calls_that_were_dropped_leave_no_answer_behind";
    let Some(server) = Memcached::start(name, &["-I", "8m"]).await else { return };
    let relay = Relay::to(server.port).await;
    let store = store(relay.port);
    for key in 0..8_u8 {
        store.put(&format!("m/{key}"), value(300, key)).await.unwrap();
    }
    for round in 0..40_u8 {
        let mut dropped = [
            Box::pin(store.get("m/absent")) as std::pin::Pin<Box<dyn Future<Output = _> + Send>>,
            Box::pin(async { store.put("c/1/0", value(1 << 20, round)).await.map(|()| None) }),
            Box::pin(async { store.remove("m/absent").await.map(|()| None) }),
        ];
        relay.hold();
        let waited = Duration::from_millis(u64::from(round % 4));
        for call in &mut dropped {
            let _ = time::timeout(waited, call).await;
        }
        drop(dropped);
        relay.heal();
        for key in 0..8_u8 {
            let got = store.get(&format!("m/{key}")).await.unwrap();
            assert!(got.as_ref() == Some(&value(300, key)), "round {round}, {key}: {got:?}");
        }
        if let Some(whole) = store.get("c/1/0").await.unwrap() {
            assert!((0..=round).any(|round| whole == value(1 << 20, round)), "round {round}");
        }
    }
}

const ITEM: u64 = 1 << 20;
const ITEM_OVERHEAD: u64 = 200;
#[tokio::test]
async fn zz_measure() {
    let Some(server) = Memcached::start("x", &["-I", "8m"]).await else { return };
    let tcp = store(server.port);
    for size in [300, 1 << 20] {
        tcp.put("c/1/0", value(size, 1)).await.unwrap();
        let start = std::time::Instant::now();
        for _ in 0..10 {
            tcp.get("c/1/0").await.unwrap();
        }
        let got = start.elapsed() / 10;
        let start = std::time::Instant::now();
        for _ in 0..10 {
            tcp.put("c/1/0", value(size, 1)).await.unwrap();
        }
        panic_print(size, got, start.elapsed() / 10);
    }
    assert!(false);
}
fn panic_print(size: usize, a: Duration, b: Duration) {
    eprintln!("{size}: get {a:?} put {b:?}");
}
