//! A lost first chunk is fetched again before the answer begins.

use std::sync::Arc;

use http::{request, Response, StatusCode};
use tokio::time::timeout;

use crate::{
    engine::{
        body::ResponseBody,
        fetch::{
            demand::{Demand, Found, Missing},
            fetcher::Fetch,
        },
        serve::{self, MissingChunk, Service},
        state::{
            entry::{Accepted, Entry},
            Engine,
        },
    },
    semantics::cache_status::{Outcome, Refusal},
};

impl Engine {
    /// The answer that begins with a chunk which is gone, once that has been fetched again.
    pub(super) async fn heal<B>(
        &self,
        fetcher: &Arc<dyn Fetch>,
        entry: &Arc<Entry>,
        gone: MissingChunk,
        request: &request::Parts,
        accepted: Accepted,
        outcome: Outcome,
    ) -> Result<Response<ResponseBody<B>>, NotHealed> {
        // Of what was stored as a whole for this request, a chunk that is lost at once would be lost again.
        let is_of_old = entry.manifest.sparse || outcome.forwarded_status == Some(StatusCode::NOT_MODIFIED);
        if accepted != Accepted::Nothing && !is_of_old {
            if gone.is_lost {
                entry.forget(&self.records).await;
            }
            return Err(NotHealed::Forgotten);
        }
        let demand = Arc::new(Demand::new(Arc::clone(fetcher), Arc::clone(entry), gone.until));
        match timeout(self.config.follower_limit, demand.sought(gone.first)).await {
            Ok(Ok(Found::Chunk(_))) => {}
            Ok(Err(Missing::OutOfReach | Missing::TooLate)) | Err(_) => {
                return Err(NotHealed::Now(Refusal::WaitedTooLong))
            }
            Ok(Err(Missing::Failed(error))) if error.is_store() => {
                return Err(NotHealed::Now(Refusal::StoreLost))
            }
            Ok(Err(Missing::Failed(_))) => return Err(NotHealed::Now(Refusal::InnerFailed)),
            Ok(Ok(_) | Err(Missing::Changed | Missing::NoParts(_))) => {
                entry.forget(&self.records).await;
                return Err(NotHealed::Forgotten);
            }
        }
        let outcome = if demand.has_fetched() {
            let forwarded_status = Some(StatusCode::PARTIAL_CONTENT);
            Outcome { forwarded_status, stored: true, ..outcome }
        } else if demand.has_collapsed() {
            // RFC 9211 §2.6: with the call that was made for another.
            let forwarded_status = Some(StatusCode::PARTIAL_CONTENT);
            Outcome { forwarded_status, collapsed: true, ..outcome }
        } else if accepted == Accepted::Nothing {
            // The store had it after all.
            Outcome::default()
        } else {
            outcome
        };
        let service = Service { outcome, demand: Some(demand), prefetched: None };
        let served = serve::serve(self, entry, request, service).await;
        served.map_err(|_| NotHealed::Now(Refusal::StoreLost))
    }
}

/// Why a response whose first chunk was gone is not served.
pub(super) enum NotHealed {
    /// The inner service has no part of it to give: it is as if nothing were stored.
    Forgotten,
    /// The chunk cannot be had now; the viewer is to ask the inner service by itself.
    Now(Refusal),
}
