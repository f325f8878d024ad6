//! [`Origin`]: the service behind the cache, which forwards to the origin.
//!
//! RFC 9110 §9.2.2: nothing is sent twice. A request that meets a kept connection in the moment in which the origin
//! closes it is answered 502; connections are given up before common servers do that, so it is rare.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    io,
    iter::successors,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{
    header,
    uri::{Authority, PathAndQuery, Scheme},
    HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};
use http_body_util::{Either, Full};
use hyper_util::{
    client::legacy::{connect::HttpConnector, Client},
    rt::{TokioExecutor, TokioTimer},
};
use tower::Service;

use super::{
    body::Flow,
    fields::{make_inbound, make_outbound, may_forward},
};

/// Forwards requests of one viewer to the origin.
///
/// It never fails: a failure of the origin is a 502 (Bad Gateway) or, if it took too long, a 504 (Gateway Timeout).
/// A body that breaks off on its way is an error of the body.
#[derive(Clone)]
pub(crate) struct Origin {
    shared: Arc<Shared>,
    viewer: IpAddr,
}

impl Origin {
    pub(crate) fn new(
        authority: Authority,
        connect_limit: Duration,
        response_limit: Duration,
        silence_limit: Duration,
    ) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(connect_limit));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_LIMIT)
            .retry_canceled_requests(false)
            .build(connector);
        let shared = Shared { client, authority, response_limit, silence_limit };
        Self { shared: Arc::new(shared), viewer: IpAddr::from([127, 0, 0, 1]) }
    }

    /// The same origin, asked on behalf of `viewer`.
    pub(crate) fn on_behalf_of(&self, viewer: IpAddr) -> Self {
        // On a socket for both families, an IPv4 address looks like an IPv6 one.
        Self { shared: Arc::clone(&self.shared), viewer: viewer.to_canonical() }
    }

    /// The origin's answer, or the status of the proxy's own.
    async fn forward(&self, request: Request<Flow>) -> Result<Response<OriginBody>, StatusCode> {
        let Shared { client, authority, response_limit, silence_limit } = &*self.shared;
        let (mut parts, body) = request.into_parts();
        // A reverse proxy is no tunnel.
        if parts.method == Method::CONNECT {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        if !may_forward(&mut parts) {
            return Err(match parts.method {
                Method::OPTIONS => StatusCode::OK,
                _ => StatusCode::NOT_IMPLEMENTED,
            });
        }
        make_inbound(&mut parts, self.viewer);
        let target = parts.uri.path_and_query().cloned();
        parts.uri = Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(authority.clone())
            .path_and_query(target.unwrap_or_else(|| PathAndQuery::from_static("/")))
            .build()
            .map_err(|_| StatusCode::BAD_REQUEST)?;
        parts.version = Version::HTTP_11;
        let mut body = body.limited(*silence_limit);
        let sent = body.gone();
        let too_late = async {
            // An upload may take its time; the answer to it is awaited from its end on.
            let Err(_) = sent.await;
            tokio::time::sleep(*response_limit).await;
        };
        let response = tokio::select! {
            response = client.request(Request::from_parts(parts, body)) => {
                response.map_err(|error| status_of(&error))?
            }
            () = too_late => return Err(StatusCode::GATEWAY_TIMEOUT),
        };
        // No protocol upgrade was forwarded.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(StatusCode::BAD_GATEWAY);
        }
        let mut response = response.map(|body| Either::Left(Flow::new(body).limited(*silence_limit)));
        let version = std::mem::take(response.version_mut());
        make_outbound(response.headers_mut(), version);
        Ok(response)
    }
}

impl Service<Request<Flow>> for Origin {
    type Response = Response<OriginBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Flow>) -> Self::Future {
        let origin = self.clone();
        Box::pin(async move { Ok(origin.forward(request).await.unwrap_or_else(own_answer)) })
    }
}

/// A body of the origin, or the text of an answer of the proxy's own.
pub(crate) type OriginBody = Either<Flow, Full<Bytes>>;

struct Shared {
    client: Client<HttpConnector, Flow>,
    authority: Authority,
    response_limit: Duration,
    silence_limit: Duration,
}

/// Whose fault it is that there is no answer of the origin.
fn status_of(error: &hyper_util::client::legacy::Error) -> StatusCode {
    let late = has_cause(error, |cause: &io::Error| cause.kind() == io::ErrorKind::TimedOut);
    // What hyper calls its user's error is that the body of the request failed: the viewer's.
    let upload = has_cause(error, hyper::Error::is_user);
    match (upload, late) {
        (true, true) => StatusCode::REQUEST_TIMEOUT,
        (true, false) => StatusCode::BAD_REQUEST,
        (false, true) => StatusCode::GATEWAY_TIMEOUT,
        (false, false) => StatusCode::BAD_GATEWAY,
    }
}

fn has_cause<T: Error + 'static>(error: &(dyn Error + 'static), is_it: impl Fn(&T) -> bool) -> bool {
    successors(Some(error), |&error| error.source()).any(|error| error.downcast_ref().is_some_and(&is_it))
}

fn own_answer(status: StatusCode) -> Response<OriginBody> {
    let text = format!("{status}\n");
    let mut response = Response::new(Either::Right(Full::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Apache httpd and Node.js close a connection that was idle for five seconds.
const IDLE_LIMIT: Duration = Duration::from_secs(4);
