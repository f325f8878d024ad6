//! A stored response as the engine holds it, and the target that it answers.

use std::{
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::SystemTime,
};

use bytes::Bytes;
use http::HeaderMap;

use super::{
    ranking::{Rankings, Served},
    records::Records,
    supply::{Supplies, Supply},
};
use crate::{
    format::{
        key::{CacheKey, Generation, SelectingField, Slot},
        layout::Layout,
        manifest::{Manifest, Variants},
    },
    policy::Policy,
    semantics::{
        cache_control::RequestDirectives,
        etag::has_validator,
        freshness::{Ended, Exchange, Freshness},
        purge::Position,
        validation::updated,
    },
};

/// The target of a request: its cache key, and the primary slot of the key.
pub(crate) struct Target {
    pub(crate) key: CacheKey,
    pub(crate) primary: Slot,
    /// The purges that were known when the request missed.
    pub(crate) purges: Position,
}

impl Target {
    pub(crate) fn new(key: CacheKey) -> Self {
        Self { primary: Slot::primary(&key), key, purges: Position::default() }
    }
}

/// A stored response, ready to be served.
pub(crate) struct Entry {
    pub(crate) manifest: Manifest,
    pub(crate) freshness: Freshness,
    pub(crate) slot: Slot,
    /// The record that it was decoded from.
    pub(crate) record: Bytes,
    /// The supply that brings the body while a fill is pouring it. The entry has no record then.
    pub(crate) pouring: Option<Arc<Supply>>,
    pub(crate) served: Served,
    /// The epoch of the purges up to which none is for it.
    pub(crate) kept_until: AtomicU64,
    pub(crate) prepared: Prepared,
}

/// The header fields that all answers of one kind have in common, each made for the first answer of its kind.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) whole: OnceLock<HeaderMap>,
    pub(crate) part: OnceLock<HeaderMap>,
    pub(crate) not_modified: OnceLock<HeaderMap>,
}

impl Entry {
    pub(crate) fn of(policy: &Policy, manifest: Manifest, slot: Slot, record: Bytes) -> Self {
        let Manifest { status, headers, exchange, by_uri, playlist, .. } = &manifest;
        let mut freshness = Freshness::at(by_uri, *playlist, *status, headers, *exchange, policy);
        if manifest.withdrawn {
            freshness = freshness.withdrawn();
        } else if manifest.own_etag || !has_validator(headers) {
            freshness = freshness.without_validator(policy);
        }
        if let Some(ended) = manifest.purged {
            freshness = freshness.ended(ended);
        }
        let (pouring, served, kept_until) = (None, Served::default(), AtomicU64::default());
        Self { manifest, freshness, slot, record, pouring, served, kept_until, prepared: Prepared::default() }
    }

    /// Whether the inner service was asked for it when these purges were known.
    pub(crate) fn was_asked_for_after(&self, purges: Position) -> bool {
        let asked = self.manifest.exchange.purges;
        asked.log == purges.log && asked.number >= purges.number
    }

    /// This response, with its freshness ended by a purge.
    pub(crate) fn ended(&self, policy: &Policy, ended: Ended) -> Self {
        let ended = self.manifest.purged.map_or(ended, |before| Ended {
            at: before.at.min(ended.at),
            must_be_validated: before.must_be_validated || ended.must_be_validated,
        });
        let manifest = Manifest { purged: Some(ended), ..self.manifest.clone() };
        Self::of(policy, manifest, self.slot.clone(), self.record.clone())
    }

    /// Whether the inner service gave the response a validator, by which the cache can ask about it.
    pub(crate) fn has_validator(&self) -> bool {
        !self.manifest.own_etag && has_validator(&self.manifest.headers)
    }

    /// This response, with its fields updated by an answer about it (RFC 9111 §3.2). Clients get it even if the update is
    /// not stored, so the fields that the policy hides do not come in.
    pub(crate) fn updated(&self, policy: &Policy, answer: &HeaderMap, exchange: Exchange) -> Self {
        let mut headers = updated(&self.manifest.headers, answer, exchange.received);
        policy.grouping().hide(&mut headers);
        let manifest = Manifest { headers, exchange, purged: None, ..self.manifest.clone() };
        Self::of(policy, manifest, self.slot.clone(), self.record.clone())
    }

    /// This response, with the fields of an answer that is the same response once more.
    pub(crate) fn replaced(&self, policy: &Policy, headers: HeaderMap, exchange: Exchange) -> Self {
        let manifest =
            Manifest { headers, exchange, withdrawn: false, purged: None, ..self.manifest.clone() };
        Self::of(policy, manifest, self.slot.clone(), self.record.clone())
    }

    /// Removes the record of this response from the store, unless another response has taken its place.
    pub(crate) async fn forget(&self, records: &Records) {
        if let Ok(Some(record)) = records.record(&self.slot).await {
            if record == self.record {
                // If the removal fails, the next request finds the same chunk missing, and comes here again.
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

    /// Whether the response may stand in for an error. A sparse one may not: its missing chunks would have to come
    /// from the inner service that has just failed.
    pub(crate) fn stands_in(&self, directives: &RequestDirectives, now: SystemTime) -> bool {
        !self.manifest.sparse && self.freshness.stands_in(directives, now)
    }

    /// The length of the whole body in bytes. While the body is being poured, it is known only if the inner service
    /// declared it.
    pub(crate) fn length(&self) -> Option<u64> {
        match &self.pouring {
            Some(supply) => supply.length(),
            None => Some(self.manifest.layout.length),
        }
    }

    /// The layout of the body as far as it is known.
    pub(crate) fn layout(&self) -> Layout {
        match &self.pouring {
            Some(supply) => supply.layout(),
            None => self.manifest.layout,
        }
    }

    /// Whether a request with these fields selects the response.
    pub(crate) fn is_selected_by(&self, request: &HeaderMap) -> bool {
        let names: Vec<_> = self.manifest.selecting.iter().map(|field| field.name.clone()).collect();
        SelectingField::all(&names, request) == self.manifest.selecting
    }
}

/// A decoded record.
pub(crate) enum Decoded {
    Entry(Arc<Entry>),
    Variants(Variants),
}

impl Decoded {
    /// Adds the response to the ranking of those that were served.
    pub(crate) fn count_in(&self, rankings: &Rankings) {
        if let Some((key, requests, bytes)) = self.served() {
            rankings.add_served(key, requests, bytes);
        }
    }

    /// How often the response was served, and how many bytes of it were asked for.
    pub(crate) fn served(&self) -> Option<(&[u8], u64, u64)> {
        let Self::Entry(entry) = self else { return None };
        let (requests, bytes) = entry.served.read();
        (requests > 0).then_some((entry.manifest.key.as_bytes(), requests, bytes))
    }
}

/// A response that was fetched a moment ago, and may be used even if it is not fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    Nothing,
    /// Fetched or validated for this very request (RFC 9111 §4).
    Own(Generation),
    /// Fetched for another request while this one waited. This request may use it, unless each request needs an
    /// answer of its own.
    Shared(Generation),
    /// Validated for another request, which says nothing about this one.
    Another(Generation),
    /// Stands in for an error that another request met. This request may use it if it may have it stale (RFC 9111
    /// §4.2.4).
    StandIn(Generation),
}
