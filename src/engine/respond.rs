//! The entry point of the engine: each request bypasses the cache, invalidates, or is answered by a hit or a miss.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, header, request};
use http_body::Body;
use tower_service::Service;

use super::inner::Inner;
use super::{
    body::ResponseBody,
    fill::{
        delivery::{Order, Prior, Purpose},
        run,
    },
    hit::{Answer, MissedRequest},
    miss::{answer::answer_miss, viewer::Viewer},
    serve,
    state::{
        Engine, Within,
        entry::{Accepted, Entry, Target},
        flight::Role,
    },
};
use crate::{
    clock::moment,
    counters::Reason,
    error::BoxError,
    semantics::{
        cache_status::{Forwarded, Outcome},
        fields::{overrides_method, remove_listed},
    },
};

/// How the cache treats a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// The request goes to the inner service untouched, for this reason.
    Bypass(Forwarded),
    /// The request may be answered from the store.
    Cache,
    /// The request is unsafe. If it succeeds, the stored responses are no longer true (RFC 9111 §4.4).
    Invalidate,
}

impl Engine {
    /// How the cache treats a request; `has_content` says that the request has a body. A GET with content has no
    /// meaning that a cache knows (RFC 9110 §9.3.1). The same is true of a GET that asks for another method.
    pub(crate) fn treatment(&self, request: &request::Parts, has_content: bool) -> Treatment {
        let is_within = |within: &Within| Arc::ptr_eq(&within.0, &self.flights);
        let bypasses = self.config.bypass.as_ref().is_some_and(|bypass| bypass(request));
        if bypasses || request.extensions.get().is_some_and(is_within) {
            return Treatment::Bypass(Forwarded::Bypass);
        }
        match request.method {
            Method::GET | Method::HEAD
                if has_content
                    || request.headers.contains_key(header::UPGRADE)
                    || overrides_method(&request.headers)
                    || self.config.is_expired(request) =>
            {
                Treatment::Bypass(Forwarded::Bypass)
            }
            Method::GET | Method::HEAD => Treatment::Cache,
            Method::OPTIONS | Method::TRACE | Method::CONNECT => Treatment::Bypass(Forwarded::Method),
            _ => Treatment::Invalidate,
        }
    }

    /// Answers a GET or HEAD request: from the store as far as it can, else as the inner service does.
    ///
    /// # Errors
    ///
    /// The errors of the inner service, unchanged.
    ///
    /// # Cancel safety
    ///
    /// A fill that was begun goes on without the request that began it.
    pub(crate) async fn respond<S, A, B>(
        self: Arc<Self>,
        mut inner: Inner<S>,
        mut parts: request::Parts,
        body: A,
    ) -> Result<Response<ResponseBody<B>>, S::Error>
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        remove_listed(&mut parts.headers);
        let mut outcome = Outcome::default();
        let directives = self.directives(&parts);
        // RFC 9111 §5.2.1.5: the cache must not store any part of this request or its response.
        if directives.no_store && !directives.only_if_cached {
            outcome.forwarded = Some(Forwarded::Request);
            self.mark(&mut parts.extensions);
            self.count_call(Reason::Pass);
            let response = inner.call(Request::from_parts(parts, body)).await?;
            return Ok(serve::pass(response, outcome, self.config.signature(None), &self.config.policy));
        }
        let target = Target::new((self.config.key)(&parts));
        match self.look(&target, &parts, &directives, Accepted::Nothing, outcome).await {
            Ok(Answer { mut response, stale, .. }) => {
                // RFC 9111 §5.2.1.7: for a request that wants only a stored response, the cache asks the inner
                // service for no chunks. A forwarded request would tell an inner cache the same.
                let is_settled = stale.is_none() && !response.body().is_to_be_read();
                if is_settled || directives.only_if_cached {
                    return Ok(response);
                }
                match stale {
                    None => response
                        .body_mut()
                        .supply(|| Arc::new(Viewer::<S, A>::new(self, inner, parts, Arc::new(target)))),
                    Some(entry) => {
                        let target = Arc::new(target);
                        let (engine, spare) = (Arc::clone(&self), inner.spare());
                        response.body_mut().supply(|| {
                            Arc::new(Viewer::<S, A>::new(engine, spare, parts.clone(), Arc::clone(&target)))
                        });
                        self.refresh(inner, &parts, &target, entry);
                    }
                }
                Ok(response)
            }
            // Boxed, so that the future of a hit stays small.
            Err(missed) => {
                let target = Arc::new(Target { purges: self.purges.position(), ..target });
                let asked = MissedRequest { parts, body, target, directives };
                Box::pin(answer_miss(self, inner, asked, missed)).await
            }
        }
    }

    /// Has a stale response validated while clients get it, once at a time (RFC 5861 §3).
    fn refresh<S, A, B>(
        self: Arc<Self>,
        inner: Inner<S>,
        request: &request::Parts,
        target: &Arc<Target>,
        entry: Arc<Entry>,
    ) where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // Another fill on behalf of such a request would be in vain.
        if self.uncacheable.recall(&target.primary, &request.headers, self.config.clock.now()).is_some() {
            return;
        }
        if self.remote_refreshes.refreshes(&entry, moment()) {
            return;
        }
        let purges = self.purges.position();
        if let Role::Lead(permit) = self.flights.join(&entry.slot, &target.primary, purges) {
            // This fill goes on although nobody waits for it.
            let (stored, purpose) = (Prior::Stale(entry), Purpose::Background);
            drop(run::start(&self, inner, Order { request, target, stored, purpose }, permit));
        }
    }
}
