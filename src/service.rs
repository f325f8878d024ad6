//! [`VideoCache`]: the service that the layer makes.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{header, request, Request, Response, Version};
use http_body::Body;
use tower_service::Service;

use crate::{
    engine::body::ResponseBody,
    engine::{respond::Treatment, state::Engine, Inner},
    error::BoxError,
    future::ResponseFuture,
};

/// A service that answers from the store, and fills the store from the `inner` service.
///
/// Made by [`VideoCacheLayer`](crate::VideoCacheLayer). Its errors are those of the inner service, unchanged.
/// The inner service is cloned for each request, hit or miss, so its clones should be cheap.
///
/// Where the compiler says that it is no `Service`: the inner service must be `Clone`, `Send` and `'static`, the
/// request body `Default` (axum's is, hyper's `Incoming` is not), and the data of the response body `Bytes`.
///
/// # Panics
///
/// A fill is a task, so requests must be made within a Tokio runtime that has its timer enabled. A panic of the
/// inner service is passed on to the request that met it, and to no other.
///
/// # Cancel safety
///
/// A response future that is dropped takes no fill with it: what it began is stored for the next viewer.
#[derive(Clone)]
pub struct VideoCache<S> {
    inner: S,
    engine: Arc<Engine>,
}

impl<S> VideoCache<S> {
    pub(crate) fn new(inner: S, engine: Arc<Engine>) -> Self {
        Self { inner, engine }
    }
}

impl<S, A, B> Service<Request<A>> for VideoCache<S>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Body + Default + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let treatment = self.engine.treatment(&parts, has_content(&parts, &body));
        if let Treatment::Bypass(member) = treatment {
            let member = member.clone();
            return ResponseFuture::bypass(self.inner.call(Request::from_parts(parts, body)), member);
        }
        // The service that was polled ready is the one to call; its clone is not ready.
        let clone = self.inner.clone();
        let inner = Inner::ready(mem::replace(&mut self.inner, clone));
        let engine = Arc::clone(&self.engine);
        match treatment {
            Treatment::Invalidate => {
                ResponseFuture::cached(Box::pin(engine.forward_unsafe(inner, parts, body)))
            }
            _ => ResponseFuture::cached(Box::pin(engine.respond(inner, parts, body))),
        }
    }
}

/// Whether the request has content. Not every body tells its end beforehand; then HTTP/1.1 does by its fields
/// (RFC 9112 §6.3), and of HTTP/2 the worse is taken for true.
fn has_content(request: &request::Parts, body: &impl Body) -> bool {
    if let Some(length) = body.size_hint().exact() {
        return length > 0;
    }
    let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
    let is_framed = || framed.iter().any(|name| request.headers.contains_key(name));
    !body.is_end_stream() && (request.version > Version::HTTP_11 || is_framed())
}

impl<S: fmt::Debug> fmt::Debug for VideoCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VideoCache").field("inner", &self.inner).finish_non_exhaustive()
    }
}
