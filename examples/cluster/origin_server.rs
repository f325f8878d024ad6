//! The origin: one video, which a PUT replaces with another.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, time::sleep};
use tower_video_cache::BoxError;

/// The origin's address, and a count of its requests.
pub(crate) struct OriginServer {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    /// The version of the video; each PUT begins another.
    version: AtomicU64,
}

impl OriginServer {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, seen) = (listener.local_addr()?, Arc::<Seen>::default());
        let app = Router::new().route(PATH, get(video).put(replaced)).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, seen })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the video was asked for.
    pub(crate) fn calls(&self) -> u64 {
        self.seen.calls.load(Ordering::Relaxed)
    }

    /// The video that viewers should get now.
    pub(crate) fn video(&self) -> Bytes {
        content(self.seen.version.load(Ordering::Relaxed))
    }
}

async fn video(State(seen): State<Arc<Seen>>) -> impl IntoResponse {
    seen.calls.fetch_add(1, Ordering::Relaxed);
    // A real origin is about this far away. The delay lets the requests of a stampede overlap.
    sleep(Duration::from_millis(200)).await;
    let version = seen.version.load(Ordering::Relaxed);
    let fields = [
        (header::CONTENT_TYPE, "video/mp4".to_owned()),
        (header::ETAG, format!("\"{version}\"")),
        (header::CACHE_CONTROL, "max-age=3600".to_owned()),
    ];
    (fields, content(version))
}

async fn replaced(State(seen): State<Arc<Seen>>) -> StatusCode {
    seen.version.fetch_add(1, Ordering::Relaxed);
    StatusCode::NO_CONTENT
}

fn content(version: u64) -> Bytes {
    let bytes = (0..=u8::MAX).cycle().map(|byte| byte.wrapping_add(version.to_le_bytes()[0]));
    bytes.take(LENGTH).collect()
}

pub(crate) const PATH: &str = "/movie.mp4";
const LENGTH: usize = 4 << 20;
