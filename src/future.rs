//! [`ResponseFuture`]: the future that a call of the service returns.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{HeaderValue, Response};
use pin_project_lite::pin_project;

use crate::{engine::body::ResponseBody, semantics::cache_status};

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
    }
}

impl<F, B, E> ResponseFuture<F, B, E> {
    /// The inner service's answer with this member of `Cache-Status`.
    pub(crate) fn bypass(future: F, member: HeaderValue) -> Self {
        Self { kind: Kind::Bypass { future, member } }
    }

    pub(crate) fn cached(future: Cached<B, E>) -> Self {
        Self { kind: Kind::Cached { future } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            Projected::Bypass { future, member } => future.poll(cx).map(|answer| {
                let mut response = answer?.map(ResponseBody::inner);
                cache_status::append(response.headers_mut(), member.clone());
                Ok(response)
            }),
            Projected::Cached { future } => future.as_mut().poll(cx),
        }
    }
}

impl<F, B, E> fmt::Debug for ResponseFuture<F, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// An answer that the engine is working on.
type Cached<B, E> = Pin<Box<dyn Future<Output = Result<Response<ResponseBody<B>>, E>> + Send>>;

pin_project! {
    #[project = Projected]
    enum Kind<F, B, E> {
        Bypass { #[pin] future: F, member: HeaderValue },
        Cached { future: Cached<B, E> },
    }
}
