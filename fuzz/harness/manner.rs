//! How the inner service treats conditions and ranges, and which mistakes it makes.
//!
//! RFC 9110 §13.1 (conditions, `If-Range` among them), §14.2 (`Range`), §14.4 (`Content-Range`).

use std::ops::Range;

use http::{
    HeaderValue, Method, StatusCode,
    header::{self, HeaderMap, HeaderName},
    request,
};

use super::{bound::is_further, reader::Reader, script::Answer};

/// Choices that scripts did not have before there were parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    pub(super) ranges: Ranges,
    /// Only the first body that would break does.
    pub(super) mends: bool,
    /// How many polls each frame of a body is held back.
    pub(super) pends: u8,
    /// The calls after this many fail.
    pub(super) fails_after: Option<u8>,
    /// The content changes after this many calls.
    pub(super) changes_after: Option<u8>,
}

/// How the inner service answers a `Range`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ranges {
    /// Heeds only a range with two positions and without `If-Range`, and only if it heeds conditions.
    #[default]
    Plain,
    AsAsked,
    Ignored,
    /// Answers with the part, whatever `If-Range` says.
    OfAny,
    /// Answers with another complete length than before.
    OtherTotal,
    /// Starts one byte later.
    Later,
    /// Leaves out the last byte if there is more than one.
    Fewer,
    /// Goes on to the end.
    More,
    /// Gives an asterisk as the complete length.
    Unsaid,
}

impl Manner {
    pub(super) fn read(bytes: &mut Reader<'_>) -> Self {
        use Ranges::{AsAsked, Fewer, Ignored, Later, More, OfAny, OtherTotal, Unsaid};

        let seldom = [None, None, None, None, None, None, Some(1), Some(2)];
        Self {
            ranges: bytes.pick(&[
                AsAsked, AsAsked, AsAsked, AsAsked, AsAsked, AsAsked, Ignored, Ignored, OfAny, OtherTotal,
                Later, Fewer, More, Unsaid,
            ]),
            mends: bytes.flag(),
            pends: bytes.pick(&[0, 0, 1, 3]),
            fails_after: bytes.pick(&seldom),
            changes_after: bytes.pick(&seldom),
        }
    }
}

impl Ranges {
    /// The status, the bytes and the `Content-Range` of the answer, if it is not the whole. A 416 has no bytes.
    pub(super) fn answer(
        self,
        request: &request::Parts,
        headers: &HeaderMap,
        whole: usize,
    ) -> Option<(StatusCode, Range<usize>, String)> {
        let field = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
        let (first, last) = field(header::RANGE)?.strip_prefix("bytes=")?.split_once('-')?;
        let first: usize = first.parse().ok()?;
        let last = if last.is_empty() { usize::MAX } else { last.parse().ok()? };
        let is_of = |validator: &HeaderValue| {
            let is_weak = validator.as_bytes().starts_with(b"W/");
            let names = [header::ETAG, header::LAST_MODIFIED];
            !is_weak && names.iter().any(|name| headers.get(name) == Some(validator))
        };
        // RFC 9110 §15.3.7: who leaves out these fields has heeded `If-Range`.
        let of_content = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::LAST_MODIFIED];
        let is_minimal = !of_content.iter().any(|name| headers.contains_key(name));
        let ignores = self == Self::OfAny && !is_minimal;
        let holds = ignores || request.headers.get(header::IF_RANGE).is_none_or(is_of);
        if [Self::Plain, Self::Ignored].contains(&self)
            || request.method != Method::GET
            || first > last
            || !holds
        {
            return None;
        }
        if first >= whole {
            return Some((StatusCode::RANGE_NOT_SATISFIABLE, 0..0, format!("bytes */{whole}")));
        }
        let mut place = first..last.saturating_add(1).min(whole);
        // The inner service lies only about further parts.
        let lies = is_further(&request.headers);
        match self {
            Self::Later if lies && place.len() > 1 => place.start += 1,
            Self::Fewer if place.len() > 1 => place.end -= 1,
            Self::More if lies => place.end = whole,
            _ => {}
        }
        let total = match self {
            Self::Unsaid => "*".to_owned(),
            Self::OtherTotal if lies => (whole + 1).to_string(),
            _ => whole.to_string(),
        };
        let said = format!("bytes {}-{}/{total}", place.start, place.end - 1);
        Some((StatusCode::PARTIAL_CONTENT, place, said))
    }
}

/// The status of the answer to a request, and the part of the whole that goes with it.
///
/// The inner service heeds tags, and dates if there are no tags. It heeds only ranges with two positions. An origin
/// need not do more.
pub(super) fn asked(
    request: &request::Parts,
    answer: &Answer,
    headers: &HeaderMap,
    whole: &[u8],
) -> (StatusCode, Range<usize>, Option<String>) {
    let all = (answer.status, 0..whole.len(), None);
    let field = |name| request.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if answer.status != StatusCode::OK {
        return all;
    }
    if let Some(status) = conditioned(request, headers).filter(|_| answer.heeds) {
        return (status, 0..0, None);
    }
    if let Some((status, part, place)) = answer.manner.ranges.answer(request, headers, whole.len()) {
        return (status, part, Some(place));
    }
    let positions = || {
        let (first, last) = field(header::RANGE)?.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        (first <= last && last < whole.len()).then(|| first..last + 1)
    };
    let is_partial = request.method == Method::GET && !request.headers.contains_key(header::IF_RANGE);
    match positions() {
        Some(part) if is_partial && answer.heeds && answer.manner.ranges == Ranges::Plain => {
            let place = format!("bytes {}-{}/{}", part.start, part.end - 1, whole.len());
            let place = Some(place).filter(|_| part.len() < whole.len());
            (StatusCode::PARTIAL_CONTENT, part, place)
        }
        _ => all,
    }
}

/// The status that the conditions lead to, if there is one.
fn conditioned(request: &request::Parts, headers: &HeaderMap) -> Option<StatusCode> {
    let field = |name| request.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) {
        if field(header::IF_NONE_MATCH).is_some_and(|named| lists(named, tag)) {
            return Some(StatusCode::NOT_MODIFIED);
        }
        if field(header::IF_MATCH).is_some_and(|named| named != tag && named != "*") {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
    }
    let since = field(header::IF_MODIFIED_SINCE).filter(|_| field(header::IF_NONE_MATCH).is_none());
    let is_same =
        since.is_some_and(|since| headers.get(header::LAST_MODIFIED).is_some_and(|date| date == since));
    is_same.then_some(StatusCode::NOT_MODIFIED)
}

fn lists(named: &str, tag: &str) -> bool {
    named.split(',').any(|named| opaque(named.trim()) == opaque(tag))
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}
