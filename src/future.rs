//! [`ResponseFuture`]: the future that a call of the service returns.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::{
    clock::moment,
    counters::{Counters, REQUESTS},
    engine::body::{ResponseBody, Seen, tell_answer},
    error::BoxError,
    semantics::cache_status::{self, Forwarded, Outcome, Told},
};

pin_project! {
    /// The future of a [`VideoCache`](crate::VideoCache)'s response.
    ///
    /// If the request bypasses the cache, it holds the inner service's future without a box. Otherwise it holds one
    /// box.
    ///
    /// ```
    /// use tower::Service;
    /// use tower_video_cache::{ResponseFuture, VideoCache};
    ///
    /// /// A middleware can name the future of a cache that it wraps.
    /// struct Named<F, B, E> {
    ///     cached: ResponseFuture<F, B, E>,
    /// }
    /// ```
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        kind: Kind<F, B, E>,
        // `None` once the future has ended.
        counters: Option<Arc<Counters>>,
        seen: Option<Box<Seen>>,
        // The time of the first poll, if the answer was not there at once.
        asked: Option<Instant>,
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    /// The inner service's answer with this member of `Cache-Status`.
    pub(crate) fn bypass(future: F, member: HeaderValue, reason: Forwarded, heard: Heard) -> Self {
        Self::of(Kind::Bypass { future, member, reason }, heard)
    }

    pub(crate) fn cached(future: Cached<B, E>, heard: Heard) -> Self {
        Self::of(Kind::Cached { future }, heard)
    }

    fn of(kind: Kind<F, B, E>, (counters, seen): Heard) -> Self {
        Self { kind, counters: Some(counters), seen, asked: None }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // An answer is large, so it is changed where it is.
        let mut polled = match this.kind.project() {
            Projected::Bypass { future, member, reason } => future.poll(cx).map(|answer| {
                let mut response = answer?.map(ResponseBody::inner);
                cache_status::append(response.headers_mut(), member.clone());
                response.body_mut().tell(Outcome { forwarded: Some(*reason), ..Outcome::default() }.told());
                Ok(response)
            }),
            Projected::Cached { future } => future.as_mut().poll(cx),
        };
        let Poll::Ready(answer) = &mut polled else {
            this.asked.get_or_insert_with(moment);
            return polled;
        };
        let waited = this.asked.map(|asked| moment().saturating_duration_since(asked)).unwrap_or_default();
        match (this.counters.take(), answer) {
            (Some(counters), Ok(response)) => {
                let seen = (this.seen.take(), response.status());
                response.body_mut().leaves(counters, seen, waited);
            }
            (Some(counters), Err(_)) => {
                counters.add_duration(REQUESTS, Told::FAILED.place.into(), waited);
                let seen = this.seen.take();
                tell_answer(seen.as_deref(), &counters, None, Told::FAILED, waited);
            }
            (None, _) => {}
        }
        polled
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The counters of an answer, and the request if observers hear of it.
type Heard = (Arc<Counters>, Option<Box<Seen>>);

/// An answer that the engine is working on.
type Cached<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

pin_project! {
    #[project = Projected]
    enum Kind<F, B, E> {
        Bypass { #[pin] future: F, member: HeaderValue, reason: Forwarded },
        Cached { future: Cached<B, E> },
    }
}
