//! A fill's leave among nodes: of all that share a store, one at a time calls the inner service for a slot.
//!
//! The lease is of the flight's slot, and not of the key: else who wants one variant would wait for the video of another.
//! So whoever invalidates a key cannot name the leases of its variants; the fill of one looks instead for the mark that
//! its slot hangs on, which goes with the key's own record; and has a lease that can be named while it commits.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::{Duration, SystemTime},
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{Delivery, Fill, For, Known};
use crate::{
    engine::{
        flight::{Landing, Permit},
        inner::Inner,
        lookup::{decoded, lookup, Accepted, Decoded, Entry, Look, Target},
        race::{race, Raced},
        records::Records,
        Engine,
    },
    error::Error,
    format::key::{commit_key, holder, lease_key, passed_key, Generation, SelectingField, Slot},
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
            let waiting = timeout(self.engine.config.follower_limit, claim.wait());
            lease = match race(permit.deserted(), waiting).await {
                // Whatever is to become of a fill that nobody waits for: this one is another node's.
                Raced::First(()) => return Err(elsewhere(Landing::Abandoned)),
                Raced::Second(Ok(lease)) => lease,
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
            if has_waited && held.claim.comes_after_a_pass().await {
                return Err(elsewhere(Landing::Passed));
            }
            permit.hold(held);
        }
        Ok(())
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

/// A lease that was granted: renewed while this lives, then given back.
pub(crate) struct Held {
    claim: Claim,
    is_lost: Arc<AtomicBool>,
    renewing: AbortHandle,
}

impl Held {
    fn of(claim: Claim) -> Self {
        let is_lost = Arc::new(AtomicBool::new(false));
        let (records, key, holder) = (Arc::clone(&claim.records), claim.key.clone(), claim.holder.clone());
        let renewing = tokio::spawn(renewed(records, key, holder, claim.time, Arc::clone(&is_lost)));
        Self { claim, is_lost, renewing: renewing.abort_handle() }
    }

    /// Gives the lease back, after a flight that landed so.
    pub(crate) fn end(mut self, landing: Landing) {
        self.claim.has_passed = landing == Landing::Passed && !self.is_lost.load(Ordering::SeqCst);
    }

    /// Whether it is the holder's no more. A store that cannot tell does not take it away.
    pub(super) async fn is_lost(&self) -> bool {
        if self.is_lost.load(Ordering::SeqCst) {
            return true;
        }
        let Claim { records, key, holder, time, .. } = &self.claim;
        let is_lost = matches!(records.renew(key, holder, *time).await, Ok(false));
        self.is_lost.fetch_or(is_lost, Ordering::SeqCst) || is_lost
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews a lease until it is lost, or this is dropped.
async fn renewed(
    records: Arc<Records>,
    key: String,
    holder: String,
    time: Duration,
    is_lost: Arc<AtomicBool>,
) {
    while !is_lost.load(Ordering::SeqCst) {
        sleep((time / 3).max(FIRST_PAUSE)).await;
        if let Ok(false) = records.renew(&key, &holder, time).await {
            is_lost.store(true, Ordering::SeqCst);
        }
    }
}

/// A lease asked for. Dropped, it is given back, if it may have been granted: a call that was given up may have
/// happened.
struct Claim {
    records: Arc<Records>,
    key: String,
    holder: String,
    /// Random bits.
    dice: u128,
    time: Duration,
    may_be_held: bool,
    /// Its flight landed as [`Passed`](Landing::Passed).
    has_passed: bool,
}

impl Claim {
    /// `None` where there are no leases to be had.
    fn new(engine: &Engine, key: String) -> Option<Self> {
        let (records, time) = (&engine.records, engine.config.lease_time);
        if time.is_zero() || !records.may_lease() {
            return None;
        }
        let name = Generation::random()?;
        let (records, holder) = (Arc::clone(records), holder(name));
        Some(Self { records, key, holder, dice: name.0, time, may_be_held: false, has_passed: false })
    }

    async fn ask(&mut self) -> Result<Lease, Error> {
        self.may_be_held = true;
        let lease = self.records.lease(&self.key, &self.holder, self.time).await;
        self.may_be_held = !matches!(lease, Ok(Lease::NotOffered | Lease::Taken));
        lease
    }

    /// Asks until it is another's no more.
    async fn wait(&mut self) -> Result<Lease, Error> {
        let mut pause = FIRST_PAUSE;
        loop {
            // Nodes that began to wait at once would else meet at each question, and one alone would have its answer.
            self.dice = self.dice.rotate_right(8);
            sleep(pause.mul_f64(0.5 + f64::from(self.dice.to_be_bytes()[0]) / 512.0)).await;
            match self.ask().await {
                Ok(Lease::Taken) => pause = pause.saturating_mul(2).min(LONGEST_PAUSE),
                lease => return lease,
            }
        }
    }

    /// Whether the holder before got an answer that nobody stores. Then all who waited ask for themselves, at once, as
    /// those do who wait for a flight; else they would ask one after another.
    async fn comes_after_a_pass(&self) -> bool {
        let key = passed_key(&self.key);
        match self.records.lease(&key, &self.holder, PASSED_TIME).await {
            Ok(Lease::Taken) => true,
            Ok(Lease::Granted) => {
                // Nothing was noted, and nothing is to be.
                let _ = self.records.release(&key, &self.holder).await;
                false
            }
            Ok(Lease::NotOffered) | Err(_) => false,
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.may_be_held, Handle::try_current()) else {
            // It ends by itself, when its time is over.
            return;
        };
        let (records, has_passed) = (Arc::clone(&self.records), self.has_passed);
        let (key, holder) = (std::mem::take(&mut self.key), std::mem::take(&mut self.holder));
        runtime.spawn(async move {
            if has_passed {
                // A lease that nobody renews is a note for a while.
                let _ = records.lease(&passed_key(&key), &holder, PASSED_TIME).await;
            }
            let _ = records.release(&key, &holder).await;
        });
    }
}

/// The longest wait before the second question for a lease; before each further one, it is twice as long,
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long it is known among nodes that an answer was passed on: for whoever waits to ask once more.
const PASSED_TIME: Duration = Duration::from_secs(2);
