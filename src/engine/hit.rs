//! Looks into the store once, and returns the answer or the reason why there is none.

use std::sync::Arc;

use http::{Response, StatusCode, request};

use super::{
    body::ResponseBody,
    fill::delivery::Prior,
    lookup::{Look, content, prefetch::look_ahead},
    serve::{self, MissingByte},
    state::{
        Engine,
        entry::{Accepted, Entry, Target},
        records::Waited,
    },
};
use crate::{
    format::key::{Generation, Slot},
    semantics::{
        cache_control::RequestDirectives,
        cache_status::{Forwarded, Outcome, Refusal},
        freshness::Reuse,
    },
};

/// A request that the store did not answer.
pub(crate) struct MissedRequest<A> {
    pub(crate) parts: request::Parts,
    pub(crate) body: A,
    pub(crate) target: Arc<Target>,
    pub(crate) directives: RequestDirectives,
}

/// An answer from the store.
pub(super) struct Answer<B> {
    pub(crate) response: Response<ResponseBody<B>>,
    /// The generation of the response that the answer was made of.
    pub(crate) of: Generation,
    /// The stored response, if it is stale and must be validated in the background.
    pub(crate) stale: Option<Arc<Entry>>,
}

/// Why a look gave no answer.
pub(crate) struct Missed {
    pub(super) reason: Forwarded,
    /// The slot at which the answer would be stored.
    pub(super) slot: Slot,
    /// The stored response that may be used once the inner service says that it is good.
    pub(super) stored: Prior,
    /// Whether the inner service must say so to this very request (RFC 9111 §3.5).
    pub(super) for_one: bool,
    /// Why the inner service must answer the request as the client sent it.
    pub(super) for_the_origin: Option<Refusal>,
    /// The response that was found, and its first chunk, which is missing.
    pub(super) gone: Option<(Arc<Entry>, MissingByte)>,
    /// The generation of that response, once the cache has tried to fetch the chunk.
    pub(super) gone_before: Option<Generation>,
    /// How long the request waited for the store, if the store failed.
    pub(super) store_failed: Option<Waited>,
}

impl Engine {
    /// Looks into the store once: the answer, or why there is none.
    pub(super) async fn look<B>(
        &self,
        target: &Target,
        request: &request::Parts,
        directives: &RequestDirectives,
        accepted: Accepted,
        outcome: Outcome,
    ) -> Result<Answer<B>, Missed> {
        let missed = |reason, slot: &Slot| Missed {
            reason,
            slot: slot.clone(),
            stored: Prior::Nothing,
            for_one: false,
            for_the_origin: None,
            gone: None,
            gone_before: None,
            store_failed: None,
        };
        let (look, prefetched) = look_ahead(self, target, request, directives, accepted).await;
        let (entry, behind, now) = match look {
            Look::Failed(waited) => {
                let store_failed = Some(waited);
                return Err(Missed { store_failed, ..missed(Forwarded::Miss, &target.primary) });
            }
            Look::Nothing(reason, slot, others) => {
                return Err(Missed { stored: Prior::Others(others), ..missed(reason, &slot) });
            }
            Look::Found(entry, reuse @ (Reuse::Validated(reason) | Reuse::ValidatedForOne(reason)), _) => {
                let for_one = matches!(reuse, Reuse::ValidatedForOne(_));
                let missed = missed(reason, &entry.slot);
                return Err(Missed { stored: Prior::Stale(entry), for_one, ..missed });
            }
            Look::Found(entry, Reuse::AsItIs, now) => (entry, false, now),
            Look::Found(entry, Reuse::WhileRevalidated, now) => (entry, true, now),
        };
        if self.is_half_good(&entry, request, directives) {
            let slot = entry.slot.clone();
            return Err(Missed { stored: Prior::Sparse(entry), ..missed(Forwarded::Partial, &slot) });
        }
        // The look at the clock that judged the response also tells its age, unless the request waits in between.
        let mut now = Some(now);
        if self.store.is_down() {
            now = None;
            // Boxed, so that the future of a hit stays small.
            if !Box::pin(self.has_an_end(&entry, request)).await {
                let (slot, store_failed) = (entry.slot.clone(), Some(Waited::LONG));
                return Err(Missed { store_failed, ..missed(Forwarded::Partial, &slot) });
            }
        }
        let service = serve::Service { outcome, demand: None, prefetched, now };
        match serve::serve(self, &entry, request, service).await {
            Ok(response) if is_doubtful(response.status(), &entry, directives, accepted) => {
                let missed = missed(Forwarded::Request, &entry.slot);
                Err(match response.status() {
                    StatusCode::PRECONDITION_FAILED => {
                        Missed { for_the_origin: Some(Refusal::Precondition), ..missed }
                    }
                    _ if entry.has_validator() => Missed { stored: Prior::Stale(entry), ..missed },
                    _ => Missed { for_the_origin: Some(Refusal::PastTheEnd), ..missed },
                })
            }
            Ok(response) => Ok(Answer { response, of: entry.generation(), stale: behind.then_some(entry) }),
            Err(gone) if self.records.is_enough(gone.waited) => {
                let (slot, store_failed) = (entry.slot.clone(), Some(gone.waited));
                Err(Missed { store_failed, ..missed(Forwarded::Partial, &slot) })
            }
            Err(gone) => {
                let slot = entry.slot.clone();
                Err(Missed { gone: Some((entry, gone)), ..missed(Forwarded::Partial, &slot) })
            }
        }
    }
}

impl Engine {
    /// Whether an answer from `entry` would come to its end while the store gives only the chunks that it has at
    /// hand: the inner service is known to have the rest, or there is no rest.
    pub(super) async fn has_an_end(&self, entry: &Entry, request: &request::Parts) -> bool {
        let manifest = &entry.manifest;
        // A sparse response came as a part, so the inner service gives parts of it. For any other response the cache
        // does not know whether the rest can be had, and while the store is down there would be no record to compare
        // another fill with.
        let primary = Slot::primary(&manifest.key);
        if manifest.sparse && manifest.binding().is_some() && self.may_give_parts(&primary, request) {
            return true;
        }
        let mut bytes = content::bytes(self, entry, request);
        while !bytes.is_empty() {
            match self.records.around(manifest.layout, bytes.start).await {
                Ok(stretch) => bytes.start = stretch.end(),
                Err(_) => return false,
            }
        }
        true
    }
}

/// Whether an answer from `entry` with this status must not leave before the inner service is asked.
fn is_doubtful(
    status: StatusCode,
    entry: &Entry,
    directives: &RequestDirectives,
    accepted: Accepted,
) -> bool {
    let is_confirmed = match accepted {
        Accepted::Nothing | Accepted::Another(_) => false,
        Accepted::Own(found) | Accepted::Shared(found) | Accepted::StandIn(found) => {
            found == entry.generation()
        }
    };
    match status {
        _ if status == entry.manifest.status => false,
        // RFC 9111 §4.3.2: the condition is for the origin server to judge.
        StatusCode::PRECONDITION_FAILED => true,
        // A file that grows has these bytes by now, perhaps. A live stream in one file is asked for so.
        StatusCode::RANGE_NOT_SATISFIABLE => {
            !is_confirmed && !directives.only_if_cached && !entry.freshness.is_immutable()
        }
        _ => false,
    }
}
