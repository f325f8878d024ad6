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
    semantics::{
        cache_status::{CacheName, Signature},
        fields::media_type,
        freshness::ByUri,
        place::Place,
    },
    settings::{Abandon, CacheStatus, ChunkSize, Fill, Limits, Mode, Retry, Timeouts},
    store::ErasedStore,
    watchers::Observers,
};

/// All that the layer's setters set, spread out for the engine.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) key: Arc<OfRequest<CacheKey>>,
    pub(crate) bypass: Option<Arc<OfRequest<bool>>>,
    pub(crate) expiry: Arc<OfRequest<Option<SystemTime>>>,
    pub(crate) groups: Option<Arc<Groups>>,
    pub(crate) name: CacheName,
    pub(crate) show_key: bool,
    pub(crate) chunk_size: ChunkSize,
    pub(crate) fill: Mode,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) follower_limit: Duration,
    pub(crate) idle_limit: Duration,
    pub(crate) store_limit: Duration,
    pub(crate) lease_time: Duration,
    pub(crate) endless_limit: Duration,
    pub(crate) abandon: Abandon,
    pub(crate) read_ahead: u64,
    pub(crate) max_lead: u64,
    pub(crate) most_fills: usize,
    pub(crate) most_promised: Option<u64>,
    pub(crate) most_slices: usize,
    pub(crate) awaits_length: bool,
    /// How long bytes that have come wait for more before they land. An inner service that pauses holds nobody up.
    pub(crate) patience: Duration,
    pub(crate) resumes: u32,
    pub(crate) resume_pause: Duration,
    pub(crate) observers: Observers,
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
        let (CacheStatus { name, shows_key }, fill) = (CacheStatus::default(), Fill::default());
        let Timeouts { follower, inner_idle, store, lease, endless } = Timeouts::default();
        let Limits { max_fills, max_reserved } = Limits::default();
        let Retry { attempts, first_delay } = Retry::default();
        Self {
            policy: Policy::default(),
            key: Arc::new(CacheKey::of),
            bypass: None,
            expiry: Arc::new(signed_url::expiry),
            groups: None,
            name,
            show_key: shows_key,
            chunk_size: ChunkSize::default(),
            fill: fill.mode,
            clock: Arc::new(clock),
            follower_limit: follower,
            idle_limit: inner_idle,
            store_limit: store,
            lease_time: lease,
            endless_limit: endless,
            abandon: Abandon::default(),
            read_ahead: fill.read_ahead,
            max_lead: fill.max_lead,
            most_fills: max_fills.get(),
            most_promised: max_reserved,
            most_slices: fill.max_calls.get(),
            awaits_length: fill.awaits_length,
            patience: Duration::from_millis(50),
            resumes: attempts,
            resume_pause: first_delay,
            observers: Observers::default(),
            purge_age: Duration::from_secs(2),
            purge_log: None,
        }
    }

    pub(crate) fn set_cache_status(&mut self, cache_status: CacheStatus) {
        let CacheStatus { name, shows_key } = cache_status;
        (self.name, self.show_key) = (name, shows_key);
    }

    pub(crate) fn set_fill(&mut self, fill: Fill) {
        let Fill { mode, max_lead, read_ahead, max_calls, awaits_length } = fill;
        (self.fill, self.max_lead, self.read_ahead) = (mode, max_lead, read_ahead);
        (self.most_slices, self.awaits_length) = (max_calls.get(), awaits_length);
    }

    pub(crate) fn set_limits(&mut self, limits: Limits) {
        let Limits { max_fills, max_reserved } = limits;
        (self.most_fills, self.most_promised) = (max_fills.get(), max_reserved);
    }

    pub(crate) fn set_retry(&mut self, retry: Retry) {
        let Retry { attempts, first_delay } = retry;
        (self.resumes, self.resume_pause) = (attempts, first_delay);
    }

    pub(crate) fn set_timeouts(&mut self, timeouts: Timeouts) {
        let Timeouts { follower, inner_idle, store, lease, endless } = timeouts;
        self.endless_limit = endless;
        (self.follower_limit, self.idle_limit) = (follower, inner_idle);
        (self.store_limit, self.lease_time) = (store, lease);
    }

    /// # Errors
    ///
    /// The first setting that differs, and that a running cache keeps.
    pub(crate) fn may_become(&self, other: &Self) -> Result<(), Error> {
        let limits = |config: &Self| (config.most_fills, config.most_promised);
        let is_same_log = match (&self.purge_log, &other.purge_log) {
            (Some(log), Some(other)) => Arc::ptr_eq(log, other),
            (log, other) => log.is_none() && other.is_none(),
        };
        for (is_same, refused) in [
            (Arc::ptr_eq(&self.key, &other.key), "a running cache keeps its key function"),
            (self.chunk_size == other.chunk_size, "a running cache keeps its chunk size"),
            (self.name == other.name, "a running cache keeps its name"),
            (Arc::ptr_eq(&self.clock, &other.clock), "a running cache keeps its clock"),
            (self.store_limit == other.store_limit, "a running cache keeps its timeout of the store"),
            (limits(self) == limits(other), "a running cache keeps its limits"),
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
        let key = key.filter(|_| self.show_key).map(CacheKey::as_bytes);
        Signature { name: self.name.as_written(), key }
    }

    /// How many bytes a paced fill in chunks of this size may be ahead of its readers.
    pub(crate) fn lead(&self, chunk_size: u32) -> u64 {
        lead(self.max_lead, chunk_size)
    }
}

impl fmt::Debug for Config {
    /// The settings by the names that setters have for them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("policy", &self.policy)
            .field("cache_status", &format_args!("{} (key: {})", self.name, self.show_key))
            .field("chunk_size", &self.chunk_size.bytes())
            .field("fill", &self.fill)
            .field("fill.max_lead", &self.max_lead)
            .field("fill.read_ahead", &self.read_ahead)
            .field("fill.max_calls", &self.most_slices)
            .field("fill.await_length", &self.awaits_length)
            .field("abandon", &self.abandon)
            .field("timeouts.follower", &self.follower_limit)
            .field("timeouts.inner_idle", &self.idle_limit)
            .field("timeouts.store", &self.store_limit)
            .field("timeouts.lease", &self.lease_time)
            .field("timeouts.endless", &self.endless_limit)
            .field("limits.max_fills", &self.most_fills)
            .field("limits.max_reserved", &self.most_promised)
            .field("retry.attempts", &self.resumes)
            .field("retry.first_delay", &self.resume_pause)
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
