//! One look into the store: the answer, or the reason why there is none.

use std::sync::Arc;

use http::{request, Response};

use super::{
    early::look_ahead,
    fill::Known,
    lookup::{Accepted, Entry, Look, Target},
    records::Waited,
    serve::{self, Gone},
    Engine,
};
use crate::{
    body::ResponseBody,
    format::key::{Generation, Slot},
    semantics::{
        cache_control::RequestDirectives,
        cache_status::{Forwarded, Outcome},
        freshness::Reuse,
    },
};

/// An answer from the store.
pub(super) struct Answer<B> {
    pub(super) response: Response<ResponseBody<B>>,
    /// What it was made of.
    pub(super) of: Generation,
    /// The same, if that is to be validated behind the viewer's back.
    pub(super) stale: Option<Arc<Entry>>,
}

/// Why a look gave no answer.
pub(super) struct Missed {
    pub(super) reason: Forwarded,
    /// Where the answer would be.
    pub(super) slot: Slot,
    /// What may be used once the inner service says that it is good.
    pub(super) stored: Known,
    /// Only if it says so to this very request (RFC 9111 §3.5).
    pub(super) for_one: bool,
    /// The response that was found without its bytes.
    pub(super) gone: Option<(Arc<Entry>, Gone)>,
    /// That, once another try was made to have them.
    pub(super) gone_before: Option<Generation>,
    /// How long that took, if the store did.
    pub(super) store_failed: Option<Waited>,
}

impl Engine {
    /// One look: the answer from the store, or why there is none.
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
            stored: Known::Nothing,
            for_one: false,
            gone: None,
            gone_before: None,
            store_failed: None,
        };
        let (look, early) = look_ahead(self, target, request, directives, accepted).await;
        let (entry, behind) = match look {
            Look::Failed(waited) => {
                let store_failed = Some(waited);
                return Err(Missed { store_failed, ..missed(Forwarded::Miss, &target.primary) });
            }
            Look::Nothing(reason, slot, others) => {
                return Err(Missed { stored: Known::Others(others), ..missed(reason, &slot) })
            }
            Look::Found(entry, reuse @ (Reuse::Validated(reason) | Reuse::ValidatedForOne(reason))) => {
                let for_one = matches!(reuse, Reuse::ValidatedForOne(_));
                let missed = missed(reason, &entry.slot);
                return Err(Missed { stored: Known::Stale(entry), for_one, ..missed });
            }
            Look::Found(entry, Reuse::AsItIs) => (entry, false),
            Look::Found(entry, Reuse::WhileRevalidated) => (entry, true),
        };
        if self.is_half_good(&entry, request, directives) {
            let slot = entry.slot.clone();
            return Err(Missed { stored: Known::Sparse(entry), ..missed(Forwarded::Partial, &slot) });
        }
        // In a box of its own, so that a hit has a small one.
        if self.store.is_down() && !Box::pin(self.has_an_end(&entry, request)).await {
            let (slot, store_failed) = (entry.slot.clone(), Some(Waited::LONG));
            return Err(Missed { store_failed, ..missed(Forwarded::Partial, &slot) });
        }
        match serve::serve(self, &entry, request, serve::Service { outcome, line: None, early }).await {
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
