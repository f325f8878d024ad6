//! A film behind the layer: who watches it must see its true bytes.

use std::{
    convert::Infallible,
    ops::Range,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{header, request, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{service_fn, Layer, ServiceExt};
use tower_video_cache::{ResponseBody, VideoCacheLayer};

#[derive(Clone)]
pub(crate) struct Film {
    path: String,
    bytes: Bytes,
    asked: Arc<Mutex<Vec<String>>>,
}

pub(crate) type Answer = Response<ResponseBody<Full<Bytes>>>;

impl Film {
    /// A film of so many bytes, without two parts that are alike.
    pub(crate) fn of(length: usize) -> Self {
        Self::at("/film", length)
    }

    pub(crate) fn at(path: &str, length: usize) -> Self {
        let mut state = 7_u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        };
        Self { path: path.to_owned(), bytes: (0..length).map(next).collect(), asked: Arc::default() }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The ranges (or none: `""`) that the inner service was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// An answer with the whole film, which nobody has watched yet.
    pub(crate) async fn open(&self, layer: &VideoCacheLayer) -> Answer {
        self.ask(layer, Request::get(&self.path)).await
    }

    /// Watches the whole film; gives what the cache says of it.
    pub(crate) async fn watch(&self, layer: &VideoCacheLayer) -> String {
        let answer = self.open(layer).await;
        self.seen(answer, StatusCode::OK, 0..self.bytes.len()).await
    }

    pub(crate) async fn watch_part(&self, layer: &VideoCacheLayer, part: Range<usize>) -> String {
        let answer = self.open_part(layer, &part).await;
        self.seen(answer, StatusCode::PARTIAL_CONTENT, part).await
    }

    /// Where nothing can be stored, a viewer of a part may get what the fill got.
    pub(crate) async fn watch_part_or_all(&self, layer: &VideoCacheLayer, part: Range<usize>) -> String {
        let answer = self.open_part(layer, &part).await;
        match answer.status() {
            StatusCode::OK => self.seen(answer, StatusCode::OK, 0..self.bytes.len()).await,
            _ => self.seen(answer, StatusCode::PARTIAL_CONTENT, part).await,
        }
    }

    async fn open_part(&self, layer: &VideoCacheLayer, part: &Range<usize>) -> Answer {
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        self.ask(layer, Request::get(&self.path).header(header::RANGE, range)).await
    }

    async fn ask(&self, layer: &VideoCacheLayer, request: request::Builder) -> Answer {
        let film = self.clone();
        let inner = service_fn(move |request: Request<Full<Bytes>>| {
            let answer = film.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        layer.layer(inner).oneshot(request.body(Full::default()).unwrap()).await.unwrap()
    }

    async fn seen(&self, answer: Answer, status: StatusCode, part: Range<usize>) -> String {
        assert_eq!(answer.status(), status, "{answer:?}");
        let said = answer.headers()["cache-status"].to_str().unwrap().to_owned();
        let seen = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(seen == self.bytes.slice(part), "{} bytes that are not the film's", seen.len());
        said
    }

    /// What the inner service has: the film, or the one range that is asked for.
    fn answer(&self, request: &Request<Full<Bytes>>) -> Response<Full<Bytes>> {
        let range = request.headers().get(header::RANGE).map_or("", |range| range.to_str().unwrap());
        self.asked.lock().unwrap().push(range.to_owned());
        let response = Response::builder()
            .header(header::CONTENT_TYPE, "video/mp4")
            .header(header::ETAG, "\"cut-1\"")
            .header(header::CACHE_CONTROL, "max-age=3600")
            .header(header::ACCEPT_RANGES, "bytes");
        let length = self.bytes.len();
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
            return response.body(Full::new(self.bytes.clone())).unwrap();
        };
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(length - 1).min(length - 1);
        response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{length}"))
            .body(Full::new(self.bytes.slice(first..=last)))
            .unwrap()
    }
}
