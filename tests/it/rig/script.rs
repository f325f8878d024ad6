//! Scripts: the answers of the inner service to one path.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{CHUNK, Gate, movie};

/// The answer of the inner service to one path.
#[derive(Clone)]
pub(crate) struct Script {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) steps: Vec<Step>,
    pub(super) gate: Option<Gate>,
    pub(super) delay: Duration,
    pub(super) end: End,
    pub(super) honours_conditions: bool,
    pub(super) parts: Parts,
    pub(super) breaks: Vec<Break>,
    /// The answers to requests with these fields. The first field that a request has decides.
    pub(super) instead: Vec<(HeaderName, Script)>,
}

/// A moment of a body.
#[derive(Clone)]
pub(crate) enum Step {
    Data(Bytes),
    Fail,
    Panic,
    Trailers(HeaderMap),
    Wait(Gate),
    /// Waits this long, by tokio's clock.
    Pause(Duration),
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    Answer,
    Error,
    Panic,
}

/// How a request for a part is answered.
#[derive(Clone, Default)]
pub(super) struct Parts {
    pub(super) are_given: bool,
    pub(super) ignore_if_range: bool,
    /// The `Content-Range` that is stated, even if another part is given.
    pub(super) said: Option<String>,
    /// The stated place of the part is this many bytes before its true place.
    pub(super) misplaced: u64,
    /// The change that is made to each of its bytes.
    pub(super) coding: Option<fn(u8) -> u8>,
    /// The range that is given, whatever range was asked for.
    pub(super) given: Option<Range<u64>>,
    /// The most bytes that are given.
    pub(super) most: Option<u64>,
    pub(super) without_total: bool,
    /// Fields that differ from those of the whole, or are missing.
    pub(super) fields: Vec<(HeaderName, Option<HeaderValue>)>,
}

/// The place at which bodies break.
#[derive(Clone)]
pub(super) struct Break {
    /// The body breaks before this byte of the representation.
    pub(super) at: u64,
    pub(super) how: How,
    times: u32,
    left: Arc<AtomicU32>,
}

#[derive(Clone, Copy)]
pub(super) enum How {
    Dies,
    Ends,
    Stalls,
}

impl Script {
    /// A 200 of `video/mp4` that declares its length and comes in frames that fit no chunk.
    pub(crate) fn movie(path: &str, length: usize) -> Self {
        Self::of(&movie(path, length)).header("content-length", &length.to_string())
    }

    /// A version of a video, with bytes and a tag of its own, fresh for an hour.
    pub(crate) fn version(version: &str, length: usize) -> Self {
        Self::movie(version, length)
            .header("etag", &format!("\"{version}\""))
            .header("cache-control", "max-age=3600")
            .honours_conditions()
            .honours_ranges()
    }

    /// The frame before which this many chunks have come, and no more.
    pub(crate) fn frame_after(chunks: usize) -> usize {
        (chunks * CHUNK as usize).div_ceil(FRAME)
    }

    /// The same bytes without a declared length.
    pub(crate) fn of(bytes: &Bytes) -> Self {
        let steps = bytes.chunks(FRAME).map(|frame| Step::Data(bytes.slice_ref(frame))).collect();
        Self::absent().status(200).header("content-type", "video/mp4").steps(steps)
    }

