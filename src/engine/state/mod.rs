//! The state that all requests of one cache share. The modules here call none of the engine's operations.

pub(crate) mod budget;
pub(crate) mod entry;
pub(crate) mod flight;
pub(crate) mod habits;
pub(crate) mod lease;
pub(crate) mod memo;
pub(crate) mod purges;
pub(crate) mod ranking;
pub(crate) mod readers;
pub(crate) mod records;
pub(crate) mod remote_refresh;
pub(crate) mod run;
pub(crate) mod supply;
pub(crate) mod tombstones;
pub(crate) mod uncacheable;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header, request};
use tokio::sync::Semaphore;

use self::{
    budget::Budget, entry::Decoded, flight::Flights, habits::Habits, memo::Memo, purges::Purges,
    ranking::Rankings, records::Records, remote_refresh::RemoteRefreshes, supply::Supplies,
    tombstones::Tombstones, uncacheable::Uncacheable,
};
use super::config::Config;
use crate::{
    counters::{Counters, INNER_CALLS, Reason},
    format::key::Slot,
    observer::Event,
    semantics::{cache_control::RequestDirectives, cache_status::Refusal, fields::has, vary::Vary},
    store::ErasedStore,
    watchers::Watchers,
};

/// The state shared by all clones of a layer and by all services that it made, with one choice of settings.
pub(crate) struct Engine {
    pub(crate) config: Config,
    /// The number of policies before this one. A decoded record knows the lifetime that its policy gave.
    pub(crate) era: u64,
    pub(crate) counters: Arc<Counters>,
    pub(crate) store: Arc<dyn ErasedStore>,
    pub(crate) records: Arc<Records>,
    pub(crate) memo: Arc<Memo<Decoded>>,
    pub(crate) rankings: Arc<Rankings>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) budget: Arc<Budget>,
    /// One permit for each fill that may be under way.
    pub(crate) fills: Arc<Semaphore>,
    pub(crate) supplies: Arc<Supplies>,
    pub(crate) uncacheable: Uncacheable,
    pub(crate) remote_refreshes: RemoteRefreshes,
    pub(crate) tombstones: Arc<Tombstones>,
    pub(crate) purges: Arc<Purges>,
    /// The keys for which the inner service gives no parts.
    partless: Arc<Uncacheable>,
    habits: Arc<Habits>,
    /// The keys for which the inner service gives parts that nothing binds to each other.
    unbound: Arc<Uncacheable>,
    /// The keys whose representation was another one when a further part was asked for.
    changed: Arc<Uncacheable>,
}

impl Engine {
    /// `budget` may be shared with other engines on the same store.
    pub(crate) fn new(config: Config, store: Arc<dyn ErasedStore>, budget: Arc<Budget>) -> Self {
        let rankings = Arc::<Rankings>::default();
        let gone = {
            let rankings = Arc::clone(&rankings);
            move |decoded: &Decoded| decoded.count_in(&rankings)
        };
        let counters = Arc::new(Counters::new(Watchers::new(config.observers.clone())));
        let records_in = |store: &Arc<dyn ErasedStore>| {
            Arc::new(Records::new(Arc::clone(store), config.timeouts.store, Arc::clone(&counters)))
        };
        let records = records_in(&store);
        // Breakers of its own: an answer about the log says nothing about a store that hangs with chunks.
        let log = records_in(config.purge_log.as_ref().unwrap_or(&store));
        let purges = Arc::new(Purges::new(log, config.purge_age, Arc::clone(&config.clock)));
        let for_a_while = || Arc::new(Uncacheable::new(PARTLESS_TTL));
        Self {
            era: 0,
            records,
            purges,
            counters,
            store,
            memo: Arc::new(Memo::new(gone)),
            rankings,
            flights: Arc::default(),
            budget,
            fills: Arc::new(Semaphore::new(config.limits.max_fills.get().min(Semaphore::MAX_PERMITS))),
            supplies: Arc::new(Supplies::new(&config)),
            uncacheable: Uncacheable::new(config.policy.uncacheable_window()),
            remote_refreshes: RemoteRefreshes::new(config.timeouts.lease),
            tombstones: Arc::default(),
            partless: for_a_while(),
            habits: Arc::default(),
            unbound: for_a_while(),
            changed: for_a_while(),
            config,
        }
    }

