//! Looks up the stored response that answers a request.
//!
//! RFC 9111 §4 (constructing responses from caches), §4.1 (`Vary`).

pub(crate) mod content;
pub(crate) mod prefetch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use http::{HeaderMap, Method, request};

use super::state::{
    Engine,
    entry::{Accepted, Decoded, Entry, Target},
    purges::Judgement,
    records::Waited,
};
use crate::{
    error::Error,
    format::{
        key::{SelectingField, Slot},
        manifest::{Record, Tagged},
    },
    futures::both,
    semantics::{cache_control::RequestDirectives, cache_status::Forwarded, freshness::Reuse},
    settings::Mode,
};

/// The result of a lookup.
pub(crate) enum Look {
    /// The store could not tell what it has, and the lookup waited for it so long.
    Failed(Waited),
    /// The stored response, whether it may be used, and the time of the look at the clock.
    Found(Arc<Entry>, Reuse, SystemTime),
    /// This request selects no stored response: why, the slot where one would be, and the variants that other
    /// requests selected.
    Nothing(Forwarded, Slot, Vec<Tagged>),
}

/// Looks for the response to a request with these fields.
pub(crate) async fn lookup(
    engine: &Engine,
    target: &Target,
    request: &HeaderMap,
    directives: &RequestDirectives,
    accepted: Accepted,
) -> Look {
    find(engine, target, request, directives, accepted, &AtomicBool::new(true)).await
}

/// Looks as [`lookup`] does.
///
/// `has_waited` says that time may have passed since the first poll, so that the knowledge of the log of purges may
/// have become too old. A store in memory answers at once, and another look at the clock would tell nothing new.
async fn find(
    engine: &Engine,
    target: &Target,
    request: &HeaderMap,
    directives: &RequestDirectives,
    accepted: Accepted,
    has_waited: &AtomicBool,
) -> Look {
    // Boxed, so that the future of a hit stays small.
    if engine.tombstones.holds(&target.primary)
        && !Box::pin(engine.tombstones.retry_if_due(&engine.records, &target.primary)).await
    {
        return Look::Failed(Waited::default());
    }
    let mut is_given_up = false;
    let primary = if engine.purges.is_due() {
        let both = Box::pin(both(decoded(engine, &target.primary), engine.purges.keep_up()));
        let (primary, is_read) = both.await;
        is_given_up = !is_read;
        primary
    } else {
        decoded(engine, &target.primary).await
    };
    if has_waited.load(Ordering::Relaxed) {
        Box::pin(catch_up(engine, &mut is_given_up)).await;
    }
    let primary = match primary {
        Ok(primary) => primary,
        Err(error) => return Look::Failed(Waited::of(&error)),
    };
    let variants = match primary.as_deref() {
        Some(Decoded::Entry(entry))
            if entry.manifest.key == target.key && may_be(engine, entry, accepted) =>
        {
            return match purged(engine, entry, target, accepted) {
                Some(entry) => judge(engine, entry, directives, accepted),
                None => Look::Nothing(Forwarded::UriMiss, target.primary.clone(), Vec::new()),
            };
        }
        Some(Decoded::Variants(variants)) if variants.key == target.key => variants,
        // A record of another key with the same hash is no answer to this one.
        _ => return Look::Nothing(Forwarded::UriMiss, target.primary.clone(), Vec::new()),
    };
    let mut read = Vec::with_capacity(variants.selecting.len());
    for names in &variants.selecting {
        let selecting = SelectingField::all(names, request);
        let slot = Slot::variant(&target.key, variants.mark, &selecting);
        let variant = decoded(engine, &slot).await;
        if has_waited.load(Ordering::Relaxed) {
            Box::pin(catch_up(engine, &mut is_given_up)).await;
        }
        let waited = variant.as_ref().err().map(Waited::of).unwrap_or_default();
        // Each of the other variants would take as long.
        if waited != Waited::default() {
            return Look::Failed(waited);
        }
        // A store that fails for this variant would most likely fail for the others as well.
        let others = if variant.is_ok() { &variants.tagged[..] } else { &[] };
        let found = match variant.ok().flatten().as_deref() {
            Some(Decoded::Entry(entry))
                if entry.manifest.key == target.key
                    && entry.manifest.selecting == selecting
                    && may_be(engine, entry, accepted) =>
            {
                Some(Arc::clone(entry))
            }
            _ => None,
        };
        read.push((slot, others, found));
    }
    // All at the end: the lookup may have waited for one of them after it had read another one.
    let looks = read.into_iter().map(|(slot, others, found)| {
        match found.and_then(|entry| purged(engine, &entry, target, accepted)) {
            Some(entry) => judge(engine, entry, directives, accepted),
            None => Look::Nothing(Forwarded::VaryMiss, slot, others.to_vec()),
        }
    });
    let best = looks.reduce(|best, look| if look.beats(&best) { look } else { best });
    best.unwrap_or_else(|| Look::Nothing(Forwarded::UriMiss, target.primary.clone(), Vec::new()))
}

