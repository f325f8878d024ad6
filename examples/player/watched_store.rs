//! [`WatchedStore`]: a store in memory that tells a [`ChunkMap`] which chunks it has.

use std::sync::Arc;

use bytes::Bytes;
use tower_video_cache::{BoxError, MokaStore, PutNew, Store, Usage};

use super::chunk_map::ChunkMap;

/// A [`MokaStore`], watched.
///
/// Other values of the cache are kept unwatched. A store is not told what its values are; this example can read the
/// keys of chunks only because it comes with the crate.
pub(crate) struct WatchedStore {
    store: MokaStore,
    map: Arc<ChunkMap>,
}

impl WatchedStore {
    pub(crate) fn new(store: MokaStore, map: Arc<ChunkMap>) -> Self {
        Self { store, map }
    }

    /// Loses a chunk without telling the cache, as an eviction does. Returns false if there was none.
    pub(crate) async fn lose(&self, index: u64) -> bool {
        let Some(generation) = self.map.generation_of(index) else {
            return false;
        };
        let removed = self.store.remove(&format!("c/{generation}/{index}")).await;
        self.map.lost(&generation, index);
        removed.is_ok()
    }
}

impl Store for WatchedStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let value = self.store.get(key).await?;
        if let (None, Some((generation, index))) = (&value, chunk(key)) {
            self.map.lost(generation, index);
        }
        Ok(value)
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.store.put(key, value).await?;
        if let Some((generation, index)) = chunk(key) {
            self.map.put(generation, index);
        }
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.store.remove(key).await?;
        if let Some((generation, index)) = chunk(key) {
            self.map.removed(generation, index);
        }
        Ok(())
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        self.store.put_new(key, value).await
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

    fn can_alter(&self) -> bool {
        self.store.can_alter()
    }
}

/// The generation and index in the key of a chunk.
fn chunk(key: &str) -> Option<(&str, u64)> {
    let (generation, index) = key.strip_prefix("c/")?.split_once('/')?;
    Some((generation, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use tower_video_cache::conformance;

    use super::*;

    fn watched() -> (WatchedStore, Arc<ChunkMap>) {
        let map = Arc::new(ChunkMap::new(40, 10));
        (WatchedStore::new(MokaStore::new(16 << 20).unwrap(), Arc::clone(&map)), map)
    }

    #[tokio::test]
    async fn a_watched_store_keeps_the_contract() {
        conformance::check(&watched().0).await;
    }

    #[tokio::test]
    async fn the_map_shows_the_chunks_that_the_store_has() {
        let (store, map) = watched();
        for key in ["c/aa/0", "c/aa/2", "m/aa", "c/aa/x", "v/aa/1"] {
            store.put(key, Bytes::from_static(b"bytes")).await.unwrap();
        }
        assert_eq!(map.states(), ["stored", "absent", "stored", "absent"]);
        assert!(store.lose(2).await);
        assert!(!store.lose(2).await && !store.lose(1).await);
        assert!(store.get("c/aa/2").await.unwrap().is_none());
        assert_eq!(map.states(), ["stored", "absent", "absent", "absent"]);
        store.put("c/aa/2", Bytes::from_static(b"bytes")).await.unwrap();
        store.remove("c/aa/0").await.unwrap();
        assert_eq!(map.states(), ["absent", "absent", "healed", "absent"]);
    }

    #[tokio::test]
    async fn a_chunk_that_the_store_evicted_is_lost_once_a_reader_misses_it() {
        let (store, map) = watched();
        store.put("c/aa/0", Bytes::from_static(b"bytes")).await.unwrap();
        store.store.remove("c/aa/0").await.unwrap();
        assert_eq!(map.states(), ["stored", "absent", "absent", "absent"]);
        assert!(store.get("c/aa/0").await.unwrap().is_none());
        store.put("c/aa/0", Bytes::from_static(b"bytes")).await.unwrap();
        assert_eq!(map.states(), ["healed", "absent", "absent", "absent"]);
    }
}
