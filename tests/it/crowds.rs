//! One client's trouble is not another's: credentials, cookies and failures of one request, where clients share
//! chunks.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_video_cache::{ChunkSize, FaultStore, Fill, MokaStore, Retry, VideoCacheLayer};

use crate::rig::{Gate, PATH, Rig, Script, Step, movie, settle};

const LENGTH: usize = 9500;

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

/// An answer that is ready at once.
type Answered = std::future::Ready<Result<Response<Full<Bytes>>, Infallible>>;

/// The requests that came to an inner service.
type Seen = Arc<Mutex<Vec<request::Parts>>>;

/// An inner service with ranges and a strong tag. `meddle` may change its answers.
fn parted(
    seen: &Seen,
    meddle: impl Fn(&HeaderMap, &mut Response<Full<Bytes>>) + Clone + Send + 'static,
) -> impl tower::Service<
    Request<Full<Bytes>>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future = Answered,
> + Clone
+ Send
+ 'static {
    let seen = Arc::clone(seen);
    service_fn(move |request: Request<Full<Bytes>>| {
        let (asked, _) = request.into_parts();
        let range = asked.headers.get("range").map(|range| range.to_str().unwrap().to_owned());
        let (first, last) = match range.as_deref().and_then(|range| range[6..].split_once('-')) {
            Some((first, last)) => {
                (first.parse().unwrap(), last.parse().map_or(LENGTH - 1, |last: usize| last))
            }
            None => (0, LENGTH - 1),
        };
        let last = last.min(LENGTH - 1);
        let mut response = Response::builder()
            .header("content-type", "video/mp4")
            .header("cache-control", "public, max-age=60")
            .header("etag", "\"v1\"")
            .header("content-length", last - first + 1);
        if range.is_some() {
            let said = format!("bytes {first}-{last}/{LENGTH}");
            response = response.status(206).header("content-range", said);
        }
        let mut response = response.body(Full::from(truth().slice(first..=last))).unwrap();
        meddle(&asked.headers, &mut response);
        seen.lock().unwrap().push(asked);
        std::future::ready(Ok(response))
    })
}

fn layer() -> VideoCacheLayer {
    VideoCacheLayer::new(FaultStore::new(MokaStore::new(64 << 20).unwrap()))
        .chunk_size(ChunkSize::new(1000).unwrap())
        .patience(Duration::MAX)
        .fill(Fill::sliced())
        .retry(Retry::default().first_delay(Duration::from_millis(1)))
}

