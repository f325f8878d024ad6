//! Measures the cost of a hit beside its floor: the same bytes cut from the same memory, with no cache between.
//!
//! Neither side touches the bytes on the way, so the time counts, and not the number of bytes.

#![expect(clippy::unwrap_used, reason = "a benchmark may panic")]

use std::{
    convert::Infallible, fmt::Debug, future::Future, hint::black_box, ops::Range, sync::Arc, time::Duration,
};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::stream;
use http::{Request, Response, request::Builder};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, StreamBody};
use tower::{Layer, ServiceExt, service_fn};
use tower_video_cache::{MokaStore, Policy, VideoCacheLayer};

fn hits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let chunks: Arc<[_]> = (0..CHUNKS).map(|seed| Bytes::from(vec![seed; CHUNK])).collect();
    let inner = {
        // Shared, because the layer clones its inner service in each call.
        let chunks = Arc::clone(&chunks);
        service_fn(move |_: Request<Empty<Bytes>>| {
            let response = Response::builder().header("content-type", "video/mp4").header("etag", ETAG);
            std::future::ready(response.body(body(&chunks, &(0..LENGTH))))
        })
    };
    // The response stays fresh longer than any measurement takes.
    let policy = Policy::default().default_ttl(Duration::from_secs(86_400));
    let service = VideoCacheLayer::new(MokaStore::new(1 << 30).unwrap()).policy(policy).layer(inner);
    let stored = runtime.block_on(drained(service.clone().oneshot(ask().body(Empty::new()).unwrap())));
    assert_eq!(stored, (200, LENGTH));

    // Both ranges begin within a chunk, and the larger one crosses the end of its chunk.
    for (name, request, status, part) in [
        ("64 KiB range", ask().header("range", "bytes=10000000-10065535"), 206, 10_000_000..10_065_536),
        ("1 MiB range", ask().header("range", "bytes=10000000-11048575"), 206, 10_000_000..11_048_576),
        ("whole 64 MiB", ask(), 200, 0..LENGTH),
        ("304", ask().header("if-none-match", ETAG), 304, 0..0),
        ("HEAD", ask().method("HEAD"), 200, 0..0),
    ] {
        let request = request.body(Empty::new()).unwrap();
        let mut group = criterion.benchmark_group(format!("hit/{name}"));
        group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_secs(1));
        group.bench_function("layer", |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                let answer = service.clone().oneshot(request.clone());
                assert_eq!(drained(answer).await, (status, part.len()));
            });
        });
        group.bench_function("floor", |bencher| {
            bencher.to_async(&runtime).iter(|| async {
                black_box(request.clone());
                let answer = Response::builder().status(status).header("etag", ETAG);
                let answer = answer.body(body(&chunks, &part));
                assert_eq!(drained(std::future::ready(answer)).await, (status, part.len()));
            });
        });
        group.finish();
    }
}

fn ask() -> Builder {
    Request::get("http://video.example/movie.mp4")
}

/// A part of the video, cut from its chunks without a copy.
fn body(chunks: &[Bytes], part: &Range<usize>) -> impl Body<Data = Bytes, Error = Infallible> + use<> {
    let slices = chunks.iter().enumerate().filter_map(|(index, chunk)| {
        let within = |position: usize| position.saturating_sub(index * CHUNK).min(CHUNK);
        let slice = chunk.slice(within(part.start)..within(part.end));
        (!slice.is_empty()).then(|| Ok(Frame::data(slice)))
    });
    StreamBody::new(stream::iter(slices.collect::<Vec<_>>()))
}

/// The status of an answer, and the number of bytes up to its end.
async fn drained<B, E>(answer: impl Future<Output = Result<Response<B>, E>>) -> (u16, usize)
where
    B: Body<Data = Bytes, Error: Debug> + Unpin,
    E: Debug,
{
    let answer = answer.await.unwrap();
    let status = answer.status().as_u16();
    let (mut body, mut bytes) = (answer.into_body(), 0);
    while let Some(frame) = body.frame().await {
        bytes += black_box(frame.unwrap().into_data().unwrap()).len();
    }
    (status, bytes)
}

const CHUNKS: u8 = 64;
const CHUNK: usize = 1 << 20;
const LENGTH: usize = 64 << 20;
const ETAG: &str = "\"v1\"";

criterion_group!(benches, hits);
criterion_main!(benches);
