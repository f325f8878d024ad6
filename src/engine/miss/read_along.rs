//! Answers a request from a fill under way: the client reads the response while it comes.

use std::sync::{Arc, atomic::Ordering};

use http::{Method, Response, StatusCode, Version, header};

use super::request::Miss;
use crate::{
    engine::{
        body::ResponseBody,
        fetch::demand::Demand,
        lookup::content::is_for_the_origin,
        serve::{self, Service},
        state::{
            entry::Entry,
            flight::{Follower, paced},
            purges::Judgement,
        },
    },
    futures::{Raced, race},
    semantics::{
        cache_status::{Outcome, Refusal},
        range::{certain_from, wants_the_start},
    },
    settings::Mode,
};

impl Miss {
    /// Answers from a fill under way, once it can be read. Stays pending if the request has to wait for the landing.
    ///
    /// # Errors
    ///
    /// The request must not wait for the landing: the fill keeps pace with its readers, its response is not for a
    /// request with credentials, only the inner service can judge the request, or a purge names the response.
    pub(super) async fn reads<B>(
        &self,
        mut follower: Follower,
        leads: bool,
    ) -> Result<Response<ResponseBody<B>>, NotRead> {
        if let Some(entry) = follower.pouring().await {
            if !leads && !self.is_judged_good(&entry) {
                return Err(NotRead::Purged);
            }
            if !leads && !entry.freshness.is_for(&self.directives) {
                return Err(NotRead::Refused(Refusal::Authorization));
            }
            if (leads || self.is_answered_by(&entry)) && is_for_the_origin(&entry, &self.request) {
                return Err(NotRead::Refused(Refusal::Precondition));
            }
            if let Some(response) = self.read(entry, &follower, leads).await {
                return Ok(response);
            }
        }
        paced(follower).await;
        Err(NotRead::Refused(Refusal::NoRoom))
    }

    /// Answers a HEAD request from the fill under way at its slot, if there is one.
    pub(super) async fn read_head<B>(&self) -> Option<Response<ResponseBody<B>>> {
        let (entry, follower) = self.engine.flights.pouring(&self.missed.slot)?;
        self.read(entry, &follower, false).await
    }

    /// Whether the entry that another request's fill is pouring is for this request, too.
    fn is_answered_by(&self, entry: &Entry) -> bool {
        // A response that must be validated before each use is for the leader alone.
        !entry.freshness.is_for_one()
            && entry.manifest.key == self.target.key
            && entry.is_selected_by(&self.request.headers)
            && entry.freshness.is_for(&self.directives)
            && self.is_judged_good(entry)
    }

    /// Whether no purge that was known when this request missed is for the entry.
    fn is_judged_good(&self, entry: &Entry) -> bool {
        entry.was_asked_for_after(self.target.purges)
            || self.engine.purges.judge(&entry.manifest) == Judgement::Kept
    }

    /// Answers from the entry that a fill is pouring. Returns `None` if the entry is not for this request, or if the
    /// request has to wait for the landing.
    async fn read<B>(
        &self,
        entry: Arc<Entry>,
        follower: &Follower,
        leads: bool,
    ) -> Option<Response<ResponseBody<B>>> {
        let Self { engine, request, fetcher, .. } = self;
        if !leads && !self.is_answered_by(&entry) || is_for_the_origin(&entry, request) {
            return None;
        }
        if let (Some(supply), true) = (&entry.pouring, request.method == Method::GET) {
            // The fill may go by other settings than this request, which wants no body that may break.
            if engine.config.fill.mode == Mode::Whole {
                return None;
            }
            if supply.has_hole() {
                return None;
            }
            // A client of HTTP/1.0 takes the end of the connection for the end of the body, even of a broken one.
            let awaits_length = engine.config.fill.awaits_length || request.version < Version::HTTP_11;
            if supply.length().is_none() && awaits_length {
                return None;
            }
            let wants_more =
                request.headers.contains_key(header::RANGE) && !wants_the_start(&request.headers);
            if supply.length().is_none() && wants_more {
                // RFC 9110 §14.1.2: the length decides which bytes an open range or a suffix selects.
                let bytes = certain_from(&request.headers)?;
                // A paced fill moves only as it is read, and a request that just waits must not move it.
                match race(supply.wait_for_bytes(bytes), supply.readers.have_slowed_the_fill_down()).await {
                    Raced::First(()) => {}
                    Raced::Second(()) => return None,
                }
            }
        }
        let is_part =
            entry.pouring.as_ref().is_some_and(|supply| supply.came_as_a_part.load(Ordering::Relaxed));
        let came = if is_part { StatusCode::PARTIAL_CONTENT } else { entry.manifest.status };
        let mut outcome = Outcome { forwarded_status: Some(came), ..self.outcome };
        if leads {
            outcome.stored = true;
        } else {
            outcome.collapsed = true;
        }
        let demand = Demand::to_fill(Arc::clone(fetcher), Arc::clone(&entry), follower.clone(), leads);
        let service = Service { outcome, demand: Some(Arc::new(demand)), prefetched: None, now: None };
        let mut response = serve::serve(engine, &entry, request, service).await.ok()?;
        if let (Some(supply), true) = (&entry.pouring, leads) {
            response.headers_mut().extend(supply.withheld().clone());
        }
        Some(response)
    }
}

/// Why a request neither reads from a fill under way nor waits for its landing.
pub(super) enum NotRead {
    /// The inner service was asked for the response before a purge of it.
    Purged,
    /// The request goes to the inner service alone.
    Refused(Refusal),
}
