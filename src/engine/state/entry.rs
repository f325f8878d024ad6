//! A stored response as the engine holds it, and the target that it answers.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    records::Records,
    supply::{Supplies, Supply},
};
use crate::{
    format::{
        key::{CacheKey, Generation, SelectingField, Slot},
        manifest::{Layout, Manifest, Variants},
    },
    policy::Policy,
    semantics::{
        cache_control::RequestDirectives,
        freshness::{Exchange, Freshness},
        validation::updated,
    },
};

/// What a request is about.
pub(crate) struct Target {
    pub(crate) key: CacheKey,
    pub(crate) primary: Slot,
}

impl Target {
    pub(crate) fn new(key: CacheKey) -> Self {
        Self { primary: Slot::primary(&key), key }
    }
}

/// A stored response, ready to be served.
pub(crate) struct Entry {
    pub(crate) manifest: Manifest,
    pub(crate) freshness: Freshness,
    pub(crate) slot: Slot,
    /// The record that it was decoded from.
    pub(crate) record: Bytes,
    /// What brings it, if it has not all come yet: it has no record then.
    pub(crate) pouring: Option<Arc<Supply>>,
}

impl Entry {
    pub(crate) fn of(policy: &Policy, manifest: Manifest, slot: Slot, record: Bytes) -> Self {
        let Manifest { status, headers, exchange, .. } = &manifest;
        let mut freshness = Freshness::of(*status, headers, *exchange, policy).by(manifest.by_uri);
        if manifest.withdrawn {
            freshness = freshness.withdrawn();
        }
        Self { manifest, freshness, slot, record, pouring: None }
    }

    /// The same, with its fields updated by an answer about it (RFC 9111 §3.2).
    pub(crate) fn updated(&self, policy: &Policy, answer: &HeaderMap, exchange: Exchange) -> Self {
        let headers = updated(&self.manifest.headers, answer, exchange.received);
        let manifest = Manifest { headers, exchange, ..self.manifest.clone() };
        Self::of(policy, manifest, self.slot.clone(), self.record.clone())
    }

    /// Removes the record of this response from the store, unless another response has taken its place.
    pub(crate) async fn forget(&self, records: &Records) {
        if let Ok(Some(record)) = records.record(&self.slot).await {
            if record == self.record {
                // If it stays, the next request finds the same chunk gone, and comes here again.
                let _ = records.remove_record(&self.slot).await;
            }
        }
    }

    /// The supply of this response's missing chunks.
    pub(crate) fn supply(&self, supplies: &Arc<Supplies>) -> Arc<Supply> {
        if let Some(supply) = &self.pouring {
            return Arc::clone(supply);
        }
        supplies.open(&self.manifest, Some(self.manifest.layout.length), HeaderMap::new())
    }

    pub(crate) fn generation(&self) -> Generation {
        self.manifest.layout.generation
    }

    /// Whether it may stand in for an error. What is stored in part would have to be asked for where the error came from.
    pub(crate) fn stands_in(&self, directives: &RequestDirectives, now: SystemTime) -> bool {
        !self.manifest.sparse && self.freshness.stands_in(directives, now)
    }

    /// Bytes of the whole body; of one that is still to come, only if the inner service said it.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.pouring {
            Some(supply) => supply.length(),
            None => Some(self.manifest.layout.length),
        }
    }

    /// Its layout as far as it is certain by now.
    pub(crate) fn layout(&self) -> Layout {
        match &self.pouring {
            Some(supply) => supply.layout(),
            None => self.manifest.layout,
        }
    }

    /// Whether a request with these fields selects it.
    pub(crate) fn is_selected_by(&self, request: &HeaderMap) -> bool {
        let names: Vec<_> = self.manifest.selecting.iter().map(|field| field.name.clone()).collect();
        SelectingField::all(&names, request) == self.manifest.selecting
    }
}

/// What a record decodes to.
pub(crate) enum Decoded {
    Entry(Arc<Entry>),
    Variants(Variants),
}

/// A response that was fetched a moment ago, and may be used whatever its freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Nothing,
    /// Fetched or validated for this very request (RFC 9111 §4).
    Own(Generation),
    /// Fetched for another one, while this one waited: good, unless each request needs an answer for itself.
    Shared(Generation),
    /// Found to be good for another one, and that says nothing of this one.
    Another(Generation),
    /// Stands in for an error that another one's question met: good, if this one may have it stale (RFC 9111 §4.2.4).
    StandIn(Generation),
}
