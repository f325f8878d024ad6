//! The layer together with axum, `ServeDir`, a hyper client, and the layers of tower and tower-http on either side.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer, decompression::DecompressionLayer,
    services::ServeDir, trace::TraceLayer,
};
use tower_video_cache::{Fill, MokaStore, VideoCache, VideoCacheLayer};

use crate::rig::{movie, seconds};

const LENGTH: usize = 300_000;

/// A request body of hyper's server, in a box.
type Boxed = BoxBody<Bytes, hyper::Error>;

fn layer() -> VideoCacheLayer {
    VideoCacheLayer::new(MokaStore::new(64 << 20).unwrap()).fill(Fill::whole())
}

fn request(path: &str, range: Option<&str>) -> Request<Body> {
    let mut request = Request::get(path);
    if let Some(range) = range {
        request = request.header(header::RANGE, range);
    }
    request.body(Body::empty()).unwrap()
}

async fn bytes<B: http_body::Body>(response: Response<B>) -> Bytes
where
    B::Error: std::fmt::Debug,
{
    response.into_body().collect().await.unwrap().to_bytes()
}

fn cache_status<B>(response: &Response<B>) -> &str {
    response.headers()["cache-status"].to_str().unwrap()
}

/// A handler that counts its calls.
fn video(calls: &Arc<AtomicUsize>) -> axum::routing::MethodRouter {
    let calls = Arc::clone(calls);
    get(move || async move {
        calls.fetch_add(1, Ordering::SeqCst);
        ([(header::CONTENT_TYPE, "video/mp4")], movie("/a.mp4", LENGTH))
    })
}

