//! A fill's leave among nodes: of all that share a store, one at a time calls the inner service for a slot.
//!
//! The lease is of the flight's slot, and not of the key: else who wants one variant would wait for the video of another.
//! So whoever invalidates a key cannot name the leases of its variants; the fill of one looks instead for the mark that
//! its slot hangs on, which goes with the key's own record; and has a lease that can be named while it commits.

use std::time::SystemTime;

use tokio::time::timeout;

use super::{
    claim::{Claim, Held},
    Delivery, Fill, For, Known,
};
use crate::{
    engine::{
        flight::{Landing, Permit},
        inner::Inner,
        lookup::{decoded, lookup, Accepted, Decoded, Entry, Look, Target},
        race::{race, Raced},
        Engine,
    },
    error::Error,
    format::key::{commit_key, lease_key, Generation, SelectingField, Slot},
    semantics::{cache_status::Refusal, freshness::Reuse},
    store::Lease,
};

impl Fill {
    /// Gets the lease of the flight's slot, if the store has leases, and waits for it while another node fills; else, how
    /// this fill ends without a call of the inner service.
    pub(super) async fn lease<S, B, E>(
        &mut self,
        inner: &mut Inner<S>,
        permit: &mut Permit,
    ) -> Result<(), (Landing, Delivery<B, E>)>
    where
        S: Clone,
    {
        let Some(mut claim) = Claim::new(&self.engine, lease_key(permit.slot())) else {
            return Ok(());
        };
        let elsewhere = |landing| (landing, Delivery::Elsewhere(landing));
        let mut lease = claim.ask().await;
        let has_waited = matches!(lease, Ok(Lease::Taken));
        if has_waited {
            if self.whom == For::Later {
                return Err(elsewhere(Landing::Abandoned));
            }
            inner.release();
            let waiting = timeout(self.engine.config.follower_limit, self.wait(&mut claim));
            lease = match race(permit.deserted(), waiting).await {
                // Whatever is to become of a fill that nobody waits for: this one is another node's.
                Raced::First(()) => return Err(elsewhere(Landing::Abandoned)),
                Raced::Second(Ok(Waited::Brought(generation))) => {
                    return Err(elsewhere(Landing::Stored(generation)))
                }
                Raced::Second(Ok(Waited::Over(lease))) => lease,
                Raced::Second(Err(_)) => {
                    let delivery = match self.stand_in() {
                        Some(entry) => Delivery::Usable(entry, None, Refusal::StaleIfError),
                        None => Delivery::Refused(Refusal::WaitedTooLong),
                    };
                    return Err((Landing::Passed, delivery));
                }
            };
        }
        let held = matches!(lease, Ok(Lease::Granted)).then(|| Held::of(claim));
        if held.is_none() && !has_waited {
            return Ok(());
        }
        // Until the lease was this one's, another node may have stored what it is for.
        if let Some(generation) = self.brought().await {
            return Err(elsewhere(Landing::Stored(generation)));
        }
        if let Some(held) = held {
            if has_waited && held.comes_after_a_pass().await {
                return Err(elsewhere(Landing::Passed));
            }
            permit.hold(held);
        }
        Ok(())
    }

    /// Waits for another node's lease to end, or for what it is for to be stored: who died after that gives none back.
    async fn wait(&mut self, claim: &mut Claim) -> Waited {
        loop {
            match claim.ask_again().await {
                Ok(Lease::Taken) => {}
                lease => return Waited::Over(lease),
            }
            if let Some(generation) = self.brought().await {
                return Waited::Brought(generation);
            }
        }
    }

