//! The rig: clients on one side of the proxy, a scripted origin on the other, over real sockets.

use std::{
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, Request, Response, StatusCode, header, request};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tower_video_cache::BoxError;

use super::{admin::Admin, args::Args, server, server::Stopped};

/// The proxy, and the origin behind it, in this process. Both end with the test's runtime.
pub(crate) struct Rig {
    pub(crate) proxy: SocketAddr,
    pub(crate) origin: SocketAddr,
    /// Where the figures are, with `--admin`.
    pub(crate) figures: Option<SocketAddr>,
    pub(crate) log: Arc<Mutex<Vec<request::Parts>>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Stopped>,
}

pub(crate) type Content = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Answer = Result<Response<Content>, BoxError>;

impl Rig {
    /// Starts an origin that answers as `answer` does. If that fails, the origin hangs up.
    pub(crate) async fn new<F: Future<Output = Answer> + Send>(
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::with(&[], answer).await
    }

    /// Starts an origin that answers one request.
    pub(crate) async fn once(response: Response<Content>) -> Self {
        Self::with(&[], answer_once(response)).await
    }

    pub(crate) async fn with<F: Future<Output = Answer> + Send>(
        arguments: &[&str],
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self {
        let (listener, origin) = listener().await;
        let rig = Self::of(origin, arguments).await;
        let (log, answer) = (Arc::clone(&rig.log), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    log.lock().unwrap().push(parts.clone());
                    let answer = Arc::clone(&answer);
                    async move { answer(Request::from_parts(parts, body)).await }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        rig
    }

    /// Starts the proxy of an existing origin.
    pub(crate) async fn of(origin: SocketAddr, arguments: &[&str]) -> Self {
        Self::on(listener().await.0, &origin.to_string(), arguments).await
    }

    /// Starts the proxy at a socket of the test's.
    pub(crate) async fn on(listener: TcpListener, origin: &str, arguments: &[&str]) -> Self {
        let line = ["proxy", "--listen", "127.0.0.1:0", "--origin", &format!("http://{origin}")];
        let args = Args::try_parse_from(line.iter().chain(arguments)).unwrap();
        let proxy = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (opened, layer) = args.open().await.unwrap();
        let mut figures = None;
        if let Some(address) = args.admin {
            let admin = Admin::listen(address, layer.handle()).await.unwrap();
            figures = Some(admin.address().unwrap());
            tokio::spawn(admin.serve());
        }
        let served = tokio::spawn(async move {
            let stopped = async { _ = stopped.await };
            let how =
                server::serve(listener, layer, args.gate(), args.origin(), args.limits(), stopped).await;
            opened.close().await.unwrap();
            how
        });
        // An origin that does not exist is written as a name without an address.
        let origin = origin.parse().unwrap_or(proxy);
        Self { proxy, origin, figures, log: Arc::default(), stop, served }
    }

    pub(crate) async fn get(&self, path: &str) -> Response<Incoming> {
        self.send(Request::get(path)).await
    }

    pub(crate) async fn send(&self, request: request::Builder) -> Response<Incoming> {
        self.send_body(request, boxed(Empty::new())).await
    }

    pub(crate) async fn send_body(&self, request: request::Builder, body: Content) -> Response<Incoming> {
        self.send_as(false, request, body).await
    }

    pub(crate) async fn send_http2(&self, request: request::Builder) -> Response<Incoming> {
        self.send_as(true, request, boxed(Empty::new())).await
    }

    /// Sends on a new connection, which ends with the response.
    pub(crate) async fn send_as(
        &self,
        http2: bool,
        request: request::Builder,
        body: Content,
    ) -> Response<Incoming> {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        let mut request = request.body(body).unwrap();
        *request.uri_mut() = format!("http://{}{}", self.proxy, request.uri()).parse().unwrap();
        client.request(request).await.unwrap()
    }

    /// The proxy's answer to these bytes, up to the connection's end.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut viewer = TcpStream::connect(self.proxy).await.unwrap();
        viewer.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        viewer.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The heads of the requests that reached the origin.
    pub(crate) fn seen(&self) -> Vec<request::Parts> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) fn stop(self) -> (SocketAddr, JoinHandle<Stopped>) {
        self.stop.send(()).unwrap();
        (self.proxy, self.served)
    }
}

pub(crate) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers one request, and hangs up on every other.
pub(crate) fn answer_once(
    response: Response<Content>,
) -> impl Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync {
    let response = Mutex::new(Some(response));
    move |_| {
        let answer = response.lock().unwrap().take().ok_or_else(|| "only once".into());
        Box::pin(std::future::ready(answer))
    }
}

pub(crate) async fn refused(response: Response<Incoming>, status: StatusCode) {
    assert_eq!(response.status(), status);
    assert_eq!(field(response.headers(), "cache-control"), "no-store");
    assert_eq!(field(response.headers(), "content-type"), "text/plain");
    assert!(!whole(response).await.is_empty());
}

/// Checks that this is a refusal with its reason, in RFC 9209's word and in plain ones.
pub(crate) async fn refused_for(response: Response<Incoming>, status: StatusCode, error: &str, words: &str) {
    assert_eq!(field(response.headers(), "proxy-status"), format!("tower-video-cache; error={error}"));
    assert_eq!(response.status(), status, "{error}");
    assert_eq!(field(response.headers(), "cache-control"), "no-store");
    assert_eq!(field(response.headers(), "content-type"), "text/plain");
    let text = whole(response).await;
    let text = std::str::from_utf8(&text).unwrap();
    assert!(text.starts_with(status.as_str()) && text.contains(words), "{error}: {text}");
}

pub(crate) fn video() -> Response<Content> {
    Response::builder()
        .header(header::CONTENT_TYPE, "video/mp4")
        .header(header::CACHE_CONTROL, "public, max-age=60")
        .header(header::CONTENT_LENGTH, LENGTH)
        .body(boxed(Full::from(movie())))
        .unwrap()
}

/// The answer of an origin with ranges and a strong validator, and the number of its bytes of the video.
pub(crate) fn part(request: &Request<Incoming>) -> (Response<Content>, usize) {
    let range = field(request.headers(), "range");
    let wanted = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).map(|(first, last)| {
        let last = last.parse().map_or(LENGTH, |last: usize| LENGTH.min(last + 1));
        first.parse().unwrap()..last
    });
    let mut response = video();
    response.headers_mut().insert("etag", "\"movie\"".parse().unwrap());
    let Some(wanted) = wanted else {
        return (response, LENGTH);
    };
    let part = movie().slice(wanted.clone());
    let length = part.len();
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.body_mut() = boxed(Full::from(part));
    response.headers_mut().insert("content-length", length.into());
    let content_range = format!("bytes {}-{}/{LENGTH}", wanted.start, wanted.end - 1);
    response.headers_mut().insert("content-range", content_range.parse().unwrap());
    (response, length)
}

pub(crate) fn page_of<B>(body: B) -> Response<Content>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Response::builder().header(header::CONTENT_TYPE, "text/html").body(boxed(body)).unwrap()
}

pub(crate) fn boxed<B>(body: B) -> Content
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

pub(crate) async fn whole(response: Response<Incoming>) -> Bytes {
    response.collect().await.unwrap().to_bytes()
}

/// All lines of a field, joined into one.
pub(crate) fn field(headers: &HeaderMap, name: &str) -> String {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
    lines.join(", ")
}

/// Bytes that tell where they are.
pub(crate) fn movie() -> Bytes {
    static MOVIE: LazyLock<Bytes> =
        LazyLock::new(|| (0_u32..).flat_map(u32::to_be_bytes).take(LENGTH).collect());
    MOVIE.clone()
}

/// Several chunks, and the last is short.
pub(crate) const LENGTH: usize = (3 << 20) - 5;

/// A limit that is reached soon.
pub(crate) const SHORT: &str = "50ms";
