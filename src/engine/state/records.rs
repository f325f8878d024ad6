//! The store as the engine sees it: records of known names, within a time limit, whatever the store does.

use std::{
    future::Future,
    num::NonZeroU32,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::watch,
    time::{sleep, timeout, Instant},
};

use crate::{
    clock::moment,
    error::{BoxError, Error},
    format::{
        chunk::{self, Checksum, ChunkName, TRAILER},
        invalidation,
        key::{chunk_key, invalidation_key, Generation, Slot},
        manifest::Record,
    },
    store::{within, Breaker, ErasedStore, Failure, Lease},
};

/// Chunks and manifests in a store, and its leases.
pub(crate) struct Records {
    store: Arc<dyn ErasedStore>,
    limit: Duration,
    /// Chunks that came back as something else.
    damaged: AtomicU64,
    /// The store said that it has no leases.
    has_no_leases: AtomicBool,
    /// Spare viewers the wait for a store that hangs, in looking and in putting: a store that has no time for a chunk may
    /// have it for a record.
    looks: Spared,
    puts: Spared,
    /// Told of each answer, while somebody waits to try again what the store failed.
    answers: watch::Sender<()>,
}

impl Records {
    /// `limit` is how long each call of the store may take.
    pub(crate) fn new(store: Arc<dyn ErasedStore>, limit: Duration) -> Self {
        let (damaged, has_no_leases) = (AtomicU64::new(0), AtomicBool::new(false));
        // One in this process's memory does not hang.
        let spared = || store.can_alter().then(|| Breaker::new(LATE_CALLS, limit.saturating_mul(REST)));
        let (looks, puts) = (spared(), spared());
        let answers = watch::Sender::new(());
        Self { store, limit, damaged, has_no_leases, looks, puts, answers }
    }

    /// How long each call may take.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The chunk size to fill with: `wanted`, or less of it so that the store's values can hold a chunk, and the store two
    /// of them with all that they take beside their bytes.
    pub(crate) fn chunk_size(&self, wanted: u32) -> u32 {
        let value = self.store.max_value_size().map_or(u64::MAX, |most| most.saturating_sub(TRAILER_BYTES));
        let half = self.store.capacity().map_or(u64::MAX, |bytes| (bytes / 2).saturating_sub(CHUNK_OVERHEAD));
        u32::try_from(value.min(half)).unwrap_or(u32::MAX).clamp(1, wanted)
    }

    /// The record at `slot` as it lies in the store.
    pub(crate) async fn record(&self, slot: &Slot) -> Result<Option<Bytes>, Error> {
        if self.looks.is_none() {
            return self.call(|store| store.get(slot.as_str())).await;
        }
        // In a box of its own, so that a hit in this process's memory has a small one.
        Box::pin(self.spared(&self.looks, |store| store.get(slot.as_str()))).await
    }

    pub(crate) async fn put_record(&self, slot: &Slot, record: &Record) -> Result<(), Error> {
        let record = record.encode();
        self.spared(&self.puts, |store| store.put(slot.as_str(), record)).await
    }

    /// The mark that the last invalidation of the key at `primary` left, if there was one that the store remembers.
    pub(crate) async fn last_invalidation(&self, primary: &Slot) -> Result<Option<Bytes>, Error> {
        let key = invalidation_key(primary);
        self.spared(&self.looks, |store| store.get(&key)).await
    }

    /// Leaves a mark by which fills of the key at `primary` can tell that it was invalidated.
    pub(crate) async fn mark_invalidation(&self, primary: &Slot) -> Result<(), Error> {
        let mark = Generation::random().ok_or_else(|| Error::store("there are no random bytes".into()))?;
        let key = invalidation_key(primary);
        self.call(|store| store.put(&key, invalidation::mark(mark))).await
    }

    pub(crate) async fn remove_record(&self, slot: &Slot) -> Result<(), Error> {
        self.call(|store| store.remove(slot.as_str())).await
    }

    /// The bytes of one chunk, proved to be those that were put. Asked for at any time: whoever reads them has no other way.
    pub(crate) async fn chunk(&self, name: ChunkName) -> Result<Bytes, Error> {
        let key = chunk_key(name.generation, name.index);
        let record = self.call(|store| store.get(&key)).await?.ok_or_else(Error::lost)?;
        chunk::open(&record, name, self.checksum()).ok_or_else(|| {
            self.damaged.fetch_add(1, Ordering::Relaxed);
            Error::corrupt()
        })
    }

    /// How often a chunk came back from the store as something else than what was put.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Puts one chunk; gives the chunk back with the error if the store does not take it.
    pub(crate) async fn put_chunk(
        &self,
        generation: Generation,
        index: u64,
        payload: BytesMut,
    ) -> Result<(), (Bytes, Error)> {
        let length = payload.len();
        let key = chunk_key(generation, index);
        let record = chunk::seal(payload, generation, index, self.checksum());
        let put = self.spared(&self.puts, |store| store.put(&key, record.clone())).await;
        put.map_err(|error| (record.slice(..length), error))
    }

