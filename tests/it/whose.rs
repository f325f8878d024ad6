//! The owner of an answer: requests with `Authorization` (RFC 9111 §3.5) and with `Cookie`, beside requests without.

use bytes::Bytes;
use tower_video_cache::{Fill, Policy};

use crate::rig::{Answer, Gate, PATH, Rig, Script, movie, seconds, settle};

const LENGTH: usize = 2500;
const FILLS: [Fill; 3] = [Fill::whole(), Fill::progressive(), Fill::sliced()];

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

/// The answer for clients without credentials.
fn script(cache_control: &str) -> Script {
    Script::movie(PATH, LENGTH)
        .header("cache-control", cache_control)
        .header("etag", "\"v1\"")
        .header("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT")
        .honours_conditions()
        .honours_ranges()
}

/// The answer to credentials.
fn paid() -> Script {
    Script::movie("/paid", 5000)
        .header("cache-control", "max-age=60")
        .header("etag", "\"v2\"")
        .honours_ranges()
}

async fn stored(rig: Rig, script: Script) -> Rig {
    let rig = rig.script(PATH, script);
    rig.get(PATH).send().await.whole(&truth());
    settle().await;
    rig
}

async fn authorized(rig: &Rig) -> Answer {
    rig.get(PATH).header("authorization", "Bearer x").send().await
}

#[tokio::test]
async fn a_request_with_credentials_gets_the_stored_response_only_after_a_304_to_them() {
    for fill in FILLS {
        let rig = stored(Rig::new().fill(fill), script("max-age=60")).await;
        let (puts, calls, bytes) = (rig.puts(), rig.inner.calls().len(), rig.inner.bytes_of(PATH));
        for (range, count) in [("", 1), ("bytes=5-9", 2)] {
            let ask = rig.get(PATH).header("authorization", "Bearer x");
            let answer = if range.is_empty() { ask } else { ask.range(range) }.send().await;
            if range.is_empty() {
                answer.whole(&truth());
            } else {
                answer.partial(&truth(), 5..10);
            }
            let said = answer.cache_status();
            assert_eq!(said, "tower-video-cache; fwd=request; fwd-status=304; ttl=60; detail=authorization");
            rig.inner.was_called(calls + count);
            let asked = rig.inner.calls().pop().unwrap().headers;
            assert_eq!(
                (&asked["authorization"], &asked["if-none-match"]),
                (&"Bearer x".parse().unwrap(), &"\"v1\"".parse().unwrap())
            );
            assert!(!asked.contains_key("if-modified-since"), "a date proves nothing");
        }
        assert_eq!(
            (rig.puts(), rig.inner.bytes_of(PATH)),
            (puts, bytes),
            "no byte came again, and none was stored"
        );
        rig.get(PATH).send().await.is_hit();
    }
}

#[tokio::test]
async fn any_other_answer_to_credentials_passes_and_is_not_stored() {
    for fill in FILLS {
        let rig = stored(Rig::new().fill(fill), script("max-age=60")).await;
        let (puts, calls) = (rig.puts(), rig.inner.calls().len());
        rig.inner.answer(PATH, paid());
        let ask = || rig.get(PATH).header("authorization", "Bearer x");
        // One call each: a seek is forwarded as a seek.
        ask().range("bytes=4000-4009").send().await.partial(&movie("/paid", 5000), 4000..4010);
        ask().send().await.whole(&movie("/paid", 5000));
        rig.inner.was_called(calls + 2);
        for status in [401, 403, 404, 500, 503] {
            rig.inner.answer(PATH, Script::absent().status(status));
            assert_eq!(ask().send().await.status, status);
        }
        assert_eq!(rig.puts(), puts);
        rig.get(PATH).send().await.is_hit().whole(&truth());
    }
}

