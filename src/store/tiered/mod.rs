//! [`Tiered`]: a store of two, one that is near before one that is far.

mod keys;
mod known;
mod reads;
mod tier;

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use self::{
    known::{Fact, Known},
    reads::{Errand, Reads},
    tier::{both, run, said, spared, Late, Settings, FAR_LIMIT},
};
use super::{is_chunk, is_mark, within, Breaker, Lease, Store};
use crate::{clock::moment, error::BoxError};

/// A near store, most often this process's memory, before a far one that several processes share.
///
/// What is found near is answered from there. What is not is read from the far store, once for all who ask for it at
/// that time, and kept near from then on.
///
/// ```
/// # #[cfg(feature = "moka")] {
/// use std::sync::Arc;
/// use tower_video_cache::{MokaStore, Tiered, VideoCacheLayer};
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// // In place of the second one: Redis, S3, a disk …
/// let shared = Arc::new(MokaStore::new(8 << 30)?);
/// let one = VideoCacheLayer::new(Tiered::new(MokaStore::new(512 << 20)?, Arc::clone(&shared)));
/// let other = VideoCacheLayer::new(Tiered::new(MokaStore::new(512 << 20)?, shared));
/// # Ok::<(), tower_video_cache::Error>(())
/// # })?;
/// # }
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
///
/// # How long another's change may stay unseen
///
/// Chunks never change: one that is near is the answer, without a question. Records (what a key begins with `m/` or `v/`
/// for) do: another process may purge or refresh them in the far store. So a record that is near is the answer for
/// [`record_age`](Self::record_age) after the far store was asked for it, two seconds unless set; then the far store
/// is asked again, and the near one follows it, whatever it says. What this process itself puts or removes it sees at
/// once.
///
/// Who is granted a lease looks again in the far store, however young the record is that is near. Where tiers are
/// nested, their ages add up: what the inner two answer may be as old as theirs allows already.
///
/// # When the far store is down
///
/// A far store that fails, panics, or takes longer than [`far_timeout`](Self::far_timeout) leaves a cache of what is near:
///
/// - Records that are near are used however old they are (how long a response is *fresh* is written in it), and the
///   far store is asked for them once every `record_age`. So the purges of other processes stay unseen.
/// - What is put is kept near alone. Once the far store is back it is the truth again: a record that it does not have
///   is taken out near, and fetched anew from the inner service; one that it has in an older state comes back, and is
///   used for as long as it is fresh by its own fields (RFC 9111 §4.2 asks no more). Chunks that it does not have are
///   fetched again when somebody misses them.
/// - After a put that ran into the limit the next ones leave it out for ten times as long, so that a video of a
///   hundred chunks does not wait a hundred times. After three reads of records in a row that ran into it, those
///   of the next five times `far_timeout` fail at once, and leases are not asked for.
/// - What is removed is removed near. It is an error all the same: the far store may still have the value, and bring
///   it back. So until it took a put or a remove of that record, a put of it that the far store fails is an error,
///   too, and is not kept near. After 65,536 such records, or somewhat fewer, that goes for others as well.
///
/// A near store that fails, hangs or refuses a value costs reads of the far store, and nothing else. What it did not let
/// go of when it was removed or replaced does not stand in for the far store, as long as this process remembers that.
///
/// # Sizes
///
/// [`capacity`](Store::capacity), [`max_value_size`](Store::max_value_size) and leases are those of the far store. The
/// near one may be much smaller: it should hold the chunks that are being watched, a few of them for each viewer, and
/// the videos that are asked for most; the less it holds the more is read from afar. If the near store is this
/// process's memory, and the far one can alter values, checksums are verified on either way.
///
/// Both limits together belong below the layer's [`Timeouts::store`](crate::Timeouts::store). Tiers may be
/// nested, as in `Tiered<Memory, Tiered<Disk, Network>>`; then the limits of the inner two, together, belong below the
/// `far_timeout` of the outer, or what is on the disk is never waited for.
///
/// # Cancel safety
///
/// The read of a far value is a task of its own: it goes on, within its limit, for the others who wait for it, and for
/// the near store, whether who began it stays or not, and whether or not anybody has the time to poll it.
pub struct Tiered<Near, Far> {
    near: Arc<Near>,
    far: Arc<Far>,
    known: Arc<Known>,
    reads: Arc<Reads>,
    /// How the far store is spared what it had no time for of late: looks, that is gets of records and leases; and puts.
    /// Chunks are asked for at any time: whoever reads them has no other way.
    looks: Arc<Breaker>,
    puts: Arc<Breaker>,
    /// The far store failed the last read.
    is_down: Arc<AtomicBool>,
    settings: Settings,
}

/// In which order [`Tiered`] puts.
///
/// Either way it counts once the far store has the value; where the far store fails, once the near one has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Writes {
    /// To the far store, then to the near one: nothing is near that the far store was not asked to keep.
    #[default]
    FarFirst,
    /// To both at once: saves the near store's time, where that is a disk.
    Both,
}

