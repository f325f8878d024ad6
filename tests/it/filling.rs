//! Fills: the request to the inner service, the parts of its answer that are stored, and those that are not.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tower_video_cache::{
    BoxError, ChunkSize, Fault, Fill, Limits, MokaStore, Operation, Policy, Retry, Store, VideoCacheLayer,
};

use crate::rig::{Gate, Rig, Script, Step, movie, settle};

#[tokio::test]
async fn the_inner_service_is_asked_for_the_whole_and_for_nothing_else() {
    #[derive(Clone, Debug, PartialEq)]
    struct Viewer(u32);

    let rig = Rig::new().movie("/a.mp4", 2500);
    let conditions = [
        ("if-match", "*"),
        ("if-none-match", "\"x\""),
        ("if-modified-since", "Sun, 22 Nov 2020 12:00:00 GMT"),
        ("if-unmodified-since", "Sun, 22 Nov 2026 12:00:00 GMT"),
        ("if-range", "\"x\""),
        ("range", "bytes=0-9"),
    ];
    let mut ask = rig.get("/a.mp4?quality=4k").header("x-kept", "1").extension(Viewer(7));
    for (name, value) in conditions {
        ask = ask.header(name, value);
    }
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 2500));
    ask.send().await;
    let asked = &rig.inner.calls()[0];
    assert_eq!(asked.uri, "/a.mp4?quality=4k");
    assert_eq!(asked.headers.len(), 1);
    assert_eq!(asked.headers["x-kept"], "1");
    assert_eq!(asked.extensions.get::<Viewer>(), Some(&Viewer(7)));
}

#[tokio::test]
async fn a_body_is_cut_into_chunks_and_committed_last() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    rig.get("/a.mp4").send().await;
    assert_eq!(rig.puts(), 3 + 1);
}

#[tokio::test]
async fn nothing_is_answered_before_the_whole_is_stored() {
    let gate = Gate::shut();
    let script = Script::movie("/a.mp4", 2500).step(4, Step::Wait(gate.clone()));
    let rig = Rig::new().script("/a.mp4", script);
    let viewer = rig.get("/a.mp4").range("bytes=0-9").start();
    gate.reached_by(1).await;
    settle().await;
    assert!(!viewer.is_finished());
    gate.open();
    viewer.await.unwrap().partial(&movie("/a.mp4", 2500), 0..10);
}

#[tokio::test]
async fn a_body_of_unknown_length_is_stored_as_well() {
    for length in [0, 1, 999, 1000, 1001, 2500, 3000] {
        let truth = movie("/a.mp4", length);
        let rig = Rig::new().script("/a.mp4", Script::of(&truth));
        rig.get("/a.mp4").send().await.whole(&truth);
        let hit = rig.get("/a.mp4").send().await;
        hit.whole(&truth).is_hit();
        assert_eq!(hit.field("content-length"), length.to_string());
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn trailers_are_not_stored_but_pass_with_a_passing_body() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    let script = Script::movie("/a.mp4", 2500).step(usize::MAX, Step::Trailers(trailers.clone()));
    let rig = Rig::new()
        .script("/a.mp4", script.clone())
        .script("/passing.mp4", script.clone().header("cache-control", "no-store"))
        .script("/salvaged.mp4", script);
    for _ in 0..2 {
        assert_eq!(rig.get("/a.mp4").send().await.trailers, None);
    }
    assert_eq!(rig.get("/passing.mp4").send().await.trailers, Some(trailers.clone()));
    rig.store.spoil_from(Operation::Put, rig.puts() + 1, Fault::Error);
    assert_eq!(rig.get("/salvaged.mp4").send().await.trailers, Some(trailers));
}

#[tokio::test]
async fn a_body_that_breaks_its_word_is_an_error_and_never_stored() {
    let script = Script::movie("/a.mp4", 2500);
    for (broken, detail) in [
        (script.clone().cut(2), "inner-length-mismatch"),
        (script.clone().cut(0), "inner-length-mismatch"),
        (script.clone().step(9, Step::Data(Bytes::from_static(b"more"))), "inner-length-mismatch"),
        (script.clone().step(1, Step::Fail), "inner-body-failed"),
        (script.clone().step(9, Step::Fail), "inner-body-failed"),
        (Script::of(&movie("/a.mp4", 2500)).step(3, Step::Fail), "inner-body-failed"),
    ] {
        let rig = Rig::new().script("/a.mp4", broken);
        for range in ["bytes=0-", "bytes=0-9"] {
            let answer = rig.get("/a.mp4").range(range).send().await;
            assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
            let said = format!("tower-video-cache; fwd=uri-miss; fwd-status=200; detail={detail}");
            assert_eq!(answer.cache_status(), said);
            assert!(answer.error.is_none());
            assert_eq!(answer.field("content-length"), answer.bytes.len().to_string());
        }
        rig.inner.was_called(2);
        rig.inner.answer("/a.mp4", script.clone());
        rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500));
    }
}

