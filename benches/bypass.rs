//! Measures the cost that the layer adds to a request that bypasses the cache, beside the bare inner service.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{convert::Infallible, hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_video_cache::{MokaStore, VideoCacheLayer};

fn bypasses(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let inner = service_fn(|_: Request<Empty<Bytes>>| {
        let body = Full::new(Bytes::from_static(b"live"));
        std::future::ready(Ok::<_, Infallible>(Response::new(body)))
    });
    let layer = VideoCacheLayer::new(MokaStore::new(1 << 20).unwrap())
        .bypass(|request| request.uri.path().starts_with("/live/"));
    let service = layer.layer(inner);

    let mut group = criterion.benchmark_group("bypass");
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
    group.bench_function("layer", |bencher| bencher.to_async(&runtime).iter(|| passed(service.clone())));
    group.bench_function("floor", |bencher| bencher.to_async(&runtime).iter(|| passed(inner)));
    group.finish();
}

/// Asks for a response that may not be cached, and drains it.
async fn passed<S, B>(service: S)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: std::fmt::Debug>,
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = http::Uri::from_static("http://video.example/live/1.mp4");
    let response = service.oneshot(request).await.unwrap();
    black_box(response.into_body().collect().await.unwrap());
}

criterion_group!(benches, bypasses);
criterion_main!(benches);