    /// The same cache with other settings: the store, what is under way, and what was learned stay.
    pub(crate) fn with(&self, config: Config) -> Self {
        let window = config.policy.uncacheable_window();
        // Another policy may admit a response that this one refuses.
        let (era, uncacheable) = if config.policy == self.config.policy {
            (self.era, self.uncacheable.with_ttl(window))
        } else {
            (self.era.wrapping_add(1), Uncacheable::new(window))
        };
        Self {
            era,
            uncacheable,
            records: Arc::clone(&self.records),
            counters: Arc::clone(&self.counters),
            store: Arc::clone(&self.store),
            memo: Arc::clone(&self.memo),
            rankings: Arc::clone(&self.rankings),
            flights: Arc::clone(&self.flights),
            budget: Arc::clone(&self.budget),
            fills: Arc::clone(&self.fills),
            supplies: Arc::new(self.supplies.with(&config)),
            remote_refreshes: self.remote_refreshes.with_lease_time(config.timeouts.lease),
            tombstones: Arc::clone(&self.tombstones),
            purges: Arc::clone(&self.purges),
            partless: Arc::clone(&self.partless),
            habits: Arc::clone(&self.habits),
            unbound: Arc::clone(&self.unbound),
            changed: Arc::clone(&self.changed),
            config,
        }
    }

    /// How many fills are under way.
    pub(crate) fn fills_under_way(&self) -> u64 {
        let most = self.config.limits.max_fills.get().min(Semaphore::MAX_PERMITS);
        u64::try_from(most.saturating_sub(self.fills.available_permits())).unwrap_or(u64::MAX)
    }

    /// Counts a call of the inner service that is about to be made.
    pub(crate) fn count_call(&self, reason: Reason) {
        self.counters.add(INNER_CALLS, reason.place(), 1);
        self.counters.tell(|| Event::InnerCalled { reason: reason.word() });
    }

    pub(crate) fn directives(&self, request: &request::Parts) -> RequestDirectives {
        let (policy, headers) = (&self.config.policy, &request.headers);
        let of = RequestDirectives::of;
        let heeded = if policy.heeds_requests() { of(headers) } else { RequestDirectives::default() };
        let is_authorized = !policy.shares_with_the_authorized() && has(headers, &header::AUTHORIZATION);
        RequestDirectives { is_authorized, ..heeded }
    }

    /// Whether the inner service may give parts of the response to this request, as far as the cache remembers.
    pub(crate) fn may_give_parts(&self, primary: &Slot, request: &request::Parts) -> bool {
        let now = self.config.clock.now();
        self.partless.recall(primary, &request.headers, now).is_none()
            && !self.habits.gives_no_parts(request, now)
    }

    /// Remembers that the inner service gave no part to this request. Later requests like it ask for the whole.
    pub(crate) fn remember_partless(&self, primary: &Slot, request: &request::Parts, response: &HeaderMap) {
        let now = self.config.clock.now();
        let selecting = Vary::of(response).names();
        self.partless.remember(primary, selecting, &request.headers, Refusal::NoParts, now);
        // A body that is being made has no parts, while the files beside it may have some.
        if response.contains_key(header::CONTENT_LENGTH) {
            self.habits.note(request, false, now);
        }
    }

    /// Remembers that the representation was another one when a further part was asked for. If that happens again soon, the
    /// inner service gives another tag at each call, and later requests ask for the whole.
    pub(crate) fn remember_change(&self, primary: &Slot, request: &request::Parts, response: &HeaderMap) {
        let now = self.config.clock.now();
        if self.changed.recall(primary, &request.headers, now).is_some() {
            return self.remember_partless(primary, request, response);
        }
        let selecting = Vary::of(response).names();
        self.changed.remember(primary, selecting, &request.headers, Refusal::NoParts, now);
    }

    /// Remembers that no validator binds the parts that the inner service gives of this response.
    pub(crate) fn remember_unbound(&self, primary: &Slot, request: &request::Parts, response: &HeaderMap) {
        let (selecting, now) = (Vary::of(response).names(), self.config.clock.now());
        self.unbound.remember(primary, selecting, &request.headers, Refusal::NoParts, now);
    }

    /// Whether a client of a part does best to ask the inner service by itself, as far as the cache remembers.
    pub(crate) fn has_unbound_parts(&self, primary: &Slot, request: &request::Parts) -> bool {
        self.unbound.recall(primary, &request.headers, self.config.clock.now()).is_some()
    }

    /// Notes that the inner service gave a part to this request.
    pub(crate) fn note_part(&self, request: &request::Parts) {
        self.habits.note(request, true, self.config.clock.now());
    }

    /// Marks a request that goes to the inner service. If this cache wraps the inner service as well, the marked
    /// request bypasses it there. Otherwise the request would wait for its own flight.
    pub(crate) fn mark(&self, extensions: &mut http::Extensions) {
        extensions.insert(Within(Arc::clone(&self.flights)));
    }
}

/// A request extension that holds the flights of the cache which sent the request inwards.
#[derive(Clone)]
pub(crate) struct Within(pub(crate) Arc<Flights>);

/// How long the cache remembers that the inner service gives no parts for a key.
const PARTLESS_TTL: Duration = Duration::from_secs(600);
