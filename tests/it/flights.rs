//! Single flight: many misses of one key, one call of the inner service.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_video_cache::{Fault, Operation, Timeouts};

use crate::rig::{Gate, Rig, Script, Step, movie, poll_until_done, seconds, settle};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_cold_requests_of_different_ranges_cost_one_call() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 50_000).held_by(&gate));
    let movie = movie("/a.mp4", 50_000);
    let mut viewers = JoinSet::new();
    for index in 0..200_usize {
        let (start, end) = (index * 97 % 40_000, index * 97 % 40_000 + 1 + index * 31 % 9000);
        let ask = rig.get("/a.mp4").range(&format!("bytes={start}-{}", end - 1));
        viewers.spawn(async move { (ask.send().await, start..end) });
    }
    gate.reached_by(1).await;
    gate.open();
    while let Some(viewer) = viewers.join_next().await {
        let (answer, range) = viewer.unwrap();
        answer.partial(&movie, range);
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn followers_say_that_they_were_collapsed() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).held_by(&gate));
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let follower = rig.get("/a.mp4").start();
    settle().await;
    gate.open();
    assert_eq!(leader.await.unwrap().cache_status(), "tower-video-cache; fwd=uri-miss; ttl=300; stored");
    assert_eq!(follower.await.unwrap().cache_status(), "tower-video-cache; fwd=uri-miss; ttl=300; collapsed");
}

#[tokio::test]
async fn keys_do_not_wait_for_each_other() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 10).held_by(&gate)).movie("/b.mp4", 10);
    let waiting = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    rig.get("/b.mp4").send().await.whole(&movie("/b.mp4", 10));
    rig.get("/a.mp4?other").start().abort();
    gate.open();
    waiting.await.unwrap().whole(&movie("/a.mp4", 10));
}

#[tokio::test]
async fn a_dropped_leader_does_not_strand_its_followers() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).held_by(&gate));
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let follower = rig.get("/a.mp4").range("bytes=0-99").start();
    settle().await;
    leader.abort();
    settle().await;
    gate.open();
    follower.await.unwrap().partial(&movie("/a.mp4", 2500), 0..100);
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_panicking_leader_does_not_strand_its_followers() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).held_by(&gate).panics());
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let follower = rig.get("/a.mp4").start();
    settle().await;
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 2500));
    gate.open();
    assert!(leader.await.unwrap_err().is_panic());
    follower.await.unwrap().whole(&movie("/a.mp4", 2500));
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_no_longer_than_its_limit() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).step(3, Step::Wait(gate.clone())));
    let rig = rig.layer(|layer| layer.timeouts(Timeouts::default().follower(seconds(10))));
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 2500).honours_ranges());
    let began = tokio::time::Instant::now();
    let answer = rig.get("/a.mp4").range("bytes=5-9").send().await;
    assert_eq!(began.elapsed(), seconds(10));
    // The request goes to the inner service as if there were no cache: with its own range.
    answer.partial(&movie("/a.mp4", 2500), 5..10);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=waited-too-long");
    gate.open();
    leader.await.unwrap().whole(&movie("/a.mp4", 2500));
    rig.inner.was_called(2);
}

#[tokio::test]
async fn an_answer_that_cannot_be_stored_frees_all_followers_at_once() {
    let gate = Gate::shut();
    let script = Script::movie("/a.mp4", 2500).header("cache-control", "no-store");
    let rig = Rig::new().script("/a.mp4", script.clone().held_by(&gate));
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let followers: Vec<_> = (0..20).map(|_| rig.get("/a.mp4").start()).collect();
    settle().await;
    let together = Gate::shut();
    rig.inner.answer("/a.mp4", script.held_by(&together));
    gate.open();
    let passed = leader.await.unwrap();
    passed.whole(&movie("/a.mp4", 2500));
    assert_eq!(passed.cache_status(), "tower-video-cache; fwd=uri-miss; detail=no-store");
    assert_eq!(passed.field("content-length"), "2500");
    // If the requests went one after the other, the second would never come to the gate.
    together.reached_by(20).await;
    together.open();
    for follower in followers {
        follower.await.unwrap().whole(&movie("/a.mp4", 2500));
    }
    rig.inner.was_called(21);
    assert_eq!(rig.store.calls(Operation::Put), 0);
}

