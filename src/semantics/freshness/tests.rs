use std::time::UNIX_EPOCH;

use super::{super::fields::tests::headers, *};

/// 10:00:00 on a day in 2026.
pub(super) fn ten() -> SystemTime {
    httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap()
}

pub(super) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn lifetime_and_age_follow_the_rfc() {
    type Row = (&'static str, &'static [(&'static str, &'static str)], u64, u64);
    let rows: &[Row] = &[
        ("nothing said: the policy's", &[], 300, 0),
        ("a manifest has no default", &[("content-type", "Application/x-mpegURL; charset=utf-8")], 0, 0),
        ("§4.2.1 max-age", &[("cache-control", "max-age=60")], 60, 0),
        ("§4.2.1 s-maxage over max-age", &[("cache-control", "max-age=60, s-maxage=10")], 10, 0),
        (
            "§5.3 max-age over Expires",
            &[("cache-control", "max-age=60"), ("expires", "Sun, 22 Nov 2026 09:00:00 GMT")],
            60,
            0,
        ),
        (
            "§4.2.1 Expires less Date",
            &[("expires", "Sun, 22 Nov 2026 10:01:00 GMT"), ("date", "Sun, 22 Nov 2026 09:59:30 GMT")],
            90,
            30,
        ),
        ("§4.2.1 Expires without Date", &[("expires", "Sun, 22 Nov 2026 10:01:00 GMT")], 60, 0),
        ("§5.6.7 Expires of RFC 850", &[("expires", "Sunday, 22-Nov-26 10:01:00 GMT")], 60, 0),
        ("§5.6.7 Expires of asctime", &[("expires", "Sun Nov 22 10:01:00 2026")], 60, 0),
        ("§5.3 Expires 0 is past", &[("expires", "0")], 0, 0),
        (
            "a Date that is there twice is one",
            &[
                ("expires", "Sun, 22 Nov 2026 10:01:00 GMT"),
                ("date", "Sun, 22 Nov 2026 09:59:30 GMT"),
                ("date", "Sun, 22 Nov 2026 09:59:30 GMT"),
            ],
            90,
            30,
        ),
        (
            "§5.3 Expires twice is invalid",
            &[("expires", "Sun, 22 Nov 2026 10:01:00 GMT"), ("expires", "0")],
            0,
            0,
        ),
        ("§5.1 Age", &[("age", "40")], 300, 40),
        ("§5.1 the first of a list", &[("age", "40, 50")], 300, 40),
        ("§5.1 garbage is ignored", &[("age", "old")], 300, 0),
        ("§1.2.2 a huge Age", &[("age", "99999999999999999999")], 300, 1 << 31),
        ("§4.2.3 apparent age", &[("date", "Sun, 22 Nov 2026 09:58:20 GMT")], 300, 100),
        ("§4.2.3 the greater counts", &[("date", "Sun, 22 Nov 2026 09:59:50 GMT"), ("age", "40")], 300, 40),
        ("§4.2.3 a Date ahead is no age", &[("date", "Sun, 22 Nov 2026 10:05:00 GMT")], 300, 0),
    ];
    let exchange =
        Exchange { requested: ten(), received: ten(), with_cookie: false, purges: Position::default() };
    for (rule, lines, lifetime, age) in rows {
        let freshness = Freshness::of(StatusCode::OK, &headers(lines), exchange, &Policy::default());
        assert_eq!(freshness.lifetime, seconds(*lifetime), "{rule}");
        assert_eq!(freshness.age(ten()), seconds(*age), "{rule}");
    }
}

#[test]
fn the_time_that_the_answer_took_counts_as_age() {
    let exchange = Exchange {
        requested: ten(),
        received: ten() + seconds(3),
        with_cookie: false,
        purges: Position::default(),
    };
    let freshness = Freshness::of(StatusCode::OK, &headers(&[("age", "40")]), exchange, &Policy::default());
    assert_eq!(freshness.age(ten() + seconds(5)), seconds(45));
}

#[test]
fn a_response_is_stale_in_the_second_its_lifetime_ends() {
    let exchange =
        Exchange { requested: ten(), received: ten(), with_cookie: false, purges: Position::default() };
    let freshness = Freshness::of(
        StatusCode::OK,
        &headers(&[("cache-control", "max-age=60")]),
        exchange,
        &Policy::default(),
    );
    assert!(freshness.is_fresh(ten() + seconds(59)));
    assert!(!freshness.is_fresh(ten() + seconds(60)));
    assert_eq!(freshness.ttl(ten() + seconds(75)), -15);
}

