//! A film behind the layer: who watches it must see its true bytes.

use std::{
    convert::Infallible,
    ops::Range,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{header, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{service_fn, Layer, ServiceExt};
use tower_video_cache::VideoCacheLayer;

#[derive(Clone)]
pub(crate) struct Film {
    path: String,
    bytes: Bytes,
    asked: Arc<Mutex<Vec<String>>>,
}

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

    /// Watches the whole film; gives what the cache says of it.
    pub(crate) async fn watch(&self, layer: &VideoCacheLayer) -> String {
        let ask = Request::get(&self.path).body(Full::default()).unwrap();
        self.watched(layer, ask, StatusCode::OK, 0..self.bytes.len()).await
    }

    pub(crate) async fn watch_part(&self, layer: &VideoCacheLayer, part: Range<usize>) -> String {
        let range = format!("bytes={}-{}", part.start, part.end - 1);
        let ask = Request::get(&self.path).header(header::RANGE, range).body(Full::default()).unwrap();
        self.watched(layer, ask, StatusCode::PARTIAL_CONTENT, part).await
    }

    async fn watched(
        &self,
        layer: &VideoCacheLayer,
        ask: Request<Full<Bytes>>,
        status: StatusCode,
        part: Range<usize>,
    ) -> String {
        let film = self.clone();
        let inner = service_fn(move |request: Request<Full<Bytes>>| {
            let answer = film.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let response = layer.layer(inner).oneshot(ask).await.unwrap();
        assert_eq!(response.status(), status, "{response:?}");
        let said = response.headers()["cache-status"].to_str().unwrap().to_owned();
        let seen = response.into_body().collect().await.unwrap().to_bytes();
        assert!(seen == self.bytes.slice(part), "{} bytes that are not the film's", seen.len());
        said
    }

    /// The ranges (or none: `""`) that the inner service was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

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
