//! How the preset for live streams changes lifetimes and stale windows.

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
const SHORT: Lines = &[("cache-control", "max-age=2")];
const S_MAXAGE: Lines = &[("cache-control", "max-age=600, s-maxage=60")];
const TARGETED: Lines = &[("cdn-cache-control", "max-age=60"), ("cache-control", "max-age=600")];
const EXPIRES: Lines = &[("expires", "Sun, 22 Nov 2026 10:01:00 GMT")];
const JUST_MODIFIED: Lines = &[("last-modified", "Sun, 22 Nov 2026 10:00:00 GMT")];
const AGED: Lines = &[("cache-control", "max-age=60"), ("age", "2")];

fn at(path: &str, playlist: Playlist, status: u16, lines: &[(&str, &str)], policy: &Policy) -> Freshness {
    let exchange =
        Exchange { requested: ten(), received: ten(), with_cookie: false, purges: Position::default() };
    let is_manifest = policy.is_manifest_by_path(path, None);
    let uri = ByUri { is_manifest, place: Place::at(path), ..ByUri::default() };
    Freshness::at(&uri, playlist, StatusCode::from_u16(status).unwrap(), &headers(lines), exchange, policy)
}

fn streaming() -> Policy {
    Policy::streaming().targeted_fields([HeaderName::from_static("cdn-cache-control")])
}

fn live(target: u64) -> Playlist {
    Playlist::Live(Some(seconds(target)))
}

#[test]
fn a_live_playlist_is_fresh_for_half_of_its_target_duration_at_most() {
    let says = [NOTHING, MAX_AGE, SHORT, S_MAXAGE, TARGETED, EXPIRES, JUST_MODIFIED, AGED];
    for (which, path, playlist, status, lifetimes) in [
        ("live", "/a.m3u8", live(6), 200, [3, 3, 2, 3, 3, 3, 3, 3]),
        ("a long target", "/a.m3u8", live(400), 200, [200, 60, 2, 60, 60, 60, 200, 60]),
        ("no target", "/a.m3u8", Playlist::Live(None), 200, [1; 8]),
        ("unread", "/a.mpd", Playlist::Unknown, 200, [1; 8]),
        ("ended", "/a.m3u8", Playlist::Ended, 200, [300, 60, 2, 60, 60, 60, 0, 60]),
        ("a list of playlists", "/a.m3u8", Playlist::Multivariant, 200, [1, 60, 2, 60, 60, 60, 1, 60]),
        ("a segment", "/a.ts", Playlist::Unknown, 200, [300, 60, 2, 60, 60, 60, 0, 60]),
        ("a segment not there yet", "/a.ts", Playlist::Unknown, 404, [1; 8]),
        ("a playlist not there yet", "/a.m3u8", Playlist::Unknown, 404, [1; 8]),
        ("another page not there", "/a.html", Playlist::Unknown, 404, [300, 60, 2, 60, 60, 60, 0, 60]),
    ] {
        for (lines, lifetime) in says.iter().zip(lifetimes) {
            let freshness = at(path, playlist, status, lines, &streaming());
            assert_eq!(freshness.lifetime, seconds(lifetime), "{which} {lines:?}");
            let without = at(path, playlist, status, lines, &streaming().rule(aside(status)).unwrap());
            let is_changed = freshness.lifetime != without.lifetime && playlist != Playlist::Ended;
            assert_eq!(freshness.given_by == GivenBy::Streaming, is_changed, "{which} {lines:?}");
            assert_eq!(freshness.initial_age, without.initial_age, "{which} {lines:?}");
        }
    }
    let odd = Playlist::Live(Some(Duration::from_millis(1001)));
    assert_eq!(at("/a.mpd", odd, 200, NOTHING, &streaming()).lifetime, Duration::from_micros(500_500));
    // A heuristic is a guess, too, and the playlist knows better.
    let guesses = streaming().heuristics(10, seconds(3600));
    let modified: Lines = &[("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT")];
    assert_eq!(at("/a.m3u8", live(6), 200, modified, &guesses).lifetime, seconds(3));
    assert_eq!(at("/a.m3u8", Playlist::Ended, 200, modified, &guesses).lifetime, seconds(360));
}

/// A rule that changes no lifetime, but keeps the preset from it.
fn aside(status: u16) -> Rule {
    Rule::any().status(status).at_least(Duration::ZERO)
}

