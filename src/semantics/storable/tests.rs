use std::time::{Duration, UNIX_EPOCH};

use super::{super::fields::tests::headers, *};
use crate::policy::Rule;

fn judge(
    status: u16,
    request: &[(&str, &str)],
    response: &[(&str, &str)],
    body_length: Option<u64>,
) -> Result<Option<u64>, Refusal> {
    let status = StatusCode::from_u16(status).unwrap();
    let mut response = headers(response);
    response.entry("content-type").or_insert("video/mp4".parse().unwrap());
    let exchange = Exchange {
        requested: UNIX_EPOCH,
        received: UNIX_EPOCH,
        with_cookie: false,
        purges: crate::semantics::purge::Position::default(),
    };
    let policy = Policy::default().max_size(1000);
    storable(&headers(request), &Place::at("/a"), status, &response, body_length, exchange, &policy)
}

#[test]
fn each_rule_refuses_by_its_name() {
    type Row = (&'static str, u16, &'static [(&'static str, &'static str)], Result<Option<u64>, Refusal>);
    let rows: &[Row] = &[
        ("a plain 200", 200, &[], Ok(None)),
        ("§3 a status not understood", 404, &[], Err(Refusal::Status)),
        ("§3.3 a part is not the whole", 206, &[], Err(Refusal::Status)),
        ("§14.4 a 200 with Content-Range", 200, &[("content-range", "bytes 0-1/2")], Err(Refusal::Status)),
        ("another type", 200, &[("content-type", "text/html")], Err(Refusal::Media)),
        ("§5.2.2.5 no-store", 200, &[("cache-control", "max-age=5, no-store")], Err(Refusal::NoStore)),
        (
            "§4.2.1 an unreadable directive may forbid to store, whatever else is said",
            200,
            &[("cache-control", "max-age=5, must-understand, x=\"a, private")],
            Err(Refusal::NoStore),
        ),
        ("§5.2.2.7 private", 200, &[("cache-control", "private")], Err(Refusal::Private)),
        (
            "§5.2.2.3 no-store gives way to must-understand",
            200,
            &[("cache-control", "max-age=5, no-store, must-understand")],
            Ok(None),
        ),
        (
            "§5.2.2.4 no-cache, without a validator",
            200,
            &[("cache-control", "no-cache, max-age=60")],
            Err(Refusal::NoCache),
        ),
        (
            "§5.2.2.4 no-cache, with a validator",
            200,
            &[("cache-control", "no-cache"), ("etag", "\"a\"")],
            Ok(None),
        ),
        (
            "§5.2.2.4 no-cache of named fields",
            200,
            &[("cache-control", "no-cache=\"set-cookie\""), ("set-cookie", "a=b")],
            Ok(None),
        ),
        (
            "§5.2.2.7 private of named fields",
            200,
            &[("cache-control", "private=\"x-user\""), ("x-user", "a")],
            Ok(None),
        ),
        (
            "§5.2.2.7 private of other fields than the cookie",
            200,
            &[("cache-control", "private=\"x-user\""), ("set-cookie", "a=b")],
            Err(Refusal::SetCookie),
        ),
        ("§7.3 Set-Cookie", 200, &[("set-cookie", "a=b")], Err(Refusal::SetCookie)),
        ("§4.1 Vary *", 200, &[("vary", "*")], Err(Refusal::VaryAnything)),
        ("§4.1 named fields are kept apart", 200, &[("vary", "origin")], Ok(None)),
        ("§4.2 never fresh", 200, &[("cache-control", "max-age=0")], Err(Refusal::NeverFresh)),
        (
            "§4.3 never fresh, but can be validated",
            200,
            &[("cache-control", "max-age=0"), ("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT")],
            Ok(None),
        ),
        (
            "RFC 5861 never fresh, but of use stale",
            200,
            &[("cache-control", "max-age=0, stale-while-revalidate=60")],
            Ok(None),
        ),
        ("§4.2 too old", 200, &[("cache-control", "max-age=9"), ("age", "9")], Err(Refusal::NeverFresh)),
        ("a length to prove", 200, &[("content-length", "1000")], Ok(Some(1000))),
        ("past the policy's size", 200, &[("content-length", "1001")], Err(Refusal::TooLarge)),
        ("§8.6 two lengths", 200, &[("content-length", "1, 2")], Err(Refusal::InvalidLength)),
    ];
    for (rule, status, response, expected) in rows {
        assert_eq!(judge(*status, &[], response, None), *expected, "{rule}");
    }
}

