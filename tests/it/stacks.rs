//! Every layer of tower and tower-http, outside of the cache and inside of it: it compiles, and the client notices
//! nothing.
//!
//! A layer that changes the type of the request's body needs a `MapRequestBodyLayer` between itself and the cache,
//! because the cache makes request bodies of its own. An inner service that cannot be cloned needs a buffer around
//! it.

use std::{
    convert::Infallible,
    fmt::Debug,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    balance::p2c::MakeBalanceLayer,
    buffer::BufferLayer,
    discover::ServiceList,
    filter::{AsyncFilterLayer, FilterLayer},
    layer::{layer_fn, util::Identity},
    limit::{ConcurrencyLimitLayer, GlobalConcurrencyLimitLayer, RateLimitLayer},
    load::Constant,
    load_shed::LoadShedLayer,
    retry::{Policy, RetryLayer},
    service_fn,
    spawn_ready::SpawnReadyLayer,
    timeout::TimeoutLayer,
    util::{
        AndThenLayer, BoxCloneServiceLayer, BoxCloneSyncService, BoxCloneSyncServiceLayer, BoxLayer,
        MapErrLayer, MapFutureLayer, MapRequestLayer, MapResponseLayer, MapResultLayer, ThenLayer,
        option_layer,
    },
};
use tower_http::{
    add_extension::AddExtensionLayer,
    auth::{AddAuthorizationLayer, AsyncRequireAuthorizationLayer},
    catch_panic::CatchPanicLayer,
    compression::CompressionLayer,
    cors::CorsLayer,
    csrf::CsrfLayer,
    decompression::{DecompressionLayer, RequestDecompressionLayer},
    follow_redirect::FollowRedirectLayer,
    limit::RequestBodyLimitLayer,
    map_request_body::MapRequestBodyLayer,
    map_response_body::MapResponseBodyLayer,
    metrics::InFlightRequestsLayer,
    normalize_path::NormalizePathLayer,
    on_early_drop::OnEarlyDropLayer,
    propagate_header::PropagateHeaderLayer,
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer},
    sensitive_headers::{
        SetSensitiveHeadersLayer, SetSensitiveRequestHeadersLayer, SetSensitiveResponseHeadersLayer,
    },
    services::Redirect,
    set_header::{
        SetRequestHeaderLayer, SetResponseHeaderLayer, request::SetMultipleRequestHeadersLayer,
        response::SetMultipleResponseHeadersLayer,
    },
    set_status::SetStatusLayer,
    timeout as http_timeout,
    trace::TraceLayer,
    validate_request::ValidateRequestHeaderLayer,
};
use tower_video_cache::{BoxError, MokaStore, ResponseBody, VideoCache, VideoCacheLayer};

use crate::rig::movie;

const LENGTH: usize = 3000;
const LONG: Duration = Duration::from_secs(30);
const FIELD: HeaderName = HeaderName::from_static("x-field");
const VALUE: HeaderValue = HeaderValue::from_static("value");

/// An inner service that counts its calls and accepts any request body.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicUsize>);

impl<A> Service<Request<A>> for Counted {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<A>) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::new(movie("/a.mp4", LENGTH)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        ready(Ok(response))
    }
}

fn cache() -> VideoCacheLayer {
    VideoCacheLayer::new(MokaStore::new(1 << 20).unwrap())
}

fn request(range: Option<&str>) -> Request<Body> {
    let mut request = Request::get("/a.mp4");
    if let Some(range) = range {
        request = request.header(header::RANGE, range);
    }
    request.body(Body::empty()).unwrap()
}

