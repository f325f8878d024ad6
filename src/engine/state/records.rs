//! Calls the store for the engine: by the names of records, within a time limit, and with every failure as an error.

use std::{
    future::Future,
    num::NonZeroU32,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    clock::moment,
    counters::{Counters, DAMAGED, EVENTS, Operation, STORE_CALLS, STORE_ERRORS},
    error::{BoxError, Error},
    format::{
        chunk::{self, Checksum, ChunkName, PieceName, TRAILER},
        invalidation,
        key::{Generation, Slot, chunk_key, invalidation_key, piece_key},
        layout::Layout,
        manifest::Record,
    },
    observer::Event,
    store::{Breaker, ErasedStore, Failure, Lease, PutNew, Turn, within},
};

/// The chunks, records and leases in a store.
pub(crate) struct Records {
    store: Arc<dyn ErasedStore>,
    limit: Duration,
    counters: Arc<Counters>,
    /// Whether the store has said that it has no leases.
    has_no_leases: AtomicBool,
    /// Circuit breakers that spare clients the wait for a store that hangs. Looking and putting have one each: a
    /// store that has no time for a chunk may have time for a record.
    looks: Spared,
    puts: Spared,
    /// Notified of each answer of the store, while somebody waits to retry a call that failed.
    answers: watch::Sender<()>,
}

impl Records {
    /// `limit` is how long each call of the store may take.
    pub(crate) fn new(store: Arc<dyn ErasedStore>, limit: Duration, counters: Arc<Counters>) -> Self {
        let has_no_leases = AtomicBool::new(false);
        // A store in this process's memory does not hang.
        let spared = || store.can_alter().then(|| Breaker::new(LATE_CALLS, limit.saturating_mul(REST)));
        let (looks, puts) = (spared(), spared());
        let answers = watch::Sender::new(());
        Self { store, limit, counters, has_no_leases, looks, puts, answers }
    }

    /// How long each call of the store may take.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The chunk size to fill with: `wanted`, or less of it so that the store's values can hold a chunk, and the store
    /// two of them with all that they take beside their bytes.
    pub(crate) fn chunk_size(&self, wanted: u32) -> u32 {
        let value = self.store.max_value_size().map_or(u64::MAX, |most| most.saturating_sub(TRAILER_BYTES));
        let half = self.store.capacity().map_or(u64::MAX, |bytes| (bytes / 2).saturating_sub(CHUNK_OVERHEAD));
        u32::try_from(value.min(half)).unwrap_or(u32::MAX).clamp(1, wanted)
    }

    /// The record at `slot` as it lies in the store.
    pub(crate) async fn record(&self, slot: &Slot) -> Result<Option<Bytes>, Error> {
        if self.looks.is_none() {
            return self.call(Operation::Get, |store| store.get(slot.as_str())).await;
        }
        // Boxed, so that the future of a hit in this process's memory stays small.
        Box::pin(self.spared(Operation::Get, &self.looks, |store| store.get(slot.as_str()))).await
    }

    pub(crate) async fn put_record(&self, slot: &Slot, record: &Record) -> Result<(), Error> {
        let record = record.encode();
        self.spared(Operation::Put, &self.puts, |store| store.put(slot.as_str(), record)).await
    }

    /// The mark that the last invalidation of the key at `primary` left, if the store still has one.
    pub(crate) async fn last_invalidation(&self, primary: &Slot) -> Result<Option<Bytes>, Error> {
        let key = invalidation_key(primary);
        self.spared(Operation::Get, &self.looks, |store| store.get(&key)).await
    }

    /// Leaves a mark by which fills of the key at `primary` can tell that it was invalidated.
    pub(crate) async fn mark_invalidation(&self, primary: &Slot) -> Result<(), Error> {
        let mark = Generation::random().ok_or_else(|| Error::store("there are no random bytes".into()))?;
        let key = invalidation_key(primary);
        self.call(Operation::Put, |store| store.put(&key, invalidation::mark(mark))).await
    }

    pub(crate) async fn remove_record(&self, slot: &Slot) -> Result<(), Error> {
        self.call(Operation::Remove, |store| store.remove(slot.as_str())).await
    }

