//! How far a response, a request and the operator allow a stored response to be used.

use super::{
    super::fields::tests::headers,
    tests::{asking, of, saying, seconds, ten},
    *,
};

#[test]
fn a_request_gets_stale_responses_only_within_the_operators_limit() {
    use Reuse::{AsItIs, WhileRevalidated};
    const STALE: Reuse = Reuse::Validated(Forwarded::Stale);
    const WINDOW: &str = "max-age=60, stale-while-revalidate=30";
    for (rule, window, response, request, after, expected) in [
        ("by default, nothing stale", 0, "max-age=60", "max-stale", 60, STALE),
        (
            "by default, nothing stale with max-age either",
            0,
            "max-age=60",
            "max-age=90, max-stale=30",
            70,
            STALE,
        ),
        ("within the operator's window", 20, "max-age=60", "max-stale", 79, AsItIs),
        ("past the operator's window", 20, "max-age=60", "max-stale", 80, STALE),
        ("within the request's shorter limit", 20, "max-age=60", "max-stale=5", 65, AsItIs),
        ("past the request's shorter limit", 20, "max-age=60", "max-stale=5", 66, STALE),
        ("the response's own window stays", 0, WINDOW, "max-stale", 89, WhileRevalidated),
        ("a request may narrow the response's window", 0, WINDOW, "max-stale=5", 66, STALE),
        ("within the narrowed window", 0, WINDOW, "max-stale=5", 65, WhileRevalidated),
        ("a request that does not ask gets nothing stale", 20, "max-age=60", "", 61, STALE),
    ] {
        let freshness = saying(response, &Policy::default().stale_on_request(seconds(window)));
        assert_eq!(freshness.reuse(&asking(request), ten() + seconds(after)), expected, "{rule}");
    }
    for (rule, window, response, request, after, expected) in [
        ("by default, nothing stale", 0, "max-age=60", "stale-if-error=999", 60, false),
        ("past the response's window", 0, "max-age=60, stale-if-error=9", "stale-if-error=999", 69, false),
        ("within the response's window", 0, "max-age=60, stale-if-error=9", "stale-if-error=999", 68, true),
        ("within the operator's window", 20, "max-age=60", "stale-if-error=999", 79, true),
        ("past the operator's window", 20, "max-age=60", "stale-if-error=999", 80, false),
        (
            "within the response's longer window",
            20,
            "max-age=60, stale-if-error=30",
            "stale-if-error=25",
            84,
            true,
        ),
        ("a request that does not ask gets nothing stale", 20, "max-age=60", "", 61, false),
    ] {
        let freshness = saying(response, &Policy::default().stale_on_request(seconds(window)));
        assert_eq!(freshness.stands_in(&asking(request), ten() + seconds(after)), expected, "{rule}");
    }
}

#[test]
fn a_withdrawn_response_is_used_only_while_it_is_fresh() {
    let policy = Policy::default().stale_on_request(Duration::MAX);
    let response = "max-age=60, stale-while-revalidate=30, stale-if-error=30";
    let freshness = saying(response, &policy).withdrawn();
    assert!(saying(response, &policy).may_be_stale() && !freshness.may_be_stale());
    let reuse = |after| freshness.reuse(&asking("max-stale"), ten() + seconds(after));
    assert_eq!([59, 60].map(reuse), [Reuse::AsItIs, Reuse::Validated(Forwarded::Stale)]);
    assert_eq!([59, 60].map(|after| freshness.stands_in(&asking(""), ten() + seconds(after))), [true, false]);
}

#[test]
fn requests_with_credentials_share_only_if_the_response_allows_it() {
    // RFC 9111 §3.5
    let authorized = RequestDirectives { is_authorized: true, ..RequestDirectives::default() };
    let policy = Policy::default().stale_while_revalidate(seconds(30)).stale_if_error(seconds(30));
    for (response, leave) in [
        ("max-age=60", false),
        ("max-age=60, proxy-revalidate", false),
        ("max-age=60, public", true),
        ("max-age=60, must-revalidate", true),
        ("s-maxage=60", true),
    ] {
        let freshness = saying(response, &policy);
        let (fresh, stale) = (ten(), ten() + seconds(60));
        let expected = if leave { Reuse::AsItIs } else { Reuse::ValidatedForOne(Forwarded::Request) };
        assert_eq!(freshness.reuse(&authorized, fresh), expected, "{response}");
        assert_eq!(freshness.stands_in(&authorized, fresh), leave, "{response}");
        let is_for_one = freshness.reuse(&authorized, stale) == Reuse::ValidatedForOne(Forwarded::Stale);
        assert_eq!(is_for_one, !leave, "{response}");
        assert_eq!(freshness.reuse(&RequestDirectives::default(), fresh), Reuse::AsItIs, "{response}");
    }
}

