//! Decides whether a whole answer may be stored, and promises its room in the store.
//!
//! RFC 9111 §3 (storing).

use http::response;

use super::{
    delivery::{Prior, Purpose},
    draft::Draft,
    task::FillTask,
};
use crate::{
    engine::state::{entry::Entry, records::CHUNK_OVERHEAD},
    format::{key::Generation, layout::Layout},
    semantics::{
        cache_status::Refusal,
        etag::has_validator,
        freshness::{Exchange, Freshness},
        place::Place,
        storable::{is_late, storable},
    },
    settings::Mode,
};

/// The permission to store a response.
pub(super) struct Admitted {
    /// The record to commit, as far as it is known before the body.
    pub(super) draft: Draft,
    pub(super) length: Option<u64>,
    /// The store has no room for the whole.
    pub(super) paced: bool,
}

impl FillTask {
    /// Permits to store the response, if it may be stored and the store has room for it.
    pub(super) fn admit(
        &self,
        parts: &response::Parts,
        body_length: Option<u64>,
        exchange: Exchange,
    ) -> Result<Admitted, Refusal> {
        if self.forgoes {
            return Err(Refusal::StoreFailed);
        }
        let (asked, place, policy) =
            (&self.asked.headers, Place::of(&self.asked), &self.engine.config.policy);
        let length = storable(asked, &place, parts.status, &parts.headers, body_length, exchange, policy)?;
        self.may_replace(parts, &place, exchange)?;
        let paced = !self.promise_room(length)?;
        let generation = Generation::random().ok_or(Refusal::StoreFailed)?;
        let layout = Layout { generation, chunk_size: self.chunk_size(), length: length.unwrap_or(0) };
        let fields = self.fields_to_store(&parts.headers, exchange.received);
        let membership = self.membership(parts.status, &parts.headers);
        Ok(Admitted { draft: Draft::new(parts.status, fields, exchange, layout, membership), length, paced })
    }

    /// Refuses an answer that may be for one client alone, or too early, where others have a response that they may use
    /// without asking.
    fn may_replace(&self, parts: &response::Parts, place: &Place, exchange: Exchange) -> Result<(), Refusal> {
        let policy = &self.engine.config.policy;
        let is_fresh = |entry: &Entry| entry.freshness.is_fresh(exchange.received);
        let is_early = policy.is_missing_media(&place.path, parts.status);
        match &self.stored {
            Prior::Stale(entry) if is_fresh(entry) => {
                if Freshness::of(parts.status, &parts.headers, exchange, policy).is_of_a_cookie() {
                    return Err(Refusal::Cookie);
                }
                let is_there = is_early && entry.manifest.status.is_success();
                if is_there { Err(Refusal::Status) } else { Ok(()) }
            }
            Prior::Sparse(entry) if is_early && is_fresh(entry) => Err(Refusal::Status),
            Prior::Others(variants) if is_early && !variants.is_empty() => Err(Refusal::Status),
            _ => Ok(()),
        }
    }

    /// Whether the response is of no use any more, now that its bytes are known: a live playlist that was old when it
    /// came.
    pub(super) fn has_had_its_time(&self, draft: &Draft) -> bool {
        let Draft { status, ref headers, exchange, own_etag, playlist, .. } = *draft;
        let (place, policy) = (Place::of(&self.asked), &self.engine.config.policy);
        // The inner service does not know a tag of the cache's own.
        let can_be_asked_about = !own_etag && has_validator(headers);
        !can_be_asked_about && is_late(playlist, &place, status, headers, exchange, policy)
    }

    /// Promises the room for a body of this length, and returns whether the whole has room.
    ///
    /// # Errors
    ///
    /// The store has no room, not even for a body that is read while it comes.
    fn promise_room(&self, length: Option<u64>) -> Result<bool, Refusal> {
        let (config, budget) = (&self.engine.config, &self.engine.budget);
        let size = u64::from(self.chunk_size());
        let weight = |bytes: u64| bytes.saturating_add(bytes.div_ceil(size).saturating_mul(CHUNK_OVERHEAD));
        let bytes = weight(length.unwrap_or(0));
        if self.share.promise(bytes) {
            return Ok(true);
        }
        // A response that is read while it comes needs room only for the chunks between the pour and its readers.
        let is_read = config.fill.mode != Mode::Whole && self.purpose == Purpose::Client;
        let ahead = || weight(config.lead(self.chunk_size()).saturating_add(size));
        if is_read && self.share.promise(ahead()) {
            return Ok(false);
        }
        let could_be = is_read || budget.could_hold(bytes);
        Err(if could_be { Refusal::NoRoom } else { Refusal::TooLarge })
    }
}
