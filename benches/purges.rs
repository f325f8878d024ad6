//! The cost of purges by the log, and of hits beside them.
//!
//! `OBJECTS=1000000 cargo bench --bench purges` stores as many videos first.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]
#![expect(clippy::print_stdout, reason = "it prints what it has measured")]

use std::{
    convert::Infallible,
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_video_cache::{Mark, MokaStore, Purger, VideoCacheLayer};

/// Tells apart the purges of a run.
static PURGES: AtomicU64 = AtomicU64::new(0);

#[tokio::main(worker_threads = 2)]
async fn main() {
    let is_a_test = env::args().any(|argument| argument == "--test");
    let objects: u64 = env::var("OBJECTS").ok().and_then(|count| count.parse().ok()).unwrap_or(1000);
    let turn = if is_a_test { Duration::from_millis(20) } else { Duration::from_secs(3) };
    let inner = service_fn(|_: Request<Empty<Bytes>>| {
        let response = Response::builder()
            .header("content-type", "video/mp4")
            .header("cache-control", "max-age=3600")
            .header("cache-groups", "\"videos\"");
        std::future::ready(Ok::<_, Infallible>(
            response.body(Full::new(Bytes::from_static(b"a video"))).unwrap(),
        ))
    });
    let layer = VideoCacheLayer::new(MokaStore::new(8 << 30).unwrap());
    let service = layer.layer(inner);
    for number in 0..objects {
        watch(&service, number).await;
    }
    let purger = layer.handle().purger();

    let began = Instant::now();
    purge(&purger, "videos").await;
    println!("a purge of the group of {objects} videos: {:?}", began.elapsed());
    let began = Instant::now();
    let count = if is_a_test { 100 } else { 10_000 };
    for _ in 0..count {
        purge_another(&purger).await;
    }
    println!("one of {count} purges in a row: {:?}", began.elapsed() / count);

    // In turns, because other load on the machine changes.
    let (mut alone, mut beside) = (0.0, 0.0);
    for _ in 0..if is_a_test { 1 } else { 5 } {
        alone += hits(&service, turn, None).await;
        beside += hits(&service, turn, Some(purger.clone())).await;
    }
    println!("hits beside {PER_SECOND} purges a second: {:.3} of those alone", beside / alone);
}

async fn purge(purger: &Purger, group: &str) {
    let origin = "http://video.example".parse().unwrap();
    purger.groups(&origin, [group], Mark::Stale).await.unwrap();
}

/// Purges a group that no video is in, and that was never purged before.
async fn purge_another(purger: &Purger) {
    let number = PURGES.fetch_add(1, Ordering::Relaxed);
    purge(purger, &format!("group {number}")).await;
}

async fn watch<S>(service: &S, number: u64)
where
    S: Service<Request<Empty<Bytes>>, Error = Infallible> + Clone,
    S::Response: IntoBody,
{
    let uri = format!("http://video.example/{number}.mp4");
    let request = Request::get(uri).body(Empty::new()).unwrap();
    service.clone().oneshot(request).await.unwrap().read().await;
}

/// A response that is read to its end.
trait IntoBody {
    fn read(self) -> impl Future<Output = ()> + Send;
}

impl<B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Send> IntoBody for Response<B> {
    async fn read(self) {
        self.into_body().collect().await.unwrap();
    }
}

/// How many hits a second 64 viewers get, beside so many purges.
async fn hits<S>(service: &S, turn: Duration, purger: Option<Purger>) -> f64
where
    S: Service<Request<Empty<Bytes>>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
    S::Response: IntoBody + Send,
{
    let (count, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let viewers: Vec<_> = (0..64)
        .map(|number| {
            let (service, count, is_over) = (service.clone(), Arc::clone(&count), Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    watch(&service, number).await;
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let began = Instant::now();
    let mut done = 0_u32;
    while began.elapsed() < turn {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let due = began.elapsed().as_micros() / (1_000_000 / u128::from(PER_SECOND));
        if let Some(purger) = &purger {
            while u128::from(done) < due {
                purge_another(purger).await;
                done += 1;
            }
        }
    }
    let rate =
        f64::from(u32::try_from(count.load(Ordering::Relaxed)).unwrap()) / began.elapsed().as_secs_f64();
    is_over.store(true, Ordering::Relaxed);
    for viewer in viewers {
        viewer.await.unwrap();
    }
    rate
}

const PER_SECOND: u32 = 10_000;
