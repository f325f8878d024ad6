//! Flights: concurrent misses of one slot become one fill and its followers.

use std::{
    collections::HashMap,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{entry::Entry, lease::Held};
use crate::{
    format::key::{Generation, Slot},
    semantics::purge::{Membership, Position},
    stripes::Stripes,
    sync::lock,
};

/// The fills under way.
#[derive(Default)]
pub(crate) struct Flights {
    shards: Stripes<Mutex<HashMap<Slot, Flight>>, 16>,
    numbers: AtomicU64,
    revocations: AtomicU64,
}

/// How a flight ended, as its followers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landing {
    /// The fill was abandoned, or ended without a word: its task panicked, or the runtime stopped.
    Abandoned,
    /// The inner response was not as declared, or is for one client alone. Another try may bring a better one.
    Broken,
    /// The stored response is good only for the request that asked, which has credentials or a cookie. Each follower
    /// asks for itself.
    ForOne(Generation),
    /// The inner answer cannot be stored, so every follower needs one of its own.
    Passed,
    /// A stored response stands in for an error, for requests that may have it stale.
    StoodIn(Generation),
    /// Stored and committed.
    Stored(Generation),
}

/// The state of a flight, as its followers see it.
#[derive(Clone)]
enum Signal {
    Begun,
    Landed(Landing),
    /// The fill can be read while it runs, as far as it has come.
    Pouring(Arc<Entry>),
}

/// The role of a miss in a flight.
pub(crate) enum Role {
    Lead(Permit),
    Follow(Follower),
}

impl Flights {
    /// Joins the flight of `slot`, or opens it. `primary` is the primary slot of the key, by which the flight can be
    /// revoked. `purges` are those that are known now.
    pub(crate) fn join(self: &Arc<Self>, slot: &Slot, primary: &Slot, purges: Position) -> Role {
        let mut shard = self.shard(slot);
        if let Some(flight) = shard.get(slot) {
            return Role::Follow(Follower(flight.signal.subscribe()));
        }
        let sender = watch::Sender::new(Signal::Begun);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (commit, facts) = (CommitLock::default(), Arc::<Facts>::default());
        let flight = Flight {
            number,
            primary: primary.clone(),
            purges,
            facts: Arc::clone(&facts),
            signal: sender.clone(),
            commit: Arc::clone(&commit),
        };
        shard.insert(slot.clone(), flight);
        let (flights, slot) = (Arc::clone(self), slot.clone());
        Role::Lead(Permit { flights, slot, number, sender, facts, commit, lease: None })
    }

    /// Whether there is a flight of `slot`.
    pub(crate) fn is_under_way(&self, slot: &Slot) -> bool {
        self.shard(slot).contains_key(slot)
    }

    /// The entry that a flight of `slot` is pouring, if there is one, and a follower of that flight.
    pub(crate) fn pouring(&self, slot: &Slot) -> Option<(Arc<Entry>, Follower)> {
        let shard = self.shard(slot);
        let flight = shard.get(slot)?;
        let signal = flight.signal.borrow().clone();
        match signal {
            Signal::Pouring(entry) => Some((entry, Follower(flight.signal.subscribe()))),
            Signal::Begun | Signal::Landed(_) => None,
        }
    }

    /// The flight of `slot`, if it began when other purges were known.
    pub(crate) fn begun_before(&self, slot: &Slot, purges: Position) -> Option<Begun> {
        let shard = self.shard(slot);
        let flight = shard.get(slot).filter(|flight| flight.purges != purges)?;
        let (membership, holder) =
            (flight.facts.membership.get().cloned(), flight.facts.holder.get().cloned());
        Some(Begun { number: flight.number, purges: flight.purges, membership, holder })
    }

    /// Forbids a flight of `slot` to commit, and lets later misses open another.
    pub(crate) fn revoke_begun(&self, slot: &Slot, begun: &Begun) {
        let mut shard = self.shard(slot);
        if let Some(flight) = shard.get(slot).filter(|flight| flight.number == begun.number) {
            flight.facts.revoked.store(true, Ordering::SeqCst);
            shard.remove(slot);
        }
    }

