//! Stale responses are validated before they are used (RFC 9111 §4.3).

use bytes::Bytes;
use http::Method;

use crate::rig::{Gate, PATH, Rig, Script, Step, date, movie, seconds, settle};

fn script() -> Script {
    Script::movie(PATH, 2500)
        .header("etag", "\"v1\"")
        .header("cache-control", "max-age=60")
        .honours_conditions()
}

fn truth() -> Bytes {
    movie(PATH, 2500)
}

/// A rig whose store has the video, stale by now.
async fn stale(script: Script) -> Rig {
    let rig = Rig::new().script(PATH, script);
    rig.get(PATH).send().await.whole(&truth());
    rig.clock.advance(seconds(60));
    rig
}

#[tokio::test]
async fn a_304_makes_the_stored_response_fresh_again() {
    let rig = stale(script()).await;
    rig.inner.answer(PATH, script().header("x-new", "1"));
    let puts = rig.puts();
    let answer = rig.get(PATH).range("bytes=5-9").send().await;
    answer.partial(&truth(), 5..10);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; fwd-status=304; ttl=60");
    assert_eq!((answer.field("x-new"), answer.field("age")), ("1", "0"));
    let asked = &rig.inner.calls()[1].headers;
    assert_eq!((&asked["if-none-match"], asked.contains_key("range")), (&"\"v1\"".parse().unwrap(), false));
    assert_eq!(rig.puts() - puts, 1, "the record alone is put");

    let answer = rig.get(PATH).send().await;
    answer.whole(&truth()).is_hit();
    assert_eq!(answer.field("x-new"), "1");
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_200_that_is_the_stored_response_is_as_good_as_a_304() {
    let dated = |tag: &str| {
        let script = Script::movie(PATH, 2500).header("cache-control", "max-age=60").header("date", &date(0));
        let script = script.header("last-modified", &date(-3600));
        if tag.is_empty() { script } else { script.header("etag", tag) }
    };
    for tag in ["\"v1\"", ""] {
        // The inner service gives no 304.
        let rig = stale(dated(tag).header("x-old", "1").header("vary", "x-a")).await;
        let fresh =
            dated(tag).without("date").header("date", &date(60)).header("x-new", "1").header("vary", "x-a");
        rig.inner.answer(PATH, fresh.clone());
        let (puts, bytes) = (rig.puts(), rig.inner.bytes_of(PATH));
        let answer = rig.get(PATH).range("bytes=5-9").send().await;
        answer.partial(&truth(), 5..10);
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; fwd-status=200; ttl=60; stored");
        assert!(answer.has("x-new") && !answer.has("x-old"), "its fields replace the stored ones");
        assert_eq!(rig.puts() - puts, 1, "the record alone is put");
        assert_eq!(rig.inner.bytes_of(PATH), bytes, "its body is not read");
        rig.get(PATH).send().await.whole(&truth()).is_hit();
        rig.inner.was_called(2);
        // Any difference makes another response of it.
        let other = |script: Script| script.without("x-new").header("x-new", "2");
        for other in [
            other(fresh.clone()).without("etag").header("etag", "\"v2\""),
            other(fresh.clone()).without("etag").header("etag", "W/\"v1\""),
            other(fresh.clone()).without("last-modified").header("last-modified", &date(-60)),
            other(fresh.clone()).without("content-length"),
            other(fresh.clone()).header("content-encoding", "x"),
            other(fresh).without("cache-control").header("cache-control", "no-store"),
        ] {
            rig.clock.advance(seconds(60));
            let bytes = rig.inner.bytes_of(PATH);
            rig.inner.answer(PATH, other);
            assert_eq!(rig.get(PATH).send().await.field("x-new"), "2");
            assert_eq!(rig.inner.bytes_of(PATH), bytes + 2500);
            rig.inner.answer(PATH, dated(tag));
            rig.clock.advance(seconds(60));
            rig.get(PATH).send().await.whole(&truth());
        }
    }
}

#[tokio::test]
async fn the_inner_service_is_asked_by_the_date_if_there_is_no_tag() {
    let rig = stale(script().without("etag").header("last-modified", &date(-3600))).await;
    rig.get(PATH).send().await.whole(&truth());
    let asked = &rig.inner.calls()[1].headers;
    assert_eq!(asked["if-modified-since"], date(-3600));
    assert!(!asked.contains_key("if-none-match"));
    rig.get(PATH).send().await.is_hit();
}

#[tokio::test]
async fn a_tag_made_by_the_cache_is_not_sent_to_the_inner_service() {
    let rig = stale(script().without("etag")).await;
    let answer = rig.get(PATH).send().await;
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; ttl=60; stored");
    assert!(!rig.inner.calls()[1].headers.contains_key("if-none-match"));
}

#[tokio::test]
async fn a_changed_response_is_stored_anew_and_never_mixed() {
    let rig = stale(script()).await;
    let changed = movie("/b.mp4", 3100);
    rig.inner.answer(PATH, Script::movie("/b.mp4", 3100).header("etag", "\"v2\""));
    for status in ["fwd=stale; fwd-status=200; ttl=300; stored", "hit; ttl=300"] {
        let answer = rig.get(PATH).range("bytes=900-2700").send().await;
        answer.partial(&changed, 900..2701);
        assert_eq!(answer.cache_status(), format!("tower-video-cache; {status}"));
        assert_eq!(answer.field("etag"), "\"v2\"");
    }
}

#[tokio::test]
async fn a_304_about_another_response_is_not_believed() {
    // RFC 9111 §4.3.4: such a 304 MUST NOT be used to update a stored response.
    let rig = stale(script()).await;
    let other = Script::absent().status(304).header("etag", "\"v0\"");
    rig.inner.answer(PATH, other);
    rig.get(PATH).send().await;
    let asked = rig.inner.calls();
    assert!(asked[1].headers.contains_key("if-none-match"));
    assert!(!asked[2].headers.contains_key("if-none-match"), "asked again for the whole");
}

#[tokio::test]
async fn a_response_that_may_no_longer_be_stored_is_taken_out_by_its_304() {
    let rig = stale(script()).await;
    rig.inner.answer(PATH, script().header("cache-control", "no-store"));
    for calls in [3, 4] {
        let answer = rig.get(PATH).send().await;
        answer.whole(&truth());
        assert!(answer.cache_status().ends_with("; detail=no-store"), "{}", answer.cache_status());
        rig.inner.was_called(calls);
    }
}

#[tokio::test]
async fn a_response_that_is_gone_is_taken_out_and_never_stands_in_later() {
    let always =
        || script().without("cache-control").header("cache-control", "max-age=60, stale-if-error=600");
    for (gone, name) in [
        (Script::absent(), "a 404"),
        (Script::absent().status(410), "a 410"),
        (always().header("cache-control", "private"), "a private answer"),
    ] {
        let rig = stale(always()).await;
        rig.inner.answer(PATH, gone.header("etag", "\"v2\""));
        rig.get(PATH).send().await;
        rig.inner.answer(PATH, Script::absent().status(503));
        rig.clock.advance(seconds(10));
        assert_eq!(rig.get(PATH).send().await.status, 503, "{name}");
    }
}

#[tokio::test]
async fn a_response_that_must_always_be_validated_is_stored_and_asked_about_each_time() {
    // RFC 9111 §5.2.2.4
    let rig = Rig::new().script(PATH, script().header("cache-control", "no-cache"));
    rig.get(PATH).send().await.whole(&truth());
    for calls in 2..5 {
        let answer = rig.get(PATH).range("bytes=0-9").send().await;
        answer.partial(&truth(), 0..10);
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; fwd-status=304; ttl=60");
        rig.inner.was_called(calls);
    }
}

#[tokio::test]
async fn requests_that_each_need_an_answer_do_not_wait_behind_each_other() {
    let gate = Gate::shut();
    let for_one = || script().header("cache-control", "no-cache");
    let rig = Rig::new().script(PATH, for_one());
    rig.get(PATH).send().await;
    rig.inner.answer(PATH, for_one().held_by(&gate));
    let leader = rig.get(PATH).start();
    gate.reached_by(1).await;
    let followers: Vec<_> = (0..20).map(|_| rig.get(PATH).range("bytes=5-9").start()).collect();
    settle().await;
    let second = Gate::shut();
    rig.inner.answer(PATH, for_one().held_by(&second));
    gate.open();
    leader.await.unwrap().whole(&truth());
    // All requests ask at once, each with a question of its own.
    second.reached_by(20).await;
    second.open();
    for follower in followers {
        follower.await.unwrap().partial(&truth(), 5..10);
    }
    let calls = rig.inner.calls();
    assert_eq!(calls.len(), 22);
    assert!(calls[2..].iter().all(|call| call.headers["if-none-match"] == "\"v1\""));
    assert!(calls[2..].iter().all(|call| !call.headers.contains_key("range")));
}

#[tokio::test]
async fn a_stampede_on_a_stale_response_asks_once() {
    let rig = stale(script()).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, script().held_by(&gate));
    let viewers: Vec<_> = (0..50).map(|_| rig.get(PATH).start()).collect();
    gate.reached_by(1).await;
    settle().await;
    gate.open();
    for viewer in viewers {
        viewer.await.unwrap().whole(&truth());
    }
    rig.inner.was_called(2);
}

