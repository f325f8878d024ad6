//! A fill's leave among nodes: of all that share a store, one at a time calls the inner service for a slot.
//!
//! The lease is of the flight's slot, and not of the key: else who wants one variant would wait for the video of another.
//! So whoever invalidates a key cannot name the leases of its variants; the fill of one looks instead for the mark that
//! its slot hangs on, which goes with the key's own record; and has a lease that can be named while it commits.

use std::time::SystemTime;

use tokio::time::timeout;

use super::{
    delivery::{Delivery, For, Known},
    invalidated::Seen,
    task::Fill,
};
use crate::{
    clock::moment,
    engine::{
        inner::Inner,
        lookup::{lookup, Look},
        state::{
            entry::{Accepted, Entry},
            flight::{Landing, Permit},
            lease::{Claim, Held},
            records,
        },
    },
    error::Error,
    format::key::{lease_key, Generation},
    futures::{race, Raced},
    semantics::{cache_status::Refusal, freshness::Reuse},
    store::Lease,
};

/// Why a fill is not to call the inner service.
pub(crate) enum NotGiven {
    /// Another node does what it is for, or did: this is how it ends.
    Elsewhere(Landing),
    /// Other fills began while it waited, as many as may be.
    Full,
    /// The store does not answer, so nothing can be stored: who wants something asks for it alone.
    Unstorable,
    /// The lease is another node's still, and who led this has waited long enough. Who came later has not.
    Late(Box<Claim>),
}

impl NotGiven {
    /// Ends the flight, and gives what there is for the request that led it.
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

impl Fill {
    /// Gets the lease of the flight's slot, if the store has leases, and waits for it while another node fills.
    pub(crate) async fn lease<S: Clone>(
        &mut self,
        inner: &mut Inner<S>,
        permit: &mut Permit,
    ) -> Result<(), NotGiven> {
        let Some(mut claim) =
            Claim::new(&self.engine.records, self.engine.config.lease_time, lease_key(permit.slot()))
        else {
            return self.go_without().await;
        };
        match claim.ask().await {
            Ok(Lease::Granted) => {
                let held = Held::of(claim);
                // Until the lease was this one's, another node may have stored what it is for.
                if let Some(generation) = self.brought().await? {
                    return Err(NotGiven::Elsewhere(Landing::Stored(generation)));
                }
                permit.hold(held);
                Ok(())
            }
            Ok(Lease::Taken) if self.whom == For::Later => {
                if let Known::Stale(entry) = &self.stored {
                    self.engine.remote_refreshes.remember(entry, moment());
                }
                Err(NotGiven::Elsewhere(Landing::Abandoned))
            }
            Ok(Lease::Taken) => {
                inner.release();
                // It is no fill as long as it waits.
                self.share.leave_place();
                let limit = self.engine.config.follower_limit;
                match timeout(limit, self.wait(&mut claim, permit)).await {
                    Ok(waited) => self.after(waited, claim, permit).await,
                    Err(_) => Err(NotGiven::Late(Box::new(claim))),
                }
            }
            Err(error) if self.has_waited_enough(records::Waited::of(&error)) => self.forgo(),
            Ok(Lease::NotOffered) | Err(_) => self.go_without().await,
        }
    }

    /// Sees what a fill without a lease goes by.
    async fn go_without(&mut self) -> Result<(), NotGiven> {
        match Seen::now(&self.engine.records, &self.target.primary).await {
            Ok(seen) => self.seen = seen,
            Err(error) if error.is_left_alone() || self.has_waited_enough(records::Waited::of(&error)) => {
                return self.forgo();
            }
            // A momentary error, perhaps.
            Err(_) => {}
        }
        // It is completed without a question about the whole, and may have been taken out before that was seen.
        match &self.stored {
            Known::Sparse(_) => match self.brought().await? {
                Some(generation) => Err(NotGiven::Elsewhere(Landing::Stored(generation))),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// Whether this was one wait too many for a store that fails.
    fn has_waited_enough(&mut self, waited: records::Waited) -> bool {
        self.waited = self.waited.and(waited);
        self.engine.records.is_enough(self.waited)
    }

    /// Nothing can be stored. What is stale may be good still, or stand in for an error; else there is nothing to do.
    fn forgo(&mut self) -> Result<(), NotGiven> {
        self.forgoes = true;
        match self.stored {
            Known::Stale(_) => Ok(()),
            _ => Err(NotGiven::Unstorable),
        }
    }

    /// Goes on to wait, for those who came after the one that led: each of them waits as long as the limit says.
    pub(crate) async fn lease_late(&mut self, mut claim: Claim, permit: &mut Permit) -> Result<(), NotGiven> {
        let waited = self.wait(&mut claim, permit).await;
        self.after(waited, claim, permit).await
    }

    /// Waits for another node's lease to end, or for what it is for to be stored: who died after that gives none back.
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
                    Err(not_given) => return Waited::InVain(not_given),
                }
            }
        };
        match race(permit.deserted(), asking).await {
            Raced::First(()) => Waited::Deserted,
            Raced::Second(waited) => waited,
        }
    }

