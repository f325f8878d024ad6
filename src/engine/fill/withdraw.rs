//! Removes or withdraws a stored response after an answer that may not be stored.
//!
//! RFC 9111 §4.2.4 (stale responses), §4.3.3 (answers to a validation).

use std::sync::Arc;

use http::{StatusCode, header::HeaderMap};

use super::{delivery::Prior, draft::Draft, task::FillTask};
use crate::{
    engine::state::{
        entry::Entry,
        flight::{Landing, Permit},
    },
    semantics::{
        cache_status::Refusal,
        validation::{News, is_of_a_client},
    },
};

impl FillTask {
    /// Ends the flight of a response that may not be stored, and remembers the refusal.
    pub(super) async fn refused(
        &self,
        refusal: Refusal,
        status: StatusCode,
        headers: &HeaderMap,
        permit: Permit,
    ) {
        // An error or a redirection may be for this client alone, or over in a moment.
        if refusal != Refusal::Status || status.is_success() {
            self.remember(refusal, headers);
        }
        self.heed(refusal, status, &permit).await;
        // A request without credentials or cookies may get a response that can be stored. Requests like this one are
        // remembered.
        let is_for_owner = refusal.is_of_the_client() && is_of_a_client(&self.asked.headers);
        permit.land(if is_for_owner { Landing::Broken } else { Landing::Passed });
    }
}

impl FillTask {
    /// Removes or withdraws the stored response that the fill asked about, if the answer says that it is no longer
    /// good.
    ///
    /// A fresh response stays: a request field that is in no key may have selected the answer, and no client may remove
    /// a response that all clients may use without asking.
    pub(super) async fn heed(&self, refusal: Refusal, status: StatusCode, permit: &Permit) {
        let Prior::Stale(stale) = &self.stored else {
            return;
        };
        let is_fresh = stale.freshness.is_fresh(self.engine.config.clock.now());
        match News::of(&self.asked.headers, status, refusal) {
            News::Gone | News::Replaced if !is_fresh => stale.forget(&self.engine.records).await,
            News::Gone | News::Withdrawn => self.withdraw(stale, permit).await,
            News::Replaced | News::Nothing => {}
        }
    }

    /// Withdraws a stored response: the cache no longer serves it stale. Its bytes stay, so that they need not be
    /// fetched again if a later validation finds them good.
    pub(super) async fn withdraw(&self, entry: &Arc<Entry>, permit: &Permit) {
        let records = &self.engine.records;
        let in_store = records.record(&entry.slot).await;
        let is_there = matches!(in_store, Ok(Some(record)) if record == entry.record);
        if !is_there || !entry.freshness.may_be_stale() {
            return;
        }
        let draft = Draft { withdrawn: true, ..Draft::of(&entry.manifest) };
        if self.commit(&draft, permit).await.is_err() {
            entry.forget(records).await;
        }
    }
}
