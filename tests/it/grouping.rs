//! The fields that name groups: those of other caches leave the layer only if the policy lets them (RFC 9875).

use http::Method;
use tower_video_cache::{Fill, GroupField, Policy};

use crate::rig::{Answer, PATH, Rig, Script, date, movie, seconds};

/// A video that names its groups in every field.
fn grouped(length: usize) -> Script {
    with_groups(Script::movie(PATH, length).header("etag", "\"v1\"").honours_ranges().honours_conditions())
}

fn with_groups(script: Script) -> Script {
    script
        .header("cache-groups", "\"a\"")
        .header("surrogate-key", "b c")
        .header("surrogate-key", "d")
        .header("cache-tag", "e, f")
        .header("xkey", "g")
}

fn rig(policy: Policy, fill: Fill) -> Rig {
    Rig::new().fill(fill).layer(|layer| layer.policy(policy)).script(PATH, grouped(2500))
}

/// A policy that reads the groups of other caches, too, but for `xkey`.
fn choosing() -> Policy {
    let fields = [GroupField::CacheGroups, GroupField::SurrogateKey, GroupField::CacheTag];
    Policy::default().group_fields(fields)
}

#[track_caller]
fn has_only(answer: &Answer, fields: &[&str]) {
    let all = ["cache-groups", "surrogate-key", "cache-tag", "xkey"];
    let seen: Vec<_> = all.into_iter().filter(|field| answer.has(field)).collect();
    assert_eq!(seen, fields, "{} {}", answer.status, answer.cache_status());
}

const KEPT: [&str; 2] = ["cache-groups", "xkey"];

const ALL: [&str; 4] = ["cache-groups", "surrogate-key", "cache-tag", "xkey"];

#[tokio::test]
async fn no_client_sees_the_hidden_fields_of_a_stored_response() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        let rig = rig(choosing(), fill);
        let first = rig.get(PATH).range("bytes=0-99").send().await;
        first.partial(&movie(PATH, 2500), 0..100);
        has_only(&first, &KEPT);
        let hit = rig.get(PATH).range("bytes=0-99").send().await;
        hit.partial(&movie(PATH, 2500), 0..100).is_hit();
        has_only(&hit, &KEPT);
        let whole = rig.get(PATH).send().await;
        whole.whole(&movie(PATH, 2500));
        has_only(&whole, &KEPT);
        let head = rig.head(PATH).send().await;
        has_only(head.is_hit(), &KEPT);
        let not_modified = rig.get(PATH).header("if-none-match", "\"v1\"").send().await;
        assert_eq!(not_modified.is_hit().status, 304);
        has_only(&not_modified, &[]);
    }
}

#[tokio::test]
async fn no_client_sees_the_hidden_fields_of_an_answer_that_passes() {
    for (answer, refusal) in [
        (grouped(2500).header("cache-control", "no-store"), "no-store"),
        (grouped(2500).status(500), "status"),
        (grouped(2500).without("content-type").header("content-type", "text/html"), "media-type:text/html"),
    ] {
        let rig = rig(choosing(), Fill::auto()).script(PATH, answer);
        // The second answer passes because the first one is remembered.
        for _ in 0..2 {
            let answer = rig.get(PATH).send().await;
            assert!(
                answer.cache_status().ends_with(&format!("detail={refusal}")),
                "{}",
                answer.cache_status()
            );
            has_only(&answer, &KEPT);
        }
        let part = rig.get(PATH).range("bytes=0-99").send().await;
        has_only(&part, &KEPT);
        has_only(&rig.head(PATH).send().await, &KEPT);
    }
    let rig = rig(choosing(), Fill::auto());
    let forwarded = rig.get(PATH).header("cache-control", "no-store").send().await;
    assert_eq!(forwarded.cache_status(), "tower-video-cache; fwd=request");
    has_only(&forwarded, &KEPT);
    let condition = rig.get(PATH).header("cache-control", "no-store").header("if-none-match", "\"v1\"");
    let not_modified = condition.send().await;
    assert_eq!(not_modified.status, 304);
    has_only(&not_modified, &KEPT);
    has_only(&rig.ask(Method::HEAD, PATH).send().await, &KEPT);
}

#[tokio::test]
async fn no_client_sees_the_hidden_fields_of_the_answer_to_an_unsafe_request() {
    let rig = rig(choosing(), Fill::auto());
    for status in [200, 404] {
        rig.inner.answer(PATH, grouped(10).status(status).header("cache-group-invalidation", "\"a\""));
        let answer = rig.ask(Method::POST, PATH).body("new").send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.cache_status()),
            (status, "tower-video-cache; fwd=method")
        );
        has_only(&answer, &KEPT);
        assert_eq!(answer.field("cache-group-invalidation"), "\"a\"");
    }
}