#[tokio::test]
async fn followers_of_a_broken_body_try_again_and_each_ends() {
    let gate = Gate::shut();
    let broken = Script::movie("/a.mp4", 2500).cut(2).held_by(&gate);
    let rig = Rig::new().script("/a.mp4", broken);
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let followers: Vec<_> = (0..20).map(|_| rig.get("/a.mp4").start()).collect();
    settle().await;
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 2500));
    gate.open();
    assert_eq!(leader.await.unwrap().status, 502);
    for follower in followers {
        follower.await.unwrap().whole(&movie("/a.mp4", 2500));
    }
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_layer_applied_many_times_is_one_cache() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).held_by(&gate));
    let truth: Bytes = movie("/a.mp4", 2500);
    let clone = rig.layer.clone();
    let viewers = [rig.get("/a.mp4").start(), rig.layer(|_| clone).get("/a.mp4").start()];
    gate.reached_by(1).await;
    settle().await;
    gate.open();
    for viewer in viewers {
        viewer.await.unwrap().whole(&truth);
    }
}

#[tokio::test]
async fn a_layer_within_itself_does_not_wait_for_itself() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    let twice = rig.layer.layer(rig.service());
    for _ in 0..2 {
        let request = Request::get("/a.mp4").body(Full::default()).unwrap();
        // The clock runs here: if the request had to wait, this would take half a minute.
        let answer = poll_until_done(twice.clone().oneshot(request)).await.unwrap();
        let answer = answer.map(BodyExt::collect);
        assert_eq!(answer.into_body().await.unwrap().to_bytes(), movie("/a.mp4", 2500));
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_flight_that_landed_between_the_look_and_the_joining_is_not_flown_again() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    rig.get("/a.mp4").send().await;
    // This lookup comes too early to see the stored response.
    rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + 1, Fault::Absent);
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500)).is_hit();
    rig.inner.was_called(1);
}

#[tokio::test(start_paused = true)]
async fn an_inner_body_that_stalls_does_not_hold_its_key() {
    let truth = movie("/a.mp4", 2500);
    let gate = Gate::shut();
    let stalling = Script::movie("/a.mp4", 2500).step(3, Step::Wait(gate.clone()));
    let rig = Rig::new()
        .script("/a.mp4", stalling)
        .layer(|layer| layer.timeouts(Timeouts::default().inner_idle(seconds(60))));
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let gone = rig.get("/a.mp4").start();
    settle().await;
    gone.abort();
    tokio::time::advance(seconds(61)).await;
    settle().await;
    // The inner service is well again, and no request waits for the stalled body.
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 2500));
    let began = tokio::time::Instant::now();
    let answer = rig.get("/a.mp4").send().await;
    answer.whole(&truth);
    assert!(answer.cache_status().ends_with("; stored"), "{}", answer.cache_status());
    assert_eq!(began.elapsed(), seconds(0));
    // The client that waited from the start gets the rest when it comes.
    assert!(!leader.is_finished());
    gate.open();
    let answer = leader.await.unwrap();
    answer.whole(&truth);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=inner-stalled");
    rig.inner.was_called(2);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_does_not_answer_does_not_hold_its_key() {
    let truth = movie("/a.mp4", 2500);
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).held_by(&gate));
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    tokio::time::advance(seconds(61)).await;
    settle().await;
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 2500));
    rig.get("/a.mp4").send().await.whole(&truth);
    gate.open();
    leader.await.unwrap().whole(&truth);
    rig.inner.was_called(2);
}