    /// Forbids every flight of a key to commit the response that it fetched, and lets later misses open new flights.
    ///
    /// A flight that is in its commit ends it first. A caller that then gets the lock of the commit knows that it is
    /// over.
    pub(crate) fn revoke(&self, primary: &Slot) -> Vec<CommitLock> {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        let mut commits = Vec::new();
        for shard in self.shards.iter() {
            lock(shard).retain(|_, flight| {
                let keep = flight.primary != *primary;
                if !keep {
                    flight.facts.revoked.store(true, Ordering::SeqCst);
                    commits.push(Arc::clone(&flight.commit));
                }
                keep
            });
        }
        commits
    }

    /// How many revocations there were. A response that was asked for at another count may be untrue by now.
    pub(crate) fn revocations(&self) -> u64 {
        self.revocations.load(Ordering::SeqCst)
    }

    fn shard(&self, slot: &Slot) -> MutexGuard<'_, HashMap<Slot, Flight>> {
        lock(self.shards.of(slot))
    }
}

/// A flight, as those see it who may not be sure that they may join it.
pub(crate) struct Begun {
    number: u64,
    /// The purges that were known when it began.
    pub(crate) purges: Position,
    /// The sets of its response, once they are known.
    pub(crate) membership: Option<Membership>,
    /// The name under which it has the lease of the slot, if it has the lease.
    pub(crate) holder: Option<String>,
}

/// The facts that a fill and those who may end its flight tell each other.
#[derive(Default)]
struct Facts {
    membership: OnceLock<Membership>,
    holder: OnceLock<String>,
    revoked: AtomicBool,
}

/// The right, and the duty, to end one flight. If it is dropped before it lands, its followers wake and elect another
/// leader.
pub(crate) struct Permit {
    flights: Arc<Flights>,
    slot: Slot,
    number: u64,
    sender: watch::Sender<Signal>,
    facts: Arc<Facts>,
    commit: CommitLock,
    /// The lease: the same right among all nodes that share the store.
    lease: Option<Held>,
}

impl Permit {
    /// Keeps the lease until the flight ends.
    pub(crate) fn hold(&mut self, lease: Held) {
        // A flight gets it once.
        let _ = self.facts.holder.set(lease.holder().to_owned());
        self.lease = Some(lease);
    }

    pub(crate) fn lease(&self) -> Option<&Held> {
        self.lease.as_ref()
    }

    /// The slot that the flight is to fill.
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// The lock that a fill holds from its last look at [`is_revoked`](Self::is_revoked) until its commit is done.
    pub(crate) fn commit(&self) -> &CommitLock {
        &self.commit
    }

    /// Ends the flight. The next miss opens another one.
    pub(crate) fn land(mut self, landing: Landing) {
        if let Some(lease) = self.lease.take() {
            lease.end(matches!(landing, Landing::ForOne(_) | Landing::Passed));
        }
        self.leave();
        self.sender.send_replace(Signal::Landed(landing));
    }

    /// Says to which sets the response will belong.
    pub(crate) fn tell(&self, membership: &Membership) {
        // A fill tells it once.
        let _ = self.facts.membership.set(membership.clone());
    }

    /// Lets the followers read the part that has come so far, and the rest as it comes.
    pub(crate) fn pour(&self, entry: Arc<Entry>) {
        self.sender.send_replace(Signal::Pouring(entry));
    }

    /// A follower for the leader itself.
    pub(crate) fn follower(&self) -> Follower {
        Follower(self.sender.subscribe())
    }

