use std::time::Duration;

use http::{HeaderName, StatusCode};

use super::Rule;
use crate::{
    policy::Policy,
    semantics::{fields::tests::headers, place::Place},
};

const SECOND: Duration = Duration::from_secs(1);

fn place(host: &str, path: &str) -> Place {
    Place { host: host.to_owned(), path: path.to_owned() }
}

/// Whether the rule, as the only one of a policy, is for a playlist under a path and host, with this status.
fn is_for(rule: Rule, place: &Place, status: u16) -> bool {
    let lines =
        headers(&[("content-type", "Application/X-MPEGURL; v=1"), ("x-kind", " final "), ("x-kind", "b")]);
    let policy = Policy::default().rule(rule.at_most(SECOND)).unwrap();
    policy.rule_for(StatusCode::from_u16(status).unwrap(), &lines, place).is_some()
}

#[test]
fn a_rule_is_for_the_responses_that_fit_all_its_matchers() {
    let here = place("video.example:8080", "/live/a.m3u8");
    let kind = HeaderName::from_static("x-kind");
    for (rule, fits) in [
        (Rule::any(), true),
        (Rule::path("/live/*"), true),
        (Rule::path("/vod/*"), false),
        (Rule::any().host("Video.Example:8080"), true),
        (Rule::any().host("video.example"), false),
        (Rule::any().host("video.example:80"), false),
        (Rule::any().host("*.example:8080"), true),
        (Rule::any().host("*.video.example:8080"), false),
        (Rule::any().host("*.ample:8080"), false),
        (Rule::any().status(200), true),
        (Rule::any().status(404), false),
        (Rule::any().media_type(" application/x-mpegURL"), true),
        (Rule::any().media_type("application/*"), true),
        (Rule::any().media_type("*/*"), true),
        (Rule::any().media_type("video/*"), false),
        // The type that it says is usable, so the ending is not.
        (Rule::any().media_type("application/vnd.apple.mpegurl"), false),
        (Rule::any().field(kind.clone(), "final"), true),
        (Rule::any().field(kind.clone(), " b"), true),
        (Rule::any().field(kind.clone(), "Final"), false),
        (Rule::any().field(kind.clone(), "b").field(kind.clone(), "final"), true),
        (Rule::any().field(kind.clone(), "b").field(kind.clone(), "c"), false),
        (Rule::path("/live/**").host("*.example:8080").status(200).field(kind.clone(), "b"), true),
        (Rule::path("/live/**").host("*.example:8080").status(404).field(kind.clone(), "b"), false),
    ] {
        assert_eq!(is_for(rule.clone(), &here, 200), fits, "{rule:?}");
    }
}

#[test]
fn a_default_port_counts_no_more_in_a_rule_than_in_a_request() {
    for host in ["video.example", "Video.example:80", "video.example:443", "*.example:80"] {
        assert!(is_for(Rule::any().host(host), &place("video.example", "/a"), 200), "{host}");
        assert!(!is_for(Rule::any().host(host), &place("video.example:8080", "/a"), 200), "{host}");
    }
}

#[test]
fn the_ending_gives_the_type_that_a_response_does_not_say() {
    let policy = |rule: Rule| Policy::default().rule(rule.at_most(SECOND)).unwrap();
    let is_for = |policy: &Policy, kind: &str| {
        let lines = headers(&[("content-type", kind)]);
        policy.rule_for(StatusCode::OK, &lines, &place("", "/a.m3u8")).is_some()
    };
    let by_ending = policy(Rule::any().media_type("application/vnd.apple.mpegurl"));
    assert!(is_for(&by_ending, "application/octet-stream") && is_for(&by_ending, "text/plain"));
    assert!(!is_for(&by_ending, "text/html"));
    assert!(is_for(&policy(Rule::any().media_type("text/*")), "text/plain"), "as it is said, too");
    assert!(!is_for(&by_ending.media_by_ending(false), "application/octet-stream"));
}

