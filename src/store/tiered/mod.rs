//! [`Tiered`]: a near store before a far one.

mod keys;
mod known;
mod reads;
mod tier;

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

pub use self::tier::Writes;
use self::{
    known::{Fact, Known},
    reads::{Errand, Reads},
    tier::{FAR_LIMIT, Late, Settings, both, run, said, spared},
};
use super::{Breaker, Lease, PutNew, Store, Usage, is_chunk, is_log, is_mark, is_record, within};
use crate::{clock::moment, error::BoxError};

/// A near store, usually this process's memory, before a far store that several processes share.
///
/// A get first asks the near store. If the near store has no value, the get reads the far store, and the near store
/// keeps the value from then on. Concurrent gets of one key share one read of the far store.
///
/// ```
/// # #[cfg(not(feature = "moka"))]
/// # fn main() {}
/// # #[cfg(feature = "moka")]
/// # fn main() -> Result<(), tower_video_cache::Error> {
/// use std::sync::Arc;
/// use tower_video_cache::{MokaStore, Tiered, VideoCacheLayer};
///
/// // A real one is in Redis, in S3 or on a disk.
/// let shared = Arc::new(MokaStore::new(8 << 30)?);
/// let one = VideoCacheLayer::new(Tiered::new(MokaStore::new(512 << 20)?, Arc::clone(&shared)));
/// let other = VideoCacheLayer::new(Tiered::new(MokaStore::new(512 << 20)?, shared));
/// # Ok(())
/// # }
/// ```
///
/// # How long a change by another process may stay unseen
///
/// Chunks never change, so a near chunk is always the answer. Records (under keys that begin with `m/` or `v/`) may
/// change: another process may purge or refresh them in the far store. A near record is the answer for
/// [`record_age`](Self::record_age) after the last read of the far store, 2 seconds by default. Then the store reads
/// the far store again, and the near store follows its answer. This process sees its own puts and removes at once.
///
/// A process that gets a lease reads the far store again, even if the near record is young. The ages of nested tiers
/// add up, because an answer of the inner tiers may already be as old as their age allows.
///
/// The log of purges (under keys that begin with `p/`) is in the far store alone.
///
/// # When the far store is down
///
/// The far store counts as down if it fails, panics, or takes longer than [`far_timeout`](Self::far_timeout). The near
/// store then works alone:
///
/// - *Reads.* Near records are used at any age; each record itself says how long it is *fresh*. The store asks the far
///   store for a record once every `record_age`. Purges by other processes stay unseen.
/// - *Puts.* Values are kept in the near store alone. When the far store is back, its state counts again. If it lacks a
///   record, the near store drops the record, and the cache fetches the response again. If it has an older record, that
///   record comes back, and is used as long as it is fresh by its own fields (RFC 9111 §4.2 asks no more). Missing
///   chunks are fetched again when a client misses them.
/// - *Pauses.* After a late put, puts skip the far store for ten times `far_timeout`, so that a video of a hundred
///   chunks does not wait a hundred times. After three late reads of records in a row, such reads fail at once for five
///   times `far_timeout`, and no leases are asked for.
/// - *Removes.* The near store removes the value. The remove still fails, because the far store may bring the value
///   back. Until the far store has taken a put or a remove of that record, a put of the record that fails in the far
///   store is an error, too, and is not kept near. After about 65,536 such records, this applies to other records as
///   well.
///
/// A near store that fails, hangs or refuses a value costs only reads of the far store. If the near store could not
/// remove or replace a value, that value does not stand in for the far store, as long as this process remembers it.
///
/// # Sizes
///
/// [`capacity`](Store::capacity), [`usage`](Store::usage), [`max_value_size`](Store::max_value_size) and leases are those of the far store. The
/// near store may be much smaller. It should hold a few chunks for each client that is watching, and the most popular
/// videos. The less it holds, the more the far store is read. If the far store can alter values, the cache verifies the
/// checksums of all values, also of near ones.
///
/// Keep the sum of both timeouts below [`Timeouts::store`](crate::Timeouts::store). Tiers may be nested, as in
/// `Tiered<Memory, Tiered<Disk, Network>>`. Then keep the sum of the inner timeouts below the outer `far_timeout`;
/// otherwise a read of the disk may be given up too early.
///
/// # Cancel safety
///
/// A task of its own reads the far store. If the caller is dropped, the task goes on within its timeout, for the other
/// callers and for the near store.
pub struct Tiered<Near, Far> {
    near: Arc<Near>,
    far: Arc<Far>,
    known: Arc<Known>,
    reads: Arc<Reads>,
    /// Circuit breakers of the far store: for looks, which are gets of records and leases, and for puts. Chunks have
    /// none, because a body that has begun has no other source.
    looks: Arc<Breaker>,
    puts: Arc<Breaker>,
    /// The last read of the far store failed.
    is_down: Arc<AtomicBool>,
    settings: Settings,
}

impl<Near, Far> Tiered<Near, Far> {
    /// A store with `near` before `far`.
    pub fn new(near: Near, far: Far) -> Self {
        let (looks, puts) = spared(FAR_LIMIT);
        Self {
            near: Arc::new(near),
            far: Arc::new(far),
            known: Arc::default(),
            reads: Arc::default(),
            looks,
            puts,
            is_down: Arc::default(),
            settings: Settings::default(),
        }
    }

