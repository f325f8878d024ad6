//! How rules of the policy change lifetimes and stale windows.

use http::HeaderName;

use super::{
    super::{fields::tests::headers, place::Place, playlist::Playlist},
    tests::{asking, seconds, ten},
    *,
};
use crate::policy::Rule;

type Lines = &'static [(&'static str, &'static str)];

const NOTHING: Lines = &[];
const MAX_AGE: Lines = &[("cache-control", "max-age=60")];
const S_MAXAGE: Lines = &[("cache-control", "max-age=600, s-maxage=60")];
const TARGETED: Lines = &[("cdn-cache-control", "max-age=60"), ("cache-control", "max-age=600")];
const NO_STORE: Lines = &[("cache-control", "no-store")];
const AGED: Lines = &[("cache-control", "max-age=60"), ("age", "40")];

fn at(path: &str, lines: &[(&str, &str)], with_cookie: bool, policy: &Policy) -> Freshness {
    let exchange = Exchange { requested: ten(), received: ten(), with_cookie, purges: Position::default() };
    let uri = ByUri { place: Place::at(path), ..ByUri::default() };
    Freshness::at(&uri, Playlist::Unknown, StatusCode::OK, &headers(lines), exchange, policy)
}

fn policy(rule: Rule) -> Policy {
    let targeted = [HeaderName::from_static("cdn-cache-control")];
    Policy::default().targeted_fields(targeted).rule(rule).unwrap()
}

#[test]
fn a_rule_changes_the_lifetime_whatever_names_it() {
    let says = [NOTHING, MAX_AGE, S_MAXAGE, TARGETED, NO_STORE, AGED];
    // The lifetime of each, and the seconds that are left of it.
    let without = [(300, 300), (60, 60), (60, 60), (60, 60), (300, 300), (60, 20)];
    let both = |lifetime: u64| {
        let left = i64::try_from(lifetime).unwrap();
        let fresh = (lifetime, left);
        [fresh, fresh, fresh, fresh, fresh, (lifetime, left - 40)]
    };
    let default = |guess: (u64, i64)| [guess, (60, 60), (60, 60), (60, 60), guess, (60, 20)];
    for (effect, rule, expected) in [
        ("none", Rule::any().groups(["a"]), without),
        ("a default", Rule::any().default_ttl(seconds(90)), default((90, 90))),
        ("a shorter default", Rule::any().default_ttl(seconds(9)), default((9, 9))),
        ("a lifetime", Rule::any().ttl(seconds(90)), both(90)),
        ("a shorter lifetime", Rule::any().ttl(seconds(9)), both(9)),
        ("an upper bound", Rule::any().at_most(seconds(50)), both(50)),
        ("an upper bound above", Rule::any().at_most(seconds(600)), without),
        ("a lower bound", Rule::any().at_least(seconds(400)), both(400)),
        ("a lower bound below", Rule::any().at_least(seconds(30)), without),
        ("both", Rule::any().at_least(seconds(70)).at_most(seconds(70)), both(70)),
        ("no change", Rule::any().immutable(), both(1 << 31)),
        ("no change for some time", Rule::any().immutable().at_most(seconds(80)), both(80)),
        ("windows", Rule::any().stale_if_error(seconds(5)), without),
        ("never", Rule::any().never(), both(0)),
    ] {
        let ruled = policy(rule);
        for ((lines, before), expected) in says.iter().zip(without).zip(expected) {
            let freshness = at("/a", lines, false, &ruled);
            let found = (freshness.lifetime.as_secs(), freshness.ttl(ten()));
            assert_eq!(found, expected, "{effect} {lines:?}");
            let by = freshness.lifetime().1 == GivenBy::Rule;
            assert_eq!(by, expected != before, "{effect} {lines:?}");
        }
    }
}

