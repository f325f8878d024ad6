//! Stale responses that may be used all the same (RFC 9111 §4.2.4, RFC 5861).

use bytes::Bytes;
use tower_video_cache::{Policy, Timeouts};

use crate::rig::{Gate, PATH, Rig, Script, Step, movie, seconds, settle};

const FORBIDDING: [&str; 4] = ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"];

fn truth() -> Bytes {
    movie(PATH, 2500)
}

fn script(cache_control: &str) -> Script {
    Script::movie(PATH, 2500)
        .header("cache-control", cache_control)
        .header("etag", "\"v1\"")
        .honours_conditions()
}

/// A rig whose store has the video, stale for `staleness` seconds.
async fn stale(rig: Rig, cache_control: &str, staleness: u64) -> Rig {
    let rig = rig.script(PATH, script(cache_control));
    rig.get(PATH).send().await.whole(&truth());
    rig.clock.advance(seconds(60 + staleness));
    rig
}

fn with(policy: Policy) -> Rig {
    Rig::new().layer(|layer| layer.policy(policy))
}

#[tokio::test]
async fn a_stale_response_within_its_window_is_served_while_it_is_validated() {
    let by_field = stale(Rig::new(), "max-age=60, stale-while-revalidate=30", 29).await;
    let by_policy = with(Policy::default().stale_while_revalidate(seconds(30)));
    let by_policy = stale(by_policy, "max-age=60", 29).await;
    for rig in [by_field, by_policy] {
        let gate = Gate::shut();
        let changed = Script::movie("/b.mp4", 900).header("etag", "\"v2\"").held_by(&gate);
        rig.inner.answer(PATH, changed);
        // No request waits for the validation under way, and all share one.
        for _ in 0..3 {
            let answer = rig.get(PATH).range("bytes=5-9").send().await;
            answer.partial(&truth(), 5..10);
            assert_eq!(answer.cache_status(), "tower-video-cache; hit; ttl=-29");
            assert_eq!(answer.field("age"), "89");
        }
        gate.reached_by(1).await;
        rig.inner.was_called(2);
        let asked = &rig.inner.calls()[1].headers;
        assert!(asked.contains_key("if-none-match") && !asked.contains_key("range"));
        gate.open();
        settle().await;
        rig.get(PATH).send().await.is_hit().whole(&movie("/b.mp4", 900));
        rig.inner.was_called(2);
    }
}

#[tokio::test]
async fn a_304_in_the_background_makes_a_stale_response_fresh() {
    let rig = stale(Rig::new(), "max-age=60, stale-while-revalidate=30", 0).await;
    rig.head(PATH).send().await.is_hit();
    settle().await;
    let answer = rig.get(PATH).send().await;
    assert_eq!(answer.cache_status(), "tower-video-cache; hit; ttl=60");
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_background_validation_that_fails_or_panics_harms_nobody() {
    for failing in [script("").fails(), script("").panics(), Script::absent().status(503)] {
        let rig = stale(Rig::new(), "max-age=60, stale-while-revalidate=30", 0).await;
        rig.inner.answer(PATH, failing);
        for calls in [2, 3] {
            rig.get(PATH).send().await.is_hit().whole(&truth());
            settle().await;
            rig.inner.was_called(calls);
        }
    }
}

#[tokio::test]
async fn a_stale_response_past_its_window_or_against_its_word_is_validated_first() {
    let window = "stale-while-revalidate=30";
    let mut cases = vec![(format!("max-age=60, {window}"), 30)];
    cases.extend(FORBIDDING.map(|word| (format!("max-age=60, {window}, {word}"), 0)));
    for (cache_control, staleness) in cases {
        let rig = with(Policy::default().stale_while_revalidate(seconds(30)));
        let rig = stale(rig, &cache_control, staleness).await;
        let answer = rig.get(PATH).send().await;
        assert!(answer.cache_status().contains("fwd=stale; fwd-status=304"), "{cache_control}");
    }
}

#[tokio::test]
async fn a_stale_response_within_its_window_stands_in_for_errors() {
    let errors = [500, 502, 503, 504].map(|status| (Script::absent().status(status), status));
    let dying = (Script::movie("/b.mp4", 2500).step(2, Step::Fail), 200);
    let failing = (script("").fails(), 0);
    for (error, status) in errors.into_iter().chain([dying, failing]) {
        let by_field = stale(Rig::new(), "max-age=60, stale-if-error=30", 29).await;
        let by_policy = with(Policy::default().stale_if_error(seconds(30)));
        let by_policy = stale(by_policy, "max-age=60", 29).await;
        let by_request = with(Policy::default().stale_on_request(seconds(30)));
        let by_request = stale(by_request, "max-age=60", 29).await;
        for (rig, directive) in [(by_field, "x"), (by_policy, "x"), (by_request, "stale-if-error=30")] {
            rig.inner.answer(PATH, error.clone());
            let answer = rig.get(PATH).header("cache-control", directive).range("bytes=5-9").send().await;
            answer.partial(&truth(), 5..10);
            let (said, detail) = match status {
                0 => (String::new(), "stale-if-failed"),
                _ => (format!(" fwd-status={status};"), "stale-if-error"),
            };
            assert_eq!(
                answer.cache_status(),
                format!("tower-video-cache; fwd=stale;{said} ttl=-29; detail={detail}")
            );
            rig.clock.advance(seconds(1));
            let late = rig.get(PATH).header("cache-control", directive).response().await;
            assert!(late.is_err() || late.unwrap().status().is_server_error(), "the window is over");
        }
    }
}

#[tokio::test]
async fn waiting_requests_get_the_stale_response_that_stands_in_too() {
    let rig = stale(Rig::new(), "max-age=60, stale-if-error=30", 0).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, Script::absent().status(503).held_by(&gate));
    let viewers: Vec<_> = (0..10).map(|_| rig.get(PATH).start()).collect();
    gate.reached_by(1).await;
    settle().await;
    gate.open();
    for viewer in viewers {
        viewer.await.unwrap().whole(&truth());
    }
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_response_that_is_gone_stands_in_for_no_waiting_request() {
    let rig = stale(Rig::new(), "max-age=60, stale-if-error=30", 0).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, Script::absent().held_by(&gate));
    let leader = rig.get(PATH).start();
    gate.reached_by(1).await;
    let follower = rig.get(PATH).start();
    settle().await;
    rig.inner.answer(PATH, Script::absent().status(503));
    gate.open();
    assert_eq!(leader.await.unwrap().status, 404);
    assert_eq!(follower.await.unwrap().status, 503, "the inner service has said that it is gone");
}

