//! Clients of a cold object, and the times and counts of what they read.

use std::{
    fmt::Debug,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_video_cache::{ChunkSize, Fill, MokaStore, VideoCacheLayer};

use crate::inner::{Inner, pictures_at};

/// Clients that come at once, and the object that they ask for.
pub(crate) struct Scene {
    pub(crate) length: u64,
    pub(crate) latency: Duration,
    pub(crate) asks: Vec<Ask>,
    pub(crate) chunk: u64,
    pub(crate) read_ahead: u64,
}

/// A client's request, and how much of the answer it reads before it leaves. A client that reads everything asks
/// without `Range`.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) from: u64,
    /// The end of the requested range; `None` means the end of the object.
    pub(crate) to: Option<u64>,
    pub(crate) reads: u64,
}

/// The result of a scene. The times are those of the median client.
pub(crate) struct Seen {
    pub(crate) first_byte: Duration,
    /// The time of the first chunk's worth of bytes, or of all that the client reads.
    pub(crate) first_chunk: Duration,
    pub(crate) inner_bytes: u64,
    pub(crate) calls: u64,
}

impl Seen {
    /// The median times, and the most bytes and calls.
    pub(crate) fn in_the_middle(rounds: &mut [Self]) -> Self {
        let mut middle = |of: fn(&Self) -> Duration| {
            rounds.sort_by_key(of);
            of(&rounds[rounds.len() / 2])
        };
        let (first_byte, first_chunk) = (middle(|seen| seen.first_byte), middle(|seen| seen.first_chunk));
        let most = |of: fn(&Self) -> u64| rounds.iter().map(of).max().unwrap();
        let (inner_bytes, calls) = (most(|seen| seen.inner_bytes), most(|seen| seen.calls));
        Self { first_byte, first_chunk, inner_bytes, calls }
    }
}

impl Scene {
    /// Plays the scene once, with the layer or without it. It ends once the clients have gone and the inner service
    /// has sent the last byte that it is still asked for.
    pub(crate) fn play(&self, mode: Option<Fill>) -> Seen {
        let inner = Arc::new(Inner::new(self.length, self.latency));
        let called = Arc::clone(&inner);
        let service = service_fn(move |request: Request<Empty<Bytes>>| {
            Arc::clone(&called).answer(request.into_parts().0)
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut viewers = runtime.block_on(async {
            let viewers = match mode {
                None => self.watched_by_all(service).await,
                Some(mode) => {
                    let chunk_size = ChunkSize::new(self.chunk.try_into().unwrap()).unwrap();
                    let layer = VideoCacheLayer::new(MokaStore::new(1 << 30).unwrap()).chunk_size(chunk_size);
                    let layer = layer.fill(mode.read_ahead(self.read_ahead));
                    self.watched_by_all(layer.layer(service)).await
                }
            };
            inner.silence().await;
            viewers
        });
        viewers.sort();
        let (first_byte, first_chunk) = viewers[viewers.len() / 2];
        let inner_bytes = inner.bytes.load(Ordering::Relaxed);
        Seen { first_byte, first_chunk, inner_bytes, calls: inner.calls.load(Ordering::Relaxed) }
    }

    async fn watched_by_all<S, B>(&self, service: S) -> Vec<(Duration, Duration)>
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Debug> + Clone,
        B: Body<Data = Bytes, Error: Debug> + Unpin,
    {
        join_all(self.asks.iter().map(|ask| self.watched(service.clone(), ask))).await
    }

    /// The time of a client's first byte, and of its first chunk.
    async fn watched<S, B>(&self, service: S, ask: &Ask) -> (Duration, Duration)
    where
        S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error: Debug>,
        B: Body<Data = Bytes, Error: Debug> + Unpin,
    {
        let (from, to) = (ask.from, ask.to.unwrap_or(self.length));
        let mut request = Request::get("http://video.example/movie.mp4");
        if ask.reads < self.length {
            let last = ask.to.map(|to| (to - 1).to_string()).unwrap_or_default();
            request = request.header(header::RANGE, format!("bytes={from}-{last}"));
        }
        let asked = Instant::now();
        let response = service.oneshot(request.body(Empty::new()).unwrap()).await.unwrap();
        let (head, mut body) = response.into_parts();
        let field = |name| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(field(header::CONTENT_LENGTH), Some((to - from).to_string()));
        if ask.reads < self.length {
            assert_eq!(head.status, StatusCode::PARTIAL_CONTENT, "{:?}", head.headers);
            let range = format!("bytes {from}-{}/{}", to - 1, self.length);
            assert_eq!(field(header::CONTENT_RANGE), Some(range));
        } else {
            assert_eq!(head.status, StatusCode::OK, "{:?}", head.headers);
        }

        let (mut position, mut first_byte, mut first_chunk) = (from, None, None);
        while position < from + ask.reads {
            let mut data = body.frame().await.unwrap().unwrap().into_data().unwrap();
            first_byte.get_or_insert(asked.elapsed());
            while !data.is_empty() {
                let pictures = pictures_at(position, to);
                let compared = pictures.len().min(data.len());
                assert!(compared > 0, "bytes past the end, {position}");
                assert!(data.split_to(compared) == pictures[..compared], "wrong bytes at {position}");
                position += u64::try_from(compared).unwrap();
            }
            if position - from >= self.chunk.min(ask.reads) {
                first_chunk.get_or_insert(asked.elapsed());
            }
        }
        if position == to {
            assert!(body.frame().await.is_none(), "more than was asked for");
        }
        (first_byte.unwrap(), first_chunk.unwrap())
    }
}
