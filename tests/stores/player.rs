//! The layer over a store, an inner service that has one movie, and a viewer.

use std::{
    convert::Infallible,
    ops::Range,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
};

use bytes::Bytes;
use http::{header, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{service_fn, util::BoxCloneSyncService, Layer, ServiceExt};
use tower_video_cache::{ChunkSize, ResponseBody, Store, VideoCacheLayer};

/// Three mebibytes in 48 chunks.
pub(crate) const LENGTH: usize = 3 << 20;
pub(crate) const CHUNK: usize = 64 << 10;

pub(crate) struct Player {
    service: BoxCloneSyncService<Request<Full<Bytes>>, Answer, Infallible>,
    calls: Arc<AtomicUsize>,
}

pub(crate) type Answer = Response<ResponseBody<Full<Bytes>>>;

impl Player {
    pub(crate) fn new(store: impl Store) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let inner = service_fn(move |request: Request<Full<Bytes>>| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, Infallible>(answer(&request)) }
        });
        let chunk_size = ChunkSize::new(CHUNK.try_into().unwrap()).unwrap();
        let layer = VideoCacheLayer::new(store).chunk_size(chunk_size);
        Self { service: BoxCloneSyncService::new(layer.layer(inner)), calls }
    }

    /// How often the inner service was called since the last time.
    pub(crate) fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }

    pub(crate) async fn open(&self) -> Answer {
        self.ask(Request::get("/movie.mp4")).await
    }

    /// The whole movie, byte for byte; gives what `Cache-Status` says.
    pub(crate) async fn watch(&self) -> String {
        let answer = self.open().await;
        assert_eq!(answer.status(), StatusCode::OK);
        let status = cache_status(&answer);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body == movie(), "{} bytes, and not those of the movie", body.len());
        status
    }

    pub(crate) async fn watch_part(&self, part: Range<usize>) -> String {
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        let answer = self.ask(Request::get("/movie.mp4").header(header::RANGE, range)).await;
        // Where nothing can be stored, the viewer may get what the fill got.
        let part = if answer.status() == StatusCode::OK { 0..LENGTH } else { part };
        let status = cache_status(&answer);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body == movie().slice(part), "{} bytes, and not those of the part", body.len());
        status
    }

    async fn ask(&self, request: http::request::Builder) -> Answer {
        self.service.clone().oneshot(request.body(Full::default()).unwrap()).await.unwrap()
    }
}

pub(crate) fn movie() -> Bytes {
    // A period that no chunk size is a multiple of, so that no chunk is like another.
    (0..LENGTH).map(|at| u8::try_from(at % 65_521 % 251).unwrap()).collect()
}

fn cache_status(answer: &Answer) -> String {
    answer.headers().get("cache-status").unwrap().to_str().unwrap().to_owned()
}

/// The movie, or the one range that is asked for.
fn answer(request: &Request<Full<Bytes>>) -> Response<Full<Bytes>> {
    let response = Response::builder()
        .header(header::CONTENT_TYPE, "video/mp4")
        .header(header::CACHE_CONTROL, "max-age=3600")
        .header(header::ETAG, "\"movie\"");
    let range = request.headers().get(header::RANGE).and_then(|range| {
        let (first, last) = range.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
        let end = last.parse::<usize>().map_or(LENGTH, |last| last + 1).min(LENGTH);
        Some(first.parse().ok()?..end)
    });
    let Some(range) = range else { return response.body(Full::new(movie())).unwrap() };
    response
        .status(StatusCode::PARTIAL_CONTENT)
        .header(header::CONTENT_RANGE, format!("bytes {}-{}/{LENGTH}", range.start, range.end - 1))
        .body(Full::new(movie().slice(range)))
        .unwrap()
}
