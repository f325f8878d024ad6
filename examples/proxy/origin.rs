//! [`Origin`]: the service behind the cache, which forwards to the origin.
//!
//! RFC 9110 §9.2.2: only a GET or HEAD without content is sent twice, and only if a kept connection was closed as the
//! request came. Any other request is sent again only if not a byte of it had left.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header, request, uri::Authority};
use http_body::Body;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use tower::Service;

use super::{
    answers::OwnAnswer,
    body::Flow,
    connections::{Connection, Connections, Unanswered},
    fields::make_outbound,
};

/// Forwards requests to the origin.
///
/// It never fails: a failure of the origin is a 502 (Bad Gateway) or, if it took too long, a 504 (Gateway Timeout).
/// A body that breaks off on its way is an error of the body.
#[derive(Clone)]
pub(crate) struct Origin {
    connections: Arc<Connections>,
    host: HeaderValue,
    response_limit: Duration,
    silence_limit: Duration,
}

impl Origin {
    pub(crate) fn new(
        authority: Authority,
        connect_limit: Duration,
        response_limit: Duration,
        silence_limit: Duration,
    ) -> Self {
        // An authority is visible ASCII.
        let host = HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static(""));
        let connections = Arc::new(Connections::to(authority, connect_limit));
        Self { connections, host, response_limit, silence_limit }
    }

    /// The origin's answer, or why there is none.
    async fn forward(&self, request: Request<Flow>) -> Result<Response<OriginBody>, OwnAnswer> {
        let (mut parts, body) = request.into_parts();
        // The client's host was for the key; the origin gets its own name.
        parts.headers.insert(header::HOST, self.host.clone());
        parts.version = Version::HTTP_11;
        let response = self.answer(parts, body.limited(self.silence_limit)).await?;
        // No protocol upgrade was forwarded.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(OwnAnswer::NotHttp);
        }
        let mut response = response.map(|body| Either::Left(Flow::new(body).limited(self.silence_limit)));
        let version = std::mem::take(response.version_mut());
        make_outbound(response.headers_mut(), version);
        Ok(response)
    }

    async fn answer(&self, parts: request::Parts, body: Flow) -> Result<Response<Incoming>, OwnAnswer> {
        let mut request = Request::from_parts(parts, body);
        if let Some(kept) = self.connections.kept() {
            let twin = may_be_sent_twice(&request).then(|| twin(&request));
            let failed = match self.exchange(kept, request).await {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            request = match (failed.unsent, twin) {
                (Some(unsent), _) => *unsent,
                (None, Some(twin)) if !failed.heard => twin,
                _ => return Err(failed.why),
            };
        }
        let connection = self.connections.connect().await?;
        self.exchange(connection, request).await.map_err(|failed| failed.why)
    }

    async fn exchange(
        &self,
        mut connection: Connection,
        mut request: Request<Flow>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let sent = request.body_mut().gone();
        let too_late = async {
            // An upload may take its time; the wait for the answer starts at its end.
            let Err(_) = sent.await;
            tokio::time::sleep(self.response_limit).await;
        };
        let response = tokio::select! {
            response = connection.send(request) => response?,
            () = too_late => return Err(Unanswered::too_late()),
        };
        self.connections.keep(connection);
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
        Box::pin(async move {
            Ok(origin.forward(request).await.unwrap_or_else(|own| own.into_response().map(Either::Right)))
        })
    }
}

/// A body of the origin, or the text of an answer that the proxy made itself.
pub(crate) type OriginBody = Either<Flow, Full<Bytes>>;

/// RFC 9110 §9.2.2: a request that is safe, and has no content that would be gone once it was sent.
fn may_be_sent_twice(request: &Request<Flow>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD) && request.body().is_end_stream()
}

/// A copy of a request without content.
fn twin(request: &Request<Flow>) -> Request<Flow> {
    let mut twin = Request::new(Flow::default());
    *twin.method_mut() = request.method().clone();
    *twin.uri_mut() = request.uri().clone();
    *twin.version_mut() = request.version();
    *twin.headers_mut() = request.headers().clone();
    twin
}