impl Look {
    /// Whether this result is the better one. RFC 9111 §4.1: if a request selects several responses, the most recent
    /// one is used. A response that need not be validated comes before one that must be.
    fn beats(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Found(one, reuse, _), Self::Found(other, other_reuse, _)) => {
                let rank =
                    |entry: &Entry, reuse: &Reuse| (reuse.is_usable(), entry.manifest.exchange.received);
                rank(one, reuse) > rank(other, other_reuse)
            }
            (Self::Found(..), _) => true,
            _ => false,
        }
    }
}

/// Reads the log of purges if what is known has become too old, unless the request has given the log up.
async fn catch_up(engine: &Engine, is_given_up: &mut bool) {
    if !*is_given_up && engine.purges.is_outdated() {
        *is_given_up = !engine.purges.keep_up().await;
    }
}

/// Guesses the entry that [`lookup`] will find, by the one that it found last. Returns only an entry that may be
/// served from the store at once.
pub(crate) fn foreseen(
    engine: &Engine,
    target: &Target,
    request: &HeaderMap,
    directives: &RequestDirectives,
    accepted: Accepted,
) -> Option<Arc<Entry>> {
    let entry = match &*engine.memo.last(target.primary.as_str())? {
        Decoded::Entry(entry) => Arc::clone(entry),
        Decoded::Variants(variants) => variants.selecting.iter().find_map(|names| {
            let selecting = SelectingField::all(names, request);
            let slot = Slot::variant(&target.key, variants.mark, &selecting);
            match &*engine.memo.last(slot.as_str())? {
                Decoded::Entry(entry) => Some(Arc::clone(entry)),
                Decoded::Variants(_) => None,
            }
        })?,
    };
    let now = engine.config.clock.now();
    reuse(&entry, directives, accepted, now).is_usable().then_some(entry)
}

/// The record at `slot`, decoded; `None` if it does not decode.
pub(crate) async fn decoded(engine: &Engine, slot: &Slot) -> Result<Option<Arc<Decoded>>, Error> {
    let Some(record) = engine.records.record(slot).await? else {
        engine.memo.forget(slot.as_str());
        return Ok(None);
    };
    Ok(engine.memo.decoded(engine.era, slot.as_str(), &record, || {
        Some(match Record::decode(&record)? {
            Record::Variants(variants) => Decoded::Variants(variants),
            Record::Response(manifest) => Decoded::Entry(Arc::new(Entry::of(
                &engine.config.policy,
                manifest,
                slot.clone(),
                record.clone(),
            ))),
        })
    }))
}

/// Whether the entry may be used, in spite of the failed removals that were not noted.
fn may_be(engine: &Engine, entry: &Entry, accepted: Accepted) -> bool {
    let is_new = || match accepted {
        Accepted::Nothing | Accepted::Another(_) => false,
        Accepted::Own(generation) | Accepted::Shared(generation) | Accepted::StandIn(generation) => {
            generation == entry.generation()
        }
    };
    let received = entry.manifest.exchange.received;
    engine.tombstones.may_believe(received, || engine.config.clock.now()) || is_new()
}

#[inline]
fn judge(engine: &Engine, entry: Arc<Entry>, directives: &RequestDirectives, accepted: Accepted) -> Look {
    let now = engine.config.clock.now();
    let reuse = reuse(&entry, directives, accepted, now);
    Look::Found(entry, reuse, now)
}

/// The entry as the log of purges leaves it. Returns `None` if it is gone.
fn purged(engine: &Engine, entry: &Arc<Entry>, target: &Target, accepted: Accepted) -> Option<Arc<Entry>> {
    let epoch = engine.purges.epoch();
    if entry.kept_until.load(Ordering::Relaxed) == epoch {
        return Some(Arc::clone(entry));
    }
    judged_by_the_log(engine, entry, target, accepted, epoch)
}

