//! A missed request on its way to an answer, and the questions about its state.

use std::{mem, sync::Arc};

use http::{Response, StatusCode, header::HeaderMap, request};

use crate::{
    engine::{
        body::ResponseBody,
        fetch::fetcher::Fetch,
        fill::delivery::Prior,
        hit::Missed,
        lookup::content::is_for_the_origin,
        serve,
        state::{
            Engine,
            entry::{Accepted, Entry, Target},
        },
    },
    semantics::{
        cache_control::RequestDirectives,
        cache_status::{Forwarded, Outcome, Refusal},
    },
};

/// A missed request on its way to an answer.
pub(super) struct Miss {
    pub(super) engine: Arc<Engine>,
    pub(super) request: request::Parts,
    pub(super) target: Arc<Target>,
    pub(super) directives: RequestDirectives,
    /// Fetches the chunks that the store does not have.
    pub(super) fetcher: Arc<dyn Fetch>,
    /// Why the last look gave no answer.
    pub(super) missed: Missed,
    pub(super) outcome: Outcome,
    /// The response that the next look may serve, whatever its freshness.
    pub(super) accepted: Accepted,
    /// Fields for this client alone, which came with the accepted response.
    pub(super) withheld: HeaderMap,
    /// This request has led a fill, and its response is not known to be another node's.
    pub(super) has_led: bool,
}

impl Miss {
    /// Gives up the fill if another one would not help, and says whether it did: the store does not answer, it lost the
    /// response that a fill just stored, or there were tries enough.
    ///
    /// A response found in the place of the lost one was stored by another request since, and is no loss.
    pub(super) fn gives_up(&mut self, is_last_look: bool) -> bool {
        if self.stops_waiting() {
            return true;
        }
        let is_stale = matches!(self.missed.stored, Prior::Stale(_));
        if self.accepted == Accepted::Nothing || self.missed.reason == Forwarded::VaryMiss || is_stale {
            return is_last_look || self.has_led;
        }
        // A 304 was about a response stored long ago. Its loss says nothing about a response stored now.
        let is_of_old = self.has_led && self.outcome.forwarded_status == Some(StatusCode::NOT_MODIFIED);
        // Another fill completes a response that is stored in part.
        if is_of_old || matches!(self.missed.stored, Prior::Sparse(_)) {
            self.has_led = false;
            return is_last_look;
        }
        self.outcome.refusal = Some(Refusal::StoreLost);
        if self.has_led {
            let Engine { config, uncacheable, .. } = &*self.engine;
            let (primary, fields, now) = (&self.target.primary, HeaderMap::new(), config.clock.now());
            uncacheable.remember(primary, Vec::new(), &fields, Refusal::StoreLost, now);
        }
        true
    }

    /// Waits for the store no longer if this answer has waited long enough, and says whether it has. An answer waits only
    /// once for a store that hangs.
    pub(super) fn stops_waiting(&mut self) -> bool {
        let is_enough = self.missed.store_failed.is_some_and(|waited| self.engine.records.is_enough(waited));
        if is_enough {
            self.outcome.refusal = Some(Refusal::StoreFailed);
        }
        is_enough
    }

    /// Takes the knowledge of the store that a fill begins with.
    pub(super) fn take_prior(&mut self) -> Prior {
        let Missed { stored, gone_before, store_failed, .. } = &mut self.missed;
        match (mem::take(stored), *gone_before, *store_failed) {
            (Prior::Nothing, Some(gone), _) => Prior::Gone(gone),
            (Prior::Nothing, None, Some(waited)) => Prior::Unknown(waited),
            (stored, ..) => stored,
        }
    }

    /// Answers from `entry`. Returns `None` if the first byte of the answer is missing, or the inner service must judge
    /// the request.
    pub(super) async fn serve<B>(&self, entry: &Arc<Entry>) -> Option<Response<ResponseBody<B>>> {
        if is_for_the_origin(entry, &self.request) {
            return None;
        }
        serve::supplied(&self.engine, entry, &self.request, self.outcome, &self.fetcher).await
    }

    /// The inner service's answer, passed on.
    pub(super) fn passed<B>(&self, response: Response<B>) -> Response<ResponseBody<B>> {
        let Engine { config, rankings, .. } = &*self.engine;
        if let Some(refusal) = self.outcome.refusal {
            rankings.add_refused(self.target.key.as_bytes(), refusal.name());
        }
        serve::pass(response, self.outcome, config.signature(Some(&self.target.key)), &config.policy)
    }
}
