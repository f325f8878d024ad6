//! Objects with only some chunks stored: the validators that bind their parts, and how each mode judges and completes
//! them.

use futures_util::future::join_all;
use http::{Method, StatusCode};
use tower_video_cache::{Error, Fault, Fill, Limits, Operation, Policy, Retry};

use crate::rig::{
    Gate, PATH, Rig, Script, Step, date,
    parted::{LENGTH, asked, begun, changed, other, parted, rig, small, tagged, truth, unparted},
    seconds, settle,
};

#[tokio::test]
async fn a_changed_object_ends_bodies_that_began_and_is_fetched_anew() {
    // If the inner service obeys `If-Range`, a 200 comes, else a part of the other version.
    for second in [changed(), changed().ignores_if_range()] {
        let rig = small(parted(), 1);
        let mut one = rig.get(PATH).reading().await;
        let mut two = rig.get(PATH).range("bytes=0-4999").reading().await;
        assert!(one.ready() == truth().slice(..1000));
        assert!(two.ready() == truth().slice(..1000));
        rig.inner.answer(PATH, second);
        // One call more finds the change out for both.
        let bodies = tokio::join!(one.rest(), two.rest());
        for answer in [bodies.0, bodies.1] {
            assert!(answer.error.as_ref().is_some_and(Error::is_changed), "{:?}", answer.error);
            assert!(answer.bytes == truth().slice(..1000), "nothing is mixed");
        }
        let before = asked(&rig).len();
        rig.get(PATH).send().await.whole(&other());
        rig.get(PATH).range("bytes=500-1500").send().await.partial(&other(), 500..1501);
        assert_eq!(asked(&rig)[before], "0-999", "the request starts over");
        assert!(asked(&rig)[before + 1..].iter().all(|asked| asked.ends_with("\"v2\"")));
    }
}

#[tokio::test]
async fn a_request_that_has_not_begun_starts_over_with_the_changed_object() {
    let rig = begun(parted()).await;
    rig.inner.answer(PATH, changed());
    let answer = rig.get(PATH).range("bytes=4000-5999").send().await;
    answer.partial(&other(), 4000..6000);
    assert_eq!(answer.field("etag"), "\"v2\"");
    assert_eq!(asked(&rig), ["0-999", "4000-5999 \"v1\"", "4000-5999"]);
    rig.get(PATH).send().await.whole(&other());
}

