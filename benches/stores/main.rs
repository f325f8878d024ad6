//! Measures the cost of a hit from each store: the time to its first byte, and the rate of its bytes.
//!
//! `cargo bench --features all-stores --bench stores` measures. With `-- --test`, each measurement runs a few times,
//! to check that it works. The bench starts the servers that are on the `PATH` (`redis-server`, `memcached` and
//! `s3s-fs`) on loopback. If a server is missing, its rows are left out. The row `raw` is the same value read by the
//! redis client alone, in turns with the rows of Redis.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot go on has failed, and is read as it is printed"
)]

#[path = "../../tests/real/folder.rs"]
mod folder;
#[path = "../../examples/cluster/redis_server.rs"]
mod redis_server;
#[allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    reason = "the tests need more of them, and fail by a panic"
)]
#[path = "../../tests/real/servers/mod.rs"]
mod servers;
#[allow(dead_code, unused_macros, unused_imports, clippy::unwrap_used, reason = "these are not tests")]
#[path = "../../tests/real/trials.rs"]
mod trials;

use std::{
    convert::Infallible,
    future::Future,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use opendal::{Operator, services};
use tower::{Layer, Service, ServiceExt};
use tower_video_cache::{
    Fill, FoyerStore, MokaStore, OpendalStore, RedisStore, Store, Tiered, VideoCache, VideoCacheLayer,
};

use self::{
    redis_server::RedisServer,
    servers::{Server, memcached::Memcached, s3::S3},
    trials::{Programs, missing},
};

fn main() {
    // As with criterion, `cargo test` runs this without `--bench`.
    let is_told = |what: &str| std::env::args().any(|argument| argument == what);
    let rounds = if is_told("--bench") && !is_told("--test") { 400 } else { 3 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(all(rounds));
}

async fn all(rounds: usize) {
    let scratch = Scratch::new();
    println!("p50 of a hit, one at a time, of a 64 MiB object in chunks of 1 MiB; MiB/s of 8 at once");
    println!(
        "{:<24}{:>14}{:>14}{:>14}{:>14}{:>14}",
        "store", "first byte", "64 KiB", "1 MiB", "1 MiB x 8", "whole"
    );
    row("moka", &cached(MokaStore::new(1 << 30).unwrap()).await, rounds).await;
    let files = || {
        let files = services::Fs::default()
            .root(&scratch.text("files"))
            .atomic_write_dir(&scratch.text("unfinished"));
        OpendalStore::new(Operator::new(files).unwrap())
    };
    row("fs", &cached(files()).await, rounds).await;
    row("fs, near", &cached(Tiered::new(MokaStore::new(1 << 30).unwrap(), files())).await, rounds).await;
    std::fs::create_dir(scratch.text("foyer")).unwrap();
    let foyer = FoyerStore::open(scratch.text("foyer"), 16 << 20, 1 << 30).await.unwrap();
    let foyer = std::sync::Arc::new(foyer);
    row("foyer, 16 MiB memory", &cached(foyer.clone()).await, rounds).await;
    foyer.close().await.unwrap();
    if is_there(Memcached::PROGRAMS) {
        let memcached = Memcached::start(&["-m", "512", "-I", "8m"]).await;
        let server = services::Memcached::default().endpoint(&memcached.endpoint());
        row("memcached", &cached(OpendalStore::new(Operator::new(server).unwrap())).await, rounds).await;
    }
    if is_there(S3::PROGRAMS) {
        let s3 = S3::start().await;
        let files = || OpendalStore::new(s3.operator());
        // This server is slow.
        row("s3", &cached(files()).await, rounds.div_ceil(8)).await;
        row("s3, near", &cached(Tiered::new(MokaStore::new(1 << 30).unwrap(), files())).await, rounds).await;
    }
    let redis = match RedisServer::start().await {
        Ok(redis) => redis,
        Err(error) => {
            println!("the rows of Redis are left out: {error}");
            return;
        }
    };
    let url = format!("redis://{}", redis.address());
    let service = cached(RedisStore::new(&url).unwrap()).await;
    row("redis", &service, rounds).await;
    against_raw("redis", &url, &service, rounds).await;
    let near = |bytes| Tiered::new(MokaStore::new(bytes).unwrap(), RedisStore::new(&url).unwrap());
    row("redis, near", &cached(near(1 << 30)).await, rounds).await;
    // The near store has room for small values only: the chunks that were read are evicted before their turn comes
    // again.
    let service = cached(near(16 << 20)).await;
    row("redis, 16 MiB near", &service, rounds).await;
    against_raw("redis, 16 MiB near", &url, &service, rounds).await;

    let dead = RedisStore::new(&url).unwrap();
    drop(redis);
    without_a_server(dead, rounds).await;
}

/// Whether the programs are there. Prints a line if the rows of a server are left out.
fn is_there(programs: Programs) -> bool {
    let missing = missing(programs);
    if let Some(missing) = missing {
        println!("the rows of {missing} are left out: it is not on PATH");
    }
    missing.is_none()
}

type Cached = VideoCache<Inner>;

/// The layer on a store, with the object stored.
async fn cached(store: impl Store) -> Cached {
    let service = VideoCacheLayer::new(store).fill(Fill::whole()).layer(Inner);
    assert_eq!(whole(&service, None).await.0, LENGTH);
    let (_, status) = whole(&service, Some((0, 1))).await;
    assert!(status.contains("hit"), "{status}");
    service
}

async fn row(name: &str, service: &Cached, rounds: usize) {
    let ranges: Vec<_> = (0..rounds).map(|round| (round * 37 % 64) << 20).collect();
    let mut first = Vec::new();
    for start in &ranges {
        let begun = Instant::now();
        let mut body = answer(service, Some((*start, MIB))).await.into_body();
        body.frame().await.unwrap().unwrap();
        first.push(begun.elapsed());
        drop(body);
    }
    let mut of = [Vec::new(), Vec::new()];
    for start in &ranges {
        for (times, length) in of.iter_mut().zip([64 << 10, MIB]) {
            times.push(timed(whole(service, Some((*start, length)))).await);
        }
    }
    let at_once = rate(8 * rounds, || async {
        let tasks: Vec<_> = (0..8)
            .map(|viewer| {
                let (service, ranges) = (service.clone(), ranges.clone());
                tokio::spawn(async move {
                    for start in ranges {
                        let start = (start + (viewer << 20)) % LENGTH;
                        assert_eq!(whole(&service, Some((start, MIB))).await.0, MIB);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    })
    .await;
    let bodies = rounds.div_ceil(20);
    let wholes = rate(64 * bodies, || async {
        for _ in 0..bodies {
            assert_eq!(whole(service, None).await.0, LENGTH);
        }
    })
    .await;
    let [small, large] = of;
    println!(
        "{name:<24}{:>14}{:>14}{:>14}{:>8.0} MiB/s{:>8.0} MiB/s",
        shown(median(first)),
        shown(median(small)),
        shown(median(large)),
        at_once,
        wholes
    );
}

/// Ranges of one chunk each, in turns with reads of the same chunk value by the client alone.
async fn against_raw(name: &str, url: &str, service: &Cached, rounds: usize) {
    let client = redis::Client::open(url).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*c/*").query_async(&mut raw).await.unwrap();
    let (mut layer, mut alone) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let start = (round * 37 % 64) << 20;
        layer.push(timed(whole(service, Some((start, MIB)))).await);
        let get = async {
            let value: Option<Bytes> =
                redis::cmd("GET").arg(&keys[round * 37 % keys.len()]).query_async(&mut raw).await.unwrap();
            assert!(value.unwrap().len() > MIB);
        };
        alone.push(timed(get).await);
    }
    let (layer, alone) = (median(layer), median(alone));
    println!(
        "{:<24}{:>42}   the client's GET alone; {:.2} times that, in turns with it",
        name,
        shown(alone),
        layer.as_secs_f64() / alone.as_secs_f64()
    );
}

/// Measures the time that a store whose server is gone adds to a request, beside the inner service alone.
async fn without_a_server(store: RedisStore, rounds: usize) {
    let service = VideoCacheLayer::new(store).fill(Fill::whole()).layer(Inner);
    let mut opening = Vec::new();
    for _ in 0..20 {
        opening.push(timed(whole(&service, Some((0, 1)))).await);
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        with.push(timed(whole(&service, Some((0, 1)))).await);
        without.push(timed(collected(Inner.oneshot(request(Some((0, 1)))))).await);
    }
    println!(
        "redis, gone: at most {} at first; then {} a request, {} without the layer",
        shown(opening.into_iter().max().unwrap()),
        shown(median(with)),
        shown(median(without))
    );
}

async fn answer(
    service: &Cached,
    range: Option<(usize, usize)>,
) -> Response<tower_video_cache::ResponseBody<Full<Bytes>>> {
    service.clone().oneshot(request(range)).await.unwrap()
}

/// The number of bytes of the body, and the value of `Cache-Status`.
async fn whole(service: &Cached, range: Option<(usize, usize)>) -> (usize, String) {
    let response = answer(service, range).await;
    let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
    let mut body = response.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    (length, status)
}

async fn collected(answer: impl Future<Output = Result<Response<Full<Bytes>>, Infallible>>) {
    answer.await.unwrap().into_body().collect().await.unwrap();
}

fn request(range: Option<(usize, usize)>) -> Request<Full<Bytes>> {
    let mut request = Request::get("/a.mp4");
    if let Some((start, length)) = range {
        request = request.header(header::RANGE, format!("bytes={start}-{}", start + length - 1));
    }
    request.body(Full::default()).unwrap()
}

/// One video, from memory.
#[derive(Clone)]
struct Inner;

impl Service<Request<Full<Bytes>>> for Inner {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        static MOVIE: std::sync::LazyLock<Bytes> =
            std::sync::LazyLock::new(|| (0..=u8::MAX).cycle().take(LENGTH).collect());
        let response =
            Response::builder().header(header::CONTENT_TYPE, "video/mp4").header(header::ETAG, "\"1\"");
        std::future::ready(Ok(response.body(Full::new(MOVIE.clone())).unwrap()))
    }
}

/// A directory that is removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("stores-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn text(&self, name: &str) -> String {
        Path::new(&self.0).join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn timed<T>(what: impl Future<Output = T>) -> Duration {
    let begun = Instant::now();
    what.await;
    begun.elapsed()
}

/// The rate in MiB per second, for this many MiB.
async fn rate<F: Future<Output = ()>>(mebibytes: usize, what: impl FnOnce() -> F) -> f64 {
    let mebibytes = u32::try_from(mebibytes).unwrap();
    f64::from(mebibytes) / timed(what()).await.as_secs_f64()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn shown(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

const MIB: usize = 1 << 20;
const LENGTH: usize = 64 * MIB;
