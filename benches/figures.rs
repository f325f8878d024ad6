//! What the figures cost when somebody reads them, from a cache that has served many videos.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{convert::Infallible, hint::black_box};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_video_cache::{CacheHandle, MokaStore, VideoCacheLayer};

/// The handle of a cache that has served this many videos, each a few times.
async fn used() -> CacheHandle {
    let inner = service_fn(|_: Request<Empty<Bytes>>| {
        let response = Response::builder().header("content-type", "video/mp4");
        std::future::ready(Ok::<_, Infallible>(
            response.body(Full::new(Bytes::from_static(b"a video"))).unwrap(),
        ))
    });
    let layer = VideoCacheLayer::new(MokaStore::new(64 << 20).unwrap());
    let service = layer.layer(inner);
    for round in 0..VIDEOS * 3 {
        let uri = format!("http://video.example/{}.mp4", round % VIDEOS);
        let request = Request::get(uri).body(Empty::new()).unwrap();
        service.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    }
    layer.handle()
}

fn figures(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cache = runtime.block_on(used());
    let mut group = criterion.benchmark_group("figures");
    group.bench_function("stats", |bencher| bencher.iter(|| black_box(cache.stats())));
    group.bench_function("open_metrics", |bencher| {
        let stats = cache.stats();
        bencher.iter(|| {
            let mut text = String::new();
            stats.open_metrics("videos", &mut text).unwrap();
            text
        });
    });
    group.bench_function("top", |bencher| bencher.iter(|| black_box(cache.top())));
    group.bench_function("transfers", |bencher| bencher.iter(|| black_box(cache.transfers())));
    group.finish();
}

const VIDEOS: u32 = 1000;

criterion_group!(benches, figures);
criterion_main!(benches);