    /// What another node has stored since this fill's request looked. If nothing, the fill goes by what is stored now.
    async fn brought(&mut self) -> Option<Generation> {
        let Self { engine, target, asked, directives, .. } = &*self;
        match lookup(engine, target, &asked.headers, directives, Accepted::Nothing).await {
            Look::Failed => {}
            Look::Found(entry, _) if self.stored.is_gone(&entry) => {}
            Look::Found(entry, reuse) => {
                let is_usable = match reuse {
                    Reuse::AsItIs => true,
                    // Its refresh is what this fill is for.
                    Reuse::WhileRevalidated => self.whom == For::Now,
                    Reuse::Validated(_) => false,
                };
                if is_usable && engine.is_half_good(&entry, asked, directives) {
                    self.stored = Known::Sparse(entry);
                } else if is_usable || self.stored.is_older_than(&entry, self.began) {
                    // Stale as it may be by now: who waits for a flight gets such, too.
                    return Some(entry.generation());
                } else {
                    self.stored = Known::Stale(entry);
                }
            }
            Look::Nothing(_, _, others) => self.stored = Known::Others(others),
        }
        None
    }

    /// The lease of a commit that whoever invalidates the key can name, where the flight's own is none.
    ///
    /// Before it is asked for, what is known of the key's own record may be old: another node may have taken it out.
    pub(super) async fn fence(&self, permit: &Permit) -> Result<Option<Held>, Refusal> {
        let primary = &self.target.primary;
        if permit.lease().is_none() || permit.slot() == primary {
            return Ok(None);
        }
        let Some(mut claim) = Claim::new(&self.engine, commit_key(primary)) else {
            return Ok(None);
        };
        let mut lease = claim.ask().await;
        if matches!(lease, Ok(Lease::Taken)) {
            // A commit is a few calls of the store.
            let waiting = timeout(self.engine.config.store_limit, claim.wait());
            lease = waiting.await.unwrap_or(Ok(Lease::Taken));
        }
        match lease {
            Ok(Lease::Granted) => Ok(Some(Held::of(claim))),
            Ok(Lease::Taken) => Err(Refusal::LeaseLost),
            Ok(Lease::NotOffered) | Err(_) => Ok(None),
        }
    }

    /// Whether another node has taken from this fill the right to be found: by a lease of its own, or by an invalidation.
    pub(super) async fn is_overtaken(&self, permit: &Permit) -> bool {
        match permit.lease() {
            Some(lease) => lease.is_lost().await || !self.has_its_mark(permit.slot()).await,
            None => false,
        }
    }

    /// Whether the variants are still there that `slot` is one of, if it is one.
    async fn has_its_mark(&self, slot: &Slot) -> bool {
        let Target { key, primary } = &*self.target;
        if slot == primary {
            return true;
        }
        // A store that cannot tell does not forbid.
        let Ok(record) = decoded(&self.engine, primary).await else {
            return true;
        };
        let Some(Decoded::Variants(variants)) = record.as_deref() else {
            return false;
        };
        let place = |names: &Vec<_>| {
            Slot::variant(key, variants.mark, &SelectingField::all(names, &self.asked.headers))
        };
        variants.key == *key && variants.selecting.iter().any(|names| place(names) == *slot)
    }
}

/// What a wait for another node's lease came to.
enum Waited {
    /// What it was for is stored.
    Brought(Generation),
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
            Self::Unknown => false,
        }
    }
}

/// What becomes of those who wait for a fill that ends so.
pub(super) fn landing(refusal: Refusal) -> Landing {
    // The answer may be stored by now: by whoever has the lease.
    if refusal == Refusal::LeaseLost {
        Landing::Broken
    } else {
        Landing::Passed
    }
}

/// The lease of `slot`, if there are leases; an error if another node has it.
pub(super) async fn at_once(engine: &Engine, slot: &Slot) -> Result<Option<Held>, Refusal> {
    let Some(mut claim) = Claim::new(engine, lease_key(slot)) else {
        return Ok(None);
    };
    match claim.ask().await {
        Ok(Lease::Granted) => Ok(Some(Held::of(claim))),
        Ok(Lease::Taken) => Err(Refusal::LeaseLost),
        Ok(Lease::NotOffered) | Err(_) => Ok(None),
    }
}