#[test]
fn a_rule_about_a_lifetime_goes_before_the_preset_and_another_one_beside_it() {
    let of = |rule: Rule| at("/a.m3u8", live(6), 200, MAX_AGE, &streaming().rule(rule).unwrap());
    for (rule, lifetime) in [
        (Rule::any().ttl(seconds(9)), 9),
        (Rule::path("/*.m3u8").at_most(seconds(20)), 20),
        (Rule::any().at_least(seconds(70)), 70),
        (Rule::path("/*.m3u8").default_ttl(seconds(9)), 3),
        (Rule::any().immutable(), 1 << 31),
        (Rule::any().groups(["a"]), 3),
        (Rule::any().stale_if_error(seconds(9)), 3),
        (Rule::path("/*.ts").ttl(seconds(9)), 3),
    ] {
        assert_eq!(of(rule.clone()).lifetime, seconds(lifetime), "{rule:?}");
    }
    assert_eq!(of(Rule::any().stale_if_error(seconds(9))).if_error, seconds(9));
    // What the preset gives no lifetime, another default may.
    let default = streaming().rule(Rule::path("/*.m3u8").default_ttl(seconds(9))).unwrap();
    assert_eq!(at("/a.m3u8", Playlist::Ended, 200, NOTHING, &default).lifetime, seconds(9));
    assert_eq!(at("/a.m3u8", live(6), 200, NOTHING, &default).lifetime, seconds(3));
    assert_eq!(of(Rule::any().never()).reuse(&asking(""), ten()), Reuse::Validated(Forwarded::Stale));
}

#[test]
fn no_window_makes_a_live_playlist_older_but_its_own_for_errors() {
    let windows = streaming()
        .stale_while_revalidate(seconds(30))
        .stale_if_error(seconds(30))
        .stale_on_request(seconds(30));
    for (which, playlist, said, expected) in [
        ("the policy's", live(6), "max-age=60", (3, 0, 0, 0)),
        ("the policy's, within the half", live(6), "max-age=1", (1, 2, 2, 2)),
        ("the response's", live(6), "max-age=1, stale-while-revalidate=9, stale-if-error=9", (1, 2, 2, 9)),
        ("less than the half", live(60), "max-age=1, stale-while-revalidate=9", (1, 9, 29, 29)),
        ("no target", Playlist::Live(None), "max-age=1, stale-while-revalidate=9", (1, 0, 0, 0)),
        ("ended", Playlist::Ended, "max-age=1, stale-while-revalidate=9", (1, 9, 30, 30)),
        ("a list of playlists", Playlist::Multivariant, "max-age=1", (1, 30, 30, 30)),
    ] {
        let freshness = at("/a.m3u8", playlist, 200, &[("cache-control", said)], &windows);
        let of = [freshness.lifetime, freshness.while_revalidate, freshness.on_request, freshness.if_error];
        let (lifetime, while_revalidate, on_request, if_error) = expected;
        assert_eq!(of, [lifetime, while_revalidate, on_request, if_error].map(seconds), "{which}");
        assert_eq!(
            freshness.reuse(&asking("max-stale"), ten() + seconds(lifetime.max(3))),
            match playlist {
                Playlist::Ended | Playlist::Multivariant => Reuse::AsItIs,
                _ if which == "less than the half" => Reuse::AsItIs,
                _ => Reuse::Validated(Forwarded::Stale),
            },
            "{which}"
        );
    }
    let missing = at("/a.ts", Playlist::Unknown, 404, MAX_AGE, &windows);
    assert!(!missing.may_be_stale() && !missing.stands_in(&asking(""), ten() + seconds(1)));
}

#[test]
fn a_date_tells_whole_seconds_of_age() {
    // RFC 9110 §5.6.7
    for (milliseconds, age) in [(0, 0), (999, 0), (1000, 1), (1999, 1), (60_999, 60)] {
        let received = ten() + Duration::from_millis(milliseconds);
        let exchange =
            Exchange { requested: received, received, with_cookie: false, purges: Position::default() };
        let lines = headers(&[("date", "Sun, 22 Nov 2026 10:00:00 GMT"), ("cache-control", "max-age=1")]);
        let freshness = Freshness::of(StatusCode::OK, &lines, exchange, &Policy::default());
        assert_eq!(freshness.age(received), seconds(age), "{milliseconds}");
        assert_eq!(freshness.is_fresh(received), age == 0, "{milliseconds}");
    }
}

#[test]
fn the_preset_lifts_nothing_that_the_response_forbids() {
    let no_cache = at("/a.m3u8", live(6), 200, &[("cache-control", "no-cache")], &streaming());
    assert_eq!(no_cache.reuse(&asking(""), ten()), Reuse::Validated(Forwarded::Stale));
    let exchange =
        Exchange { requested: ten(), received: ten(), with_cookie: true, purges: Position::default() };
    let uri = ByUri { is_manifest: true, place: Place::at("/a.m3u8"), ..ByUri::default() };
    let of_a_cookie = Freshness::at(&uri, live(6), StatusCode::OK, &headers(NOTHING), exchange, &streaming());
    assert!(of_a_cookie.is_of_a_cookie() && of_a_cookie.lifetime.is_zero() && !of_a_cookie.may_be_stale());
    let exchange = Exchange { with_cookie: false, ..exchange };
    let uri = ByUri { until: Some(ten() + seconds(2)), ..uri };
    let until = Freshness::at(&uri, live(6), StatusCode::OK, &headers(NOTHING), exchange, &streaming());
    assert_eq!(until.lifetime(), (seconds(2), GivenBy::Url));
}
