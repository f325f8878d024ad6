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
/// The flights are revoked first, and whichever of them is in its commit is waited for: when this is over, nothing
/// that was asked for before it began is found any more.
pub(crate) async fn invalidate(engine: &Engine, target: &Target) {
    for commit in engine.flights.revoke(&target.primary) {
        drop(commit.lock().await);
    }
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