    pub(crate) fn absent() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            headers: HeaderMap::new(),
            steps: Vec::new(),
            gate: None,
            delay: Duration::ZERO,
            end: End::Answer,
            honours_conditions: false,
            parts: Parts::default(),
            breaks: Vec::new(),
            instead: Vec::new(),
        }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap();
        self
    }

    /// Appends a field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub(crate) fn steps(mut self, steps: Vec<Step>) -> Self {
        self.steps = steps;
        self
    }

    /// Puts a step before the `index`th frame. In the body of a part, the step comes before the same byte. If the
    /// part does not have that byte, the step is left out.
    pub(crate) fn step(mut self, index: usize, step: Step) -> Self {
        self.steps.insert(index.min(self.steps.len()), step);
        self
    }

    /// Waits this long before each frame.
    pub(crate) fn paced(mut self, pause: Duration) -> Self {
        let paced = |step: Step| match step {
            Step::Data(_) => vec![Step::Pause(pause), step],
            _ => vec![step],
        };
        self.steps = self.steps.into_iter().flat_map(paced).collect();
        self
    }

    /// Ends the body cleanly before its `index`th frame.
    pub(crate) fn cut(mut self, index: usize) -> Self {
        self.steps.truncate(index);
        self
    }

    /// Makes the first body that comes to this byte of the representation fail there; later bodies do not. A byte
    /// past the last is the end.
    pub(crate) fn dies_at(self, byte: u64) -> Self {
        self.breaks_at(byte, How::Dies)
    }

    /// As `dies_at`, but the body ends there as if that were all.
    pub(crate) fn ends_at(self, byte: u64) -> Self {
        self.breaks_at(byte, How::Ends)
    }

    /// As `dies_at`, but the body falls silent there, and does not end.
    pub(crate) fn stalls_at(self, byte: u64) -> Self {
        self.breaks_at(byte, How::Stalls)
    }

    /// Makes this many bodies break at the place that was set last.
    pub(crate) fn dies_times(mut self, times: u32) -> Self {
        self.breaks.last_mut().expect("a place to break at").times = times;
        self
    }

    /// Answers only once the gate is open.
    pub(crate) fn held_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Takes this long to answer, by tokio's clock.
    pub(crate) fn takes(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub(crate) fn fails(mut self) -> Self {
        self.end = End::Error;
        self
    }

    pub(crate) fn panics(mut self) -> Self {
        self.end = End::Panic;
        self
    }

    /// Answers a condition that names its `ETag`, or else its `Last-Modified`, with a 304. Answers an `If-Match` that
    /// does not name it with a 412, and an `If-Unmodified-Since` before its `Last-Modified`.
    pub(crate) fn honours_conditions(mut self) -> Self {
        self.honours_conditions = true;
        self
    }

    /// Answers a range as a good server does: 206, 416, or a 200 if an `If-Range` is untrue. Answers several ranges
    /// at once with the whole.
    pub(crate) fn honours_ranges(mut self) -> Self {
        self.parts.are_given = true;
        self
    }

    /// Gives parts even if an `If-Range` is untrue, as some servers do.
    pub(crate) fn ignores_if_range(mut self) -> Self {
        self.parts.ignore_if_range = true;
        self
    }

    /// States this `Content-Range` for each part, even if it gives another part.
    pub(crate) fn says_range(mut self, content_range: &str) -> Self {
        self.parts.said = Some(content_range.to_owned());
        self
    }

    /// States a place for each part that is this many bytes too far, if there are such bytes.
    pub(crate) fn misplaces_parts(mut self, bytes: u64) -> Self {
        self.parts.misplaced = bytes;
        self
    }

    /// Gives parts in a coding that the whole is not in: different bytes, but as many.
    pub(crate) fn codes_parts(mut self) -> Self {
        self.parts.coding = Some(|byte| !byte);
        self.part_header("content-encoding", "inverted")
    }

    /// Gives this part, and says so, whatever was asked.
    pub(crate) fn gives_range(mut self, given: Range<u64>) -> Self {
        self.parts.given = Some(given);
        self
    }

    /// Gives at most this many bytes of the requested range, and says so.
    pub(crate) fn gives_at_most(mut self, bytes: u64) -> Self {
        self.parts.most = Some(bytes);
        self
    }

    /// States `bytes a-b/*` for each part.
    pub(crate) fn without_total(mut self) -> Self {
        self.parts.without_total = true;
        self
    }

    /// Gives parts this field, in place of the whole's.
    pub(crate) fn part_header(mut self, name: &str, value: &str) -> Self {
        self.parts.fields.push((name.parse().unwrap(), Some(value.parse().unwrap())));
        self
    }

    /// Leaves this field out of parts.
    pub(crate) fn part_without(mut self, name: &str) -> Self {
        self.parts.fields.push((name.parse().unwrap(), None));
        self
    }

    /// Answers requests that have this field by the other script.
    pub(crate) fn instead(mut self, of: HeaderName, other: Self) -> Self {
        self.instead.push((of, other));
        self
    }

    /// The length of the representation.
    pub(super) fn length(&self) -> u64 {
        self.steps.iter().map(Step::length).sum()
    }

    /// Resets all breaks: a break that another rig used up counts again here.
    pub(super) fn armed(mut self) -> Self {
        for place in &mut self.breaks {
            place.left = Arc::new(AtomicU32::new(place.times));
        }
        self
    }

    fn breaks_at(mut self, at: u64, how: How) -> Self {
        self.breaks.push(Break { at, how, times: 1, left: Arc::default() });
        self
    }
}

impl Step {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            _ => 0,
        }
    }

    pub(super) fn code(&mut self, coding: fn(u8) -> u8) {
        if let Self::Data(data) = self {
            *data = data.iter().copied().map(coding).collect();
        }
    }
}

impl Break {
    /// Whether it still breaks. If so, one break is used up.
    pub(super) fn take(&self) -> bool {
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// The bytes of a frame: no chunk ends with a frame.
const FRAME: usize = 617;
