//! Withdrawals of the inner service, and answers to one client alone. A withdrawal ends the use of the stored
//! response as stale. An answer to one client takes nothing from others (RFC 9111 §4.2.4, §4.3.3, §4.4).

use bytes::Bytes;
use http::Method;
use tower_video_cache::{Invalidate, Policy, Statuses};

use crate::rig::{PATH, Rig, Script, movie, seconds, settle};

fn truth() -> Bytes {
    movie(PATH, 2500)
}

fn script(cache_control: &str) -> Script {
    Script::movie(PATH, 2500)
        .header("cache-control", cache_control)
        .header("etag", "\"v1\"")
        .honours_conditions()
}

async fn stored(cache_control: &str) -> Rig {
    let rig = Rig::new().script(PATH, script(cache_control));
    rig.get(PATH).send().await.whole(&truth());
    rig
}

fn refusing(status: u16) -> Script {
    Script::absent().status(status)
}

const REFUSALS: [u16; 5] = [401, 403, 404, 410, 451];
const WINDOW: &str = "max-age=60, stale-if-error=6000";

#[tokio::test]
async fn a_refusal_ends_the_use_of_a_stale_response() {
    for status in REFUSALS {
        let rig = stored(WINDOW).await;
        rig.clock.advance(seconds(60));
        rig.inner.answer(PATH, refusing(503));
        rig.get(PATH).send().await.whole(&truth());
        rig.inner.answer(PATH, refusing(status));
        assert_eq!(rig.get(PATH).send().await.status, status);
        rig.inner.answer(PATH, refusing(503));
        for asked in ["x", "max-stale", "stale-if-error=9999"] {
            let answer = rig.get(PATH).header("cache-control", asked).send().await;
            assert_eq!(answer.status, 503, "{status}: {asked}");
        }
        // This holds until the inner service says that the response is good. If the inner service said that it was
        // gone, none of its bytes comes again.
        rig.inner.answer(PATH, script(WINDOW));
        let is_said_good = rig.get(PATH).send().await.cache_status().contains("fwd-status=304");
        assert_eq!(is_said_good, ![404, 410].contains(&status), "{status}");
        rig.clock.advance(seconds(60));
        rig.inner.answer(PATH, refusing(503));
        rig.get(PATH).send().await.whole(&truth());
    }
}

#[tokio::test]
async fn a_refusal_leaves_a_fresh_response_and_ends_its_use_once_it_is_stale() {
    for status in REFUSALS {
        let rig = stored(WINDOW).await;
        rig.inner.answer(PATH, refusing(status));
        assert_eq!(rig.get(PATH).header("cache-control", "no-cache").send().await.status, status);
        rig.clock.advance(seconds(59));
        rig.get(PATH).send().await.is_hit().whole(&truth());
        rig.clock.advance(seconds(1));
        rig.inner.answer(PATH, refusing(503));
        assert_eq!(rig.get(PATH).send().await.status, 503, "{status}");
    }
}

/// With `Statuses::Any`, the refusal itself may be stored. If its `Vary` names another field, the stale response is stored
/// beside it.
#[tokio::test]
async fn a_refusal_or_another_response_that_is_stored_under_another_vary_ends_the_use_of_the_stale_response()
{
    for status in [200, 403, 404, 410, 451] {
        let policy = Policy::default().statuses(Statuses::Any).stale_while_revalidate(seconds(600));
        let before = script("max-age=60").header("vary", "accept");
        let rig = Rig::new().layer(|layer| layer.policy(policy)).script(PATH, before);
        rig.get(PATH).send().await.whole(&truth());
        rig.clock.advance(seconds(61));
        let after = Script::movie("/other.mp4", 900).status(status).header("etag", "\"v2\"");
        let after = after.header("vary", "origin").header("cache-control", "max-age=0, no-cache");
        rig.inner.answer(PATH, after.honours_conditions());
        rig.get(PATH).send().await.whole(&truth());
        settle().await;
        let answer = rig.get(PATH).send().await;
        assert_eq!((answer.status.as_u16(), answer.bytes.len()), (status, 900), "{status}");
    }
}

