//! The layer over Redis.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tower_video_cache::{ChunkSize, Fill, RedisStore, VideoCacheLayer};

use super::PAUSE;
use crate::{
    servers::{Server, redis::Redis, soon},
    stores::film::Film,
    trials::tests,
};

tests! {
    Redis::PROGRAMS => on_one_thread:
        clients_get_the_video_from_redis_and_evicted_chunks_from_the_inner_service,
        clients_get_the_video_though_redis_dies_before_and_while_they_read,
        clients_get_the_video_though_redis_hangs;
}

async fn clients_get_the_video_from_redis_and_evicted_chunks_from_the_inner_service() {
    let server = Redis::start(&["--maxmemory-policy", "allkeys-lru"]).await;
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
    assert_eq!(film.asked().len(), asked, "evicted chunks are stored again");
}

async fn clients_get_the_video_though_redis_dies_before_and_while_they_read() {
    let mut server = Redis::start(&[]).await;
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

async fn clients_get_the_video_though_redis_hangs() {
    let server = Redis::start(&[]).await;
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
    let layer = VideoCacheLayer::new(store).fill(Fill::whole());
    layer.chunk_size(ChunkSize::new(CHUNK.try_into().unwrap()).unwrap())
}

/// The length of a video of 48 chunks.
const LENGTH: usize = 3 << 20;
const CHUNK: usize = 64 << 10;
