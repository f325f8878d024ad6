//! A bucket behind a real S3 server.

use std::{fs, time::Duration};

use bytes::Bytes;
use opendal::{
    Operator,
    layers::{ConcurrentLimitLayer, RetryLayer, TimeoutLayer},
};
use tokio::time;
use tower_video_cache::{ChunkSize, Fill, OpendalStore, PutNew, Store, VideoCacheLayer, conformance};

use crate::{
    servers::{
        Server,
        s3::{S3, at},
    },
    stores::{film::Film, relay::Relay},
    trials::tests,
};

tests! {
    S3::PROGRAMS => on_one_thread:
        a_bucket_keeps_the_contract,
        a_bucket_keeps_the_contract_under_the_layers_of_the_documentation,
        a_server_that_checks_before_it_writes_offers_no_new_values,
        a_value_is_new_once_where_one_call_ends_before_the_next_begins,
        an_answer_that_breaks_off_is_an_error,
        an_answer_that_breaks_off_once_is_asked_for_again,
        a_dead_server_is_an_error_soon_and_one_that_is_back_is_used,
        a_server_that_hangs_is_an_error_in_time,
        a_wrong_secret_key_is_an_error_and_not_an_empty_bucket,
        a_response_that_one_node_stored_is_a_hit_of_another,
        nodes_that_fill_one_bucket_at_once_all_give_the_true_bytes,
        chunks_that_a_sweeper_took_are_fetched_again,
        without_its_bucket_the_layer_gives_the_answers_of_the_inner_service;
}

/// The layers that the documentation asks for, with its numbers.
fn layered(operator: Operator) -> OpendalStore {
    let operator = operator
        .layer(ConcurrentLimitLayer::new(64))
        .layer(TimeoutLayer::new().with_timeout(SHORT).with_io_timeout(SHORT))
        .layer(RetryLayer::new().with_max_times(1).with_min_delay(Duration::from_millis(50)));
    OpendalStore::new(operator)
}

/// A layer of its own, as another node would have.
fn node(server: &S3) -> VideoCacheLayer {
    let layer = VideoCacheLayer::new(layered(server.operator())).fill(Fill::whole());
    layer.chunk_size(ChunkSize::new(64 << 10).unwrap())
}

fn value(seed: u8) -> Bytes {
    (0..=255_u8).cycle().take(1 << 20).map(|byte| byte.wrapping_mul(31).wrapping_add(seed)).collect()
}

// The store.

async fn a_bucket_keeps_the_contract() {
    let server = S3::start().await;
    conformance::check(&OpendalStore::new(server.operator())).await;
}

async fn a_bucket_keeps_the_contract_under_the_layers_of_the_documentation() {
    let server = S3::start().await;
    conformance::check(&layered(server.operator())).await;
    // No call waits for a permit that it holds itself.
    let one_at_a_time = server.operator().layer(ConcurrentLimitLayer::new(1));
    time::timeout(LONG, conformance::check(&OpendalStore::new(one_at_a_time))).await.unwrap();
}

/// `s3s-fs` 0.14 checks whether there is a file, reads the body, and then renames its own file.
async fn a_server_that_checks_before_it_writes_offers_no_new_values() {
    let server = S3::start().await;
    for _ in 0..20 {
        let store = OpendalStore::new(server.operator());
        assert_eq!(store.put_new("p/1", value(1)).await.unwrap(), PutNew::NotOffered);
        assert_eq!(store.get("p/1").await.unwrap(), None);
    }
    assert!(server.files("/p/").is_empty(), "the first call leaves nothing behind");
}

/// Such a server gives the right answers to calls that do not overlap. See `s3_likes` for those that do.
async fn a_value_is_new_once_where_one_call_ends_before_the_next_begins() {
    let server = S3::start().await;
    let store = OpendalStore::new(server.operator().layer(ConcurrentLimitLayer::new(1)));
    // A larger value costs the connection, because the server refuses it before it has read all of it.
    let value = |seed: u8| Bytes::from(vec![seed; 2000]);
    assert_eq!(store.put_new("p/1", value(1)).await.unwrap(), PutNew::Created);
    assert_eq!(store.put_new("p/1", value(2)).await.unwrap(), PutNew::Exists);
    assert!(store.get("p/1").await.unwrap().unwrap() == value(1));
    store.remove("p/1").await.unwrap();
    assert_eq!(store.put_new("p/1", value(2)).await.unwrap(), PutNew::Created);
}

async fn an_answer_that_breaks_off_is_an_error() {
    let server = S3::start().await;
    let relay = Relay::to(server.port).await;
    let store = OpendalStore::new(Operator::new(at(relay.port)).unwrap());
    store.put("c/1/0", value(1)).await.unwrap();
    for bytes in [1, 100, 2000, 100_000, 1_000_000, (1 << 20) + 50] {
        relay.cut(bytes, u32::MAX);
        let got = store.get("c/1/0").await;
        assert!(got.is_err(), "after {bytes} bytes: {:?}", got.map(|value| value.map(|value| value.len())));
    }
    relay.heal();
    assert!(store.get("c/1/0").await.unwrap().unwrap() == value(1));
}

