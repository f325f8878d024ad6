//! Takes stored responses out: those that an unsafe request invalidates, and those whose bytes are gone.
//!
//! RFC 9111 §4.4 (invalidation).

use std::sync::Arc;

use http::{request, Request, Response};
use tower_service::Service;

use super::{
    inner::Inner,
    lookup::{Entry, Target},
    records::Records,
    Engine,
};
use crate::{body::ResponseBody, semantics::cache_status};

impl Engine {
    /// Forwards an unsafe request, and takes out what its success makes untrue.
    ///
    /// RFC 9111 §4.4: on a non-error answer, that is a 2xx or 3xx.
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
        let member = self.config.name.method().clone();
        let mut response = inner.call(Request::from_parts(parts, body)).await?.map(ResponseBody::inner);
        if response.status().is_success() || response.status().is_redirection() {
            // What has happened has happened, whether the client stays to hear of it or not.
            let invalidation = tokio::spawn(async move { invalidate(&self, &target).await });
            // A task that is not cancelled ends, and has no result.
            let _ = invalidation.await;
        }
        cache_status::append(response.headers_mut(), member);
        Ok(response)
    }
}

/// Takes out what is stored for a key, and forbids fills under way to put it back.
///
/// The flights are revoked first, and whichever of them is in its commit is waited for: when this is over, nothing
/// that was asked for before it began is found any more.
async fn invalidate(engine: &Engine, target: &Target) {
    for commit in engine.flights.revoke(&target.primary) {
        drop(commit.lock().await);
    }
    engine.passes.forget(&target.primary);
    // A store that cannot remove leaves the response to its own freshness, as if this cache were not told.
    let _ = engine.records.remove_record(&target.primary).await;
}

/// Takes out an entry whose bytes are gone, unless another one has taken its place.
pub(crate) async fn forget(records: &Records, entry: &Entry) {
    if let Ok(Some(record)) = records.record(&entry.slot).await {
        if record == entry.record {
            // If it stays, the next request finds the same chunk gone, and comes here again.
            let _ = records.remove_record(&entry.slot).await;
        }
    }
}
