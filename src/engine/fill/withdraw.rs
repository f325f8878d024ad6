//! What a refusal of the inner service makes of the stored response that it was asked about.
//!
//! RFC 9111 §4.2.4 (stale responses), §4.3.3 (answers to a validation).

use std::sync::Arc;

use http::{header::HeaderMap, StatusCode};

use super::{commit::Draft, delivery::Known, task::Fill};
use crate::{
    engine::state::{
        entry::Entry,
        flight::{Landing, Permit},
    },
    semantics::{
        cache_status::Refusal,
        validation::{is_of_a_client, News},
    },
};

impl Fill {
    /// What is to be done with a response that may not be stored, beside passing it on.
    pub(super) async fn refused(
        &self,
        refusal: Refusal,
        status: StatusCode,
        headers: &HeaderMap,
        permit: Permit,
    ) {
        // An error or a redirection may be this viewer's alone, or over in a moment.
        if refusal != Refusal::Status || status.is_success() {
            self.remember(refusal, headers);
        }
        self.heed(refusal, status, &permit).await;
        // Those without credentials or cookies may get what can be stored; the others have been remembered.
        let is_for_owner = refusal.is_of_the_client() && is_of_a_client(&self.asked.headers);
        permit.land(if is_for_owner { Landing::Broken } else { Landing::Passed });
    }
}

impl Fill {
    /// Has the stored response that was asked about go the way of an answer that was not stored.
    ///
    /// As long as it is fresh it stays: the answer may have been selected by a field that is in no key, and nobody is to take
    /// out for all what all may use without a word.
    pub(super) async fn heed(&self, refusal: Refusal, status: StatusCode, permit: &Permit) {
        let Known::Stale(stale) = &self.stored else {
            return;
        };
        let is_fresh = stale.freshness.is_fresh(self.engine.config.clock.now());
        match News::of(&self.asked.headers, status, refusal) {
            News::Gone | News::Replaced if !is_fresh => stale.forget(&self.engine.records).await,
            News::Gone | News::Withdrawn => self.withdraw(stale, permit).await,
            News::Replaced | News::Nothing => {}
        }
    }

    /// Ends the use of a stored response as stale. Its bytes stay: the inner service may say one day that they are good, and
    /// then none of them is fetched again.
    pub(super) async fn withdraw(&self, entry: &Arc<Entry>, permit: &Permit) {
        let records = &self.engine.records;
        let in_store = records.record(&entry.slot).await;
        let is_there = matches!(in_store, Ok(Some(record)) if record == entry.record);
        if !is_there || !entry.freshness.may_be_stale() {
            return;
        }
        let draft = Draft { withdrawn: true, ..Draft::of(&entry.manifest) };
        if self.commit(draft, permit).await.is_err() {
            entry.forget(records).await;
        }
    }
}