#[tokio::test]
async fn variants_are_validated_each_by_itself() {
    let rig = Rig::new().script(PATH, script().header("vary", "x-a"));
    for value in ["1", "2"] {
        rig.get(PATH).header("x-a", value).send().await;
    }
    rig.clock.advance(seconds(60));
    rig.get(PATH).header("x-a", "2").send().await.whole(&truth());
    assert_eq!(rig.inner.calls()[2].headers["x-a"], "2");
    rig.get(PATH).header("x-a", "2").send().await.is_hit();
    let answer = rig.get(PATH).header("x-a", "1").send().await;
    assert!(answer.cache_status().contains("fwd=stale"), "{}", answer.cache_status());
}

#[tokio::test]
async fn a_variant_of_the_same_bytes_costs_a_question_and_no_body() {
    // RFC 9111 §4.1: the request is forwarded with conditions that name the stored responses.
    let rig = Rig::new().script(PATH, script().header("vary", "origin"));
    rig.get(PATH).header("origin", "https://a.example").send().await.whole(&truth());
    let puts = rig.puts();
    let answer = rig.get(PATH).header("origin", "https://b.example").range("bytes=900-2100").send().await;
    answer.partial(&truth(), 900..2101);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=vary-miss; fwd-status=304; ttl=60");
    assert_eq!(rig.inner.calls()[1].headers["if-none-match"], "\"v1\"");
    assert_eq!(rig.puts() - puts, 2, "a record, and the key's own");
    for origin in ["https://a.example", "https://b.example"] {
        rig.get(PATH).header("origin", origin).send().await.is_hit().whole(&truth());
    }

    rig.get(PATH).header("origin", "https://c.example").send().await.whole(&truth());
    assert_eq!(rig.inner.calls()[2].headers["if-none-match"], "\"v1\"", "each tag is named once");

    // Each variant goes stale and is removed by itself. Both go with their key.
    rig.clock.advance(seconds(60));
    rig.get(PATH).header("origin", "https://b.example").send().await;
    let answer = rig.get(PATH).header("origin", "https://a.example").send().await;
    assert!(answer.cache_status().contains("fwd=stale"), "{}", answer.cache_status());
    rig.ask(Method::DELETE, PATH).send().await;
    for origin in ["https://a.example", "https://b.example"] {
        let answer = rig.get(PATH).header("origin", origin).send().await;
        assert!(!answer.cache_status().contains("hit"), "{}", answer.cache_status());
    }
}