    /// What comes after a wait.
    async fn after(&mut self, waited: Waited, claim: Claim, permit: &mut Permit) -> Result<(), NotGiven> {
        let lease = match waited {
            Waited::Over(lease) => lease,
            Waited::Brought(generation) => return Err(NotGiven::Elsewhere(Landing::Stored(generation))),
            // Whatever is to become of a fill that nobody waits for: this one is another node's.
            Waited::Deserted => return Err(NotGiven::Elsewhere(Landing::Abandoned)),
            Waited::InVain(not_given) => return Err(not_given),
        };
        let held = matches!(lease, Ok(Lease::Granted)).then(|| Held::of(claim));
        if held.is_none() {
            self.go_without().await?;
        }
        if let Some(generation) = self.brought().await? {
            return Err(NotGiven::Elsewhere(Landing::Stored(generation)));
        }
        let comes_after_a_pass = match &held {
            Some(held) => held.comes_after_a_pass().await,
            None => false,
        };
        if comes_after_a_pass {
            return Err(NotGiven::Elsewhere(Landing::Passed));
        }
        if !self.share.take_place(&self.engine.fills) {
            return Err(NotGiven::Full);
        }
        if let Some(held) = held {
            permit.hold(held);
        }
        Ok(())
    }

    /// What another node has stored since this fill's request looked. If nothing, the fill goes by what is stored now.
    async fn brought(&mut self) -> Result<Option<Generation>, NotGiven> {
        let Self { engine, target, asked, directives, .. } = &*self;
        // It is out before this fill commits, and takes nobody's lease until then.
        if engine.tombstones.holds(&target.primary) {
            return Ok(None);
        }
        match lookup(engine, target, &asked.headers, directives, Accepted::Nothing).await {
            Look::Failed(waited) => {
                if self.has_waited_enough(waited) {
                    self.forgo()?;
                }
            }
            Look::Found(entry, _) if self.stored.is_gone(&entry) => {}
            Look::Found(entry, reuse) => {
                let is_usable = match reuse {
                    Reuse::AsItIs => true,
                    // Its refresh is what this fill is for.
                    Reuse::WhileRevalidated => self.whom == For::Now,
                    Reuse::Validated(_) | Reuse::ValidatedForOne(_) => false,
                };
                if is_usable && engine.is_half_good(&entry, asked, directives) {
                    self.stored = Known::Sparse(entry);
                } else if is_usable || self.stored.is_older_than(&entry, self.began) {
                    // Stale as it may be by now: who waits for a flight gets such, too.
                    return Ok(Some(entry.generation()));
                } else {
                    self.stored = Known::Stale(entry);
                }
            }
            Look::Nothing(_, _, others) => self.stored = Known::Others(others),
        }
        Ok(None)
    }
}

/// What a wait for another node's lease came to.
enum Waited {
    /// What it was for is stored.
    Brought(Generation),
    /// Nobody waits any more.
    Deserted,
    /// The store does not answer any more.
    InVain(NotGiven),
    /// It ended, or the store cannot tell.
    Over(Result<Lease, Error>),
}

impl Known {
    /// Whether this is a record whose bytes were just found gone.
    fn is_gone(&self, entry: &Entry) -> bool {
        matches!(self, Self::Gone(generation) if *generation == entry.generation())
    }

    /// Whether `entry` was stored after this was known, at `began`: by the clocks of those who stored it, which may be wrong
    /// by a little. Where they make it older than it is, it is validated once more.
    fn is_older_than(&self, entry: &Entry, began: SystemTime) -> bool {
        let received = entry.manifest.exchange.received;
        match self {
            Self::Gone(_) | Self::Nothing | Self::Others(_) => received >= began,
            Self::Sparse(known) | Self::Stale(known) => {
                known.record != entry.record && received >= known.manifest.exchange.received
            }
            Self::Unknown(_) => false,
        }
    }
}
