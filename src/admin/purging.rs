//! [`PurgeService`]: purges by HTTP.

use std::{
    convert::Infallible,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, request};
use http_body::Body;
use serde_json::{Value, json};
use tower_service::Service;

use super::{AdminBody, full, plain};
use crate::purger::{Mark, Purged, Purger};

/// A service by which an operator, or a script after a release, purges videos. Needs the feature `admin`.
///
/// | request | purges |
/// |---|---|
/// | `PURGE http://example.com/videos/a.mp4` | the URI in the request line, in absolute form (RFC 9112 §3.2.2) |
/// | `POST /invalidate` with JSON | `{"type": "uri", "selectors": ["http://…", …], "purge": false}`, as the draft *HTTP Cache Invalidation API* has it |
///
/// The field `Purge-Mark` of a `PURGE` has the [`Mark`]: `stale` (the default), `invalid` or `gone`. In JSON, `"purge": true`
/// is `gone`, and `false` is `invalid`.
///
/// The answer is JSON: for each URI whether something was `found`, and `effective_within_ms`. A 200 says that the purge
/// is effective everywhere on this store ([`Purger`] says what that means), a 202 that other nodes may lag for so long.
/// A 503 says that the store did not confirm it: repeat it. Other answers are 400, 403, 404, 405, 413 (for more than 64
/// KiB), 415, and 501 for selectors of other types.
///
/// **Mount it where only operators come**: it asks nobody for credentials. A request with `Origin` gets a 403: it comes
/// from a page, and no page may purge.
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
}

impl PurgeService {
    /// The service for one cache.
    pub fn new(purger: Purger) -> Self {
        Self { purger }
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
        let purger = self.purger.clone();
        PurgeFuture(Box::pin(async move {
            let (parts, body) = request.into_parts();
            let order = match Order::of(&parts) {
                Ok(order) => order,
                Err(refused) => return answer(refused),
            };
            let (uris, mark) = match order {
                Order::One(uri, mark) => (vec![uri], mark),
                Order::Listed => match listed(body).await {
                    Ok(listed) => listed,
                    Err(refused) => return answer(refused),
                },
            };
            purge(&purger, uris, mark).await
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

/// Why a request is no purge: the status, and a sentence.
type Refused = (StatusCode, &'static str);

fn answer((status, text): Refused) -> Response<AdminBody> {
    let mut response = plain(status, text);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The URIs that a request purges, and how.
enum Order {
    One(Uri, Mark),
    /// The URIs are listed in the content.
    Listed,
}

impl Order {
    fn of(request: &request::Parts) -> Result<Self, Refused> {
        // Browsers send it with each request that is no GET, also if a name was made to lead here.
        if request.headers.contains_key(header::ORIGIN) {
            return Err((StatusCode::FORBIDDEN, "No page may purge.\n"));
        }
        if request.method.as_str() == "PURGE" {
            let mark = match request.headers.get("purge-mark").map(HeaderValue::as_bytes) {
                None | Some(b"stale") => Mark::Stale,
                Some(b"invalid") => Mark::Invalid,
                Some(b"gone") => Mark::Gone,
                Some(_) => {
                    return Err((StatusCode::BAD_REQUEST, "Purge-Mark is stale, invalid or gone.\n"));
                }
            };
            if request.uri.authority().is_none() {
                return Err((StatusCode::BAD_REQUEST, "The URI is absolute: http://HOST/PATH.\n"));
            }
            return Ok(Self::One(request.uri.clone(), mark));
        }
        if request.uri.path() != "/invalidate" {
            return Err((StatusCode::NOT_FOUND, "There is PURGE of a URI, and POST /invalidate.\n"));
        }
        if request.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "The method is POST.\n"));
        }
        let media = request.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let essence = media.and_then(|media| media.split(';').next()).unwrap_or_default();
        // A form of another site could send any other type.
        if !essence.trim().eq_ignore_ascii_case("application/json") {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "The content is application/json.\n"));
        }
        Ok(Self::Listed)
    }
}

/// The URIs that the content lists, and their mark.
async fn listed<A: Body<Data = Bytes>>(body: A) -> Result<(Vec<Uri>, Mark), Refused> {
    let wrong = |text| (StatusCode::BAD_REQUEST, text);
    let mut content = BytesMut::new();
    let mut body = pin!(body);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| wrong("The content broke off.\n"))?;
        let data = frame.into_data().unwrap_or_default();
        if content.len() + data.len() > LONGEST {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "The content has at most 64 KiB.\n"));
        }
        content.extend_from_slice(&data);
    }
    let order: Value = serde_json::from_slice(&content).map_err(|_| wrong("The content is no JSON.\n"))?;
    match order.get("type").and_then(Value::as_str) {
        Some("uri") => {}
        Some("uri-prefix" | "origin" | "group") => {
            return Err((StatusCode::NOT_IMPLEMENTED, "The type is uri: others are not offered.\n"));
        }
        _ => return Err(wrong("The type is uri.\n")),
    }
    let selectors =
        order.get("selectors").and_then(Value::as_array).ok_or_else(|| wrong("Which selectors?\n"))?;
    let uris: Option<Vec<Uri>> = selectors
        .iter()
        .map(|uri| uri.as_str()?.parse().ok().filter(|uri: &Uri| uri.authority().is_some()))
        .collect();
    let uris = uris.ok_or_else(|| wrong("Each selector is an absolute URI: http://HOST/PATH.\n"))?;
    let is_gone = match order.get("purge") {
        None => false,
        Some(purge) => purge.as_bool().ok_or_else(|| wrong("purge is true or false.\n"))?,
    };
    Ok((uris, if is_gone { Mark::Gone } else { Mark::Invalid }))
}

async fn purge(purger: &Purger, uris: Vec<Uri>, mark: Mark) -> Response<AdminBody> {
    let (mut results, mut within) = (Vec::new(), Duration::ZERO);
    let mut are_confirmed = true;
    for uri in uris {
        if let Ok(Purged { found, effective_within, .. }) = purger.uri(&uri, mark).await {
            within = within.max(effective_within);
            results.push(json!({ "uri": uri.to_string(), "found": found }));
        } else {
            are_confirmed = false;
            let error = "the store did not confirm it: repeat it";
            results.push(json!({ "uri": uri.to_string(), "error": error }));
        }
    }
    let status = match (are_confirmed, within.is_zero()) {
        (false, _) => StatusCode::SERVICE_UNAVAILABLE,
        (true, false) => StatusCode::ACCEPTED,
        (true, true) => StatusCode::OK,
    };
    let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    let answer = json!({ "results": results, "effective_within_ms": within });
    full(status, "application/json", answer.to_string())
}

/// The most bytes of a list.
const LONGEST: usize = 64 << 10;
