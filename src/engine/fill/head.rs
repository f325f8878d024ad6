//! Updates or removes a stored response by an answer that is not stored itself, such as the answer to a HEAD.
//!
//! RFC 9111 §4.3.5 (freshening responses with HEAD).

use std::sync::Arc;

use http::{Method, StatusCode, header::HeaderMap, request};

use super::{
    delivery::{Prior, Purpose},
    invalidated::Seen,
    task::FillTask,
};
use crate::{
    engine::state::{
        Engine,
        entry::{Entry, Target},
        flight::Role,
        lease::{Claim, Held},
        records::Waited,
    },
    format::key::{Slot, lease_key},
    semantics::{
        cache_status::Refusal,
        freshness::Exchange,
        validation::{HeadSays, News, head_says, is_of_a_client},
    },
    store::Lease,
};

/// An answer about a stored response that is not stored itself.
pub(crate) struct LoneAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) exchange: Exchange,
    pub(crate) before: Before,
}

/// The invalidations up to the time when a request was forwarded.
pub(crate) struct Before {
    revocations: u64,
    seen: Seen,
}

impl Before {
    /// The invalidations of `target` up to now.
    pub(crate) async fn of(engine: &Engine, target: &Target) -> Self {
        let revocations = engine.flights.revocations();
        Self { revocations, seen: Seen::before_a_question(engine, &target.primary).await }
    }

    /// The same for a request without a stored response: the store is not asked.
    pub(crate) fn unseen(engine: &Engine) -> Self {
        Self { revocations: engine.flights.revocations(), seen: Seen::Nothing }
    }
}

/// Gets the lease of `slot` at once, if the store has leases.
///
/// # Errors
///
/// Another node has the lease.
pub(super) async fn at_once(engine: &Engine, slot: &Slot) -> Result<Option<Held>, Refusal> {
    let Some(mut claim) = Claim::new(&engine.records, engine.config.timeouts.lease, lease_key(slot)) else {
        return Ok(None);
    };
    match claim.ask().await {
        Ok(Lease::Granted) => Ok(Some(Held::of(claim))),
        Ok(Lease::Taken) => Err(Refusal::LeaseLost),
        Ok(Lease::NotOffered) | Err(_) => Ok(None),
    }
}

/// Updates the stored response by the answer to a request that went alone.
///
/// A 200 to a HEAD updates or removes the response that a GET would have found (RFC 9111 §4.3.5). A refusal ends the
/// use of the response as stale. If a fill is under way, this answer is dropped, because the fill has better news.
///
/// A response that was invalidated since the request was forwarded, here or on another node, is not put back.
///
/// # Cancel safety
///
/// Run this in a task. A dropped put may still happen, and no invalidation would wait for it.
pub(crate) async fn heed(
    engine: Arc<Engine>,
    target: Arc<Target>,
    mut asked: request::Parts,
    entry: Arc<Entry>,
    answer: LoneAnswer,
) {
    let LoneAnswer { status, headers: answer, exchange, before: Before { revocations, seen } } = answer;
    let Role::Lead(mut permit) = engine.flights.join(&entry.slot, &target.primary, exchange.purges) else {
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
    let (stored, window, purpose) = (Prior::Nothing, None, Purpose::Background);
    let share = engine.budget.share(|| false);
    let began = engine.config.clock.now();
    let (waited, forgoes, came_as_a_part, if_range) = (Waited::default(), false, false, None);
    #[rustfmt::skip]
    let fill = FillTask { engine, target, asked, directives, stored, began, seen, waited, forgoes, window, if_range, came_as_a_part, purpose, share };
    match says {
        _ if news == News::Gone && !is_fresh => entry.forget(&records).await,
        _ if matches!(news, News::Gone | News::Withdrawn) => fill.withdraw(&entry, &permit).await,
        HeadSays::Same => drop(fill.freshen(&entry, &answer, exchange, &permit).await),
        // An answer to one client's credentials says nothing about other clients. No answer removes a response that may
        // be used without asking.
        HeadSays::Another if !is_fresh && !is_of_a_client(&fill.asked.headers) => {
            entry.forget(&records).await;
        }
        HeadSays::Another | HeadSays::Nothing => {}
    }
}
