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
    for (tag, is_asked) in [("v1", true), ("v,1", true), ("\"*\"", true), ("*", false), ("\"a\", *", false)] {
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
        ("§4.3.4 a tag where none is stored", &[("last-modified", MODIFIED)], &[("etag", "\"a\"")], false),
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
        assert_eq!(News::of(&headers(request), status, refusal), news, "{request:?} {status} {refusal:?}");
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
