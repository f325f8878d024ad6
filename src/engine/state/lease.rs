//! Asks the store for a lease, renews it while it is held, and gives it back.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{Instant, sleep},
};

use super::records::Records;
use crate::{
    clock::moment,
    error::Error,
    format::key::{Generation, holder, passed_key},
    store::Lease,
    sync::lock,
};

/// A lease that was granted: renewed while this value lives, then given back.
pub(crate) struct Held {
    claim: Claim,
    standing: Arc<Standing>,
    renewing: AbortHandle,
}

impl Held {
    pub(crate) fn of(claim: Claim) -> Self {
        let Claim { records, key, holder, time, asked, .. } = &claim;
        let standing = Arc::new(Standing {
            records: Arc::clone(records),
            key: key.clone(),
            holder: holder.clone(),
            time: *time,
            since: Mutex::new(Some(*asked)),
        });
        let renewing = tokio::spawn(renewed(Arc::clone(&standing)));
        Self { claim, standing, renewing: renewing.abort_handle() }
    }

    /// The name under which it is held.
    pub(crate) fn holder(&self) -> &str {
        &self.claim.holder
    }

    /// Gives the lease back. `passed` says that the flight got an answer which nobody else may have.
    pub(crate) fn end(mut self, passed: bool) {
        self.claim.has_passed = passed && !self.standing.is_over();
    }

    /// Whether the holder before got an answer that cannot be stored.
    pub(crate) async fn comes_after_a_pass(&self) -> bool {
        self.claim.comes_after_a_pass().await
    }

    /// Asks the store, twice if need be, whether the lease is still the holder's. Returns `None` if the store cannot
    /// tell and the time of the lease is not over.
    pub(crate) async fn confirm(&self) -> Option<bool> {
        let asked = moment();
        let mut told = self.standing.renew().await;
        // A store that was slow to answer is not asked a second time.
        if told.is_none() && moment().saturating_duration_since(asked) < self.standing.records.limit() / 4 {
            sleep(FIRST_PAUSE).await;
            told = self.standing.renew().await;
        }
        told.or_else(|| self.standing.is_over().then_some(false))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// The state of a lease that was granted.
struct Standing {
    records: Arc<Records>,
    key: String,
    holder: String,
    time: Duration,
    /// When the holder asked for the grant that it got last. `None` once the store has said that the lease is no
    /// longer the holder's.
    since: Mutex<Option<Instant>>,
}

impl Standing {
    /// Renews the lease. Returns whether it is still the holder's, or `None` if the store cannot tell.
    async fn renew(&self) -> Option<bool> {
        if self.since().is_none() {
            return Some(false);
        }
        let asked = moment();
        match self.records.renew(&self.key, &self.holder, self.time).await {
            Ok(true) => {
                let mut since = self.since();
                *since = since.map(|since| since.max(asked));
                Some(since.is_some())
            }
            Ok(false) => {
                *self.since() = None;
                Some(false)
            }
            Err(_) => None,
        }
    }

    /// Whether the lease counts as lost: the store said so, or its time is over. After that time, an invalidation may
    /// have taken the lease from another holder, and this node would not hear of it.
    fn is_over(&self) -> bool {
        self.since().is_none_or(|since| moment().saturating_duration_since(since) >= self.time)
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        lock(&self.since)
    }
}

/// Renews a lease until it is lost, or this future is dropped.
async fn renewed(standing: Arc<Standing>) {
    while standing.since().is_some() {
        sleep((standing.time / 3).max(FIRST_PAUSE)).await;
        standing.renew().await;
    }
}

/// A lease that was asked for. When this is dropped, it gives the lease back if the store may have granted it: a call
/// that was given up may still have taken effect.
pub(crate) struct Claim {
    records: Arc<Records>,
    key: String,
    holder: String,
    /// Random bits for the pauses.
    dice: u128,
    /// The pause before the next call.
    pause: Duration,
    time: Duration,
    /// When the lease was asked for last.
    asked: Instant,
    may_be_held: bool,
    /// Whether the flight landed as passed.
    has_passed: bool,
}

impl Claim {
    /// Returns `None` if there are no leases to be had.
    pub(crate) fn new(records: &Arc<Records>, time: Duration, key: String) -> Option<Self> {
        if time.is_zero() || !records.may_lease() {
            return None;
        }
        let name = Generation::random()?;
        let (records, holder) = (Arc::clone(records), holder(name));
        Some(Self {
            records,
            key,
            holder,
            dice: name.0,
            pause: FIRST_PAUSE,
            time,
            asked: moment(),
            may_be_held: false,
            has_passed: false,
        })
    }

    pub(crate) async fn ask(&mut self) -> Result<Lease, Error> {
        (self.may_be_held, self.asked) = (true, moment());
        let lease = self.records.lease(&self.key, &self.holder, self.time).await;
        self.may_be_held = match &lease {
            Ok(lease) => *lease == Lease::Granted,
            Err(error) => !error.is_left_alone(),
        };
        lease
    }

    /// Asks until no other node has the lease.
    pub(crate) async fn wait(&mut self) -> Result<Lease, Error> {
        loop {
            match self.ask_again().await {
                Ok(Lease::Taken) => {}
                lease => return lease,
            }
        }
    }

    /// Asks once more, after a pause that is longer each time.
    pub(crate) async fn ask_again(&mut self) -> Result<Lease, Error> {
        // The pause is random. Otherwise nodes that began to wait at the same time would ask at the same time each
        // time, and only one of them would get the lease.
        self.dice = self.dice.rotate_right(8);
        sleep(self.pause.mul_f64(0.5 + f64::from(self.dice.to_be_bytes()[0]) / 512.0)).await;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        self.ask().await
    }

    /// Whether the holder before got an answer that cannot be stored. Then all nodes that waited ask the inner
    /// service for themselves, at once, as the followers of a flight do. Otherwise they would ask one after another.
    async fn comes_after_a_pass(&self) -> bool {
        let key = passed_key(&self.key);
        match self.records.lease(&key, &self.holder, PASSED_TIME).await {
            Ok(Lease::Taken) => true,
            Ok(Lease::Granted) => {
                // The holder before left no note, and this node must not leave one either.
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
            // The lease ends by itself, when its time is over.
            return;
        };
        let (records, has_passed, time) = (Arc::clone(&self.records), self.has_passed, self.time);
        let (key, holder) = (std::mem::take(&mut self.key), std::mem::take(&mut self.holder));
        runtime.spawn(async move {
            if has_passed {
                // A lease that nobody renews serves as a note for a while.
                let _ = records.lease(&passed_key(&key), &holder, PASSED_TIME).await;
            }
            // Other nodes wait for the lease as long as it lasts.
            let dropped = moment();
            while records.release(&key, &holder).await.is_err()
                && moment().saturating_duration_since(dropped) < time
            {
                records.next_try().await;
            }
        });
    }
}

/// The longest pause before the second call for a lease. Each further pause may be twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The longest pause between two calls for a lease.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long other nodes can learn that an answer was passed on. A waiting node has to ask again within this time.
const PASSED_TIME: Duration = Duration::from_secs(2);
