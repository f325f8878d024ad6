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

use crate::{
    counters::{Counters, REQUESTS},
    engine::body::ResponseBody,
    error::BoxError,
    semantics::cache_status::{self, Forwarded, Outcome},
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
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    /// The inner service's answer with this member of `Cache-Status`.
    pub(crate) fn bypass(future: F, member: HeaderValue, reason: Forwarded, counters: Arc<Counters>) -> Self {
        Self { kind: Kind::Bypass { future, member, reason }, counters: Some(counters) }
    }

    pub(crate) fn cached(future: Cached<B, E>, counters: Arc<Counters>) -> Self {
        Self { kind: Kind::Cached { future }, counters: Some(counters) }
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
        if let Poll::Ready(answer) = &mut polled {
            match (this.counters.take(), answer) {
                (Some(counters), Ok(response)) => response.body_mut().leaves(counters),
                (Some(counters), Err(_)) => counters.add(REQUESTS, FAILED, 1),
                (None, _) => {}
            }
        }
        polled
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// The place of an error of the inner service among [`REQUESTS`].
const FAILED: usize = 11;

/// An answer that the engine is working on.
type Cached<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

pin_project! {
    #[project = Projected]
    enum Kind<F, B, E> {
        Bypass { #[pin] future: F, member: HeaderValue, reason: Forwarded },
        Cached { future: Cached<B, E> },
    }
}
