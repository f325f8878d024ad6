//! Whether a key was invalidated while it was filled, by a node that this one shares a store with.
//!
//! A fill that has a lease loses it then. One that has none compares the mark which an invalidation leaves: before it asks
//! the inner service, and around its commit. Who invalidates leaves the mark before it takes the record out, and who fills
//! looks for it after its put: so whichever of the two is later sees the other. RFC 9111 §4.4.

use bytes::Bytes;

use super::task::Fill;
use crate::{
    engine::state::{flight::Permit, records::Waited, Engine},
    error::Error,
    format::key::Slot,
    semantics::cache_status::Refusal,
};

/// What a fill saw before it asked the inner service.
pub(crate) enum Seen {
    /// Nothing is known: what comes may be stored under a lease, or if there is no mark at all later.
    Nothing,
    /// This mark of the last invalidation, or none.
    Mark(Option<Bytes>),
}

impl Seen {
    /// What is to be seen now of the key at `primary`, for a question that is about to be asked.
    pub(crate) async fn before_a_question(engine: &Engine, primary: &Slot) -> Self {
        if engine.records.may_lease() && !engine.config.lease_time.is_zero() {
            return Self::Nothing;
        }
        engine.records.last_invalidation(primary).await.map_or(Self::Nothing, Self::Mark)
    }
}

impl Fill {
    /// Sees the mark of the last invalidation.
    pub(super) async fn see(&mut self) -> Result<(), Error> {
        self.seen = Seen::Mark(self.engine.records.last_invalidation(&self.target.primary).await?);
        Ok(())
    }

    /// Whether the key was not invalidated since [`see`](Self::see), where no lease tells.
    pub(super) async fn is_valid_still(&self, permit: &Permit) -> Result<(), Refusal> {
        if permit.lease().is_some() {
            return Ok(());
        }
        let seen = match &self.seen {
            Seen::Mark(Some(seen)) => Some(seen),
            Seen::Mark(None) | Seen::Nothing => None,
        };
        let (records, primary) = (&self.engine.records, &self.target.primary);
        let mut last = records.last_invalidation(primary).await;
        // All of the body has come by now: an error of a moment is not to cost it.
        if last.as_ref().is_err_and(|error| Waited::of(error) == Waited::default()) {
            last = records.last_invalidation(primary).await;
        }
        match last {
            // A mark that is gone was swept: an invalidation leaves another.
            Ok(Some(last)) if seen != Some(&last) => Err(Refusal::Invalidated),
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::StoreFailed),
        }
    }
}