#[test]
fn a_clock_set_back_makes_nothing_negative() {
    let exchange =
        Exchange { requested: ten(), received: ten(), with_cookie: false, purges: Position::default() };
    let freshness = Freshness::of(StatusCode::OK, &headers(&[]), exchange, &Policy::default());
    assert_eq!(freshness.age(UNIX_EPOCH), Duration::ZERO);
    assert_eq!(freshness.ttl(UNIX_EPOCH), 300);
}

#[test]
fn a_response_of_the_future_is_stale_whatever_allows_more() {
    let policy = Policy::default();
    let much = Duration::from_millis(2001);
    for (response, request) in
        [("max-age=600, immutable, stale-while-revalidate=600", "max-stale"), ("max-age=600", "")]
    {
        let reuse = |ahead| saying(response, &policy).reuse(&asking(request), ten() - ahead);
        assert_eq!(reuse(seconds(2)), Reuse::AsItIs);
        assert_eq!(reuse(much), Reuse::Validated(Forwarded::Stale));
    }
    assert!(!saying("max-age=600", &policy).stands_in(&asking(""), ten() - much));
}

/// The freshness of a response that arrived at 10:00:00 on a day in 2026.
pub(super) fn of(status: u16, lines: &[(&str, &str)], policy: &Policy) -> Freshness {
    let exchange =
        Exchange { requested: ten(), received: ten(), with_cookie: false, purges: Position::default() };
    Freshness::of(StatusCode::from_u16(status).unwrap(), &headers(lines), exchange, policy)
}

pub(super) fn saying(cache_control: &str, policy: &Policy) -> Freshness {
    of(200, &[("cache-control", cache_control)], policy)
}

pub(super) fn asking(cache_control: &str) -> RequestDirectives {
    RequestDirectives::of(&headers(&[("cache-control", cache_control)]))
}

#[test]
fn a_lifetime_is_guessed_only_where_the_rfc_allows_it() {
    // RFC 9111 §4.2.2
    const NINE: (&str, &str) = ("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT");
    type Row = (&'static str, u16, &'static [(&'static str, &'static str)], u64);
    let rows: &[Row] = &[
        ("a tenth of the time since Last-Modified", 200, &[NINE], 360),
        ("until Date, where there is one", 200, &[NINE, ("date", "Sun, 22 Nov 2026 09:30:00 GMT")], 180),
        ("at most the limit", 200, &[("last-modified", "Sun, 22 Nov 2020 09:00:00 GMT")], 3600),
        ("modified ahead: no time unmodified", 200, &[("last-modified", "Sun, 22 Nov 2026 11:00:00 GMT")], 0),
        ("an unreadable Last-Modified: the policy's default", 200, &[("last-modified", "lately")], 300),
        ("no Last-Modified: the policy's default", 200, &[], 300),
        ("never where max-age says", 200, &[NINE, ("cache-control", "max-age=5")], 5),
        ("never where max-age says nonsense", 200, &[NINE, ("cache-control", "max-age=soon")], 0),
        ("never where Expires says", 200, &[NINE, ("expires", "0")], 0),
        ("not for other statuses", 302, &[NINE], 0),
        ("no default for other statuses", 302, &[], 0),
        ("guessed for other statuses marked as public", 302, &[NINE, ("cache-control", "public")], 360),
        ("the default for other statuses marked as public", 302, &[("cache-control", "public")], 300),
        ("other statuses have their explicit lifetime", 302, &[NINE, ("cache-control", "max-age=5")], 5),
    ];
    let policy = Policy::default().heuristics(10, seconds(3600));
    for (rule, status, lines, lifetime) in rows {
        assert_eq!(of(*status, lines, &policy).lifetime, seconds(*lifetime), "{rule}");
    }
    assert_eq!(of(200, &[NINE], &Policy::default()).lifetime, seconds(300), "it is off by default");
    // RFC 9110 §15.1
    let guessed: Vec<u16> =
        (200..600).filter(|status| !of(*status, &[NINE], &policy).lifetime.is_zero()).collect();
    assert_eq!(guessed, [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501]);
}

