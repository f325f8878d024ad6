//! [`Stage`]: one sample, far away, behind a cache in one mode, watched from both sides of the cache.

use std::{
    fs, io,
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{CACHE_CONTROL, CONTENT_RANGE, RANGE},
    },
    middleware::{Next, from_fn_with_state},
    response::Response,
};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use serde_json::json;
use tower_http::services::ServeFile;
use tower_video_cache::{
    AdminService, CacheStatus, ChunkSize, Fill, MokaStore, PurgeService, VideoCacheLayer,
};

use super::{VIDEOS, chunk_map::ChunkMap, log::Log, watched_store::WatchedStore};

/// How slow the inner service is.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// The time until an answer begins.
    pub(crate) latency: Duration,
    /// The time to send a chunk.
    pub(crate) chunk: Duration,
}

pub(crate) struct Stage {
    map: Arc<ChunkMap>,
    store: Arc<WatchedStore>,
    service: Router,
    admin: AdminService,
    purges: PurgeService,
}

impl Stage {
    pub(crate) fn new(
        (mode, fill): (&'static str, Fill),
        sample: &'static str,
        pace: Pace,
        log: Log,
    ) -> io::Result<Self> {
        let path = Path::new(VIDEOS).join(sample);
        let map = Arc::new(ChunkMap::new(fs::metadata(&path)?.len(), u64::from(CHUNK_BYTES)));
        let store = Arc::new(WatchedStore::new(
            MokaStore::new(STORE_BYTES).map_err(io::Error::other)?,
            Arc::clone(&map),
        ));
        let cache = VideoCacheLayer::new(Arc::clone(&store))
            // The read-ahead is small: by default, the cache could read ahead all of a sample.
            .fill(fill.read_ahead(u64::from(6 * CHUNK_BYTES)))
            // Chunks are 1 MiB by default. These videos are smaller than that, and a seek should cross several chunks.
            .chunk_size(ChunkSize::new(CHUNK_BYTES).map_err(io::Error::other)?);
        let name = CacheStatus::named(&format!("{mode} {sample}")).map_err(io::Error::other)?;
        let cache = cache.cache_status(name);
        let admin = AdminService::new(cache.handle());
        let purges = PurgeService::new(cache.handle().purger());
        let inner = Inner { map: Arc::clone(&map), pace };
        let outer = Outer { map: Arc::clone(&map), log, mode, sample };
        // Each layer wraps those above it.
        let service = Router::new()
            .fallback_service(ServeFile::new(path))
            .layer(from_fn_with_state(inner, slow))
            .layer(cache)
            .layer(from_fn_with_state(outer, record));
        Ok(Self { map, store, service, admin, purges })
    }

    /// The service that answers the viewers.
    pub(crate) fn service(&self) -> Router {
        self.service.clone()
    }

    /// The figures of the cache.
    pub(crate) fn admin(&self) -> AdminService {
        self.admin.clone()
    }

    /// The purges of the cache.
    pub(crate) fn purges(&self) -> PurgeService {
        self.purges.clone()
    }

    pub(crate) fn map(&self) -> &ChunkMap {
        &self.map
    }

    /// Loses a stored chunk. Returns false if the chunk is not stored.
    pub(crate) async fn lose(&self, chunk: u64) -> bool {
        self.store.lose(chunk).await
    }
}

/// State on the inner side of the cache.
#[derive(Clone)]
struct Inner {
    map: Arc<ChunkMap>,
    pace: Pace,
}

/// State on the outer side of the cache.
#[derive(Clone)]
struct Outer {
    map: Arc<ChunkMap>,
    log: Log,
    mode: &'static str,
    sample: &'static str,
}

/// Inside the cache: notes the call, and answers it as slowly as a service far away would.
async fn slow(State(Inner { map, pace }): State<Inner>, request: Request, next: Next) -> Response {
    if let Some(InnerCalled(called)) = request.extensions().get() {
        called.store(true, Ordering::Relaxed);
    }
    let method = request.method().clone();
    let range = request.headers().get(RANGE).and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    let mut call = map.call(match method {
        Method::GET => range.and_then(|range| bytes_of(range, &map.whole())).unwrap_or(map.whole()),
        _ => 0..0,
    });
    tokio::time::sleep(pace.latency).await;
    let response = next.run(request).await;
    call.brings(&content_of(&method, &response, &map.whole()));
    let call = Arc::new(call);
    response.map(|body| {
        Body::from_stream(body.into_data_stream().then(move |piece| {
            let call = Arc::clone(&call);
            async move {
                let bytes = piece.as_ref().map_or(0, Bytes::len);
                let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
                tokio::time::sleep(pace.chunk.saturating_mul(bytes) / CHUNK_BYTES).await;
                call.brought(bytes.into());
                piece
            }
        }))
    })
}

/// Outside the cache: notes the browser's request and its answer.
async fn record(State(outer): State<Outer>, mut request: Request, next: Next) -> Response {
    let asked = Instant::now();
    // The request that leads a fill carries its extensions to the inner service.
    let inner_called = InnerCalled::default();
    request.extensions_mut().insert(inner_called.clone());
    let method = request.method().clone();
    let range = text(request.headers(), RANGE.as_str());

    let mut response = next.run(request).await;

    let Outer { map, log, mode, sample } = outer;
    let number = log.note(
        sample,
        json!({
            "method": method.as_str(),
            "mode": mode,
            "range": range,
            "status": response.status().as_u16(),
            "content_range": text(response.headers(), CONTENT_RANGE.as_str()),
            "cache_status": text(response.headers(), "cache-status"),
            "inner_called": inner_called.0.load(Ordering::Relaxed),
        }),
    );
    // The browser has a cache too. `no-store` keeps that cache out, so that every play reaches this cache.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let mut sent = content_of(&method, &response, &map.whole());
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let bytes = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or_default());
            map.served(&(sent.start..sent.start + bytes));
            log.sent(number, bytes, asked.elapsed());
            sent.start += bytes;
            frame
        }))
    })
}

