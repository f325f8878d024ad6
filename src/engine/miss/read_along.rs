//! What a viewer reads while it comes: of a fill under way, and of a stored response with a chunk to be had again.

use std::{future::pending, sync::Arc};

use http::{header, request, Method, Response, StatusCode};
use tokio::time::timeout;

use super::{
    flight::Follower,
    lookup::{Accepted, Entry},
    purge::forget,
    race::{race, Raced},
    serve::{self, Gone, Service},
    supply::{binding, Found, Line, Missing, Upstream},
    Engine,
};
use crate::{
    body::ResponseBody,
    format::key::Slot,
    semantics::{
        cache_status::{Outcome, Refusal},
        range::certain_from,
    },
};

impl Engine {
    /// Whether an answer from `entry` would come to its end while the store has only what is at hand: the inner service is
    /// known to have the rest, or there is none.
    pub(super) async fn has_an_end(&self, entry: &Entry, request: &request::Parts) -> bool {
        let (manifest, now) = (&entry.manifest, self.config.clock.now());
        // What is stored in part came as a part. Of anything else it is not known whether the rest is to be had, and while
        // the store is down there would be nothing to compare another fill with.
        let primary = Slot::primary(&manifest.key);
        if manifest.sparse
            && binding(manifest).is_some()
            && self.partless.recall(&primary, &request.headers, now).is_none()
        {
            return true;
        }
        for index in serve::chunks(self, entry, request) {
            if self.records.chunk(manifest.layout.chunk(index)).await.is_err() {
                return false;
            }
        }
        true
    }

    /// The answer from a fill under way, once there is one. Never, if the fill has to land first.
    ///
    /// # Errors
    ///
    /// Why this request is not to wait for that: the fill waits for those who read, or nothing that it brings is for who has
    /// credentials.
    pub(super) async fn reads<B>(
        &self,
        upstream: &Arc<dyn Upstream>,
        mut follower: Follower,
        leads: bool,
        request: &request::Parts,
        outcome: Outcome,
    ) -> Result<Response<ResponseBody<B>>, Refusal> {
        if let Some(entry) = follower.pouring().await {
            if !leads && !entry.freshness.is_for(&self.directives(request)) {
                return Err(Refusal::Authorization);
            }
            if let Some(response) = self.read(upstream, entry, &follower, leads, request, outcome).await {
                return Ok(response);
            }
        }
        paced(follower).await;
        Err(Refusal::NoRoom)
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
        let is_its_own = entry.manifest.key == upstream.target().key
            && entry.is_selected_by(&request.headers)
            && entry.freshness.is_for(&self.directives(request));
        if !leads && (entry.freshness.is_for_one() || !is_its_own) {
            return None;
        }
        if let (Some(supply), true) = (&entry.pouring, request.method == Method::GET) {
            if supply.has_hole() {
                return None;
            }
            if supply.length().is_none() && request.headers.contains_key(header::RANGE) {
                // RFC 9110 §14.1.2: what an open range or a suffix comes to, the length decides.
                let bytes = certain_from(&request.headers)?;
                // Where it is poured no faster than it is read, who waits must not move it.
                match race(supply.reaches(bytes), supply.paced()).await {
                    Raced::First(()) => {}
                    Raced::Second(()) => return None,
                }
            }
        }
        outcome.forwarded_status = Some(entry.manifest.status);
        let line = Line::to_fill(Arc::clone(upstream), Arc::clone(&entry), follower.clone(), leads);
        let service = Service { outcome, line: Some(Arc::new(line)), early: None };
        let mut response = serve::serve(self, &entry, request, service).await.ok()?;
        if let (Some(supply), true) = (&entry.pouring, leads) {
            response.headers_mut().extend(supply.withheld().clone());
        }
        Some(response)
    }

    /// The answer to a HEAD from a fill under way of what lies at `slot`.
    pub(super) async fn read_head<B>(
        &self,
        upstream: &Arc<dyn Upstream>,
        slot: &Slot,
        request: &request::Parts,
        outcome: Outcome,
    ) -> Option<Response<ResponseBody<B>>> {
        let (entry, follower) = self.flights.pouring(slot)?;
        let outcome = Outcome { collapsed: true, ..outcome };
        self.read(upstream, entry, &follower, false, request, outcome).await
    }

    /// The answer that begins with a chunk which is gone, once that has been fetched again.
    pub(super) async fn heal<B>(
        &self,
        upstream: &Arc<dyn Upstream>,
        entry: &Arc<Entry>,
        gone: Gone,
        request: &request::Parts,
        accepted: Accepted,
        outcome: Outcome,
    ) -> Result<Response<ResponseBody<B>>, NotHealed> {
        // Of what was stored as a whole for this request, a chunk that is lost at once would be lost again.
        let is_of_old = entry.manifest.sparse || outcome.forwarded_status == Some(StatusCode::NOT_MODIFIED);
        if accepted != Accepted::Nothing && !is_of_old {
            if gone.is_lost {
                forget(&self.records, entry).await;
            }
            return Err(NotHealed::Forgotten);
        }
        let line = Arc::new(Line::new(Arc::clone(upstream), Arc::clone(entry), gone.until));
        match timeout(self.config.follower_limit, line.sought(gone.first)).await {
            Ok(Ok(Found::Chunk(_))) => {}
            Ok(Err(Missing::OutOfReach | Missing::TooLate)) | Err(_) => {
                return Err(NotHealed::Now(Refusal::WaitedTooLong))
            }
            Ok(Err(Missing::Failed(error))) if error.is_store() => {
                return Err(NotHealed::Now(Refusal::StoreLost))
            }
            Ok(Err(Missing::Failed(_))) => return Err(NotHealed::Now(Refusal::InnerFailed)),
            Ok(Ok(_) | Err(Missing::Changed | Missing::NoParts(_))) => {
                forget(&self.records, entry).await;
                return Err(NotHealed::Forgotten);
            }
        }
        let outcome = if line.has_fetched() {
            let forwarded_status = Some(StatusCode::PARTIAL_CONTENT);
            Outcome { forwarded_status, stored: true, ..outcome }
        } else if line.has_collapsed() {
            // RFC 9211 §2.6: with the call that was made for another.
            let forwarded_status = Some(StatusCode::PARTIAL_CONTENT);
            Outcome { forwarded_status, collapsed: true, ..outcome }
        } else if accepted == Accepted::Nothing {
            // The store had it after all.
            Outcome::default()
        } else {
            outcome
        };
        let service = Service { outcome, line: Some(line), early: None };
        let served = serve::serve(self, entry, request, service).await;
        served.map_err(|_| NotHealed::Now(Refusal::StoreLost))
    }
}

/// Until a fill is poured no faster than it is read; it is not deserted meanwhile.
pub(super) async fn paced(mut follower: Follower) {
    if let Some(entry) = follower.pouring().await {
        if let Some(supply) = &entry.pouring {
            return supply.paced().await;
        }
    }
    pending::<()>().await;
}

/// Why a response whose first chunk was gone is not served.
pub(super) enum NotHealed {
    /// The inner service has no part of it to give: it is as if nothing were stored.
    Forgotten,
    /// The chunk cannot be had now; the viewer is to ask the inner service by itself.
    Now(Refusal),
}