#[tokio::test]
async fn a_client_that_leaves_does_not_stop_the_fill() {
    let (answering, pouring) = (Gate::shut(), Gate::shut());
    let script = Script::movie("/a.mp4", 2500).held_by(&answering).step(2, Step::Wait(pouring.clone()));
    let rig = Rig::new().script("/a.mp4", script);
    let viewer = rig.get("/a.mp4").start();
    answering.reached_by(1).await;
    viewer.abort();
    answering.open();
    pouring.reached_by(1).await;
    pouring.open();
    settle().await;
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500)).is_hit();
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_client_that_leaves_while_it_reads_harms_nobody() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    let response = rig.get("/a.mp4").response().await.unwrap();
    drop(response);
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500)).is_hit();
}

#[tokio::test]
async fn an_error_of_the_inner_service_reaches_its_client() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 10).fails());
    assert!(rig.get("/a.mp4").response().await.is_err());
    rig.inner.was_called(1);
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 10));
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 10));
}

#[tokio::test]
async fn a_fill_says_nothing_of_content_that_it_does_not_have() {
    let rig = Rig::new().movie("/a.mp4", 10);
    rig.get("/a.mp4").header("content-length", "0").header("transfer-encoding", "chunked").send().await;
    let asked = &rig.inner.calls()[0].headers;
    assert!(!asked.contains_key("content-length") && !asked.contains_key("transfer-encoding"));
}

#[tokio::test]
async fn a_panic_of_the_inner_service_reaches_its_client_and_poisons_nothing() {
    let script = Script::movie("/a.mp4", 2500);
    for panicking in [script.clone().panics(), script.clone().step(3, Step::Panic)] {
        let rig = Rig::new().script("/a.mp4", panicking);
        assert!(rig.get("/a.mp4").start().await.unwrap_err().is_panic());
        rig.inner.answer("/a.mp4", script.clone());
        rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500));
    }
}

