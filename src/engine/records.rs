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

use crate::{
    error::{BoxError, Error},
    format::{
        chunk::{self, Checksum, ChunkName, TRAILER},
        key::{chunk_key, Generation, Slot},
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
}

impl Records {
    /// `limit` is how long each call of the store may take.
    pub(crate) fn new(store: Arc<dyn ErasedStore>, limit: Duration) -> Self {
        let (damaged, has_no_leases) = (AtomicU64::new(0), AtomicBool::new(false));
        // One in this process's memory does not hang.
        let spared = || store.can_alter().then(|| Breaker::new(LATE_CALLS, limit.saturating_mul(REST)));
        let (looks, puts) = (spared(), spared());
        Self { store, limit, damaged, has_no_leases, looks, puts }
    }

    /// How long each call may take.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The chunk size to fill with: `wanted`, or as much of it as the store's values can hold.
    pub(crate) fn chunk_size(&self, wanted: u32) -> u32 {
        let room =
            self.store.largest_value().map_or(u64::MAX, |largest| largest.saturating_sub(TRAILER_BYTES));
        u32::try_from(room).unwrap_or(u32::MAX).clamp(1, wanted)
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
        if let Some(pass) = pass {
            // Any other error is an answer.
            pass.ended(!done.as_ref().is_err_and(Error::is_timed_out));
        }
        done
    }

    /// One call of the store. That it fails, takes too long or panics is an error like any other.
    fn call<'a, T, F, C>(&'a self, call: C) -> impl Future<Output = Result<T, Error>> + use<'a, T, F, C>
    where
        F: Future<Output = Result<T, BoxError>> + Unpin,
        C: FnOnce(&'a dyn ErasedStore) -> F,
    {
        within(self.limit, || call(&*self.store), said)
    }
}

/// What a store hung in of late; nothing for one that does not hang.
type Spared = Option<Breaker>;

/// What is said of a call that came to nothing.
fn said(failure: Failure) -> Error {
    match failure {
        Failure::Failed(error) => Error::store(error),
        Failure::Late => Error::timed_out(),
        Failure::Panicked => Error::store("the store panicked".into()),
    }
}

/// In a row, before a store counts as one that hangs.
const LATE_CALLS: NonZeroU32 = NonZeroU32::new(3).unwrap();

/// How many times as long as a call may take it is left alone then.
const REST: u32 = 5;

const TRAILER_BYTES: u64 = 40;
const _: () = assert!(TRAILER == 40, "the two spell one number in two types");
