//! Selects the bytes of a stored response that an answer has.
//!
//! RFC 9110 §13 (conditional requests), §14 (range requests).

use std::{borrow::Cow, ops::Range};

use http::{Method, StatusCode, header, request};

use crate::{
    engine::state::{Engine, entry::Entry},
    format::{chunk::ChunkName, key::boundary, manifest::Manifest},
    semantics::{
        etag::Validators,
        fields::has,
        multipart::Multipart,
        range::{ByteRange, wants_the_start},
        select::{Selection, fails_a_precondition, select},
    },
};

/// The content of an answer, as part of a stored response.
pub(crate) enum Content {
    /// The whole of a body whose length is not known.
    Open,
    Part(ByteRange),
    Multipart(Box<Multipart>),
}

impl Content {
    pub(super) const NOTHING: Self = Self::Part(ByteRange { start: 0, end: 0 });

    /// Whether all of the content is known to be in the store before its first byte leaves.
    pub(crate) fn is_all_stored(&self, entry: &Entry, some_is_missing: bool) -> bool {
        // The first piece is in the store, because the answer waited for it. A response that is being poured has no
        // record before its end.
        let piece_end = entry.layout().piece_end(self.start().saturating_add(1));
        let is_one = matches!(self, Self::Part(_)) && self.until() <= piece_end;
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

    /// The offset after the last byte that is sent; `u64::MAX` if it is not known.
    pub(crate) fn until(&self) -> u64 {
        match self {
            Self::Open => u64::MAX,
            Self::Part(range) => range.end,
            Self::Multipart(multipart) => {
                multipart.parts.iter().map(|part| part.range.end).max().unwrap_or_default()
            }
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

/// All bytes that the answer to a request from `entry` is made of.
pub(crate) fn bytes(engine: &Engine, entry: &Entry, request: &request::Parts) -> Range<u64> {
    let (_, content) = content(engine, entry, request);
    if content.length() == Some(0) || request.method == Method::HEAD {
        return 0..0;
    }
    content.start()..content.until().min(entry.layout().length)
}

/// Whether the request has an `If-Match` or `If-Unmodified-Since` that `entry` does not fulfil. Only the inner service
/// can judge such a request (RFC 9111 §4.3.2).
pub(crate) fn is_for_the_origin(entry: &Entry, request: &request::Parts) -> bool {
    let names = [header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
    let Manifest { status, headers, .. } = &entry.manifest;
    names.iter().any(|name| has(&request.headers, name))
        && fails_a_precondition(&request.headers, *status, Validators::of(headers))
}

/// The content that answers a request from `entry`, and the status code. No answer is made from an entry that
/// [`is_for_the_origin`].
pub(crate) fn content(engine: &Engine, entry: &Entry, request: &request::Parts) -> (StatusCode, Content) {
    let Manifest { status, headers, .. } = &entry.manifest;
    let validators = Validators::of(headers);
    let length = entry.layout().length;
    let most_ranges = engine.config.policy.most_ranges();
    let everything = match entry.length() {
        Some(length) => Content::Part(ByteRange { start: 0, end: length }),
        None => Content::Open,
    };
    let selection = select(&request.method, &request.headers, *status, validators, length, most_ranges);
    // RFC 9110 §14.2: a server may ignore the field. An unknown length in `Content-Range` breaks some clients, and an open
    // range would have to wait for the end.
    let is_open = entry.length().is_none() && wants_the_start(&request.headers);
    match selection {
        Selection::Partial(_) | Selection::Several(_) | Selection::NotSatisfiable if is_open => {
            (*status, everything)
        }
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

/// Puts these parts of a stored response into one content. Returns `None` if the whole response is sent instead,
/// because it is no longer than the parts, or because it has a content coding. RFC 9110 §15.3.7 has
/// `Content-Encoding` in the header of the message, and a client would decode the delimiters with the parts.
pub(crate) fn multipart(entry: &Entry, ranges: &[ByteRange]) -> Option<Multipart> {
    let Manifest { headers, layout, .. } = &entry.manifest;
    // A response that is still being poured is not sent in parts either: its server would see the boundary before it
    // sends the rest.
    if headers.contains_key(header::CONTENT_ENCODING) || entry.pouring.is_some() {
        return None;
    }
    let mut ranges = Cow::Borrowed(ranges);
    // RFC 9110 §14.2: if the ranges go to and fro in the body, the same chunk would be read again and again.
    if layout.reads(ranges.iter().map(|range| range.start..range.end)) > layout.chunks() {
        ranges.to_mut().sort_unstable_by_key(|range| range.start);
    }
    Multipart::of(&ranges, headers.get(header::CONTENT_TYPE), layout.length, boundary(layout.generation))
}
