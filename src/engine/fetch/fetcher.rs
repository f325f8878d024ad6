//! Asks the inner service on behalf of one client, for bodies that do not know the types of that service.

use std::{
    future::{Future, ready},
    marker::PhantomData,
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, header, request};
use http_body::Body;
use tower_service::Service;

use super::missing::Slice;
use crate::{
    engine::{
        inner::Inner,
        state::{
            Engine,
            entry::{Entry, Target},
        },
    },
    error::BoxError,
    semantics::{fields::remove_conditions_and_ranges, reload::say_max_age},
    sync::lock,
};

/// Makes the request of a fill from a client's request: without content, conditions and ranges, and without a reload by
/// force.
pub(crate) fn request_of_its_own(engine: &Engine, request: &request::Parts) -> request::Parts {
    let mut asked = request.clone();
    remove_conditions_and_ranges(&mut asked.headers);
    say_max_age(&mut asked.headers);
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        asked.headers.remove(name);
    }
    asked.method = Method::GET;
    engine.mark(&mut asked.extensions);
    asked
}

/// Asks the inner service on behalf of a client.
pub(crate) trait Fetch: Send + Sync {
    fn engine(&self) -> &Arc<Engine>;

    /// Fetches some chunks, in a task of its own.
    fn fetch(&self, slice: Slice);

    /// The stored response that a fill has committed after it poured this entry. `None` if there is none, or if this
    /// fetcher cannot tell.
    fn committed<'a>(&'a self, _poured: &'a Entry) -> Refilling<'a> {
        Box::pin(ready(None))
    }

    /// Fills `gone` again, and returns the new stored response if it is the same to the last byte. `None` if this
    /// fetcher never fills again.
    fn refill(&self, _gone: Arc<Entry>) -> Refilling<'_> {
        Box::pin(ready(None))
    }
}

/// A search for the stored response to go on with.
pub(crate) type Refilling<'a> = Pin<Box<dyn Future<Output = Option<Arc<Entry>>> + Send + 'a>>;

/// One client's request, and the inner service that answers it. This type fetches chunks, but never fills a response
/// again.
pub(crate) struct Fetcher<S, A> {
    pub(crate) engine: Arc<Engine>,
    inner: Mutex<Inner<S>>,
    pub(crate) request: request::Parts,
    pub(crate) target: Arc<Target>,
    body: PhantomData<fn(A)>,
}

impl<S: Clone + Send, A> Fetcher<S, A> {
    pub(crate) fn new(
        engine: Arc<Engine>,
        mut inner: Inner<S>,
        request: request::Parts,
        target: Arc<Target>,
    ) -> Self {
        // A body may be read for hours. Meanwhile another request may have its place at the inner service.
        inner.release();
        Self { engine, inner: Mutex::new(inner), request, target, body: PhantomData }
    }

    pub(crate) fn inner(&self) -> Inner<S> {
        lock(&self.inner).take()
    }
}

impl<S, A, B> Fetch for Fetcher<S, A>
where
    S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    A: Default + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    fn fetch(&self, slice: Slice) {
        let asked = request_of_its_own(&self.engine, &self.request);
        tokio::spawn(slice.run(Arc::clone(&self.engine), self.inner(), asked));
    }
}
