//! Elects the node that fills a slot: of all nodes that share a store, one at a time calls the inner service.
//!
//! The lease is of the flight's slot, not of the key. Otherwise a request for one variant would wait for the video of
//! another. So an invalidation of the key cannot name the leases of its variants. Instead, the fill of a variant looks
//! for the mark that its slot hangs on: the invalidation removes that mark with the key's own record. During its
//! commit, the fill of a variant also has a lease of the key, which the invalidation can name.

use std::time::SystemTime;

use tokio::time::timeout;

use super::{
    delivery::{Delivery, Prior, Purpose},
    invalidated::Seen,
    task::FillTask,
};
use crate::{
    clock::moment,
    engine::{
        inner::Inner,
        lookup::{Look, lookup},
        state::{
            Engine,
            entry::{Accepted, Entry},
            flight::{Landing, Permit},
            lease::{Claim, Held},
            records,
        },
    },
    error::Error,
    format::key::{Generation, lease_key},
    futures::{Raced, race},
    semantics::{cache_status::Refusal, freshness::Reuse},
    store::Lease,
};

/// Why a fill must not call the inner service.
pub(crate) enum NotElected {
    /// Another node does the work of this fill, or did it. The fill ends with this landing.
    Elsewhere(Landing),
    /// While this fill waited, other fills took all the places.
    Full,
    /// The store does not answer, so no response can be stored. Each request asks the inner service alone.
    Unstorable,
    /// Another node still has the lease. The leader has waited long enough, but later followers have not.
    Late(Box<Claim>),
}

impl NotElected {
    /// Ends the flight, and returns the delivery for its leader.
    pub(crate) fn land<B, E>(self, permit: Permit) -> Delivery<B, E> {
        let (landing, delivery) = match self {
            Self::Elsewhere(landing) => (landing, Delivery::Elsewhere(landing)),
            Self::Full => (Landing::Passed, Delivery::Refused(Refusal::TooManyFills)),
            Self::Late(_) => (Landing::Passed, Delivery::Refused(Refusal::WaitedTooLong)),
            Self::Unstorable => (Landing::Passed, Delivery::Refused(Refusal::StoreFailed)),
        };
        permit.land(landing);
        delivery
    }
}

impl FillTask {
    /// Gets the lease of the flight's slot, if the store has leases, and waits for it while another node fills.
    pub(crate) async fn lease<S: Clone>(
        &mut self,
        inner: &mut Inner<S>,
        permit: &mut Permit,
    ) -> Result<(), NotElected> {
        let Some(mut claim) =
            Claim::new(&self.engine.records, self.engine.config.timeouts.lease, lease_key(permit.slot()))
        else {
            return self.go_without().await;
        };
        match claim.ask().await {
            Ok(Lease::Granted) => {
                let held = Held::of(claim);
                may_fill(permit)?;
                // Before this node got the lease, another node may have stored the response.
                if let Some(generation) = self.brought().await? {
                    return Err(NotElected::Elsewhere(Landing::Stored(generation)));
                }
                permit.hold(held);
                Ok(())
            }
            Ok(Lease::Taken) if self.purpose == Purpose::Background => {
                if let Prior::Stale(entry) = &self.stored {
                    self.engine.remote_refreshes.remember(entry, moment());
                }
                Err(NotElected::Elsewhere(Landing::Abandoned))
            }
            Ok(Lease::Taken) => {
                inner.release();
                // A fill that waits for another node needs no place among the fills.
                self.share.leave_place();
                let limit = self.engine.config.timeouts.follower;
                match timeout(limit, self.wait(&mut claim, permit)).await {
                    Ok(waited) => self.after(waited, claim, permit).await,
                    Err(_) => Err(NotElected::Late(Box::new(claim))),
                }
            }
            Err(error) if self.has_waited_enough(records::Waited::of(&error)) => self.forgo(),
            Ok(Lease::NotOffered) | Err(_) => self.go_without().await,
        }
    }