#[tokio::test]
async fn an_axum_router_applies_the_layer_to_each_route_as_one_cache() {
    let calls = Arc::new(AtomicUsize::new(0));
    let routes = || Router::new().route("/videos/{name}", video(&calls)).route("/v/{name}", video(&calls));
    let cache = layer();
    let apps = [routes().layer(cache.clone()), routes().route_layer(cache)];
    let truth = movie("/a.mp4", LENGTH);
    for round in 0..2 {
        for app in &apps {
            let response = app.clone().oneshot(request("/videos/a", Some("bytes=100-199"))).await.unwrap();
            assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
            assert_eq!(bytes(response).await, truth.slice(100..200));
        }
        let other = apps[round].clone().oneshot(request("/v/a", None)).await.unwrap();
        assert_eq!(bytes(other).await, truth);
        assert_eq!(calls.load(Ordering::SeqCst), 2, "one call for each of two paths");
    }
    let missing = apps[0].clone().oneshot(request("/nowhere", None)).await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn around_serve_dir_seeks_and_validators_work() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("around_serve_dir");
    std::fs::create_dir_all(&folder).unwrap();
    let truth = movie("/film.mp4", LENGTH);
    std::fs::write(folder.join("film.mp4"), &truth).unwrap();
    // A file that has just changed is guessed to change soon.
    let film = std::fs::File::options().write(true).open(folder.join("film.mp4")).unwrap();
    film.set_modified(SystemTime::now() - seconds(3600)).unwrap();
    let app = Router::new().nest_service("/videos", ServeDir::new(&folder)).layer(layer());

    let cold = app.clone().oneshot(request("/videos/film.mp4", Some("bytes=-1000"))).await.unwrap();
    assert_eq!(cold.headers()[header::CONTENT_TYPE], "video/mp4");
    assert!(cache_status(&cold).ends_with("; stored"), "{}", cache_status(&cold));
    assert_eq!(bytes(cold).await, truth.slice(LENGTH - 1000..));
    std::fs::remove_file(folder.join("film.mp4")).unwrap();

    let hit = app.clone().oneshot(request("/videos/film.mp4", None)).await.unwrap();
    let modified = hit.headers()[header::LAST_MODIFIED].clone();
    assert_eq!(bytes(hit).await, truth);
    let mut conditional = request("/videos/film.mp4", None);
    conditional.headers_mut().insert(header::IF_MODIFIED_SINCE, modified);
    assert_eq!(app.clone().oneshot(conditional).await.unwrap().status(), StatusCode::NOT_MODIFIED);
    let gone = app.oneshot(request("/videos/other.mp4", None)).await.unwrap();
    assert_eq!(gone.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_layer_between_a_hyper_server_and_a_hyper_client_is_a_caching_proxy() {
    let calls = Arc::new(AtomicUsize::new(0));
    let origin = serve(service_fn({
        let calls = Arc::clone(&calls);
        move |_: Request<Incoming>| {
            calls.fetch_add(1, Ordering::SeqCst);
            let response = Response::builder()
                .header(header::CONTENT_TYPE, "video/mp4")
                .body(Full::new(movie("/a.mp4", LENGTH)));
            std::future::ready(response)
        }
    }))
    .await;
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let proxy = ServiceBuilder::new()
        // `Incoming` has no default for the request of a fill, and a boxed body has one.
        .map_request(|request: Request<Incoming>| request.map(BodyExt::boxed))
        .layer(VideoCache::layer(MokaStore::new(64 << 20).unwrap()))
        .map_request(move |mut request: Request<Boxed>| {
            *request.uri_mut() = format!("http://{origin}{}", request.uri().path()).parse().unwrap();
            request
        })
        .service(Client::builder(TokioExecutor::new()).build_http::<Boxed>());
    let proxy = serve(proxy).await;
    let truth = movie("/a.mp4", LENGTH);
    for range in [None, Some("bytes=5-250000"), Some("bytes=-7")] {
        let mut asked = Request::get(format!("http://{proxy}/a.mp4"));
        if let Some(range) = range {
            asked = asked.header(header::RANGE, range);
        }
        let response = client.request(asked.body(Full::default()).unwrap()).await.unwrap();
        let expected = match range {
            None => truth.clone(),
            Some("bytes=-7") => truth.slice(LENGTH - 7..),
            Some(_) => truth.slice(5..=250_000),
        };
        assert_eq!(response.headers()[header::CONTENT_LENGTH], expected.len().to_string());
        assert_eq!(bytes(response).await, expected);
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

/// Serves HTTP/1.1 on a loopback port that the system chooses, until the test's runtime ends.
async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<tower_video_cache::BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tower_video_cache::BoxError>,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            let connection = hyper::server::conn::http1::Builder::new();
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// An inner service that counts its calls.
#[derive(Clone)]
struct Counted(Arc<AtomicUsize>);

impl Service<Request<Body>> for Counted {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        self.0.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::new(Full::new(movie("/a.mp4", LENGTH)));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
        std::future::ready(Ok(response))
    }
}

fn counted(calls: &Arc<AtomicUsize>) -> Counted {
    Counted(Arc::clone(calls))
}

fn gzip(path: &str, range: Option<&str>) -> Request<Body> {
    let mut request = request(path, range);
    request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
    request
}

#[tokio::test]
async fn the_layer_inside_of_other_layers_answers_as_alone() {
    let calls = Arc::new(AtomicUsize::new(0));
    let app = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .layer(CatchPanicLayer::new())
        .layer(DecompressionLayer::new())
        .layer(CompressionLayer::new())
        .buffer(8)
        .concurrency_limit(8)
        .timeout(Duration::from_secs(30))
        .layer(layer())
        .service(counted(&calls));
    let truth = movie("/a.mp4", LENGTH);
    for _ in 0..2 {
        let whole = app.clone().oneshot(request("/a.mp4", None)).await.unwrap();
        assert_eq!(bytes(whole).await, truth);
        let part = app.clone().oneshot(request("/a.mp4", Some("bytes=10-19"))).await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(bytes(part).await, truth.slice(10..20));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_layer_outside_of_other_layers_answers_as_alone() {
    let calls = Arc::new(AtomicUsize::new(0));
    let app = ServiceBuilder::new()
        .layer(layer())
        .layer(TraceLayer::new_for_http())
        .layer(CatchPanicLayer::new())
        .buffer(8)
        .concurrency_limit(8)
        .timeout(Duration::from_secs(30))
        .service(counted(&calls));
    let truth = movie("/a.mp4", LENGTH);
    for _ in 0..2 {
        let whole = app.clone().oneshot(request("/a.mp4", None)).await.unwrap();
        assert_eq!(bytes(whole).await, truth);
        let part = app.clone().oneshot(request("/a.mp4", Some("bytes=10-19"))).await.unwrap();
        assert_eq!(bytes(part).await, truth.slice(10..20));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn compression_inside_is_stored_by_encoding_and_ranges_are_of_the_encoded_bytes() {
    let calls = Arc::new(AtomicUsize::new(0));
    let app = ServiceBuilder::new().layer(layer()).layer(CompressionLayer::new()).service(counted(&calls));
    let truth = movie("/a.mp4", LENGTH);
    let encoded = app.clone().oneshot(gzip("/a.mp4", None)).await.unwrap();
    assert_eq!(encoded.headers()[header::CONTENT_ENCODING], "gzip");
    let encoded = bytes(encoded).await;
    let plain = app.clone().oneshot(request("/a.mp4", None)).await.unwrap();
    assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
    assert_eq!(bytes(plain).await, truth);

    let part = app.clone().oneshot(gzip("/a.mp4", Some("bytes=10-19"))).await.unwrap();
    assert_eq!(part.headers()[header::CONTENT_ENCODING], "gzip");
    assert_eq!(bytes(part).await, encoded.slice(10..20));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    let decoded = DecompressionLayer::new().layer(app).oneshot(request("/a.mp4", None)).await.unwrap();
    assert_eq!(bytes(decoded).await, truth);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_panic_is_caught_by_a_layer_that_catches_panics() {
    let panicking = service_fn(|_: Request<Body>| async {
        assert!(std::env::args().count() == 0, "as scripted");
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let outside = ServiceBuilder::new().layer(CatchPanicLayer::new()).layer(layer()).service(panicking);
    let response = outside.oneshot(request("/a.mp4", None)).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let inside = ServiceBuilder::new().layer(layer()).layer(CatchPanicLayer::new()).service(panicking);
    let response = inside.oneshot(request("/a.mp4", None)).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(cache_status(&response), "tower-video-cache; fwd=uri-miss; detail=status");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_outside_ends_the_wait_and_not_the_fill() {
    let gate = crate::rig::Gate::shut();
    let rig = crate::rig::Rig::new();
    rig.inner.answer("/a.mp4", crate::rig::Script::movie("/a.mp4", 2500).held_by(&gate));
    let impatient = ServiceBuilder::new().timeout(Duration::from_secs(1)).service(rig.service());
    let request = Request::get("/a.mp4").body(Full::default()).unwrap();
    let timed_out = impatient.oneshot(request).await.unwrap_err();
    assert!(timed_out.is::<tower::timeout::error::Elapsed>());
    gate.open();
    crate::rig::settle().await;
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500)).is_hit();
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_timeout_inside_is_an_error_of_its_client_alone() {
    tokio::time::pause();
    let rig = crate::rig::Rig::new();
    rig.inner.answer("/a.mp4", crate::rig::Script::movie("/a.mp4", 10).held_by(&crate::rig::Gate::shut()));
    let stack = ServiceBuilder::new()
        .layer(rig.layer.clone())
        .timeout(Duration::from_secs(1))
        .service(rig.inner.clone());
    let request = Request::get("/a.mp4").body(Full::default()).unwrap();
    assert!(stack.oneshot(request).await.unwrap_err().is::<tower::timeout::error::Elapsed>());
}

#[tokio::test]
async fn a_request_body_that_does_not_tell_its_end_is_no_content_by_itself() {
    use tower_http::timeout::RequestBodyTimeoutLayer;

    let calls = Arc::new(AtomicUsize::new(0));
    let app = Router::new()
        .route("/a.mp4", video(&calls))
        .layer(layer())
        .layer(RequestBodyTimeoutLayer::new(Duration::from_secs(30)));
    for _ in 0..2 {
        let response = app.clone().oneshot(request("/a.mp4", None)).await.unwrap();
        assert!(response.headers().contains_key("cache-status"));
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let mut fat = request("/a.mp4", None);
    *fat.body_mut() = Body::from("fat");
    fat.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("3"));
    let response = app.oneshot(fat).await.unwrap();
    assert_eq!(cache_status(&response), "tower-video-cache; fwd=bypass");
}