#[test]
fn a_rule_lifts_nothing_that_the_response_forbids() {
    let immutable =
        policy(Rule::any().immutable().stale_while_revalidate(seconds(9)).stale_if_error(seconds(9)));
    let no_cache = at("/a", &[("cache-control", "no-cache")], false, &immutable);
    assert_eq!(no_cache.reuse(&asking(""), ten()), Reuse::Validated(Forwarded::Stale));
    assert!(!no_cache.stands_in(&asking(""), ten()));

    let windows = policy(Rule::any().stale_while_revalidate(seconds(9)).stale_if_error(seconds(9)));
    for forbids in ["max-age=60, must-revalidate", "max-age=60, proxy-revalidate", "s-maxage=60"] {
        let freshness = at("/a", &[("cache-control", forbids)], false, &windows);
        assert!(!freshness.may_be_stale(), "{forbids}");
        assert_eq!(freshness.reuse(&asking(""), ten() + seconds(60)), Reuse::Validated(Forwarded::Stale));
    }

    let authorized = RequestDirectives { is_authorized: true, ..RequestDirectives::default() };
    let shared = at("/a", MAX_AGE, false, &immutable);
    assert_eq!(shared.reuse(&authorized, ten()), Reuse::ValidatedForOne(Forwarded::Request));

    for rule in [
        Rule::any().ttl(seconds(60)),
        Rule::any().default_ttl(seconds(60)),
        Rule::any().at_least(seconds(60)),
    ] {
        let rule = rule.stale_while_revalidate(seconds(9)).stale_if_error(seconds(9));
        let of_a_cookie = at("/a", NOTHING, true, &policy(rule));
        assert!(
            of_a_cookie.is_of_a_cookie() && of_a_cookie.lifetime.is_zero() && !of_a_cookie.may_be_stale()
        );
    }

    let exchange =
        Exchange { requested: ten(), received: ten(), with_cookie: false, purges: Position::default() };
    let until = Some(ten() + seconds(5));
    let uri = ByUri { until, place: Place::at("/a"), ..ByUri::default() };
    for rule in [Rule::any().immutable(), Rule::any().at_least(seconds(60))] {
        let freshness = Freshness::at(
            &uri,
            Playlist::Unknown,
            StatusCode::OK,
            &headers(MAX_AGE),
            exchange,
            &policy(rule),
        );
        assert_eq!(freshness.lifetime(), (seconds(5), GivenBy::Url));
    }
}

#[test]
fn a_rule_gives_the_windows_that_the_response_does_not_name() {
    let ruled = policy(Rule::any().stale_while_revalidate(seconds(9)).stale_if_error(seconds(19)));
    let ruled = ruled.stale_while_revalidate(seconds(99)).stale_if_error(seconds(99));
    for (said, while_revalidate, if_error) in [
        ("max-age=60", 9, 19),
        ("max-age=60, stale-while-revalidate=30", 30, 19),
        ("max-age=60, stale-if-error=0", 9, 0),
    ] {
        let freshness = at("/a", &[("cache-control", said)], false, &ruled);
        let windows = (freshness.while_revalidate, freshness.if_error);
        assert_eq!(windows, (seconds(while_revalidate), seconds(if_error)), "{said}");
    }
}

#[test]
fn a_reload_does_not_ask_about_what_a_rule_calls_immutable() {
    let ruled = at("/a", MAX_AGE, false, &policy(Rule::any().immutable().at_most(seconds(60))));
    assert!(ruled.is_immutable());
    assert_eq!(ruled.reuse(&asking("max-age=0"), ten() + seconds(59)), Reuse::AsItIs);
    assert_eq!(ruled.reuse(&asking("max-age=0"), ten() + seconds(60)), Reuse::Validated(Forwarded::Stale));
}

#[test]
fn a_guess_of_a_rule_has_the_limits_of_a_guess() {
    let hour = seconds(3600);
    let modified: Lines = &[("last-modified", "Sun, 22 Nov 2026 09:59:40 GMT")];
    let of = |policy: &Policy, path, lines| at(path, lines, false, policy).lifetime.as_secs();
    let everywhere = policy(Rule::path("/**").default_ttl(hour));
    assert_eq!(of(&everywhere, "/a.mp4", modified), 20, "no longer than the time unmodified");
    assert_eq!(of(&everywhere.clone().heuristics(10, hour), "/a", modified), 20, "in place of heuristics");
    for (rule, playlist) in [
        (Rule::path("/**"), 0),
        (Rule::path("/**/*.m3u8"), 3600),
        (Rule::any().media_type("application/*"), 3600),
    ] {
        let policy = policy(rule.clone().default_ttl(hour));
        let kind: Lines = &[("content-type", "application/vnd.apple.mpegurl")];
        assert_eq!(of(&policy, "/a.m3u8", kind), playlist, "{rule:?}");
    }
}

#[test]
fn a_response_that_is_never_stored_is_not_used_any_more() {
    let never =
        at("/a", &[("cache-control", "max-age=60, stale-if-error=60")], false, &policy(Rule::any().never()));
    assert_eq!(never.reuse(&asking("max-stale"), ten()), Reuse::Validated(Forwarded::Stale));
    assert!(!never.stands_in(&asking(""), ten()) && !never.may_be_stale());
}
