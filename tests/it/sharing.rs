//! The effects that one client's question may have on the answers to others, and those that it may not have.

use bytes::Bytes;
use tower_video_cache::{Fault, Operation, Policy, Timeouts};

use crate::rig::{Gate, PATH, Rig, Script, movie, seconds, settle};

fn truth() -> Bytes {
    movie(PATH, 2500)
}

fn script() -> Script {
    saying("max-age=60")
}

fn saying(cache_control: &str) -> Script {
    Script::movie(PATH, 2500)
        .header("etag", "\"v1\"")
        .header("cache-control", cache_control)
        .honours_conditions()
}

/// A rig whose store has the video, stale by now.
async fn stale(rig: Rig, script: Script) -> Rig {
    let rig = rig.script(PATH, script);
    rig.get(PATH).send().await.whole(&truth());
    rig.clock.advance(seconds(60));
    rig
}

#[tokio::test(start_paused = true)]
async fn a_validation_that_takes_too_long_answers_nobody_with_its_304() {
    let rig = Rig::new().layer(|layer| layer.timeouts(Timeouts::default().inner_idle(seconds(5))));
    let rig = stale(rig, script()).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, script().held_by(&gate));
    let viewer = rig.get(PATH).start();
    gate.reached_by(1).await;
    tokio::time::advance(seconds(6)).await;
    settle().await;
    gate.open();
    viewer.await.unwrap().whole(&truth());
}

#[tokio::test(start_paused = true)]
async fn a_question_about_variants_that_takes_too_long_answers_nobody_with_its_304() {
    let rig = Rig::new().layer(|layer| layer.timeouts(Timeouts::default().inner_idle(seconds(5))));
    let varied = || script().header("vary", "x-a");
    let rig = rig.script(PATH, varied());
    rig.get(PATH).header("x-a", "1").send().await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, varied().held_by(&gate));
    let viewer = rig.get(PATH).header("x-a", "2").start();
    gate.reached_by(1).await;
    tokio::time::advance(seconds(6)).await;
    settle().await;
    gate.open();
    viewer.await.unwrap().whole(&truth());
}

#[tokio::test]
async fn nothing_is_stored_without_the_fields_that_the_bytes_depend_on() {
    // RFC 9111 §5.2.2.7: private="vary" would make one variant the answer for all.
    for (name, value) in
        [("vary", "x-a"), ("content-encoding", "gzip"), ("expires", "0"), ("x-cache-control", "x")]
    {
        let withheld = saying(&format!("max-age=60, private=\"{name}\"")).header(name, value);
        let rig = Rig::new().script(PATH, withheld);
        rig.get(PATH).header("x-a", "1").send().await.whole(&truth());
        let other = rig.get(PATH).header("x-a", "2").send().await;
        assert_eq!(other.cache_status(), "tower-video-cache; fwd=uri-miss; detail=private", "{name}");
    }
}

#[tokio::test]
async fn no_field_for_one_client_is_put_over_those_of_a_part() {
    for name in ["content-length", "content-type", "accept-ranges", "age", "cache-status"] {
        let rig = Rig::new().script(PATH, saying(&format!("max-age=60, no-cache=\"{name}\"")));
        let parts = rig.get(PATH).range("bytes=0-9,1200-1209").send().await;
        assert!(parts.field("content-type").starts_with("multipart/byteranges"), "{name}");
        assert_eq!(parts.field("content-length"), parts.bytes.len().to_string(), "{name}");
    }
}

#[tokio::test]
async fn a_variant_made_by_a_304_shows_nothing_that_was_said_to_another_client() {
    let rig = Rig::new().script(PATH, script().header("vary", "cookie").header("x-user", "alice"));
    rig.get(PATH).header("cookie", "alice").send().await.whole(&truth());
    rig.inner.answer(PATH, script().header("vary", "cookie"));
    for _ in 0..2 {
        let answer = rig.get(PATH).send().await;
        answer.whole(&truth());
        assert_eq!(answer.field("x-user"), "");
    }
}

#[tokio::test]
async fn a_waiting_request_gets_a_stale_response_only_by_its_own_leave() {
    // RFC 9111 §4.2.4: a cache MUST NOT serve it stale without leave of the client or the origin.
    let policy = Policy::default().stale_on_request(seconds(600));
    let rig = stale(Rig::new().layer(|layer| layer.policy(policy)), script()).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, Script::absent().status(503).held_by(&gate));
    let leader = rig.get(PATH).header("cache-control", "stale-if-error=600").start();
    gate.reached_by(1).await;
    let follower = rig.get(PATH).start();
    settle().await;
    gate.open();
    leader.await.unwrap().whole(&truth());
    assert_eq!(follower.await.unwrap().status, 503);
}