#[tokio::test]
async fn a_stale_response_stands_in_for_a_fill_that_takes_too_long() {
    let rig =
        Rig::new().layer(|layer| layer.timeouts(Timeouts::default().follower(std::time::Duration::ZERO)));
    let rig = stale(rig, "max-age=60, stale-if-error=30", 0).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, script("").held_by(&gate));
    let leader = rig.get(PATH).start();
    gate.reached_by(1).await;
    let answer = rig.get(PATH).range("bytes=5-9").send().await;
    answer.partial(&truth(), 5..10);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; ttl=0; detail=stale-if-silent");
    rig.inner.was_called(2);
    gate.open();
    leader.await.unwrap().whole(&truth());
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_stands_in_for_silence_as_for_an_error() {
    let rig = stale(Rig::new(), "max-age=60, stale-if-error=30", 0).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, script("").held_by(&gate));
    // Tokio's clock is paused, and jumps to the limit as soon as all tasks wait.
    let answer = rig.get(PATH).range("bytes=5-9").send().await;
    answer.partial(&truth(), 5..10);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; ttl=0; detail=stale-if-silent");
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_request_may_want_no_stand_in() {
    let rig = stale(Rig::new(), "max-age=60, stale-if-error=30", 0).await;
    rig.inner.answer(PATH, Script::absent().status(503));
    let asked = rig.get(PATH).header("cache-control", "stale-if-error=0");
    assert_eq!(asked.send().await.status, 503);
    rig.get(PATH).send().await.whole(&truth());
}

#[tokio::test]
async fn a_stale_response_stands_in_for_a_failed_head_too() {
    let rig = stale(Rig::new(), "max-age=60, stale-if-error=30", 0).await;
    rig.inner.answer(PATH, Script::absent().status(502));
    let answer = rig.head(PATH).send().await;
    assert_eq!((answer.status.as_u16(), answer.field("content-length")), (200, "2500"));
    assert_eq!(
        answer.cache_status(),
        "tower-video-cache; fwd=stale; fwd-status=502; ttl=0; detail=stale-if-error"
    );
}

#[tokio::test]
async fn a_stale_response_that_forbids_it_does_not_stand_in_and_other_statuses_are_no_errors() {
    let mut cases: Vec<_> =
        FORBIDDING.iter().map(|word| (format!("max-age=60, stale-if-error=30, {word}"), 503)).collect();
    cases.push(("max-age=60".to_owned(), 503));
    cases.extend([403, 404, 501].map(|status| ("max-age=60, stale-if-error=30".to_owned(), status)));
    for (cache_control, status) in cases {
        let rig = stale(Rig::new(), &cache_control, 0).await;
        rig.inner.answer(PATH, Script::absent().status(status));
        assert_eq!(rig.get(PATH).send().await.status, status, "{cache_control}");
    }
}

#[tokio::test]
async fn a_fresh_response_stands_in_if_a_request_wants_it_fresher() {
    let rig = Rig::new().script(PATH, script("max-age=60"));
    rig.get(PATH).send().await;
    rig.clock.advance(seconds(10));
    rig.inner.answer(PATH, Script::absent().status(503));
    let answer = rig.get(PATH).header("cache-control", "max-age=0").send().await;
    answer.whole(&truth());
    assert!(answer.cache_status().contains("fwd=request; fwd-status=503"), "{}", answer.cache_status());
    // RFC 9111 §5.2.1.4: not without successful validation.
    assert_eq!(rig.get(PATH).header("cache-control", "no-cache").send().await.status, 503);
}

#[tokio::test]
async fn a_response_that_comes_staler_than_its_window_is_for_its_own_client_alone() {
    for (age, calls) in [("89", 1), ("90", 2)] {
        let gate = Gate::shut();
        let old = script("max-age=60, stale-while-revalidate=30").header("age", age);
        let rig = Rig::new().script(PATH, old.held_by(&gate));
        let (leader, follower) = (rig.get(PATH).start(), rig.get(PATH).start());
        gate.reached_by(1).await;
        settle().await;
        rig.inner.was_called(1);
        gate.open();
        leader.await.unwrap().whole(&truth());
        follower.await.unwrap().whole(&truth());
        rig.inner.was_called(calls);
    }
}

#[tokio::test]
async fn an_only_if_cached_request_starts_no_background_validation() {
    // RFC 9111 §5.2.1.7
    let rig = stale(Rig::new(), "max-age=60, stale-while-revalidate=30", 29).await;
    rig.get(PATH).header("cache-control", "only-if-cached").send().await.is_hit().whole(&truth());
    settle().await;
    rig.inner.was_called(1);
    rig.get(PATH).send().await.is_hit();
    settle().await;
    rig.inner.was_called(2);
}