async fn an_answer_that_breaks_off_once_is_asked_for_again() {
    let server = S3::start().await;
    let relay = Relay::to(server.port).await;
    let store = layered(Operator::new(at(relay.port)).unwrap());
    store.put("c/1/0", value(1)).await.unwrap();
    relay.cut(300_000, 1);
    assert!(store.get("c/1/0").await.unwrap().unwrap() == value(1));
    assert_eq!(relay.cuts_left(), 0);
}

async fn a_dead_server_is_an_error_soon_and_one_that_is_back_is_used() {
    let mut server = S3::start().await;
    let store = layered(server.operator());
    store.put("c/1/0", value(1)).await.unwrap();
    server.stop();
    let failing = async {
        assert!(store.get("c/1/0").await.is_err());
        assert!(store.put("c/1/1", value(2)).await.is_err());
        assert!(store.remove("c/1/0").await.is_err());
    };
    time::timeout(SHORT, failing).await.unwrap();
    server.restart().await;
    assert!(store.get("c/1/0").await.unwrap().unwrap() == value(1));
}

async fn a_server_that_hangs_is_an_error_in_time() {
    let server = S3::start().await;
    let relay = Relay::to(server.port).await;
    let short = Duration::from_millis(200);
    let hanging = Operator::new(at(relay.port))
        .unwrap()
        .layer(TimeoutLayer::new().with_timeout(short).with_io_timeout(short))
        .layer(RetryLayer::new().with_max_times(1).with_min_delay(Duration::from_millis(50)));
    let store = OpendalStore::new(hanging);
    store.put("c/1/0", value(1)).await.unwrap();
    relay.hold();
    assert!(time::timeout(SHORT, store.get("c/1/0")).await.unwrap().is_err());
    relay.heal();
    assert!(store.get("c/1/0").await.unwrap().unwrap() == value(1));
}

async fn a_wrong_secret_key_is_an_error_and_not_an_empty_bucket() {
    let server = S3::start().await;
    let store = OpendalStore::new(Operator::new(at(server.port).secret_access_key("wrong")).unwrap());
    assert!(store.get("c/1/0").await.is_err());
    assert!(store.put("c/1/0", value(1)).await.is_err());
    assert!(store.remove("c/1/0").await.is_err());
}

// The whole layer.

async fn a_response_that_one_node_stored_is_a_hit_of_another() {
    let server = S3::start().await;
    let film = Film::of(300_000);
    let (one, other) = (node(&server), node(&server));
    assert!(film.watch(&one).await.contains("stored"));
    assert!(film.watch(&other).await.contains("; hit"));
    assert!(film.watch_part(&other, 100_000..200_000).await.contains("; hit"));
    assert_eq!(film.asked().len(), 1);
}

async fn nodes_that_fill_one_bucket_at_once_all_give_the_true_bytes() {
    let server = S3::start().await;
    let film = Film::of(300_000);
    let (one, other) = (node(&server), node(&server));
    let viewers = (film.watch(&one), film.watch(&other), film.watch(&one), film.watch(&other));
    let (viewer, ..) = tokio::join!(viewers.0, viewers.1, viewers.2, viewers.3);
    assert!(viewer.contains("fwd=uri-miss"), "{viewer}");
    // Each node makes one fill at most. The last one has the record, and its own chunks.
    let asked = film.asked().len();
    assert!(asked <= 2, "{asked}");
    for layer in [&one, &other, &node(&server)] {
        assert!(film.watch(layer).await.contains("; hit"));
    }
    assert_eq!(film.asked().len(), asked);
}

async fn chunks_that_a_sweeper_took_are_fetched_again() {
    let server = S3::start().await;
    let film = Film::of(300_000);
    let layer = node(&server);
    film.watch(&layer).await;
    let chunks = server.files("/c/");
    assert!(chunks.len() >= 5, "{chunks:?}");
    for chunk in chunks.iter().filter(|path| path.to_string_lossy().ends_with("/2~")) {
        fs::remove_file(chunk).unwrap();
    }
    film.watch(&layer).await;
    assert_eq!(film.asked()[1..], ["bytes=131072-196607"]);
    for chunk in server.files("/c/") {
        fs::remove_file(chunk).unwrap();
    }
    film.watch(&layer).await;
    film.watch(&node(&server)).await;
}

async fn without_its_bucket_the_layer_gives_the_answers_of_the_inner_service() {
    let mut server = S3::start().await;
    let film = Film::of(300_000);
    let layer = node(&server);
    film.watch(&layer).await;
    server.stop();
    time::timeout(LONG, film.watch(&layer)).await.unwrap();
    server.restart().await;
    assert!(film.watch(&layer).await.contains("; hit"));
}

const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(60);
