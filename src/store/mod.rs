//! The [`Store`] contract, and the stores of this crate.

mod boxed;
mod breaker;
#[cfg(feature = "test-util")]
pub mod conformance;
mod erased;
#[cfg(feature = "test-util")]
mod fault;
#[cfg(feature = "foyer")]
mod foyer;
#[cfg(feature = "moka")]
mod log;
#[cfg(feature = "moka")]
mod moka;
#[cfg(feature = "opendal")]
mod opendal;
#[cfg(feature = "redis")]
mod redis;
mod tiered;
mod within;

use std::{
    future::{Future, ready},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

#[cfg(feature = "test-util")]
pub use self::fault::{Fault, FaultStore, Operation};
#[cfg(feature = "foyer")]
pub use self::foyer::{FoyerOptions, FoyerStore};
#[cfg(feature = "moka")]
pub use self::moka::MokaStore;
#[cfg(feature = "opendal")]
pub use self::opendal::OpendalStore;
#[cfg(feature = "redis")]
pub use self::redis::RedisStore;
pub(crate) use self::within::{Failure, within};
pub use self::{
    boxed::BoxStore,
    tiered::{Tiered, Writes},
};
pub(crate) use self::{
    breaker::{Breaker, Turn},
    erased::ErasedStore,
};
use crate::error::BoxError;

/// Keeps chunks and manifests: whole values under keys.
///
/// The contract:
///
/// - A [`get`](Self::get) returns the last whole value put under the key, or `None`, or an error. It never returns
///   another value or a part of one.
/// - `None` right after a [`put`](Self::put) is allowed: the store may evict values, refuse them, or read from a
///   replica that is behind. The cache treats `None` as a miss.
/// - A [`remove`](Self::remove) of an absent key is `Ok`.
/// - Keys are ASCII, of `[0-9a-z/._-]`, at most 128 bytes. Values are at most one chunk and 40 bytes long.
/// - A value under a key that begins with `c/` never changes. Values under other keys may change, by this process or
///   another.
/// - A key that begins with `i/` marks an invalidation. Every process must see such a put at once. Otherwise another
///   node may put back a response that was removed.
/// - Keys that begin with `p/` are a log of purges, with small values. Every process must see the change of such a
///   value at once. The store should evict or expire no such value before other values. The cache notices that a part
///   of the log is lost, and then validates the stored responses.
/// - The store decides how long it *keeps* values. The values themselves say how long they are *fresh*. The cache does
///   not remove the chunks of a replaced response, because a client may still read them. So a store must evict or
///   expire values that are no longer read.
///
/// The trait has no `dyn` form. [`BoxStore`] is for an application that chooses its store at run time.
///
/// Clients never see an error of the store: the cache treats it as a miss, or passes on the inner response.
/// [`conformance`](crate::conformance) (feature `test-util`) checks your own store against this contract.
///
/// # Cancel safety
///
/// The cache drops calls that take too long. A dropped call may take effect or not, but never by half.
///
/// # Example
///
/// A store that keeps everything for ever:
///
/// ```
/// use std::{collections::HashMap, sync::Mutex};
///
/// use bytes::Bytes;
/// use tower_video_cache::{BoxError, Store};
///
/// #[derive(Default)]
/// struct Everything(Mutex<HashMap<String, Bytes>>);
///
/// impl Store for Everything {
///     async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
///         Ok(self.0.lock().unwrap().get(key).cloned())
///     }
///
///     async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
///         self.0.lock().unwrap().insert(key.to_owned(), value);
///         Ok(())
///     }
///
///     async fn remove(&self, key: &str) -> Result<(), BoxError> {
///         self.0.lock().unwrap().remove(key);
///         Ok(())
///     }
/// }
/// # #[cfg(feature = "test-util")]
/// # tokio_test(async { tower_video_cache::conformance::check(&Everything::default()).await });
/// # #[cfg(feature = "test-util")]
/// # fn tokio_test(check: impl std::future::Future) {
/// #     tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(check);
/// # }
/// ```
pub trait Store: Send + Sync + 'static {
    /// The last value put under `key`, if the store still has it.
    ///
    /// # Errors
    ///
    /// The store cannot tell.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, BoxError>> + Send;

    /// Keeps `value` under `key`, and replaces any value there.
    ///
    /// # Errors
    ///
    /// The store cannot keep the value, or refuses to.
    fn put(&self, key: &str, value: Bytes) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Removes the value under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// The store may still have the value.
    fn remove(&self, key: &str) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// The size of the largest value that the store keeps, in bytes. The cache cuts its chunks to fit. Default: no
    /// limit.
    fn max_value_size(&self) -> Option<u64> {
        None
    }

    /// The bytes that the store can hold. All fills together reserve no more than half of them, and a chunk takes no
    /// more than half of them. Default: not known, without these limits.
    fn capacity(&self) -> Option<u64> {
        None
    }

    /// The bytes that the store holds now, and those that it has dropped, for figures. Default: not known.
    ///
    /// The call must return at once. The figures may be a little old.
    fn usage(&self) -> Option<Usage> {
        None
    }

    /// How long a process may go on using a value that another process has replaced or removed. Default: no time.
    fn lag(&self) -> Duration {
        Duration::ZERO
    }

    /// Whether a disk, a network or another program can alter values. Default: `true`.
    ///
    /// If so, the cache verifies the checksum of each chunk before any byte of the chunk leaves. Only a store that
    /// keeps values in this process's own memory may return `false`. If it offers [`put_new`](Self::put_new), it must lose no
    /// value under `p/`.
    fn can_alter(&self) -> bool {
        true
    }

    /// Asks for the lease of `key`, for `time`, in the name of `holder`. Default: [`Lease::NotOffered`].
    ///
    /// One holder at a time has a lease, among all processes that share the store. The holder calls the inner service
    /// for all of them. Without leases, each process calls the inner service itself.
    ///
    /// A fill takes the lease of the response that it stores, and renews the lease until it ends. The cache fetches
    /// later parts of a stored response without a lease.
    ///
    /// The key of a lease begins with `l/`, and goes on as the key of the record that the holder is about to put. The
    /// cache never [puts](Self::put) a value under such a key. Each `holder` is a unique name of 32 hexadecimal digits.
    ///
    /// A lease ends after its time, when it is [released](Self::release), and when its key is [removed](Self::remove).
    ///
    /// # Errors
    ///
    /// The store cannot tell. The process then calls the inner service itself.
    fn lease(
        &self,
        key: &str,
        holder: &str,
        time: Duration,
    ) -> impl Future<Output = Result<Lease, BoxError>> + Send {
        let _ = (key, holder, time);
        ready(Ok(Lease::NotOffered))
    }

    /// Extends a lease to `time` from now, if `holder` still has it. Returns whether `holder` has it.
    ///
    /// # Errors
    ///
    /// The store cannot tell. The lease then ends for the holder after its time, and the holder removes the record that
    /// it put last, because another node may have invalidated it.
    fn renew(
        &self,
        key: &str,
        holder: &str,
        time: Duration,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        let _ = (key, holder, time);
        ready(Ok(false))
    }

    /// Ends a lease, if `holder` still has it.
    ///
    /// # Errors
    ///
    /// The lease may last until its time is over.
    fn release(&self, key: &str, holder: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (key, holder);
        ready(Ok(()))
    }

    /// Keeps `value` under `key`, unless there is a value already. Default: [`PutNew::NotOffered`].
    ///
    /// The key begins with `p/`, and names a part of a log of purges that all processes write. If several of them put
    /// one key at the same time, exactly one of them creates the value, and the others find that it exists. The cache
    /// puts different values, so a reader of the value knows who created it.
    ///
    /// A store that answers [`NotOffered`](PutNew::NotOffered) once must always answer so. It has then kept nothing.
    ///
    /// # Errors
    ///
    /// The store cannot tell: it may have kept the value or not.
    fn put_new(&self, key: &str, value: Bytes) -> impl Future<Output = Result<PutNew, BoxError>> + Send {
        let _ = (key, value);
        ready(Ok(PutNew::NotOffered))
    }

    /// Whether a part of the store is known to be down, so that only the values at hand are left. Default: `false`.
    ///
    /// The cache then uses a stored response only if all of it is at hand, or if the inner service has the rest. The
    /// cache calls this at each hit, so it must return at once.
    fn is_down(&self) -> bool {
        false
    }
}

