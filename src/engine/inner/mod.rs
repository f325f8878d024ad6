//! The wrapped service, and whether it has been polled ready.

pub(crate) mod chunks;

use std::{future::poll_fn, mem};

use http::Request;
use tower_service::Service;

/// An inner service that is called only when it is ready.
///
/// A clone of a ready service is not ready. A ready service may hold a place (of `ConcurrencyLimit`, of `Buffer`)
/// that others wait for.
pub(crate) struct Inner<S> {
    service: S,
    ready: bool,
}

impl<S: Clone> Inner<S> {
    /// A service that has just been polled ready.
    pub(crate) fn ready(service: S) -> Self {
        Self { service, ready: true }
    }

    /// Hands out the service as it is, and keeps a clone that is not ready.
    pub(crate) fn take(&mut self) -> Self {
        let clone = Self { service: self.service.clone(), ready: false };
        mem::replace(self, clone)
    }

    /// Returns a clone of the service that is not ready.
    pub(crate) fn spare(&self) -> Self {
        Self { service: self.service.clone(), ready: false }
    }

    /// Gives back the place that a ready service holds, before a wait.
    pub(crate) fn release(&mut self) {
        drop(self.take());
    }

    /// Calls the service, once it is ready.
    pub(crate) async fn call<A>(&mut self, request: Request<A>) -> Result<S::Response, S::Error>
    where
        S: Service<Request<A>>,
    {
        if !self.ready {
            poll_fn(|cx| self.service.poll_ready(cx)).await?;
        }
        self.ready = false;
        self.service.call(request).await
    }
}