#[tokio::test]
async fn a_slice_other_than_the_requested_one_is_never_stitched_on_and_the_next_client_gets_the_truth() {
    for (why, second, is_over) in [
        ("another total", parted().says_range("bytes 1000-1999/9501"), false),
        ("another coding", parted().part_header("content-encoding", "gzip"), false),
        ("no validator", parted().part_without("etag"), false),
        ("a weak one", parted().part_header("etag", "W/\"v1\""), false),
        ("another one", parted().part_header("etag", "\"v2\""), true),
        ("gone", Script::absent(), true),
    ] {
        let rig = small(parted(), 1);
        let mut reading = rig.get(PATH).reading().await;
        assert!(reading.ready() == truth().slice(..1000));
        rig.inner.answer_each(PATH, [second, parted()]);
        let answer = reading.rest().await;
        if is_over {
            assert!(answer.error.is_some(), "{why}");
            assert!(answer.bytes == truth().slice(..1000), "{why}");
        } else {
            // The range alone brings a part that belongs to the first one.
            answer.whole(&truth());
        }
        rig.get(PATH).send().await.whole(&truth());
        assert!(rig.inner.calls().len() < 15, "{why}: {:?}", asked(&rig));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_gives_another_range_than_was_asked_for_is_never_stitched_on() {
    for (why, second) in [
        ("another part", parted().gives_range(3000..4000)),
        ("a part that is said to be another", parted().says_range("bytes 3000-3999/9500")),
        ("a part of unknown whole", parted().without_total()),
        ("less than a chunk", parted().gives_at_most(500)),
        ("the whole", unparted()),
    ] {
        for then in [second.clone(), parted()] {
            let rig = small(parted(), 1);
            let mut reading = rig.get(PATH).reading().await;
            assert!(reading.ready() == truth().slice(..1000));
            rig.inner.answer_each(PATH, [second.clone(), then]);
            let answer = reading.rest().await;
            assert!(answer.bytes == truth().slice(..answer.bytes.len()), "{why}");
            assert!(answer.error.is_some() || answer.bytes.len() == LENGTH, "{why}");
            assert!(rig.inner.calls().len() < 15, "{why}: {:?}", asked(&rig));
        }
    }
}

#[tokio::test]
async fn an_inner_service_that_gives_the_whole_is_asked_once_and_as_in_progressive() {
    let gate = Gate::shut();
    let rig = rig(unparted().step(3, Step::Wait(gate.clone())));
    let mut reading = rig.get(PATH).reading().await;
    assert!(reading.ready() == truth().slice(..1000), "while the rest is still to come");
    let far = rig.get(PATH).range("bytes=8000-8009").start();
    settle().await;
    assert!(!far.is_finished());
    gate.open();
    reading.rest().await.whole(&truth());
    far.await.unwrap().partial(&truth(), 8000..8010);
    rig.get(PATH).range("bytes=-10").send().await.partial(&truth(), 9490..9500).is_hit();
    assert_eq!(asked(&rig), ["0-999"]);
}

#[tokio::test]
async fn an_inner_service_without_usable_parts_is_asked_again_without_range() {
    for (why, script) in [
        ("no validator", parted().without("etag")),
        ("a weak one", parted().without("etag").header("etag", "W/\"v1\"")),
        ("no length", parted().without_total()),
        ("not a whole chunk", parted().gives_at_most(999)),
    ] {
        let rig = rig(script);
        let answer = rig.get(PATH).range("bytes=4000-4009").send().await;
        answer.partial(&truth(), 4000..4010);
        assert_eq!(
            answer.cache_status(),
            "tower-video-cache; fwd=uri-miss; fwd-status=200; ttl=300; stored",
            "{why}"
        );
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(asked(&rig), ["4000-4999", "all"], "{why}");
    }
}

#[tokio::test]
async fn an_inner_service_without_parts_is_remembered_for_ten_minutes() {
    for script in [unparted(), parted().without("etag")] {
        let rig = rig(script);
        rig.get(PATH).send().await.whole(&truth());
        let first = asked(&rig);
        assert_eq!(first[0], "0-999");
        rig.clock.advance(seconds(599));
        rig.ask(Method::DELETE, PATH).send().await;
        rig.get(PATH).range("bytes=10-19").send().await.partial(&truth(), 10..20);
        assert_eq!(asked(&rig)[first.len()..], ["all", "all"], "the DELETE, and the fill");
        rig.clock.advance(seconds(1));
        rig.ask(Method::DELETE, PATH).send().await;
        rig.get(PATH).range("bytes=10-19").send().await.partial(&truth(), 10..20);
        assert_eq!(asked(&rig)[first.len() + 3], "0-999");
    }
}

#[tokio::test]
async fn a_question_that_is_answered_by_a_part_of_the_stored_object_throws_nothing_away() {
    // Some servers look at Range before If-None-Match.
    let rig = begun(parted().header("cache-control", "max-age=60")).await;
    rig.get(PATH).range("bytes=5000-5999").send().await.partial(&truth(), 5000..6000);
    rig.clock.advance(seconds(60));
    let answer = rig.get(PATH).range("bytes=5500-5509").send().await;
    answer.partial(&truth(), 5500..5510);
    assert_eq!(rig.inner.calls()[2].headers["if-none-match"], "\"v1\"");
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; ttl=60; stored");
    for range in [0..10, 5000..5010] {
        let ask = rig.get(PATH).range(&format!("bytes={}-{}", range.start, range.end - 1));
        ask.send().await.partial(&truth(), range).is_hit();
    }
    assert_eq!(asked(&rig), ["0-999", "5000-5999 \"v1\"", "5000-5999"]);

    // A part of another object takes its place.
    rig.clock.advance(seconds(60));
    rig.inner.answer(PATH, changed());
    rig.get(PATH).range("bytes=5500-5509").send().await.partial(&other(), 5500..5510);
    rig.get(PATH).send().await.whole(&other());
}

#[tokio::test]
async fn a_part_that_is_all_of_the_video_needs_no_validator() {
    let small = truth().slice(..900);
    let script = || Script::of(&small).header("content-length", "900").honours_ranges();
    for fill in [Fill::sliced(), Fill::auto()] {
        for (validator, value) in
            [("x-none", ""), ("etag", "W/\"v1\""), ("last-modified", date(-50).as_str())]
        {
            for range in ["bytes=5-9", "bytes=5-", "bytes=-895"] {
                let rig = Rig::new().fill(fill).script(PATH, script().header(validator, value));
                let answer = rig.get(PATH).range(range).send().await;
                let end = if range == "bytes=5-9" { 10 } else { 900 };
                answer.partial(&small, 5..end);
                let ttl = if validator == "last-modified" { 50 } else { 300 };
                let expected = format!("tower-video-cache; fwd=uri-miss; ttl={ttl}; stored");
                assert_eq!(answer.cache_status(), expected, "{fill:?} {range}");
                assert!(!rig.inner.ranges(PATH)[0].is_empty());
                rig.get(PATH).send().await.whole(&small).is_hit();
                let part = rig.get(PATH).range("bytes=100-199").send().await;
                part.partial(&small, 100..200).is_hit();
                assert!(part.has("etag") || validator == "last-modified");
                rig.inner.was_called(1);
            }
        }
    }
}

#[tokio::test]
async fn a_part_that_is_all_of_a_video_that_may_not_be_stored_is_passed_on() {
    let small = truth().slice(..900);
    for fill in [Fill::sliced(), Fill::auto()] {
        let script = Script::of(&small).header("content-length", "900").honours_ranges();
        let rig = Rig::new().fill(fill).script(PATH, script.header("cache-control", "no-store"));
        rig.get(PATH).range("bytes=5-9").send().await.partial(&small, 5..10);
        rig.get(PATH).send().await.whole(&small);
        assert_eq!(rig.inner.ranges(PATH)[1..], ["bytes=5-9", ""]);
        assert_eq!(rig.puts(), 0);
    }
}

#[tokio::test]
async fn a_part_of_another_date_is_of_another_object_in_spite_of_its_tag() {
    let dated = |script: Script, offset| script.header("last-modified", &date(offset));
    let rig = small(dated(parted(), -3600), 1);
    let mut reading = rig.get(PATH).reading().await;
    assert!(reading.ready() == truth().slice(..1000));
    // The server keeps the tag of the file that was replaced.
    rig.inner.answer(PATH, dated(tagged(&other(), "\"v1\""), -60));
    let answer = reading.rest().await;
    assert!(answer.error.as_ref().is_some_and(Error::is_changed), "{:?}", answer.error);
    assert!(answer.bytes == truth().slice(..1000), "nothing is mixed");
    rig.get(PATH).send().await.whole(&other());

    // A body that died is not continued by such a part either.
    let rig = Rig::new();
    rig.inner
        .answer_each(PATH, [dated(parted().dies_at(4500), -3600), dated(tagged(&other(), "\"v1\""), -60)]);
    let answer = rig.get(PATH).send().await;
    assert!(answer.error.is_some() || answer.status == StatusCode::BAD_GATEWAY);
    assert!(truth().starts_with(&answer.bytes) || answer.status == StatusCode::BAD_GATEWAY);

    // Without a date on one side, the tag alone binds.
    let rig = begun(dated(parted(), -3600)).await;
    rig.inner.answer(PATH, parted());
    rig.get(PATH).send().await.whole(&truth());
}

#[tokio::test]
async fn a_stale_object_costs_one_conditional_request_for_all_of_its_chunks() {
    let rig = begun(parted().honours_conditions()).await;
    rig.get(PATH).range("bytes=5000-5999").send().await.partial(&truth(), 5000..6000);
    rig.clock.advance(seconds(301));
    let ranges = [5000..5010, 0..10, 5500..5510];
    let ask = |range: &std::ops::Range<usize>| format!("bytes={}-{}", range.start, range.end - 1);
    let answers = join_all(ranges.iter().map(|range| rig.get(PATH).range(&ask(range)).send())).await;
    for (range, answer) in ranges.into_iter().zip(&answers) {
        answer.partial(&truth(), range);
    }
    let calls = rig.inner.calls();
    assert_eq!(calls.len(), 3, "{:?}", asked(&rig));
    assert_eq!(calls[2].headers["if-none-match"], "\"v1\"");
    assert_eq!(calls[2].headers["range"], "bytes=5000-5999");
    assert!(!calls[2].headers.contains_key("if-range"));
    assert_eq!(answers[0].cache_status(), "tower-video-cache; fwd=stale; fwd-status=304; ttl=300");

    // The object is fresh again, and in parts as before.
    let whole = rig.get(PATH).send().await;
    whole.whole(&truth()).is_hit();
    assert_eq!(asked(&rig)[3..], ["1000-4999 \"v1\"", "6000-9499 \"v1\""]);
}

#[tokio::test]
async fn a_stale_object_that_has_changed_is_begun_anew() {
    let rig = begun(parted().honours_conditions()).await;
    rig.inner.answer(PATH, changed().honours_conditions());
    rig.clock.advance(seconds(301));
    let answer = rig.get(PATH).range("bytes=5000-5009").send().await;
    answer.partial(&other(), 5000..5010);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=stale; ttl=300; stored");
    rig.get(PATH).send().await.whole(&other());
    assert_eq!(
        asked(&rig),
        ["0-999", "5000-5999", "0-4999 \"v2\"", "6000-9499 \"v2\""],
        "no byte of the old object is used"
    );
}

#[tokio::test]
async fn a_body_that_began_fresh_goes_on_when_its_object_is_stale() {
    let rig = small(parted(), 1);
    let mut reading = rig.get(PATH).reading().await;
    assert!(reading.ready() == truth().slice(..1000));
    rig.clock.advance(seconds(301));
    reading.rest().await.whole(&truth());
    assert!(asked(&rig)[1..].iter().all(|asked| asked.ends_with("\"v1\"")));
}

#[tokio::test]
async fn an_unsafe_request_takes_out_the_object_with_all_its_chunks() {
    let rig = begun(parted()).await;
    rig.get(PATH).range("bytes=5000-5999").send().await.partial(&truth(), 5000..6000);
    rig.inner.answer(PATH, changed());
    rig.ask(Method::POST, PATH).send().await;
    rig.get(PATH).range("bytes=5000-5999").send().await.partial(&other(), 5000..6000);
    rig.get(PATH).range("bytes=0-9").send().await.partial(&other(), 0..10);
    assert_eq!(asked(&rig)[3..], ["5000-5999", "0-999 \"v2\""]);
}

#[tokio::test]
async fn each_variant_is_an_object_of_its_own() {
    let rig = rig(parted().header("vary", "accept-language"));
    rig.get(PATH).header("accept-language", "de").range("bytes=0-9").send().await.partial(&truth(), 0..10);
    rig.inner.answer(PATH, changed().header("vary", "accept-language"));
    rig.get(PATH).header("accept-language", "en").range("bytes=0-9").send().await.partial(&other(), 0..10);
    let english = rig.get(PATH).header("accept-language", "en").send().await;
    english.whole(&other());
    rig.inner.answer(PATH, parted().header("vary", "accept-language"));
    let german = rig.get(PATH).header("accept-language", "de").send().await;
    german.whole(&truth());
    assert_eq!(asked(&rig), ["0-999", "0-999", "1000-9499 \"v2\"", "1000-9499 \"v1\""]);
    let languages: Vec<_> =
        rig.inner.calls().iter().map(|call| call.headers["accept-language"].clone()).collect();
    assert_eq!(languages, ["de", "en", "en", "de"]);
}

#[tokio::test]
async fn an_object_stored_without_credentials_is_fetched_without_them() {
    // RFC 9111 §3.5
    for (control, sends) in [("max-age=60", false), ("public, max-age=60", true)] {
        let policy = Policy::default().share_with_authorized(true);
        let rig = begun(parted().header("cache-control", control)).await.layer(|layer| layer.policy(policy));
        let answer = rig.get(PATH).header("authorization", "Basic eDp5").send().await;
        answer.whole(&truth()).is_hit();
        assert_eq!(asked(&rig)[1], "1000-9499 \"v1\"");
        assert_eq!(rig.inner.calls()[1].headers.contains_key("authorization"), sends, "{control}");
    }
}

#[tokio::test]
async fn an_unstorable_response_passes_with_the_range_that_the_client_asked_for() {
    for (control, authorization, detail) in [
        ("no-store", None, "no-store"),
        ("private", None, "private"),
        ("max-age=60", Some("Basic eDp5"), "authorization"),
    ] {
        let rig = rig(parted().header("cache-control", control));
        let ask = || match authorization {
            Some(value) => rig.get(PATH).header("authorization", value),
            None => rig.get(PATH),
        };
        let answer = ask().range("bytes=4100-4199").send().await;
        answer.partial(&truth(), 4100..4200);
        assert_eq!(answer.cache_status(), format!("tower-video-cache; fwd=uri-miss; detail={detail}"));
        assert_eq!(asked(&rig), ["4000-4999", "4100-4199"]);
        assert_eq!(rig.puts(), 0);
        // The cache remembers it.
        ask().send().await.whole(&truth());
        assert_eq!(asked(&rig)[2..], ["all"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_may_not_be_shared_is_not_stored() {
    let rig = begun(parted()).await;
    rig.inner.answer(PATH, parted().part_header("cache-control", "no-store"));
    let puts = rig.puts();
    let answer = rig.get(PATH).range("bytes=5000-5099").send().await;
    answer.partial(&truth(), 5000..5100);
    assert_eq!(rig.puts(), puts);
    assert!(rig.inner.calls().len() < 7, "{:?}", asked(&rig));
}

#[tokio::test]
async fn the_answer_to_a_head_freshens_an_object_and_leaves_it_in_parts() {
    let rig = begun(parted()).await;
    rig.clock.advance(seconds(301));
    rig.head(PATH).send().await;
    rig.get(PATH).range("bytes=0-9").send().await.partial(&truth(), 0..10).is_hit();
    rig.get(PATH).send().await.whole(&truth()).is_hit();
    assert_eq!(asked(&rig), ["0-999", "all", "1000-9499 \"v1\""]);
}

#[tokio::test(start_paused = true)]
async fn an_object_in_parts_does_not_stand_in_for_an_error_and_is_not_lost_by_it() {
    let rig = begun(parted().honours_conditions()).await;
    let rig = rig.layer(|layer| layer.policy(Policy::default().stale_if_error(seconds(900))));
    rig.clock.advance(seconds(301));
    rig.inner.answer(PATH, Script::absent().status(503));
    // The missing chunks would have to come from the inner service that just failed.
    for range in ["bytes=0-9", "bytes=0-"] {
        assert_eq!(rig.get(PATH).range(range).send().await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    rig.inner.answer(PATH, parted().honours_conditions());
    let before = asked(&rig).len();
    rig.get(PATH).send().await.whole(&truth());
    assert_eq!(asked(&rig)[before..], ["0-999", "1000-9499 \"v1\""], "one condition, and the rest");
}

#[tokio::test]
async fn an_only_if_cached_request_gets_no_part_of_an_object_in_parts() {
    let rig = begun(parted()).await;
    let answer = rig.get(PATH).header("cache-control", "only-if-cached").send().await;
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    rig.get(PATH).range("bytes=0-9").send().await.partial(&truth(), 0..10).is_hit();
    rig.inner.was_called(1);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_fails_takes_nothing_of_the_object_out() {
    let rig = begun(parted()).await;
    rig.inner.answer(PATH, Script::absent().status(503));
    let answer = rig.get(PATH).range("bytes=5000-5009").send().await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let cut = rig.get(PATH).send().await;
    assert!(cut.error.is_some_and(|error| error.is_inner()));
    assert!(cut.bytes == truth().slice(..1000));
    rig.inner.answer(PATH, Script::absent().fails());
    assert!(rig.get(PATH).range("bytes=5000-5009").response().await.is_err());
    rig.inner.answer(PATH, parted());
    let before = asked(&rig).len();
    rig.get(PATH).send().await.whole(&truth()).is_hit();
    assert_eq!(asked(&rig)[before..], ["1000-9499 \"v1\""]);
}

#[tokio::test]
async fn a_whole_fill_completes_the_missing_chunks_before_it_serves() {
    let gate = Gate::shut();
    let rig = begun(parted()).await;
    rig.get(PATH).range("bytes=5000-5999").send().await.partial(&truth(), 5000..6000);
    let rig = rig.fill(Fill::whole());
    rig.inner.answer(PATH, parted().step(15, Step::Wait(gate.clone())));
    let there = rig.get(PATH).range("bytes=0-9").start();
    let missing = rig.get(PATH).range("bytes=8000-8009").start();
    gate.reached_by(1).await;
    settle().await;
    assert!(!there.is_finished() && !missing.is_finished());
    gate.open();
    there.await.unwrap().partial(&truth(), 0..10);
    missing.await.unwrap().partial(&truth(), 8000..8010);
    assert_eq!(asked(&rig)[2..], ["1000-4999 \"v1\"", "6000-9499 \"v1\""]);
    // From now on the object is whole, in any mode.
    rig.get(PATH).send().await.whole(&truth()).is_hit();
    rig.get(PATH).header("cache-control", "only-if-cached").send().await.whole(&truth()).is_hit();
    rig.inner.was_called(4);
}

#[tokio::test]
async fn a_whole_fill_of_a_changed_object_is_of_the_new_one() {
    let rig = begun(parted()).await.fill(Fill::whole());
    for (number, script) in [changed(), changed().ignores_if_range()].into_iter().enumerate() {
        let rig = if number == 0 { &rig } else { &begun(parted()).await.fill(Fill::whole()) };
        rig.inner.answer(PATH, script);
        rig.get(PATH).send().await.whole(&other());
        rig.get(PATH).send().await.whole(&other()).is_hit();
        assert_eq!(asked(rig)[1..], ["1000-9499 \"v1\"", "all"]);
    }
}

#[tokio::test]
async fn a_progressive_fill_serves_the_stored_chunks_at_once_and_fetches_the_rest() {
    let gate = Gate::shut();
    let rig = begun(parted()).await.fill(Fill::progressive());
    rig.inner.answer(PATH, parted().held_by(&gate));
    let mut reading = rig.get(PATH).reading().await;
    assert!(reading.ready() == truth().slice(..1000));
    reading.waits();
    gate.open();
    reading.rest().await.whole(&truth()).is_hit();
    assert_eq!(asked(&rig), ["0-999", "1000-9499 \"v1\""]);
}

#[tokio::test]
async fn a_part_that_no_range_asked_for_is_passed_on_and_never_completed() {
    // S3 `partNumber` and Azure `x-ms-range` bring a part of an object, and the key of the cache does not show which.
    let part = |range: std::ops::Range<usize>| {
        Script::of(&truth().slice(range.clone()))
            .status(206)
            .header("content-range", &format!("bytes {}-{}/9500", range.start, range.end - 1))
            .header("content-length", &range.len().to_string())
            .header("etag", "\"v1\"")
    };
    for mode in [Fill::whole(), Fill::progressive(), Fill::auto()] {
        for range in [0..2500, 2500..5000, 0..LENGTH] {
            let rig = Rig::new().fill(mode).script(PATH, part(range.clone()));
            for call in 1..=3 {
                let answer = rig.get(PATH).header("x-ms-range", "bytes=0-9").send().await;
                answer.partial(&truth(), range.clone());
                assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=status");
                rig.inner.was_called(call);
            }
            assert_eq!(rig.puts(), 0);
        }
    }
    // A question about a stored response may be answered so, too.
    let rig = Rig::new().script(PATH, parted().header("cache-control", "max-age=60"));
    rig.get(PATH).send().await.whole(&truth());
    rig.clock.advance(seconds(60));
    rig.inner.answer(PATH, part(0..2500).without("etag").header("etag", "\"v2\""));
    rig.get(PATH).send().await.partial(&truth(), 0..2500);
    rig.get(PATH).send().await.partial(&truth(), 0..2500);
    assert_eq!(asked(&rig), ["all", "all", "all"]);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_broke_leaves_its_chunks_for_the_next_fill() {
    for mode in [Fill::whole(), Fill::progressive()] {
        let rig = Rig::new().fill(mode).layer(|layer| layer.retry(Retry::default().attempts(0)));
        rig.inner.answer_each(PATH, [parted().dies_at(4500), parted()]);
        let first = rig.get(PATH).send().await;
        assert!(first.error.is_some() || first.status == StatusCode::BAD_GATEWAY, "{mode:?}");
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(asked(&rig), ["all", "4000-9499 \"v1\""], "{mode:?}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_take_a_chunk_of_a_slice_costs_the_client_nothing() {
    for fault in [Fault::Error, Fault::Absent, Fault::Lost, Fault::Corrupt] {
        let rig = begun(parted()).await;
        rig.store.spoil(Operation::Put, rig.puts() + 2, fault);
        rig.get(PATH).send().await.whole(&truth());
        assert!(rig.inner.calls().len() < 6, "{fault:?} {:?}", asked(&rig));
        rig.get(PATH).send().await.whole(&truth());
    }
}

#[tokio::test]
async fn a_chunk_that_the_store_has_no_room_for_is_read_by_the_waiting_request() {
    let rig = begun(parted()).await.layer(|layer| layer.limits(Limits::default().max_reserved(1)));
    let puts = rig.puts();
    rig.get(PATH).range("bytes=5000-5099").send().await.partial(&truth(), 5000..5100);
    assert_eq!(rig.puts(), puts);
    rig.get(PATH).send().await.whole(&truth());
    assert!(rig.inner.calls().len() < 20, "{:?}", asked(&rig));
}

#[tokio::test]
async fn an_object_that_was_evicted_in_part_is_completed_by_its_missing_chunks() {
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let rig = begun(parted()).await;
        rig.get(PATH).range("bytes=5000-5999").send().await.partial(&truth(), 5000..6000);
        // The chunk that is read is lost.
        rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + 2, Fault::Lost);
        rig.get(PATH).range("bytes=0-9").send().await.partial(&truth(), 0..10).is_hit();
        let rig = rig.fill(mode);
        let calls = rig.inner.calls().len();
        rig.get(PATH).send().await.whole(&truth());
        let asked = asked(&rig)[calls..].to_vec();
        assert_eq!(asked, ["0-4999 \"v1\"", "6000-9499 \"v1\""], "{mode:?}");
    }
}

#[tokio::test]
async fn a_stale_object_in_parts_is_validated_by_one_question_in_every_mode() {
    for mode in [Fill::whole(), Fill::progressive()] {
        let rig = begun(parted().honours_conditions()).await.fill(mode);
        rig.clock.advance(seconds(301));
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(rig.inner.calls()[1].headers["if-none-match"], "\"v1\"");
        assert_eq!(asked(&rig), ["0-999", "all", "1000-9499 \"v1\""], "{mode:?}");
        rig.get(PATH).send().await.whole(&truth()).is_hit();
        rig.inner.was_called(3);
    }
}

#[tokio::test]
async fn a_body_under_way_goes_on_when_its_object_is_invalidated_and_does_not_bring_it_back() {
    let rig = small(parted(), 1);
    let mut reading = rig.get(PATH).reading().await;
    reading.ready();
    rig.ask(Method::POST, PATH).send().await;
    reading.rest().await.whole(&truth());
    let calls = rig.inner.calls().len();
    rig.get(PATH).range("bytes=5000-5009").send().await.partial(&truth(), 5000..5010);
    assert_eq!(asked(&rig)[calls..], ["5000-5999"]);
}

#[tokio::test]
async fn versions_that_follow_each_other_fast_are_never_mixed() {
    // Each call is answered by a different version than the one before.
    for honest in [true, false] {
        let rig = small(parted(), 2);
        let script = |number: usize| {
            let script = if number % 2 == 0 { parted() } else { changed() };
            if honest { script } else { script.ignores_if_range() }
        };
        rig.inner.answer_each(PATH, (0..200).map(script));
        for view in 0..20 {
            let first = view * 450;
            let answer = rig.get(PATH).range(&format!("bytes={first}-")).send().await;
            let version = if answer.field("etag") == "\"v1\"" { truth() } else { other() };
            let part = version.slice(first..);
            assert!(part.starts_with(&answer.bytes), "{view} {}", answer.cache_status());
            assert!(answer.error.is_some() || answer.bytes.len() == part.len());
        }
        assert!(rig.inner.calls().len() < 20 * 7, "{}", rig.inner.calls().len());
    }
}
