//! A store that stops before the put of a given number, until its test lets it go on.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::watch;
use tower_video_cache::{BoxError, Lease, PutNew, Store};

/// Counts puts from zero.
pub(crate) struct Counting<S> {
    store: S,
    puts: AtomicUsize,
    before: usize,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Counting,
    Stopped,
    Beyond,
}

impl<S: Store> Counting<S> {
    pub(crate) fn new(store: S, before: usize) -> Self {
        Self { store, puts: AtomicUsize::new(0), before, stage: watch::Sender::new(Stage::Counting) }
    }

    /// Waits until the store stops.
    pub(crate) async fn has_so_many(&self) {
        let _ = self.stage.subscribe().wait_for(|stage| *stage == Stage::Stopped).await;
    }

    pub(crate) fn go_on(&self) {
        self.stage.send_replace(Stage::Beyond);
    }
}

impl<S: Store> Store for Counting<S> {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.store.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        if self.puts.fetch_add(1, Ordering::SeqCst) >= self.before {
            self.stage.send_if_modified(|stage| {
                let stops = *stage == Stage::Counting;
                if stops {
                    *stage = Stage::Stopped;
                }
                stops
            });
            let _ = self.stage.subscribe().wait_for(|stage| *stage == Stage::Beyond).await;
        }
        self.store.put(key, value).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.store.remove(key).await
    }

    fn max_value_size(&self) -> Option<u64> {
        self.store.max_value_size()
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
        self.store.put_new(key, value).await
    }
}