#[test]
fn reuse_follows_the_directives_of_request_and_response() {
    use Reuse::{AsItIs, WhileRevalidated};
    const STALE: Reuse = Reuse::Validated(Forwarded::Stale);
    const ASKED: Reuse = Reuse::Validated(Forwarded::Request);
    let rows = [
        ("§4.2 fresh while the lifetime is greater than the age", "max-age=60", "", 59, AsItIs),
        ("§4.2 stale when the age reaches the lifetime", "max-age=60", "", 60, STALE),
        ("§5.2.2.4 no-cache, however fresh", "max-age=60, no-cache", "", 0, STALE),
        ("§5.2.2.4 no-cache, whatever the request allows", "max-age=60, no-cache", "max-stale", 90, STALE),
        ("§5.2.2.4 no-cache of named fields", "max-age=60, no-cache=\"x-a\"", "", 59, AsItIs),
        ("§5.2.1.4 no-cache", "max-age=60", "no-cache", 0, ASKED),
        ("§5.2.1.4 no-cache, and the response is stale", "max-age=60", "no-cache, max-stale", 60, ASKED),
        ("§5.2.1.4 no-cache, and the response is immutable", "max-age=60, immutable", "no-cache", 0, ASKED),
        ("§5.2.1.1 as old as max-age", "max-age=60", "max-age=30", 30, AsItIs),
        ("§5.2.1.1 too old", "max-age=60", "max-age=30", 31, ASKED),
        ("§5.2.1.1 too old, max-stale or not", "max-age=60", "max-age=30, max-stale", 31, ASKED),
        ("§5.2.1.1 with max-age, nothing stale is wanted", "max-age=60", "max-age=600", 60, STALE),
        (
            "§5.2.1.1 with max-age and max-stale, stale is wanted",
            "max-age=60",
            "max-age=600, max-stale",
            90,
            AsItIs,
        ),
        (
            "§5.2.1.1 with max-age and max-stale, but too old",
            "max-age=60",
            "max-age=80, max-stale",
            90,
            STALE,
        ),
        ("§5.2.1.2 any staleness", "max-age=60", "max-stale", 1_000_000, AsItIs),
        ("§5.2.1.2 as stale as max-stale", "max-age=60", "max-stale=30", 90, AsItIs),
        ("§5.2.1.2 too stale", "max-age=60", "max-stale=30", 91, STALE),
        ("§5.2.1.3 fresh for so long", "max-age=60", "min-fresh=30", 30, AsItIs),
        ("§5.2.1.3 not long enough", "max-age=60", "min-fresh=30", 31, ASKED),
        ("§5.2.1.3 not long enough, if immutable", "max-age=60, immutable", "min-fresh=30", 31, ASKED),
        ("§5.2.1.3 stale is not fresh for so long", "max-age=60", "min-fresh=30, max-stale", 60, STALE),
        (
            "§5.2.1.3 stale is not fresh, even for min-fresh=0",
            "max-age=60",
            "min-fresh=0, max-stale",
            61,
            STALE,
        ),
        ("RFC 8246 §2 fresh: no use in asking", "max-age=60, immutable", "max-age=0", 59, AsItIs),
        ("RFC 8246 §2 stale: like any other", "max-age=60, immutable", "max-age=0", 60, STALE),
        ("§5.2.2.2 must-revalidate, fresh", "max-age=60, must-revalidate", "", 59, AsItIs),
        ("§5.2.2.2 must-revalidate, stale", "max-age=60, must-revalidate", "max-stale", 60, STALE),
        ("§5.2.2.8 proxy-revalidate, fresh", "max-age=60, proxy-revalidate", "", 59, AsItIs),
        ("§5.2.2.8 proxy-revalidate, stale", "max-age=60, proxy-revalidate", "max-stale", 60, STALE),
        ("§5.2.2.10 s-maxage, stale", "s-maxage=60", "max-stale", 60, STALE),
        (
            "RFC 5861 §3 stale, validated in the background",
            "max-age=60, stale-while-revalidate=30",
            "",
            60,
            WhileRevalidated,
        ),
        (
            "RFC 5861 §3 to the end of the window",
            "max-age=60, stale-while-revalidate=30",
            "",
            89,
            WhileRevalidated,
        ),
        ("RFC 5861 §3 after the window", "max-age=60, stale-while-revalidate=30", "", 90, STALE),
        ("RFC 5861 §4 another window", "max-age=60, stale-if-error=30", "", 60, STALE),
        (
            "§4.2.4 forbidden: no window",
            "max-age=60, stale-while-revalidate=30, must-revalidate",
            "",
            60,
            STALE,
        ),
        ("§4.2.4 forbidden by s-maxage", "s-maxage=60, stale-while-revalidate=30", "", 60, STALE),
        ("§5.2.1.1 unwanted", "max-age=60, stale-while-revalidate=30", "max-age=600", 60, STALE),
        ("§5.2.1.3 unwanted", "max-age=60, stale-while-revalidate=30", "min-fresh=1", 60, STALE),
        ("§5.2.1.2 wanted", "max-age=60, stale-while-revalidate=30", "max-stale=10", 70, AsItIs),
    ];
    let policy = Policy::default().stale_on_request(Duration::MAX);
    for (rule, response, request, after, expected) in rows {
        let freshness = saying(response, &policy);
        assert_eq!(freshness.reuse(&asking(request), ten() + seconds(after)), expected, "{rule}");
    }
}

