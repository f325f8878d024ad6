//! Takes stored responses out: those that an unsafe request invalidates, and those whose bytes are gone.
//!
//! RFC 9111 §4.4 (invalidation).

use super::{
    lookup::{Entry, Target},
    records::Records,
    Engine,
};

/// Takes out what is stored for a key, and forbids fills under way to put it back.
///
/// The flights are revoked first: a fill that commits between the two looks once more after its commit, and takes
/// it back.
pub(crate) async fn invalidate(engine: &Engine, target: &Target) {
    engine.flights.revoke(&target.primary);
    engine.passes.forget(&target.primary);
    // A store that cannot remove leaves the response to its own freshness, as if this cache were not told.
    let _ = engine.records.remove_record(&target.primary).await;
}

/// Takes out an entry whose bytes are gone, unless another one has taken its place.
pub(crate) async fn forget(records: &Records, entry: &Entry) {
    if let Ok(Some(record)) = records.record(&entry.slot).await {
        if record == entry.record {
            // If it stays, the next request finds the same chunk gone, and comes here again.
            let _ = records.remove_record(&entry.slot).await;
        }
    }
}