#[tokio::test]
async fn a_304_of_the_inner_service_brings_no_hidden_field() {
    let rig =
        rig(choosing(), Fill::whole()).script(PATH, grouped(2500).header("cache-control", "max-age=10"));
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    rig.clock.advance(seconds(11));
    let validated = rig.get(PATH).send().await;
    validated.whole(&movie(PATH, 2500));
    assert!(validated.cache_status().contains("fwd=stale; fwd-status=304"), "{}", validated.cache_status());
    has_only(&validated, &KEPT);
    let hit = rig.get(PATH).send().await;
    has_only(hit.is_hit(), &KEPT);
    // The answer to a HEAD updates the stored response, too.
    rig.clock.advance(seconds(11));
    has_only(&rig.head(PATH).send().await, &KEPT);
    let hit = rig.get(PATH).send().await;
    has_only(hit.is_hit(), &KEPT);
}

#[tokio::test]
async fn a_304_that_is_for_one_client_brings_no_hidden_field() {
    let rig = rig(choosing(), Fill::whole());
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    let validated = rig.get(PATH).header("authorization", "x").send().await;
    validated.whole(&movie(PATH, 2500));
    assert!(validated.cache_status().contains("fwd-status=304"), "{}", validated.cache_status());
    has_only(&validated, &KEPT);
    // The validated response is not stored: it sets a cookie.
    let cookie = grouped(2500).header("set-cookie", "a=b");
    let rig = rig.script(PATH, cookie);
    rig.clock.advance(seconds(301));
    let unstored = rig.get(PATH).send().await;
    unstored.whole(&movie(PATH, 2500));
    assert!(unstored.has("set-cookie"), "{}", unstored.cache_status());
    has_only(&unstored, &KEPT);
}

#[tokio::test]
async fn a_200_that_is_the_stored_response_once_more_brings_no_hidden_field() {
    let same = || with_groups(Script::movie(PATH, 2500).header("etag", "\"v1\""));
    let rig = rig(choosing(), Fill::whole()).script(PATH, same().header("cache-control", "max-age=10"));
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    rig.clock.advance(seconds(11));
    has_only(rig.get(PATH).send().await.whole(&movie(PATH, 2500)), &KEPT);
    has_only(rig.get(PATH).send().await.is_hit(), &KEPT);
}

#[tokio::test]
async fn a_stale_response_that_stands_in_has_no_hidden_field() {
    let rig = rig(choosing().stale_if_error(seconds(60)), Fill::whole());
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    rig.clock.advance(seconds(301));
    let rig = rig.script(PATH, grouped(10).status(503));
    let stale = rig.get(PATH).send().await;
    stale.whole(&movie(PATH, 2500));
    has_only(&stale, &KEPT);
}

#[tokio::test]
async fn a_response_whose_storing_stops_midway_shows_no_hidden_field() {
    // The body has more bytes than the largest that is stored.
    let script = grouped(2500).without("content-length").header("last-modified", &date(-10));
    let rig = rig(choosing().max_size(1500), Fill::whole()).script(PATH, script);
    let salvaged = rig.get(PATH).send().await;
    salvaged.whole(&movie(PATH, 2500));
    assert!(salvaged.cache_status().ends_with("detail=too-large"), "{}", salvaged.cache_status());
    has_only(&salvaged, &KEPT);
}

#[tokio::test]
async fn a_hidden_field_is_hidden_from_the_client_that_a_directive_would_keep_it_for() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        let script = grouped(2500).header("cache-control", "private=\"surrogate-key, xkey\", max-age=60");
        let rig = rig(choosing(), fill).script(PATH, script);
        has_only(&rig.get(PATH).send().await, &KEPT);
        has_only(rig.get(PATH).send().await.is_hit(), &["cache-groups"]);
    }
}

#[tokio::test]
async fn clients_see_the_fields_that_the_policy_does_not_choose_or_does_not_hide() {
    for policy in [
        Policy::default(),
        Policy::default().group_fields([]),
        choosing().hide_group_fields(false),
        choosing().group_fields([GroupField::CacheGroups]),
    ] {
        let rig = rig(policy, Fill::auto());
        has_only(&rig.get(PATH).send().await, &ALL);
        let hit = rig.get(PATH).send().await;
        has_only(hit.is_hit(), &ALL);
        let lines: Vec<_> = hit.headers.get_all("surrogate-key").iter().collect();
        assert_eq!(lines, ["b c", "d"]);
        has_only(&rig.get(PATH).header("cache-control", "no-store").send().await, &ALL);
        has_only(&rig.ask(Method::POST, PATH).send().await, &ALL);
    }
}

#[tokio::test]
async fn a_request_that_bypasses_the_cache_gets_all_fields_and_no_request_loses_any() {
    let rig =
        rig(choosing(), Fill::auto()).layer(|layer| layer.bypass(|request| request.uri.query().is_some()));
    let rig = rig.script(PATH, grouped(10));
    let bypassed = rig.get("/a.mp4?live").send().await;
    assert_eq!(bypassed.cache_status(), "tower-video-cache; fwd=bypass");
    has_only(&bypassed, &ALL);
    rig.get(PATH).header("surrogate-key", "mine").send().await;
    rig.ask(Method::POST, PATH).header("surrogate-key", "mine").send().await;
    let calls = rig.inner.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls[1..].iter().all(|call| call.headers["surrogate-key"] == "mine"));
}
