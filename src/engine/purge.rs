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
    format::manifest::{Manifest, Record},
    semantics::freshness::Ended,
};

/// What becomes of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays, and its freshness ends.
    Ended {
        must_be_validated: bool,
    },
    Gone,
}

/// Purges the responses that are stored for a key, all variants. Returns whether there were any.
///
/// Fills under way commit nothing any more, here and on other nodes. Run this in a task: it must not be dropped between
/// its steps.
pub(crate) async fn purge(engine: Arc<Engine>, target: Target, fate: Fate) -> Result<bool, Error> {
    let Engine { records, tombstones, config, .. } = &*engine;
    let Target { key, primary } = &target;
    revoke(&engine, &target).await;
    let before = records.record(primary).await;
    let found = matches!(before, Ok(Some(_)));
    let ended = match (fate, before) {
        (Fate::Ended { must_be_validated }, Ok(Some(record))) => match Record::decode(&record) {
            // The variants of a key have records of their own, which only a request can find. They go with their mark.
            Some(Record::Response(manifest)) if manifest.key == *key => {
                let ended = Ended { at: config.clock.now(), must_be_validated };
                Some(Manifest { purged: Some(ended), ..manifest })
            }
            _ => None,
        },
        (Fate::Ended { .. } | Fate::Gone, _) => None,
    };
    // Fills of other nodes cannot commit what they asked for before this. A response that they ask for from now on may be
    // replaced by the older one: that costs a validation, and gives no client anything old as fresh.
    if let Some(ended) = ended {
        if tombstones.bar_others(records, primary).await {
            let mark = records.last_invalidation(primary).await;
            let put = records.put_record(primary, &Record::Response(ended)).await;
            // Another node may have removed the response meanwhile, for good. It left its mark before that.
            let last = records.last_invalidation(primary).await;
            if put.is_ok() && mark.is_ok_and(|mark| last.is_ok_and(|last| last == mark)) {
                return Ok(found);
            }
        }
    }
    if tombstones.invalidate(records, primary).await { Ok(found) } else { Err(unknown()) }
}

fn unknown() -> Error {
    Error::store(
        "the store did not confirm the removal; this node ignores the response, and tries again".into(),
    )
}

/// How long other nodes may still use what they hold of a response that was purged.
pub(crate) fn effective_within(engine: &Engine) -> Duration {
    engine.store.lag()
}