#[tokio::test]
async fn a_variant_of_other_bytes_is_fetched_and_never_mixed() {
    let one = || script().header("vary", "x-a");
    let other = movie("/b.mp4", 1700);
    let unlike = || Script::movie("/b.mp4", 1700).header("vary", "x-a").honours_conditions();
    for (name, first, second) in [
        ("another tag", one(), unlike().header("etag", "\"v2\"")),
        (
            "a weak tag, though equal",
            one().without("etag").header("etag", "W/\"v1\""),
            unlike().header("etag", "W/\"v1\""),
        ),
        ("no tag", one().without("etag"), unlike()),
        (
            "a coding with a tag of its own",
            one().header("content-encoding", "gzip"),
            unlike().header("etag", "\"v1\""),
        ),
    ] {
        let rig = Rig::new().script(PATH, first);
        rig.get(PATH).header("x-a", "1").send().await.whole(&truth());
        rig.inner.answer(PATH, second);
        rig.get(PATH).header("x-a", "2").send().await.whole(&other);
        rig.get(PATH).header("x-a", "1").send().await.is_hit().whole(&truth());
        let answer = rig.get(PATH).header("x-a", "2").range("bytes=5-9").send().await;
        answer.is_hit().partial(&other, 5..10);
        assert_eq!(rig.inner.calls().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_304_that_names_no_stored_variant_is_not_believed() {
    // RFC 9111 §4.3.4
    for unhelpful in [
        Script::absent().status(304),
        Script::absent().status(304).header("etag", "\"v0\""),
        Script::absent().status(304).header("etag", "W/\"v1\""),
    ] {
        let rig = Rig::new().script(PATH, script().header("vary", "x-a"));
        rig.get(PATH).header("x-a", "1").send().await;
        rig.inner.answer(PATH, unhelpful);
        rig.get(PATH).header("x-a", "2").send().await;
        let calls = rig.inner.calls();
        assert!(calls[1].headers.contains_key("if-none-match"));
        assert!(!calls[2].headers.contains_key("if-none-match"), "asked again for the whole");
    }
}

#[tokio::test]
async fn a_variant_that_the_store_lost_is_fetched() {
    let rig = Rig::new().script(PATH, script().header("vary", "x-a"));
    rig.get(PATH).header("x-a", "1").send().await;
    // The lookup finds no variant for this request. After the answer, the store does not find the other one.
    let gets = rig.store.calls(tower_video_cache::Operation::Get);
    rig.store.spoil(tower_video_cache::Operation::Get, gets + 6, tower_video_cache::Fault::Absent);
    let answer = rig.get(PATH).header("x-a", "2").send().await;
    answer.whole(&truth());
    assert!(answer.cache_status().ends_with("stored"), "{}", answer.cache_status());
    rig.inner.was_called(3);
}

#[tokio::test]
async fn a_304_to_credentials_refreshes_the_response_for_their_owner_alone() {
    // RFC 9111 §3.5: the 304 answers a request with Authorization, and gives no leave.
    let rig = stale(script()).await;
    let answer = rig.get(PATH).header("authorization", "x").send().await;
    answer.whole(&truth());
    assert_eq!(
        answer.cache_status(),
        "tower-video-cache; fwd=stale; fwd-status=304; ttl=60; detail=authorization"
    );
    // For the other clients, the stored response is as stale as before, and still there.
    let answer = rig.get(PATH).send().await;
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; fwd-status=304; ttl=60");
    rig.get(PATH).send().await.is_hit();
    rig.inner.was_called(3);
}

#[tokio::test]
async fn an_invalidation_is_not_undone_by_a_validation_under_way() {
    let rig = stale(script()).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, script().held_by(&gate));
    let validating = rig.get(PATH).start();
    gate.reached_by(1).await;
    rig.inner.answer(PATH, script());
    rig.ask(Method::PUT, PATH).send().await;
    gate.open();
    validating.await.unwrap().whole(&truth());
    let answer = rig.get(PATH).send().await;
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; ttl=60; stored");
}

#[tokio::test]
async fn a_head_updates_the_stored_response() {
    // RFC 9111 §4.3.5
    let rig = stale(script()).await;
    rig.inner.answer(PATH, script().header("x-new", "1"));
    let answer = rig.head(PATH).send().await;
    assert_eq!((answer.status.as_u16(), answer.field("content-length")), (200, "2500"));
    let answer = rig.get(PATH).send().await;
    answer.is_hit().whole(&truth());
    assert_eq!(answer.field("x-new"), "1");

    rig.clock.advance(seconds(60));
    rig.inner.answer(PATH, Script::movie("/b.mp4", 99).header("etag", "\"v2\""));
    rig.head(PATH).send().await;
    let answer = rig.get(PATH).send().await;
    assert!(answer.cache_status().contains("fwd=uri-miss"), "{}", answer.cache_status());
    answer.whole(&movie("/b.mp4", 99));
}

#[tokio::test]
async fn an_old_answer_to_a_head_does_not_undo_a_newer_response() {
    let rig = stale(script()).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, script().held_by(&gate));
    let head = rig.head(PATH).start();
    gate.reached_by(1).await;
    rig.inner.answer(PATH, Script::movie("/b.mp4", 99).header("etag", "\"v2\""));
    rig.get(PATH).send().await.whole(&movie("/b.mp4", 99));
    gate.open();
    head.await.unwrap();
    rig.get(PATH).send().await.is_hit().whole(&movie("/b.mp4", 99));
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_head_does_not_put_back_a_response_that_is_being_removed() {
    use tower_video_cache::{Fault, Operation};

    let rig = stale(script()).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, script().held_by(&gate));
    let head = rig.head(PATH).start();
    gate.reached_by(1).await;
    rig.inner.answer(PATH, script());
    // The record is there while the HEAD's answer comes, and gone before a put for the HEAD could end.
    rig.store.spoil(Operation::Remove, rig.store.calls(Operation::Remove) + 1, Fault::Slow(seconds(1)));
    rig.store.spoil(Operation::Put, rig.puts() + 1, Fault::Slow(seconds(1)));
    let put = rig.ask(Method::PUT, PATH).start();
    settle().await;
    tokio::time::advance(std::time::Duration::from_millis(500)).await;
    gate.open();
    head.await.unwrap();
    put.await.unwrap();
    let answer = rig.get(PATH).send().await;
    assert!(answer.cache_status().contains("fwd=uri-miss"), "{}", answer.cache_status());
}

#[tokio::test]
async fn fields_for_one_client_go_to_that_client_alone() {
    // RFC 9111 §5.2.2.4, §5.2.2.7
    let withheld = "max-age=60, private=\"x-viewer\", no-cache=\"set-cookie\"";
    let script = Script::movie(PATH, 2500)
        .header("cache-control", withheld)
        .header("x-viewer", "one")
        .header("set-cookie", "viewer=one")
        .header("x-all", "1");
    let rig = Rig::new().script(PATH, script);
    let first = rig.get(PATH).range("bytes=5-9").send().await;
    first.partial(&truth(), 5..10);
    assert_eq!((first.field("x-viewer"), first.field("set-cookie")), ("one", "viewer=one"));
    let second = rig.get(PATH).send().await;
    second.is_hit();
    assert_eq!(
        (second.field("x-all"), second.has("x-viewer"), second.has("set-cookie")),
        ("1", false, false)
    );
}

#[tokio::test]
async fn a_field_for_one_client_does_not_come_with_a_response_that_another_stored_since() {
    let varying = || Script::movie(PATH, 2500).header("vary", "accept-encoding");
    let rig = stale(varying().header("cache-control", "max-age=60").header("etag", "\"v1\"")).await;
    let (first, second) = (Gate::shut(), Gate::shut());
    let for_one = varying().header("cache-control", "max-age=60, private=\"x-viewer\"");
    rig.inner.answer(PATH, for_one.header("x-viewer", "one").held_by(&first));
    let one = rig.get(PATH).header("accept-encoding", "gzip").start();
    first.reached_by(1).await;
    rig.inner.answer(PATH, Script::movie("/b.mp4", 99).header("etag", "\"v2\"").held_by(&second));
    let other = rig.get(PATH).start();
    second.reached_by(1).await;
    first.open();
    second.open();
    other.await.unwrap().whole(&movie("/b.mp4", 99));
    // The other response replaced the stored one before the first client read that.
    let one = one.await.unwrap();
    one.whole(&movie("/b.mp4", 99));
    assert!(!one.has("x-viewer"));
}

#[tokio::test]
async fn a_304_with_another_vary_leaves_nothing_of_the_response_that_it_updated() {
    // RFC 9111 §4.3.4
    let script = || script().header("cache-control", "must-revalidate");
    let rig = stale(script().header("vary", "accept-encoding")).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, script().header("vary", "cookie").held_by(&gate));
    let (leader, follower) = (rig.get(PATH).start(), rig.get(PATH).header("cookie", "user=1").start());
    gate.reached_by(1).await;
    settle().await;
    rig.inner.was_called(2);
    gate.open();
    for waiting in [leader, follower] {
        let answer = waiting.await.unwrap();
        answer.whole(&truth());
        assert_eq!((answer.field("vary"), answer.field("age")), ("cookie", "0"));
    }
    rig.inner.was_called(3);
}

