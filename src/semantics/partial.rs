//! The part that a 206 holds, and whether it belongs to a representation that is stored in part.
//!
//! RFC 9110 §14.4 (`Content-Range`), §15.3.7 (206), §13.1.4 (`If-Unmodified-Since`), §13.1.5 (`If-Range`); RFC 9111 §3.3
//! and §3.4 (storing and combining parts).

use std::mem;

use http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{
    etag::Validators,
    fields::{DeclaredLength, declared_length, members, single},
    range::ByteRange,
};

/// The bytes that a fill asks for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Bytes(ByteRange),
    /// So many last bytes.
    Last(u64),
}

impl Window {
    /// Turns a request into one for these bytes.
    pub(crate) fn ask(self, request: &mut HeaderMap) {
        match self {
            Self::Bytes(range) => ask(range, request),
            Self::Last(bytes) => insert_range(format!("bytes=-{bytes}"), request),
        }
    }

    /// Whether the part lies in these bytes (RFC 9110 §15.3.7), and begins where they do.
    pub(crate) fn is_answered_by(self, part: Part) -> bool {
        match self {
            Self::Bytes(asked) => part.range.start == asked.start && part.range.end <= asked.end,
            Self::Last(bytes) => {
                part.range.end == part.complete && part.range.start == part.complete.saturating_sub(bytes)
            }
        }
    }
}

/// The one part that a 206 holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) range: ByteRange,
    /// Bytes of the whole representation.
    pub(crate) complete: u64,
}

impl Part {
    /// Reads the part. Gives `None` for several parts, for a representation whose length is not said, and for fields
    /// that contradict each other.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let (unit, said) = single(headers, &header::CONTENT_RANGE)?.split_once(' ')?;
        let (range, complete) = said.trim_ascii().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last, complete) = (number(first)?, number(last)?, number(complete)?);
        // RFC 9110 §14.4: otherwise the field is invalid.
        if !unit.eq_ignore_ascii_case("bytes") || first > last || last >= complete {
            return None;
        }
        let range = ByteRange { start: first, end: last + 1 };
        match declared_length(headers) {
            DeclaredLength::Unsaid => {}
            DeclaredLength::Bytes(length) if length == range.length() => {}
            DeclaredLength::Bytes(_) | DeclaredLength::Invalid => return None,
        }
        Some(Self { range, complete })
    }

    /// Whether the part is all of the representation. Then it needs no validator: it is combined with no other part.
    pub(crate) fn is_all(self) -> bool {
        self.range == ByteRange { start: 0, end: self.complete }
    }
}

/// The complete length that a 416 tells (RFC 9110 §14.4).
pub(crate) fn complete_of_unsatisfied(headers: &HeaderMap) -> Option<u64> {
    let (unit, said) = single(headers, &header::CONTENT_RANGE)?.split_once(' ')?;
    let complete = said.trim_ascii().strip_prefix("*/")?;
    unit.eq_ignore_ascii_case("bytes").then(|| number(complete)).flatten()
}

/// The validators that bind parts to each other (RFC 9110 §15.3.7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Binding {
    /// A strong date.
    Date(HeaderValue),
    /// A strong tag.
    Tag(HeaderValue),
    /// A weak tag and a strong date, which prove together what the date alone would prove.
    DatedTag { tag: HeaderValue, date: HeaderValue },
}

