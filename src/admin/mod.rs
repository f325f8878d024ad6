//! [`AdminService`]: a page, figures and events of a cache, for its operator.
//!
//! The page is plain HTML without a build step. Keys and URIs come from clients, so the page shows them as text alone, and
//! its `Content-Security-Policy` allows no script but its own.

mod body;
mod feed;
mod json;
mod purging;
mod question;

use std::{
    convert::Infallible,
    fmt,
    future::{Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{self, HeaderMap},
};
use serde_json::Value;
use tower_service::Service;

pub use self::{
    body::AdminBody,
    purging::{PurgeFuture, PurgeService},
};
use self::{feed::Feeds, question::question};
use crate::handle::CacheHandle;

/// A service for the operator of a cache: a page, figures, rankings, a live feed of events. Needs the feature `admin`.
///
/// | path | answer |
/// |---|---|
/// | `/` | a page that shows the figures below, and follows them |
/// | `/stats` | [`Stats`](crate::Stats) as JSON, with ratios |
/// | `/metrics` | the text for Prometheus: [`Stats::open_metrics`](crate::Stats::open_metrics) |
/// | `/transfers` | [`CacheHandle::transfers`] as JSON |
/// | `/top` | [`CacheHandle::top`] as JSON, 20 of each list, or `?n=` |
/// | `/explain?uri=` | [`CacheHandle::explain`] for a GET of the URI as JSON; `&field=Name: value` adds a request field |
/// | `/events` | events as they happen, as `text/event-stream` (HTML Living Standard §9.2) |
///
/// The feed has the events of [`Event`](crate::Event), but for calls of the store and the inner service. A reader who is slow
/// misses events, and is told how many. At most 32 readers have it at a time.
///
/// **Mount it where only operators come**: on a listener of its own, or behind a layer that asks for credentials. Keys show
/// what clients ask for. The service itself asks nobody for anything. It answers GET and HEAD alone, changes nothing, and
/// works under any path that the application strips off, such as axum's `nest_service`.
///
/// ```no_run
/// use axum::Router;
/// use tower_http::services::ServeDir;
/// use tower_video_cache::{AdminService, CacheStatus, MokaStore, VideoCacheLayer};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let layer = VideoCacheLayer::new(MokaStore::new(2 << 30)?).cache_status(CacheStatus::named("videos")?);
/// let admin = AdminService::new(layer.handle());
/// let app = Router::new().nest_service("/videos", ServeDir::new("videos")).layer(layer);
///
/// // A listener that only this machine reaches.
/// let operators = tokio::net::TcpListener::bind("127.0.0.1:9901").await?;
/// tokio::spawn(async move { axum::serve(operators, Router::new().fallback_service(admin)).await });
///
/// let clients = tokio::net::TcpListener::bind("0.0.0.0:3000").await?;
/// axum::serve(clients, app).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A response future or a body that is dropped leaves nothing behind.
#[derive(Clone)]
pub struct AdminService {
    cache: CacheHandle,
    feeds: Arc<Feeds>,
}

impl AdminService {
    /// The service for one cache. The page, and the label `cache` in `/metrics`, have the cache's
    /// [name](CacheHandle::name).
    pub fn new(cache: CacheHandle) -> Self {
        Self { cache, feeds: Arc::default() }
    }

    fn answer(&self, path: &str, query: &str) -> Answer {
        let json = |value: &Value| full(StatusCode::OK, "application/json", value.to_string());
        Answer::Ready(match path {
            "/" | "" => full(StatusCode::OK, "text/html; charset=utf-8", PAGE),
            "/page.css" => full(StatusCode::OK, "text/css; charset=utf-8", STYLE),
            "/page.js" => full(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT),
            "/stats" => json(&json::stats(self.cache.name(), &self.cache.stats())),
            "/metrics" => {
                let mut text = String::new();
                // A String takes any text.
                let _ = self.cache.stats().open_metrics(self.cache.name(), &mut text);
                full(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text)
            }
            "/transfers" => json(&json::transfers(&self.cache.transfers())),
            "/top" => match question::number(query, "n", 20) {
                Some(places) => json(&json::top(&self.cache.top(), places)),
                None => plain(StatusCode::BAD_REQUEST, "n is a number.\n"),
            },
            "/explain" => match question(query) {
                Ok(request) => {
                    let cache = self.cache.clone();
                    return Answer::Pending(Box::pin(async move {
                        let explanation = cache.explain(&request).await;
                        let json = json::explanation(&explanation).to_string();
                        full(StatusCode::OK, "application/json", json)
                    }));
                }
                Err(wrong) => plain(StatusCode::BAD_REQUEST, wrong),
            },
            "/events" => match self.feeds.open(&self.cache) {
                Some(feed) => with(StatusCode::OK, "text/event-stream", AdminBody::feed(feed)),
                None => plain(StatusCode::SERVICE_UNAVAILABLE, "There are 32 readers already.\n"),
            },
            _ => plain(StatusCode::NOT_FOUND, "There is no such page.\n"),
        })
    }
}

enum Answer {
    Ready(Response<AdminBody>),
    Pending(Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>),
}

impl<A> Service<Request<A>> for AdminService {
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = AdminFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> AdminFuture {
        let (method, uri) = (request.method(), request.uri());
        let is_head = *method == Method::HEAD;
        // A page of another site could hold places among the readers of the feed.
        let is_foreign = request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site");
        let answer = if is_foreign {
            Answer::Ready(plain(StatusCode::FORBIDDEN, "A page of another site asks.\n"))
        } else if is_head || *method == Method::GET {
            self.answer(uri.path(), uri.query().unwrap_or_default())
        } else {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "The method is GET or HEAD.\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            Answer::Ready(refused)
        };
        AdminFuture { answer: answer.into(), is_head }
    }
}

/// The future of an [`AdminService`]'s response.
///
/// ```
/// use tower_video_cache::AdminFuture;
///
/// /// A middleware can name the future of the service that it wraps.
/// struct Named {
///     answering: AdminFuture,
/// }
/// ```
pub struct AdminFuture {
    answer: Answering,
    is_head: bool,
}

enum Answering {
    Ready(Ready<Response<AdminBody>>),
    Pending(Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>),
}

impl From<Answer> for Answering {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Ready(response) => Self::Ready(ready(response)),
            Answer::Pending(future) => Self::Pending(future),
        }
    }
}

