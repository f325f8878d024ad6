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
        ("§13.2.2 If-Match over the date", &[("if-match", "\"v1\""), ("if-unmodified-since", BEFORE)], Full),
        ("§13.1.2 the tag", &[("if-none-match", "\"v1\"")], NotModified),
        ("§13.1.2 the comparison is weak", &[("if-none-match", "W/\"v1\"")], NotModified),
        ("§13.1.2 any of a list", &[("if-none-match", "\"a,b\", \"v1\"")], NotModified),
        ("§13.1.2 any of two lines", &[("if-none-match", "\"a\""), ("if-none-match", "\"v1\"")], NotModified),
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