impl Binding {
    /// The validators of a response, or `None` if they bind nothing. A strong tag comes first: RFC 9110 §13.1.5 does not
    /// allow a date if there is a tag.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let validators = Validators::of(headers);
        let date =
            || headers.get(header::LAST_MODIFIED).filter(|_| validators.strong_last_modified().is_some());
        let Some(tag) = headers.get(header::ETAG) else {
            return date().cloned().map(Self::Date);
        };
        if !validators.entity_tag()?.is_weak() {
            return Some(Self::Tag(tag.clone()));
        }
        // Servers that code content anew for each answer make the tag weak, and keep the date.
        let is_plain = !headers.contains_key(header::CONTENT_ENCODING);
        let date = date().filter(|_| is_plain)?;
        Some(Self::DatedTag { tag: tag.clone(), date: date.clone() })
    }

    /// Turns a request into one for `range`, or from its start to the end.
    pub(crate) fn ask(&self, question: Question, range: ByteRange, request: &mut HeaderMap) {
        ask(range, request);
        match self {
            _ if question == Question::Plain => {}
            Self::Tag(validator) | Self::Date(validator) => {
                request.insert(header::IF_RANGE, validator.clone());
            }
            // RFC 9110 §13.1.5: `If-Range` carries neither a weak tag, nor a date if there is a tag.
            Self::DatedTag { date, .. } => {
                request.insert(header::IF_UNMODIFIED_SINCE, date.clone());
            }
        }
    }

    /// Whether an answer has the same validator. A service that ignores `If-Range` would give parts of another
    /// representation.
    fn is_of(&self, answer: &HeaderMap) -> bool {
        match self {
            Self::Tag(tag) => is_only(answer, header::ETAG, tag),
            Self::Date(date) => {
                is_only(answer, header::LAST_MODIFIED, date) && !answer.contains_key(header::ETAG)
            }
            Self::DatedTag { tag, date } => {
                is_only(answer, header::ETAG, tag) && is_only(answer, header::LAST_MODIFIED, date)
            }
        }
    }

    /// Whether an answer has other validators that are as strong.
    fn is_gone_from(&self, answer: &HeaderMap) -> bool {
        let is_as_strong = |other: &Self| mem::discriminant(self) == mem::discriminant(other);
        Self::of(answer).is_some_and(|other| is_as_strong(&other) && *self != other)
    }

    /// Whether a 206 has no more fields than RFC 9110 §15.3.7 wants in the answer to `If-Range`. A service that leaves out
    /// the others has heeded `If-Range`.
    fn is_heeded_by(&self, stored: &HeaderMap, answer: &HeaderMap) -> bool {
        let has = |name: &HeaderName| answer.contains_key(name);
        let is_kept = |name: &HeaderName| has(name) || !stored.contains_key(name);
        let is_minimal = !LEFT_OUT.iter().any(has);
        match self {
            Self::Tag(tag) => is_minimal && is_only(answer, header::ETAG, tag),
            // The answer does not name the representation, so all else must be by the letter.
            Self::Date(_) => {
                is_minimal && !has(&header::ETAG) && has(&header::DATE) && REQUIRED.iter().all(is_kept)
            }
            Self::DatedTag { .. } => false,
        }
    }
}

/// Whether the field has this value alone.
fn is_only(headers: &HeaderMap, name: HeaderName, value: &HeaderValue) -> bool {
    let mut values = headers.get_all(name).iter();
    values.next() == Some(value) && values.next().is_none()
}

/// The fields of a representation that a 206 to `If-Range` leaves out (RFC 9110 §15.3.7).
const LEFT_OUT: [HeaderName; 4] =
    [header::CONTENT_ENCODING, header::CONTENT_LANGUAGE, header::CONTENT_TYPE, header::LAST_MODIFIED];

/// The fields that a 206 has if the 200 has them, beside `Date` and `ETag` (RFC 9110 §15.3.7).
const REQUIRED: [HeaderName; 4] =
    [header::CACHE_CONTROL, header::CONTENT_LOCATION, header::EXPIRES, header::VARY];

/// Whether two answers have the same `Last-Modified`, or one of them has none. Some servers keep the strong tag of a file
/// that was replaced.
pub(crate) fn agree_on_the_date(one: &HeaderMap, other: &HeaderMap) -> bool {
    let dates = [one, other].map(|headers| headers.get(header::LAST_MODIFIED));
    matches!(dates, [Some(one), Some(other)] if one == other) || dates.contains(&None)
}

/// Turns a request into one for `range`. A range without an end asks for everything from its start on.
pub(crate) fn ask(range: ByteRange, request: &mut HeaderMap) {
    let text = match range.end {
        u64::MAX => format!("bytes={}-", range.start),
        end => format!("bytes={}-{}", range.start, end.saturating_sub(1)),
    };
    insert_range(text, request);
}

fn insert_range(text: String, request: &mut HeaderMap) {
    // Digits and ASCII punctuation are a valid field value.
    if let Ok(value) = HeaderValue::try_from(text) {
        request.insert(header::RANGE, value);
    }
}

/// How the cache asks for a further part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// Asks for the bound representation alone.
    Bound,
    /// Asks by a range alone, as a client would. Some services answer the other question badly.
    Plain,
}

