//! Makes hits of one kind, for a machine that counts instructions: `.ci/instructions` runs it under callgrind.
//!
//! Arguments: the kind, one of `range`, `whole`, `304` and `HEAD`; and the number of hits. Without arguments, it
//! makes a few hits of each kind. A kind with `+metrics` has a `MetricsObserver`, and a recorder that adds up. One with
//! `+purges` has a log of purges that names 65,536 groups.
//!
//! The store is a map and not moka: moka's housekeeping depends on the clock, which alone caused 3 % of noise.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{
    collections::{BTreeMap, btree_map::Entry},
    convert::Infallible,
    fmt::Debug,
    hint::black_box,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_video_cache::{BoxError, Mark, MetricsObserver, Policy, Purger, PutNew, Store, VideoCacheLayer};

fn main() {
    // `cargo bench` passes `--bench`, which is dropped here, as is a `--test`.
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match &arguments[..] {
        [] => {
            for kind in KINDS {
                runtime.block_on(hits(kind, 3));
                for with in ["metrics", "purges"] {
                    runtime.block_on(hits(&format!("{kind}+{with}"), 3));
                }
            }
        }
        [kind, count] => runtime.block_on(hits(kind, count.parse().unwrap())),
        _ => unreachable!("a kind and a count, or nothing"),
    }
}

/// Stores a video, then asks for it `count` times.
async fn hits(kind: &str, count: u32) {
    let movie = Bytes::from(vec![7; LENGTH]);
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        let response = Response::builder().header("content-type", "video/mp4").header("etag", ETAG);
        std::future::ready(Ok::<_, Infallible>(response.body(Full::new(movie.clone())).unwrap()))
    });
    // The response stays fresh, and the log of purges is not read again, as long as the counting takes, which makes a
    // second last a minute.
    let day = Duration::from_secs(86_400);
    let policy = Policy::default().default_ttl(day);
    let mut layer = VideoCacheLayer::new(Shelf::default()).policy(policy).purge_age(day);
    let (kind, with) = kind.split_once('+').unwrap_or((kind, ""));
    if with == "metrics" {
        // The recorder of another kind is as good.
        let _ = metrics::set_global_recorder(Sums::default());
        layer = layer.observer(MetricsObserver::new("videos"));
    }
    let service = layer.layer(inner);
    if with == "purges" {
        purge_others(&layer.handle().purger()).await;
    }
    let ask = || Request::get("http://video.example/movie.mp4");
    // The range begins within a chunk.
    let (request, status, length) = match kind {
        "range" => (ask().header("range", "bytes=1500000-1565535"), 206, 64 << 10),
        "whole" => (ask(), 200, LENGTH),
        "304" => (ask().header("if-none-match", ETAG), 304, 0),
        "HEAD" => (ask().method("HEAD"), 200, 0),
        _ => unreachable!("{kind} is none of {KINDS:?}"),
    };
    let first = ask().body(Empty::new()).unwrap();
    assert_eq!(viewed(service.clone(), first).await, (200, LENGTH));
    let request = request.body(Empty::new()).unwrap();
    for _ in 0..count {
        assert_eq!(viewed(service.clone(), request.clone()).await, (status, length));
    }
}

/// Fills the log with purges of groups that the video is not in.
async fn purge_others(purger: &Purger) {
    let origin = "http://video.example".parse().unwrap();
    for purge in 0..1024 {
        let groups = (0..64).map(|group| format!("{purge}-{group}"));
        purger.groups(&origin, groups, Mark::Invalid).await.unwrap();
    }
}

/// The status of an answer, and the number of bytes up to its end.
async fn viewed<S, B>(service: S, request: Request<Empty<Bytes>>) -> (u16, usize)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Debug>,
    B: Body<Data = Bytes, Error: Debug> + Unpin,
{
    let answer = service.oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += black_box(frame.unwrap().into_data().unwrap()).len();
    }
    (status, bytes)
}

/// Keeps everything, in order. A hash map would be seeded differently in each run. The log of purges lies apart, so that it
/// makes no search for a chunk longer.
#[derive(Default)]
struct Shelf {
    values: Mutex<BTreeMap<String, Bytes>>,
    log: Mutex<BTreeMap<String, Bytes>>,
}

impl Shelf {
    fn at(&self, key: &str) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        if key.starts_with("p/") { self.log.lock().unwrap() } else { self.values.lock().unwrap() }
    }
}

impl Store for Shelf {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        Ok(self.at(key).get(key).cloned())
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.at(key).insert(key.to_owned(), value);
        Ok(())
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        Ok(match self.at(key).entry(key.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(value);
                PutNew::Created
            }
            Entry::Occupied(_) => PutNew::Exists,
        })
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.at(key).remove(key);
        Ok(())
    }

    fn can_alter(&self) -> bool {
        false
    }
}

/// A recorder that adds up, as most do.
#[derive(Default)]
struct Sums(Mutex<BTreeMap<Key, Arc<AtomicU64>>>);

impl Sums {
    fn sum(&self, key: &Key) -> Arc<AtomicU64> {
        Arc::clone(self.0.lock().unwrap().entry(key.clone()).or_default())
    }
}

impl Recorder for Sums {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.sum(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.sum(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Bits(self.sum(key))))
    }
}

/// The last value of a histogram, and no more: what a recorder does with each is its own affair.
struct Bits(Arc<AtomicU64>);

impl metrics::HistogramFn for Bits {
    fn record(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

const KINDS: [&str; 4] = ["range", "whole", "304", "HEAD"];
/// Four chunks.
const LENGTH: usize = 4 << 20;
const ETAG: &str = "\"v1\"";