#[tokio::test]
async fn a_validated_response_with_lost_bytes_is_fetched_and_stored_anew() {
    let rig = stale(Rig::new(), script()).await;
    // The gets: the lookup, the lookup before the fill, and the record and the chunk after it.
    let gets = rig.store.calls(Operation::Get);
    for nth in 4..=7 {
        rig.store.spoil(Operation::Get, gets + nth, Fault::Absent);
    }
    let answer = rig.get(PATH).send().await;
    answer.whole(&truth());
    rig.get(PATH).send().await.is_hit().whole(&truth());
    rig.inner.was_called(1 + 2);
}

#[tokio::test]
async fn a_variant_whose_bytes_are_lost_with_anothers_is_stored_anew() {
    let rig = Rig::new().script(PATH, script().header("vary", "x-a"));
    rig.get(PATH).header("x-a", "1").send().await;
    let gets = rig.store.calls(Operation::Get);
    // The gets: lookup 2, second lookup 2, mark, the variant's record, mark, the commit's lookup, mark, record 2,
    // chunk, its piece.
    for nth in 12..=16 {
        rig.store.spoil(Operation::Get, gets + nth, Fault::Absent);
    }
    let answer = rig.get(PATH).header("x-a", "2").send().await;
    answer.whole(&truth());
    rig.get(PATH).header("x-a", "2").send().await.is_hit().whole(&truth());
    rig.inner.was_called(1 + 2);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_another_request_replaced_is_not_reported_as_lost() {
    let always =
        |tag: &str| Script::movie(PATH, 2500).header("etag", tag).header("cache-control", "no-cache");
    let rig = Rig::new().script(PATH, always("\"v1\""));
    rig.get(PATH).send().await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, always("\"v2\"").held_by(&gate));
    let slow = rig.get(PATH).start();
    gate.reached_by(1).await;
    let gets = rig.store.calls(Operation::Get);
    // A mark is looked for before and after the commit.
    rig.store.spoil(Operation::Get, gets + 3, Fault::Slow(seconds(1)));
    gate.open();
    settle().await;
    rig.inner.answer(PATH, always("\"v3\""));
    let other = rig.get(PATH).send().await;
    assert!(other.cache_status().contains("stored"), "{}", other.cache_status());
    let slow = slow.await.unwrap();
    slow.whole(&truth());
    assert!(!slow.cache_status().contains("store-lost"), "{}", slow.cache_status());
    let next = rig.get(PATH).send().await;
    assert!(next.cache_status().ends_with("; stored"), "{}", next.cache_status());
}

#[tokio::test]
async fn credentials_take_out_nothing_that_others_may_use() {
    let rig = Rig::new().script(PATH, script());
    rig.get(PATH).send().await;
    rig.inner.answer(
        PATH,
        Script::movie("/b.mp4", 900).header("etag", "\"mine\"").header("cache-control", "max-age=60"),
    );
    let mine = rig.get(PATH).header("authorization", "x").header("cache-control", "no-cache").send().await;
    mine.whole(&movie("/b.mp4", 900));
    rig.get(PATH).send().await.is_hit().whole(&truth());
}

#[tokio::test]
async fn a_refresh_by_credentials_takes_out_nothing_either() {
    let rig = Rig::new().layer(|layer| layer.policy(Policy::default().share_with_authorized(true)));
    let rig = stale(rig, saying("max-age=60, stale-while-revalidate=60")).await;
    rig.inner.answer(
        PATH,
        Script::movie("/b.mp4", 900).header("etag", "\"mine\"").header("cache-control", "max-age=60"),
    );
    for _ in 0..3 {
        rig.get(PATH).header("authorization", "x").send().await.is_hit();
        settle().await;
    }
    rig.inner.was_called(2);
    rig.get(PATH).send().await.is_hit().whole(&truth());
}

#[tokio::test]
async fn a_head_by_credentials_takes_out_nothing() {
    let rig = Rig::new().script(PATH, script());
    rig.get(PATH).send().await;
    rig.inner.answer(
        PATH,
        Script::movie("/b.mp4", 900).header("etag", "\"mine\"").header("cache-control", "max-age=60"),
    );
    rig.head(PATH).header("authorization", "x").header("cache-control", "no-cache").send().await;
    rig.get(PATH).send().await.is_hit().whole(&truth());
}

#[tokio::test]
async fn a_head_that_proves_nothing_makes_nothing_fresh() {
    let plain = |path: &str| Script::of(&movie(path, 2500)).header("cache-control", "max-age=60");
    let rig = stale(Rig::new(), plain(PATH)).await;
    rig.inner.answer(PATH, plain("/b.mp4"));
    rig.head(PATH).send().await;
    rig.get(PATH).send().await.whole(&movie("/b.mp4", 2500));
}

