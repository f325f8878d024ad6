//! A video behind the layer, whose clients must get its true bytes.

use std::{
    convert::Infallible,
    ops::Range,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_video_cache::{BoxError, ResponseBody, VideoCacheLayer};

#[derive(Clone)]
pub(crate) struct Film {
    path: String,
    bytes: Bytes,
    asked: Arc<Mutex<Vec<String>>>,
    in_parts: bool,
}

pub(crate) type Answer = Response<ResponseBody<Pieces>>;

impl Film {
    /// A video of this many bytes, no two parts of which are alike.
    pub(crate) fn of(length: usize) -> Self {
        Self::at("/film", length)
    }

    pub(crate) fn at(path: &str, length: usize) -> Self {
        let mut state = 7_u64;
        let mut bytes = vec![0; length];
        for word in bytes.chunks_mut(8) {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&(state ^ (state >> 31)).to_be_bytes()[..word.len()]);
        }
        Self { path: path.to_owned(), bytes: bytes.into(), asked: Arc::default(), in_parts: true }
    }

    /// Makes the inner service send no parts, and nothing that tells one version of the video from another.
    pub(crate) fn without_parts(self) -> Self {
        Self { in_parts: false, ..self }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The ranges (or none: `""`) that the inner service was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// An answer with the whole video, whose body is unread.
    pub(crate) async fn open(&self, layer: &VideoCacheLayer) -> Answer {
        self.ask(layer, Request::get(&self.path)).await
    }

    /// Watches the whole video, and returns the `Cache-Status`.
    pub(crate) async fn watch(&self, layer: &VideoCacheLayer) -> String {
        let answer = self.open(layer).await;
        self.seen(answer, StatusCode::OK, 0..self.bytes.len()).await
    }

    pub(crate) async fn watch_part(&self, layer: &VideoCacheLayer, part: Range<usize>) -> String {
        let answer = self.open_part(layer, &part).await;
        self.seen(answer, StatusCode::PARTIAL_CONTENT, part).await
    }

    /// If the video cannot be stored, a client that asks for a part may get the body of the fill.
    pub(crate) async fn watch_part_or_all(&self, layer: &VideoCacheLayer, part: Range<usize>) -> String {
        let answer = self.open_part(layer, &part).await;
        match answer.status() {
            StatusCode::OK => self.seen(answer, StatusCode::OK, 0..self.bytes.len()).await,
            _ => self.seen(answer, StatusCode::PARTIAL_CONTENT, part).await,
        }
    }

    /// Watches it to the end, or to an error, and returns the `Cache-Status`.
    pub(crate) async fn watch_if_it_can_be(&self, layer: &VideoCacheLayer) -> Result<String, BoxError> {
        let answer = self.open(layer).await;
        self.seen_to_an_end(answer, 0..self.bytes.len()).await
    }

    /// As [`watch_part_or_all`](Self::watch_part_or_all), to the end or to an error.
    pub(crate) async fn watch_part_if_it_can_be(
        &self,
        layer: &VideoCacheLayer,
        part: Range<usize>,
    ) -> Result<String, BoxError> {
        let answer = self.open_part(layer, &part).await;
        let part = if answer.status() == StatusCode::OK { 0..self.bytes.len() } else { part };
        self.seen_to_an_end(answer, part).await
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
        let said = said(&answer);
        let seen = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(seen == self.bytes.slice(part), "{} bytes that are not the film's", seen.len());
        said
    }

    /// Checks that all received bytes are true. Either all bytes come, or an error says that they do not.
    async fn seen_to_an_end(&self, answer: Answer, part: Range<usize>) -> Result<String, BoxError> {
        let (head, said) = (format!("{answer:?}"), said(&answer));
        assert!(answer.status().is_success(), "{head}");
        let (film, mut body, mut seen) = (self.bytes.slice(part), answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame?.into_data().unwrap();
            assert!(
                film[seen..].starts_with(&data),
                "{} bytes at {seen} that are not the film's",
                data.len()
            );
            seen += data.len();
        }
        assert_eq!(seen, film.len(), "too few: {head}");
        Ok(said)
    }

    /// The answer of the inner service: the video, or the one range that is asked for.
    fn answer(&self, request: &Request<Full<Bytes>>) -> Response<Pieces> {
        let range = request.headers().get(header::RANGE).map_or("", |range| range.to_str().unwrap());
        self.asked.lock().unwrap().push(range.to_owned());
        let response = Response::builder()
            .header(header::CONTENT_TYPE, "video/mp4")
            .header(header::CACHE_CONTROL, "max-age=3600");
        if !self.in_parts {
            return response.body(Pieces(self.bytes.clone())).unwrap();
        }
        let response = response.header(header::ETAG, "\"cut-1\"").header(header::ACCEPT_RANGES, "bytes");
        let length = self.bytes.len();
        let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
            return response.body(Pieces(self.bytes.clone())).unwrap();
        };
        let first: usize = first.parse().unwrap();
        let last = last.parse().unwrap_or(length - 1).min(length - 1);
        response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{length}"))
            .body(Pieces(self.bytes.slice(first..=last)))
            .unwrap()
    }
}

fn said(answer: &Answer) -> String {
    answer.headers()["cache-status"].to_str().unwrap().to_owned()
}

/// A body in pieces of no chosen size, as a network brings it.
pub(crate) struct Pieces(Bytes);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.0.len().min(10_007);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.0.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len().try_into().unwrap())
    }
}
