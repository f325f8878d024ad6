//! Fetches a lost first chunk again before the answer begins.

use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::time::timeout;

use super::request::Miss;
use crate::{
    engine::{
        body::ResponseBody,
        fetch::{
            demand::Demand,
            subscription::{Found, Missing},
        },
        serve::{self, MissingByte, Service},
        state::entry::{Accepted, Entry},
    },
    semantics::cache_status::{Outcome, Refusal},
};

impl Miss {
    /// Fetches the missing chunk again, then answers from the entry.
    pub(super) async fn heal<B>(
        &self,
        entry: &Arc<Entry>,
        gone: MissingByte,
    ) -> Result<Response<ResponseBody<B>>, HealFailed> {
        let Self { engine, request, fetcher, accepted, outcome, .. } = self;
        // This response was stored as a whole for this request. A chunk that is lost at once would be lost again.
        let is_of_old = entry.manifest.sparse || outcome.forwarded_status == Some(StatusCode::NOT_MODIFIED);
        if *accepted != Accepted::Nothing && !is_of_old {
            if gone.is_lost {
                entry.forget(&engine.records).await;
            }
            return Err(HealFailed::Forgotten);
        }
        let demand = Arc::new(Demand::new(Arc::clone(fetcher), Arc::clone(entry), gone.until));
        match timeout(engine.config.timeouts.follower, demand.sought(gone.offset)).await {
            Ok(Ok(Found::Bytes(_))) => {}
            Ok(Err(Missing::OutOfReach | Missing::TooLate)) | Err(_) => {
                return Err(HealFailed::Now(Refusal::WaitedTooLong));
            }
            Ok(Err(Missing::Failed(error))) if error.is_store() => {
                return Err(HealFailed::Now(Refusal::StoreLost));
            }
            Ok(Err(Missing::Failed(_))) => return Err(HealFailed::Now(Refusal::InnerFailed)),
            Ok(Ok(_) | Err(Missing::Changed | Missing::NoParts(_))) => {
                entry.forget(&engine.records).await;
                return Err(HealFailed::Forgotten);
            }
        }
        let (fetched, collapsed) = (demand.fetched(), demand.collapsed());
        let outcome = if fetched.is_some() {
            Outcome { forwarded_status: fetched, stored: true, ..*outcome }
        } else if collapsed.is_some() {
            // RFC 9211 §2.6: the request was collapsed with a call for another request.
            Outcome { forwarded_status: collapsed, collapsed: true, ..*outcome }
        } else if *accepted == Accepted::Nothing {
            // The store had the chunk after all.
            Outcome::default()
        } else {
            *outcome
        };
        let service = Service { outcome, demand: Some(demand), prefetched: None, now: None };
        let served = serve::serve(engine, entry, request, service).await;
        served.map_err(|_| HealFailed::Now(Refusal::StoreLost))
    }
}

/// Why a response whose first chunk was gone is not served.
pub(super) enum HealFailed {
    /// The inner service has no part of this response. The miss goes on as if the store had no response.
    Forgotten,
    /// The chunk cannot be had now. The request goes to the inner service alone.
    Now(Refusal),
}
