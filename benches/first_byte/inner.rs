//! An inner service with one object. Each of its answers comes over a line of 32 MiB/s.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode, header, request};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// An inner service that honours a range and a strong validator, and counts its calls and bytes.
pub(crate) struct Inner {
    length: u64,
    latency: Duration,
    pub(crate) calls: AtomicU64,
    /// Bytes of all frames that were taken.
    pub(crate) bytes: AtomicU64,
    /// Calls whose answers have neither ended nor been dropped.
    open: AtomicU64,
}

impl Inner {
    pub(crate) fn new(length: u64, latency: Duration) -> Self {
        LazyLock::force(&PICTURES);
        let (calls, bytes, open) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { length, latency, calls, bytes, open }
    }

    /// Returns the requested range if it is a range of this object, else the whole.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: request::Parts,
    ) -> Result<Response<Film>, Infallible> {
        let (length, latency, begun) = (self.length, self.latency, Instant::now() + self.latency);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let open = Open::new(self);
        if !latency.is_zero() {
            sleep_until(begun).await;
        }

        let field = |name| request.headers.get(name).map(|value| value.to_str().unwrap());
        let is_of_this = field(header::IF_RANGE).is_none_or(|validator| validator == ETAG);
        let range = field(header::RANGE).filter(|_| is_of_this);
        let range = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let range = range.and_then(|(first, last)| Some((first.parse().ok()?, last)));
        let mut response =
            Response::builder().header(header::CONTENT_TYPE, "video/mp4").header(header::ETAG, ETAG);
        let (mut from, mut to) = (0, length);
        if let Some((first, last)) = range {
            (from, to) = (first, last.parse().map_or(length, |last: u64| length.min(last + 1)));
            let range = format!("bytes {from}-{}/{length}", to - 1);
            response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, range);
        }
        let due = Box::pin(sleep_until(begun));
        let film = Film { open, begun, from, to, position: from, due };
        Ok(response.header(header::CONTENT_LENGTH, to - from).body(film).unwrap())
    }

    /// Waits until no client has asked for anything for a while.
    pub(crate) async fn silence(&self) {
        let (begun, mut quiet) = (Instant::now(), 0);
        while quiet < 3 {
            sleep(Duration::from_millis(20)).await;
            quiet = if self.open.load(Ordering::Relaxed) == 0 { quiet + 1 } else { 0 };
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "a body is neither read to its end nor dropped"
            );
        }
    }
}

/// The body of an answer. Each frame comes when a line of `RATE` would have carried it.
pub(crate) struct Film {
    open: Open,
    begun: Instant,
    from: u64,
    to: u64,
    position: u64,
    due: Pin<Box<Sleep>>,
}

impl Body for Film {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let pictures = pictures_at(this.position, this.to);
        if pictures.is_empty() {
            return Poll::Ready(None);
        }
        let end = this.position + u64::try_from(pictures.len()).unwrap();
        let due = this.begun + Duration::from_nanos((end - this.from) * 1_000_000_000 / RATE);
        if this.due.deadline() != due {
            this.due.as_mut().reset(due);
        }
        ready!(this.due.as_mut().poll(cx));
        this.open.inner.bytes.fetch_add(end - this.position, Ordering::Relaxed);
        this.position = end;
        Poll::Ready(Some(Ok(Frame::data(pictures))))
    }
}

/// A call under way, from its start until its body is dropped.
struct Open {
    inner: Arc<Inner>,
}

impl Open {
    fn new(inner: Arc<Inner>) -> Self {
        inner.open.fetch_add(1, Ordering::Relaxed);
        Self { inner }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.inner.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The video from `position` to the end of its frame, or `to`.
///
/// Each frame is another slice of the same noise, so bytes that come from the wrong place show.
pub(crate) fn pictures_at(position: u64, to: u64) -> Bytes {
    let start = position / FRAME * 7919 % FRAME;
    let length = (FRAME - position % FRAME).min(to.saturating_sub(position));
    let from = usize::try_from(start + position % FRAME).unwrap();
    PICTURES.slice(from..from + usize::try_from(length).unwrap())
}

/// Two frames' worth of noise.
static PICTURES: LazyLock<Bytes> = LazyLock::new(|| {
    let mut noise = 1_u32;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise.to_le_bytes()[0]
    };
    (0..2 * FRAME).map(|_| next()).collect()
});

const FRAME: u64 = 16 << 10;
/// Bytes per second, for each answer.
const RATE: u64 = 32 << 20;
const ETAG: &str = "\"v1\"";
