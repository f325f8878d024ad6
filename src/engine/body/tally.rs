//! Counts one answer and the bytes of its body as they leave.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Frame;

use crate::{
    counters::{BODIES, Counters, INNER_BYTES, MARKS, REFUSALS, REQUESTS, RESPONSE_BYTES, Reason},
    error::Error,
    semantics::cache_status::Told,
};

/// The count of one answer. The bytes that left from the store are added up when the body ends, or is dropped.
#[derive(Default)]
pub(super) struct Tally {
    /// `None` before the answer leaves, and after its body has ended.
    counters: Option<Arc<Counters>>,
    stored: u64,
    pub(super) told: Told,
}

/// The origin of the bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    Store,
    /// The rest of a fill whose storing stopped.
    Live,
    /// An inner body that is passed on.
    Inner,
}

impl Tally {
    /// Counts the answer. `is_over` says that its body has no bytes.
    pub(super) fn begin(&mut self, counters: Arc<Counters>, is_over: bool) {
        let Told { place, refusal, stored, collapsed } = self.told;
        counters.add(REQUESTS, place.into(), 1);
        if let Some(refusal) = refusal {
            counters.add(REFUSALS, refusal.place(), 1);
        }
        if stored {
            counters.add(MARKS, STORED, 1);
        }
        if collapsed {
            counters.add(MARKS, COLLAPSED, 1);
        }
        if !is_over {
            counters.add(BODIES, BEGUN, 1);
            self.counters = Some(counters);
        }
    }

    /// Counts bytes from the store that leave. `is_over` says that no more follow.
    #[inline]
    pub(super) fn count_stored(&mut self, slice: &Bytes, is_over: bool) {
        self.stored = self.stored.saturating_add(u64::try_from(slice.len()).unwrap_or(u64::MAX));
        if is_over {
            self.end(WHOLE);
        }
    }

    /// Counts a frame that leaves, or the end of the body.
    pub(super) fn count(&mut self, frame: Option<&Result<Frame<Bytes>, Error>>, from: From, is_over: bool) {
        if let Some(data) = frame.and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
            match (from, &self.counters) {
                (From::Store, _) => self.stored = self.stored.saturating_add(bytes),
                (_, None) => {}
                (From::Live, Some(counters)) => counters.add(RESPONSE_BYTES, FROM_INNER, bytes),
                (From::Inner, Some(counters)) => {
                    counters.add(RESPONSE_BYTES, FROM_INNER, bytes);
                    counters.add(INNER_BYTES, Reason::Pass.place(), bytes);
                }
            }
        }
        if is_over {
            self.end(if matches!(frame, Some(Err(_))) { BROKEN } else { WHOLE });
        }
    }

    fn end(&mut self, how: usize) {
        if let Some(counters) = self.counters.take() {
            counters.add(BODIES, how, 1);
            counters.add(RESPONSE_BYTES, FROM_STORE, self.stored);
        }
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.end(LEFT);
    }
}

/// The places in [`MARKS`].
const STORED: usize = 0;
const COLLAPSED: usize = 1;

/// The places in [`RESPONSE_BYTES`].
const FROM_STORE: usize = 0;
const FROM_INNER: usize = 1;

/// The places in [`BODIES`].
const BEGUN: usize = 0;
const WHOLE: usize = 1;
const LEFT: usize = 2;
const BROKEN: usize = 3;