#[tokio::test]
async fn a_fill_that_outlives_its_freshness_still_serves_the_waiting_requests() {
    let gate = Gate::shut();
    let script =
        Script::movie("/a.mp4", 2500).header("cache-control", "max-age=5").step(3, Step::Wait(gate.clone()));
    let rig = Rig::new().script("/a.mp4", script);
    let viewers = [rig.get("/a.mp4").start(), rig.get("/a.mp4").start()];
    gate.reached_by(1).await;
    settle().await;
    rig.clock.advance(Duration::from_secs(60));
    gate.open();
    for viewer in viewers {
        let answer = viewer.await.unwrap();
        answer.whole(&movie("/a.mp4", 2500));
        assert_eq!(answer.field("age"), "60");
        assert!(answer.cache_status().contains("ttl=-55"), "{}", answer.cache_status());
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn chunks_are_cut_to_the_size_that_the_store_can_hold() {
    /// A store that holds no value of more than 500 bytes.
    struct Small(MokaStore);

    impl Store for Small {
        async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
            self.0.get(key).await
        }

        async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
            assert!(value.len() <= 500, "the store holds no more, as it said");
            self.0.put(key, value).await
        }

        async fn remove(&self, key: &str) -> Result<(), BoxError> {
            self.0.remove(key).await
        }

        fn max_value_size(&self) -> Option<u64> {
            Some(500)
        }
    }

    let mut rig = Rig::new().movie("/a.mp4", 2500);
    let small = VideoCacheLayer::new(Small(MokaStore::new(1 << 20).unwrap()));
    rig.layer = small.chunk_size(ChunkSize::new(1 << 20).unwrap());
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500));
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500)).is_hit();
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_response_that_is_too_large_passes_with_one_call() {
    let policy = Policy::default().max_size(2499);
    let rig = Rig::new().movie("/known.mp4", 2500).layer(|layer| layer.policy(policy));
    rig.inner.answer("/unknown.mp4", Script::of(&movie("/unknown.mp4", 2500)));
    for (path, puts) in [("/known.mp4", 0), ("/unknown.mp4", 2)] {
        let (calls, before) = (rig.inner.calls().len(), rig.puts());
        let answer = rig.get(path).send().await;
        answer.whole(&movie(path, 2500));
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=too-large");
        assert_eq!(answer.has("content-length"), path == "/known.mp4");
        assert_eq!(rig.puts() - before, puts);
        rig.inner.was_called(calls + 1);
    }
}

#[tokio::test]
async fn fills_together_promise_no_more_than_half_the_store() {
    let gate = Gate::shut();
    let held = Script::movie("/a.mp4", 6000).step(3, Step::Wait(gate.clone()));
    // Chunks weigh more than their bytes: 6 chunks and 7 fit into half of the store, 6 and 8 do not.
    let rig = Rig::with_capacity(40_000).script("/a.mp4", held).movie("/b.mp4", 7500).movie("/c.mp4", 7000);
    let first = rig.get("/a.mp4").start();
    gate.reached_by(1).await;

    let passed = rig.get("/b.mp4").send().await;
    passed.whole(&movie("/b.mp4", 7500));
    assert_eq!(passed.cache_status(), "tower-video-cache; fwd=uri-miss; detail=no-room");
    let fits = rig.get("/c.mp4").send().await;
    assert!(fits.cache_status().ends_with("; stored"), "{}", fits.cache_status());

    gate.open();
    first.await.unwrap().whole(&movie("/a.mp4", 6000));
    // The promised room is free again.
    rig.get("/b.mp4").send().await.whole(&movie("/b.mp4", 7500));
    rig.get("/b.mp4").send().await.whole(&movie("/b.mp4", 7500)).is_hit();
}

#[tokio::test]
async fn a_body_of_unknown_length_promises_as_it_grows() {
    let gate = Gate::shut();
    let held = Script::movie("/held.mp4", 5000).step(3, Step::Wait(gate.clone()));
    let rig = Rig::with_capacity(20_000).script("/held.mp4", held);
    let first = rig.get("/held.mp4").start();
    gate.reached_by(1).await;
    let truth = movie("/a.mp4", 4000);
    rig.inner.answer("/a.mp4", Script::of(&truth));
    let answer = rig.get("/a.mp4").send().await;
    answer.whole(&truth);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=no-room");
    rig.inner.was_called(2);
    gate.open();
    first.await.unwrap().whole(&movie("/held.mp4", 5000));
    rig.get("/a.mp4").send().await.whole(&truth);
    rig.get("/a.mp4").send().await.whole(&truth).is_hit();
}