/// The meaning of an answer to a request for a further part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Further {
    /// The representation is gone, or is another one by now.
    Another,
    /// An error that is soon over.
    Nothing,
    Part(Part),
    /// The answer shows neither that the representation is the same, nor that it is another one.
    Unproved,
    /// The inner service gives no parts, or none that can be used.
    Whole,
}

/// Judges the answer to the `question` for `asked`, a range of the representation that is stored with these fields and
/// bound by `binding`. `complete` is the length of the representation, if known.
pub(crate) fn further(
    (stored, binding, complete): (&HeaderMap, &Binding, Option<u64>),
    (question, asked): (Question, ByteRange),
    status: StatusCode,
    answer: &HeaderMap,
) -> Further {
    let is_same = || is_bound(stored, binding, answer);
    let is_heeded = || question == Question::Bound && binding.is_heeded_by(stored, answer);
    let is_other = || binding.is_gone_from(answer) || !agree_on_the_date(stored, answer);
    match status {
        StatusCode::PARTIAL_CONTENT if is_same() || is_heeded() => match Part::of(answer) {
            Some(part) if complete.is_some_and(|complete| part.complete != complete) => Further::Unproved,
            // §15.3.7: fewer bytes than were asked for are allowed, others are not.
            Some(part) if part.range.start == asked.start && part.range.end <= asked.end => {
                Further::Part(part)
            }
            Some(_) | None => Further::Whole,
        },
        StatusCode::OK if is_same() => match declared_length(answer) {
            // Some servers answer a range of everything by the whole.
            DeclaredLength::Bytes(length)
                if asked.start == 0 && asked.end >= length && complete == Some(length) =>
            {
                Further::Part(Part { range: ByteRange { start: 0, end: length }, complete: length })
            }
            _ => Further::Whole,
        },
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if is_other() => Further::Another,
        StatusCode::NOT_FOUND | StatusCode::GONE => Further::Another,
        StatusCode::RANGE_NOT_SATISFIABLE => match (complete_of_unsatisfied(answer), complete) {
            (Some(said), Some(complete)) if said != complete => Further::Another,
            _ => Further::Unproved,
        },
        status if is_passing(status) => Further::Nothing,
        _ => Further::Unproved,
    }
}

/// Whether the status tells of a trouble that is soon over, and not of ranges.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    let statuses = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::BAD_GATEWAY,
        StatusCode::SERVICE_UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    statuses.contains(&status)
}

/// Whether a 200 or a 206 is, or is a part of, the representation that is stored with these fields, is bound by
/// `binding`, and has `complete` bytes.
pub(crate) fn is_of_the_same(
    stored: &HeaderMap,
    binding: &Binding,
    complete: u64,
    status: StatusCode,
    answer: &HeaderMap,
) -> bool {
    let length = match status {
        StatusCode::OK => match declared_length(answer) {
            DeclaredLength::Bytes(length) => Some(length),
            DeclaredLength::Unsaid | DeclaredLength::Invalid => None,
        },
        StatusCode::PARTIAL_CONTENT => Part::of(answer).map(|part| part.complete),
        _ => None,
    };
    length == Some(complete) && is_bound(stored, binding, answer)
}

/// Whether the fields of an answer name the representation that is stored with these fields.
fn is_bound(stored: &HeaderMap, binding: &Binding, answer: &HeaderMap) -> bool {
    let same = |name: HeaderName| stored.get_all(&name).iter().eq(answer.get_all(&name).iter());
    binding.is_of(answer) && agree_on_the_date(stored, answer) && same(header::CONTENT_ENCODING)
}

/// Whether a response says that it can be fetched in parts (RFC 9110 §14.3).
pub(crate) fn gives_parts(headers: &HeaderMap) -> bool {
    members(headers, &header::ACCEPT_RANGES).any(|unit| unit.eq_ignore_ascii_case("bytes"))
}

/// The fields of the 200 that a 206 is a part of (RFC 9111 §3.4).
pub(crate) fn of_the_whole(part: &HeaderMap, complete: u64) -> HeaderMap {
    let mut whole = part.clone();
    // RFC 9530 §2: these fields describe the content of one message.
    for name in [header::CONTENT_RANGE, CONTENT_DIGEST, CONTENT_MD5] {
        whole.remove(name);
    }
    whole.insert(header::CONTENT_LENGTH, HeaderValue::from(complete));
    whole
}

