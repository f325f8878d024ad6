//! Spans and events for the `tracing` crate, with the feature of that name; nothing without it.
//!
//! The span of a request is the application's own. The spans here are those of work that goes on in tasks of the cache.

use std::future::Future;

use crate::observer::Event;

/// Work of the cache that has a span.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    Fill,
    Heal,
    Invalidate,
    Refresh,
    Slice,
    Validate,
}

/// Runs the future in the span of its work on the response to `key`.
#[cfg(feature = "tracing")]
pub(crate) fn within<F: Future>(
    work: Work,
    key: &[u8],
    future: F,
) -> impl Future<Output = F::Output> + use<F> {
    use tracing::{Instrument, debug_span};

    let key = key.escape_ascii();
    let span = match work {
        Work::Fill => debug_span!(target: TARGET, "fill", %key),
        Work::Heal => debug_span!(target: TARGET, "heal", %key),
        Work::Invalidate => debug_span!(target: TARGET, "invalidate", %key),
        Work::Refresh => debug_span!(target: TARGET, "refresh", %key),
        Work::Slice => debug_span!(target: TARGET, "slice", %key),
        Work::Validate => debug_span!(target: TARGET, "validate", %key),
    };
    future.instrument(span)
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn within<F: Future>(_: Work, _: &[u8], future: F) -> F {
    future
}

/// Whether somebody may hear of each answer.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn hears_of_answers() -> bool {
    tracing::level_filters::LevelFilter::current() >= tracing::Level::TRACE
}

#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) fn hears_of_answers() -> bool {
    false
}

/// Whether somebody may hear of anything.
#[cfg(feature = "tracing")]
#[inline]
pub(crate) fn hears() -> bool {
    tracing::level_filters::LevelFilter::current() != tracing::level_filters::LevelFilter::OFF
}

#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) fn hears() -> bool {
    false
}

#[cfg(feature = "tracing")]
pub(crate) fn tell(event: &Event<'_>) {
    use tracing::{debug, info, trace, warn};

    match *event {
        Event::Answered { method, uri, status, outcome, detail, waited } => trace!(
            target: TARGET,
            %method,
            // The query may prove who may see the video.
            path = uri.path(),
            status = status.map(|status| status.as_u16()),
            outcome,
            detail,
            ?waited,
            "answered"
        ),
        Event::BodyEnded { uri, outcome, from_store, from_inner, end, took, .. } => {
            trace!(target: TARGET, path = uri.path(), outcome, from_store, from_inner, end, ?took, "body ended");
        }
        Event::InnerCalled { reason } => debug!(target: TARGET, reason, "inner service called"),
        Event::InnerRead { reason, bytes } => trace!(target: TARGET, reason, bytes, "inner body read"),
        Event::FillEnded { end, took, .. } => debug!(target: TARGET, end, ?took, "fill ended"),
        Event::StoreCalled { operation, took, has_failed: true } => {
            info!(target: TARGET, operation, ?took, "store call failed");
        }
        Event::FillBegan { .. } | Event::StoreCalled { .. } => {}
        Event::StoreLeftAlone { operation } => warn!(target: TARGET, operation, "store left alone"),
        Event::StoreBack { operation } => info!(target: TARGET, operation, "store back"),
        Event::ChunkDamaged => warn!(target: TARGET, "chunk damaged"),
        Event::ChunkLost => info!(target: TARGET, "chunk lost"),
        Event::ChunksHealed { chunks } => info!(target: TARGET, chunks, "chunks healed"),
        Event::Invalidated { key } => debug!(target: TARGET, key = %key.escape_ascii(), "invalidated"),
    }
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn tell(_: &Event<'_>) {}

#[cfg(feature = "tracing")]
const TARGET: &str = "tower_video_cache";