#[tokio::test]
async fn without_a_strong_tag_a_request_with_credentials_passes_as_it_is() {
    let plain = || Script::movie(PATH, LENGTH).header("cache-control", "max-age=60").honours_ranges();
    let dated = || plain().header("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT");
    for untagged in [plain(), dated(), dated().header("etag", "W/\"v1\""), dated().header("etag", "v1")] {
        let rig = stored(Rig::new(), untagged.honours_conditions()).await;
        rig.inner.answer(PATH, paid());
        let ask = rig.get(PATH).header("authorization", "Bearer x").range("bytes=4000-4009");
        ask.header("if-range", "\"v2\"").send().await.partial(&movie("/paid", 5000), 4000..4010);
        rig.inner.was_called(2);
        let asked = rig.inner.calls().pop().unwrap().headers;
        assert_eq!(
            (&asked["range"], &asked["if-range"]),
            (&"bytes=4000-4009".parse().unwrap(), &"\"v2\"".parse().unwrap())
        );
        assert!(!asked.contains_key("if-none-match"));
        rig.get(PATH).send().await.is_hit().whole(&truth());
    }
}

#[tokio::test]
async fn a_304_under_a_weak_tag_proves_nothing_to_credentials() {
    let rig = stored(Rig::new(), script("max-age=60")).await;
    let weak = Script::absent().status(304).header("etag", "W/\"v1\"");
    rig.inner.answer_each(PATH, [weak, paid()]);
    authorized(&rig).await.whole(&movie("/paid", 5000));
}

#[tokio::test]
async fn a_clients_copy_is_asked_about_if_it_differs_from_the_stored_response() {
    let rig = stored(Rig::new(), script("max-age=60")).await;
    rig.inner.answer(PATH, paid().honours_conditions());
    let ask = || rig.get(PATH).header("authorization", "Bearer x");
    assert_eq!(ask().header("if-none-match", "\"v2\"").send().await.status, 304);
    // If the copies are the same, one question is enough.
    rig.inner.answer(PATH, script("max-age=60"));
    let calls = rig.inner.calls().len();
    assert_eq!(ask().header("if-none-match", "\"v1\"").send().await.status, 304);
    rig.inner.was_called(calls + 1);
}

#[tokio::test]
async fn leave_to_share_with_credentials_is_leave_to_store_for_them() {
    // RFC 9111 §3.5
    for cache_control in ["public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60"] {
        let rig = stored(Rig::new(), script(cache_control)).await;
        authorized(&rig).await.is_hit().whole(&truth());
    }
    let rig = Rig::new().layer(|layer| layer.policy(Policy::default().share_with_authorized(true)));
    authorized(&stored(rig, script("max-age=60")).await).await.is_hit().whole(&truth());
}

#[tokio::test]
async fn a_head_and_an_only_if_cached_request_follow_the_same_rules() {
    let rig = stored(Rig::new(), script("max-age=60")).await;
    let head = rig.head(PATH).header("authorization", "x").send().await;
    assert_eq!((head.status.as_u16(), head.field("content-length")), (200, "2500"));
    assert!(head.cache_status().contains("fwd-status=304"), "{}", head.cache_status());
    let call = rig.inner.calls().pop().unwrap();
    assert_eq!((call.method.as_str(), &call.headers["if-none-match"]), ("HEAD", &"\"v1\"".parse().unwrap()));
    let answer =
        rig.get(PATH).header("authorization", "x").header("cache-control", "only-if-cached").send().await;
    assert_eq!(answer.status, 504);
    rig.inner.was_called(2);
    rig.inner.answer(PATH, paid());
    let head = rig.head(PATH).header("authorization", "x").send().await;
    assert_eq!(head.field("content-length"), "5000");
    rig.get(PATH).send().await.is_hit().whole(&truth());
}

