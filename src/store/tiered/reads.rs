//! Running reads of the far store. Concurrent gets of one key share one read.

use std::{
    collections::HashMap,
    error::Error as StdError,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};

use super::known::Mark;
use crate::{error::BoxError, stripes::Stripes};

/// The running reads.
#[derive(Default)]
pub(super) struct Reads {
    shards: Stripes<Mutex<HashMap<Box<str>, Arc<Read>>>, 16>,
}

/// The answer of the far store, which many calls can share.
pub(super) type Outcome = Result<Option<Bytes>, Arc<dyn StdError + Send + Sync>>;

/// A running read.
pub(super) struct Read {
    pub(super) began: Instant,
    /// The state of the key when the read began.
    pub(super) mark: Mark,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Reads {
    /// Joins the read of `key`, or opens one and returns its errand, which the caller must run.
    ///
    /// A call joins no read from before a write of this process, and none that began `age` before `now` or earlier.
    pub(super) fn join(
        self: &Arc<Self>,
        key: &str,
        mark: Mark,
        age: Duration,
        now: Instant,
    ) -> (Arc<Read>, Option<Errand>) {
        let mut shard = self.shard(key);
        let is_as_good = |read: &&Arc<Read>| read.mark == mark && now.duration_since(read.began) < age;
        if let Some(read) = shard.get(key).filter(is_as_good) {
            return (Arc::clone(read), None);
        }
        let (sender, outcome) = watch::channel(None);
        let read = Arc::new(Read { began: now, mark, outcome });
        shard.insert(key.into(), Arc::clone(&read));
        let errand = Errand { reads: Arc::clone(self), key: key.into(), read: Arc::clone(&read), sender };
        (read, Some(errand))
    }

    fn shard(&self, key: &str) -> MutexGuard<'_, HashMap<Box<str>, Arc<Read>>> {
        self.shards.of(key).lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read {
    /// Waits for the answer of the far store.
    pub(super) async fn outcome(&self) -> Result<Option<Bytes>, BoxError> {
        let mut outcome = self.outcome.clone();
        let outcome = outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        match outcome {
            Ok(Some(outcome)) => outcome.map_err(Into::into),
            // The runtime of the read is gone.
            Ok(None) | Err(_) => Err("read of the far tier was abandoned".into()),
        }
    }
}

/// The duty to read for all waiting calls. Its drop ends their wait.
pub(super) struct Errand {
    reads: Arc<Reads>,
    pub(super) key: Box<str>,
    pub(super) read: Arc<Read>,
    sender: watch::Sender<Option<Outcome>>,
}

impl Errand {
    pub(super) fn tell(&self, outcome: Outcome) {
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        let mut shard = self.reads.shard(&self.key);
        // Another read may have taken its place.
        if shard.get(&self.key).is_some_and(|read| Arc::ptr_eq(read, &self.read)) {
            shard.remove(&self.key);
        }
    }
}