#[tokio::test]
async fn a_body_of_unknown_length_that_was_too_large_is_not_poured_again_at_each_seek() {
    let truth = movie("/a.mp4", 4000);
    let rig = Rig::with_capacity(5000);
    let gate = Gate::shut();
    rig.inner.answer("/a.mp4", Script::of(&truth).step(1, Step::Wait(gate.clone())));
    let leader = rig.get("/a.mp4").range("bytes=5-9").start();
    gate.reached_by(1).await;
    // It may take long to find out that the body is too large, but the result is remembered.
    rig.clock.advance(Duration::from_secs(60));
    gate.open();
    leader.await.unwrap().whole(&truth);
    rig.inner.answer("/a.mp4", Script::of(&truth).honours_ranges());
    let puts = rig.puts();
    for calls in [2, 3] {
        rig.get("/a.mp4").range("bytes=5-9").send().await.partial(&truth, 5..10);
        rig.inner.was_called(calls);
    }
    assert_eq!(rig.puts(), puts);
}

#[tokio::test(start_paused = true)]
async fn a_client_may_leave_at_any_moment() {
    let truth = movie("/a.mp4", 2500);
    // Every call of the store takes a moment, so the test has moments to leave at.
    let slow = || {
        let answering = Gate::shut();
        let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).held_by(&answering));
        for operation in [Operation::Get, Operation::Put] {
            rig.store.spoil_from(operation, 1, Fault::Slow(Duration::from_millis(10)));
        }
        answering.open();
        rig
    };
    for moment in (0..200).step_by(5).map(Duration::from_millis) {
        let rig = slow();
        let follower = rig.get("/a.mp4").range("bytes=1500-1600").start();
        let both =
            async { tokio::join!(rig.get("/a.mp4").send(), rig.get("/a.mp4").range("bytes=9-").send()) };
        // Two clients leave at this moment, one stays, and one comes afterwards.
        let _ = tokio::time::timeout(moment, both).await;
        follower.await.unwrap().partial(&truth, 1500..1601);
        rig.get("/a.mp4").send().await.whole(&truth).is_hit();
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_response_that_half_the_store_could_never_hold_is_too_large_and_keeps_its_ranges() {
    let rig = Rig::with_capacity(5000).script("/a.mp4", Script::movie("/a.mp4", 2500).honours_ranges());
    for calls in [2, 3, 4] {
        let answer = rig.get("/a.mp4").range("bytes=5-9").send().await;
        answer.partial(&movie("/a.mp4", 2500), 5..10);
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=too-large");
        rig.inner.was_called(calls);
    }
    assert_eq!(rig.puts(), 0);
}

#[tokio::test]
async fn the_chunks_of_a_body_that_died_are_completed_and_no_more_is_fetched() {
    let dying =
        Script::movie("/a.mp4", 6000).header("etag", "\"one\"").honours_ranges().dies_at(3000).dies_times(1);
    let rig = Rig::new().layer(|layer| layer.retry(Retry::default().attempts(0))).script("/a.mp4", dying);
    assert_eq!(rig.get("/a.mp4").send().await.status, 502);
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 6000));
    assert!(rig.inner.bytes_of("/a.mp4") < 3000 + 6000, "{:?}", rig.inner.ranges("/a.mp4"));
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 6000)).is_hit();
}

#[tokio::test]
async fn the_end_of_a_response_without_room_does_not_wait_for_its_beginning_to_be_read() {
    let rig = Rig::new()
        .layer(|layer| layer.limits(Limits::default().max_reserved(4096)))
        .fill(Fill::progressive().max_lead(1));
    let rig = rig.movie("/a.mp4", 20_000);
    let answer = rig.get("/a.mp4").range("bytes=-500").send();
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap();
    // No client reads up to the requested range, so the answer is the inner service's own, which has no ranges.
    answer.whole(&movie("/a.mp4", 20_000));
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=no-room");
    let rig = rig.script("/b.mp4", Script::movie("/b.mp4", 20_000).honours_ranges());
    let answer = rig.get("/b.mp4").range("bytes=-500").send();
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.unwrap();
    answer.partial(&movie("/b.mp4", 20_000), 19_500..20_000);
}
