//! The app: a slow video service, the cache, and a log of both sides of it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, MutexGuard, PoisonError,
    },
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{
        header::{CACHE_CONTROL, CONTENT_RANGE, RANGE},
        HeaderMap, HeaderValue,
    },
    middleware::{from_fn_with_state, Next},
    response::{Html, Response},
    routing::get,
    Json, Router,
};
use futures_util::StreamExt;
use serde_json::{json, Value};
use tower_http::services::ServeDir;
use tower_video_cache::{ChunkSize, MokaStore, VideoCacheLayer};

/// The page, its log, and the videos behind a cache that is empty at first.
pub(crate) fn router() -> Result<Router, tower_video_cache::Error> {
    let log = Log::default();
    // Chunks are 1 MiB by default. These videos are smaller than that, and a seek is to cross some.
    let cache = VideoCacheLayer::new(MokaStore::new(256 << 20)).chunk_size(ChunkSize::new(64 << 10)?);
    // Each layer wraps those above it.
    let videos = Router::new()
        .nest_service("/videos", ServeDir::new(VIDEOS))
        .layer(from_fn_with_state(log.clone(), slow))
        .layer(cache)
        .layer(from_fn_with_state(log.clone(), record));
    Ok(Router::new()
        .route("/", get(Html(include_str!("player.html"))))
        .route("/log.json", get(report))
        .with_state(log)
        .merge(videos))
}

/// Inside the cache: counts the call, and answers it as a service far away would.
async fn slow(State(log): State<Log>, request: Request, next: Next) -> Response {
    if let Some(InnerCalled(called)) = request.extensions().get() {
        called.store(true, Ordering::Relaxed);
    }
    log.count(request.uri().path());
    tokio::time::sleep(BEFORE_THE_FIRST_BYTE).await;
    let response = next.run(request).await;
    response.map(|body| {
        Body::from_stream(body.into_data_stream().then(|piece| async {
            tokio::time::sleep(BEFORE_EACH_PIECE).await;
            piece
        }))
    })
}

/// Outside the cache: notes what a browser asked, and what it got.
async fn record(State(log): State<Log>, mut request: Request, next: Next) -> Response {
    let asked = Instant::now();
    // The request that leads a fill takes its extensions with it to the inner service.
    let inner_called = InnerCalled::default();
    request.extensions_mut().insert(inner_called.clone());
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let range = text(request.headers(), RANGE.as_str());

    let mut response = next.run(request).await;

    log.note(json!({
        "method": method,
        "path": path,
        "range": range,
        "status": response.status().as_u16(),
        "content_range": text(response.headers(), CONTENT_RANGE.as_str()),
        "cache_status": text(response.headers(), "cache-status"),
        "inner_called": inner_called.0.load(Ordering::Relaxed),
        "first_byte_ms": asked.elapsed().as_secs_f64() * 1e3,
    }));
    // The browser has a cache too. It is kept out of the picture: every play is to reach this one.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn report(State(log): State<Log>) -> Json<Value> {
    let pages = log.pages();
    Json(json!({ "requests": pages.requests, "inner_calls": pages.inner_calls }))
}

/// Whether the inner service was called for one request.
#[derive(Clone, Default)]
struct InnerCalled(Arc<AtomicBool>);

/// What was seen on both sides of the cache.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// The latest, oldest first.
    requests: VecDeque<Value>,
    inner_calls: BTreeMap<String, u64>,
}

impl Log {
    fn note(&self, request: Value) {
        let mut pages = self.pages();
        if pages.requests.len() == KEPT {
            pages.requests.pop_front();
        }
        pages.requests.push_back(request);
    }

    fn count(&self, path: &str) {
        *self.pages().inner_calls.entry(path.to_owned()).or_default() += 1;
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

const VIDEOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/player/videos");

const BEFORE_THE_FIRST_BYTE: Duration = Duration::from_secs(1);

/// `ServeDir` reads 64 KiB at a time.
const BEFORE_EACH_PIECE: Duration = Duration::from_millis(40);

/// Requests that the log keeps, so that a page left open does not make it grow for ever.
const KEPT: usize = 500;