#[test]
fn the_first_rule_counts_and_no_other() {
    let policy = Policy::default()
        .rule(Rule::path("/a").at_most(SECOND))
        .and_then(|policy| policy.rule(Rule::any().at_most(2 * SECOND)))
        .and_then(|policy| policy.rule(Rule::path("/b").at_most(3 * SECOND)))
        .unwrap();
    let most = |place: &Place| {
        let rule = policy.rule_for(StatusCode::OK, &headers(&[]), place);
        rule.map(|rule| rule.effects().at_most.unwrap())
    };
    assert_eq!(most(&place("", "/a")), Some(SECOND));
    assert_eq!(most(&place("", "/b")), Some(2 * SECOND));
    assert_eq!(most(&Place::default()), None, "the first rule may be for a place that is not known");
}

#[test]
fn no_rule_acts_on_an_unknown_place_unless_none_before_asks_for_it() {
    let unknown = Place::default();
    assert!(is_for(Rule::any().status(200), &unknown, 200));
    assert!(!is_for(Rule::path("/**"), &unknown, 200));
    assert!(!is_for(Rule::any().host("a"), &unknown, 200));
    let policy = Policy::default().rule(Rule::path("/a").status(404).never()).unwrap();
    let policy = policy.rule(Rule::any().at_most(SECOND)).unwrap();
    for (status, is_ruled) in [(StatusCode::OK, true), (StatusCode::NOT_FOUND, false)] {
        assert_eq!(policy.rule_for(status, &headers(&[]), &unknown).is_some(), is_ruled);
    }
}

#[test]
fn a_rule_that_no_policy_can_have_is_refused() {
    let any = Rule::any;
    let name = HeaderName::from_static("x-a");
    let long = "a".repeat(1025);
    for (rule, is_allowed) in [
        (any(), false),
        (Rule::path("/a"), false),
        (any().groups(Vec::<String>::new()), false),
        (any().never(), true),
        (any().never().ttl(SECOND), false),
        (any().never().groups(["a"]), false),
        (any().ttl(SECOND), true),
        (any().ttl(SECOND).groups(["a"]).stale_if_error(SECOND).stale_while_revalidate(SECOND), true),
        (any().ttl(SECOND).default_ttl(SECOND), false),
        (any().ttl(SECOND).immutable(), false),
        (any().default_ttl(SECOND).immutable(), false),
        (any().ttl(SECOND).at_most(SECOND), false),
        (any().ttl(SECOND).at_least(SECOND), false),
        (any().immutable().at_most(SECOND), true),
        (any().immutable().at_least(SECOND), false),
        (any().at_least(SECOND).at_most(SECOND).default_ttl(SECOND), true),
        (any().at_least(2 * SECOND).at_most(SECOND), false),
        (Rule::path("a").never(), false),
        (Rule::path(&format!("/{long}")).never(), false),
        (any().host("").never(), false),
        (any().host("*.").never(), false),
        (any().host("a.example:port").never(), false),
        (any().host("*").never(), false),
        (any().host("a*.example").never(), false),
        (any().host("a.example/b").never(), false),
        (any().host(&long).never(), false),
        (any().status(199).never(), false),
        (any().status(206).never(), false),
        (any().status(304).never(), false),
        (any().status(599).never(), true),
        (any().status(600).never(), false),
        (any().media_type("video").never(), false),
        (any().media_type("/mp4").never(), false),
        (any().media_type("video/").never(), false),
        (any().media_type("video/*").never(), true),
        (any().field(name.clone(), "").never(), true),
        (any().field(name.clone(), &long).never(), false),
        ((0..17).fold(any(), |rule, _| rule.field(name.clone(), "a")).never(), false),
        (any().groups([""]), false),
        (any().groups(["\u{e4}"]), false),
        (any().groups(vec!["a"; 64]), true),
        (any().groups(vec!["a"; 65]), false),
    ] {
        let checked = Policy::default().rule(rule.clone());
        assert_eq!(checked.is_ok(), is_allowed, "{rule:?}");
        assert!(checked.is_ok() || checked.unwrap_err().is_config());
    }
}

#[test]
fn a_policy_has_at_most_256_rules() {
    let add = |policy: Policy, _| policy.rule(Rule::any().never());
    let full = (0..256).try_fold(Policy::default(), add).unwrap();
    assert!(add(full, 256).unwrap_err().is_config());
}
