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
            assert_eq!(answer.cache_status(), "tower-video-cache; fwd=method");
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

#[tokio::test(start_paused = true)]
async fn a_variant_does_not_come_back_with_one_that_was_being_stored() {
    let rig = Rig::new();
    let vary = |name: &str, by: &str| Script::movie(name, 2500).header("vary", by);
    rig.inner.answer("/a.mp4", vary("/old-de", "accept-language"));
    rig.get("/a.mp4").header("accept-language", "de").send().await.whole(&movie("/old-de", 2500));
    // Another variant, by other fields: the record of the variants is written anew, and that takes its time.
    rig.inner.answer("/a.mp4", vary("/old-en", "accept-language, origin"));
    let puts = rig.puts();
    rig.store.spoil(Operation::Put, puts + 4, Fault::Slow(seconds(1)));
    let leader = rig.get("/a.mp4").header("accept-language", "en").start();
    while rig.puts() < puts + 4 {
        tokio::task::yield_now().await;
    }
    rig.inner.answer("/a.mp4", vary("/new", "accept-language, origin"));
    rig.ask(Method::PUT, "/a.mp4").send().await;
    let all_are_new = || async {
        for language in ["de", "en"] {
            rig.get("/a.mp4").header("accept-language", language).send().await.whole(&movie("/new", 2500));
        }
    };
    all_are_new().await;
    leader.await.unwrap().whole(&movie("/old-en", 2500));
    all_are_new().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_stop_the_invalidation() {
    let rig = Rig::new().movie("/a.mp4", 10);
    rig.get("/a.mp4").send().await;
    rig.store.spoil(Operation::Remove, 1, Fault::Slow(seconds(1)));
    let unsafe_request = rig.ask(Method::PUT, "/a.mp4").start();
    while rig.store.calls(Operation::Remove) < 1 {
        tokio::task::yield_now().await;
    }
    unsafe_request.abort();
    tokio::time::advance(seconds(2)).await;
    settle().await;
    rig.inner.answer("/a.mp4", Script::movie("/new", 20));
    rig.get("/a.mp4").send().await.whole(&movie("/new", 20));
}