#[test]
fn an_answer_to_a_cookie_gets_no_heuristic_lifetime() {
    // RFC 9111 §4.2.2
    type Row = (&'static str, &'static [(&'static str, &'static str)], bool);
    let rows: &[Row] = &[
        ("nothing said", &[], true),
        ("a date to guess by", &[("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT")], true),
        ("another directive", &[("cache-control", "must-revalidate")], true),
        ("it varies by another field", &[("vary", "origin")], true),
        ("it says that it is public", &[("cache-control", "public")], false),
        ("it varies by the cookie", &[("vary", "Origin, COOKIE")], false),
        ("max-age", &[("cache-control", "max-age=5")], false),
        ("s-maxage", &[("cache-control", "s-maxage=5")], false),
        ("Expires", &[("expires", "Sun, 22 Nov 2026 10:00:05 GMT")], false),
        ("to be validated each time", &[("cache-control", "no-cache")], false),
    ];
    let policy = Policy::default()
        .heuristics(10, seconds(3600))
        .stale_while_revalidate(seconds(30))
        .stale_if_error(seconds(30))
        .stale_on_request(seconds(30));
    for (rule, lines, is_of_a_cookie) in rows {
        let exchange =
            Exchange { requested: ten(), received: ten(), with_cookie: true, purges: Position::default() };
        let freshness = Freshness::of(StatusCode::OK, &headers(lines), exchange, &policy);
        assert_eq!(freshness.is_of_a_cookie(), *is_of_a_cookie, "{rule}");
        assert_eq!(freshness.lifetime.is_zero(), *is_of_a_cookie, "{rule}");
        assert!(!is_of_a_cookie || !freshness.may_be_stale(), "{rule}");
        let exchange = Exchange { with_cookie: false, ..exchange };
        assert!(
            !Freshness::of(StatusCode::OK, &headers(lines), exchange, &policy).is_of_a_cookie(),
            "{rule}"
        );
    }
}

#[test]
fn no_guessed_lifetime_is_longer_than_the_time_since_the_last_modification() {
    // RFC 9111 §4.2.2
    for (rule, policy, modified, lifetime) in [
        (
            "no default is longer than the time unmodified",
            Policy::default(),
            "Sun, 22 Nov 2026 09:59:40 GMT",
            20,
        ),
        ("and none at all just after a change", Policy::default(), "Sun, 22 Nov 2026 10:00:00 GMT", 0),
        (
            "no heuristic is longer",
            Policy::default().heuristics(500, seconds(3600)),
            "Sun, 22 Nov 2026 09:59:40 GMT",
            20,
        ),
    ] {
        assert_eq!(of(200, &[("last-modified", modified)], &policy).lifetime, seconds(lifetime), "{rule}");
    }
    let said = [("last-modified", "Sun, 22 Nov 2026 10:00:00 GMT"), ("cache-control", "max-age=60")];
    assert_eq!(of(200, &said, &Policy::default()).lifetime, seconds(60), "what is said is no guess");
}

#[test]
fn a_response_is_of_use_only_if_a_later_request_can_use_it() {
    for (rule, response, with_validator, without) in [
        ("§4.2 fresh", "max-age=60", true, true),
        ("§4.3 stale at once: to be validated", "max-age=0", true, false),
        ("§5.2.2.4 validated each time", "max-age=60, no-cache", true, false),
        ("RFC 5861 §3 stale at once, with a window", "max-age=0, stale-while-revalidate=30", true, true),
        ("RFC 5861 §4 stale at once, with a window for errors", "max-age=0, stale-if-error=30", true, true),
        ("§4.2.4 forbidden", "max-age=0, stale-if-error=30, must-revalidate", true, false),
        ("§5.2.2.4 forbidden", "max-age=60, stale-while-revalidate=30, no-cache", true, false),
    ] {
        let freshness = saying(response, &Policy::default());
        assert_eq!(freshness.is_of_use(true, ten()), with_validator, "{rule}");
        assert_eq!(freshness.is_of_use(false, ten()), without, "{rule}");
    }
    let old = of(200, &[("cache-control", "max-age=60"), ("age", "60")], &Policy::default());
    assert!(!old.is_of_use(false, ten()), "§4.2.3 it was old when it came");
}

#[test]
fn a_response_that_arrives_stale_answers_only_its_own_request() {
    // RFC 9111 §4
    for (rule, response, age, expected) in [
        ("fresh", "max-age=60", "0", false),
        ("fresh for a second more", "max-age=60", "59", false),
        ("stale at once", "max-age=0", "0", true),
        ("too old when it came", "max-age=60", "60", true),
        ("§5.2.2.4 each is to be validated", "max-age=60, no-cache", "0", true),
        ("RFC 5861 §3 its window is for all", "max-age=0, stale-while-revalidate=30", "29", false),
        ("RFC 5861 §3 its window was over when it came", "max-age=0, stale-while-revalidate=30", "30", true),
        (
            "§4.2.4 its window is forbidden",
            "max-age=0, stale-while-revalidate=30, must-revalidate",
            "0",
            true,
        ),
        ("RFC 5861 §4 its window is for errors", "max-age=0, stale-if-error=30", "0", true),
    ] {
        let freshness = of(200, &[("cache-control", response), ("age", age)], &Policy::default());
        assert_eq!(freshness.is_for_one(), expected, "{rule}");
    }
}
