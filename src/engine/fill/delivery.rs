//! The types of a fill: its purpose, its prior knowledge, and its result.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{header::HeaderMap, response, Response, StatusCode};
use tokio::task::JoinHandle;

use crate::{
    engine::{
        collect::Collector,
        flight::{Follower, Landing},
        lookup::Entry,
        records::Waited,
    },
    format::{
        key::Generation,
        manifest::{Layout, Tagged},
    },
    semantics::cache_status::Refusal,
};

/// What a fill has for the request that led it.
pub(crate) enum Delivery<B, E> {
    /// The inner body, of an answer with this status, broke its word before anything left: the viewer gets an error.
    Broken(StatusCode, Refusal),
    /// Another node did what this fill was for: it is as if another request had.
    Elsewhere(Landing),
    /// The inner service failed.
    Failed(E),
    /// The inner service takes too long for others to wait for it: here is its answer under way.
    Late(Answering<B, E>),
    /// The inner response may not be stored: here it is, untouched.
    Passed(Response<B>, Refusal),
    /// What came is no answer to what the viewer asked, and may not be stored.
    Refused(Refusal),
    /// Storing stopped midway: here is the inner response, part stored, part in hand, part still to come.
    Salvaged(Box<Salvage<B>>),
    /// In the store.
    Stored(Stored),
    /// What was stored before may be used, though the store does not say so: why, and what the inner service answered.
    Usable(Arc<Entry>, Option<StatusCode>, Refusal),
}

/// A call of the inner service.
pub(super) type Answering<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

/// A response that a fill has put into the store, or found to be still good there.
pub(crate) struct Stored {
    pub(crate) generation: Generation,
    /// The inner service's, 304 (Not Modified) if what was stored is still good.
    pub(crate) status: StatusCode,
    /// What came for the viewer who asked, and is stored for nobody (RFC 9111 §5.2.2.4, §5.2.2.7).
    pub(crate) withheld: HeaderMap,
}

/// What is stored when a fill begins.
#[derive(Default)]
pub(crate) enum Known {
    /// A record whose bytes are gone, if it is still there.
    Gone(Generation),
    #[default]
    Nothing,
    /// What other requests of the key selected.
    Others(Vec<Tagged>),
    /// A part of what the request selects, fresh.
    Sparse(Arc<Entry>),
    /// What the request selects, and may be good still.
    Stale(Arc<Entry>),
    /// The store could not tell, and took so long for that.
    Unknown(Waited),
}

impl Known {
    /// What may be good still, and may stand in for an error.
    pub(crate) fn stale(self) -> Option<Arc<Entry>> {
        match self {
            Self::Stale(entry) => Some(entry),
            Self::Gone(_) | Self::Nothing | Self::Others(_) | Self::Sparse(_) | Self::Unknown(_) => None,
        }
    }
}

/// An inner response whose storing stopped midway.
pub(crate) struct Salvage<B> {
    pub(crate) parts: response::Parts,
    /// The chunks that are in the store: a body of their own.
    pub(crate) stored: Layout,
    /// The chunk that did not get there.
    pub(crate) in_hand: Bytes,
    pub(crate) rest: Collector<B>,
    pub(crate) refusal: Refusal,
    /// How long the store was waited for in vain.
    pub(crate) waited: Waited,
}

/// For whom a fill is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Viewers to come: nobody waits for it.
    Later,
    /// The request that leads it, and those who follow.
    Now,
}

/// A fill under way, as the request sees it that leads it.
pub(crate) struct Filling<B, E> {
    pub(crate) task: JoinHandle<Delivery<B, E>>,
    pub(crate) follower: Follower,
}