#[tokio::test]
async fn a_request_with_credentials_reads_nothing_of_a_flight_of_others() {
    for fill in FILLS {
        for held in [false, true] {
            let (rig, gate) = (Rig::new().fill(fill), Gate::shut());
            // A slice cannot be held within its body.
            let held = held || fill == Fill::sliced();
            let free = script("max-age=60");
            // The gate is before the answer, or within its body.
            let free =
                if held { free.held_by(&gate) } else { free.step(3, crate::rig::Step::Wait(gate.clone())) };
            rig.inner.answer(PATH, free);
            let leader = rig.get(PATH).range("bytes=0-499").start();
            gate.reached_by(1).await;
            rig.inner.answer(PATH, paid());
            let owner = rig.get(PATH).header("authorization", "Bearer x").start();
            settle().await;
            gate.open();
            owner.await.unwrap().whole(&movie("/paid", 5000));
            leader.await.unwrap().partial(&truth(), 0..500);
            settle().await;
            rig.inner.answer(PATH, script("max-age=60"));
            rig.get(PATH).send().await.whole(&truth());
        }
    }
}

#[tokio::test]
async fn a_fill_for_others_holds_up_no_request_with_credentials() {
    let (rig, gate) = (Rig::new().fill(Fill::progressive()), Gate::shut());
    rig.inner.answer(PATH, script("max-age=60").step(3, crate::rig::Step::Wait(gate.clone())));
    let leader = rig.get(PATH).start();
    gate.reached_by(1).await;
    rig.inner.answer(PATH, paid());
    let answer = authorized(&rig).await;
    answer.whole(&movie("/paid", 5000));
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=authorization");
    gate.open();
    leader.await.unwrap().whole(&truth());
}

#[tokio::test]
async fn no_stale_response_stands_in_for_an_answer_to_credentials() {
    for cache_control in ["max-age=60, stale-while-revalidate=60", "max-age=60, stale-if-error=60"] {
        let rig = stored(Rig::new(), script(cache_control)).await;
        rig.clock.advance(seconds(60));
        rig.inner.answer(PATH, Script::absent().status(503));
        let answer = authorized(&rig).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; detail=authorization");
        rig.get(PATH).send().await.whole(&truth());
    }
}

/// A response that does not state its freshness.
fn silent(tag: &str) -> Script {
    let script = Script::movie(PATH, LENGTH).honours_conditions().honours_ranges();
    if tag.is_empty() { script } else { script.header("etag", tag) }
}

async fn with_cookie(rig: &Rig) -> Answer {
    rig.get(PATH).header("cookie", "user=1").send().await
}

#[tokio::test]
async fn a_response_to_a_cookie_is_used_only_after_a_validation() {
    let policy = Policy::default().heuristics(10, seconds(600)).stale_while_revalidate(seconds(60));
    for fill in FILLS {
        let rig =
            Rig::new().fill(fill).layer(|layer| layer.policy(policy.clone())).script(PATH, silent("\"v1\""));
        let first = with_cookie(&rig).await;
        first.whole(&truth());
        assert!(first.cache_status().contains("ttl=0"), "{}", first.cache_status());
        settle().await;
        // A 304 to a request with a cookie says nothing to others.
        for _ in 0..2 {
            let answer = with_cookie(&rig).await;
            answer.whole(&truth());
            assert!(answer.cache_status().contains("fwd=stale; fwd-status=304"), "{}", answer.cache_status());
        }
        // A 304 to a request without a cookie counts for all.
        let answer = rig.get(PATH).send().await;
        assert!(answer.cache_status().contains("fwd-status=304; ttl=300"), "{}", answer.cache_status());
        rig.get(PATH).send().await.is_hit().whole(&truth());
        with_cookie(&rig).await.is_hit().whole(&truth());
    }
}

#[tokio::test]
async fn a_response_to_a_cookie_for_its_owner_goes_to_no_other_client() {
    let rig = Rig::new().script(PATH, silent("\"mine\""));
    with_cookie(&rig).await.whole(&truth());
    rig.inner.answer(PATH, Script::movie("/all", 900).header("etag", "\"all\"").honours_conditions());
    rig.get(PATH).send().await.whole(&movie("/all", 900));
    rig.get(PATH).send().await.is_hit().whole(&movie("/all", 900));
}