fn get(fields: &[(&str, &str)]) -> Request<Full<Bytes>> {
    let asked = Request::get(PATH);
    fields
        .iter()
        .fold(asked, |asked, (name, value)| asked.header(*name, *value))
        .body(Full::default())
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_bad_credentials_takes_nothing_from_others() {
    let seen = Seen::default();
    let service = layer().layer(parted(&seen, |asked, response| {
        if asked.get("authorization").is_some_and(|sent| sent == "bad") {
            *response = Response::builder().status(404).body(Full::default()).unwrap();
        }
    }));
    let first = service.clone().oneshot(get(&[("range", "bytes=0-9")])).await.unwrap();
    assert_eq!(first.status(), StatusCode::PARTIAL_CONTENT);
    let refused = service.clone().oneshot(get(&[("range", "bytes=5000-5009"), ("authorization", "bad")]));
    let refused = refused.await.unwrap();
    assert_eq!(refused.status(), StatusCode::NOT_FOUND, "its own answer");
    // The stored part is there for the others, and the rest is fetched for them.
    let again = service.clone().oneshot(get(&[("range", "bytes=0-9")])).await.unwrap();
    assert!(again.headers()["cache-status"].to_str().unwrap().contains("; hit"));
    let whole = service.oneshot(get(&[])).await.unwrap();
    assert_eq!(whole.into_body().collect().await.unwrap().to_bytes(), truth());
}

#[tokio::test(start_paused = true)]
async fn a_part_that_one_clients_request_fails_to_bring_may_come_by_anothers() {
    let seen = Seen::default();
    let service = layer().retry(Retry::default().attempts(0)).layer(parted(&seen, |asked, response| {
        if asked.get("authorization").is_some_and(|sent| sent == "bad") {
            *response = Response::builder().status(403).body(Full::default()).unwrap();
        }
    }));
    service.clone().oneshot(get(&[("range", "bytes=0-9")])).await.unwrap();
    let bad =
        tokio::spawn(service.clone().oneshot(get(&[("range", "bytes=5000-5009"), ("authorization", "bad")])));
    let good = tokio::spawn(service.clone().oneshot(get(&[("range", "bytes=5000-5009")])));
    assert_eq!(bad.await.unwrap().unwrap().status(), StatusCode::FORBIDDEN);
    let good = good.await.unwrap().unwrap();
    assert_eq!(good.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(good.into_body().collect().await.unwrap().to_bytes(), truth().slice(5000..5010));
}

#[tokio::test(start_paused = true)]
async fn a_cookie_that_comes_with_a_slice_goes_to_no_client_and_costs_none_the_slice() {
    let seen = Seen::default();
    let service = layer().layer(parted(&seen, |asked, response| {
        if !asked.contains_key("cookie") {
            response.headers_mut().insert("set-cookie", "session=2".parse().unwrap());
        }
    }));
    service.clone().oneshot(get(&[("range", "bytes=0-9"), ("cookie", "session=1")])).await.unwrap();
    let calls = seen.lock().unwrap().len();
    let other = service.oneshot(get(&[("range", "bytes=5000-5009")])).await.unwrap();
    assert!(!other.headers().contains_key("set-cookie"));
    assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), truth().slice(5000..5010));
    assert_eq!(seen.lock().unwrap().len(), calls + 1);
}

#[tokio::test]
async fn a_client_that_validates_a_partly_stored_video_for_itself_gets_all_of_it() {
    let gate = Gate::shut();
    let script = Script::movie(PATH, LENGTH).header("etag", "\"v1\"").header("cache-control", "no-cache");
    let script = script.honours_ranges().honours_conditions();
    let rig = Rig::new().fill(Fill::sliced()).script(PATH, script.clone().held_by(&gate));
    let leader = rig.get(PATH).start();
    gate.reached_by(1).await;
    let follower = rig.get(PATH).start();
    settle().await;
    gate.open();
    leader.await.unwrap().whole(&truth());
    follower.await.unwrap().whole(&truth());
}

#[tokio::test]
async fn an_answer_for_the_first_client_alone_comes_to_it_in_every_mode() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let script = Script::movie(PATH, LENGTH)
            .header("etag", "\"v1\"")
            .header("cache-control", "max-age=60, private=\"x-viewer\"")
            .header("x-viewer", "one")
            .honours_ranges();
        let rig = Rig::new().fill(fill).script(PATH, script);
        let first = rig.get(PATH).send().await;
        first.whole(&truth());
        assert_eq!(first.field("x-viewer"), "one", "{fill:?}");
        assert!(!rig.get(PATH).send().await.has("x-viewer"), "{fill:?}");
    }
}

#[tokio::test]
async fn a_body_of_one_chunk_that_is_longer_than_it_said_is_never_stored() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let script = Script::movie(PATH, 1000).header("etag", "\"v1\"");
        let script = script.step(9, Step::Data(Bytes::from_static(b"more")));
        let rig = Rig::new().fill(fill).script(PATH, script);
        assert_eq!(rig.get(PATH).send().await.status, StatusCode::BAD_GATEWAY, "{fill:?}");
        rig.inner.answer(PATH, Script::movie(PATH, 1000));
        rig.get(PATH).send().await.whole(&movie(PATH, 1000));
        rig.inner.was_called(2);
    }
}
