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
    /// `None` if nobody looks at it.
    seen: Option<Box<Seen>>,
    stored: u64,
    from_inner: u64,
    /// How many bytes of `from_inner` no meter counts.
    passed: u64,
    pub(super) told: Told,
}

/// A request whose answer observers hear of.
pub(crate) struct Seen {
    method: Method,
    uri: Uri,
    /// When the answer left, with the time before that for which its client waited.
    left: Option<(Instant, Duration)>,
}

impl Seen {
    /// A request that has just come; `None` if nobody looks at it.
    #[inline]
    pub(crate) fn new(counters: &Counters, request: &request::Parts) -> Option<Box<Self>> {
        let is_looked_at = counters.watchers().look_at_requests();
        is_looked_at.then(|| Self::of(request))
    }

    #[cold]
    fn of(request: &request::Parts) -> Box<Self> {
        let (method, uri) = (request.method.clone(), request.uri.clone());
        Box::new(Self { method, uri, left: None })
    }

    fn took(&self) -> Duration {
        self.left.map_or(Duration::ZERO, |(at, waited)| {
            moment().saturating_duration_since(at).saturating_add(waited)
        })
    }
}

/// Tells of the answer to `seen`, for which its client has waited. `status` is `None` if there is none.
#[inline]
pub(crate) fn tell_answer(
    seen: Option<&Seen>,
    counters: &Counters,
    status: Option<StatusCode>,
    told: Told,
    waited: Duration,
) {
    let outcome = outcome(told);
    let detail = || told.refusal.map(Refusal::name);
    if let Some(Seen { method, uri, .. }) = seen {
        counters.tell(|| Event::Answered { method, uri, status, outcome, detail: detail(), waited });
        return;
    }
    counters.watchers().tell_plainly(|method, uri| {
        let detail = detail();
        Event::Answered { method, uri, status, outcome, detail, waited }
    });
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
        (mut seen, status): (Option<Box<Seen>>, StatusCode),
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
        tell_answer(seen.as_deref(), &counters, Some(status), self.told, waited);
        if !is_over {
            if let Some(seen) = &mut seen {
                seen.left = Some((moment(), waited));
            }
            self.seen = seen;
            counters.add(BODIES, BEGUN, 1);
            self.counters = Some(counters);
        }
    }

    /// Counts bytes from the store that leave. `is_over` says that no more follow.
    #[inline]
    pub(super) fn count_stored(&mut self, slice: &Bytes, is_over: bool) {
        self.add_stored(u64::try_from(slice.len()).unwrap_or(u64::MAX));
        if is_over {
            self.end(WHOLE);
        }
    }

    #[inline]
    fn add_stored(&mut self, bytes: u64) {
        self.stored = self.stored.saturating_add(bytes);
        if let Some(counters) = &self.counters {
            counters.add(RESPONSE_BYTES, FROM_STORE, bytes);
        }
    }

    /// Counts a frame that leaves, or the end of the body.
    pub(super) fn count(&mut self, frame: Option<&Result<Frame<Bytes>, Error>>, from: From, is_over: bool) {
        if let Some(data) = frame.and_then(|frame| frame.as_ref().ok()?.data_ref()) {
            let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
            match (from, &self.counters) {
                (From::Store, _) => self.add_stored(bytes),
                (_, None) => {}
                (_, Some(counters)) => {
                    counters.add(RESPONSE_BYTES, FROM_INNER, bytes);
                    let passed = if from == From::Inner { bytes } else { 0 };
                    counters.add(INNER_BYTES, Reason::Pass.place(), passed);
                    self.from_inner = self.from_inner.saturating_add(bytes);
                    self.passed = self.passed.saturating_add(passed);
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
            self.tell_end(&counters, how);
        }
    }

    #[inline]
    fn tell_end(&mut self, counters: &Counters, how: usize) {
        let outcome = outcome(self.told);
        let end = BODIES.words.get(how).copied().unwrap_or_default();
        let (from_store, from_inner, bytes) = (self.stored, self.from_inner, self.passed);
        let read = Event::InnerRead { reason: Reason::Pass.word(), bytes };
        if let Some(seen) = self.seen.take() {
            if bytes > 0 {
                counters.tell(|| read);
            }
            let (Seen { method, uri, .. }, took) = (&*seen, seen.took());
            counters.tell(|| Event::BodyEnded { method, uri, outcome, from_store, from_inner, end, took });
            return;
        }
        let (watchers, took) = (counters.watchers(), Duration::ZERO);
        if bytes > 0 {
            watchers.tell_plainly(|_, _| read);
        }
        watchers.tell_plainly(|method, uri| Event::BodyEnded {
            method,
            uri,
            outcome,
            from_store,
            from_inner,
            end,
            took,
        });
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
