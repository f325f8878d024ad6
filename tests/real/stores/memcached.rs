//! A real memcached.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use opendal::{Operator, services};
use tokio::{task::yield_now, time};
use tower_video_cache::{ChunkSize, OpendalStore, PutNew, Store, VideoCacheLayer, conformance};

use crate::{
    servers::{Server, memcached::Memcached},
    stores::film::Film,
    trials::tests,
};

tests! {
    Memcached::PROGRAMS => on_one_thread:
        a_memcached_as_it_is_keeps_the_contract_for_values_below_its_limit,
        a_memcached_of_large_items_keeps_the_contract_for_chunks_of_a_mebibyte,
        a_memcached_at_a_port_is_used_too,
        a_value_that_memcached_refuses_is_an_error_and_nothing_is_kept,
        a_dropped_call_leaves_nothing_behind_for_the_next,
        chunks_that_a_full_memcached_evicted_are_fetched_again;
}

fn store(server: &Memcached) -> OpendalStore {
    let service = services::Memcached::default()
        .endpoint(&server.endpoint())
        .root("films")
        .default_ttl(Duration::from_secs(3600));
    OpendalStore::new(Operator::new(service).unwrap())
}

fn value(length: usize, seed: u8) -> Bytes {
    let mut value = vec![seed; length];
    value[length / 2] = !seed;
    value.into()
}

// The store.

async fn a_memcached_as_it_is_keeps_the_contract_for_values_below_its_limit() {
    let server = Memcached::start(&[]).await;
    let store = store(&server).max_value_size(LARGEST);
    conformance::check(&store).await;
    // memcached itself could, with its command `add`, but opendal does not ask for that.
    assert_eq!(store.put_new("p/1", value(100, 1)).await.unwrap(), PutNew::NotOffered);
    let largest = value(usize::try_from(LARGEST).unwrap(), 1);
    store.put(LONG_KEY, largest.clone()).await.unwrap();
    assert!(store.get(LONG_KEY).await.unwrap().unwrap() == largest);
}

async fn a_memcached_of_large_items_keeps_the_contract_for_chunks_of_a_mebibyte() {
    let server = Memcached::start(&["-I", "8m"]).await;
    let store = store(&server);
    conformance::check(&store).await;
    store.put(LONG_KEY, value((1 << 20) + 40, 1)).await.unwrap();
    assert!(store.get(LONG_KEY).await.unwrap().unwrap() == value((1 << 20) + 40, 1));
}

async fn a_memcached_at_a_port_is_used_too() {
    let server = Memcached::start_at_a_port(&["-I", "8m"]).await;
    let store = store(&server);
    store.put(LONG_KEY, value(1 << 20, 1)).await.unwrap();
    assert!(store.get(LONG_KEY).await.unwrap().unwrap() == value(1 << 20, 1));
    drop(server);
    assert!(store.get(LONG_KEY).await.is_err());
}

async fn a_value_that_memcached_refuses_is_an_error_and_nothing_is_kept() {
    let server = Memcached::start(&[]).await;
    let store = store(&server);
    store.put(LONG_KEY, value(10, 1)).await.unwrap();
    assert!(store.put(LONG_KEY, value(2 << 20, 1)).await.is_err());
    let kept = store.get(LONG_KEY).await.unwrap();
    assert!(kept.is_none_or(|kept| kept == value(10, 1)));
}

async fn a_dropped_call_leaves_nothing_behind_for_the_next() {
    let server = Memcached::start(&["-I", "8m"]).await;
    let store = store(&server);
    for key in 0..4 {
        store.put(&format!("m/{key}"), value(300, key)).await.unwrap();
    }
    for polls in 0..40_u8 {
        let calls = [
            async { store.get("m/absent").await.map(drop) }.boxed(),
            async { store.remove("m/absent").await }.boxed(),
            async { store.put("c/1/0", value(1 << 20, polls)).await }.boxed(),
        ];
        for mut call in calls {
            for _ in 0..polls {
                if pin!(&mut call).poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
                yield_now().await;
            }
        }
        for key in 0..4 {
            let got = time::timeout(LONG, store.get(&format!("m/{key}"))).await.unwrap();
            assert!(matches!(&got, Ok(Some(got)) if *got == value(300, key)), "{polls}, {key}: {got:?}");
        }
        if let Some(got) = store.get("c/1/0").await.unwrap() {
            assert!(got == value(1 << 20, got[0]), "{polls}: {} bytes", got.len());
        }
    }
}

// The whole layer.

async fn chunks_that_a_full_memcached_evicted_are_fetched_again() {
    let server = Memcached::start(&["-m", "8", "-I", "2m"]).await;
    let layer = || VideoCacheLayer::new(store(&server)).chunk_size(ChunkSize::new(256 << 10).unwrap());
    let (one, other) = (layer(), layer());
    // The video is larger than the server, so not all of it can be there at once.
    let film = Film::of(10 << 20);
    for _ in 0..2 {
        film.watch(&one).await;
        film.watch(&other).await;
        film.watch_part(&one, 1_000_000..3_000_000).await;
    }
    // A video that fits pushes out the other, and is a hit.
    let short = Film::at("/short", 1 << 20);
    short.watch(&one).await;
    assert!(short.watch(&other).await.contains("; hit"));
}

/// The default limit of an item, without the bytes that the server keeps beside a value and the longest key.
const LARGEST: u64 = (1 << 20) - 512;
const LONG_KEY: &str = "c/0123456789abcdef0123456789abcdef/18446744073709551615";
const LONG: Duration = Duration::from_secs(10);
