//! Gets the bytes of one body: from the store, or else from the inner service by way of the store.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use http::StatusCode;

use super::{
    fetcher::Fetch,
    subscription::{Found, Missing, Subscription},
};
use crate::{
    engine::state::{entry::Entry, flight::Follower},
    error::Error,
    sync::lock,
};

/// The demand of one body for bytes.
pub(crate) struct Demand {
    fetcher: Arc<dyn Fetch>,
    entry: Arc<Entry>,
    /// The offset after the last byte that the client asked for.
    until: AtomicU64,
    /// Set once a byte is missing, or when some are sure to be.
    subscription: Mutex<Option<Arc<Subscription>>>,
    /// Whether the client leads the fill. If storing stops, the leader alone gets the rest of the body.
    leads: bool,
    /// Keeps the fill going while this body is read, until it gets its bytes another way.
    place: Arc<Mutex<Option<Follower>>>,
}

impl Demand {
    /// The demand of a body that needs the bytes before `until` of a stored response.
    pub(crate) fn new(fetcher: Arc<dyn Fetch>, entry: Arc<Entry>, until: u64) -> Self {
        let (until, subscription) = (AtomicU64::new(until), Mutex::default());
        Self { fetcher, entry, until, subscription, leads: false, place: Arc::default() }
    }

    /// The demand of a body that reads from a running fill. The fill goes on as long as this value lives, and gets its
    /// bytes from the fill.
    pub(crate) fn to_fill(fetcher: Arc<dyn Fetch>, entry: Arc<Entry>, place: Follower, leads: bool) -> Self {
        let place = Arc::new(Mutex::new(Some(place)));
        Self { leads, place, ..Self::new(fetcher, entry, u64::MAX) }
    }

    /// The demand of the same body after it has moved to another generation.
    pub(crate) fn elsewhere(&self, entry: &Arc<Entry>) -> Self {
        Self::new(Arc::clone(&self.fetcher), Arc::clone(entry), entry.manifest.layout.length)
    }

    /// Records that the body needs no byte from this offset on.
    pub(crate) fn set_end(&self, offset: u64) {
        self.until.store(offset, Ordering::Relaxed);
    }

    /// Returns the bytes around `offset`. If the store does not have them, waits for them, fetches them, or has the
    /// response filled again.
    ///
    /// # Errors
    ///
    /// The byte cannot be had, or cannot be proved to be of the same body.
    pub(crate) async fn at(&self, offset: u64) -> Result<Found, Error> {
        match self.sought(offset).await {
            Ok(found) => Ok(found),
            Err(Missing::Failed(error)) => Err(error),
            // These two happen only before a body begins, and there is another way then.
            Err(Missing::OutOfReach | Missing::TooLate) => Err(Error::timed_out()),
            Err(Missing::Changed) => {
                self.entry.forget(&self.fetcher.engine().records).await;
                Err(Error::changed())
            }
            Err(Missing::NoParts(error)) => {
                let stored = match &self.entry.pouring {
                    // While the response is being filled, there is no record to compare another fill with.
                    Some(_) => self.fetcher.committed(&self.entry).await,
                    None => Some(Arc::clone(&self.entry)),
                };
                if let Some(stored) = stored {
                    return self.fetcher.refill(stored).await.map(Found::Elsewhere).ok_or(error);
                }
                if let Some(supply) = &self.entry.pouring {
                    supply.holed.store(true, Ordering::Relaxed);
                }
                Err(error)
            }
        }
    }

    /// Returns bytes as [`at`](Self::at) does, but never has the response filled again.
    pub(crate) async fn sought(&self, offset: u64) -> Result<Found, Missing> {
        match self.subscription(true) {
            Some(subscription) => subscription.at(&*self.fetcher, offset).await,
            None => Err(Missing::NoParts(Error::lost())),
        }
    }

    /// Whether a byte was missing, or some were sure to be.
    pub(crate) fn is_subscribed(&self) -> bool {
        lock(&self.subscription).is_some()
    }

    /// The status of the answer that brought missing bytes on behalf of this client, if the inner service was asked.
    pub(crate) fn fetched(&self) -> Option<StatusCode> {
        self.subscription(false)?.fetched.get().copied()
    }

    /// The status of the answer to another client that this one waited for, if it did.
    pub(crate) fn collapsed(&self) -> Option<StatusCode> {
        self.subscription(false)?.collapsed.get().copied()
    }

    fn subscription(&self, wanted: bool) -> Option<Arc<Subscription>> {
        let mut subscription = lock(&self.subscription);
        if subscription.is_none() && wanted {
            let engine = self.fetcher.engine();
            let supply = self.entry.supply(&engine.supplies);
            let until = self.until.load(Ordering::Relaxed);
            let (leads, place) = (self.leads, Arc::clone(&self.place));
            *subscription = Some(Arc::new(Subscription::new(supply, until, leads, place)));
        }
        subscription.clone()
    }
}
