//! Everything that the requests of one cache share. The files of this room know no operation.

pub(crate) mod budget;
pub(crate) mod entry;
pub(crate) mod flight;
pub(crate) mod lease;
pub(crate) mod memo;
pub(crate) mod records;
pub(crate) mod remote_refresh;
pub(crate) mod run;
pub(crate) mod supply;
pub(crate) mod tombstones;
pub(crate) mod uncacheable;

use std::{sync::Arc, time::Duration};

use http::{header, request};
use tokio::sync::Semaphore;

use self::{
    budget::Budget, entry::Decoded, flight::Flights, memo::Memo, records::Records,
    remote_refresh::RemoteRefreshes, supply::Supplies, tombstones::Tombstones, uncacheable::Uncacheable,
};
use super::config::Config;
use crate::{
    semantics::{cache_control::RequestDirectives, fields::has},
    store::ErasedStore,
};

/// What all clones of a layer, and all services it made, share.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn ErasedStore>,
    pub(crate) records: Arc<Records>,
    pub(crate) memo: Memo<Decoded>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) budget: Arc<Budget>,
    /// A place for each fill that may be under way.
    pub(crate) fills: Arc<Semaphore>,
    pub(crate) supplies: Arc<Supplies>,
    pub(crate) uncacheable: Uncacheable,
    pub(crate) remote_refreshes: RemoteRefreshes,
    pub(crate) tombstones: Arc<Tombstones>,
    /// What the inner service gives no parts of.
    pub(crate) partless: Uncacheable,
}

impl Engine {
    /// `budget` may be shared with other engines on the same store.
    pub(crate) fn new(config: Config, store: Arc<dyn ErasedStore>, budget: Arc<Budget>) -> Self {
        Self {
            records: Arc::new(Records::new(Arc::clone(&store), config.store_limit)),
            store,
            memo: Memo::new(),
            flights: Arc::default(),
            budget,
            fills: Arc::new(Semaphore::new(config.most_fills.min(Semaphore::MAX_PERMITS))),
            supplies: Arc::new(Supplies::new(&config)),
            uncacheable: Uncacheable::new(config.policy.uncacheable_window()),
            remote_refreshes: RemoteRefreshes::new(config.lease_time),
            tombstones: Arc::default(),
            partless: Uncacheable::new(PARTLESS_TTL),
            config,
        }
    }

    /// Whether a task of its own waits to take out what could not be.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn is_clearing(&self) -> bool {
        self.tombstones.is_clearing()
    }

    pub(crate) fn damaged_chunks(&self) -> u64 {
        self.records.damaged()
    }

    pub(crate) fn directives(&self, request: &request::Parts) -> RequestDirectives {
        let (policy, headers) = (&self.config.policy, &request.headers);
        let of = RequestDirectives::of;
        let heeded = if policy.heeds_requests() { of(headers) } else { RequestDirectives::default() };
        let is_authorized = !policy.shares_with_the_authorized() && has(headers, &header::AUTHORIZATION);
        RequestDirectives { is_authorized, ..heeded }
    }

    /// Marks a request that goes inwards. Should it come to this cache again, applied twice on its way, it would
    /// wait there for itself.
    pub(crate) fn mark(&self, extensions: &mut http::Extensions) {
        extensions.insert(Within(Arc::clone(&self.flights)));
    }
}

/// In a request's extensions: the flights of the cache that it comes from.
#[derive(Clone)]
pub(crate) struct Within(pub(crate) Arc<Flights>);

/// How long it is remembered that the inner service gives no parts of something.
const PARTLESS_TTL: Duration = Duration::from_secs(600);
