//! Which bytes of a stored response an answer has.

use std::{borrow::Cow, ops::Range};

use http::{header, request, Method, StatusCode};

use crate::{
    engine::state::{entry::Entry, Engine},
    format::{
        chunk::ChunkName,
        key::boundary,
        manifest::{Layout, Manifest},
    },
    semantics::{
        etag::Validators,
        multipart::Multipart,
        range::ByteRange,
        select::{select, Selection},
    },
};

/// What is sent of a stored response.
pub(crate) enum Content {
    /// All of a body whose end is not known.
    Open,
    Part(ByteRange),
    Multipart(Box<Multipart>),
}

impl Content {
    pub(super) const NOTHING: Self = Self::Part(ByteRange { start: 0, end: 0 });

    /// Whether all of it is known to be in the store before its first byte leaves.
    pub(crate) fn is_all_stored(&self, entry: &Entry, some_is_missing: bool) -> bool {
        let layout = entry.layout();
        let (first, _) = layout.locate(self.start());
        // The first chunk is: it was waited for. Of what is poured, there is no record before the end.
        let is_one = matches!(self, Self::Part(_)) && self.until(layout).saturating_sub(first) <= 1;
        entry.pouring.is_none() && (is_one || !some_is_missing && !entry.manifest.sparse)
    }

    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Open => None,
            Self::Part(range) => Some(range.length()),
            Self::Multipart(multipart) => Some(multipart.length()),
        }
    }

    /// The first byte of the body that is sent.
    pub(crate) fn start(&self) -> u64 {
        match self {
            Self::Open => 0,
            Self::Part(range) => range.start,
            Self::Multipart(multipart) => multipart.parts.first().map_or(0, |part| part.range.start),
        }
    }

    /// The chunk after the last that is sent.
    pub(crate) fn until(&self, layout: Layout) -> u64 {
        let size = u64::from(layout.chunk_size.max(1));
        self.end().map_or(u64::MAX, |end| end.div_ceil(size))
    }

    /// The end of the last byte that is sent, if that is known.
    pub(super) fn end(&self) -> Option<u64> {
        match self {
            Self::Open => None,
            Self::Part(range) => Some(range.end),
            Self::Multipart(multipart) => multipart.parts.iter().map(|part| part.range.end).max(),
        }
    }
}

/// The chunk that the answer to a GET from `entry` begins with; none if it has no content.
pub(super) fn begins_with(engine: &Engine, entry: &Entry, request: &request::Parts) -> Option<ChunkName> {
    let (_, content) = content(engine, entry, request);
    let layout = entry.layout();
    let (first, _) = layout.locate(content.start());
    (content.length() != Some(0)).then(|| layout.chunk(first))
}

/// From the first to the last chunk that the answer to a request from `entry` is made of.
pub(crate) fn chunks(engine: &Engine, entry: &Entry, request: &request::Parts) -> Range<u64> {
    let (_, content) = content(engine, entry, request);
    let layout = entry.layout();
    if content.length() == Some(0) || request.method == Method::HEAD {
        return 0..0;
    }
    let (first, _) = layout.locate(content.start());
    let size = u64::from(layout.chunk_size.max(1));
    first..content.end().map_or_else(|| layout.chunks(), |end| end.div_ceil(size))
}

/// What of a stored response answers a request, and with which status.
pub(crate) fn content(engine: &Engine, entry: &Entry, request: &request::Parts) -> (StatusCode, Content) {
    let Manifest { status, headers, .. } = &entry.manifest;
    let validators = Validators::of(headers);
    let length = entry.layout().length;
    let most_ranges = engine.config.policy.most_ranges();
    let everything = match entry.length() {
        Some(length) => Content::Part(ByteRange { start: 0, end: length }),
        None => Content::Open,
    };
    match select(&request.method, &request.headers, *status, validators, length, most_ranges) {
        Selection::Full => (*status, everything),
        Selection::Partial(range) => (StatusCode::PARTIAL_CONTENT, Content::Part(range)),
        Selection::Several(ranges) => match multipart(entry, &ranges) {
            Some(multipart) => (StatusCode::PARTIAL_CONTENT, Content::Multipart(Box::new(multipart))),
            None => (*status, everything),
        },
        Selection::NotModified => (StatusCode::NOT_MODIFIED, Content::NOTHING),
        Selection::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, Content::NOTHING),
        Selection::NotSatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, Content::NOTHING),
    }
}

/// These parts of a stored response in one content; `None` where the whole is answered instead: it is no longer, or
/// it is in a coding. RFC 9110 §15.3.7 has `Content-Encoding` in the header of the message, and a viewer would decode
/// the delimiters with the parts.
pub(crate) fn multipart(entry: &Entry, ranges: &[ByteRange]) -> Option<Multipart> {
    let Manifest { headers, layout, .. } = &entry.manifest;
    // Nor of what is still to be made: whoever makes it would see the boundary first.
    if headers.contains_key(header::CONTENT_ENCODING) || entry.pouring.is_some() {
        return None;
    }
    let mut ranges = Cow::Borrowed(ranges);
    // RFC 9110 §14.2: a request that goes to and fro in what is stored would have the same chunk read again and again.
    if layout.reads(ranges.iter().map(|range| range.start..range.end)) > layout.chunks() {
        ranges.to_mut().sort_unstable_by_key(|range| range.start);
    }
    Multipart::of(&ranges, headers.get(header::CONTENT_TYPE), layout.length, boundary(layout.generation))
}
