//! [`FaultStore`]: a store that fails as a test tells it.

use std::{
    future::pending,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use super::{Lease, PutNew, Store, Usage, is_log};
use crate::error::BoxError;

/// Wraps a store and spoils chosen calls of it. Calls about leases pass unchanged.
///
/// The store counts the calls of each [`Operation`] from 1. Keep it in an [`Arc`](std::sync::Arc), so that the test can
/// add faults and read counts while the layer uses the store.
///
/// ```
/// # #[cfg(not(feature = "moka"))]
/// # fn main() {}
/// # #[cfg(feature = "moka")]
/// # fn main() -> Result<(), tower_video_cache::Error> {
/// use std::sync::Arc;
/// use tower_video_cache::{Fault, FaultStore, MokaStore, Operation, VideoCacheLayer};
///
/// let store = Arc::new(FaultStore::new(MokaStore::new(1 << 20)?));
/// store.spoil(Operation::Put, 2, Fault::Error); // the second put fails
/// let layer = VideoCacheLayer::new(Arc::clone(&store));
/// # Ok(())
/// # }
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Debug)]
pub struct FaultStore<S> {
    store: S,
    state: Mutex<State>,
}

/// A call of a [`Store`] that [`FaultStore`] counts and spoils.
///
/// ```
/// # use tower_video_cache::{FaultStore, MokaStore, Operation};
/// let store = FaultStore::new(MokaStore::new(1 << 20)?);
/// assert_eq!(store.calls(Operation::Get), 0);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// [`Store::get`], but for the log of purges.
    Get,
    /// [`Store::get`] of a key that begins with `p/`: a part of the log of purges.
    GetLog,
    /// [`Store::put`], but for the log of purges.
    Put,
    /// [`Store::put`] of a key that begins with `p/`.
    PutLog,
    /// [`Store::put_new`].
    PutNew,
    /// [`Store::remove`], but for the log of purges.
    Remove,
    /// [`Store::remove`] of a key that begins with `p/`.
    RemoveLog,
}

/// The way in which a [`FaultStore`] spoils a call.
///
/// ```
/// # use std::time::Duration;
/// # use tower_video_cache::{Fault, FaultStore, MokaStore, Operation};
/// let store = FaultStore::new(MokaStore::new(1 << 20)?);
/// store.spoil_from(Operation::Get, 1, Fault::Slow(Duration::from_millis(300)));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The call does nothing and returns an error.
    Error,
    /// The call takes effect and returns an error, as if its answer were lost.
    ErrorAfter,
    /// A get returns `None`. A put or a remove does nothing and returns `Ok`. A put of a new value does nothing and
    /// returns [`PutNew::Created`].
    Absent,
    /// A get or a put flips one bit of the value. A remove takes effect.
    Corrupt,
    /// The call takes effect after this time, by tokio's clock.
    Slow(Duration),
    /// The call never ends.
    Hang,
    /// A put takes effect and is undone at once. A get returns the value, which is then lost. A put of a new value is
    /// undone only if it created the value.
    Lost,
    /// The call panics.
    Panic,
}

impl<S: Store> FaultStore<S> {
    /// Wraps `store`, without a fault.
    pub fn new(store: S) -> Self {
        Self { store, state: Mutex::default() }
    }

    /// Spoils the `nth` call of `operation`, counted from 1.
    pub fn spoil(&self, operation: Operation, nth: u64, fault: Fault) {
        self.with(|state| state.faults.push(Planned { operation, first: nth, last: nth, fault }));
    }

    /// Spoils the `nth` call of `operation`, counted from 1, and all later ones.
    pub fn spoil_from(&self, operation: Operation, nth: u64, fault: Fault) {
        self.with(|state| state.faults.push(Planned { operation, first: nth, last: u64::MAX, fault }));
    }

    /// Removes all faults.
    pub fn heal(&self) {
        self.with(|state| state.faults.clear());
    }

