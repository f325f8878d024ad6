//! The actions of a client: it asks, and reads the answer.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::Full;
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_video_cache::{Error, ResponseBody, VideoCache};

use super::{
    inner::{Inner, Refused},
    playing::ScriptBody,
};

/// A request under construction.
pub(crate) struct Ask {
    service: VideoCache<Inner>,
    request: Request<Full<Bytes>>,
}

impl Ask {
    pub(super) fn new(service: VideoCache<Inner>, request: Request<Full<Bytes>>) -> Self {
        Self { service, request }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request
            .headers_mut()
            .append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub(crate) fn range(self, range: &str) -> Self {
        self.header("range", range)
    }

    pub(crate) fn version(mut self, version: Version) -> Self {
        *self.request.version_mut() = version;
        self
    }

    pub(crate) fn body(mut self, body: &'static str) -> Self {
        *self.request.body_mut() = Full::from(body);
        self
    }

    pub(crate) fn extension<T: Clone + Send + Sync + 'static>(mut self, extension: T) -> Self {
        self.request.extensions_mut().insert(extension);
        self
    }

    /// Sends, and returns the response with its body unread.
    pub(crate) async fn response(self) -> Result<Response<ResponseBody<ScriptBody>>, Refused> {
        self.service.oneshot(self.request).await
    }

    /// Sends, and returns a response whose body is read frame by frame.
    pub(crate) async fn reading(self) -> Reading {
        Reading::of(self.response().await.expect("the inner service answers"))
    }

    pub(crate) async fn send(self) -> Answer {
        self.reading().await.rest().await
    }

    /// Sends from a task of its own.
    pub(crate) fn start(self) -> JoinHandle<Answer> {
        tokio::spawn(self.send())
    }
}

/// A response whose body is being read.
pub(crate) struct Reading {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The bytes that were read so far.
    pub(crate) bytes: Vec<u8>,
    knows_its_length: bool,
    /// The number of empty frames in a row.
    empty_frames: u32,
    body: Pin<Box<ResponseBody<ScriptBody>>>,
    trailers: Option<HeaderMap>,
}

impl Reading {
    pub(crate) fn of(response: Response<ResponseBody<ScriptBody>>) -> Self {
        let (parts, body) = response.into_parts();
        is_well_formed(&parts.headers);
        Self {
            status: parts.status,
            headers: parts.headers,
            bytes: Vec::new(),
            knows_its_length: body.size_hint().exact().is_some(),
            empty_frames: 0,
            body: Box::pin(body),
            trailers: None,
        }
    }

    /// Returns the bytes of the next frame, if there is one.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Returns the bytes of the next frame, which must be there already.
    #[track_caller]
    pub(crate) fn ready(&mut self) -> Bytes {
        match self.poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(bytes))) => bytes,
            Poll::Ready(other) => panic!("no more bytes, but {other:?}"),
            Poll::Pending => panic!("the body waits after {} bytes", self.bytes.len()),
        }
    }

    /// Checks that the body waits. From then on, the result counts how often the body wakes its task.
    #[track_caller]
    pub(crate) fn waits(&mut self) -> Arc<Wakes> {
        let wakes = Arc::new(Wakes::default());
        match self.poll_next(&mut Context::from_waker(&Waker::from(Arc::clone(&wakes)))) {
            Poll::Pending => wakes,
            Poll::Ready(frame) => panic!("the body does not wait: {frame:?}"),
        }
    }

    /// Reads the rest. The answer also contains the bytes that were read before.
    pub(crate) async fn rest(mut self) -> Answer {
        let error = loop {
            match self.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        self.stop(error)
    }

    /// Stops reading. The answer contains the bytes that were read before.
    pub(crate) fn stop(self, error: Option<Error>) -> Answer {
        let Self { status, headers, bytes, knows_its_length, trailers, .. } = self;
        Answer { status, headers, bytes: bytes.into(), knows_its_length, trailers, error }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let promised = self.body.size_hint().exact();
            let Some(frame) = ready!(self.body.as_mut().poll_frame(cx)?) else {
                assert_eq!(self.body.size_hint().exact().unwrap_or(0), 0, "nothing is left at the end");
                return Poll::Ready(None);
            };
            match frame.into_data() {
                Ok(data) => {
                    // An unknown length may have become known.
                    if let Some(promised) = promised {
                        let left = self.body.size_hint().exact();
                        assert_eq!(Some(promised - data.len() as u64), left, "the size hint holds");
                    }
                    self.bytes.extend_from_slice(&data);
                    self.empty_frames = if data.is_empty() { self.empty_frames + 1 } else { 0 };
                    assert!(self.empty_frames < 100, "only empty frames come, and no end");
                    return Poll::Ready(Some(Ok(data)));
                }
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            }
        }
    }
}

/// Counts the wake-ups of a waiting task.
#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wakes {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A response read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    /// Whether the body stated its length from the start. A body that is passed through does not.
    pub(crate) knows_its_length: bool,
    pub(crate) trailers: Option<HeaderMap>,
    /// The error that ended the body early, if any.
    pub(crate) error: Option<Error>,
}

impl Answer {
    pub(crate) async fn of(response: Response<ResponseBody<ScriptBody>>) -> Self {
        Reading::of(response).rest().await
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.field("cache-status")
    }

    #[track_caller]
    pub(crate) fn is_hit(&self) -> &Self {
        assert!(self.cache_status().contains("; hit"), "{}", self.cache_status());
        self
    }

    /// Checks that this is a 200 with exactly these bytes.
    #[track_caller]
    pub(crate) fn whole(&self, bytes: &Bytes) -> &Self {
        assert!(self.error.is_none(), "{:?}", self.error);
        assert_eq!(self.status, StatusCode::OK);
        assert!(self.bytes == *bytes, "{} bytes instead of the {} true ones", self.bytes.len(), bytes.len());
        self
    }

    /// Checks that this is a 206 with exactly this part of the bytes, and with the fields that say so.
    #[track_caller]
    pub(crate) fn partial(&self, bytes: &Bytes, range: std::ops::Range<usize>) -> &Self {
        assert!(self.error.is_none(), "{:?}", self.error);
        assert_eq!(self.status, StatusCode::PARTIAL_CONTENT);
        let said = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
        assert_eq!(self.field("content-range"), said);
        assert_eq!(self.field("content-length"), range.len().to_string());
        assert!(self.bytes == bytes.slice(range.clone()), "not the bytes of {range:?}");
        self
    }
}

/// Checks that another implementation can read the `Cache-Status` of the answer (RFC 9211 §2).
#[track_caller]
fn is_well_formed(headers: &HeaderMap) {
    let lines: Vec<_> = headers.get_all("cache-status").iter().map(HeaderValue::as_bytes).collect();
    let members: sfv::List = sfv::Parser::new(&lines.join(&b", "[..])).parse().unwrap();
    let Some(sfv::ListEntry::Item(last)) = members.last() else {
        panic!("no member, or a list: {headers:?}")
    };
    assert!(last.bare_item.as_token().is_some() || last.bare_item.as_string().is_some());
    let [hit, forwarded, detail] = ["hit", "fwd", "detail"].map(|name| last.params.contains_key(name));
    assert!(hit != forwarded || (!hit && detail), "{headers:?}");
}