#[tokio::test]
async fn a_field_that_is_named_twice_comes_once() {
    let withheld = "max-age=60, private=\"x-viewer, x-viewer\", no-cache=\"X-Viewer\"";
    let script = Script::movie(PATH, 2500).header("cache-control", withheld).header("x-viewer", "one");
    let rig = Rig::new().script(PATH, script);
    let first = rig.get(PATH).send().await;
    assert_eq!(first.headers.get_all("x-viewer").iter().collect::<Vec<_>>(), ["one"]);
    assert!(!rig.get(PATH).send().await.has("x-viewer"));
}

#[tokio::test]
async fn a_store_that_takes_no_update_costs_no_client_the_answer() {
    use tower_video_cache::{Fault, Operation};

    let rig = stale(script()).await;
    rig.store.spoil_from(Operation::Put, rig.puts(), Fault::Error);
    let answer = rig.get(PATH).range("bytes=5-9").send().await;
    answer.partial(&truth(), 5..10);
    assert_eq!(
        answer.cache_status(),
        "tower-video-cache; fwd=stale; fwd-status=304; ttl=60; detail=store-failed"
    );
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_body_that_dies_leaves_the_stored_response() {
    let rig = stale(script()).await;
    let dying = Script::movie("/b.mp4", 2500).header("etag", "\"v2\"").step(2, Step::Fail);
    rig.inner.answer(PATH, dying);
    assert_eq!(rig.get(PATH).send().await.status, 502);
    rig.inner.answer(PATH, script());
    let answer = rig.get(PATH).send().await;
    answer.whole(&truth());
    assert!(answer.cache_status().contains("fwd-status=304"), "{}", answer.cache_status());
}
