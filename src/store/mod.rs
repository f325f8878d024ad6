//! Where bytes are kept: the [`Store`] contract, and the stores that this crate brings.

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
mod moka;
#[cfg(feature = "opendal")]
mod opendal;
#[cfg(feature = "redis")]
mod redis;
mod tiered;
mod within;

use std::{
    future::{ready, Future},
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
pub(crate) use self::within::{within, Failure};
pub use self::{
    boxed::BoxStore,
    tiered::{Tiered, Writes},
};
pub(crate) use self::{breaker::Breaker, erased::ErasedStore};
use crate::error::BoxError;

/// Where chunks and manifests are kept: three calls on keys and whole values.
///
/// The contract:
///
/// - A [`get`](Self::get) gives the last whole value put under the key, or `None`, or an error; never another
///   value and never a part of one.
/// - `None` right after a [`put`](Self::put) is allowed: the store evicted, refused admission, or a replica is
///   behind. The cache takes it for a miss.
/// - A [`remove`](Self::remove) of an absent key is `Ok`.
/// - Keys are ASCII, of `[0-9a-z/._-]`, at most 128 bytes. Values are up to one chunk and 40 bytes long.
/// - What lies under a key that begins with `c/` is never put with another value: it is there, or it is not. What lies
///   under any other key may change, here or by another process. One that begins with `i/` is the mark of an
///   invalidation: whoever puts it must be believed at once wherever it is asked for, or other nodes put back what was
///   taken out.
/// - How long bytes are *kept* is the store's own affair; how long they are *fresh* is written in them. The cache
///   does not remove the chunks of a response that another one replaced, for a viewer may still read them: a store
///   must evict or expire what is no longer read.
///
/// It has no `dyn` form: [`VideoCacheLayer`](crate::VideoCacheLayer) has no type parameter, so an application that
/// chooses its store at run time chooses there.
///
/// An error is never a viewer's: the cache takes it for a miss, or hands over the inner response.
/// [`conformance`](crate::conformance) (feature `test-util`) checks a store of your own against this contract.
///
/// # Cancel safety
///
/// The cache drops calls that take too long. A dropped call may have happened or not; it must not have happened
/// by half.
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
    /// Whatever kept the store from knowing.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Bytes>, BoxError>> + Send;

    /// Keeps `value` under `key`, in place of any value before.
    ///
    /// # Errors
    ///
    /// The store could not, or declines to, keep the value.
    fn put(&self, key: &str, value: Bytes) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Forgets the value under `key`, if there is one.
    ///
    /// # Errors
    ///
    /// The store may still have the value.
    fn remove(&self, key: &str) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// The largest value that the store keeps, in bytes; chunks are cut to fit. Default: no limit.
    fn max_value_size(&self) -> Option<u64> {
        None
    }

    /// All the bytes that the store can hold. Fills under way together never promise it more than half of that.
    /// Default: not known, and nothing is held back.
    fn capacity(&self) -> Option<u64> {
        None
    }

    /// Whether values can have been altered when they come back: by a disk, a network, another program.
    ///
    /// If so, each chunk carries a checksum that is verified before a byte of it leaves. Only a store that keeps
    /// values in this process's own memory may say `false`. Default: `true`.
    fn can_alter(&self) -> bool {
        true
    }

    /// Asks for the lease of `key`, for `time`, in the name of `holder`: of all the processes that share the store, one
    /// at a time has it, and calls the inner service for all. `holder` is of 32 hexadecimal digits, and no two are alike.
    ///
    /// Keys of leases begin with `l/`, and go on as that of the record which the holder is about to put; nothing is ever
    /// [put](Self::put) under them. A fill takes the lease of what it is to
    /// store, and renews it till its end. Parts that viewers of a stored response ask for later are fetched without.
    ///
    /// A lease ends after its time, when it is [released](Self::release), and when its key is [removed](Self::remove).
    /// Default: [`Lease::NotOffered`]; each process then asks for itself.
    ///
    /// # Errors
    ///
    /// Whatever kept the store from knowing; the process then asks for itself.
    fn lease(
        &self,
        key: &str,
        holder: &str,
        time: Duration,
    ) -> impl Future<Output = Result<Lease, BoxError>> + Send {
        let _ = (key, holder, time);
        ready(Ok(Lease::NotOffered))
    }

    /// Has a lease last for `time` from now on, if it is still `holder`'s; says whether it is.
    ///
    /// # Errors
    ///
    /// Whatever kept the store from knowing; for the holder, the lease is over after its time then, and what it put last is
    /// taken out again: another node may have invalidated it.
    fn renew(
        &self,
        key: &str,
        holder: &str,
        time: Duration,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        let _ = (key, holder, time);
        ready(Ok(false))
    }

    /// Ends a lease, if it is still `holder`'s.
    ///
    /// # Errors
    ///
    /// The lease may last until its time is over.
    fn release(&self, key: &str, holder: &str) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (key, holder);
        ready(Ok(()))
    }

    /// Whether a part of the store is known to be down, so that it has what is at hand and no more. What is stored is
    /// then used only where all of it is at hand, or the inner service has the rest. It is asked at each hit, and must
    /// answer at once. Default: `false`.
    fn is_down(&self) -> bool {
        false
    }
}

/// What came of a request for a [lease](Store::lease).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lease {
    /// The store has none to give.
    NotOffered,
    /// It is the holder's, for the time asked.
    Granted,
    /// It is another holder's.
    Taken,
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

    fn is_down(&self) -> bool {
        (**self).is_down()
    }
}

/// Whether the key is that of an invalidation's mark, which says nothing but to those who look where all others do.
fn is_mark(key: &str) -> bool {
    key.starts_with("i/")
}

/// Whether what lies under the key never changes, by the contract of [`Store`].
fn is_chunk(key: &str) -> bool {
    key.starts_with("c/")
}
