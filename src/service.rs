//! [`VideoCache`]: the service around the inner service.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, Version, header, request};
use http_body::Body;
use tower_service::Service;

use crate::{
    counters::Reason,
    engine::body::{ResponseBody, Seen},
    engine::{current::Current, inner::Inner, respond::Treatment},
    error::BoxError,
    future::ResponseFuture,
};

/// A service that answers from the store, and fills the store from the `inner` service.
///
/// [`VideoCacheLayer`](crate::VideoCacheLayer) makes it, and [`VideoCache::new`] does with default settings. Its errors
/// are those of the inner service, unchanged. Each request clones the inner service, so its clones should be cheap.
///
/// ```
/// # use std::convert::Infallible;
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::Full;
/// use tower::service_fn;
/// use tower_video_cache::{MokaStore, VideoCache};
///
/// let inner = service_fn(|_: Request<Full<Bytes>>| async {
///     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("a video")))
/// });
/// let service = VideoCache::new(inner, MokaStore::new(1 << 30)?);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
///
/// # Bounds
///
/// If the compiler says that this is no `Service`, check these: the inner service is `Clone`, `Send` and `'static`, its
/// future is `Send`, the request body is `Default`, and the data of the response body is `Bytes`.
///
/// The request body of `axum` is `Default`. The body of `hyper`, `Incoming`, is not, so box it before the cache:
///
/// ```
/// # use std::convert::Infallible;
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::{combinators::BoxBody, Full};
/// use http_body_util::BodyExt;
/// use hyper::body::Incoming;
/// use tower::ServiceBuilder;
/// use tower_video_cache::{MokaStore, VideoCache};
///
/// # let inner = tower::service_fn(|_: Request<BoxBody<Bytes, hyper::Error>>| async {
/// #     Ok::<_, Infallible>(Response::new(Full::<Bytes>::from("a video")))
/// # });
/// let service = ServiceBuilder::new()
///     .map_request(|request: Request<Incoming>| request.map(BodyExt::boxed))
///     .layer(VideoCache::layer(MokaStore::new(1 << 30)?))
///     .service(inner);
/// # fn is_service<S: tower::Service<Request<Incoming>>>(_: &S) {}
/// # is_service(&service);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
///
/// # Panics
///
/// The cache spawns a task for each fill, so call the service within a Tokio runtime that has its timer enabled. A
/// panic of the inner service reaches only the request that met it.
///
/// # Cancel safety
///
/// A response future that is dropped leaves its fill running: the response is stored for the next client.
#[derive(Clone)]
pub struct VideoCache<S> {
    inner: S,
    current: Arc<Current>,
}

impl<S> VideoCache<S> {
    pub(crate) fn of(inner: S, current: Arc<Current>) -> Self {
        Self { inner, current }
    }

    /// The inner service. A request to it bypasses the cache.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, mutably. A request to it bypasses the cache.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service without the cache.
    pub fn into_inner(self) -> S {
        self.inner
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
        let engine = self.current.engine_for(&parts);
        let treatment = engine.treatment(&parts, has_content(&parts, &body));
        let heard = (Arc::clone(&engine.counters), Seen::new(&engine.counters, &parts));
        if let Treatment::Bypass(reason) = treatment {
            let member = engine.config.cache_status.name.member(reason).clone();
            engine.count_call(Reason::Pass);
            let future = self.inner.call(Request::from_parts(parts, body));
            return ResponseFuture::bypass(future, member, reason, heard);
        }
        // The service that was polled ready is the one to call; its clone is not ready.
        let clone = self.inner.clone();
        let inner = Inner::ready(mem::replace(&mut self.inner, clone));
        match treatment {
            Treatment::Invalidate => {
                ResponseFuture::cached(Box::pin(engine.forward_unsafe(inner, parts, body)), heard)
            }
            _ => ResponseFuture::cached(Box::pin(engine.respond(inner, parts, body)), heard),
        }
    }
}

/// Whether the request has content. If the body does not tell its length, the fields of HTTP/1.1 do (RFC 9112 §6.3). A
/// request of HTTP/2 then counts as one with content.
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
