//! Takes stored responses out on behalf of an operator, or ends their freshness.
//!
//! RFC 9111 §4.4 (invalidation), by an operator instead of a request.

use std::{sync::Arc, time::Duration};

use super::{
    invalidate::revoke,
    state::{Engine, entry::Target},
};
use crate::{
    error::Error,
    format::{
        manifest::{Manifest, Record},
        purges::Selector,
    },
    futures::both,
    semantics::{
        freshness::Ended,
        purge::{Fate, key_hash},
    },
};

/// Purges the responses that are stored for a key, all variants. Returns whether there were any.
///
/// Fills under way commit nothing any more, here and on other nodes. Run this in a task: it must not be dropped between
/// its steps.
pub(crate) async fn purge(engine: Arc<Engine>, target: Target, fate: Fate) -> Result<bool, Error> {
    let log = async {
        // Nodes with stores of their own hear of it by the log alone.
        match engine.config.purge_log {
            Some(_) => engine.purges.append(fate, vec![Selector::Set(key_hash(target.key.as_bytes()))]).await,
            None => Ok(()),
        }
    };
    let (told, found) = both(Box::pin(log), Box::pin(purge_here(&engine, &target, fate))).await;
    let found = found?;
    told.map(|()| found)
}

/// Purges them in the store of this node.
async fn purge_here(engine: &Engine, target: &Target, fate: Fate) -> Result<bool, Error> {
    if fate != Fate::Gone && end(engine, target, fate == Fate::Invalid).await.is_some() {
        return Ok(true);
    }
    let Engine { records, tombstones, .. } = engine;
    let found = matches!(records.record(&target.primary).await, Ok(Some(_)));
    // Twice: a fill that found the record before the first removal, and got a lease or saw the mark after it had been left,
    // loses both again, and commits nothing.
    let mut is_out = true;
    for _ in 0..2 {
        revoke(engine, target).await;
        is_out = tombstones.invalidate(records, &target.primary).await;
    }
    if is_out { Ok(found) } else { Err(unknown()) }
}

/// Puts the record of the response back as one whose freshness has ended. Returns `None` if that cannot be done, so that the
/// response must be removed.
async fn end(engine: &Engine, target: &Target, must_be_validated: bool) -> Option<()> {
    let Engine { records, tombstones, config, store, .. } = engine;
    let Target { key, primary, .. } = target;
    // A nearer store may give a record that another node has removed from the farther one.
    if !store.lag().is_zero() {
        return None;
    }
    revoke(engine, target).await;
    // Fills of other nodes cannot commit what they asked for before this.
    if !tombstones.bar_others(records, primary).await {
        return None;
    }
    let mark = records.last_invalidation(primary).await.ok()?;
    let record = records.record(primary).await.ok()??;
    // The variants of a key have records of their own, which only a request can find. They go with their mark.
    let Some(Record::Response(manifest)) = Record::decode(&record).filter(|_| !tombstones.holds(primary))
    else {
        return None;
    };
    if manifest.key != *key {
        return None;
    }
    let ended = Ended { at: config.clock.now(), must_be_validated };
    let record = Record::Response(Manifest { purged: Some(ended), ..manifest });
    records.put_record(primary, &record).await.ok()?;
    // Another node may have removed the response meanwhile. It left its mark before that.
    if records.last_invalidation(primary).await.ok()? != mark {
        return None;
    }
    // A fill that read the record before the put could still commit it as it was.
    revoke(engine, target).await;
    if !tombstones.bar_others(records, primary).await {
        return None;
    }
    let left = records.record(primary).await.ok()??;
    (left == record.encode()).then_some(())
}

fn unknown() -> Error {
    Error::store(
        "the store did not confirm the removal; this node ignores the response, and tries again".into(),
    )
}

/// How long other nodes may still use what they hold of a response that was purged by its key.
pub(crate) fn effective_within(engine: &Engine) -> Duration {
    let by_log = engine.config.purge_log.as_ref().map_or(Duration::ZERO, |_| engine.purges.age());
    engine.store.lag().max(by_log)
}
