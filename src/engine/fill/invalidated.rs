//! Tells whether another node invalidated a key while this node filled it.
//!
//! A fill with a lease loses the lease then. A fill without a lease compares the mark that an invalidation leaves:
//! before it asks the inner service, and around its commit. An invalidation leaves the mark before it removes the
//! record, and a fill looks for the mark after its put. So the later of the two sees the other. RFC 9111 §4.4.

use bytes::Bytes;

use crate::{
    engine::state::{
        Engine,
        records::{Records, Waited},
    },
    error::Error,
    format::key::Slot,
    semantics::cache_status::Refusal,
};

/// The mark that a fill saw before it asked the inner service.
pub(crate) enum Seen {
    /// The fill did not look. Its response may be stored under a lease, or if there is no mark at all later.
    Nothing,
    /// The mark of the last invalidation, or none.
    Mark(Option<Bytes>),
}

impl Seen {
    /// Looks for the mark of the key at `primary`.
    pub(super) async fn now(records: &Records, primary: &Slot) -> Result<Self, Error> {
        Ok(Self::Mark(records.last_invalidation(primary).await?))
    }

    /// Looks for the mark before a question to the inner service, if no lease makes that needless.
    pub(crate) async fn before_a_question(engine: &Engine, primary: &Slot) -> Self {
        if engine.records.may_lease() && !engine.config.timeouts.lease.is_zero() {
            return Self::Nothing;
        }
        Self::now(&engine.records, primary).await.unwrap_or(Self::Nothing)
    }

    /// Refuses the commit if the key was invalidated since this mark was seen.
    pub(super) async fn is_valid_still(&self, records: &Records, primary: &Slot) -> Result<(), Refusal> {
        let seen = match self {
            Self::Mark(Some(seen)) => Some(seen),
            Self::Mark(None) | Self::Nothing => None,
        };
        let mut last = records.last_invalidation(primary).await;
        // All of the body has come by now: a momentary error should not lose it.
        if last.as_ref().is_err_and(|error| Waited::of(error) == Waited::default()) {
            last = records.last_invalidation(primary).await;
        }
        match last {
            // A mark that is gone was swept. An invalidation would have left another one.
            Ok(Some(last)) if seen != Some(&last) => Err(Refusal::Invalidated),
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::StoreFailed),
        }
    }
}