    /// Whether the store may have leases: it has not said yet that it has none.
    pub(crate) fn may_lease(&self) -> bool {
        !self.has_no_leases.load(Ordering::Relaxed)
    }

    pub(crate) async fn lease(&self, key: &str, holder: &str, time: Duration) -> Result<Lease, Error> {
        let lease = self.spared(&self.looks, |store| store.lease(key, holder, time)).await?;
        if lease == Lease::NotOffered {
            self.has_no_leases.store(true, Ordering::Relaxed);
        }
        Ok(lease)
    }

    /// Whether the lease is still the holder's, from now on for `time`.
    pub(crate) async fn renew(&self, key: &str, holder: &str, time: Duration) -> Result<bool, Error> {
        self.call(|store| store.renew(key, holder, time)).await
    }

    pub(crate) async fn release(&self, key: &str, holder: &str) -> Result<(), Error> {
        self.call(|store| store.release(key, holder)).await
    }

    /// Takes the lease of `slot` from whoever has it.
    pub(crate) async fn remove_lease(&self, key: &str) -> Result<(), Error> {
        self.call(|store| store.remove(key)).await
    }

    /// How long a call that came to nothing was waited for, if that is worth a word.
    pub(crate) fn waited_since(&self, asked: Instant) -> Waited {
        let waited = moment().saturating_duration_since(asked);
        Waited(if waited < self.limit / 4 { Duration::ZERO } else { waited })
    }

    /// Whether an answer has been held up for long enough by a store that does not answer: nothing more is to be asked of it
    /// on its behalf.
    pub(crate) fn is_enough(&self, Waited(waited): Waited) -> bool {
        waited > self.limit.saturating_sub(self.limit / 4)
    }

    /// Until the store answers some call, or a second has passed: then what it failed is to be tried again.
    pub(crate) async fn next_try(&self) {
        let mut answers = self.answers.subscribe();
        // A store that answers, but not to this, is not to be asked without end.
        sleep(LEAST_PAUSE).await;
        let _ = timeout(LONGEST_PAUSE.saturating_sub(LEAST_PAUSE), answers.changed()).await;
    }

    fn checksum(&self) -> Checksum {
        if self.store.can_alter() {
            Checksum::Required
        } else {
            Checksum::Omitted
        }
    }

    /// One call of the store, unless several such in a row took too long: then it is left alone for a while.
    async fn spared<'a, T, F, C>(&'a self, breaker: &Spared, call: C) -> Result<T, Error>
    where
        F: Future<Output = Result<T, BoxError>> + Unpin,
        C: FnOnce(&'a dyn ErasedStore) -> F,
    {
        let pass = breaker.as_ref().map(Breaker::admit).transpose();
        let pass = pass.map_err(|open| Error::left_alone(open.into()))?;
        let done = self.call(call).await;
        if done.is_ok() && self.answers.receiver_count() > 0 {
            self.answers.send_replace(());
        }
        if let Some(pass) = pass {
            // Any other error is an answer.
            pass.ended(!done.as_ref().is_err_and(Error::is_timeout));
        }
        done
    }

    /// One call of the store. That it fails, takes too long or panics is an error like any other.
    fn call<'a, T, F, C>(&'a self, call: C) -> impl Future<Output = Result<T, Error>> + use<'a, T, F, C>
    where
        F: Future<Output = Result<T, BoxError>> + Unpin,
        C: FnOnce(&'a dyn ErasedStore) -> F,
    {
        let limit = self.limit;
        within(limit, || call(&*self.store), move |failure, waited| said(failure, waited, limit))
    }
}

/// How long a store was waited for in vain, for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waited(pub(crate) Duration);

impl Waited {
    /// Long enough, whatever the limit.
    pub(crate) const LONG: Self = Self(Duration::MAX);

    pub(crate) fn of(error: &Error) -> Self {
        Self(error.waited())
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// What a store hung in of late; nothing for one that does not hang.
type Spared = Option<Breaker>;

/// What is said of a call that came to nothing.
fn said(failure: Failure, waited: Duration, limit: Duration) -> Error {
    match failure {
        // A store that has a limit of its own fails by that.
        Failure::Failed(error) if waited >= limit / 4 => Error::late_store(error, waited),
        Failure::Failed(error) => Error::store(error),
        Failure::Late => Error::timed_out(),
        Failure::Panicked => Error::store("the store panicked".into()),
    }
}

/// In a row, before a store counts as one that hangs.
const LATE_CALLS: NonZeroU32 = NonZeroU32::new(3).unwrap();

/// How many times as long as a call may take it is left alone then.
const REST: u32 = 5;

/// Between two tries of what a store failed: so long at least, and so long at most.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a chunk weighs in a store beside its bytes, about: its trailer, its key, the store's own bookkeeping.
pub(crate) const CHUNK_OVERHEAD: u64 = 512;

const TRAILER_BYTES: u64 = 40;

const _: () = assert!(TRAILER == 40, "the two spell one number in two types");
