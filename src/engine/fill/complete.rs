//! Completes a stored response that lacks some of its chunks.
//!
//! RFC 9111 §3.3 (storing incomplete responses), §3.4 (combining partial content).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body;
use tower_service::Service;

use super::{
    delivery::{self, Delivery, Ended, Stored},
    draft::Draft,
    task::FillTask,
};
use crate::{
    engine::{
        fetch::{
            audience::Audience,
            demand::Demand,
            fetcher::Fetcher,
            subscription::{Found, Missing},
        },
        inner::Inner,
        state::{
            entry::Entry,
            flight::{Landing, Permit},
        },
    },
    error::BoxError,
    format::manifest::Manifest,
    futures::{Raced, race},
    semantics::cache_status::Refusal,
};

impl FillTask {
    /// Fetches the missing chunks of `entry`, and no others.
    pub(super) async fn complete<S, A, B>(
        &self,
        inner: &mut Inner<S>,
        entry: &Arc<Entry>,
        permit: &Permit,
    ) -> Completed
    where
        S: Service<Request<A>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        A: Default + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Manifest { layout, .. } = entry.manifest;
        let engine = Arc::clone(&self.engine);
        let fetcher = Fetcher::new(engine, inner.take(), self.asked.clone(), Arc::clone(&self.target));
        let demand = Demand::new(Arc::new(fetcher), Arc::clone(entry), layout.length);
        let audience = Audience::Flight(permit, self.abandon(), Some(layout.length));
        let mut so_far = 0;
        while so_far < layout.length {
            let leaving = race(audience.leaves(so_far, 0, false), self.share.yielded());
            match race(demand.sought(so_far), leaving).await {
                Raced::First(Ok(Found::Bytes(stretch))) => so_far = stretch.end(),
                Raced::First(Err(Missing::Changed | Missing::NoParts(_))) => {
                    entry.forget(&self.engine.records).await;
                    return Completed::Not;
                }
                Raced::First(
                    Ok(Found::Elsewhere(_) | Found::End)
                    | Err(Missing::Failed(_) | Missing::OutOfReach | Missing::TooLate),
                ) => {
                    return Completed::Not;
                }
                Raced::Second(_) => return Completed::Deserted,
            }
        }
        let draft = Draft { sparse: false, ..Draft::of(&entry.manifest) };
        // Even if the commit fails, the chunks are good for the client that asked.
        if let Err(refusal) = self.commit(&draft, permit).await {
            return Completed::Unstored(refusal);
        }
        let (generation, status) = (layout.generation, demand.fetched().or(demand.collapsed()));
        Completed::Stored(Stored { generation, status, withheld: HeaderMap::new() })
    }
}

/// The result of an attempt to complete a stored response.
pub(super) enum Completed {
    /// No request was left to wait for the response.
    Deserted,
    /// The response cannot be completed. The fill goes on as if the store had no response.
    Not,
    Stored(Stored),
    /// All chunks are there, but the record does not say so.
    Unstored(Refusal),
}

impl Completed {
    /// The end of the fill, unless the response cannot be completed.
    pub(super) fn ended<B, E>(self, entry: &Arc<Entry>) -> Option<Ended<B, E>> {
        match self {
            Self::Deserted => Some((Landing::Abandoned, Delivery::Refused(Refusal::Abandoned))),
            Self::Not => None,
            Self::Stored(stored) => Some((Landing::Stored(stored.generation), Delivery::Stored(stored))),
            Self::Unstored(refusal) => {
                let status = Some(StatusCode::PARTIAL_CONTENT);
                let usable = Delivery::Usable(Arc::clone(entry), status, refusal);
                Some((delivery::landing(refusal), usable))
            }
        }
    }
}