/// Checks that the answer's bytes are those of the video, whole and in part, and that one call brings them.
async fn plays<S, B>(about: &str, mut app: S, calls: &AtomicUsize)
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Debug,
    B: http_body::Body,
    B::Error: Debug,
{
    let truth = movie("/a.mp4", LENGTH);
    for (range, bytes) in
        [(None, truth.clone()), (Some("bytes=10-19"), truth.slice(10..20)), (None, truth.clone())]
    {
        let response = app.ready().await.unwrap().call(request(range)).await.unwrap();
        assert!(response.status().is_success(), "{about}");
        assert!(response.headers().contains_key("cache-status"), "{about}");
        let came = response.into_body().collect().await.unwrap_or_else(|_| panic!("{about}")).to_bytes();
        assert_eq!(came, bytes, "{about}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1, "{about}");
}

async fn outside<L, B>(about: &str, layer: L)
where
    L: Layer<VideoCache<Counted>>,
    L::Service: Service<Request<Body>, Response = Response<B>>,
    <L::Service as Service<Request<Body>>>::Error: Debug,
    B: http_body::Body,
    B::Error: Debug,
{
    let inner = Counted::default();
    plays(about, layer.layer(cache().layer(inner.clone())), &inner.0).await;
}

/// Puts a layer inside of the cache. A box hides its type, so that one cache is compiled for all layers.
async fn inside<L, B>(about: &str, layer: L)
where
    L: Layer<Counted>,
    L::Service: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    <L::Service as Service<Request<Body>>>::Future: Send,
    <L::Service as Service<Request<Body>>>::Error: Into<BoxError> + Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let inner = Counted::default();
    let service =
        layer.layer(inner.clone()).map_response(|response| response.map(Body::new)).map_err(Into::into);
    let boxed: BoxCloneSyncService<Request<Body>, Response<Body>, BoxError> =
        BoxCloneSyncService::new(service);
    plays(about, cache().layer(boxed), &inner.0).await;
}

/// Does both, with a new layer for each.
macro_rules! both {
    ($($layer:expr),* $(,)?) => {$(
        outside(concat!(stringify!($layer), " outside"), $layer).await;
        inside(concat!(stringify!($layer), " inside"), $layer).await;
    )*};
}

fn same<T>(it: T) -> T {
    it
}

fn at_once<T>(it: T) -> Ready<Result<T, Infallible>> {
    ready(Ok(it))
}

#[expect(clippy::unnecessary_wraps, reason = "a filter may refuse")]
fn may_go_on<T>(it: T) -> Result<T, BoxError> {
    Ok(it)
}

fn will_go_on<T>(it: T) -> Ready<Result<T, BoxError>> {
    ready(Ok(it))
}

/// A policy that tries nothing again.
#[derive(Clone)]
struct Once;

impl<A, T, E> Policy<A, T, E> for Once {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut A, _: &mut Result<T, E>) -> Option<Ready<()>> {
        None
    }

    fn clone_request(&mut self, _: &A) -> Option<A> {
        None
    }
}

#[tokio::test]
async fn every_layer_of_tower_may_be_outside_and_inside() {
    both![
        Identity::new(),
        layer_fn(same),
        option_layer(Some(Identity::new())),
        option_layer(None::<Identity>),
        BufferLayer::<Request<Body>>::new(8),
        ConcurrencyLimitLayer::new(8),
        GlobalConcurrencyLimitLayer::new(8),
        LoadShedLayer::new(),
        RetryLayer::new(Once),
        TimeoutLayer::new(LONG),
        FilterLayer::new(may_go_on::<Request<Body>>),
        AsyncFilterLayer::new(will_go_on::<Request<Body>>),
        AndThenLayer::new(at_once),
        ThenLayer::new(ready),
        MapErrLayer::new(same),
        MapFutureLayer::new(same),
        MapRequestLayer::new(same::<Request<Body>>),
        MapResponseLayer::new(same),
        MapResultLayer::new(same),
    ];
    outside("RateLimitLayer outside", RateLimitLayer::new(8, LONG)).await;
    outside("SpawnReadyLayer outside", SpawnReadyLayer::new()).await;
    let buffered = ServiceBuilder::new().layer(BufferLayer::new(8)).layer(SpawnReadyLayer::new());
    inside("SpawnReadyLayer inside", buffered).await;
    let buffered = ServiceBuilder::new().layer(BufferLayer::new(8)).layer(RateLimitLayer::new(8, LONG));
    inside("RateLimitLayer inside", buffered).await;
    outside("BoxLayer outside", BoxLayer::new(Identity::new())).await;
    outside("BoxCloneServiceLayer outside", BoxCloneServiceLayer::new(Identity::new())).await;
    both![BoxCloneSyncServiceLayer::new(Identity::new())];
    let buffered = ServiceBuilder::new().layer(BufferLayer::new(8)).layer(BoxLayer::new(Identity::new()));
    inside("BoxLayer inside", buffered).await;
}

#[tokio::test]
async fn a_balancer_spreads_requests_over_caches_and_a_cache_asks_a_balancer() {
    let inner = Counted::default();
    let cached = cache().layer(inner.clone());
    let make = service_fn(move |()| {
        at_once(ServiceList::new::<Request<Body>>(
            [cached.clone(), cached.clone()].map(|one| Constant::new(one, 1)),
        ))
    });
    let balanced = MakeBalanceLayer::new().layer(make).oneshot(()).await.unwrap();
    plays("MakeBalanceLayer outside", balanced, &inner.0).await;

    let inner = Counted::default();
    let counted = inner.clone();
    let make = service_fn(move |()| {
        at_once(ServiceList::new::<Request<Body>>(
            [counted.clone(), counted.clone()].map(|one| Constant::new(one, 1)),
        ))
    });
    let balanced = MakeBalanceLayer::new().layer(make).oneshot(()).await.unwrap();
    let buffered = BufferLayer::<Request<Body>>::new(8).layer(balanced);
    plays("MakeBalanceLayer inside", cache().layer(buffered), &inner.0).await;
}