/// The [usage](Store::usage) of a store.
///
/// ```
/// use tower_video_cache::Usage;
///
/// let usage = Usage::new(3 << 20).evicted(1 << 20);
/// assert_eq!((usage.weight, usage.evicted), (3 << 20, Some(1 << 20)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The bytes that the store holds.
    pub weight: u64,
    /// The bytes that the store has dropped to make room since it was made. `None` if it does not know.
    pub evicted: Option<u64>,
}

impl Usage {
    /// The usage of a store that holds so many bytes.
    pub fn new(weight: u64) -> Self {
        Self { weight, evicted: None }
    }

    /// The same usage of a store that has dropped so many `bytes` to make room.
    #[must_use]
    pub fn evicted(self, bytes: u64) -> Self {
        Self { evicted: Some(bytes), ..self }
    }
}

/// The answer to a request for a [lease](Store::lease).
///
/// ```
/// use tower_video_cache::Lease;
///
/// /// A store that keeps leases in a map of keys to their holders.
/// fn granted(holder: &str, present: Option<&str>) -> Lease {
///     match present {
///         Some(other) if other != holder => Lease::Taken,
///         _ => Lease::Granted,
///     }
/// }
/// # assert_eq!(granted("a", Some("b")), Lease::Taken);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lease {
    /// The store has no leases.
    NotOffered,
    /// The holder has the lease, for the time that it asked for.
    Granted,
    /// Another holder has the lease.
    Taken,
}

