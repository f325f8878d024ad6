//! A store with leases, which uses tokio's clock and fails as a test says.

use std::{
    collections::HashMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use tower_video_cache::{
    BoxError, ChunkSize, FaultStore, Fill, Lease, ManualClock, MokaStore, PutNew, Store, VideoCacheLayer,
};

use super::{CHUNK, Inner, Rig, noon};

/// A store and its leases.
pub(crate) struct Leasing<S> {
    store: S,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    leases: HashMap<String, (String, Instant)>,
    asked: Vec<String>,
    /// The next lease that is asked for belongs to a stranger, for this time.
    strangers: Option<Duration>,
    /// All leases are lost after this many more calls of `renew`.
    lost_after: Option<u32>,
    faults: Vec<(Call, Trouble)>,
    offers_none: bool,
}

/// A call about a lease.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Call {
    Lease,
    Renew,
    Release,
}

/// The outcome of such a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    Error,
    Hang,
    Panic,
    /// The call takes effect, and then returns an error.
    Unanswered,
}

impl<S> Leasing<S> {
    pub(crate) fn new(store: S) -> Self {
        Self { store, state: Mutex::default() }
    }

    /// Makes the store say that it has no leases.
    pub(crate) fn offers_none(&self) {
        self.state().offers_none = true;
    }

    /// Gives every such call this trouble.
    pub(crate) fn spoil(&self, call: Call, trouble: Trouble) {
        self.state().faults.push((call, trouble));
    }

    /// Lets all calls go well from now on.
    pub(crate) fn mend(&self) {
        self.state().faults.clear();
    }

    /// Gives the next lease that is asked for to a stranger, who never renews it.
    pub(crate) fn is_a_strangers(&self, time: Duration) {
        self.state().strangers = Some(time);
    }

    /// Ends every lease, as if its holder had slept for too long.
    pub(crate) fn expire(&self) {
        self.state().leases.clear();
    }

    /// Ends every lease once `renew` was called this many times more.
    pub(crate) fn expire_after_renewals(&self, calls: u32) {
        self.state().lost_after = Some(calls);
    }

    /// The keys that leases were asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// The number of leases that are held now, without notes.
    pub(crate) fn held(&self) -> usize {
        let now = Instant::now();
        let state = self.state();
        state.leases.iter().filter(|(key, (_, until))| key.len() == 34 && *until > now).count()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn trouble(&self, call: Call) -> Option<Trouble> {
        self.state().faults.iter().find(|(spoilt, _)| *spoilt == call).map(|(_, trouble)| *trouble)
    }

    async fn meets(&self, call: Call) -> Result<(), BoxError> {
        match self.trouble(call) {
            None | Some(Trouble::Unanswered) => Ok(()),
            Some(Trouble::Error) => Err("an injected error".into()),
            Some(Trouble::Hang) => pending().await,
            Some(Trouble::Panic) => panic!("an injected panic"),
        }
    }
}

impl<S: Store> Store for Leasing<S> {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        self.store.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        assert!(!key.starts_with("l/"));
        self.store.put(key, value).await
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.state().leases.remove(key);
        self.store.remove(key).await
    }

    fn capacity(&self) -> Option<u64> {
        self.store.capacity()
    }

    async fn lease(&self, key: &str, holder: &str, time: Duration) -> Result<Lease, BoxError> {
        let lease = self.grant(key, holder, time).await?;
        self.answers(Call::Lease, lease)
    }

    async fn renew(&self, key: &str, holder: &str, time: Duration) -> Result<bool, BoxError> {
        let is_held = self.prolong(key, holder, time).await?;
        self.answers(Call::Renew, is_held)
    }

    async fn release(&self, key: &str, holder: &str) -> Result<(), BoxError> {
        self.meets(Call::Release).await?;
        let mut state = self.state();
        if state.leases.get(key).is_some_and(|(other, _)| other == holder) {
            state.leases.remove(key);
        }
        drop(state);
        self.answers(Call::Release, ())
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        self.store.put_new(key, value).await
    }
}

impl<S> Leasing<S> {
    async fn grant(&self, key: &str, holder: &str, time: Duration) -> Result<Lease, BoxError> {
        assert!(key.starts_with("l/") && holder.len() == 32 && !time.is_zero());
        self.state().asked.push(key.to_owned());
        self.meets(Call::Lease).await?;
        let (mut state, now) = (self.state(), Instant::now());
        if state.offers_none {
            return Ok(Lease::NotOffered);
        }
        if let Some(time) = state.strangers.take() {
            state.leases.insert(key.to_owned(), ("a stranger".to_owned(), now + time));
        }
        match state.leases.get(key) {
            Some((other, until)) if other != holder && *until > now => Ok(Lease::Taken),
            _ => {
                state.leases.insert(key.to_owned(), (holder.to_owned(), now + time));
                Ok(Lease::Granted)
            }
        }
    }

    async fn prolong(&self, key: &str, holder: &str, time: Duration) -> Result<bool, BoxError> {
        self.meets(Call::Renew).await?;
        let (mut state, now) = (self.state(), Instant::now());
        let is_held = match state.leases.get_mut(key) {
            Some((other, until)) if other == holder && *until > now => {
                *until = now + time;
                true
            }
            _ => false,
        };
        match &mut state.lost_after {
            Some(1) => {
                state.lost_after = None;
                state.leases.clear();
            }
            Some(calls) => *calls -= 1,
            None => {}
        }
        Ok(is_held)
    }

    fn answers<T>(&self, call: Call, answer: T) -> Result<T, BoxError> {
        match self.trouble(call) {
            Some(Trouble::Unanswered) => Err("an injected error".into()),
            _ => Ok(answer),
        }
    }
}

/// Caches as of several processes: they share one store and one inner service, and nothing else.
pub(crate) struct Nodes {
    pub(crate) all: Vec<Rig>,
    pub(crate) inner: Inner,
    pub(crate) leases: Arc<Leasing<Arc<FaultStore<MokaStore>>>>,
    pub(crate) clock: ManualClock,
}

impl Nodes {
    pub(crate) fn new(count: usize) -> Self {
        let store = Arc::new(FaultStore::new(MokaStore::new(64 << 20).unwrap()));
        let leases = Arc::new(Leasing::new(Arc::clone(&store)));
        let clock = ManualClock::starting_at(noon());
        let inner = Inner::default();
        let node = |_| {
            let layer = VideoCacheLayer::new(Arc::clone(&leases))
                .chunk_size(ChunkSize::new(CHUNK).unwrap())
                .fill(Fill::whole())
                .clock(clock.clone());
            Rig { inner: inner.clone(), store: Arc::clone(&store), clock: clock.clone(), layer }
        };
        Self { all: (0..count).map(node).collect(), inner, leases, clock }
    }

    /// Changes every layer.
    pub(crate) fn layer(mut self, change: impl Fn(VideoCacheLayer) -> VideoCacheLayer) -> Self {
        self.all = self.all.into_iter().map(|node| node.layer(&change)).collect();
        self
    }
}

impl std::ops::Index<usize> for Nodes {
    type Output = Rig;

    fn index(&self, index: usize) -> &Rig {
        &self.all[index]
    }
}