#[tokio::test(start_paused = true)]
async fn an_update_by_a_head_is_finished_without_the_client() {
    let rig = stale(Rig::new(), script()).await;
    rig.store.spoil(Operation::Put, rig.puts() + 1, Fault::Slow(seconds(1)));
    let head = rig.head(PATH).start();
    settle().await;
    head.abort();
    tokio::time::advance(seconds(1)).await;
    settle().await;
    rig.get(PATH).send().await.is_hit();
}

#[tokio::test]
async fn a_store_that_cannot_read_a_variant_costs_no_question_in_vain() {
    let rig = Rig::new().script(PATH, script().header("vary", "x-a"));
    rig.get(PATH).header("x-a", "1").send().await;
    let gets = rig.store.calls(Operation::Get);
    // The key's own record can be read, but the variant's cannot: at the lookup, and at the lookup before the fill.
    for nth in [2, 4] {
        rig.store.spoil(Operation::Get, gets + nth, Fault::Error);
    }
    rig.get(PATH).header("x-a", "1").send().await.whole(&truth());
    assert!(!rig.inner.calls()[1].headers.contains_key("if-none-match"));
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_request_that_waited_for_an_answer_without_validator_is_forwarded_unchanged() {
    let rig = Rig::new();
    let gate = Gate::shut();
    let at_once =
        || Script::movie(PATH, 2500).header("cache-control", "max-age=0, stale-if-error=60").honours_ranges();
    let rig = rig.script(PATH, at_once().held_by(&gate));
    let leader = rig.get(PATH).start();
    gate.reached_by(1).await;
    let follower = rig.get(PATH).range("bytes=5-9").start();
    settle().await;
    gate.open();
    leader.await.unwrap().whole(&truth());
    follower.await.unwrap().partial(&truth(), 5..10);
    rig.inner.was_called(2);
}

#[tokio::test]
async fn parts_cost_the_store_no_more_than_the_whole() {
    let rig = Rig::new().script(PATH, script());
    rig.get(PATH).send().await;
    let gets = rig.store.calls(Operation::Get);
    let answer = rig.get(PATH).range("bytes=0-0,2400-2400,200-200,2200-2200,400-400,2000-2000").send().await;
    // RFC 9110 §15.3.7.2 would have the parts in the order of the request.
    assert!(answer.error.is_none() && answer.status == 206);
    let gets = rig.store.calls(Operation::Get) - gets;
    assert!(gets <= 4, "a record and {} chunks", gets - 1);
}

#[tokio::test]
async fn white_space_within_quotes_is_part_of_a_value() {
    let rig = Rig::new().script(PATH, script().header("vary", "x-a").without("etag"));
    rig.get(PATH).header("x-a", "\"a , b\"").send().await;
    let answer = rig.get(PATH).header("x-a", "\"a,b\"").send().await;
    assert!(answer.cache_status().contains("vary-miss"), "{}", answer.cache_status());
}

#[tokio::test]
async fn a_seek_in_a_response_with_another_status_is_asked_for_once() {
    let other = || Script::movie(PATH, 2500).status(203).honours_ranges();
    let rig = Rig::new().script(PATH, other());
    for calls in [2, 3, 4] {
        rig.get(PATH).range("bytes=5-9").send().await.partial(&truth(), 5..10);
        rig.inner.was_called(calls);
    }
    // An answer that may be stored ends this.
    rig.inner.answer(PATH, script());
    rig.get(PATH).send().await.whole(&truth());
    assert!(rig.get(PATH).send().await.cache_status().ends_with("; stored"));
}

#[tokio::test]
async fn an_error_is_not_remembered() {
    let rig = Rig::new();
    assert_eq!(rig.get(PATH).send().await.status, 404);
    rig.inner.answer(PATH, script());
    assert!(rig.get(PATH).send().await.cache_status().ends_with("; stored"));
}

#[tokio::test]
async fn credentials_that_come_first_do_not_send_the_others_to_the_inner_service_one_by_one() {
    let rig = Rig::new().script(PATH, script());
    let gate = Gate::shut();
    rig.inner.answer(PATH, script().held_by(&gate));
    let owner = rig.get(PATH).header("authorization", "x").start();
    gate.reached_by(1).await;
    let others: Vec<_> = (0..10).map(|_| rig.get(PATH).start()).collect();
    let owners: Vec<_> = (0..10).map(|_| rig.get(PATH).header("authorization", "y").start()).collect();
    settle().await;
    gate.open();
    for viewer in others.into_iter().chain(owners).chain([owner]) {
        viewer.await.unwrap().whole(&truth());
    }
    // One call for all clients without credentials, and one for each client with some.
    let calls = rig.inner.calls();
    assert_eq!(calls.iter().filter(|call| !call.headers.contains_key("authorization")).count(), 1);
    assert!(calls.len() <= 12, "{}", calls.len());
}