    /// Returns the bytes of one chunk, proved to be those that were put. The call ignores the circuit breakers,
    /// because a reader has no other way to get the bytes.
    pub(crate) async fn chunk(&self, name: ChunkName) -> Result<Bytes, Error> {
        let key = chunk_key(name.generation, name.index);
        let record = self.call(Operation::Get, |store| store.get(&key)).await?.ok_or_else(Error::lost)?;
        chunk::open(&record, name, self.checksum()).ok_or_else(|| self.damaged())
    }

    /// Returns the stored bytes around `offset`: its whole chunk, or its piece if there is no more.
    ///
    /// # Errors
    ///
    /// The store has neither.
    pub(crate) async fn around(&self, layout: Layout, offset: u64) -> Result<Stretch, Error> {
        let whole = self.chunk(layout.chunk(layout.locate(offset).0)).await;
        match whole {
            Ok(bytes) => Stretch { start: layout.chunk_around(offset).start, bytes }.with(offset),
            // Boxed, so that the future of a hit stays small.
            Err(error) if error.is_lost() => {
                Box::pin(self.piece_around(layout, offset)).await.map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the stored piece that holds the byte at `offset`.
    ///
    /// # Errors
    ///
    /// The store does not have it.
    pub(crate) async fn piece_around(&self, layout: Layout, offset: u64) -> Result<Stretch, Error> {
        let bytes = self.piece(layout.piece(offset)).await?;
        Stretch { start: layout.piece_start(offset), bytes }.with(offset)
    }

    async fn piece(&self, name: PieceName) -> Result<Bytes, Error> {
        let key = piece_key(name.generation, name.index, name.number);
        let record = self.call(Operation::Get, |store| store.get(&key)).await?.ok_or_else(Error::lost)?;
        chunk::open_piece(&record, name, self.checksum()).ok_or_else(|| self.damaged())
    }

    /// Puts one piece of a chunk, or more of one that was put before.
    pub(crate) async fn put_piece(&self, name: PieceName, bytes: &[u8]) -> Result<(), Error> {
        let key = piece_key(name.generation, name.index, name.number);
        let mut payload = BytesMut::with_capacity(bytes.len() + TRAILER);
        payload.extend_from_slice(bytes);
        let record = chunk::seal_piece(payload, name, self.checksum());
        self.spared(Operation::Put, &self.puts, |store| store.put(&key, record)).await
    }

    /// Removes the pieces that hold these bytes, once their chunk is stored.
    pub(crate) async fn remove_pieces(&self, layout: Layout, bytes: Range<u64>) {
        for piece in layout.pieces(bytes) {
            let PieceName { generation, index, number, .. } = layout.piece(piece.start);
            let key = piece_key(generation, index, number);
            // A piece that stays is of no harm: it has the same bytes as its chunk.
            let _ = self.call(Operation::Remove, |store| store.remove(&key)).await;
        }
    }

    /// Puts the pieces of a chunk together, if all of them are stored. `bytes` is the range of that chunk.
    pub(crate) async fn join_pieces(&self, layout: Layout, bytes: Range<u64>) {
        let mut payload =
            BytesMut::with_capacity(usize::try_from(bytes.end - bytes.start).unwrap_or_default());
        for piece in layout.pieces(bytes.clone()) {
            let Ok(part) = self.piece(layout.piece(piece.start)).await else {
                return;
            };
            payload.extend_from_slice(&part);
            // A short piece is not all of its bytes.
            if bytes.start.saturating_add(u64::try_from(payload.len()).unwrap_or(u64::MAX)) != piece.end {
                return;
            }
        }
        let (index, _) = layout.locate(bytes.start);
        if self.put_chunk(layout.generation, index, payload).await.is_ok() {
            self.remove_pieces(layout, bytes).await;
        }
    }

    /// Puts one chunk. If the store does not take it, returns the chunk with the error.
    pub(crate) async fn put_chunk(
        &self,
        generation: Generation,
        index: u64,
        payload: BytesMut,
    ) -> Result<(), (Bytes, Error)> {
        let length = payload.len();
        let key = chunk_key(generation, index);
        let record = chunk::seal(payload, generation, index, self.checksum());
        let put = self.spared(Operation::Put, &self.puts, |store| store.put(&key, record.clone())).await;
        put.map_err(|error| (record.slice(..length), error))
    }

    /// Whether calls are not made at present, because the last ones took too long.
    pub(crate) fn is_left_alone(&self) -> bool {
        [&self.looks, &self.puts].into_iter().flatten().any(Breaker::is_open)
    }

    /// Whether the store may have leases: it has not said yet that it has none.
    pub(crate) fn may_lease(&self) -> bool {
        !self.has_no_leases.load(Ordering::Relaxed)
    }

    pub(crate) async fn lease(&self, key: &str, holder: &str, time: Duration) -> Result<Lease, Error> {
        let lease =
            self.spared(Operation::Lease, &self.looks, |store| store.lease(key, holder, time)).await?;
        if lease == Lease::NotOffered {
            self.has_no_leases.store(true, Ordering::Relaxed);
        }
        Ok(lease)
    }

    /// Renews the lease for `time` from now on. Returns whether it is still the holder's.
    pub(crate) async fn renew(&self, key: &str, holder: &str, time: Duration) -> Result<bool, Error> {
        self.call(Operation::Renew, |store| store.renew(key, holder, time)).await
    }

    pub(crate) async fn release(&self, key: &str, holder: &str) -> Result<(), Error> {
        self.call(Operation::Release, |store| store.release(key, holder)).await
    }

    /// Puts a value of the log of purges, unless there is one already. After an error, the store may have it or not.
    pub(crate) async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, Error> {
        self.call(Operation::PutNew, |store| store.put_new(key, value)).await
    }

    /// A value of the log of purges.
    pub(crate) async fn log_value(&self, key: &str) -> Result<Option<Bytes>, Error> {
        self.spared(Operation::Get, &self.looks, |store| store.get(key)).await
    }

    pub(crate) async fn put_log_value(&self, key: &str, value: Bytes) -> Result<(), Error> {
        self.call(Operation::Put, |store| store.put(key, value)).await
    }

    pub(crate) async fn remove_log_value(&self, key: &str) -> Result<(), Error> {
        self.call(Operation::Remove, |store| store.remove(key)).await
    }

    /// Whether the store could lose a value of the log while this process runs.
    pub(crate) fn can_lose(&self) -> bool {
        self.store.can_alter()
    }

    /// Takes the lease at `key` from its holder.
    pub(crate) async fn remove_lease(&self, key: &str) -> Result<(), Error> {
        self.call(Operation::Remove, |store| store.remove(key)).await
    }

    /// How long a failed call was waited for; zero if that was short.
    pub(crate) fn waited_since(&self, asked: Instant) -> Waited {
        let waited = moment().saturating_duration_since(asked);
        Waited(if waited < self.limit / 4 { Duration::ZERO } else { waited })
    }

    /// Whether a store that does not answer has held one answer up for long enough. Then the cache asks the store no
    /// more on behalf of that answer.
    pub(crate) fn is_enough(&self, Waited(waited): Waited) -> bool {
        waited > self.limit.saturating_sub(self.limit / 4)
    }

    /// Waits until the store answers some call, or a second has passed. Then the caller retries the call that failed.
    pub(crate) async fn next_try(&self) {
        let mut answers = self.answers.subscribe();
        // A store that answers other calls, but not this one, must not be asked without end.
        sleep(LEAST_PAUSE).await;
        let _ = timeout(LONGEST_PAUSE.saturating_sub(LEAST_PAUSE), answers.changed()).await;
    }

    /// Counts a value that failed its checksum.
    fn damaged(&self) -> Error {
        self.counters.add(EVENTS, DAMAGED, 1);
        self.counters.tell(|| Event::ChunkDamaged);
        Error::corrupt()
    }

    fn checksum(&self) -> Checksum {
        if self.store.can_alter() { Checksum::Required } else { Checksum::Omitted }
    }

    /// Calls the store, unless several such calls in a row took too long. Then the circuit breaker stays open for a
    /// while.
    async fn spared<'a, T, F, C>(
        &'a self,
        operation: Operation,
        breaker: &Spared,
        call: C,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, BoxError>> + Unpin,
        C: FnOnce(&'a dyn ErasedStore) -> F,
    {
        let pass = breaker.as_ref().map(Breaker::admit).transpose();
        let pass = pass.map_err(|open| Error::left_alone(open.into()))?;
        let done = self.call(operation, call).await;
        if done.is_ok() && self.answers.receiver_count() > 0 {
            self.answers.send_replace(());
        }
        if let Some(pass) = pass {
            // Any error but a timeout is an answer.
            let operation = operation.word();
            match pass.ended(!done.as_ref().is_err_and(Error::is_timeout)) {
                Some(Turn::Opened) => self.counters.tell(|| Event::StoreLeftAlone { operation }),
                Some(Turn::Closed) => self.counters.tell(|| Event::StoreBack { operation }),
                None => {}
            }
        }
        done
    }

    /// Calls the store, and counts the call. If the call fails, takes too long or panics, that is an error.
    fn call<'a, T, F, C>(
        &'a self,
        operation: Operation,
        call: C,
    ) -> impl Future<Output = Result<T, Error>> + use<'a, T, F, C>
    where
        F: Future<Output = Result<T, BoxError>> + Unpin,
        C: FnOnce(&'a dyn ErasedStore) -> F,
    {
        let ended = move |done: Result<T, Failure>, waited| {
            self.count(operation, done.is_err(), waited);
            done.map_err(|failure| said(failure, waited, self.limit))
        };
        within(self.limit, || call(&*self.store), ended)
    }

    fn count(&self, operation: Operation, has_failed: bool, waited: Duration) {
        self.counters.add_duration(STORE_CALLS, operation.place(), waited);
        if has_failed {
            self.counters.add(STORE_ERRORS, operation.place(), 1);
        }
        self.counters.tell(|| Event::StoreCalled { operation: operation.word(), took: waited, has_failed });
    }
}

/// Bytes of a stored body, and the offset where they begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: u64,
    pub(crate) bytes: Bytes,
}

impl Stretch {
    /// The bytes from `offset` in the body on.
    pub(crate) fn from(&self, offset: u64) -> Bytes {
        let skipped = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.bytes.slice(skipped.min(self.bytes.len())..)
    }

    /// Whether the byte at `offset` is among the bytes.
    pub(crate) fn holds(&self, offset: u64) -> bool {
        (self.start..self.end()).contains(&offset)
    }

    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }

    /// These bytes, if the one at `offset` is among them. A piece that is still coming may not have that byte yet.
    fn with(self, offset: u64) -> Result<Self, Error> {
        if self.holds(offset) { Ok(self) } else { Err(Error::lost()) }
    }
}

/// How long one answer waited for the store in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waited(pub(crate) Duration);

impl Waited {
    /// Long enough under any limit.
    pub(crate) const LONG: Self = Self(Duration::MAX);

    pub(crate) fn of(error: &Error) -> Self {
        Self(error.waited())
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// The circuit breaker of a store that may hang; `None` for a store that does not.
type Spared = Option<Breaker>;

/// The error for a call that failed.
fn said(failure: Failure, waited: Duration, limit: Duration) -> Error {
    match failure {
        // A store that has a time limit of its own fails when that is over.
        Failure::Failed(error) if waited >= limit / 4 => Error::late_store(error, waited),
        Failure::Failed(error) => Error::store(error),
        Failure::Late => Error::timed_out(),
        Failure::Panicked => Error::store("the store panicked".into()),
    }
}

/// How many late calls in a row make a store count as one that hangs.
const LATE_CALLS: NonZeroU32 = NonZeroU32::new(3).unwrap();

/// How long the circuit breaker stays open, as a multiple of the time that a call may take.
const REST: u32 = 5;

/// The shortest pause between two tries of a call that failed. [`LONGEST_PAUSE`] is the longest.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The approximate weight of a chunk in a store beside its bytes: its trailer, its key, the store's own bookkeeping.
pub(crate) const CHUNK_OVERHEAD: u64 = 512;

const TRAILER_BYTES: u64 = 40;

const _: () = assert!(TRAILER == 40, "the two spell one number in two types");
