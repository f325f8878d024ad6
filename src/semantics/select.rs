//! The part of a stored response that a request gets.
//!
//! RFC 9110 §13 (conditions), §13.2.2 (their precedence), §14.2 (`Range`); RFC 9111 §4.3.2.

use http::{
    header::{self, HeaderMap, HeaderName},
    Method, StatusCode,
};

use super::{
    etag::{named, EntityTag, Named, Validators},
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
    if preconditions_fail(request, stored) {
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
fn preconditions_fail(request: &HeaderMap, stored: Validators<'_>) -> bool {
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

#[cfg(test)]
mod tests {
    use super::{super::fields::tests::headers, *};

    const MODIFIED: &str = "Sun, 22 Nov 2026 09:00:00 GMT";
    const BEFORE: &str = "Sun, 22 Nov 2026 08:59:59 GMT";
    const AFTER: &str = "Sun, 22 Nov 2026 09:00:01 GMT";
    const LATER: &str = "Sun, 22 Nov 2026 10:00:00 GMT";
    const RANGE: (&str, &str) = ("range", "bytes=0-9");
    const PARTIAL: Selection = Selection::Partial(ByteRange { start: 0, end: 10 });

    fn get(stored: &[(&str, &str)], request: &[(&str, &str)]) -> Selection {
        let stored = headers(stored);
        select(&Method::GET, &headers(request), StatusCode::OK, Validators::of(&stored), 100, 16)
    }

    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Selection);

    #[test]
    fn conditions_and_ranges_are_judged_as_the_rfc_says() {
        use Selection::{Full, NotModified, NotSatisfiable, PreconditionFailed};

        let stored = [("etag", "\"v1\""), ("last-modified", MODIFIED), ("date", LATER)];
        let rows: &[Row<'_>] = &[
            ("no condition", &[], Full),
            ("§13.1.1 If-Match holds", &[("if-match", "\"v0\", \"v1\"")], Full),
            ("§13.1.1 If-Match *", &[("if-match", "*")], Full),
            ("§13.1.1 If-Match fails", &[("if-match", "\"v2\"")], PreconditionFailed),
            ("§13.1.1 If-Match is strong", &[("if-match", "W/\"v1\"")], PreconditionFailed),
            ("§13.1.4 unmodified", &[("if-unmodified-since", MODIFIED)], Full),
            ("§13.1.4 modified", &[("if-unmodified-since", BEFORE)], PreconditionFailed),
            ("§13.1.4 no date is ignored", &[("if-unmodified-since", "yesterday")], Full),
            (
                "§13.2.2 If-Match over the date",
                &[("if-match", "\"v1\""), ("if-unmodified-since", BEFORE)],
                Full,
            ),
            ("§13.1.2 the tag", &[("if-none-match", "\"v1\"")], NotModified),
            ("§13.1.2 the comparison is weak", &[("if-none-match", "W/\"v1\"")], NotModified),
            ("§13.1.2 any of a list", &[("if-none-match", "\"a,b\", \"v1\"")], NotModified),
            (
                "§13.1.2 any of two lines",
                &[("if-none-match", "\"a\""), ("if-none-match", "\"v1\"")],
                NotModified,
            ),
            ("§13.1.2 *", &[("if-none-match", "*")], NotModified),
            ("§13.1.2 another tag", &[("if-none-match", "\"v2\"")], Full),
            ("§13.1.2 garbage", &[("if-none-match", "v1")], Full),
            ("§13.1.3 not modified since", &[("if-modified-since", MODIFIED)], NotModified),
            ("§13.1.3 nor since later", &[("if-modified-since", AFTER)], NotModified),
            ("§13.1.3 modified since", &[("if-modified-since", BEFORE)], Full),
            ("§13.1.3 no date is ignored", &[("if-modified-since", "0")], Full),
            ("§13.2.2 tags over dates", &[("if-none-match", "\"v2\""), ("if-modified-since", AFTER)], Full),
            (
                "§13.2.2 412 before 304",
                &[("if-match", "\"v2\""), ("if-none-match", "\"v1\"")],
                PreconditionFailed,
            ),
            ("§13.2.2 304 before 206", &[("if-none-match", "\"v1\""), RANGE], NotModified),
            ("§13.2.2 304 before 416", &[("if-none-match", "\"v1\""), ("range", "bytes=100-")], NotModified),
            ("§14.2 range", &[RANGE], PARTIAL),
            ("§15.5.17 not satisfiable", &[("range", "bytes=100-")], NotSatisfiable),
            ("§13.1.5 the strong tag", &[RANGE, ("if-range", "\"v1\"")], PARTIAL),
            ("§13.1.5 another tag", &[RANGE, ("if-range", "\"v2\"")], Full),
            ("§13.1.5 a weak tag never", &[RANGE, ("if-range", "W/\"v1\"")], Full),
            ("§13.1.5 the exact date", &[RANGE, ("if-range", MODIFIED)], PARTIAL),
            ("§13.1.5 a later date is not exact", &[RANGE, ("if-range", AFTER)], Full),
            ("§13.1.5 garbage", &[RANGE, ("if-range", "v1")], Full),
            ("§13.1.5 two of them", &[RANGE, ("if-range", "\"v1\""), ("if-range", "\"v1\"")], Full),
            ("§13.1.5 spares 416", &[("range", "bytes=100-"), ("if-range", "\"v2\"")], Full),
            ("§13.1.5 without Range it is ignored", &[("if-range", "\"v2\"")], Full),
        ];
        for (rule, request, expected) in rows {
            assert_eq!(get(&stored, request), *expected, "{rule}");
        }
    }

    #[test]
    fn an_invalid_tag_counts_for_if_none_match_alone() {
        use Selection::{Full, NotModified, PreconditionFailed};

        let rows = [
            ("the etagc of a list has commas", "\"a,b,c\"", "\"x\", \"a,b,c\"", NotModified),
            ("a space is no etagc", "\"a, b,c\"", "\"x\", \"a, b,c\"", NotModified),
            ("without quotes", "v1", "v1", NotModified),
            ("without quotes, in a list", "v1", "\"x\", v1", NotModified),
            ("without quotes, and with a comma", "v,1", "v,1", NotModified),
            ("half a quote", "\"v1", "\"v1", NotModified),
            ("a w in lower case", "w/\"v1\"", "w/\"v1\"", NotModified),
            ("another tag", "v1", "v2", Full),
            ("the start of it", "v1", "v", Full),
            ("with quotes, it is another", "v1", "\"v1\"", Full),
            ("without quotes, it is another", "\"v1\"", "v1", Full),
            ("in another case", "v1", "V1", Full),
            ("an empty tag names no representation", "", "", Full),
            ("an empty field repeats no tag", "v1", "", Full),
        ];
        for (rule, stored, asked, expected) in rows {
            assert_eq!(get(&[("etag", stored)], &[("if-none-match", asked)]), expected, "{rule}");
        }
        let stored = [("etag", "v1")];
        assert_eq!(get(&stored, &[("if-match", "v1")]), PreconditionFailed);
        assert_eq!(get(&stored, &[RANGE, ("if-range", "v1")]), Full);
        assert_eq!(get(&[("etag", "\"a\""), ("etag", "\"a\"")], &[("if-none-match", "\"a\"")]), NotModified);
    }

    #[test]
    fn weak_validators_do_not_hold_a_range() {
        let weak_tag = [("etag", "W/\"v1\"")];
        assert_eq!(get(&weak_tag, &[RANGE, ("if-range", "W/\"v1\"")]), Selection::Full);
        assert_eq!(get(&weak_tag, &[("if-match", "W/\"v1\"")]), Selection::PreconditionFailed);
        assert_eq!(get(&weak_tag, &[("if-none-match", "\"v1\"")]), Selection::NotModified);

        // §8.8.2.2: a date sent within a minute of the change may stand for two representations.
        let just_changed = [("last-modified", MODIFIED), ("date", AFTER)];
        assert_eq!(get(&just_changed, &[RANGE, ("if-range", MODIFIED)]), Selection::Full);
    }

    #[test]
    fn without_last_modified_the_date_stands_in() {
        // RFC 9111 §4.3.2
        assert_eq!(get(&[("date", LATER)], &[("if-modified-since", LATER)]), Selection::NotModified);
        assert_eq!(get(&[("date", LATER)], &[("if-modified-since", AFTER)]), Selection::Full);
        assert_eq!(get(&[], &[("if-modified-since", LATER)]), Selection::Full);
    }

    #[test]
    fn head_has_conditions_but_no_ranges() {
        let stored = headers(&[("etag", "\"v1\"")]);
        let head = |request: &[(&str, &str)]| {
            select(&Method::HEAD, &headers(request), StatusCode::OK, Validators::of(&stored), 100, 16)
        };
        assert_eq!(head(&[RANGE]), Selection::Full);
        assert_eq!(head(&[("range", "bytes=100-")]), Selection::Full);
        assert_eq!(head(&[("if-none-match", "\"v1\"")]), Selection::NotModified);
    }

    #[test]
    fn only_a_success_has_conditions_and_only_a_200_has_ranges() {
        let stored = headers(&[("etag", "\"v1\"")]);
        let of = |status, request: &[(&str, &str)]| {
            select(&Method::GET, &headers(request), status, Validators::of(&stored), 100, 16)
        };
        assert_eq!(of(StatusCode::NOT_FOUND, &[("if-none-match", "\"v1\"")]), Selection::Full);
        assert_eq!(of(StatusCode::NOT_FOUND, &[("if-match", "\"v2\"")]), Selection::Full);
        assert_eq!(of(StatusCode::NON_AUTHORITATIVE_INFORMATION, &[RANGE]), Selection::Full);
    }
}

/// RFC 9110 §13.2.2 a second time, written step by step, on values whose meaning stands beside their text. This oracle
/// shares nothing with the code above, and is compared with it in every combination.
#[cfg(test)]
mod oracle {
    use super::*;

    /// Whether the tag is weak, and its opaque part.
    type Tag = (bool, &'static str);

    /// The meaning of a list of tags.
    #[derive(Clone, Copy)]
    enum Tags {
        Absent,
        Star,
        Of(&'static [Tag]),
    }

    /// The meaning of `If-Range`.
    #[derive(Clone, Copy)]
    enum Held {
        Absent,
        Nonsense,
        Tag(Tag),
        Date(Seconds),
    }

    /// Seconds since the stored response was modified.
    type Seconds = i64;

    /// A stored response: its fields, and their meaning.
    struct Stored {
        lines: &'static [(&'static str, &'static str)],
        tag: Option<Tag>,
        modified: Option<Seconds>,
        sent: Option<Seconds>,
    }

    /// A request, as the meaning of its fields.
    struct Asked {
        is_get: bool,
        if_match: Tags,
        if_none_match: Tags,
        if_modified_since: Option<Seconds>,
        if_unmodified_since: Option<Seconds>,
        if_range: Held,
        /// The selection by `Range` alone.
        range: Selection,
    }

    type Texts<T> = &'static [(Option<&'static str>, T)];

    const LENGTH: u64 = 1000;
    const SAME: &str = "Sun, 22 Nov 2026 09:00:00 GMT";
    const BEFORE: &str = "Sun, 22 Nov 2026 08:59:59 GMT";
    const AFTER: &str = "Sunday, 22-Nov-26 09:00:01 GMT";
    const LATER: &str = "Sun Nov 22 10:00:00 2026";

    const STORED: [Stored; 7] = [
        Stored { lines: &[], tag: None, modified: None, sent: None },
        Stored { lines: &[("date", LATER)], tag: None, modified: None, sent: Some(3600) },
        Stored {
            lines: &[("etag", "\"v1\""), ("date", LATER)],
            tag: Some((false, "v1")),
            modified: None,
            sent: Some(3600),
        },
        Stored {
            lines: &[("etag", "W/\"v1\""), ("date", LATER)],
            tag: Some((true, "v1")),
            modified: None,
            sent: Some(3600),
        },
        Stored {
            lines: &[("last-modified", SAME), ("date", AFTER)],
            tag: None,
            modified: Some(0),
            sent: Some(1),
        },
        Stored {
            lines: &[("last-modified", SAME), ("date", LATER)],
            tag: None,
            modified: Some(0),
            sent: Some(3600),
        },
        Stored {
            lines: &[("etag", "\"v1\""), ("last-modified", SAME), ("date", LATER)],
            tag: Some((false, "v1")),
            modified: Some(0),
            sent: Some(3600),
        },
    ];

    const TAGS: Texts<Tags> = &[
        (None, Tags::Absent),
        (Some("\"v1\""), Tags::Of(&[(false, "v1")])),
        (Some("W/\"v1\""), Tags::Of(&[(true, "v1")])),
        (Some("\"v2\""), Tags::Of(&[(false, "v2")])),
        (Some("*"), Tags::Star),
        (Some("v1"), Tags::Of(&[])),
        (Some("W/\"v3\", \"v,2\" ,, \"v1\""), Tags::Of(&[(true, "v3"), (false, "v,2"), (false, "v1")])),
    ];

    /// §13.1.3, §13.1.4: a value that is no date counts as absent.
    const DATES: Texts<Option<Seconds>> = &[
        (None, None),
        (Some(SAME), Some(0)),
        (Some(BEFORE), Some(-1)),
        (Some(LATER), Some(3600)),
        (Some("0"), None),
    ];

    const IF_RANGE: Texts<Held> = &[
        (None, Held::Absent),
        (Some("\"v1\""), Held::Tag((false, "v1"))),
        (Some("W/\"v1\""), Held::Tag((true, "v1"))),
        (Some("\"v2\""), Held::Tag((false, "v2"))),
        (Some(SAME), Held::Date(0)),
        (Some(AFTER), Held::Date(1)),
        (Some("*"), Held::Nonsense),
    ];

    fn ranges() -> [(Option<&'static str>, Selection); 5] {
        let (near, far) = (ByteRange { start: 0, end: 10 }, ByteRange { start: 500, end: 510 });
        [
            (None, Selection::Full),
            (Some("bytes=0-9"), Selection::Partial(near)),
            (Some("bytes=500-509,0-9"), Selection::Several(vec![far, near])),
            (Some("bytes=1000-"), Selection::NotSatisfiable),
            (Some("bytes=9-0"), Selection::Full),
        ]
    }

    fn answer(stored: &Stored, asked: &Asked) -> Selection {
        // "1. When recipient is the origin server and If-Match is present, evaluate the If-Match precondition": the
        // tags of a list are compared strongly, and "*" is true of any current representation.
        match asked.if_match {
            Tags::Star => {}
            Tags::Of(tags) => {
                let is_it =
                    |tag: &Tag| stored.tag.is_some_and(|stored| !stored.0 && !tag.0 && stored.1 == tag.1);
                if !tags.iter().any(is_it) {
                    return Selection::PreconditionFailed;
                }
            }
            // "2. When recipient is the origin server, If-Match is not present, and If-Unmodified-Since is present":
            // true if it was last modified then or earlier.
            Tags::Absent => {
                if let (Some(since), Some(modified)) = (asked.if_unmodified_since, stored.modified) {
                    if modified > since {
                        return Selection::PreconditionFailed;
                    }
                }
            }
        }
        // "3. When If-None-Match is present": false if one of the tags compares weakly, or of "*".
        match asked.if_none_match {
            Tags::Star => return Selection::NotModified,
            Tags::Of(tags) => {
                if tags.iter().any(|tag| stored.tag.is_some_and(|stored| stored.1 == tag.1)) {
                    return Selection::NotModified;
                }
            }
            // "4. When the method is GET or HEAD, If-None-Match is not present, and If-Modified-Since is present".
            // RFC 9111 §4.3.2: a cache takes Date if there is no Last-Modified.
            Tags::Absent => {
                if let Some(since) = asked.if_modified_since {
                    let modified = if stored.modified.is_some() { stored.modified } else { stored.sent };
                    if modified.is_some_and(|modified| modified <= since) {
                        return Selection::NotModified;
                    }
                }
            }
        }
        // §14.2: Range is ignored in a request with any other method.
        if !asked.is_get {
            return Selection::Full;
        }
        // "5. When the method is GET and both Range and If-Range are present": §13.1.5 allows strong validators only. A
        // date is strong here a minute before it was sent.
        let holds = match asked.if_range {
            Held::Absent => true,
            Held::Nonsense => false,
            Held::Tag(tag) => !tag.0 && stored.tag == Some(tag),
            Held::Date(date) => match (stored.modified, stored.sent) {
                (Some(modified), Some(sent)) => modified == date && sent - modified >= 60,
                _ => false,
            },
        };
        // Step 5 has no 416 if If-Range holds; §14.2 has one whenever "all of the preconditions are true".
        if holds {
            asked.range.clone()
        } else {
            Selection::Full
        }
    }

    #[test]
    fn every_combination_is_judged_as_the_steps_of_the_rfc_do() {
        let mut combinations = 0;
        for stored in &STORED {
            let fields = super::super::fields::tests::headers(stored.lines);
            let mut request = HeaderMap::new();
            for (if_match, tags) in TAGS {
                set(&mut request, header::IF_MATCH, *if_match);
                for (if_none_match, other_tags) in TAGS {
                    set(&mut request, header::IF_NONE_MATCH, *if_none_match);
                    for (if_unmodified_since, unmodified) in DATES {
                        set(&mut request, header::IF_UNMODIFIED_SINCE, *if_unmodified_since);
                        for (if_modified_since, modified) in DATES {
                            set(&mut request, header::IF_MODIFIED_SINCE, *if_modified_since);
                            for (if_range, held) in IF_RANGE {
                                set(&mut request, header::IF_RANGE, *if_range);
                                for (range, alone) in ranges() {
                                    set(&mut request, header::RANGE, range);
                                    for method in [Method::GET, Method::HEAD] {
                                        let asked = Asked {
                                            is_get: method == Method::GET,
                                            if_match: *tags,
                                            if_none_match: *other_tags,
                                            if_modified_since: *modified,
                                            if_unmodified_since: *unmodified,
                                            if_range: *held,
                                            range: alone.clone(),
                                        };
                                        let validators = Validators::of(&fields);
                                        let selected =
                                            select(&method, &request, StatusCode::OK, validators, LENGTH, 16);
                                        assert_eq!(
                                            selected,
                                            answer(stored, &asked),
                                            "{method} {request:?} of {fields:?}"
                                        );
                                        combinations += 1;
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        assert_eq!(combinations, 7 * 7 * 7 * 5 * 5 * 7 * 5 * 2);
    }

    fn set(request: &mut HeaderMap, name: HeaderName, text: Option<&'static str>) {
        match text {
            Some(text) => request.insert(name, http::HeaderValue::from_static(text)),
            None => request.remove(name),
        };
    }
}