/// Reads digits only. A number that does not fit into 64 bits is none.
fn number(text: &str) -> Option<u64> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok()).flatten()
}

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::fields::tests::headers;

    const MODIFIED: &str = "Sun, 22 Nov 2026 09:00:00 GMT";
    const LATER: &str = "Sun, 22 Nov 2026 10:00:00 GMT";

    fn range(start: u64, end: u64) -> ByteRange {
        ByteRange { start, end }
    }

    #[test]
    fn a_part_is_read_only_if_all_fields_agree() {
        let part = |start, end, complete| Some(Part { range: range(start, end), complete });
        for (why, lines, expected) in [
            ("§14.4", &[("content-range", "bytes 0-9/100")][..], part(0, 10, 100)),
            ("in any case", &[("content-range", "Bytes 90-99/100")], part(90, 100, 100)),
            (
                "the length agrees",
                &[("content-range", "bytes 0-9/100"), ("content-length", "10")],
                part(0, 10, 100),
            ),
            ("the length does not", &[("content-range", "bytes 0-9/100"), ("content-length", "11")], None),
            ("no complete length", &[("content-range", "bytes 0-9/*")], None),
            ("unsatisfied", &[("content-range", "bytes */100")], None),
            ("the last before the first", &[("content-range", "bytes 9-0/100")], None),
            ("the last beyond the end", &[("content-range", "bytes 0-100/100")], None),
            ("another unit", &[("content-range", "frames 0-9/100")], None),
            ("two of them", &[("content-range", "bytes 0-9/100"), ("content-range", "bytes 0-9/100")], None),
            ("too large", &[("content-range", "bytes 0-9/18446744073709551616")], None),
            (
                "the largest",
                &[("content-range", "bytes 0-18446744073709551614/18446744073709551615")],
                part(0, u64::MAX, u64::MAX),
            ),
            ("signs", &[("content-range", "bytes +0-9/100")], None),
            ("none", &[("content-type", "multipart/byteranges; boundary=x")], None),
        ] {
            assert_eq!(Part::of(&headers(lines)), expected, "{why}");
        }
    }

    #[test]
    fn parts_are_bound_by_a_strong_validator() {
        let value = HeaderValue::from_static;
        for (lines, expected) in [
            (&[("etag", "\"v1\"")][..], Some(Binding::Tag(value("\"v1\"")))),
            (
                &[("etag", "W/\"v1\""), ("last-modified", MODIFIED), ("date", LATER)],
                Some(Binding::DatedTag { tag: value("W/\"v1\""), date: value(MODIFIED) }),
            ),
            (&[("etag", "W/\"v1\""), ("last-modified", MODIFIED), ("date", MODIFIED)], None),
            (&[("etag", "W/\"v1\""), ("date", LATER)], None),
            (
                &[
                    ("etag", "W/\"v1\""),
                    ("last-modified", MODIFIED),
                    ("date", LATER),
                    ("content-encoding", "gzip"),
                ],
                None,
            ),
            (&[("etag", "v1"), ("last-modified", MODIFIED), ("date", LATER)], None),
            (&[("last-modified", MODIFIED), ("date", LATER)], Some(Binding::Date(value(MODIFIED)))),
            (&[("last-modified", MODIFIED), ("date", MODIFIED)], None),
            (&[("last-modified", MODIFIED)], None),
            (&[], None),
        ] {
            assert_eq!(Binding::of(&headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_request_for_a_part_names_its_range_and_its_validator() {
        let mut request = headers(&[("range", "bytes=7-")]);
        Binding::Tag(HeaderValue::from_static("\"v1\"")).ask(Question::Bound, range(10, 20), &mut request);
        assert_eq!(request, headers(&[("range", "bytes=10-19"), ("if-range", "\"v1\"")]));
        ask(range(10, u64::MAX), &mut request);
        assert_eq!(request, headers(&[("range", "bytes=10-"), ("if-range", "\"v1\"")]));
    }

    #[test]
    fn a_further_part_is_judged_field_by_field() {
        let stored =
            headers(&[("etag", "\"v1\""), ("content-type", "video/mp4"), ("last-modified", MODIFIED)]);
        let good = [("content-range", "bytes 10-19/100"), ("etag", "\"v1\"")];
        let with = |more: &[(&'static str, &'static str)]| headers(&[&good[..], more].concat());
        let part = Further::Part(Part { range: range(10, 20), complete: 100 });
        for (why, status, answer, expected) in [
            ("all agrees", 206, with(&[]), part),
            (
                "less than was asked for",
                206,
                headers(&[("content-range", "bytes 10-14/100"), good[1]]),
                Further::Part(Part { range: range(10, 15), complete: 100 }),
            ),
            ("another start", 206, headers(&[("content-range", "bytes 9-19/100"), good[1]]), Further::Whole),
            (
                "more than was asked for",
                206,
                headers(&[("content-range", "bytes 10-20/100"), good[1]]),
                Further::Whole,
            ),
            (
                "another length",
                206,
                headers(&[("content-range", "bytes 10-19/101"), good[1]]),
                Further::Unproved,
            ),
            ("another tag", 206, headers(&[good[0], ("etag", "\"v2\"")]), Further::Another),
            ("no tag", 206, headers(&[good[0]]), Further::Unproved),
            ("the date of the whole", 206, with(&[("last-modified", MODIFIED)]), part),
            ("another date", 206, with(&[("last-modified", LATER)]), Further::Another),
            (
                "another date of the whole",
                200,
                headers(&[good[1], ("last-modified", LATER)]),
                Further::Another,
            ),
            ("two tags", 206, with(&[("etag", "\"v2\"")]), Further::Unproved),
            ("another coding", 206, with(&[("content-encoding", "gzip")]), Further::Unproved),
            ("no length", 206, headers(&[("content-range", "bytes 10-19/*"), good[1]]), Further::Whole),
            ("the same whole", 200, headers(&[good[1]]), Further::Whole),
            ("another whole", 200, headers(&[("etag", "\"v2\"")]), Further::Another),
            ("gone", 404, headers(&[]), Further::Another),
            ("shorter by now", 416, headers(&[("content-range", "bytes */5")]), Further::Another),
            ("as long as before", 416, headers(&[("content-range", "bytes */100")]), Further::Unproved),
            ("how long is not said", 416, headers(&[]), Further::Unproved),
            ("the condition failed", 412, headers(&[]), Further::Unproved),
            ("an error that is soon over", 503, with(&[]), Further::Nothing),
            ("an error", 500, with(&[]), Further::Unproved),
            ("a redirection", 302, headers(&[]), Further::Unproved),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let binding = Binding::of(&stored).unwrap();
            let asked = (Question::Bound, range(10, 20));
            let judged = further((&stored, &binding, Some(100)), asked, status, &answer);
            assert_eq!(judged, expected, "{why}");
        }
    }

    #[test]
    fn the_whole_is_the_part_that_is_all_of_it() {
        let stored = headers(&[("etag", "\"v1\"")]);
        let binding = Binding::of(&stored).unwrap();
        let judge = |asked, tag: &'static str, length: &'static str| {
            let answer = headers(&[("etag", tag), ("content-length", length)]);
            further((&stored, &binding, Some(100)), (Question::Bound, asked), StatusCode::OK, &answer)
        };
        let all = Part { range: range(0, 100), complete: 100 };
        assert_eq!(judge(range(0, 100), "\"v1\"", "100"), Further::Part(all));
        assert_eq!(judge(range(0, 99), "\"v1\"", "100"), Further::Whole);
        assert_eq!(judge(range(1, 100), "\"v1\"", "100"), Further::Whole);
        assert_eq!(judge(range(0, 100), "\"v1\"", "99"), Further::Whole);
        assert_eq!(judge(range(0, 100), "\"v2\"", "100"), Further::Another);
    }

    #[test]
    fn a_weak_tag_binds_a_part_together_with_a_date_and_by_no_if_range() {
        let stored = headers(&[("etag", "W/\"v1\""), ("last-modified", MODIFIED), ("date", LATER)]);
        let binding = Binding::of(&stored).unwrap();
        let mut request = HeaderMap::new();
        binding.ask(Question::Bound, range(10, 20), &mut request);
        assert_eq!(request, headers(&[("range", "bytes=10-19"), ("if-unmodified-since", MODIFIED)]));
        for (lines, expected) in [
            (&[("etag", "W/\"v1\""), ("last-modified", MODIFIED)][..], true),
            (&[("etag", "W/\"v1\"")], false),
            (&[("etag", "\"v1\""), ("last-modified", MODIFIED)], false),
            (&[("etag", "W/\"v2\""), ("last-modified", MODIFIED)], false),
            (&[("etag", "W/\"v1\""), ("last-modified", LATER)], false),
            (&[("last-modified", MODIFIED)], false),
        ] {
            let answer = headers(&[&[("content-range", "bytes 10-19/100")], lines].concat());
            let asked = (Question::Bound, range(10, 20));
            let judged = further((&stored, &binding, None), asked, StatusCode::PARTIAL_CONTENT, &answer);
            assert_eq!(matches!(judged, Further::Part(_)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_part_with_no_more_fields_than_if_range_wants_is_bound_by_the_question() {
        let tagged = [
            ("etag", "\"v1\""),
            ("content-type", "video/mp4"),
            ("content-encoding", "br"),
            ("last-modified", MODIFIED),
        ];
        let dated = [
            ("last-modified", MODIFIED),
            ("date", LATER),
            ("content-type", "video/mp4"),
            ("cache-control", "max-age=60"),
        ];
        for (why, stored, lines, expected) in [
            ("the tag alone", &tagged[..], &[("etag", "\"v1\"")][..], true),
            ("another tag", &tagged, &[("etag", "\"v2\"")], false),
            ("no tag", &tagged, &[("date", LATER)], false),
            ("not the coding", &tagged, &[("etag", "\"v1\""), ("content-type", "video/mp4")], false),
            ("all that is required", &dated, &[("date", LATER), ("cache-control", "max-age=60")], true),
            ("not all that is required", &dated, &[("date", LATER)], false),
            ("no date of its own", &dated, &[("cache-control", "max-age=60")], false),
            (
                "more than is required",
                &dated,
                &[("date", LATER), ("cache-control", "max-age=60"), ("content-type", "video/mp4")],
                false,
            ),
            (
                "a tag by now",
                &dated,
                &[("date", LATER), ("cache-control", "max-age=60"), ("etag", "\"v2\"")],
                false,
            ),
        ] {
            let (stored, part) = (headers(stored), [("content-range", "bytes 10-19/100")]);
            let (binding, answer) = (Binding::of(&stored).unwrap(), headers(&[&part, lines].concat()));
            let is_part = |question| {
                let asked = (question, range(10, 20));
                let stored = (&stored, &binding, Some(100));
                matches!(further(stored, asked, StatusCode::PARTIAL_CONTENT, &answer), Further::Part(_))
            };
            assert_eq!(is_part(Question::Bound), expected, "{why}");
            assert!(!is_part(Question::Plain), "{why}");
            assert!(!is_of_the_same(&stored, &binding, 100, StatusCode::PARTIAL_CONTENT, &answer), "{why}");
        }
    }

    #[test]
    fn a_date_binds_only_a_response_without_a_tag() {
        let stored = headers(&[("last-modified", MODIFIED), ("date", LATER)]);
        let binding = Binding::of(&stored).unwrap();
        let judge = |lines: &[(&'static str, &'static str)]| {
            let answer = headers(&[&[("content-range", "bytes 0-9/100")], lines].concat());
            let is_part = |further| matches!(further, Further::Part(_));
            let asked = (Question::Bound, range(0, 10));
            is_part(further((&stored, &binding, None), asked, StatusCode::PARTIAL_CONTENT, &answer))
        };
        assert!(judge(&[("last-modified", MODIFIED)]));
        assert!(!judge(&[("last-modified", LATER)]));
        assert!(!judge(&[("last-modified", MODIFIED), ("etag", "\"v1\"")]));
    }

    #[test]
    fn the_whole_has_the_fields_of_its_part_but_for_those_of_the_message() {
        let part = headers(&[
            ("content-range", "bytes 0-9/100"),
            ("content-length", "10"),
            ("content-digest", "sha-256=:AAAA:"),
            ("etag", "\"v1\""),
        ]);
        assert_eq!(of_the_whole(&part, 100), headers(&[("etag", "\"v1\""), ("content-length", "100")]));
    }
}
