//! From a request to the stored response that answers it.
//!
//! RFC 9111 §4 (constructing responses from caches), §4.1 (`Vary`).

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::Engine;
use crate::{
    error::Error,
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

impl Entry {
    pub(crate) fn generation(&self) -> Generation {
        self.manifest.layout.generation
    }
}

/// What a record decodes to.
pub(crate) enum Decoded {
    Entry(Arc<Entry>),
    Variants(Variants),
}

/// What the store has for a request.
pub(crate) enum Look {
    /// The store could not tell what it has.
    Failed,
    Fresh(Arc<Entry>),
    /// Nothing that may be served: why, and the slot where it would be.
    Nothing(Forwarded, Slot),
}

/// Looks for the response to a request with these fields. An entry of the `accepted` generation is taken even if
/// it has gone stale: it was fetched on behalf of this very request (RFC 9111 §4).
pub(crate) async fn lookup(
    engine: &Engine,
    target: &Target,
    request: &HeaderMap,
    accepted: Option<Generation>,
) -> Look {
    let Ok(primary) = decoded(engine, &target.primary).await else {
        return Look::Failed;
    };
    let variants = match primary.as_deref() {
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
        let variant = decoded(engine, &slot).await.ok().flatten();
        let look = match variant.as_deref() {
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

/// The record at `slot`, decoded; none if it does not decode.
pub(crate) async fn decoded(engine: &Engine, slot: &Slot) -> Result<Option<Arc<Decoded>>, Error> {
    let Some(record) = engine.records.record(slot).await? else {
        return Ok(None);
    };
    Ok(engine.memo.decoded(slot.as_str(), &record, || {
        Some(match Record::decode(&record)? {
            Record::Variants(variants) => Decoded::Variants(variants),
            Record::Response(manifest) => {
                let freshness = Freshness::of(&manifest.headers, manifest.exchange, &engine.config.policy);
                let entry = Entry { manifest, freshness, slot: slot.clone(), record: record.clone() };
                Decoded::Entry(Arc::new(entry))
            }
        })
    }))
}

fn judge(engine: &Engine, entry: Arc<Entry>, accepted: Option<Generation>) -> Look {
    let usable = accepted == Some(entry.generation()) || entry.freshness.is_fresh(engine.config.clock.now());
    if usable {
        Look::Fresh(entry)
    } else {
        Look::Nothing(Forwarded::Stale, entry.slot.clone())
    }
}

#[cfg(test)]
mod tests {
    use http::{header, HeaderMap, HeaderValue, StatusCode};

    use super::*;
    use crate::{
        clock::{Clock, SystemClock},
        engine::{Config, Engine},
        format::manifest::Layout,
        semantics::freshness::Exchange,
        store::MokaStore,
    };

    fn engine() -> Engine {
        Engine::new(Config::new(SystemClock), Arc::new(MokaStore::new(1 << 20)))
    }

    fn manifest(key: &CacheKey, selecting: Vec<SelectingField>) -> Record {
        let now = SystemClock.now();
        Record::Response(Manifest {
            key: key.clone(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            selecting,
            exchange: Exchange { requested: now, received: now },
            layout: Layout { generation: Generation(1), chunk_size: 1, length: 0 },
        })
    }

    async fn finds(engine: &Engine, target: &Target, request: &HeaderMap) -> bool {
        matches!(lookup(engine, target, request, None).await, Look::Fresh(_))
    }

    #[tokio::test]
    async fn a_record_of_another_key_with_the_same_hash_is_no_answer() {
        let (engine, request) = (engine(), HeaderMap::new());
        let target = Target::new(CacheKey::new("mine"));
        for (key, found) in [("theirs", false), ("mine", true)] {
            let record = manifest(&CacheKey::new(key), Vec::new());
            engine.records.put_record(&target.primary, &record).await.unwrap();
            assert_eq!(finds(&engine, &target, &request).await, found, "{key}");
        }
    }

    #[tokio::test]
    async fn a_variant_of_other_values_with_the_same_hash_is_no_answer() {
        let engine = engine();
        let target = Target::new(CacheKey::new("mine"));
        let mut request = HeaderMap::new();
        request.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static("de"));
        let names = vec![header::ACCEPT_LANGUAGE];
        let mine = SelectingField::all(&names, &request);
        let theirs = SelectingField::all(&names, &HeaderMap::new());
        let mark = Generation(7);
        let variants = Variants { key: target.key.clone(), mark, selecting: vec![names] };
        engine.records.put_record(&target.primary, &Record::Variants(variants)).await.unwrap();
        let slot = Slot::variant(&target.key, mark, &mine);
        for (selecting, found) in [(theirs, false), (mine, true)] {
            let record = manifest(&target.key, selecting);
            engine.records.put_record(&slot, &record).await.unwrap();
            assert_eq!(finds(&engine, &target, &request).await, found);
        }
    }
}
