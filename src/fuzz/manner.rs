//! How the inner service gives parts, and what goes wrong while it does.
//!
//! RFC 9110 §13.1.5 (`If-Range`), §14.2 (`Range`), §14.4 (`Content-Range`).

use std::ops::Range;

use http::{
    header::{self, HeaderMap, HeaderName},
    request, HeaderValue, Method, StatusCode,
};

use super::script::Reader;

/// What scripts did not have before there were parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    pub(super) ranges: Ranges,
    /// Of the bodies that would break, only the first does.
    pub(super) mends: bool,
    /// How often a body is polled for each frame.
    pub(super) pends: u8,
    /// The calls after so many fail.
    pub(super) fails_after: Option<u8>,
    /// The content changes after so many calls.
    pub(super) changes_after: Option<u8>,
}

/// What becomes of a `Range`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ranges {
    /// Only one with two positions and without `If-Range` is heeded, where conditions are.
    #[default]
    Plain,
    AsAsked,
    Ignored,
    /// Whatever `If-Range` says.
    OfAny,
    /// Of another length than was said before.
    OtherTotal,
    /// From the next byte on.
    Later,
    /// One byte less, where there is more than one.
    Fewer,
    /// All that follows.
    More,
    /// With an asterisk for the complete length.
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
    /// The bytes that go with the answer to a request, if not all do, and what is said of them; nothing of them with a 416.
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
        let holds = request.headers.get(header::IF_RANGE).is_none_or(is_of) || self == Self::OfAny;
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
        // It is honest of what it was not asked for before.
        let lies = request.headers.contains_key(header::IF_RANGE);
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
