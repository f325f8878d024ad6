//! Unsafe requests that succeed take out what they make untrue (RFC 9111 §4.4).

use http::Method;

use tower_video_cache::{Fault, Operation};

use crate::rig::{movie, seconds, settle, Gate, Rig, Script, Step};

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).unwrap()
}

#[tokio::test]
async fn an_unsafe_request_that_succeeds_takes_the_stored_response_out() {
    for name in ["POST", "PUT", "DELETE", "PATCH", "FROBNICATE"] {
        for (status, kept) in [(200, false), (204, false), (303, false), (404, true), (500, true)] {
            let rig = Rig::new().movie("/a.mp4", 10);
            rig.get("/a.mp4").send().await;
            rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 10).status(status));
            let answer = rig.ask(method(name), "/a.mp4").body("new").send().await;
            assert_eq!(answer.status, status);
            assert!(!answer.has("cache-status"), "what passes is untouched");
            rig.inner.answer("/a.mp4", Script::movie("/new", 20));
            let truth = if kept { movie("/a.mp4", 10) } else { movie("/new", 20) };
            rig.get("/a.mp4").send().await.whole(&truth);
        }
    }
}

#[tokio::test]
async fn a_safe_request_takes_nothing_out() {
    let rig = Rig::new().movie("/a.mp4", 10);
    rig.get("/a.mp4").send().await;
    for name in ["HEAD", "OPTIONS", "TRACE"] {
        rig.ask(method(name), "/a.mp4").send().await;
    }
    rig.get("/a.mp4").send().await.is_hit();
}

#[tokio::test]
async fn every_variant_goes_with_its_key() {
    let rig = Rig::new();
    for language in ["de", "en"] {
        rig.inner.answer("/a.mp4", Script::movie(language, 10).header("vary", "accept-language"));
        rig.get("/a.mp4").header("accept-language", language).send().await.whole(&movie(language, 10));
    }
    rig.ask(Method::DELETE, "/a.mp4").send().await;
    rig.inner.answer("/a.mp4", Script::movie("/new", 20).header("vary", "accept-language"));
    for language in ["de", "en"] {
        rig.get("/a.mp4").header("accept-language", language).send().await.whole(&movie("/new", 20));
    }
}

#[tokio::test]
async fn a_fill_under_way_does_not_put_back_what_was_taken_out() {
    let gate = Gate::shut();
    let old = Script::movie("/old", 2500).step(3, Step::Wait(gate.clone()));
    let rig = Rig::new().script("/a.mp4", old);
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let follower = rig.get("/a.mp4").start();
    settle().await;
    rig.inner.answer("/a.mp4", Script::movie("/new", 2000));
    rig.ask(Method::PUT, "/a.mp4").send().await;

    // Who comes after the change does not join the flight that began before it.
    rig.get("/a.mp4").send().await.whole(&movie("/new", 2000));
    gate.open();
    let answer = leader.await.unwrap();
    answer.whole(&movie("/old", 2500));
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=invalidated");
    follower.await.unwrap().whole(&movie("/new", 2000));
    rig.get("/a.mp4").send().await.whole(&movie("/new", 2000)).is_hit();
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_under_way_is_taken_back() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/old", 2500));
    // Three chunks, and then the manifest, which takes its time.
    rig.store.spoil(Operation::Put, 4, Fault::Slow(seconds(1)));
    let leader = rig.get("/a.mp4").start();
    while rig.store.calls(Operation::Put) < 4 {
        tokio::task::yield_now().await;
    }
    rig.inner.answer("/a.mp4", Script::movie("/new", 2000));
    rig.ask(Method::PUT, "/a.mp4").send().await;
    leader.await.unwrap().whole(&movie("/old", 2500));
    rig.get("/a.mp4").send().await.whole(&movie("/new", 2000));
}
