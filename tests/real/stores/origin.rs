//! The origin of several nodes: one video after the other. A PUT goes on to the next.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};

use axum::{Router, body::Body, extract::State, response::Response, routing::get};
use bytes::Bytes;
use http::{StatusCode, header};
use http_body_util::channel::Channel;
use tokio::{net::TcpListener, sync::watch};
use tower_video_cache::BoxError;

/// Ends with the test's runtime.
pub(crate) struct Origin {
    address: SocketAddr,
    state: Arc<Shared>,
}

struct Shared {
    calls: AtomicUsize,
    version: AtomicU8,
    /// Whether answers stop in their middle, and whether one has.
    held: watch::Sender<bool>,
    midway: watch::Sender<bool>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let state = Arc::new(Shared {
            calls: AtomicUsize::new(0),
            version: AtomicU8::new(0),
            held: watch::Sender::new(false),
            midway: watch::Sender::new(false),
        });
        let app = Router::new().route(PATH, get(answer).put(turn_over)).with_state(Arc::clone(&state));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { address, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often the video was asked for.
    pub(crate) fn calls(&self) -> usize {
        self.state.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn hold_midway(&self) {
        self.state.held.send_replace(true);
    }

    pub(crate) fn go_on(&self) {
        self.state.held.send_replace(false);
    }

    /// Waits until a held answer has sent its first half.
    pub(crate) fn is_midway(&self) -> impl Future<Output = ()> {
        let mut midway = self.state.midway.subscribe();
        async move { _ = midway.wait_for(|midway| *midway).await.unwrap() }
    }
}

async fn answer(State(state): State<Arc<Shared>>) -> Response {
    state.calls.fetch_add(1, Ordering::SeqCst);
    let version = state.version.load(Ordering::SeqCst);
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(4);
    tokio::spawn(async move {
        let mut video = video(version);
        let rest = video.split_off(LENGTH / 2);
        sender.send_data(video).await.ok()?;
        if *state.held.borrow() {
            state.midway.send_replace(true);
            state.held.subscribe().wait_for(|held| !held).await.ok()?;
        }
        sender.send_data(rest).await.ok()
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "video/mp4")
        .header(header::CONTENT_LENGTH, LENGTH)
        .header(header::ETAG, format!("\"{version}\""))
        .header(header::CACHE_CONTROL, "max-age=600")
        .body(Body::new(body))
        .unwrap()
}

async fn turn_over(State(state): State<Arc<Shared>>) -> StatusCode {
    state.version.fetch_add(1, Ordering::SeqCst);
    StatusCode::NO_CONTENT
}

/// A version of the video. No byte is the same as in another version.
pub(crate) fn video(version: u8) -> Bytes {
    let period: Vec<u8> = (0..251).map(|byte| byte ^ version.wrapping_mul(29)).collect();
    let mut bytes = Bytes::from(period.repeat(LENGTH.div_ceil(period.len())));
    bytes.truncate(LENGTH);
    bytes
}

pub(crate) const PATH: &str = "/movie.mp4";
pub(crate) const LENGTH: usize = (3 << 18) + 12_345;
