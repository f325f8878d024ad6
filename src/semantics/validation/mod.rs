//! Validation: asking the inner service about a stored response, and applying its answer.
//!
//! RFC 9111 §4.3 (validation), §4.3.1 (the request), §4.3.3 (its answer), §4.3.4 (freshening upon a 304), §4.3.5 (upon
//! a HEAD), §3.2 (updating stored header fields).

use std::time::SystemTime;

use http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    cache_status::Refusal,
    etag::{EntityTag, Named, has_validator, named},
    fields::{DeclaredLength, declared_length, http_date, remove_hop_by_hop},
};

/// Turns a request into a validation, with the stored response's own validators, unchanged (RFC 9111 §4.3.1).
pub(crate) fn ask(stored: &HeaderMap, request: &mut HeaderMap) {
    for (validator, condition) in [
        (header::ETAG, header::IF_NONE_MATCH),
        // Sent beside a tag, for an inner service that knows only dates.
        (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE),
    ] {
        // RFC 9110 §13.1.2: a `*` would ask about any representation, and its 304 would say nothing about this one.
        let names_any = named(stored, &validator).any(|named| named == Named::Any);
        if let Some(value) = stored.get(validator).filter(|_| !names_any) {
            request.insert(condition, value.clone());
        }
    }
}

/// Turns a request into one that gets a 304 if its answer would have the bytes stored under a strong tag. Its ranges
/// stay, so that any other answer is the one it asked for. Its conditions about the client's own copy go.
pub(crate) fn ask_by_tag(stored: &HeaderMap, request: &mut HeaderMap) {
    request.remove(header::IF_MODIFIED_SINCE);
    if let Some(tag) = stored.get(header::ETAG) {
        request.insert(header::IF_NONE_MATCH, tag.clone());
    }
}

/// Whether a 304 names no other tag than the stored one.
pub(crate) fn has_same_tag(stored: &HeaderMap, answer: &HeaderMap) -> bool {
    answer.get_all(header::ETAG).iter().all(|tag| Some(tag) == stored.get(header::ETAG))
}

/// Whether a 304, or the header of a 200, is about the stored response (RFC 9111 §4.3.4).
///
/// A 304 without any validator is about it: it answers a request that named this response alone. Read literally,
/// §4.3.4 lets it identify nothing. An inner service that leaves the validators out of its 304s would then be asked
/// twice.
pub(crate) fn is_about(stored: &HeaderMap, answer: &HeaderMap) -> bool {
    let same_date = || {
        let answered = answer.get(header::LAST_MODIFIED);
        answered.is_none_or(|answered| stored.get(header::LAST_MODIFIED) == Some(answered))
    };
    match (answer.get(header::ETAG), stored.get(header::ETAG)) {
        // Weakly equal bytes need not be the same. Their date must not replace the stored one, which If-Range may be
        // compared with.
        (Some(answered), Some(stored)) => match tags_match(answered, stored) {
            Match::Strong => true,
            Match::Weak => same_date(),
            Match::No => false,
        },
        (Some(_), None) => false,
        (None, _) => same_date(),
    }
}

/// How two tags match.
enum Match {
    No,
    Strong,
    Weak,
}

/// A strong tag identifies a response with the same strong tag, and a weak tag one whose tag is weakly equal.
fn tags_match(answered: &HeaderValue, stored: &HeaderValue) -> Match {
    let is_weak = |tag: &HeaderValue| EntityTag::parse(tag.as_bytes()).map(EntityTag::is_weak);
    match (is_weak(answered), is_weak(stored)) {
        (Some(false), _) if answered == stored => Match::Strong,
        (Some(true), Some(_)) if opaque(answered) == opaque(stored) => Match::Weak,
        // A value that is no tag at all can still come back unchanged.
        (None, _) if answered == stored => Match::Weak,
        _ => Match::No,
    }
}

