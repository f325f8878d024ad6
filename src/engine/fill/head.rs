//! The answer to a HEAD as news of the stored response (RFC 9111 §4.3.5).

use std::sync::Arc;

use http::{header::HeaderMap, request, Method, StatusCode};

use super::{
    delivery::{For, Known},
    invalidated::Seen,
    task::Fill,
};
use crate::{
    engine::state::{
        entry::{Entry, Target},
        flight::Role,
        lease::{Claim, Held},
        records::Waited,
        Engine,
    },
    format::key::{lease_key, Slot},
    semantics::{
        cache_status::Refusal,
        freshness::Exchange,
        validation::{head_says, is_of_a_client, HeadSays, News},
    },
    store::Lease,
};

/// The lease of `slot`, if there are leases; an error if another node has it.
pub(super) async fn at_once(engine: &Engine, slot: &Slot) -> Result<Option<Held>, Refusal> {
    let Some(mut claim) = Claim::new(&engine.records, engine.config.lease_time, lease_key(slot)) else {
        return Ok(None);
    };
    match claim.ask().await {
        Ok(Lease::Granted) => Ok(Some(Held::of(claim))),
        Ok(Lease::Taken) => Err(Refusal::LeaseLost),
        Ok(Lease::NotOffered) | Err(_) => Ok(None),
    }
}

/// Takes the answer to a request that went alone for news of the stored response: of a HEAD's 200, updates what a GET would
/// have found, or takes it out (RFC 9111 §4.3.5); of a refusal, ends its use as stale.
///
/// `revocations` is their count when the request was forwarded, and `seen` the mark that was there: what was invalidated
/// since, here or elsewhere, is not put back. Where a fill is
/// under way, its news is better.
///
/// # Cancel safety
///
/// To be run in a task: a put that is dropped may happen yet, and then nobody who invalidates would wait for it.
pub(crate) async fn heed(
    engine: Arc<Engine>,
    target: Arc<Target>,
    mut asked: request::Parts,
    entry: Arc<Entry>,
    (status, answer): (StatusCode, HeaderMap),
    exchange: Exchange,
    (revocations, seen): (u64, Seen),
) {
    let Role::Lead(mut permit) = engine.flights.join(&entry.slot, &target.primary) else {
        return;
    };
    match at_once(&engine, &entry.slot).await {
        Ok(Some(held)) => permit.hold(held),
        Ok(None) => {}
        Err(_) => return,
    }
    let in_store = engine.records.record(&entry.slot).await;
    let is_there = matches!(in_store, Ok(Some(record)) if record == entry.record);
    if !is_there || engine.flights.revocations() != revocations {
        return;
    }
    let says = head_says(&entry.manifest.headers, entry.manifest.layout.length, &answer);
    let is_fresh = entry.freshness.is_fresh(exchange.received);
    let (news, records) = (News::of(&asked.headers, status, Refusal::Status), Arc::clone(&engine.records));
    asked.method = Method::GET;
    let directives = engine.directives(&asked);
    let (stored, window, whom) = (Known::Nothing, None, For::Later);
    let share = engine.budget.share(|| false);
    let began = engine.config.clock.now();
    let (waited, forgoes) = (Waited::default(), false);
    #[rustfmt::skip]
    let fill = Fill { engine, target, asked, directives, stored, began, seen, waited, forgoes, window, whom, share };
    match says {
        _ if news == News::Gone && !is_fresh => entry.forget(&records).await,
        _ if matches!(news, News::Gone | News::Withdrawn) => fill.withdraw(&entry, &permit).await,
        HeadSays::Same => drop(fill.freshen(&entry, &answer, exchange, &permit).await),
        // What one client was told says nothing of what others may have, nor of what may be used without a word.
        HeadSays::Another if !is_fresh && !is_of_a_client(&fill.asked.headers) => {
            entry.forget(&records).await;
        }
        HeadSays::Another | HeadSays::Nothing => {}
    }
}
