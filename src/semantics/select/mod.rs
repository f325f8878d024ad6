//! The part of a stored response that a request gets.
//!
//! RFC 9110 §13 (conditions), §13.2.2 (their precedence), §14.2 (`Range`); RFC 9111 §4.3.2.

use http::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    etag::{EntityTag, Named, Validators, named},
    fields::{date, single_bytes},
    range::{self, ByteRange, Ranges},
};

/// The answer that a stored response gives to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    Full,
    NotModified,
    NotSatisfiable,
    Partial(ByteRange),
    PreconditionFailed,
    Several(Vec<ByteRange>),
}

/// Judges the conditions and the ranges of a GET or HEAD request, in the order of RFC 9110 §13.2.2. A set of more than
/// `most_ranges` ranges is ignored.
pub(crate) fn select(
    method: &Method,
    request: &HeaderMap,
    status: StatusCode,
    stored: Validators<'_>,
    length: u64,
    most_ranges: usize,
) -> Selection {
    // RFC 9110 §13.2.1: conditions are ignored if the answer without them would not be a success.
    if !status.is_success() {
        return Selection::Full;
    }
    if fails_a_precondition(request, status, stored) {
        return Selection::PreconditionFailed;
    }
    if is_not_modified(request, stored) {
        return Selection::NotModified;
    }
    // §14.2: Range is defined for GET alone, and for an answer that would have been a 200.
    if method != Method::GET || status != StatusCode::OK || !if_range_holds(request, stored) {
        return Selection::Full;
    }
    match range::resolve(request, length, most_ranges) {
        Ranges::Whole => Selection::Full,
        Ranges::One(range) => Selection::Partial(range),
        Ranges::Several(ranges) => Selection::Several(ranges),
        Ranges::NotSatisfiable => Selection::NotSatisfiable,
    }
}

/// Steps 1 and 2 of §13.2.2: `If-Match`, and only in its absence `If-Unmodified-Since`.
///
/// RFC 9111 §4.3.2: the answer to a request that fails is the origin server's.
pub(crate) fn fails_a_precondition(request: &HeaderMap, status: StatusCode, stored: Validators<'_>) -> bool {
    if !status.is_success() {
        return false;
    }
    if request.contains_key(header::IF_MATCH) {
        return !names_any(request, &header::IF_MATCH, stored, EntityTag::strongly_equals);
    }
    // §13.1.4: ignored if it is no date, or if there is no modification date to compare with.
    date(request, &header::IF_UNMODIFIED_SINCE)
        .is_some_and(|since| stored.last_modified().is_some_and(|modified| modified > since))
}

/// Steps 3 and 4 of §13.2.2: `If-None-Match`, and only in its absence `If-Modified-Since`.
fn is_not_modified(request: &HeaderMap, stored: Validators<'_>) -> bool {
    if request.contains_key(header::IF_NONE_MATCH) {
        return names_any(request, &header::IF_NONE_MATCH, stored, EntityTag::weakly_equals)
            || gives_back(request, stored);
    }
    date(request, &header::IF_MODIFIED_SINCE)
        .is_some_and(|since| stored.modified_or_sent().is_some_and(|modified| modified <= since))
}

/// Whether the list of tags in `name` is `*` or has one that equals the stored tag.
fn names_any<'a>(
    request: &'a HeaderMap,
    name: &HeaderName,
    stored: Validators<'a>,
    equal: fn(EntityTag<'a>, EntityTag<'a>) -> bool,
) -> bool {
    let stored = stored.entity_tag();
    named(request, name).any(|named| match named {
        Named::Any => true,
        Named::Other(_) => false,
        Named::Tag(tag) => stored.is_some_and(|stored| equal(tag, stored)),
    })
}

/// Whether `If-None-Match` repeats, byte for byte, a stored tag that is invalid by the grammar: as a whole line, since
/// it may contain commas, or as a member of a list. The client was given this tag to ask by. For anything stronger it
/// does not count.
fn gives_back(request: &HeaderMap, stored: Validators<'_>) -> bool {
    let Some(malformed) = stored.malformed_tag() else {
        return false;
    };
    let mut lines = request.get_all(header::IF_NONE_MATCH).iter();
    lines.any(|line| line.as_bytes().trim_ascii() == malformed)
        || named(request, &header::IF_NONE_MATCH).any(|named| named == Named::Other(malformed))
}

/// Step 5 of §13.2.2. §13.1.5: a strong tag, or exactly the strong date. A weak validator never holds.
fn if_range_holds(request: &HeaderMap, stored: Validators<'_>) -> bool {
    if !request.contains_key(header::IF_RANGE) {
        return true;
    }
    let Some(validator) = single_bytes(request, &header::IF_RANGE) else {
        return false;
    };
    if let Some(tag) = EntityTag::parse(validator) {
        return stored.entity_tag().is_some_and(|stored| stored.strongly_equals(tag));
    }
    date(request, &header::IF_RANGE).is_some_and(|date| stored.strong_last_modified() == Some(date))
}

/// The validator of the request's `If-Range`, if there is one that a response may fulfil. Without a valid `Range` it counts
/// for nothing (RFC 9110 §13.1.5).
///
/// # Errors
///
/// No response fulfils the request's `If-Range`: it is weak, or no validator.
pub(crate) fn if_range(request: &HeaderMap) -> Result<Option<&HeaderValue>, Never> {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    let Some(line) = lines.next().filter(|_| range::is_given(request)) else {
        return Ok(None);
    };
    let is_strong = match EntityTag::parse(line.as_bytes()) {
        Some(tag) => !tag.is_weak(),
        None => date(request, &header::IF_RANGE).is_some(),
    };
    if is_strong && lines.next().is_none() { Ok(Some(line)) } else { Err(Never) }
}

/// No response fulfils the condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Never;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod tests;