#[test]
fn a_status_without_heuristics_needs_an_explicit_freshness() {
    // RFC 9111 §3: the last of the conditions; a validator does not help.
    let policy = Policy::default()
        .statuses(crate::policy::Statuses::Any)
        .media_types(["*/*"])
        .stale_if_error(Duration::from_secs(9));
    let exchange = Exchange {
        requested: UNIX_EPOCH,
        received: UNIX_EPOCH,
        with_cookie: false,
        purges: crate::semantics::purge::Position::default(),
    };
    let judge = |status, lines: &[(&str, &str)]| {
        let lines = headers(lines);
        storable(&HeaderMap::new(), &Place::at("/a"), status, &lines, None, exchange, &policy).is_ok()
    };
    let etag = ("etag", "\"a\"");
    assert!(!judge(StatusCode::FOUND, &[etag]));
    assert!(judge(StatusCode::FOUND, &[etag, ("cache-control", "public")]));
    assert!(judge(StatusCode::FOUND, &[("cache-control", "max-age=1")]));
    assert!(judge(StatusCode::FOUND, &[("expires", "Thu, 01 Jan 1970 00:00:09 GMT")]));
    assert!(judge(StatusCode::GONE, &[etag]));
}

#[test]
fn the_ending_of_the_path_replaces_a_type_that_says_nothing() {
    let exchange = Exchange {
        requested: UNIX_EPOCH,
        received: UNIX_EPOCH,
        with_cookie: false,
        purges: crate::semantics::purge::Position::default(),
    };
    let judge = |policy: &Policy, path, kind: Option<&str>| {
        let lines: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        let lines = headers(&lines);
        storable(&HeaderMap::new(), &Place::at(path), StatusCode::OK, &lines, None, exchange, policy).err()
    };
    let octets = Some("application/octet-stream");
    for (path, kind, refusal) in [
        ("/a.m4s", octets, None),
        ("/a.mkv", None, None),
        ("/a", None, Some(Refusal::Media)),
        ("/a.html", octets, Some(Refusal::Media)),
        ("/a.mp4", Some("text/html"), Some(Refusal::Media)),
        // A manifest has no default freshness, whatever its type tells.
        ("/a.m3u8", octets, Some(Refusal::NeverFresh)),
        ("/a.mpd", Some("text/xml"), Some(Refusal::NeverFresh)),
        ("/a.m3u8", Some("application/x-mpegurl"), Some(Refusal::NeverFresh)),
    ] {
        assert_eq!(judge(&Policy::default(), path, kind), refusal, "{path} {kind:?}");
    }
    let by_type = Policy::default().media_by_ending(false);
    assert_eq!(judge(&by_type, "/a.m4s", octets), Some(Refusal::Media));
    let named = Policy::default().media_types(["application/octet-stream"]);
    assert_eq!(judge(&named, "/a.m4s", octets), None, "a type named in the policy counts as it is sent");
    assert_eq!(judge(&named, "/a.m3u8", octets), Some(Refusal::NeverFresh));
    assert_eq!(judge(&named.media_by_ending(false), "/a.m3u8", octets), None);
}

