//! Answers a request from a fill under way: the client reads the response while it comes.

use std::sync::Arc;

use http::{header, request, Method, Response};

use crate::{
    engine::{
        body::ResponseBody,
        fetch::{demand::Demand, fetcher::Fetch},
        serve::{self, Service},
        state::{
            entry::Entry,
            flight::{paced, Follower},
            Engine,
        },
    },
    format::key::Slot,
    futures::{race, Raced},
    semantics::{
        cache_status::{Outcome, Refusal},
        range::certain_from,
    },
};

impl Engine {
    /// Answers from a fill under way, once it can be read. Stays pending if the request has to wait for the landing.
    ///
    /// # Errors
    ///
    /// The request must not wait for the landing: the fill keeps pace with its readers, or its response is not for a
    /// request with credentials.
    pub(super) async fn reads<B>(
        &self,
        fetcher: &Arc<dyn Fetch>,
        mut follower: Follower,
        leads: bool,
        request: &request::Parts,
        outcome: Outcome,
    ) -> Result<Response<ResponseBody<B>>, Refusal> {
        if let Some(entry) = follower.pouring().await {
            if !leads && !entry.freshness.is_for(&self.directives(request)) {
                return Err(Refusal::Authorization);
            }
            if let Some(response) = self.read(fetcher, entry, &follower, leads, request, outcome).await {
                return Ok(response);
            }
        }
        paced(follower).await;
        Err(Refusal::NoRoom)
    }

    /// Answers from the entry that a fill is pouring. Returns `None` if the entry is not for this request, or if the
    /// request has to wait for the landing.
    pub(super) async fn read<B>(
        &self,
        fetcher: &Arc<dyn Fetch>,
        entry: Arc<Entry>,
        follower: &Follower,
        leads: bool,
        request: &request::Parts,
        mut outcome: Outcome,
    ) -> Option<Response<ResponseBody<B>>> {
        // A response that must be validated before each use is for the leader alone.
        let is_its_own = entry.manifest.key == fetcher.target().key
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
                // RFC 9110 §14.1.2: the length decides which bytes an open range or a suffix selects.
                let bytes = certain_from(&request.headers)?;
                // A paced fill moves only as it is read, and a request that just waits must not move it.
                match race(supply.wait_for_bytes(bytes), supply.paced()).await {
                    Raced::First(()) => {}
                    Raced::Second(()) => return None,
                }
            }
        }
        outcome.forwarded_status = Some(entry.manifest.status);
        let demand = Demand::to_fill(Arc::clone(fetcher), Arc::clone(&entry), follower.clone(), leads);
        let service = Service { outcome, demand: Some(Arc::new(demand)), prefetched: None };
        let mut response = serve::serve(self, &entry, request, service).await.ok()?;
        if let (Some(supply), true) = (&entry.pouring, leads) {
            response.headers_mut().extend(supply.withheld().clone());
        }
        Some(response)
    }

    /// Answers a HEAD request from the fill under way at `slot`, if there is one.
    pub(super) async fn read_head<B>(
        &self,
        fetcher: &Arc<dyn Fetch>,
        slot: &Slot,
        request: &request::Parts,
        outcome: Outcome,
    ) -> Option<Response<ResponseBody<B>>> {
        let (entry, follower) = self.flights.pouring(slot)?;
        let outcome = Outcome { collapsed: true, ..outcome };
        self.read(fetcher, entry, &follower, false, request, outcome).await
    }
}