#[tokio::test]
async fn every_layer_of_tower_http_may_be_outside_and_inside() {
    both![
        AddExtensionLayer::new(1),
        AddAuthorizationLayer::bearer("token"),
        CatchPanicLayer::new(),
        CompressionLayer::new(),
        CorsLayer::permissive(),
        CsrfLayer::new(),
        DecompressionLayer::new(),
        FollowRedirectLayer::new(),
        InFlightRequestsLayer::pair().0,
        MapRequestBodyLayer::new(same::<Body>),
        MapResponseBodyLayer::new(same),
        NormalizePathLayer::trim_trailing_slash(),
        OnEarlyDropLayer::builder(),
        PropagateHeaderLayer::new(FIELD),
        SetRequestIdLayer::new(FIELD, MakeRequestUuid),
        PropagateRequestIdLayer::new(FIELD),
        SetSensitiveHeadersLayer::new([FIELD]),
        SetSensitiveRequestHeadersLayer::new([FIELD]),
        SetSensitiveResponseHeadersLayer::new([FIELD]),
        SetRequestHeaderLayer::overriding(FIELD, VALUE),
        SetResponseHeaderLayer::overriding(FIELD, VALUE),
        SetMultipleRequestHeadersLayer::overriding(vec![(FIELD, VALUE).into()]),
        SetMultipleResponseHeadersLayer::overriding(vec![(FIELD, VALUE).into()]),
        SetStatusLayer::new(StatusCode::OK),
        http_timeout::TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, LONG),
        http_timeout::ResponseBodyTimeoutLayer::new(LONG),
        http_timeout::ResponseBodyDeadlineLayer::new(LONG),
        TraceLayer::new_for_http(),
        ValidateRequestHeaderLayer::accept("video/mp4"),
    ];
}

#[tokio::test]
async fn a_layer_that_checks_credentials_may_be_outside_and_inside() {
    let outer = AsyncRequireAuthorizationLayer::new(|request: Request<Body>| async {
        Ok::<_, Response<ResponseBody<Full<Bytes>>>>(request)
    });
    outside("AsyncRequireAuthorizationLayer outside", outer).await;
    let inner = AsyncRequireAuthorizationLayer::new(|request: Request<Body>| async {
        Ok::<_, Response<Full<Bytes>>>(request)
    });
    inside("AsyncRequireAuthorizationLayer inside", inner).await;
}

#[tokio::test]
async fn a_layer_that_wraps_the_body_of_requests_needs_another_to_unwrap_it() {
    macro_rules! wraps {
        ($($layer:expr),* $(,)?) => {$(
            let unwrapped = ServiceBuilder::new().layer($layer).layer(MapRequestBodyLayer::new(Body::new));
            outside(concat!(stringify!($layer), " outside"), unwrapped).await;
            inside(concat!(stringify!($layer), " inside"), $layer).await;
        )*};
    }
    wraps![
        RequestBodyLimitLayer::new(9),
        RequestDecompressionLayer::new(),
        http_timeout::RequestBodyTimeoutLayer::new(LONG),
        http_timeout::RequestBodyDeadlineLayer::new(LONG),
    ];
}

#[tokio::test]
async fn the_answer_that_a_layer_makes_by_itself_has_an_empty_body() {
    let inner = Counted::default();
    let stack = ServiceBuilder::new()
        .layer(CorsLayer::permissive())
        .layer(ValidateRequestHeaderLayer::accept("video/mp4"))
        .layer(cache())
        .service(inner.clone());
    let preflight =
        Request::builder().method(Method::OPTIONS).uri("/a.mp4").header(header::ORIGIN, "https://a.example");
    let preflight =
        preflight.header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET").body(Body::empty()).unwrap();
    let mut unwelcome = request(None);
    unwelcome.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/html"));
    for (asked, status) in [(preflight, StatusCode::OK), (unwelcome, StatusCode::NOT_ACCEPTABLE)] {
        let answer = stack.clone().oneshot(asked).await.unwrap();
        assert_eq!(answer.status(), status);
        assert!(http_body::Body::is_end_stream(answer.body()));
        assert!(answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    }
    let elsewhere = Redirect::<ResponseBody<Full<Bytes>>>::permanent("https://a.example/".parse().unwrap());
    let answer = elsewhere.oneshot(request(None)).await.unwrap();
    assert_eq!(http_body::Body::size_hint(answer.body()).exact(), Some(0));
    assert_eq!(inner.0.load(Ordering::SeqCst), 0);
}