#[tokio::test]
async fn a_refusal_in_the_background_is_heard() {
    for status in REFUSALS {
        let rig = stored("max-age=60, stale-while-revalidate=60").await;
        rig.clock.advance(seconds(60));
        rig.inner.answer(PATH, refusing(status));
        rig.get(PATH).send().await.is_hit();
        settle().await;
        assert_eq!(rig.get(PATH).send().await.status, status);
    }
}

#[tokio::test]
async fn a_head_hears_a_refusal_too() {
    for status in REFUSALS {
        let rig = stored(WINDOW).await;
        rig.clock.advance(seconds(60));
        rig.inner.answer(PATH, refusing(status));
        assert_eq!(rig.head(PATH).send().await.status, status);
        rig.inner.answer(PATH, refusing(503));
        assert_eq!(rig.get(PATH).send().await.status, 503, "{status}");
    }
}

#[tokio::test]
async fn a_response_that_is_gone_for_one_client_is_gone_for_all() {
    for status in [404, 410, 451] {
        for elapsed in [1, 60] {
            let rig = stored(WINDOW).await;
            rig.clock.advance(seconds(elapsed));
            rig.inner.answer(PATH, refusing(status));
            let answer = rig.get(PATH).header("authorization", "Bearer one").send().await;
            assert_eq!(answer.status, status);
            rig.clock.advance(seconds(60));
            rig.inner.answer(PATH, refusing(503));
            assert_eq!(rig.get(PATH).send().await.status, 503, "{status} after {elapsed} seconds");
        }
    }
}

#[tokio::test]
async fn a_refusal_of_one_client_ends_nothing_for_others() {
    for (status, name) in [(401, "cookie"), (403, "cookie"), (401, "authorization"), (403, "authorization")] {
        for window in ["stale-if-error=600", "stale-while-revalidate=600"] {
            let rig = stored(&format!("public, max-age=60, {window}")).await;
            rig.clock.advance(seconds(60));
            rig.inner.answer(PATH, refusing(status));
            for ask in [rig.get(PATH), rig.head(PATH)] {
                ask.header(name, "bad").header("cache-control", "no-cache").send().await;
                settle().await;
            }
            rig.inner.answer(PATH, refusing(503));
            rig.get(PATH).send().await.whole(&truth());
        }
    }
}

#[tokio::test]
async fn a_refusal_of_a_variant_leaves_the_others() {
    let by = |cache_control: &str| script(cache_control).header("vary", "x-user");
    let rig = Rig::new().script(PATH, by(WINDOW));
    for user in ["1", "2"] {
        rig.get(PATH).header("x-user", user).send().await.whole(&truth());
    }
    rig.clock.advance(seconds(60));
    rig.inner.answer(PATH, refusing(403));
    assert_eq!(rig.get(PATH).header("x-user", "1").send().await.status, 403);
    rig.inner.answer(PATH, refusing(503));
    assert_eq!(rig.get(PATH).header("x-user", "1").send().await.status, 503);
    rig.get(PATH).header("x-user", "2").send().await.whole(&truth());
}

#[tokio::test]
async fn no_request_brings_back_a_stale_response_unless_the_operator_lets_it() {
    for asked in ["max-stale", "max-stale=9999", "max-age=9999, max-stale", "stale-if-error=9999"] {
        for (window, back) in [(0, false), (30, true)] {
            let policy = Policy::default().stale_on_request(seconds(window));
            let rig = Rig::new().layer(|layer| layer.policy(policy)).script(PATH, script("max-age=60"));
            rig.get(PATH).send().await;
            rig.clock.advance(seconds(70));
            rig.inner.answer(PATH, refusing(503));
            let answer = rig.get(PATH).header("cache-control", asked).send().await;
            assert_eq!(answer.status == 200, back, "{asked} {window}");
            let only = format!("only-if-cached, {asked}");
            let only = rig.get(PATH).header("cache-control", &only).send().await;
            assert_eq!(only.status == 200, back && asked.contains("max-stale"), "{asked} {window}");
            rig.clock.advance(seconds(20));
            let late = rig.get(PATH).header("cache-control", asked).send().await;
            assert_eq!(late.status, 503, "{asked}: the window is over");
        }
    }
}

