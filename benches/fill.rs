//! Measures the cost of a miss: 8 MiB stored and served, beside the bare inner service drained.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures_util::stream;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_video_cache::{MokaStore, VideoCacheLayer};

fn fills(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let frame = Bytes::from(vec![7; FRAME]);
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        let frames = (0..LENGTH / FRAME).map({
            let frame = frame.clone();
            move |_| Ok::<_, std::io::Error>(Frame::data(frame.clone()))
        });
        let response = Response::builder().header("content-type", "video/mp4").header("etag", "\"v1\"");
        std::future::ready(
            response.header("content-length", LENGTH).body(StreamBody::new(stream::iter(frames))),
        )
    });
    // The store has room for a few objects, so evictions are part of the measured cost.
    let service = VideoCacheLayer::new(MokaStore::new(64 << 20).unwrap()).layer(inner.clone());
    let fresh = AtomicU64::new(0);

    let mut group = criterion.benchmark_group("fill/8 MiB");
    group.measurement_time(Duration::from_secs(5)).warm_up_time(Duration::from_secs(1));
    group.throughput(Throughput::Bytes(u64::try_from(LENGTH).unwrap()));
    group.bench_function("layer", |bencher| {
        bencher.to_async(&runtime).iter(|| viewed(service.clone(), fresh.fetch_add(1, Ordering::Relaxed)));
    });
    group.bench_function("floor", |bencher| {
        bencher.to_async(&runtime).iter(|| viewed(inner.clone(), fresh.fetch_add(1, Ordering::Relaxed)));
    });
    group.finish();
}

/// Asks for one video and drains it.
async fn viewed<S, B>(service: S, movie: u64)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
    B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
{
    let request = Request::get(format!("/{movie}.mp4")).body(Empty::new()).unwrap();
    let response = service.oneshot(request).await.unwrap();
    let refused = response.headers().get("cache-status").is_some_and(|status| {
        let status = status.as_bytes();
        !status.ends_with(b"; stored")
    });
    assert!(!refused, "a fill that is not stored measures something else");
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += black_box(frame.unwrap().into_data().unwrap()).len();
    }
    assert_eq!(bytes, LENGTH);
}

const LENGTH: usize = 8 << 20;
const FRAME: usize = 64 << 10;

criterion_group!(benches, fills);
criterion_main!(benches);
