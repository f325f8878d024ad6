//! The settings of an engine.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, request};

use crate::{
    clock::Clock,
    error::Error,
    format::{key::CacheKey, signed_url},
    policy::Policy,
    semantics::{cache_status::Signature, fields::media_type, freshness::ByUri, place::Place},
    settings::{Abandon, CacheStatus, ChunkSize, Fill, Limits, Retry, Timeouts},
    store::ErasedStore,
    watchers::Observers,
};

/// All that the layer's setters set.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) key: Arc<OfRequest<CacheKey>>,
    pub(crate) bypass: Option<Arc<OfRequest<bool>>>,
    pub(crate) expiry: Arc<OfRequest<Option<SystemTime>>>,
    pub(crate) groups: Option<Arc<Groups>>,
    pub(crate) cache_status: CacheStatus,
    pub(crate) chunk_size: ChunkSize,
    pub(crate) fill: Fill,
    pub(crate) abandon: Abandon,
    pub(crate) timeouts: Timeouts,
    pub(crate) limits: Limits,
    pub(crate) retry: Retry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observers: Observers,
    /// How long bytes that have come wait for more before they land. An inner service that pauses holds nobody up.
    pub(crate) patience: Duration,
    /// How old the knowledge of the log of purges may be.
    pub(crate) purge_age: Duration,
    /// The store of the log of purges, if it is not the store of the responses.
    pub(crate) purge_log: Option<Arc<dyn ErasedStore>>,
}

/// A function of the application's that is called for each request.
type OfRequest<T> = dyn Fn(&request::Parts) -> T + Send + Sync;

/// A function of the application's that names the groups of a response.
type Groups = dyn Fn(&request::Parts, &HeaderMap) -> Vec<String> + Send + Sync;

impl Config {
    pub(crate) fn new(clock: impl Clock) -> Self {
        Self {
            policy: Policy::default(),
            key: Arc::new(CacheKey::of),
            bypass: None,
            expiry: Arc::new(signed_url::expiry),
            groups: None,
            cache_status: CacheStatus::default(),
            chunk_size: ChunkSize::default(),
            fill: Fill::default(),
            abandon: Abandon::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            retry: Retry::default(),
            clock: Arc::new(clock),
            observers: Observers::default(),
            patience: Duration::from_millis(50),
            purge_age: Duration::from_secs(2),
            purge_log: None,
        }
    }

    /// Checks that a running cache can change to the `other` settings.
    ///
    /// # Errors
    ///
    /// The first setting that differs, and that a running cache keeps.
    pub(crate) fn may_become(&self, other: &Self) -> Result<(), Error> {
        let is_same_log = match (&self.purge_log, &other.purge_log) {
            (Some(log), Some(other)) => Arc::ptr_eq(log, other),
            (log, other) => log.is_none() && other.is_none(),
        };
        for (is_same, refused) in [
            (Arc::ptr_eq(&self.key, &other.key), "a running cache keeps its key function"),
            (self.chunk_size == other.chunk_size, "a running cache keeps its chunk size"),
            (self.cache_status.name == other.cache_status.name, "a running cache keeps its name"),
            (Arc::ptr_eq(&self.clock, &other.clock), "a running cache keeps its clock"),
            (self.timeouts.store == other.timeouts.store, "a running cache keeps its timeout of the store"),
            (self.limits == other.limits, "a running cache keeps its limits"),
            (self.observers.are(&other.observers), "a running cache keeps its observers"),
            (is_same_log, "a running cache keeps its log of purges"),
            (self.purge_age == other.purge_age, "a running cache keeps its age of purges"),
        ] {
            if !is_same {
                return Err(Error::config(refused));
            }
        }
        Ok(())
    }

    /// Whether the request's URI has expired, so that no stored response answers it.
    pub(crate) fn is_expired(&self, request: &request::Parts) -> bool {
        (self.expiry)(request).is_some_and(|until| until <= self.clock.now())
    }

    /// The facts about the response with these fields that the URI of its request tells.
    pub(crate) fn by_uri(&self, request: &request::Parts, response: &HeaderMap) -> ByUri {
        let is_manifest = self.policy.is_manifest_by_path(request.uri.path(), media_type(response));
        ByUri { is_manifest, until: (self.expiry)(request), place: Place::of(request) }
    }

    /// The name of this cache in `Cache-Status`, and the looked-up key if the settings show it.
    pub(crate) fn signature<'a>(&'a self, key: Option<&'a CacheKey>) -> Signature<'a> {
        let key = key.filter(|_| self.cache_status.shows_key).map(CacheKey::as_bytes);
        Signature { name: self.cache_status.name.as_written(), key }
    }

    /// How many bytes a paced fill in chunks of this size may be ahead of its readers.
    pub(crate) fn lead(&self, chunk_size: u32) -> u64 {
        lead(self.fill.max_lead, chunk_size)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("policy", &self.policy)
            .field("cache_status", &self.cache_status)
            .field("chunk_size", &self.chunk_size)
            .field("fill", &self.fill)
            .field("abandon", &self.abandon)
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .field("retry", &self.retry)
            .field("observers", &self.observers)
            .field("purge_age", &self.purge_age)
            .finish_non_exhaustive()
    }
}

/// So many bytes, rounded up to chunks of this size, at least one.
pub(crate) fn lead(bytes: u64, chunk_size: u32) -> u64 {
    let size = u64::from(chunk_size.max(1));
    bytes.div_ceil(size).max(1).saturating_mul(size)
}
