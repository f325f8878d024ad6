//! Readiness: the service that was polled ready is the one that is called, and no place is held in vain.

use std::{convert::Infallible, sync::Arc, task::Poll};

use bytes::Bytes;
use futures_util::{FutureExt, future::poll_immediate};
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tokio::sync::Semaphore;
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimitLayer, service_fn,
};

use crate::rig::{Answer, Gate, Rig, Script, Step, movie, settle};

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

#[tokio::test]
async fn every_call_of_the_inner_service_is_of_a_ready_one() {
    // The scripted inner service panics if it is not ready. The calls are for the fill, after a failed salvage, for a
    // bypass, and for an unsafe method.
    let rig = Rig::new().movie("/a.mp4", 2500);
    rig.store.spoil(tower_video_cache::Operation::Put, 3, tower_video_cache::Fault::Error);
    // The fourth get comes after two lookups and the mark that the fill depends on.
    rig.store.spoil_from(tower_video_cache::Operation::Get, 4, tower_video_cache::Fault::Error);
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500));
    rig.inner.was_called(2);
    rig.ask(http::Method::POST, "/a.mp4").send().await;
    rig.layer(|layer| layer.bypass(|_| true)).get("/a.mp4").send().await;
}

#[tokio::test]
async fn an_inner_service_that_is_not_ready_makes_the_cache_not_ready() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    let limited = ConcurrencyLimitLayer::new(1);
    let mut taken = limited.layer(rig.inner.clone());
    let mut cache = rig.layer.layer(taken.clone());
    taken.ready().await.unwrap();
    assert!(poll_immediate(cache.ready()).await.is_none());
    drop(taken);
    assert!(poll_immediate(cache.ready()).await.is_some());
}

#[tokio::test]
async fn under_a_concurrency_limit_followers_hold_no_place() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).step(2, Step::Wait(gate.clone())));
    rig.inner.answer("/b.mp4", Script::movie("/b.mp4", 10));
    let cache =
        ServiceBuilder::new().layer(rig.layer.clone()).concurrency_limit(1).service(rig.inner.clone());
    let start = |path| {
        tokio::spawn({
            let cache = cache.clone();
            async move { Answer::of(cache.oneshot(get(path)).await.unwrap()).await }
        })
    };
    let viewers: Vec<_> = (0..5).map(|_| start("/a.mp4")).collect();
    gate.reached_by(1).await;
    settle().await;
    // Five requests wait for the fill. If one of them kept the only place, this would never end.
    start("/b.mp4").await.unwrap().whole(&movie("/b.mp4", 10));
    gate.open();
    for viewer in viewers {
        viewer.await.unwrap().whole(&movie("/a.mp4", 2500));
    }
    rig.inner.was_called(2);
}

#[tokio::test]
async fn through_a_buffer_a_second_call_waits_for_a_place_of_its_own() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    // Putting fails, and so does reading back, so the inner service is called a second time.
    rig.store.spoil(tower_video_cache::Operation::Put, 2, tower_video_cache::Fault::Error);
    rig.store.spoil_from(tower_video_cache::Operation::Get, 4, tower_video_cache::Fault::Error);
    let buffered = BufferLayer::new(1).layer(rig.inner.clone());
    let answer = rig.layer.layer(buffered).oneshot(get("/a.mp4")).await.unwrap();
    Answer::of(answer).await.whole(&movie("/a.mp4", 2500));
    rig.inner.was_called(2);
}

#[tokio::test]
async fn through_a_buffer_a_stampede_is_one_call() {
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).held_by(&gate));
    let cache = rig.layer.layer(BufferLayer::new(4).layer(rig.inner.clone()));
    let viewers: Vec<_> = (0..50)
        .map(|_| {
            let asked = cache.clone().oneshot(get("/a.mp4")).boxed();
            tokio::spawn(async move { Answer::of(asked.await.unwrap()).await })
        })
        .collect();
    gate.reached_by(1).await;
    settle().await;
    gate.open();
    for viewer in viewers {
        viewer.await.unwrap().whole(&movie("/a.mp4", 2500));
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_hit_gives_its_place_back() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    let mut cache = rig.layer.layer(ConcurrencyLimitLayer::new(1).layer(rig.inner.clone()));
    for _ in 0..3 {
        let response = cache.ready().await.unwrap().call(get("/a.mp4")).await.unwrap();
        // The body is still unread, and the place is free.
        let ready = std::future::poll_fn(|cx| {
            Poll::Ready(Service::<Request<Full<Bytes>>>::poll_ready(&mut cache, cx))
        });
        assert!(ready.await.is_ready());
        Answer::of(response).await.whole(&movie("/a.mp4", 2500));
    }
    rig.inner.was_called(1);
}

/// An inner service that gives one answer at a time, until the end of its body, and answers conditions with `status`.
fn one_at_a_time(
    places: &Arc<Semaphore>,
    status: u16,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<impl Body<Data = Bytes, Error = Infallible> + use<>>,
    Error = Infallible,
    Future: Send,
> + Clone
+ use<> {
    let places = Arc::clone(places);
    service_fn(move |request: Request<Full<Bytes>>| {
        let places = Arc::clone(&places);
        async move {
            let place = places.acquire_owned().await.unwrap();
            let (status, tag) =
                if request.headers().contains_key("if-none-match") { (status, "v0") } else { (200, "v1") };
            let body = Full::from("video").map_frame(move |frame| (frame, &place).0);
            let answer = Response::builder().status(status).header("etag", format!("\"{tag}\""));
            let answer = answer.header("content-type", "video/mp4").header("cache-control", "no-cache");
            Ok(answer.body(body).unwrap())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_let_go_before_another_is_asked_for() {
    let cache = Rig::new().layer.layer(one_at_a_time(&Arc::new(Semaphore::new(1)), 304));
    let began = tokio::time::Instant::now();
    for _ in 0..2 {
        // The second time, a 304 about another response makes the cache ask again.
        let answer = cache.clone().oneshot(get("/a.mp4")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "video");
    }
    assert!(began.elapsed().is_zero(), "no request waited for a limit");
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_let_go_before_the_request_is_forwarded_unchanged() {
    let places = Arc::new(Semaphore::new(0));
    let cache = Rig::new().layer.layer(one_at_a_time(&places, 200));
    let start = |range: &str| {
        let mut request = get("/a.mp4");
        request.headers_mut().insert("range", range.parse().unwrap());
        let answer = cache.clone().oneshot(request);
        tokio::spawn(async move { answer.await.unwrap().into_body().collect().await.unwrap().to_bytes() })
    };
    let viewers = [start("bytes=0-"), start("bytes=0-")];
    settle().await;
    places.add_permits(1);
    for viewer in viewers {
        let ended = tokio::time::timeout(std::time::Duration::from_secs(600), viewer).await;
        assert_eq!(ended.expect("it ends").unwrap(), "video");
    }
}