#[test]
fn a_stored_response_stands_in_for_an_error_only_if_allowed() {
    let rows = [
        ("§4.2 fresh", "max-age=60", "", 59, true),
        ("§4.2 fresh, if it must be validated later", "max-age=60, must-revalidate", "", 59, true),
        ("§4.2.4 stale, and no rule allows it", "max-age=60", "", 60, false),
        ("RFC 5861 §4 stale", "max-age=60, stale-if-error=30", "", 60, true),
        ("RFC 5861 §4 to the end of the window", "max-age=60, stale-if-error=30", "", 89, true),
        ("RFC 5861 §4 after the window", "max-age=60, stale-if-error=30", "", 90, false),
        ("RFC 5861 §3 another window", "max-age=60, stale-while-revalidate=30", "", 60, false),
        ("RFC 5861 §4 the request allows it", "max-age=60", "stale-if-error=30", 89, true),
        ("RFC 5861 §4 after the request's window", "max-age=60", "stale-if-error=30", 90, false),
        (
            "RFC 5861 §4 the request's is longer",
            "max-age=60, stale-if-error=1",
            "stale-if-error=30",
            89,
            true,
        ),
        (
            "RFC 5861 §4 the request wants less",
            "max-age=60, stale-if-error=30",
            "stale-if-error=1",
            89,
            false,
        ),
        ("§5.2.2.2 must-revalidate", "max-age=60, stale-if-error=30, must-revalidate", "", 60, false),
        ("§5.2.2.8 proxy-revalidate", "max-age=60, proxy-revalidate", "stale-if-error=30", 60, false),
        ("§5.2.2.10 s-maxage", "s-maxage=60, stale-if-error=30", "", 60, false),
        ("§5.2.2.4 no-cache, however fresh", "max-age=60, no-cache, stale-if-error=30", "", 0, false),
        ("§5.2.1.4 no-cache, however fresh", "max-age=60", "no-cache, stale-if-error=30", 0, false),
    ];
    for (rule, response, request, after, expected) in rows {
        let freshness = saying(response, &Policy::default().stale_on_request(seconds(30)));
        assert_eq!(freshness.stands_in(&asking(request), ten() + seconds(after)), expected, "{rule}");
    }
}

#[test]
fn the_policys_windows_apply_only_without_directives() {
    let policy = Policy::default().stale_while_revalidate(seconds(10)).stale_if_error(seconds(30));
    let nothing = RequestDirectives::default();
    for (response, behind, instead) in [
        ("max-age=60", true, true),
        ("max-age=60, stale-while-revalidate=0", false, true),
        ("max-age=60, stale-if-error=0", true, false),
        ("max-age=60, must-revalidate", false, false),
        ("s-maxage=60", false, false),
    ] {
        let freshness = saying(response, &policy);
        let window = |after| freshness.reuse(&nothing, ten() + seconds(after)) == Reuse::WhileRevalidated;
        assert_eq!([60, 69, 70].map(window), [behind, behind, false], "{response}");
        let window = |after| freshness.stands_in(&nothing, ten() + seconds(after));
        assert_eq!([60, 89, 90].map(window), [instead, instead, false], "{response}");
    }
}