impl Future for AdminFuture {
    type Output = Result<Response<AdminBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let is_head = self.is_head;
        let answer = match &mut self.answer {
            Answering::Ready(response) => Pin::new(response).poll(cx),
            Answering::Pending(future) => future.as_mut().poll(cx),
        };
        answer.map(|response| {
            Ok(if is_head { response.map(|_| AdminBody::full(Bytes::new())) } else { response })
        })
    }
}

impl fmt::Debug for AdminFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminFuture").finish_non_exhaustive()
    }
}

impl fmt::Debug for AdminService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminService").field("cache", &self.cache.name()).finish_non_exhaustive()
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<AdminBody> {
    full(status, "text/plain; charset=utf-8", text)
}

fn full(status: StatusCode, media: &'static str, content: impl Into<Bytes>) -> Response<AdminBody> {
    let content = content.into();
    let length = HeaderValue::from(content.len());
    let mut response = with(status, media, AdminBody::full(content));
    response.headers_mut().insert(header::CONTENT_LENGTH, length);
    response
}

fn with(status: StatusCode, media: &'static str, body: AdminBody) -> Response<AdminBody> {
    let fields = FIELDS.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = fields.collect::<HeaderMap>();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// The fields of all answers.
const FIELDS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; connect-src 'self'; script-src 'self'; style-src 'self'; frame-ancestors 'none'; base-uri \
         'none'; form-action 'none'",
    ),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
