//! The figures, rankings and events as JSON.

use std::time::{Duration, UNIX_EPOCH};

use http::Uri;
use serde_json::{Map, Value, json};

use crate::{
    explain::Explanation,
    observer::Event,
    stats::{Counts, Latencies, Stats},
    top::{Ranked, Top},
    transfers::Transfer,
};

pub(super) fn stats(name: &str, stats: &Stats) -> Value {
    json!({
        "name": name,
        "hit_ratio": stats.hit_ratio(),
        "byte_hit_ratio": stats.byte_hit_ratio(),
        "requests": counts(&stats.requests),
        "first_byte": latencies(&stats.first_byte),
        "marks": counts(&stats.marks),
        "refusals": counts(&stats.refusals),
        "response_bytes": counts(&stats.response_bytes),
        "bodies": counts(&stats.bodies),
        "bodies_under_way": stats.bodies_under_way(),
        "inner_requests": counts(&stats.inner_requests),
        "inner_bytes": counts(&stats.inner_bytes),
        "store_calls": counts(&stats.store_calls),
        "store_errors": counts(&stats.store_errors),
        "store_latency": latencies(&stats.store_latency),
        "store_capacity": stats.store_capacity,
        "store_weight": stats.store_weight,
        "store_evicted_bytes": stats.store_evicted_bytes,
        "store_is_left_alone": stats.store_is_left_alone,
        "fills": stats.fills,
        "fills_under_way": stats.fills_under_way,
        "reserved_bytes": stats.reserved_bytes,
        "fill_durations": latencies(&stats.fill_durations),
        "followers": stats.followers,
        "damaged_chunks": stats.damaged_chunks,
        "lost_chunks": stats.lost_chunks,
        "healed_chunks": stats.healed_chunks,
        "purges": stats.purges,
        "purge_log_is_unreadable": stats.purge_log_is_unreadable,
    })
}

pub(super) fn transfers(transfers: &[Transfer]) -> Value {
    let transfer = |transfer: &Transfer| {
        let Transfer { key, length, start, next } = transfer;
        json!({ "key": key, "length": length, "start": start, "next": next })
    };
    transfers.iter().map(transfer).collect()
}

pub(super) fn top(top: &Top, places: usize) -> Value {
    let list = |ranked: &[Ranked]| -> Value { ranked.iter().take(places).map(ranked_as_json).collect() };
    json!({ "served": list(&top.served), "missed": list(&top.missed), "refused": list(&top.refused) })
}

fn ranked_as_json(ranked: &Ranked) -> Value {
    let Ranked { key, weight, inherited, requests, detail } = ranked;
    json!({ "key": key, "weight": weight, "inherited": inherited, "requests": requests, "detail": detail })
}

pub(super) fn explanation(explanation: &Explanation) -> Value {
    let stored = explanation.stored.as_ref().map(|stored| {
        json!({
            "status": stored.status.as_u16(),
            "etag": stored.etag,
            "length": stored.length,
            "chunk_size": stored.chunk_size,
            "chunks": stored.chunks,
            "chunks_sought": stored.chunks_sought,
            "chunks_found": stored.chunks_found,
            "is_sparse": stored.is_sparse,
            "generation": stored.generation,
            "received": stored.received.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            "age": stored.age.as_secs(),
            "lifetime": stored.lifetime.as_secs(),
            "lifetime_by": stored.lifetime_by,
            "playlist": stored.playlist,
            "target_duration": stored.target_duration.map(|target| target.as_secs_f64()),
            "selected_by": stored.selected_by,
        })
    });
    json!({
        "key": explanation.key,
        "outcome": explanation.outcome,
        "detail": explanation.detail,
        "is_being_filled": explanation.is_being_filled,
        "stored": stored,
        "text": explanation.to_string(),
    })
}

/// Whether the feed has events of this kind.
pub(super) fn is_fed(event: &Event<'_>) -> bool {
    !matches!(event, Event::InnerCalled { .. } | Event::InnerRead { .. } | Event::StoreCalled { .. })
}

/// An event of the feed, if it is one.
pub(super) fn event(event: &Event<'_>) -> Option<Value> {
    // Clients choose how long a key and a path are, and a slow reader has many events in memory.
    let text = |key: &[u8]| key.get(..LONGEST).unwrap_or(key).escape_ascii().to_string();
    let path = |uri: &Uri| uri.path().chars().take(LONGEST).collect::<String>();
    Some(match event {
        Event::Answered { method, uri, status, outcome, detail, waited, .. } => json!({
            "event": "answered",
            "method": method.as_str(),
            // The query may prove who may see the video.
            "path": path(uri),
            "status": status.map(|status| status.as_u16()),
            "outcome": outcome,
            "detail": detail,
            "seconds": waited.as_secs_f64(),
        }),
        Event::BodyEnded { uri, outcome, from_store, from_inner, end, took, .. } => json!({
            "event": "body",
            "path": path(uri),
            "outcome": outcome,
            "from_store": from_store,
            "from_inner": from_inner,
            "end": end,
            "seconds": took.as_secs_f64(),
        }),
        Event::FillBegan { key, .. } => json!({ "event": "fill", "key": text(key) }),
        Event::FillEnded { key, end, took, .. } => {
            json!({ "event": "filled", "key": text(key), "end": end, "seconds": took.as_secs_f64() })
        }
        Event::StoreLeftAlone { operation, .. } => {
            json!({ "event": "store-left-alone", "operation": operation })
        }
        Event::StoreBack { operation, .. } => json!({ "event": "store-back", "operation": operation }),
        Event::ChunkDamaged => json!({ "event": "chunk-damaged" }),
        Event::ChunkLost => json!({ "event": "chunk-lost" }),
        Event::ChunksHealed { chunks, .. } => json!({ "event": "chunks-healed", "chunks": chunks }),
        Event::Invalidated { key, .. } => json!({ "event": "invalidated", "key": text(key) }),
        Event::InnerCalled { .. } | Event::InnerRead { .. } | Event::StoreCalled { .. } => return None,
    })
}

/// The most bytes of a key or a path in an event.
const LONGEST: usize = 512;

fn counts(counts: &Counts) -> Value {
    counts.iter().map(|(word, count)| (word.to_owned(), count.into())).collect::<Map<_, _>>().into()
}

/// Writes the latencies whose count is not zero.
fn latencies(latencies: &Latencies) -> Value {
    let some = latencies.iter().filter(|(_, latency)| latency.count() > 0);
    let of = |percentile: Option<Duration>| {
        percentile.filter(|most| *most != Duration::MAX).map(|most| most.as_secs_f64())
    };
    let each = some.map(|(word, latency)| {
        let (p50, p99) = (of(latency.percentile(50)), of(latency.percentile(99)));
        let mean = latency.mean().map(|mean| mean.as_secs_f64());
        (word.to_owned(), json!({ "count": latency.count(), "mean": mean, "p50": p50, "p99": p99 }))
    });
    each.collect::<Map<_, _>>().into()
}
