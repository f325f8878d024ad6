//! Reads the chunk that an answer begins with, while the store still looks for the record that names the chunk.
//!
//! The memo tells which chunk that most likely is. The record alone decides: if it names another chunk, or is gone,
//! the guess is dropped. So a hit in a store on another machine takes one round trip, and not two.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, request};

use super::{Look, content::begins_with, find, foreseen};
use crate::{
    engine::state::{
        Engine,
        entry::{Accepted, Target},
    },
    error::Error,
    format::chunk::ChunkName,
    semantics::cache_control::RequestDirectives,
};

/// A chunk that is being read before its record is known.
pub(crate) struct Prefetched {
    name: ChunkName,
    reading: Pin<Box<dyn Future<Output = Result<Bytes, Error>> + Send>>,
    read: Option<Result<Bytes, Error>>,
}

/// Looks, as [`lookup`](super::lookup) does. Unless the store answers at once, also begins to read the chunk that the
/// answer will most likely begin with.
pub(crate) async fn look_ahead(
    engine: &Engine,
    target: &Target,
    request: &request::Parts,
    directives: &RequestDirectives,
    accepted: Accepted,
) -> (Look, Option<Prefetched>) {
    let has_waited = AtomicBool::new(false);
    let mut look = pin!(find(engine, target, &request.headers, directives, accepted, &has_waited));
    if let Poll::Ready(look) = poll_fn(|cx| Poll::Ready(look.as_mut().poll(cx))).await {
        return (look, None);
    }
    has_waited.store(true, Ordering::Relaxed);
    let mut prefetched = Prefetched::guess(engine, target, request, directives, accepted);
    let look = poll_fn(|cx| {
        if let Some(prefetched) = &mut prefetched {
            prefetched.advance(cx);
        }
        look.as_mut().poll(cx)
    });
    (look.await, prefetched)
}

impl Prefetched {
    fn guess(
        engine: &Engine,
        target: &Target,
        request: &request::Parts,
        directives: &RequestDirectives,
        accepted: Accepted,
    ) -> Option<Self> {
        if request.method != Method::GET {
            return None;
        }
        let entry = foreseen(engine, target, &request.headers, directives, accepted)?;
        let name = begins_with(engine, &entry, request)?;
        let records = Arc::clone(&engine.records);
        Some(Self { name, reading: Box::pin(async move { records.chunk(name).await }), read: None })
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        if self.read.is_none() {
            if let Poll::Ready(read) = self.reading.as_mut().poll(cx) {
                self.read = Some(read);
            }
        }
    }

    /// Returns the result of the read, if it was of the chunk with this name.
    pub(crate) async fn chunk(self, name: ChunkName) -> Option<Result<Bytes, Error>> {
        if self.name != name {
            return None;
        }
        Some(match self.read {
            Some(read) => read,
            None => self.reading.await,
        })
    }
}