    /// Reads the invalidation mark, by which a fill without a lease goes.
    async fn go_without(&mut self) -> Result<(), NotElected> {
        match Seen::now(&self.engine.records, &self.target.primary).await {
            Ok(seen) => self.seen = seen,
            Err(error) if error.is_left_alone() || self.has_waited_enough(records::Waited::of(&error)) => {
                return self.forgo();
            }
            // The error may be momentary.
            Err(_) => {}
        }
        let was_invalidated = matches!(self.seen, Seen::Mark(Some(_)));
        // The entry may have been removed before the mark was read.
        match &self.stored {
            // The fill completes it without a question about the whole.
            Prior::Sparse(_) => {
                if let Some(generation) = self.brought().await? {
                    return Err(NotElected::Elsewhere(Landing::Stored(generation)));
                }
            }
            // A 304 must not bring it back.
            Prior::Stale(_) if was_invalidated => self.forget_what_is_removed().await,
            Prior::Others(variants) if was_invalidated && !variants.is_empty() => {
                self.forget_what_is_removed().await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Forgets the response that the request found, or the variants, if the record of the key is gone by now.
    async fn forget_what_is_removed(&mut self) {
        let Engine { records, tombstones, .. } = &*self.engine;
        let primary = &self.target.primary;
        if tombstones.holds(primary) || matches!(records.record(primary).await, Ok(None)) {
            self.stored = Prior::Nothing;
        }
    }

    /// Adds a wait for the failing store, and says whether the fill has waited long enough.
    fn has_waited_enough(&mut self, waited: records::Waited) -> bool {
        self.waited = self.waited.and(waited);
        self.engine.records.is_enough(self.waited)
    }

    /// Gives up storing. The fill goes on only for a stale response, which may still be good or stand in for an error.
    fn forgo(&mut self) -> Result<(), NotElected> {
        self.forgoes = true;
        match self.stored {
            Prior::Stale(_) => Ok(()),
            _ => Err(NotElected::Unstorable),
        }
    }

    /// Goes on waiting for the followers that came after the leader. Each of them waits up to the same limit.
    pub(crate) async fn lease_late(
        &mut self,
        mut claim: Claim,
        permit: &mut Permit,
    ) -> Result<(), NotElected> {
        let waited = self.wait(&mut claim, permit).await;
        self.after(waited, claim, permit).await
    }

    /// Waits until another node's lease ends, or until the response is stored. A node that died after its commit does
    /// not give its lease back.
    async fn wait(&mut self, claim: &mut Claim, permit: &Permit) -> Waited {
        let asking = async {
            loop {
                match claim.ask_again().await {
                    Ok(Lease::Taken) => {}
                    lease => return Waited::Over(lease),
                }
                match self.brought().await {
                    Ok(None) => {}
                    Ok(Some(generation)) => return Waited::Brought(generation),
                    Err(not_elected) => return Waited::InVain(not_elected),
                }
            }
        };
        match race(permit.deserted(), asking).await {
            Raced::First(()) => Waited::Deserted,
            Raced::Second(waited) => waited,
        }
    }

    /// Decides how the fill goes on after a wait.
    async fn after(&mut self, waited: Waited, claim: Claim, permit: &mut Permit) -> Result<(), NotElected> {
        let lease = match waited {
            Waited::Over(lease) => lease,
            Waited::Brought(generation) => return Err(NotElected::Elsewhere(Landing::Stored(generation))),
            // The policy for abandoned fills does not count here: the fill is another node's.
            Waited::Deserted => return Err(NotElected::Elsewhere(Landing::Abandoned)),
            Waited::InVain(not_elected) => return Err(not_elected),
        };
        let held = matches!(lease, Ok(Lease::Granted)).then(|| Held::of(claim));
        may_fill(permit)?;
        if held.is_none() {
            self.go_without().await?;
        }
        if let Some(generation) = self.brought().await? {
            return Err(NotElected::Elsewhere(Landing::Stored(generation)));
        }
        let comes_after_a_pass = match &held {
            Some(held) => held.comes_after_a_pass().await,
            None => false,
        };
        if comes_after_a_pass {
            return Err(NotElected::Elsewhere(Landing::Passed));
        }
        if !self.share.take_place(&self.engine.fills) {
            return Err(NotElected::Full);
        }
        if let Some(held) = held {
            permit.hold(held);
        }
        Ok(())
    }

    /// Finds the response that another node has stored since this fill's request looked. If there is none, the fill
    /// goes by the store's content of now.
    async fn brought(&mut self) -> Result<Option<Generation>, NotElected> {
        let Self { engine, target, asked, directives, .. } = &*self;
        // The record waits to be removed, and is out before this fill commits. A lookup now would retry the removal and
        // take the leases of fills under way.
        if engine.tombstones.holds(&target.primary) {
            return Ok(None);
        }
        match lookup(engine, target, &asked.headers, directives, Accepted::Nothing).await {
            Look::Failed(waited) => {
                if self.has_waited_enough(waited) {
                    self.forgo()?;
                }
            }
            Look::Found(entry, ..) if self.stored.is_gone(&entry) => {}
            Look::Found(entry, reuse, _) => {
                let is_usable = match reuse {
                    Reuse::AsItIs => true,
                    // A fill in the background is the refresh itself.
                    Reuse::WhileRevalidated => self.purpose == Purpose::Client,
                    Reuse::Validated(_) | Reuse::ValidatedForOne(_) => false,
                };
                if is_usable && engine.is_half_good(&entry, asked, directives) {
                    self.stored = Prior::Sparse(entry);
                } else if is_usable || self.stored.is_older_than(&entry, self.began) {
                    // The response may be stale by now. A follower may get such a response, too.
                    return Ok(Some(entry.generation()));
                } else {
                    self.stored = Prior::Stale(entry);
                }
            }
            Look::Nothing(_, _, others) => self.stored = Prior::Others(others),
        }
        Ok(None)
    }
}

/// Ends a fill that waited for the lease while its flight was revoked. It could store nothing, and the flight after it
/// would wait for it.
fn may_fill(permit: &Permit) -> Result<(), NotElected> {
    if permit.is_revoked() { Err(NotElected::Elsewhere(Landing::Broken)) } else { Ok(()) }
}

/// The result of a wait for another node's lease.
enum Waited {
    /// Another node has stored the response.
    Brought(Generation),
    /// No request waits any more.
    Deserted,
    /// The store does not answer any more.
    InVain(NotElected),
    /// The lease ended, or the store cannot tell.
    Over(Result<Lease, Error>),
}

impl Prior {
    /// Whether the bytes of this record were just found gone.
    fn is_gone(&self, entry: &Entry) -> bool {
        matches!(self, Self::Gone(generation) if *generation == entry.generation())
    }

    /// Whether `entry` was stored after this was known, at `began`.
    ///
    /// The clocks of the storing nodes decide, and they may be a little wrong. If a clock makes the entry look older,
    /// the entry is validated once more.
    fn is_older_than(&self, entry: &Entry, began: SystemTime) -> bool {
        let received = entry.manifest.exchange.received;
        match self {
            Self::Gone(_) | Self::Nothing | Self::Others(_) => received >= began,
            Self::Sparse(known) | Self::Stale(known) => {
                // An operator's purge makes another record, and no newer response.
                let is_new = entry.manifest.purged.is_none() && known.record != entry.record;
                is_new && received >= known.manifest.exchange.received
            }
            Self::Unknown(_) => false,
        }
    }
}
