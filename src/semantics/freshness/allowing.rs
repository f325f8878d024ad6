//! What requests may get of a stored response, and who lets them.

use super::{
    super::fields::tests::headers,
    tests::{asking, of, saying, seconds, ten},
    *,
};

#[test]
fn a_request_gets_what_is_stale_only_as_far_as_the_operator_lets_it() {
    use Reuse::{AsItIs, WhileRevalidated};
    const STALE: Reuse = Reuse::Validated(Forwarded::Stale);
    const WINDOW: &str = "max-age=60, stale-while-revalidate=30";
    for (rule, window, response, request, after, expected) in [
        ("by default, not at all", 0, "max-age=60", "max-stale", 60, STALE),
        ("nor with an age", 0, "max-age=60", "max-age=90, max-stale=30", 70, STALE),
        ("as far as the operator's window", 20, "max-age=60", "max-stale", 79, AsItIs),
        ("and no farther", 20, "max-age=60", "max-stale", 80, STALE),
        ("or as the request says, if that is less", 20, "max-age=60", "max-stale=5", 65, AsItIs),
        ("and no staler", 20, "max-age=60", "max-stale=5", 66, STALE),
        ("what the response allows stays allowed", 0, WINDOW, "max-stale", 89, WhileRevalidated),
        ("and a request may narrow that", 0, WINDOW, "max-stale=5", 66, STALE),
        ("and is welcome to as much", 0, WINDOW, "max-stale=5", 65, WhileRevalidated),
        ("without a word, nothing is widened", 20, "max-age=60", "", 61, STALE),
    ] {
        let freshness = saying(response, &Policy::default().stale_on_request(seconds(window)));
        assert_eq!(freshness.reuse(&asking(request), ten() + seconds(after)), expected, "{rule}");
    }
    for (rule, window, response, request, after, expected) in [
        ("by default, not at all", 0, "max-age=60", "stale-if-error=999", 60, false),
        (
            "not longer than the response says",
            0,
            "max-age=60, stale-if-error=9",
            "stale-if-error=999",
            69,
            false,
        ),
        ("but for so long", 0, "max-age=60, stale-if-error=9", "stale-if-error=999", 68, true),
        ("as far as the operator's window", 20, "max-age=60", "stale-if-error=999", 79, true),
        ("and no farther", 20, "max-age=60", "stale-if-error=999", 80, false),
        (
            "the response's, where that is longer",
            20,
            "max-age=60, stale-if-error=30",
            "stale-if-error=25",
            84,
            true,
        ),
        ("without a word, nothing is widened", 20, "max-age=60", "", 61, false),
    ] {
        let freshness = saying(response, &Policy::default().stale_on_request(seconds(window)));
        assert_eq!(freshness.stands_in(&asking(request), ten() + seconds(after)), expected, "{rule}");
    }
}

#[test]
fn what_was_withdrawn_is_used_while_it_is_fresh_and_no_longer() {
    let policy = Policy::default().stale_on_request(Duration::MAX);
    let response = "max-age=60, stale-while-revalidate=30, stale-if-error=30";
    let freshness = saying(response, &policy).withdrawn();
    assert!(saying(response, &policy).may_be_stale() && !freshness.may_be_stale());
    let reuse = |after| freshness.reuse(&asking("max-stale"), ten() + seconds(after));
    assert_eq!([59, 60].map(reuse), [Reuse::AsItIs, Reuse::Validated(Forwarded::Stale)]);
    assert_eq!([59, 60].map(|after| freshness.stands_in(&asking(""), ten() + seconds(after))), [true, false]);
}

#[test]
fn the_authorized_share_only_by_leave() {
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
fn nothing_is_guessed_of_what_a_cookie_brought() {
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
        let exchange = Exchange { requested: ten(), received: ten(), with_cookie: true };
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
fn what_no_later_request_can_use_is_of_no_use() {
    for (rule, response, with_validator, without) in [
        ("§4.2 fresh", "max-age=60", true, true),
        ("§4.3 stale at once: to be validated", "max-age=0", true, false),
        ("§5.2.2.4 validated each time", "max-age=60, no-cache", true, false),
        ("RFC 5861 §3 stale at once, with a window", "max-age=0, stale-while-revalidate=30", true, true),
        ("RFC 5861 §4 likewise", "max-age=0, stale-if-error=30", true, true),
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
fn what_came_stale_is_for_the_request_that_it_answers() {
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