#[tokio::test]
async fn an_answer_to_one_client_leaves_a_fresh_response_for_all() {
    let told = |name: &str, value: &str| Script::movie("/b.mp4", 900).header(name, value);
    let rows: [(&str, &str, Script); 10] = [
        ("cookie", "a=b", told("set-cookie", "seen=1")),
        ("cookie", "a=b", told("cache-control", "private")),
        ("cookie", "a=b", told("etag", "\"mine\"")),
        ("cookie", "a=b", told("cache-control", "no-store")),
        (
            "cookie",
            "a=b",
            Script::absent().status(304).header("etag", "\"v1\"").header("set-cookie", "seen=1"),
        ),
        (
            "x-user",
            "a",
            Script::absent().status(304).header("etag", "\"v1\"").header("cache-control", "private"),
        ),
        ("x-original-url", "/none", Script::absent()),
        (
            "x-original-url",
            "/none",
            told("x-a", "b").without("content-type").header("content-type", "text/html"),
        ),
        ("x-original-url", "/none", Script::absent().status(302)),
        ("authorization", "x", told("etag", "\"mine\"")),
    ];
    for (name, value, answer) in rows {
        // One response states its freshness; the freshness of the other is guessed.
        for cache_control in ["max-age=600", "x"] {
            let rig = stored(cache_control).await;
            rig.inner.answer(PATH, answer.clone());
            for ask in [rig.get(PATH), rig.head(PATH)] {
                ask.header("cache-control", "no-cache").header(name, value).send().await;
                settle().await;
            }
            rig.get(PATH).send().await.is_hit().whole(&truth());
        }
    }
}

#[tokio::test]
async fn a_304_with_a_cookie_of_its_own_goes_to_its_client_with_the_stored_bytes() {
    let rig = stored("max-age=60").await;
    rig.clock.advance(seconds(60));
    rig.inner
        .answer(PATH, Script::absent().status(304).header("etag", "\"v1\"").header("set-cookie", "seen=1"));
    let mine = rig.get(PATH).send().await;
    mine.whole(&truth());
    assert_eq!(mine.field("set-cookie"), "seen=1");
    rig.inner.answer(PATH, script("max-age=60"));
    let other = rig.get(PATH).send().await;
    assert!(!other.has("set-cookie") && other.cache_status().contains("fwd-status=304"));
    rig.get(PATH).send().await.is_hit().whole(&truth());
}

#[tokio::test]
async fn an_answer_to_one_client_is_not_remembered_for_others() {
    for refused in [("set-cookie", "seen=1"), ("cache-control", "private"), ("cache-control", "no-store")] {
        let rig = Rig::new().script(PATH, Script::movie("/b.mp4", 900).header(refused.0, refused.1));
        rig.get(PATH).header("cookie", "a=b").send().await;
        rig.inner.answer(PATH, script("max-age=60"));
        assert!(rig.get(PATH).send().await.cache_status().ends_with("; stored"), "{refused:?}");
        rig.get(PATH).send().await.is_hit();
    }
}

#[tokio::test]
async fn the_policy_says_which_answers_to_unsafe_requests_take_out_stored_responses() {
    for (invalidate, on_success, on_redirect) in [
        (Invalidate::default(), true, false),
        (Invalidate::OnSuccess, true, false),
        (Invalidate::OnNonError, true, true),
        (Invalidate::Never, false, false),
    ] {
        for (status, taken_out) in
            [(200, on_success), (204, on_success), (303, on_redirect), (307, on_redirect), (404, false)]
        {
            let policy = Policy::default().invalidate(invalidate);
            let rig = Rig::new().layer(|layer| layer.policy(policy)).script(PATH, script("max-age=60"));
            rig.get(PATH).send().await;
            rig.inner
                .answer(PATH, refusing(status).header("location", PATH).header("content-location", PATH));
            for method in [Method::POST, Method::DELETE] {
                assert_eq!(rig.ask(method, PATH).body("x").send().await.status, status);
            }
            let calls = rig.inner.calls().len();
            rig.inner.answer(PATH, script("max-age=60"));
            rig.get(PATH).send().await.whole(&truth());
            rig.inner.was_called(calls + usize::from(taken_out));
        }
    }
}
