//! The inner service as one client asks it, for bodies that do not know its types.

use std::{future::Future, pin::Pin, sync::Arc};

use http::{header, request, Method};

use super::slice::Slice;
use crate::{
    engine::state::{
        entry::{Entry, Target},
        Engine,
    },
    semantics::fields::remove_conditions_and_ranges,
};

/// The request of a fill: one of its own, without content, conditions and ranges, whatever the viewer's said.
pub(crate) fn request_of_its_own(engine: &Engine, request: &request::Parts) -> request::Parts {
    let mut asked = request.clone();
    remove_conditions_and_ranges(&mut asked.headers);
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        asked.headers.remove(name);
    }
    asked.method = Method::GET;
    engine.mark(&mut asked.extensions);
    asked
}

/// What can ask the inner service on behalf of a viewer.
pub(crate) trait Upstream: Send + Sync {
    fn engine(&self) -> &Arc<Engine>;

    /// What the viewer asked for.
    fn target(&self) -> &Target;

    /// Fetches some chunks, in a task of its own.
    fn fetch(&self, slice: Slice);

    /// The stored response that a fill has made of what it poured, if it has.
    fn committed<'a>(&'a self, poured: &'a Entry) -> Refilling<'a>;

    /// Fills anew what `gone` was, and gives what is stored then, if it is the same to the last byte.
    fn refill(&self, gone: Arc<Entry>) -> Refilling<'_>;
}

/// A stored response to go on with, being sought.
pub(crate) type Refilling<'a> = Pin<Box<dyn Future<Output = Option<Arc<Entry>>> + Send + 'a>>;