    /// Sets the order of puts. Default: [`Writes::FarFirst`].
    #[must_use]
    pub fn writes(mut self, writes: Writes) -> Self {
        self.settings.writes = writes;
        self
    }

    /// Sets how long a near record is the answer before the far store is read again. Default: 2 seconds. Zero reads it
    /// each time.
    ///
    /// A purge or a refresh by another process may stay unseen for this time. The ages of nested tiers add up.
    #[must_use]
    pub fn record_age(mut self, age: Duration) -> Self {
        self.settings.record_age = age;
        self
    }

    /// Sets how long a call of the near store may take. Default: 250 milliseconds.
    #[must_use]
    pub fn near_timeout(mut self, timeout: Duration) -> Self {
        self.settings.near_timeout = timeout;
        self
    }

    /// Sets how long a call of the far store may take before the near store works alone. Default: 1 second.
    #[must_use]
    pub fn far_timeout(mut self, timeout: Duration) -> Self {
        self.settings.far_timeout = timeout;
        (self.looks, self.puts) = spared(timeout);
        self
    }

    /// The near store.
    pub fn near(&self) -> &Near {
        &self.near
    }

    /// The far store.
    pub fn far(&self) -> &Far {
        &self.far
    }
}

impl<Near: Store, Far: Store> Store for Tiered<Near, Far> {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        if is_mark(key) || is_log(key) {
            // The near store does not know what other processes put there. While the far store is down, invalidations
            // stay unseen, and puts go to the near store alone. A log that cannot be read is not an empty one.
            if is_mark(key) && self.is_down.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let seen = self.spare_far(&self.looks, |far| far.get(key)).await;
            self.is_down.store(seen.is_err(), Ordering::Relaxed);
            return if is_log(key) { seen } else { Ok(seen.unwrap_or_default()) };
        }
        let near = self.at_near(|near| near.get(key)).await.ok().flatten();
        if near.is_some() && is_chunk(key) {
            return Ok(near);
        }
        let (age, now) = (self.settings.record_age, moment());
        if near.as_ref().is_some_and(|value| self.known.is_young(key, value, age, now)) {
            return Ok(near);
        }
        // The box keeps the future of a hit small.
        Box::pin(self.get_far(key, near, now)).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        if is_chunk(key) {
            let (near, far) = self.put_both(key, value).await;
            return near.or(far);
        }
        if is_mark(key) || is_log(key) {
            return self.at_far(|far| far.put(key, value)).await;
        }
        let writing = self.known.write(key);
        let fact = Fact::of(&value, moment());
        let (near, far) = self.put_both(key, value).await;
        if far.is_ok() {
            writing.believe();
        }
        // The far store would bring back the removed value in place of this one.
        let is_refused = far.is_err() && self.known.is_doubted(key);
        // If other calls wrote meanwhile, only the far store knows the last value.
        if is_refused || near.is_err() || !writing.note(fact) {
            self.take_near(key, || writing.let_go()).await;
        }
        if is_refused { far } else { near.or(far) }
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        if is_log(key) {
            return self.at_far(|far| far.remove(key)).await;
        }
        // No value that is read before this ends is kept near. So the order does not matter, and the near store comes
        // first.
        let writing = self.known.write(key);
        // The doubt begins now, in case this call is dropped on the way.
        if is_record(key) {
            writing.doubt();
        }
        self.take_near(key, || writing.let_go()).await;
        let far = self.at_far(|far| far.remove(key)).await;
        if far.is_ok() {
            writing.believe();
        }
        far
    }

    fn max_value_size(&self) -> Option<u64> {
        self.far.max_value_size()
    }

    fn capacity(&self) -> Option<u64> {
        self.far.capacity()
    }

    fn usage(&self) -> Option<Usage> {
        self.far.usage()
    }

    /// The age of records in the near store, and what the tiers themselves lag.
    fn lag(&self) -> Duration {
        self.settings.record_age.saturating_add(self.far.lag()).saturating_add(self.near.lag())
    }

    fn can_alter(&self) -> bool {
        self.near.can_alter() || self.far.can_alter()
    }

    async fn lease(&self, key: &str, holder: &str, time: Duration) -> Result<Lease, BoxError> {
        let lease = self.spare_far(&self.looks, |far| far.lease(key, holder, time)).await?;
        if lease == Lease::Granted {
            self.forget(key);
        }
        Ok(lease)
    }

    async fn renew(&self, key: &str, holder: &str, time: Duration) -> Result<bool, BoxError> {
        self.at_far(|far| far.renew(key, holder, time)).await
    }

    async fn release(&self, key: &str, holder: &str) -> Result<(), BoxError> {
        self.at_far(|far| far.release(key, holder)).await
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        self.at_far(|far| far.put_new(key, value)).await
    }

    fn is_down(&self) -> bool {
        self.is_down.load(Ordering::Relaxed) || self.far.is_down()
    }
}

