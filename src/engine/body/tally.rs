//! Counts one answer and the bytes of its body as they leave, and tells the observers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode, Uri, request};
use http_body::Frame;
use tokio::time::Instant;

use crate::{
    clock::moment,
    counters::{BODIES, Counters, INNER_BYTES, MARKS, REFUSALS, REQUESTS, RESPONSE_BYTES, Reason},
    error::Error,
    observer::Event,
    semantics::cache_status::{Refusal, Told},
};

/// The count of one answer. The bytes that left from the store are added up when the body ends, or is dropped.
#[derive(Default)]
pub(super) struct Tally {
    /// `None` before the answer leaves, and after its body has ended.
    counters: Option<Arc<Counters>>,
    /// `None` if nobody hears of it.
    seen: Option<Box<Seen>>,
    stored: u64,
    pub(super) told: Told,
}

/// An answer that observers hear of.
pub(crate) struct Seen {
    method: Method,
    uri: Uri,
    asked: Instant,
    from_inner: u64,
    /// How many bytes of `from_inner` no meter counts.
    passed: u64,
}

impl Seen {
    /// A request that has just come; `None` if nobody hears of it.
    #[inline]
    pub(crate) fn new(counters: &Counters, request: &request::Parts) -> Option<Box<Self>> {
        let is_heard_of = counters.watchers().hear_of_answers();
        is_heard_of.then(|| Self::of(request))
    }

    #[cold]
    fn of(request: &request::Parts) -> Box<Self> {
        let (method, uri) = (request.method.clone(), request.uri.clone());
        Box::new(Self { method, uri, asked: moment(), from_inner: 0, passed: 0 })
    }

    /// Tells of the answer. `status` is `None` if there is none.
    #[cold]
    pub(crate) fn tell_answer(&self, counters: &Counters, status: Option<StatusCode>, told: Told) {
        let Self { method, uri, asked, .. } = self;
        let (outcome, detail) = (outcome(told), told.refusal.map(Refusal::name));
        let waited = moment().saturating_duration_since(*asked);
        counters.tell(|| Event::Answered { method, uri, status, outcome, detail, waited });
    }

    #[cold]
    fn tell_end(&self, counters: &Counters, told: Told, from_store: u64, how: usize) {
        let Self { method, uri, asked, from_inner, passed } = self;
        let (outcome, took) = (outcome(told), moment().saturating_duration_since(*asked));
        let end = BODIES.words.get(how).copied().unwrap_or_default();
        let (from_inner, bytes, reason) = (*from_inner, *passed, Reason::Pass.word());
        if bytes > 0 {
            counters.tell(|| Event::InnerRead { reason, bytes });
        }
        counters.tell(|| Event::BodyEnded { method, uri, outcome, from_store, from_inner, end, took });
    }
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
    /// Counts the answer, for which its client has waited. `is_over` says that its body has no bytes.
    pub(super) fn begin(
        &mut self,
        counters: Arc<Counters>,
        (seen, status): (Option<Box<Seen>>, StatusCode),
        waited: Duration,
        is_over: bool,
    ) {
        let Told { place, refusal, stored, collapsed } = self.told;
        counters.add_duration(REQUESTS, place.into(), waited);
        if let Some(refusal) = refusal {
            counters.add(REFUSALS, refusal.place(), 1);
        }
        if stored {
            counters.add(MARKS, STORED, 1);
        }
        if collapsed {
            counters.add(MARKS, COLLAPSED, 1);
        }
        if let Some(seen) = &seen {
            seen.tell_answer(&counters, Some(status), self.told);
        }
        if !is_over {
            self.seen = seen;
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
                (_, Some(counters)) => {
                    counters.add(RESPONSE_BYTES, FROM_INNER, bytes);
                    let passed = if from == From::Inner { bytes } else { 0 };
                    counters.add(INNER_BYTES, Reason::Pass.place(), passed);
                    if let Some(seen) = &mut self.seen {
                        seen.from_inner = seen.from_inner.saturating_add(bytes);
                        seen.passed = seen.passed.saturating_add(passed);
                    }
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
            if let Some(seen) = self.seen.take() {
                seen.tell_end(&counters, self.told, self.stored, how);
            }
        }
    }
}

/// The word of the outcome.
fn outcome(told: Told) -> &'static str {
    REQUESTS.counts.words.get(usize::from(told.place)).copied().unwrap_or_default()
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