/// Whether the inner service was called for one request.
#[derive(Clone, Default)]
struct InnerCalled(Arc<AtomicBool>);

/// The bytes of the video that a response contains.
fn content_of(method: &Method, response: &Response, whole: &Range<u64>) -> Range<u64> {
    let part = response.headers().get(CONTENT_RANGE).and_then(|range| {
        let (range, _) = range.to_str().ok()?.strip_prefix("bytes ")?.split_once('/')?;
        bytes_of(range, whole)
    });
    match response.status() {
        StatusCode::OK if method == Method::GET => whole.clone(),
        StatusCode::PARTIAL_CONTENT if method == Method::GET => part.unwrap_or(0..0),
        _ => 0..0,
    }
}

/// Reads one range, such as `0-99`, `100-` or `-100`.
fn bytes_of(range: &str, whole: &Range<u64>) -> Option<Range<u64>> {
    let (first, last) = range.split_once('-')?;
    if first.is_empty() {
        return Some(whole.end.saturating_sub(last.parse().ok()?)..whole.end);
    }
    let end = if last.is_empty() { whole.end } else { last.parse::<u64>().ok()?.saturating_add(1) };
    Some(first.parse().ok()?..end.min(whole.end))
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let values: Vec<_> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

const CHUNK_BYTES: u32 = 64 << 10;

/// Room for many copies of one sample.
const STORE_BYTES: u64 = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_understood() {
        for (range, expected) in [
            ("0-99", Some(0..100)),
            ("100-", Some(100..1000)),
            ("900-2000", Some(900..1000)),
            ("-100", Some(900..1000)),
            ("-2000", Some(0..1000)),
            ("5", None),
            ("0-1,5-6", None),
        ] {
            assert_eq!(bytes_of(range, &(0..1000)), expected, "{range}");
        }
    }
}
