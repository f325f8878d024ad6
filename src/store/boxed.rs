//! [`BoxStore`]: any store, without its type.

use std::{any::Any, fmt, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{ErasedStore, Lease, PutNew, Store, Usage};
use crate::error::BoxError;

/// Any [`Store`], for an application that chooses its store at run time. Clones share the store.
///
/// ```
/// use tower_video_cache::{BoxStore, MokaStore, Tiered, VideoCacheLayer};
///
/// # let has_two_tiers = true;
/// let memory = MokaStore::new(1 << 30)?;
/// let store = if has_two_tiers {
///     BoxStore::new(Tiered::new(memory, MokaStore::new(8 << 30)?))
/// } else {
///     BoxStore::new(memory)
/// };
/// let layer = VideoCacheLayer::new(store);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone)]
pub struct BoxStore(Arc<dyn ErasedStore>);

impl BoxStore {
    /// Hides the type of `store`.
    pub fn new(store: impl Store) -> Self {
        // A store without its type stays as it is, so that each call is boxed only once.
        let any: &dyn Any = &store;
        let boxed = any.downcast_ref::<Self>().cloned();
        boxed.unwrap_or_else(|| Self(Arc::new(store)))
    }

    pub(crate) fn into_erased(self) -> Arc<dyn ErasedStore> {
        self.0
    }
}

impl Store for BoxStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.0.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.0.put(key, value).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.0.remove(key).await
    }

    fn max_value_size(&self) -> Option<u64> {
        self.0.max_value_size()
    }

    fn capacity(&self) -> Option<u64> {
        self.0.capacity()
    }

    fn usage(&self) -> Option<Usage> {
        self.0.usage()
    }

    fn lag(&self) -> Duration {
        self.0.lag()
    }

    fn can_alter(&self) -> bool {
        self.0.can_alter()
    }

    async fn lease(&self, key: &str, holder: &str, time: Duration) -> Result<Lease, BoxError> {
        self.0.lease(key, holder, time).await
    }

    async fn renew(&self, key: &str, holder: &str, time: Duration) -> Result<bool, BoxError> {
        self.0.renew(key, holder, time).await
    }

    async fn release(&self, key: &str, holder: &str) -> Result<(), BoxError> {
        self.0.release(key, holder).await
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        self.0.put_new(key, value).await
    }

    fn is_down(&self) -> bool {
        self.0.is_down()
    }
}

impl fmt::Debug for BoxStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxStore").field("capacity", &self.0.capacity()).finish_non_exhaustive()
    }
}
