//! Validation: asking the inner service about a stored response, and applying its answer.
//!
//! RFC 9111 §4.3 (validation), §4.3.1 (the request), §4.3.3 (its answer), §4.3.4 (freshening upon a 304), §4.3.5 (upon
//! a HEAD), §3.2 (updating stored header fields).

use std::time::SystemTime;

use http::{
    header::{self, HeaderMap, HeaderName, HeaderValue},
    StatusCode,
};

use super::{
    cache_status::Refusal,
    etag::{has_validator, named, EntityTag, Named},
    fields::{declared_length, http_date, remove_hop_by_hop, DeclaredLength},
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
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{super::fields::tests::headers, *};

    const MODIFIED: &str = "Sun, 22 Nov 2026 09:00:00 GMT";
    const LATER: &str = "Sun, 22 Nov 2026 10:00:00 GMT";

    #[test]
    fn the_inner_service_is_asked_by_the_validators_it_gave() {
        let mut request = headers(&[("host", "a.example"), ("if-none-match", "\"mine\"")]);
        ask(&headers(&[("etag", "W/\"v1\""), ("last-modified", MODIFIED)]), &mut request);
        assert_eq!(
            request,
            headers(&[("host", "a.example"), ("if-none-match", "W/\"v1\""), ("if-modified-since", MODIFIED)])
        );
        for (tag, is_asked) in
            [("v1", true), ("v,1", true), ("\"*\"", true), ("*", false), ("\"a\", *", false)]
        {
            let mut request = HeaderMap::new();
            ask(&headers(&[("etag", tag)]), &mut request);
            assert_eq!(request.contains_key("if-none-match"), is_asked, "{tag}");
        }
    }

    #[test]
    fn a_304_is_about_the_response_with_its_validators() {
        type Row = (
            &'static str,
            &'static [(&'static str, &'static str)],
            &'static [(&'static str, &'static str)],
            bool,
        );
        let rows: &[Row] = &[
            ("§4.3.4 the same strong tag", &[("etag", "\"a\"")], &[("etag", "\"a\"")], true),
            ("§4.3.4 another strong tag", &[("etag", "\"a\"")], &[("etag", "\"b\"")], false),
            ("§4.3.4 strong, of a weak one", &[("etag", "W/\"a\"")], &[("etag", "\"a\"")], false),
            ("§4.3.4 weak, of the same weak one", &[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], true),
            ("§4.3.4 weak, of a strong one", &[("etag", "\"a\"")], &[("etag", "W/\"a\"")], true),
            ("§4.3.4 weak, of another", &[("etag", "W/\"a\"")], &[("etag", "W/\"b\"")], false),
            ("a value that is no tag comes back unchanged", &[("etag", "a")], &[("etag", "a")], true),
            ("a value that is no tag, and another", &[("etag", "a")], &[("etag", "b")], false),
            (
                "§4.3.4 a tag where none is stored",
                &[("last-modified", MODIFIED)],
                &[("etag", "\"a\"")],
                false,
            ),
            ("§4.3.4 the same date", &[("last-modified", MODIFIED)], &[("last-modified", MODIFIED)], true),
            ("§4.3.4 another date", &[("last-modified", MODIFIED)], &[("last-modified", LATER)], false),
            (
                "§4.3.4 the tag decides",
                &[("etag", "\"a\""), ("last-modified", MODIFIED)],
                &[("etag", "\"a\""), ("last-modified", LATER)],
                true,
            ),
            (
                "§4.3.4 a weak tag does not, where the date is another",
                &[("etag", "W/\"a\""), ("last-modified", MODIFIED)],
                &[("etag", "W/\"a\""), ("last-modified", LATER)],
                false,
            ),
            (
                "§4.3.4 a weak tag, and the same date",
                &[("etag", "W/\"a\""), ("last-modified", MODIFIED)],
                &[("etag", "W/\"a\""), ("last-modified", MODIFIED)],
                true,
            ),
            ("no validator: it was asked about this one", &[("etag", "\"a\"")], &[], true),
        ];
        for (rule, stored, answer, expected) in rows {
            assert_eq!(is_about(&headers(stored), &headers(answer)), *expected, "{rule}");
        }
    }

    #[test]
    fn an_update_replaces_fields_except_those_the_bytes_depend_on() {
        // RFC 9111 §3.2
        let stored = headers(&[
            ("etag", "\"a\""),
            ("x-old", "kept"),
            ("x-both", "1"),
            ("x-both", "2"),
            ("content-encoding", "br"),
            ("content-type", "video/mp4"),
            ("content-language", "en"),
            ("age", "50"),
            ("date", LATER),
        ]);
        let answer = headers(&[
            ("etag", "W/\"a\""),
            ("x-both", "3"),
            ("x-both", "4"),
            ("x-new", "5"),
            ("content-encoding", "gzip"),
            ("content-length", "0"),
            ("content-range", "bytes 0-0/1"),
            ("content-type", "application/xml"),
            ("content-language", "de"),
            ("repr-digest", "sha-256=:AA==:"),
            ("connection", "x-hop"),
            ("x-hop", "6"),
        ]);
        let received = UNIX_EPOCH + Duration::from_secs(1);
        let expected = headers(&[
            ("etag", "\"a\""),
            ("x-old", "kept"),
            ("content-encoding", "br"),
            ("content-type", "video/mp4"),
            ("x-both", "3"),
            ("x-both", "4"),
            ("x-new", "5"),
            ("content-language", "de"),
            ("date", "Thu, 01 Jan 1970 00:00:01 GMT"),
        ]);
        assert_eq!(updated(&stored, &answer, received), expected);
        let dated = headers(&[("date", MODIFIED), ("age", "7")]);
        let updated = updated(&stored, &dated, received);
        assert_eq!((&updated["date"], &updated["age"]), (&dated["date"], &dated["age"]));
    }

    #[test]
    fn a_304_speaks_for_another_request_only_if_it_leaves_nothing_out() {
        let stored = headers(&[("etag", "\"a\""), ("content-type", "video/mp4"), ("x-user", "alice")]);
        for (answer, says) in [
            (&[("etag", "\"a\"")][..], false),
            (&[("etag", "\"a\""), ("x-user", "bob")], true),
            (&[("x-user", "bob"), ("x-new", "1")], true),
        ] {
            assert_eq!(says_all(&stored, &headers(answer)), says, "{answer:?}");
        }
    }

    #[test]
    fn a_head_confirms_or_contradicts() {
        // RFC 9111 §4.3.5
        let stored = headers(&[("etag", "\"a\""), ("last-modified", MODIFIED)]);
        for (answer, says) in [
            (&[][..], HeadSays::Nothing),
            (&[("content-length", "100")], HeadSays::Nothing),
            (&[("etag", "\"a\"")], HeadSays::Same),
            (&[("last-modified", MODIFIED)], HeadSays::Same),
            (&[("etag", "\"a\""), ("last-modified", MODIFIED), ("content-length", "100")], HeadSays::Same),
            (&[("etag", "\"a\""), ("last-modified", LATER)], HeadSays::Another),
            (&[("etag", "\"b\"")], HeadSays::Another),
            (&[("last-modified", LATER)], HeadSays::Another),
            (&[("content-length", "99")], HeadSays::Another),
            (&[("content-length", "100, 99")], HeadSays::Another),
            (&[("content-encoding", "gzip")], HeadSays::Another),
        ] {
            assert_eq!(head_says(&stored, 100, &headers(answer)), says, "{answer:?}");
        }
    }

    #[test]
    fn some_statuses_are_errors_to_stand_in_for_and_some_make_the_stored_response_untrue() {
        use News::{Gone, Nothing, Replaced, Withdrawn};
        let status = |code| StatusCode::from_u16(code).unwrap();
        for (code, error, news) in [
            (200, false, Replaced),
            (203, false, Replaced),
            (206, false, Nothing),
            (302, false, Nothing),
            (304, false, Nothing),
            (401, false, Withdrawn),
            (403, false, Withdrawn),
            (404, false, Gone),
            (410, false, Gone),
            (429, false, Nothing),
            (451, false, Withdrawn),
            (500, true, Nothing),
            (501, false, Nothing),
            (502, true, Nothing),
            (503, true, Nothing),
            (504, true, Nothing),
        ] {
            let of = News::of(&HeaderMap::new(), status(code), Refusal::NoStore);
            assert_eq!((is_error(status(code)), of), (error, news), "{code}");
        }
    }

    #[test]
    fn an_answer_to_one_clients_credentials_changes_nothing_for_others() {
        use News::{Gone, Nothing, Replaced, Withdrawn};
        for (request, status, refusal, news) in [
            (&[("authorization", "x")][..], 401, Refusal::Status, Nothing),
            (&[("cookie", "a=b")], 403, Refusal::Status, Nothing),
            (&[("cookie", "a=b")], 404, Refusal::Status, Gone),
            (&[("authorization", "x")], 451, Refusal::Status, Withdrawn),
            (&[("x-original-url", "/b")], 403, Refusal::Status, Withdrawn),
            (&[("cookie", "a=b")], 200, Refusal::SetCookie, Nothing),
            (&[("cookie", "a=b")], 200, Refusal::Private, Nothing),
            (&[], 200, Refusal::SetCookie, Replaced),
            (&[], 200, Refusal::Private, Replaced),
            (&[("cookie", "a=b")], 200, Refusal::Cookie, Nothing),
            (&[("authorization", "x")], 200, Refusal::Authorization, Nothing),
            (&[("cookie", "a=b")], 200, Refusal::NoStore, Replaced),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                News::of(&headers(request), status, refusal),
                news,
                "{request:?} {status} {refusal:?}"
            );
        }
    }

    #[test]
    fn a_request_with_credentials_asks_by_a_strong_tag_and_keeps_its_ranges() {
        let mut request = headers(&[
            ("range", "bytes=5-9"),
            ("if-range", "\"mine\""),
            ("if-none-match", "\"mine\""),
            ("if-modified-since", MODIFIED),
        ]);
        ask_by_tag(&headers(&[("etag", "\"v1\""), ("last-modified", MODIFIED)]), &mut request);
        let asked = [("range", "bytes=5-9"), ("if-range", "\"mine\""), ("if-none-match", "\"v1\"")];
        assert_eq!(request, headers(&asked));
        let stored = headers(&[("etag", "\"v1\"")]);
        for (answer, same) in [
            (&[][..], true),
            (&[("etag", "\"v1\"")], true),
            (&[("etag", "W/\"v1\"")], false),
            (&[("etag", "\"v2\"")], false),
            (&[("etag", "\"v1\""), ("etag", "\"v2\"")], false),
        ] {
            assert_eq!(has_same_tag(&stored, &headers(answer)), same, "{answer:?}");
        }
    }
}