#[tokio::test]
async fn a_response_to_a_cookie_without_a_strong_tag_is_not_kept() {
    for tag in ["", "W/\"v1\""] {
        let rig =
            Rig::new().script(PATH, silent(tag).header("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT"));
        let answer = with_cookie(&rig).await;
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=cookie");
        assert_eq!(rig.puts(), 0);
        // The cache remembers it for clients with cookies, and for no others.
        rig.get(PATH).header("cookie", "user=2").range("bytes=5-9").send().await.partial(&truth(), 5..10);
        assert_eq!(rig.inner.ranges(PATH), ["", "bytes=5-9"]);
        assert!(rig.get(PATH).send().await.cache_status().ends_with("; stored"));
        with_cookie(&rig).await.is_hit().whole(&truth());
    }
}

#[tokio::test]
async fn a_response_with_explicit_freshness_or_vary_is_stored_despite_the_cookie() {
    for (name, value) in [
        ("cache-control", "max-age=60"),
        ("cache-control", "s-maxage=60"),
        ("cache-control", "public"),
        ("expires", "Sun, 22 Nov 2026 12:01:00 GMT"),
        ("vary", "cookie"),
    ] {
        let rig = Rig::new().script(PATH, silent("").header(name, value));
        with_cookie(&rig).await;
        with_cookie(&rig).await.is_hit().whole(&truth());
        let is_hit = rig.get(PATH).send().await.cache_status().contains("; hit");
        assert_eq!(is_hit, name != "vary", "{name}: {value}");
    }
}

#[tokio::test]
async fn requests_that_waited_for_the_answer_to_a_cookie_ask_for_themselves_at_once() {
    let (rig, gate) = (Rig::new(), Gate::shut());
    rig.inner.answer(PATH, silent("\"v1\"").held_by(&gate));
    let leader = rig.get(PATH).header("cookie", "user=0").start();
    gate.reached_by(1).await;
    let others: Vec<_> =
        (1..5).map(|user| rig.get(PATH).header("cookie", &format!("user={user}")).start()).collect();
    settle().await;
    let questions = Gate::shut();
    rig.inner.answer(PATH, silent("\"v1\"").held_by(&questions));
    gate.open();
    // No request waits for another one's question.
    questions.reached_by(4).await;
    questions.open();
    for viewer in others.into_iter().chain([leader]) {
        viewer.await.unwrap().whole(&truth());
    }
    assert!(rig.inner.calls()[1..].iter().all(|call| call.headers.contains_key("if-none-match")));
    assert_eq!(rig.inner.bytes_of(PATH), 2500, "one body");
}

#[tokio::test]
async fn requests_that_waited_for_a_304_to_a_cookie_ask_for_themselves_at_once() {
    for (name, public) in [("cookie", ""), ("authorization", "public")] {
        let rig = Rig::new();
        rig.inner.answer(PATH, silent("\"v1\"").header("cache-control", public));
        rig.get(PATH).send().await;
        rig.clock.advance(seconds(300));
        let gate = Gate::shut();
        let unshared = Script::absent().status(304).header("etag", "\"v1\"").header("cache-control", "x");
        rig.inner.answer(PATH, unshared.clone().held_by(&gate));
        let leader = rig.get(PATH).header(name, "0").start();
        gate.reached_by(1).await;
        let others: Vec<_> =
            (1..4).map(|user| rig.get(PATH).header(name, &user.to_string()).start()).collect();
        settle().await;
        let questions = Gate::shut();
        rig.inner.answer(PATH, unshared.held_by(&questions));
        gate.open();
        questions.reached_by(3).await;
        questions.open();
        for viewer in others.into_iter().chain([leader]) {
            viewer.await.unwrap().whole(&truth());
        }
        rig.inner.was_called(5);
    }
}