#[cold]
fn judged_by_the_log(
    engine: &Engine,
    entry: &Arc<Entry>,
    target: &Target,
    accepted: Accepted,
    epoch: u64,
) -> Option<Arc<Entry>> {
    if is_of_now(entry, target, accepted) {
        return Some(Arc::clone(entry));
    }
    match engine.purges.judge(&entry.manifest) {
        Judgement::Kept => {
            entry.kept_until.store(epoch, Ordering::Relaxed);
            Some(Arc::clone(entry))
        }
        Judgement::Ended(ended) => Some(Arc::new(entry.ended(&engine.config.policy, ended))),
        Judgement::Gone => None,
    }
}

/// Whether the inner service was asked for the entry after the request came. A purge that came still later is not for this
/// request.
fn is_of_now(entry: &Entry, target: &Target, accepted: Accepted) -> bool {
    match accepted {
        Accepted::Own(generation) => generation == entry.generation(),
        Accepted::Shared(generation) => {
            generation == entry.generation() && entry.was_asked_for_after(target.purges)
        }
        Accepted::Nothing | Accepted::Another(_) | Accepted::StandIn(_) => false,
    }
}

fn reuse(entry: &Entry, directives: &RequestDirectives, accepted: Accepted, now: SystemTime) -> Reuse {
    let is_accepted = match accepted {
        Accepted::Nothing | Accepted::Another(_) => false,
        Accepted::Own(generation) => generation == entry.generation(),
        Accepted::Shared(generation) => {
            let Entry { freshness, .. } = entry;
            generation == entry.generation() && !freshness.is_for_one() && freshness.is_for(directives)
        }
        Accepted::StandIn(generation) => generation == entry.generation() && entry.stands_in(directives, now),
    };
    if is_accepted {
        return Reuse::AsItIs;
    }
    entry.freshness.reuse(directives, now)
}

impl Engine {
    /// Whether the entry is sparse and must not be served as it is: the configuration wants whole responses, or the
    /// request forbids the cache to ask for the rest.
    pub(crate) fn is_half_good(
        &self,
        entry: &Entry,
        request: &request::Parts,
        directives: &RequestDirectives,
    ) -> bool {
        let is_whole = self.config.fill.mode == Mode::Whole || directives.only_if_cached;
        entry.manifest.sparse && is_whole && request.method == Method::GET
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, StatusCode, header};

    use super::*;
    use crate::{
        VideoCacheLayer,
        clock::{Clock, SystemClock},
        engine::state::Engine,
        format::{
            key::{CacheKey, Generation},
            layout::Layout,
            manifest::{Manifest, Variants},
        },
        semantics::{
            freshness::{ByUri, Exchange},
            purge::{Membership, Position},
        },
        store::MokaStore,
    };

    fn engine() -> Arc<Engine> {
        VideoCacheLayer::new(MokaStore::new(1 << 20).unwrap()).engine()
    }

    fn manifest(key: &CacheKey, selecting: Vec<SelectingField>) -> Record {
        let now = SystemClock.now();
        Record::Response(Manifest {
            key: key.clone(),
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            selecting,
            exchange: Exchange {
                requested: now,
                received: now,
                with_cookie: false,
                purges: Position::default(),
            },
            layout: Layout { generation: Generation(1), chunk_size: 1, length: 0 },
            own_etag: false,
            sparse: false,
            by_uri: ByUri::default(),
            withdrawn: false,
            purged: None,
            membership: Membership::default(),
            digest: None,
            playlist: crate::semantics::playlist::Playlist::Unknown,
        })
    }

    async fn finds(engine: &Engine, target: &Target, request: &HeaderMap) -> bool {
        let look = lookup(engine, target, request, &RequestDirectives::default(), Accepted::Nothing).await;
        matches!(look, Look::Found(..))
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
        let variants = Variants { key: target.key.clone(), mark, selecting: vec![names], tagged: Vec::new() };
        engine.records.put_record(&target.primary, &Record::Variants(variants)).await.unwrap();
        let slot = Slot::variant(&target.key, mark, &mine);
        for (selecting, found) in [(theirs, false), (mine, true)] {
            let record = manifest(&target.key, selecting);
            engine.records.put_record(&slot, &record).await.unwrap();
            assert_eq!(finds(&engine, &target, &request).await, found);
        }
    }
}
