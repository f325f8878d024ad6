//! Fetches missing chunks for one client's body, and fills a lost response anew.
//!
//! A body holds its viewer as `dyn Fetch`, because it does not know the types of the inner service.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, header, request};
use http_body::Body;
use tokio::time::timeout;
use tower_service::Service;

use crate::{
    engine::{
        fetch::{
            fetcher::{Fetch, Fetcher, Refilling},
            missing::Slice,
        },
        fill::{
            delivery::{Filling, Order, Prior, Purpose},
            run,
        },
        inner::Inner,
        lookup::decoded,
        state::{
            Engine,
            entry::{Decoded, Entry, Target},
            flight::{Role, paced},
        },
    },
    error::BoxError,
    format::manifest::Manifest,
    futures::{Raced, race},
    semantics::{partial::agree_on_the_date, storable::remove_credentials},
};

/// One client's way to the inner service: it fetches chunks, and fills anew what is lost.
pub(crate) struct Viewer<S, A>(Fetcher<S, A>);

impl<S: Clone + Send, A> Viewer<S, A> {
    pub(crate) fn new(
        engine: Arc<Engine>,
        inner: Inner<S>,
        request: request::Parts,
        target: Arc<Target>,
    ) -> Self {
        Self(Fetcher::new(engine, inner, request, target))
    }

    /// Makes a viewer with a spare clone of the inner service, for a request that keeps the ready one.
    pub(crate) fn beside<B>(
        engine: &Arc<Engine>,
        inner: &Inner<S>,
        request: &request::Parts,
        target: &Arc<Target>,
    ) -> Arc<dyn Fetch>
    where
        S: Service<Request<A>, Response = Response<B>> + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (engine, target) = (Arc::clone(engine), Arc::clone(target));
        Arc::new(Self::new(engine, inner.spare(), request.clone(), target))
    }

    /// Finds another response that was stored in the place of `gone`.
    async fn found(&self, gone: &Entry) -> Option<Arc<Entry>> {
        match &*decoded(&self.0.engine, &gone.slot).await.ok().flatten()? {
            Decoded::Entry(entry) if entry.generation() != gone.generation() => Some(Arc::clone(entry)),
            _ => None,
        }
    }
}

impl<S, A, B> Fetch for Viewer<S, A>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Default + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn engine(&self) -> &Arc<Engine> {
        &self.0.engine
    }

    fn fetch(&self, slice: Slice) {
        self.0.fetch(slice);
    }

    fn committed<'a>(&'a self, poured: &'a Entry) -> Refilling<'a> {
        Box::pin(async move {
            match &*decoded(&self.0.engine, &poured.slot).await.ok().flatten()? {
                Decoded::Entry(entry) if entry.generation() == poured.generation() => Some(Arc::clone(entry)),
                _ => None,
            }
        })
    }

    fn refill(&self, gone: Arc<Entry>) -> Refilling<'_> {
        Box::pin(async move {
            let Engine { records, flights, purges, config, .. } = &*self.0.engine;
            // Another request has filled it since.
            if let Some(found) = self.found(&gone).await {
                return is_same(&gone, &found).then_some(found);
            }
            // The joined flight may be the one that stored `gone`, about to land. So there is a second try.
            for _ in 0..2 {
                gone.forget(records).await;
                match flights.join(&gone.slot, &self.0.target.primary, purges.position()) {
                    Role::Lead(permit) => {
                        let (engine, target) = (&self.0.engine, &self.0.target);
                        let Manifest { headers, exchange, .. } = &gone.manifest;
                        let mut request = self.0.request.clone();
                        remove_credentials(&mut request.headers, headers, *exchange, &config.policy);
                        let (stored, purpose) = (Prior::Gone(gone.generation()), Purpose::Client);
                        let order = Order { request: &request, target, stored, purpose };
                        let filling = run::start(engine, self.0.inner(), order, permit)?;
                        let Filling { task, follower } = filling;
                        // Only a stored response is of use here, so the delivery is dropped. No client reads this fill
                        // while it comes, so a paced fill would not go on.
                        if let Raced::Second(()) = race(task, paced(follower)).await {
                            return None;
                        }
                    }
                    Role::Follow(mut follower) => {
                        let slow = paced(follower.clone());
                        let _ = timeout(config.timeouts.follower, race(follower.landing(), slow)).await;
                    }
                }
                if let Some(found) = self.found(&gone).await {
                    return is_same(&gone, &found).then_some(found);
                }
            }
            None
        })
    }
}

/// Whether two stored responses have the same bytes, proved by one strong validator or by one digest.
fn is_same(one: &Entry, other: &Entry) -> bool {
    let (one, other) = (&one.manifest, &other.manifest);
    let same_key = one.key == other.key && one.selecting == other.selecting;
    let coding = |manifest: &Manifest| manifest.headers.get(header::CONTENT_ENCODING).cloned();
    let same_key = same_key && coding(one) == coding(other);
    let same_date = agree_on_the_date(&one.headers, &other.headers);
    let same_tag = || same_date && one.binding().is_some_and(|bound| other.binding() == Some(bound));
    let same_digest = || one.digest.is_some() && one.digest == other.digest;
    same_key && one.layout.length == other.layout.length && (same_tag() || same_digest())
}