    /// Returns a function that tells whether somebody waits for the flight, or reads from it.
    pub(crate) fn waited_for(&self) -> impl Fn() -> bool + Send + Sync + 'static + use<> {
        let sender = self.sender.clone();
        move || !sender.is_closed()
    }

    /// Whether nobody waits for the flight, and nobody reads from it.
    pub(crate) fn is_deserted(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until nobody waits for the flight, and nobody reads from it.
    pub(crate) async fn deserted(&self) {
        self.sender.closed().await;
    }

    /// Whether the key was invalidated since the flight began.
    pub(crate) fn is_revoked(&self) -> bool {
        self.facts.revoked.load(Ordering::SeqCst)
    }

    fn leave(&self) {
        let mut shard = self.flights.shard(&self.slot);
        // After a revocation, the slot may be another flight's.
        if shard.get(&self.slot).is_some_and(|flight| flight.number == self.number) {
            shard.remove(&self.slot);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A miss that waits for a fill, or a client that reads from the fill and so keeps it going.
#[derive(Clone)]
pub(crate) struct Follower(watch::Receiver<Signal>);

impl Follower {
    /// Waits until the flight ends, and returns how it landed.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time. A dropped follower no longer keeps the fill going.
    pub(crate) async fn landing(&mut self) -> Landing {
        match self.0.wait_for(|signal| matches!(signal, Signal::Landed(_))).await.as_deref() {
            Ok(Signal::Landed(landing)) => *landing,
            Ok(_) | Err(_) => Landing::Abandoned,
        }
    }

    /// Waits until the fill can be read while it runs, and returns its entry. Returns `None` if the fill ends first.
    pub(crate) async fn pouring(&mut self) -> Option<Arc<Entry>> {
        match self.0.wait_for(|signal| !matches!(signal, Signal::Begun)).await.as_deref() {
            Ok(Signal::Pouring(entry)) => Some(Arc::clone(entry)),
            Ok(_) | Err(_) => None,
        }
    }
}

struct Flight {
    number: u64,
    primary: Slot,
    purges: Position,
    facts: Arc<Facts>,
    signal: watch::Sender<Signal>,
    commit: CommitLock,
}

/// A lock of tokio's, because it is held while the store puts.
pub(crate) type CommitLock = Arc<tokio::sync::Mutex<()>>;

/// Waits until a fill goes no faster than its readers. Meanwhile the follower keeps the fill from being deserted.
pub(crate) async fn paced(mut follower: Follower) {
    if let Some(entry) = follower.pouring().await {
        if let Some(supply) = &entry.pouring {
            return supply.readers.have_slowed_the_fill_down().await;
        }
    }
    pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::key::CacheKey;

    fn slot() -> Slot {
        Slot::primary(&CacheKey::new("a"))
    }

    fn lead(flights: &Arc<Flights>) -> Permit {
        match flights.join(&slot(), &slot(), Position::default()) {
            Role::Lead(permit) => permit,
            Role::Follow(_) => panic!("there is a flight already"),
        }
    }

    fn follow(flights: &Arc<Flights>) -> Follower {
        match flights.join(&slot(), &slot(), Position::default()) {
            Role::Follow(follower) => follower,
            Role::Lead(_) => panic!("there is no flight"),
        }
    }

    #[tokio::test]
    async fn followers_see_how_the_flight_landed() {
        let flights = Arc::new(Flights::default());
        let permit = lead(&flights);
        let followers = [follow(&flights), follow(&flights)];
        permit.land(Landing::Stored(Generation(1)));
        for mut follower in followers {
            assert_eq!(follower.landing().await, Landing::Stored(Generation(1)));
        }
        lead(&flights);
    }

    #[tokio::test]
    async fn a_permit_dropped_before_landing_wakes_its_followers() {
        let flights = Arc::new(Flights::default());
        let permit = lead(&flights);
        let mut follower = follow(&flights);
        drop(permit);
        assert_eq!(follower.landing().await, Landing::Abandoned);
        lead(&flights);
    }

    #[tokio::test]
    async fn a_revoked_flight_makes_way_and_does_not_close_its_successor() {
        let flights = Arc::new(Flights::default());
        let revoked = lead(&flights);
        flights.revoke(&slot());
        assert!(revoked.is_revoked());
        let successor = lead(&flights);
        assert!(!successor.is_revoked());
        revoked.land(Landing::Passed);
        let mut follower = follow(&flights);
        successor.land(Landing::Broken);
        assert_eq!(follower.landing().await, Landing::Broken);
    }
}