fn opaque(tag: &HeaderValue) -> &[u8] {
    let tag = tag.as_bytes();
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The stored fields, updated by those of a 304 or a HEAD's 200 that came at `received` (RFC 9111 §3.2).
pub(crate) fn updated(stored: &HeaderMap, answer: &HeaderMap, received: SystemTime) -> HeaderMap {
    let mut update = answer.clone();
    remove_hop_by_hop(&mut update);
    for name in &KEPT {
        update.remove(name);
    }
    // Age and Date belong to the latest message, even if it does not have them (§4.2.3).
    if !update.contains_key(header::DATE) {
        update.extend(http_date(received).map(|date| (header::DATE, date)));
    }
    let mut headers = stored.clone();
    for name in [header::AGE, header::DATE] {
        headers.remove(name);
    }
    for name in update.keys() {
        headers.remove(name);
    }
    for (name, value) in &update {
        headers.append(name, value.clone());
    }
    headers
}

/// Whether a 304 repeats every field of another client's stored response that may differ between clients. A field that
/// it leaves out may be for that other client alone. Fields about the bytes are the same for both, and RFC 9110 §15.4.5
/// has a 304 carry the other fields that a cache needs.
pub(crate) fn says_all(stored: &HeaderMap, answer: &HeaderMap) -> bool {
    let is_shared = |name: &HeaderName| name.as_str().starts_with("content-") || SHARED.contains(name);
    stored.keys().all(|name| is_shared(name) || answer.contains_key(name))
}

/// The verdict of an answer to a HEAD on the stored response that a GET would have found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeadSays {
    /// A GET would bring another response.
    Another,
    Nothing,
    /// A GET would bring the stored response.
    Same,
}

/// Compares the answer to a HEAD with the stored response of `length` bytes (RFC 9111 §4.3.5).
///
/// Read literally, the section lets an answer without any validator match any stored response. Here it proves nothing:
/// otherwise each HEAD would make a response fresh that may have changed long ago.
pub(crate) fn head_says(stored: &HeaderMap, length: u64, answer: &HeaderMap) -> HeadSays {
    let same = |name| answer.get(&name).is_none_or(|answered| stored.get(&name) == Some(answered));
    let same_length = match declared_length(answer) {
        DeclaredLength::Unsaid => true,
        DeclaredLength::Bytes(declared) => declared == length,
        DeclaredLength::Invalid => false,
    };
    let is_same =
        same(header::ETAG) && same(header::LAST_MODIFIED) && same_length && same(header::CONTENT_ENCODING);
    match (is_same, has_validator(answer)) {
        (false, _) => HeadSays::Another,
        (true, true) => HeadSays::Same,
        (true, false) => HeadSays::Nothing,
    }
}

/// Whether a status is an error that a stored response may stand in for (RFC 5861 §4).
pub(crate) fn is_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// The consequence of an answer that was not stored, for the stored response that it was asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The inner service no longer has it.
    Gone,
    /// No consequence for other clients.
    Nothing,
    /// Another response has taken its place.
    Replaced,
    /// The inner service has it, or may have it, but no longer gives it out.
    Withdrawn,
}

impl News {
    /// `refusal` is the reason why the answer was not stored.
    pub(crate) fn of(request: &HeaderMap, status: StatusCode, refusal: Refusal) -> Self {
        match status.as_u16() {
            // RFC 9110 §15.5.2, §15.5.4: these statuses are about credentials, and so about one client.
            401 | 403 if is_of_a_client(request) => Self::Nothing,
            401 | 403 | 451 => Self::Withdrawn,
            404 | 410 => Self::Gone,
            206 => Self::Nothing,
            // The answer for one client says nothing about the answers for others.
            200..=299 if refusal.is_of_the_client() && is_of_a_client(request) => Self::Nothing,
            200..=299 => Self::Replaced,
            _ => Self::Nothing,
        }
    }
}

/// Whether the request identifies its client, by credentials or by a cookie.
pub(crate) fn is_of_a_client(request: &HeaderMap) -> bool {
    [header::AUTHORIZATION, header::COOKIE].iter().any(|name| request.contains_key(name))
}

/// The fields that variants of the same bytes share, besides the fields about their content.
const SHARED: [HeaderName; 8] = [
    header::AGE,
    header::CACHE_CONTROL,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::SERVER,
    header::VARY,
];

/// RFC 9111 §3.2: the length and the form of the stored bytes stay as they are. A 304 about other bytes would not be
/// about this response. Some servers write the type of an answer without content into each 304.
const KEPT: [HeaderName; 10] = [
    header::ACCEPT_RANGES,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];

#[cfg(test)]
mod tests;