    /// The number of calls of `operation` so far.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.with(|state| *state.count(operation))
    }

    /// The wrapped store.
    pub fn inner(&self) -> &S {
        &self.store
    }

    fn next(&self, operation: Operation) -> Option<Fault> {
        self.with(|state| {
            let count = state.count(operation);
            *count += 1;
            let nth = *count;
            let spoils = |planned: &&Planned| {
                planned.operation == operation && (planned.first..=planned.last).contains(&nth)
            };
            state.faults.iter().find(spoils).map(|planned| planned.fault)
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[expect(clippy::panic, reason = "a panicking store is one of the faults")]
impl<S: Store> Store for FaultStore<S> {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        match self.next(if is_log(key) { Operation::GetLog } else { Operation::Get }) {
            None => self.store.get(key).await,
            Some(Fault::Error | Fault::ErrorAfter) => Err("an injected error".into()),
            Some(Fault::Absent) => Ok(None),
            Some(Fault::Corrupt) => Ok(self.store.get(key).await?.map(|value| flip_a_bit(&value))),
            Some(Fault::Slow(by)) => {
                tokio::time::sleep(by).await;
                self.store.get(key).await
            }
            Some(Fault::Hang) => pending().await,
            Some(Fault::Lost) => {
                let value = self.store.get(key).await;
                self.store.remove(key).await?;
                value
            }
            Some(Fault::Panic) => panic!("an injected panic"),
        }
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        match self.next(if is_log(key) { Operation::PutLog } else { Operation::Put }) {
            None => self.store.put(key, value).await,
            Some(Fault::Error) => Err("an injected error".into()),
            Some(Fault::ErrorAfter) => {
                self.store.put(key, value).await?;
                Err("an injected error".into())
            }
            Some(Fault::Absent) => Ok(()),
            Some(Fault::Corrupt) => self.store.put(key, flip_a_bit(&value)).await,
            Some(Fault::Slow(by)) => {
                tokio::time::sleep(by).await;
                self.store.put(key, value).await
            }
            Some(Fault::Hang) => pending().await,
            Some(Fault::Lost) => {
                self.store.put(key, value).await?;
                self.store.remove(key).await
            }
            Some(Fault::Panic) => panic!("an injected panic"),
        }
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        match self.next(if is_log(key) { Operation::RemoveLog } else { Operation::Remove }) {
            None | Some(Fault::Corrupt | Fault::Lost) => self.store.remove(key).await,
            Some(Fault::Error) => Err("an injected error".into()),
            Some(Fault::ErrorAfter) => {
                self.store.remove(key).await?;
                Err("an injected error".into())
            }
            Some(Fault::Absent) => Ok(()),
            Some(Fault::Slow(by)) => {
                tokio::time::sleep(by).await;
                self.store.remove(key).await
            }
            Some(Fault::Hang) => pending().await,
            Some(Fault::Panic) => panic!("an injected panic"),
        }
    }

    fn max_value_size(&self) -> Option<u64> {
        self.store.max_value_size()
    }

    fn capacity(&self) -> Option<u64> {
        self.store.capacity()
    }

    fn usage(&self) -> Option<Usage> {
        self.store.usage()
    }

    fn lag(&self) -> Duration {
        self.store.lag()
    }

    /// `true`, because a fault can alter values.
    fn can_alter(&self) -> bool {
        true
    }

    async fn lease(&self, key: &str, holder: &str, time: Duration) -> Result<Lease, BoxError> {
        self.store.lease(key, holder, time).await
    }

    async fn renew(&self, key: &str, holder: &str, time: Duration) -> Result<bool, BoxError> {
        self.store.renew(key, holder, time).await
    }

    async fn release(&self, key: &str, holder: &str) -> Result<(), BoxError> {
        self.store.release(key, holder).await
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        match self.next(Operation::PutNew) {
            None => self.store.put_new(key, value).await,
            Some(Fault::Error) => Err("an injected error".into()),
            Some(Fault::ErrorAfter) => {
                self.store.put_new(key, value).await?;
                Err("an injected error".into())
            }
            Some(Fault::Absent) => Ok(PutNew::Created),
            Some(Fault::Corrupt) => self.store.put_new(key, flip_a_bit(&value)).await,
            Some(Fault::Slow(by)) => {
                tokio::time::sleep(by).await;
                self.store.put_new(key, value).await
            }
            Some(Fault::Hang) => pending().await,
            Some(Fault::Lost) => {
                let put = self.store.put_new(key, value).await?;
                if put == PutNew::Created {
                    self.store.remove(key).await?;
                }
                Ok(put)
            }
            Some(Fault::Panic) => panic!("an injected panic"),
        }
    }

    fn is_down(&self) -> bool {
        self.store.is_down()
    }
}

#[derive(Debug, Default)]
struct State {
    gets: u64,
    gets_of_the_log: u64,
    puts: u64,
    puts_to_the_log: u64,
    puts_of_new: u64,
    removes: u64,
    removes_from_the_log: u64,
    faults: Vec<Planned>,
}

impl State {
    fn count(&mut self, operation: Operation) -> &mut u64 {
        match operation {
            Operation::Get => &mut self.gets,
            Operation::GetLog => &mut self.gets_of_the_log,
            Operation::Put => &mut self.puts,
            Operation::PutLog => &mut self.puts_to_the_log,
            Operation::PutNew => &mut self.puts_of_new,
            Operation::Remove => &mut self.removes,
            Operation::RemoveLog => &mut self.removes_from_the_log,
        }
    }
}

#[derive(Debug)]
struct Planned {
    operation: Operation,
    first: u64,
    last: u64,
    fault: Fault,
}

/// Flips a bit in the middle of the value. In a chunk, the middle is a part of the video.
fn flip_a_bit(value: &Bytes) -> Bytes {
    let mut value = value.to_vec();
    let middle = value.len() / 2;
    if let Some(byte) = value.get_mut(middle) {
        *byte ^= 1;
    }
    value.into()
}