#[test]
fn a_rule_gives_a_lifetime_or_refuses_and_lifts_no_other_refusal() {
    let exchange = Exchange {
        requested: UNIX_EPOCH,
        received: UNIX_EPOCH,
        with_cookie: false,
        purges: crate::semantics::purge::Position::default(),
    };
    let minute = Duration::from_secs(60);
    let of = |rule| Policy::default().statuses(crate::policy::Statuses::Any).rule(rule).unwrap();
    let judge = |policy: &Policy, status: u16, fields: &[(&str, &str)]| {
        let (status, mut lines) = (StatusCode::from_u16(status).unwrap(), headers(fields));
        lines.insert("content-type", "application/dash+xml".parse().unwrap());
        storable(&HeaderMap::new(), &Place::at("/a/b"), status, &lines, None, exchange, policy).err()
    };
    let (never, lasting) = (of(Rule::path("/a/*").status(404).never()), of(Rule::path("/a/*").ttl(minute)));
    let etag = ("etag", "\"a\"");
    assert_eq!(judge(&never, 404, &[etag]), Some(Refusal::Rule));
    assert_eq!(judge(&never, 200, &[etag]), None, "the rule is for another status");
    assert_eq!(judge(&of(Rule::path("/b").never()), 404, &[etag]), None, "the rule is for another path");
    assert_eq!(judge(&of(Rule::any().stale_if_error(minute)), 200, &[]), None, "a window is of use, too");
    assert_eq!(judge(&of(Rule::any().at_least(minute)), 200, &[("cache-control", "max-age=0")]), None);
    assert_eq!(judge(&of(Rule::any().at_most(Duration::ZERO)), 200, &[]), Some(Refusal::NeverFresh));
    for (fields, refusal) in [
        (&[][..], None),
        (&[("cache-control", "max-age=0")], None),
        (&[("age", "60")], Some(Refusal::NeverFresh)),
        (&[("cache-control", "no-cache")], Some(Refusal::NoCache)),
        (&[("cache-control", "no-store")], Some(Refusal::NoStore)),
        (&[("cache-control", "private")], Some(Refusal::Private)),
        (&[("set-cookie", "a=b")], Some(Refusal::SetCookie)),
        (&[("vary", "*")], Some(Refusal::VaryAnything)),
    ] {
        assert_eq!(judge(&lasting, 200, fields), refusal, "{fields:?}");
    }
    // RFC 9111 §3: a status that lets no cache guess must say how long it is fresh.
    assert_eq!(judge(&lasting, 503, &[]), Some(Refusal::NeverFresh));
    assert_eq!(judge(&lasting, 503, &[("cache-control", "max-age=1")]), None);
}

#[test]
fn a_body_that_knows_its_length_must_prove_it() {
    assert_eq!(judge(200, &[], &[], Some(7)), Ok(Some(7)));
    assert_eq!(judge(200, &[], &[], Some(1001)), Err(Refusal::TooLarge));
    assert_eq!(judge(200, &[], &[("content-length", "8")], Some(7)), Ok(Some(8)));
}

#[test]
fn an_answer_to_a_cookie_is_stored_only_with_a_strong_tag() {
    let exchange = Exchange {
        requested: UNIX_EPOCH,
        received: UNIX_EPOCH,
        with_cookie: true,
        purges: crate::semantics::purge::Position::default(),
    };
    for (response, stored) in [
        (&[][..], false),
        (&[("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT")], false),
        (&[("etag", "W/\"a\"")], false),
        (&[("etag", "\"a\""), ("etag", "\"b\"")], false),
        (&[("etag", "\"a\"")], true),
        (&[("cache-control", "max-age=60")], true),
        (&[("cache-control", "public")], true),
        (&[("vary", "cookie")], true),
    ] {
        let mut response = headers(response);
        response.insert("content-type", "video/mp4".parse().unwrap());
        let request = headers(&[("cookie", "a=b")]);
        let judged = storable(
            &request,
            &Place::at("/a"),
            StatusCode::OK,
            &response,
            None,
            exchange,
            &Policy::default(),
        );
        assert_eq!(judged, if stored { Ok(None) } else { Err(Refusal::Cookie) }, "{response:?}");
    }
}

#[test]
fn an_answer_to_credentials_is_shared_only_if_it_says_so() {
    // RFC 9111 §3.5
    let request = [("authorization", "Bearer x")];
    let with = |cache_control| judge(200, &request, &[("cache-control", cache_control)], None);
    assert_eq!(judge(200, &request, &[], None), Err(Refusal::Authorization));
    assert_eq!(with("max-age=60"), Err(Refusal::Authorization));
    assert_eq!(with("max-age=60, public"), Ok(None));
    assert_eq!(with("max-age=60, must-revalidate"), Ok(None));
    assert_eq!(with("s-maxage=60"), Ok(None));
}
