//! [`PurgeService`]: purges by HTTP.

mod order;

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use serde_json::{Value, json};
use tower_service::Service;

use self::order::{Named, Order, Refused};
use super::{AdminBody, full, plain};
use crate::{
    error::Error,
    futures::to_its_end,
    purger::{Mark, Purged, Purger},
};

/// A service by which an operator, or a script after a release, purges videos. Needs the feature `admin`.
///
/// | request | purges |
/// |---|---|
/// | `PURGE http://example.com/videos/a.mp4` | the URI in the request line, in absolute form (RFC 9112 §3.2.2) |
/// | `POST /invalidate` with JSON | what the JSON names, as the draft *HTTP Cache Invalidation API* has it |
///
/// ```json
/// {"type": "uri", "selectors": ["http://example.com/videos/a.mp4"]}
/// {"type": "uri-prefix", "selectors": ["http://example.com/videos/"], "purge": true}
/// {"type": "group", "selectors": ["http://example.com"], "groups": ["season-2", "trailers"], "mark": "stale"}
/// {"type": "origin", "selectors": ["http://example.com"]}
/// {"type": "all"}
/// ```
///
/// The field `Purge-Mark` of a `PURGE` has the [`Mark`]: `stale` (the default), `invalid` or `gone`. In JSON, `"purge": true`
/// is `gone`, and `false`, the default, is `invalid`. The draft has neither the member `mark`, which goes before, nor the
/// type `all`. A list that goes into the log has at most 64 selectors, and as many groups.
///
/// The answer is JSON: for each selector whether something was `found`, as far as that can be known, and
/// `effective_within_ms`. A 200 says that the purge is effective everywhere ([`Purger`] says what that means), a 202 that
/// other nodes may lag for so long. A 503 says that the store did not confirm it: repeat it. A 501 says that the store
/// keeps no log, which all types but `uri` need, and `uri` with a
/// [`purge_log`](crate::VideoCacheLayer::purge_log). Other answers are 400, 403, 404, 405, 413 (for more than 64 KiB, or more
/// selectors) and 415.
///
/// **Mount it where only operators come**: it asks nobody for credentials. A page of another origin gets a 403. A page of the
/// service's own origin, such as that of [`AdminService`](crate::AdminService), may purge if the host is an IP address,
/// `localhost`, or one that [`page_host`](Self::page_host) names. Any other name could have been made to lead here.
///
/// ```no_run
/// use axum::Router;
/// use tower_video_cache::{AdminService, MokaStore, PurgeService, VideoCacheLayer};
///
/// # fn main() -> Result<(), tower_video_cache::Error> {
/// let cache = VideoCacheLayer::new(MokaStore::new(2 << 30)?).handle();
/// let purge = PurgeService::new(cache.purger());
/// let operators: Router = Router::new()
///     .nest_service("/figures", AdminService::new(cache))
///     // `curl -X PURGE --request-target http://example.com/videos/a.mp4 http://127.0.0.1:9901`
///     .fallback_service(purge);
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A purge that has begun is finished, even if the response future is dropped.
#[derive(Clone, Debug)]
pub struct PurgeService {
    purger: Purger,
    page_hosts: Vec<String>,
}

impl PurgeService {
    /// The service for one cache.
    pub fn new(purger: Purger) -> Self {
        Self { purger, page_hosts: Vec::new() }
    }

    /// Lets pages of this host purge, if they come from the service's own origin: the name under which operators open
    /// the page, without a port.
    #[must_use]
    pub fn page_host(mut self, host: &str) -> Self {
        self.page_hosts.push(host.to_ascii_lowercase());
        self
    }
}

impl<A> Service<Request<A>> for PurgeService
where
    A: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = PurgeFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<A>) -> PurgeFuture {
        let Self { purger, page_hosts } = self.clone();
        PurgeFuture(Box::pin(async move {
            let (parts, body) = request.into_parts();
            match Order::of(&parts, body, &page_hosts, purger.logs_keys()).await {
                Ok(order) => to_its_end(purge(purger, order)).await.unwrap_or_else(|_| {
                    refuse((StatusCode::INTERNAL_SERVER_ERROR, "The purge ended midway.\n"))
                }),
                Err(refused) => refuse(refused),
            }
        }))
    }
}

/// The future of a [`PurgeService`]'s response.
///
/// ```
/// use tower_video_cache::PurgeFuture;
///
/// /// A middleware can name the future of the service that it wraps.
/// struct Named {
///     purging: PurgeFuture,
/// }
/// ```
pub struct PurgeFuture(Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>);

impl Future for PurgeFuture {
    type Output = Result<Response<AdminBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for PurgeFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PurgeFuture").finish_non_exhaustive()
    }
}

fn refuse((status, text): Refused) -> Response<AdminBody> {
    let mut response = plain(status, text);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

async fn purge(purger: Purger, Order { named, mark }: Order) -> Response<AdminBody> {
    let (mut results, mut within) = (Vec::new(), Duration::ZERO);
    let mut status = StatusCode::OK;
    for named in named {
        let mut result = named.json();
        match one(&purger, &named, mark).await {
            Ok(Purged { found, effective_within, .. }) => {
                within = within.max(effective_within);
                result.insert("found".to_owned(), found.into());
            }
            Err(error) => {
                let (failed, why) = if error.is_not_offered() {
                    (StatusCode::NOT_IMPLEMENTED, error.to_string())
                } else if error.is_config() {
                    (StatusCode::BAD_REQUEST, error.to_string())
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "the store did not confirm it: repeat it".to_owned())
                };
                // A purge that failed is told before one that was nonsense.
                status = status.max(failed);
                result.insert("error".to_owned(), why.into());
            }
        }
        results.push(Value::Object(result));
    }
    if status == StatusCode::OK && !within.is_zero() {
        status = StatusCode::ACCEPTED;
    }
    let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let answer = json!({ "results": results, "effective_within_ms": within });
    full(status, "application/json", answer.to_string())
}

async fn one(purger: &Purger, named: &Named, mark: Mark) -> Result<Purged, Error> {
    match named {
        Named::Uri(uri) => purger.uri(uri, mark).await,
        Named::UriPrefix(uri) => purger.uri_prefix(uri, mark).await,
        Named::Origin(origin) => purger.origin(origin, mark).await,
        Named::Groups(origin, groups) => purger.groups(origin, groups, mark).await,
        Named::All => purger.all(mark).await,
    }
}