impl<Near, Far> Tiered<Near, Far> {
    /// A store of these two.
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

    /// In which order values are put. Default: [`Writes::FarFirst`].
    #[must_use]
    pub fn writes(mut self, writes: Writes) -> Self {
        self.settings.writes = writes;
        self
    }

    /// How long a record is answered from the near store before the far one is asked again: how long a purge or a
    /// refresh by another process may stay unseen; those of nested tiers add up. Zero asks each time. Default: 2
    /// seconds.
    #[must_use]
    pub fn record_age(mut self, age: Duration) -> Self {
        self.settings.record_age = age;
        self
    }

    /// How long a call of the near store may take. Default: 250 milliseconds.
    #[must_use]
    pub fn near_timeout(mut self, limit: Duration) -> Self {
        self.settings.near_timeout = limit;
        self
    }

    /// How long a call of the far store may take before the near one has to do. Default: 1 second.
    #[must_use]
    pub fn far_timeout(mut self, limit: Duration) -> Self {
        self.settings.far_timeout = limit;
        (self.looks, self.puts) = spared(limit);
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
        if is_mark(key) {
            // What is near says nothing of what other processes do. While the far store is down they are not heard, and
            // what is put is put near alone.
            if self.is_down.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let mark = self.spare_far(&self.looks, |far| far.get(key)).await;
            self.is_down.store(mark.is_err(), Ordering::Relaxed);
            return Ok(mark.unwrap_or_default());
        }
        let near = self.at_near(|near| near.get(key)).await.ok().flatten();
        if near.is_some() && is_chunk(key) {
            return Ok(near);
        }
        let (age, now) = (self.settings.record_age, moment());
        if near.as_ref().is_some_and(|value| self.known.is_young(key, value, age, now)) {
            return Ok(near);
        }
        // In a box of its own, so that what a hit needs is small.
        Box::pin(self.get_far(key, near, now)).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        if is_chunk(key) {
            let (near, far) = self.put_both(key, value).await;
            return near.or(far);
        }
        if is_mark(key) {
            return self.at_far(|far| far.put(key, value)).await;
        }
        let writing = self.known.write(key);
        let fact = Fact::of(&value, moment());
        let (near, far) = self.put_both(key, value).await;
        if far.is_ok() {
            writing.believe();
        }
        // The far store would bring back what was to be gone, in place of this.
        let is_refused = far.is_err() && self.known.is_doubted(key);
        // If others wrote meanwhile, only the far store knows who was last.
        if is_refused || near.is_err() || !writing.note(fact) {
            self.take_near(key, || writing.let_go()).await;
        }
        if is_refused {
            return far;
        }
        near.or(far)
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        // Nothing that is read before this is over is kept near: so the order does not matter, and what is at hand
        // comes first.
        let writing = self.known.write(key);
        // From now on, for if this is dropped on the way, nobody knows.
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
    /// What the far store has, or else what was found `near`.
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
                // It will do for as long as if it came from there: who has no answer is not asked for each viewer.
                self.known.note(key, mark, Some(fact));
                Ok(Some(value))
            }
            (far, _) => far,
        }
    }

    /// Reads a far value for all who wait for it, and has the near store follow.
    async fn fetch(self, errand: Errand) {
        let found = if is_chunk(&errand.key) {
            self.at_far(|far| far.get(&errand.key)).await
        } else {
            self.spare_far(&self.looks, |far| far.get(&errand.key)).await
        };
        self.is_down.store(found.is_err(), Ordering::Relaxed);
        let found = found.map_err(Into::into);
        errand.tell(found.clone());
        // Nobody waits for this. Whoever asks until it is done is told what the others were.
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
            // If it is near, it came this moment.
            None if is_chunk(key) => return,
            None => false,
        };
        if !is_kept {
            self.known.note(key, read.mark, None);
            self.take_near(key, || self.known.let_go(key, read.mark)).await;
        }
    }

    /// Takes out what is near. If that fails, it does not stand in for the far store any more.
    async fn take_near(&self, key: &str, gone: impl FnOnce()) {
        let near = self.at_near(|near| near.remove(key)).await;
        if near.is_ok() {
            gone();
        } else if is_record(key) {
            self.known.distrust(key);
        }
    }

    /// Forgets what is known of the records that a lease is for: who has it now looks again, where the others put.
    fn forget(&self, lease: &str) {
        let name = lease.strip_prefix("l/").and_then(|rest| rest.split('/').next());
        if let Some(name) = name {
            for kind in ["m", "v"] {
                drop(self.known.write(&format!("{kind}/{name}")));
            }
        }
    }

    /// What came of it near, and what far.
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

    /// Calls the far store, unless such calls ran into its limit of late.
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
            // What was put for all to see is followed by a look for who has invalidated it meanwhile.
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

    /// The same store, for a task.
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

/// Whether what lies under the key may be put again with another value; under one of a lease nothing is put.
fn is_record(key: &str) -> bool {
    !is_chunk(key) && !key.starts_with("l/")
}
