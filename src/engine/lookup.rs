//! From a request to the stored response that answers it.
//!
//! RFC 9111 §4 (constructing responses from caches), §4.1 (`Vary`).

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::Engine;
use crate::{
    format::{
        key::{CacheKey, Generation, SelectingField, Slot},
        manifest::{Manifest, Record, Variants},
    },
    semantics::{cache_status::Forwarded, freshness::Freshness},
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
}

/// What a record decodes to.
pub(crate) enum Decoded {
    Entry(Arc<Entry>),
    Variants(Variants),
}

/// What the store has for a request.
pub(crate) enum Look {
    Fresh(Arc<Entry>),
    /// Nothing that may be served: why, and the slot where it would be.
    Nothing(Forwarded, Slot),
}

/// Looks for the response to a request with these fields. An entry of the `accepted` generation is taken even if
/// it has gone stale: it was fetched on behalf of this very request (RFC 9111 §4).
///
/// A store that fails has nothing.
pub(crate) async fn lookup(
    engine: &Engine,
    target: &Target,
    request: &HeaderMap,
    accepted: Option<Generation>,
) -> Look {
    let variants = match decoded(engine, &target.primary).await.as_deref() {
        Some(Decoded::Entry(entry)) if entry.manifest.key == target.key => {
            return judge(engine, Arc::clone(entry), accepted);
        }
        Some(Decoded::Variants(variants)) if variants.key == target.key => variants.clone(),
        // Another key with the same hash is no answer to this one.
        _ => return Look::Nothing(Forwarded::UriMiss, target.primary.clone()),
    };
    let mut nothing = None;
    for names in &variants.selecting {
        let selecting = SelectingField::all(names, request);
        let slot = Slot::variant(&target.key, variants.mark, &selecting);
        let look = match decoded(engine, &slot).await.as_deref() {
            Some(Decoded::Entry(entry))
                if entry.manifest.key == target.key && entry.manifest.selecting == selecting =>
            {
                judge(engine, Arc::clone(entry), accepted)
            }
            _ => Look::Nothing(Forwarded::VaryMiss, slot),
        };
        match look {
            fresh @ Look::Fresh(_) => return fresh,
            missed => nothing = nothing.or(Some(missed)),
        }
    }
    nothing.unwrap_or_else(|| Look::Nothing(Forwarded::UriMiss, target.primary.clone()))
}

/// The record at `slot`, decoded; `None` also where the store fails.
pub(crate) async fn decoded(engine: &Engine, slot: &Slot) -> Option<Arc<Decoded>> {
    let record = engine.records.record(slot).await.ok()??;
    engine.memo.decoded(slot.as_str(), &record, || {
        Some(match Record::decode(&record)? {
            Record::Variants(variants) => Decoded::Variants(variants),
            Record::Response(manifest) => {
                let freshness = Freshness::of(&manifest.headers, manifest.exchange, &engine.config.policy);
                let entry = Entry { manifest, freshness, slot: slot.clone(), record: record.clone() };
                Decoded::Entry(Arc::new(entry))
            }
        })
    })
}

fn judge(engine: &Engine, entry: Arc<Entry>, accepted: Option<Generation>) -> Look {
    let usable = accepted == Some(entry.manifest.layout.generation)
        || entry.freshness.is_fresh(engine.config.clock.now());
    if usable {
        Look::Fresh(entry)
    } else {
        Look::Nothing(Forwarded::Stale, entry.slot.clone())
    }
}
