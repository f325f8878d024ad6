//! The types of a fill: its purpose, its prior knowledge, and its result.

use std::{future::Future, pin::Pin, sync::Arc};

use http::{Response, StatusCode, header::HeaderMap, request};
use tokio::task::JoinHandle;

use crate::{
    engine::{
        body::salvaged::Salvage,
        state::{
            entry::{Entry, Target},
            flight::{Follower, Landing},
            records::Waited,
        },
    },
    format::{key::Generation, manifest::Tagged},
    semantics::cache_status::Refusal,
};

/// The result of a fill, for its leader.
pub(crate) enum Delivery<B, E> {
    /// The inner body broke its word before any byte left the cache, so the client gets an error. The status is that of
    /// the inner answer.
    Broken(StatusCode, Refusal),
    /// Another node did the work of this fill. The leader goes on like a follower of that node's fill.
    Elsewhere(Landing),
    /// The inner service failed.
    Failed(E),
    /// The inner service takes longer than followers may wait. The call is still under way.
    Late(Answering<B, E>),
    /// The inner response may not be stored. The response is untouched.
    Passed(Response<B>, Refusal),
    /// The fill has no answer for the client. If an answer came, it was to another question and may not be stored.
    Refused(Refusal),
    /// Storing stopped midway. A part of the inner response is stored, a part is in hand, and a part is still to come.
    Salvaged(Box<Salvage<B>>),
    /// The response is in the store.
    Stored(Stored),
    /// A stored response may be used, though its record does not say so. The status is that of the inner answer, the
    /// refusal says why.
    Usable(Arc<Entry>, Option<StatusCode>, Refusal),
}

/// The end of a fill without an answer to store.
pub(super) type Ended<B, E> = (Landing, Delivery<B, E>);

/// A call of the inner service under way.
pub(super) type Answering<B, E> = Pin<Box<dyn Future<Output = Result<Response<B>, E>> + Send>>;

/// A response that a fill has put into the store, or found to be still good there.
pub(crate) struct Stored {
    pub(crate) generation: Generation,
    /// The status of the inner answer: 304 (Not Modified) if the stored response is still good. `None` if all of the response
    /// was in the store, and the inner service was not asked.
    pub(crate) status: Option<StatusCode>,
    /// Fields for the client that asked, never stored (RFC 9111 §5.2.2.4, §5.2.2.7).
    pub(crate) withheld: HeaderMap,
}

/// The fill's knowledge of the store when it begins.
#[derive(Default)]
pub(crate) enum Prior {
    /// The bytes of this generation are gone. Its record may still be there.
    Gone(Generation),
    #[default]
    Nothing,
    /// Variants that other requests of the key selected.
    Others(Vec<Tagged>),
    /// A fresh response that the request selects, stored in part.
    Sparse(Arc<Entry>),
    /// A stored response that the request selects, and that may still be good.
    Stale(Arc<Entry>),
    /// The store could not tell, and took this long to fail.
    Unknown(Waited),
}

impl Prior {
    /// The response that may still be good and may stand in for an error.
    pub(crate) fn stale(self) -> Option<Arc<Entry>> {
        match self {
            Self::Stale(entry) => Some(entry),
            Self::Gone(_) | Self::Nothing | Self::Others(_) | Self::Sparse(_) | Self::Unknown(_) => None,
        }
    }
}

/// The purpose of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For later clients: no request waits for this fill.
    Background,
    /// For the leader and its followers.
    Client,
}

/// The order of a fill.
pub(crate) struct Order<'a> {
    /// The request on whose behalf the fill asks.
    pub(crate) request: &'a request::Parts,
    pub(crate) target: &'a Arc<Target>,
    pub(crate) stored: Prior,
    pub(crate) purpose: Purpose,
}

/// A fill under way, as its leader sees it.
pub(crate) struct Filling<B, E> {
    pub(crate) task: JoinHandle<Delivery<B, E>>,
    pub(crate) follower: Follower,
}

/// The landing that followers see when a fill ends with this refusal.
pub(super) fn landing(refusal: Refusal) -> Landing {
    // Another fill may have stored the answer by now: it holds the lease, or it began after the invalidation.
    if matches!(refusal, Refusal::LeaseLost | Refusal::Invalidated) {
        Landing::Broken
    } else {
        Landing::Passed
    }
}