/// The answer to the put of a [new](Store::put_new) value.
///
/// ```
/// use std::collections::{HashMap, hash_map::Entry};
///
/// use bytes::Bytes;
/// use tower_video_cache::PutNew;
///
/// /// A store that keeps its values in a map.
/// fn put_new(values: &mut HashMap<String, Bytes>, key: &str, value: Bytes) -> PutNew {
///     match values.entry(key.to_owned()) {
///         Entry::Occupied(_) => PutNew::Exists,
///         Entry::Vacant(place) => {
///             place.insert(value);
///             PutNew::Created
///         }
///     }
/// }
/// # let mut values = HashMap::new();
/// # assert_eq!(put_new(&mut values, "p/1", Bytes::new()), PutNew::Created);
/// # assert_eq!(put_new(&mut values, "p/1", Bytes::new()), PutNew::Exists);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutNew {
    /// The store cannot tell whether a value is new.
    NotOffered,
    /// The key had no value. The store keeps this one.
    Created,
    /// The key has a value, and the store left it alone.
    ///
    /// The value is the caller's own if the answer to a first attempt was lost and the store tried again.
    Exists,
}

impl<T: Store> Store for Arc<T> {
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, BoxError>> + Send {
        (**self).get(key)
    }

    fn put(&self, key: &str, value: Bytes) -> impl Future<Output = Result<(), BoxError>> + Send {
        (**self).put(key, value)
    }

    fn remove(&self, key: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        (**self).remove(key)
    }

    fn max_value_size(&self) -> Option<u64> {
        (**self).max_value_size()
    }

    fn capacity(&self) -> Option<u64> {
        (**self).capacity()
    }

    fn usage(&self) -> Option<Usage> {
        (**self).usage()
    }

    fn lag(&self) -> Duration {
        (**self).lag()
    }

    fn can_alter(&self) -> bool {
        (**self).can_alter()
    }

    fn lease(
        &self,
        key: &str,
        holder: &str,
        time: Duration,
    ) -> impl Future<Output = Result<Lease, BoxError>> + Send {
        (**self).lease(key, holder, time)
    }

    fn renew(
        &self,
        key: &str,
        holder: &str,
        time: Duration,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        (**self).renew(key, holder, time)
    }

    fn release(&self, key: &str, holder: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        (**self).release(key, holder)
    }

    fn put_new(&self, key: &str, value: Bytes) -> impl Future<Output = Result<PutNew, BoxError>> + Send {
        (**self).put_new(key, value)
    }

    fn is_down(&self) -> bool {
        (**self).is_down()
    }
}

/// Whether the key is that of an invalidation's mark. Such a mark counts only where all processes see it.
fn is_mark(key: &str) -> bool {
    key.starts_with("i/")
}

/// Whether the value under the key is a part of the log of purges.
fn is_log(key: &str) -> bool {
    key.starts_with("p/")
}

/// Whether the value under the key never changes, by the contract of [`Store`].
fn is_chunk(key: &str) -> bool {
    key.starts_with("c/")
}

/// Whether the value under the key may change. The key of a lease has no value.
fn is_record(key: &str) -> bool {
    !is_chunk(key) && !key.starts_with("l/")
}