impl<Near, Far> fmt::Debug for Tiered<Near, Far> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiered").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl<Near: Store, Far: Store> Tiered<Near, Far> {
    /// The value of the far store. If the far store fails, the `near` value.
    async fn get_far(&self, key: &str, near: Option<Bytes>, now: Instant) -> Result<Option<Bytes>, BoxError> {
        let mark = self.known.mark(key);
        let age = if is_chunk(key) { Duration::MAX } else { self.settings.record_age };
        let (read, errand) = self.reads.join(key, mark, age, now);
        if let Some(errand) = errand {
            run(self.share().fetch(errand)).await;
        }
        let far = read.outcome().await;
        match (far, near) {
            (Err(error), Some(value)) => {
                let fact = Fact::of(&value, moment());
                if self.known.is_unwanted(key, &fact) {
                    return Err(error);
                }
                // The near value counts as if it came from the far store, so that not every request asks a store that
                // is down.
                self.known.note(key, mark, Some(fact));
                Ok(Some(value))
            }
            (far, _) => far,
        }
    }

    /// Reads a far value for all waiting calls, and then updates the near store.
    async fn fetch(self, errand: Errand) {
        let found = if is_chunk(&errand.key) {
            self.at_far(|far| far.get(&errand.key)).await
        } else {
            self.spare_far(&self.looks, |far| far.get(&errand.key)).await
        };
        self.is_down.store(found.is_err(), Ordering::Relaxed);
        let found = found.map_err(Into::into);
        errand.tell(found.clone());
        // No call waits for this. A call that joins before it is done gets the same answer.
        if let Ok(found) = found {
            self.follow(&errand, found).await;
        }
    }

    async fn follow(&self, Errand { key, read, .. }: &Errand, found: Option<Bytes>) {
        if !self.known.is_at(key, read.mark) {
            return;
        }
        let put = |value| self.at_near(|near| near.put(key, value));
        let is_kept = match found {
            Some(value) if is_chunk(key) => put(value).await.is_ok() && self.known.is_at(key, read.mark),
            Some(value) => {
                let fact = Fact::of(&value, read.began);
                put(value).await.is_ok() && self.known.note(key, read.mark, Some(fact))
            }
            // A near chunk was put just now.
            None if is_chunk(key) => return,
            None => false,
        };
        if !is_kept {
            self.known.note(key, read.mark, None);
            self.take_near(key, || self.known.let_go(key, read.mark)).await;
        }
    }

    /// Removes the near value. If that fails, the value no longer stands in for the far store.
    async fn take_near(&self, key: &str, gone: impl FnOnce()) {
        let near = self.at_near(|near| near.remove(key)).await;
        if near.is_ok() {
            gone();
        } else if is_record(key) {
            self.known.distrust(key);
        }
    }

    /// Forgets the facts about the records of a lease, so that its holder reads the far store again, where other
    /// processes put.
    fn forget(&self, lease: &str) {
        let name = lease.strip_prefix("l/").and_then(|rest| rest.split('/').next());
        if let Some(name) = name {
            for kind in ["m", "v"] {
                drop(self.known.write(&format!("{kind}/{name}")));
            }
        }
    }

    /// Puts into both stores. Returns the results of the near and the far store.
    async fn put_both(&self, key: &str, value: Bytes) -> (Result<(), BoxError>, Result<(), BoxError>) {
        let copy = value.clone();
        let far = self.spare_far(&self.puts, move |far| far.put(key, copy));
        let near = self.at_near(|near| near.put(key, value));
        match self.settings.writes {
            Writes::FarFirst => {
                let far = far.await;
                (near.await, far)
            }
            Writes::Both => both(near, far).await,
        }
    }

    /// Calls the far store, unless its breaker is open.
    async fn spare_far<'a, T, F>(
        &'a self,
        breaker: &Breaker,
        call: impl FnOnce(&'a Far) -> F,
    ) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let pass = breaker.admit()?;
        let done = self.at_far(call).await;
        pass.ended(!done.as_ref().is_err_and(|error| error.is::<Late>()));
        if done.is_ok() {
            // A fill that put a record next looks for an invalidation by another process.
            self.is_down.store(false, Ordering::Relaxed);
            self.looks.answered();
        }
        done
    }

    async fn at_near<'a, T, F>(&'a self, call: impl FnOnce(&'a Near) -> F) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let asked = pin!(async { call(&self.near).await });
        within(self.settings.near_timeout, || asked, said).await
    }

    async fn at_far<'a, T, F>(&'a self, call: impl FnOnce(&'a Far) -> F) -> Result<T, BoxError>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let asked = pin!(async { call(&self.far).await });
        within(self.settings.far_timeout, || asked, said).await
    }

    /// A handle on the same store, for a task.
    fn share(&self) -> Self {
        Self {
            near: Arc::clone(&self.near),
            far: Arc::clone(&self.far),
            known: Arc::clone(&self.known),
            reads: Arc::clone(&self.reads),
            looks: Arc::clone(&self.looks),
            puts: Arc::clone(&self.puts),
            is_down: Arc::clone(&self.is_down),
            settings: self.settings,
        }
    }
}
