//! What a viewer reads while it comes: of a fill under way, and of a stored response with a chunk to be had again.

use std::{future::pending, sync::Arc};

use http::{header, request, Method, Response};
use tokio::time::timeout;

use super::{
    flight::Follower,
    lookup::Entry,
    serve::{self, Gone, Service},
    supply::{Found, Line, Upstream},
    Engine,
};
use crate::{
    body::ResponseBody,
    semantics::{cache_status::Outcome, range::certain_from},
};

impl Engine {
    /// The answer from a fill under way, once there is one. Never, if the fill has to land first; `None` if that waits for
    /// those who read.
    pub(super) async fn reads<B>(
        &self,
        upstream: &Arc<dyn Upstream>,
        mut follower: Follower,
        leads: bool,
        request: &request::Parts,
        outcome: Outcome,
    ) -> Option<Response<ResponseBody<B>>> {
        if let Some(entry) = follower.pouring().await {
            if let Some(response) = self.read(upstream, entry, &follower, leads, request, outcome).await {
                return Some(response);
            }
        }
        paced(follower).await;
        None
    }

    /// The answer from what a fill is pouring, if that is for this request and can be told before it has landed.
    pub(super) async fn read<B>(
        &self,
        upstream: &Arc<dyn Upstream>,
        entry: Arc<Entry>,
        follower: &Follower,
        leads: bool,
        request: &request::Parts,
        mut outcome: Outcome,
    ) -> Option<Response<ResponseBody<B>>> {
        // What must be validated before each use is for the one alone who asked.
        if !leads && (entry.freshness.is_for_one() || !entry.is_selected_by(&request.headers)) {
            return None;
        }
        if let (Some(supply), true) = (&entry.pouring, request.method == Method::GET) {
            if supply.length().is_none() && request.headers.contains_key(header::RANGE) {
                // RFC 9110 §14.1.2: what an open range or a suffix comes to, the length decides.
                supply.reaches(certain_from(&request.headers)?).await;
            }
        }
        outcome.forwarded_status = Some(entry.manifest.status);
        let line = Line::to_fill(Arc::clone(upstream), Arc::clone(&entry), follower.clone(), leads);
        let service = Service { outcome, line: Some(Arc::new(line)) };
        serve::serve(self, &entry, request, service).await.ok()
    }

    /// Has the chunk that an answer would begin with fetched again; gives the line on which it came.
    pub(super) async fn heal(
        &self,
        upstream: &Arc<dyn Upstream>,
        entry: &Arc<Entry>,
        gone: Gone,
    ) -> Option<Arc<Line>> {
        let line = Line::new(Arc::clone(upstream), Arc::clone(entry), gone.until);
        let sought = timeout(self.config.follower_limit, line.sought(gone.first)).await;
        matches!(sought, Ok(Ok(Found::Chunk(_)))).then(|| Arc::new(line))
    }
}

/// Until a fill is poured no faster than it is read; it is not deserted meanwhile.
pub(super) async fn paced(mut follower: Follower) {
    if let Some(entry) = follower.pouring().await {
        if let Some(supply) = &entry.pouring {
            return supply.paced().await;
        }
    }
    pending().await
}
