//! Takes stored responses out: those that an unsafe request invalidates, and those whose bytes are gone.
//!
//! RFC 9111 §4.4 (invalidation).

use std::sync::Arc;

use http::{
    header::{self, HeaderMap, HeaderValue},
    request, Method, Request, Response,
};
use tower_service::Service;

use super::{
    body::ResponseBody,
    inner::Inner,
    serve::message::pass_unsafe,
    state::{entry::Target, Engine},
};
use crate::semantics::reference::{resolve, Destination};

impl Engine {
    /// Forwards an unsafe request, and takes out what its success makes untrue.
    ///
    /// RFC 9111 §4.4: of its target, and of what it says it was about. The policy says which answers are a success.
    pub(crate) async fn forward_unsafe<S, A, B>(
        self: Arc<Self>,
        mut inner: Inner<S>,
        parts: request::Parts,
        body: A,
    ) -> Result<Response<ResponseBody<B>>, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone,
    {
        let target = Target::new((self.config.key)(&parts));
        let (request, member) = (parts.clone(), self.config.name.method().clone());
        let response = inner.call(Request::from_parts(parts, body)).await?;
        if self.config.policy.invalidates_on(response.status()) {
            let references = references(response.headers());
            // What has happened has happened, whether the client stays to hear of it or not.
            let invalidation = tokio::spawn(async move {
                invalidate(&self, &target).await;
                for reference in &references {
                    if let Some(target) = referred(&self, &request, reference) {
                        invalidate(&self, &target).await;
                    }
                }
            });
            // A task that is not cancelled ends, and has no result. If it panics, it is in the key function, asked
            // for a URI that nobody has asked for.
            let _ = invalidation.await;
        }
        Ok(pass_unsafe(response, member))
    }
}

/// What else the answer to an unsafe request says it was about.
///
/// Neither field may come twice, so there is no telling which of its lines is meant; to take out too much is safe.
fn references(response: &HeaderMap) -> Vec<HeaderValue> {
    let lines = |name| response.get_all(name).iter().take(MOST_REFERENCES).cloned();
    lines(header::LOCATION).chain(lines(header::CONTENT_LOCATION)).collect()
}

/// What a GET of the `reference` would find.
///
/// RFC 9111 §4.4: nothing of another origin, or one server could empty the cache of another.
fn referred(engine: &Engine, request: &request::Parts, reference: &HeaderValue) -> Option<Target> {
    match resolve(request, reference) {
        Destination::SameOrigin(uri) => {
            let mut asked = request.clone();
            (asked.method, asked.uri) = (Method::GET, uri);
            Some(Target::new((engine.config.key)(&asked)))
        }
        Destination::AnotherOrigin | Destination::Nowhere => None,
    }
}

/// Takes out what is stored for a key, and forbids fills under way to put it back.
///
/// The flights are revoked first, and whichever of them is in its commit is waited for: when this is over, nothing
/// that was asked for before it began is found any more. A fill of another node loses its lease, and with that the
/// right to commit; one of a variant, whose lease has a name that is not known here, the mark that it would hang on.
async fn invalidate(engine: &Engine, target: &Target) {
    for commit in engine.flights.revoke(&target.primary) {
        drop(commit.lock().await);
    }
    engine.uncacheable.forget(&target.primary);
    engine.tombstones.invalidate(&engine.records, &target.primary).await;
}

/// Lines of `Location`, and of `Content-Location`, that are looked at.
const MOST_REFERENCES: usize = 4;
