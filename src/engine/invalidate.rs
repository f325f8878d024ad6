//! Forwards unsafe requests, and removes the stored responses that they invalidate.
//!
//! RFC 9111 §4.4 (invalidation).

use std::sync::Arc;

use http::{
    Method, Request, Response,
    header::{self, HeaderMap, HeaderValue},
    request,
};
use tokio::time::timeout;
use tower_service::Service;

use super::{
    body::ResponseBody,
    inner::Inner,
    serve::message::pass_unsafe,
    state::{Engine, entry::Target},
};
use crate::{
    counters::Reason,
    format::purges::Selector,
    observer::Event,
    semantics::{
        cache_status::Forwarded,
        groups::invalidated,
        purge::{Fate, group_hash},
        reference::{Destination, origin, resolve},
    },
    trace::{self, Work},
};

impl Engine {
    /// Forwards an unsafe request. If it succeeds, removes the stored responses that it makes untrue.
    ///
    /// RFC 9111 §4.4: the responses for its target, and for the URIs that its answer refers to. The policy says which
    /// answers are a success.
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
        let (request, member) =
            (parts.clone(), self.config.cache_status.name.member(Forwarded::Method).clone());
        self.count_call(Reason::Pass);
        let response = inner.call(Request::from_parts(parts, body)).await?;
        if self.config.policy.invalidates_on(response.status()) {
            let references = references(response.headers());
            let groups = self.groups_to_purge(&request, response.headers());
            // The inner service has acted, whether the client stays to hear of it or not.
            let (engine, key) = (Arc::clone(&self), target.key.clone());
            let invalidation = async move {
                invalidate(&engine, &target).await;
                for reference in &references {
                    if let Some(target) = referred(&engine, &request, reference) {
                        invalidate(&engine, &target).await;
                    }
                }
                if !groups.is_empty() {
                    // RFC 9875 §3: a cache may ignore the field, as it must without a log. A log that hangs does not hold the
                    // answer up for longer than one call of the store.
                    let purges = Arc::clone(&engine.purges);
                    let appending = tokio::spawn(async move { purges.append(Fate::Invalid, groups).await });
                    let _ = timeout(engine.config.timeouts.store, appending).await;
                }
            };
            let invalidation = tokio::spawn(trace::within(Work::Invalidate, key.as_bytes(), invalidation));
            // A task that is not cancelled ends, and this one has no result. If it panics, that happens in the key
            // function, which gets a URI that no client has asked for.
            let _ = invalidation.await;
        }
        Ok(pass_unsafe(response, member, &self.config.policy))
    }
}

impl Engine {
    /// The groups that the answer to an unsafe request invalidates. RFC 9875 §3: those of its own origin.
    fn groups_to_purge(&self, request: &request::Parts, answer: &HeaderMap) -> Vec<Selector> {
        if !self.config.policy.grouping().heeds_invalidation() {
            return Vec::new();
        }
        let origin = origin(request);
        let groups = invalidated(answer).names;
        groups.iter().map(|group| Selector::Set(group_hash(&origin, group))).collect()
    }
}

/// The other URIs that the answer to an unsafe request refers to.
///
/// Neither field may come twice. If one does, the cache cannot tell which line is meant. Removing too much is safe.
fn references(response: &HeaderMap) -> Vec<HeaderValue> {
    let lines = |name| response.get_all(name).iter().take(MOST_REFERENCES).cloned();
    lines(header::LOCATION).chain(lines(header::CONTENT_LOCATION)).collect()
}

/// The target of a GET of the `reference`.
///
/// RFC 9111 §4.4: a URI of another origin is left out. Otherwise one server could empty the cache of another.
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

/// Removes the responses stored for a key, and forbids fills under way to put them back.
///
/// The flights are revoked first. Then this waits for the flights that are in their commit. After it has ended,
/// lookups find no response that was asked for before it began. A fill of another node loses its lease, and with the
/// lease the right to commit. The name of a variant's lease is not known here; a fill of a variant loses the mark
/// that its record would hang on.
async fn invalidate(engine: &Engine, target: &Target) {
    revoke(engine, target).await;
    // If the store cannot, lookups on this node ignore the record, and the removal is tried again.
    engine.tombstones.invalidate(&engine.records, &target.primary).await;
}

/// Forbids fills under way to commit, and forgets why answers were not stored.
pub(super) async fn revoke(engine: &Engine, target: &Target) {
    engine.counters.tell(|| Event::Invalidated { key: target.key.as_bytes() });
    for commit in engine.flights.revoke(&target.primary) {
        drop(commit.lock().await);
    }
    engine.uncacheable.forget(&target.primary);
}

/// How many lines of `Location`, and of `Content-Location`, are looked at.
const MOST_REFERENCES: usize = 4;
