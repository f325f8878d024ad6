//! The types of a fill: its purpose, its prior knowledge, and its result.

use std::{future::Future, pin::Pin, sync::Arc};

use http::{header::HeaderMap, Response, StatusCode};
use tokio::task::JoinHandle;

use crate::{
    engine::{
        body::salvaged::Salvage,
        state::{
            entry::Entry,
            flight::{Follower, Landing},
            records::Waited,
        },
    },
    format::{key::Generation, manifest::Tagged},
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

/// What becomes of those who wait for a fill that ends so.
pub(super) fn landing(refusal: Refusal) -> Landing {
    // The answer may be stored by now: by whoever has the lease, or asked after the invalidation.
    if matches!(refusal, Refusal::LeaseLost | Refusal::Invalidated) {
        Landing::Broken
    } else {
        Landing::Passed
    }
}
