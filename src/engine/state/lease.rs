//! A lease that is asked for, and one that is held: renewed till its end, then given back.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::AbortHandle,
    time::{sleep, Instant},
};

use super::records::Records;
use crate::{
    clock::moment,
    error::Error,
    format::key::{holder, passed_key, Generation},
    store::Lease,
};

/// A lease that was granted: renewed while this lives, then given back.
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

    /// Gives the lease back; `passed` if the flight got an answer that nobody else may have.
    pub(crate) fn end(mut self, passed: bool) {
        self.claim.has_passed = passed && !self.standing.is_over();
    }

    /// Whether the holder before got an answer that nobody stores.
    pub(crate) async fn comes_after_a_pass(&self) -> bool {
        self.claim.comes_after_a_pass().await
    }

    /// Whether it is the holder's still, if the store can tell, or the time is over; asked twice.
    pub(crate) async fn confirm(&self) -> Option<bool> {
        let asked = moment();
        let mut told = self.standing.renew().await;
        // A store that took its time for that is not waited for a second time.
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

/// What is known of a lease that was granted.
struct Standing {
    records: Arc<Records>,
    key: String,
    holder: String,
    time: Duration,
    /// When the store was asked for what it granted last; none once it said that the lease is the holder's no more.
    since: Mutex<Option<Instant>>,
}

impl Standing {
    /// Renews the lease, and says whether it is the holder's, if the store can tell.
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

    /// Whether it is another's for all that is known here. By then it may have been taken by one who invalidated what it
    /// is for, and this one not have heard of it.
    fn is_over(&self) -> bool {
        self.since().is_none_or(|since| moment().saturating_duration_since(since) >= self.time)
    }

    fn since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews a lease until it is lost, or this is dropped.
async fn renewed(standing: Arc<Standing>) {
    while standing.since().is_some() {
        sleep((standing.time / 3).max(FIRST_PAUSE)).await;
        standing.renew().await;
    }
}

/// A lease asked for. Dropped, it is given back, if it may have been granted: a call that was given up may have
/// happened.
pub(crate) struct Claim {
    records: Arc<Records>,
    key: String,
    holder: String,
    /// Random bits.
    dice: u128,
    /// Before the next question.
    pause: Duration,
    time: Duration,
    /// When it was asked for last.
    asked: Instant,
    may_be_held: bool,
    /// Its flight landed as passed.
    has_passed: bool,
}

impl Claim {
    /// `None` where there are no leases to be had.
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

    /// Asks until it is another's no more.
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
        // Nodes that began to wait at once would else meet at each question, and one alone would have its answer.
        self.dice = self.dice.rotate_right(8);
        sleep(self.pause.mul_f64(0.5 + f64::from(self.dice.to_be_bytes()[0]) / 512.0)).await;
        self.pause = self.pause.saturating_mul(2).min(LONGEST_PAUSE);
        self.ask().await
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
        let (records, has_passed, time) = (Arc::clone(&self.records), self.has_passed, self.time);
        let (key, holder) = (std::mem::take(&mut self.key), std::mem::take(&mut self.holder));
        runtime.spawn(async move {
            if has_passed {
                // A lease that nobody renews is a note for a while.
                let _ = records.lease(&passed_key(&key), &holder, PASSED_TIME).await;
            }
            // Other nodes wait for it, for as long as the lease lasts.
            let dropped = moment();
            while records.release(&key, &holder).await.is_err()
                && moment().saturating_duration_since(dropped) < time
            {
                records.next_try().await;
            }
        });
    }
}

/// The longest wait before the second question for a lease; before each further one, it is twice as long,
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long it is known among nodes that an answer was passed on: for whoever waits to ask once more.
const PASSED_TIME: Duration = Duration::from_secs(2);
