//! Answers from the store, and requests that go through to the origin.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, channel::Channel};
use tower_video_cache::BoxError;

use super::rig::{LENGTH, Rig, boxed, field, movie, page_of, part, video, whole};

#[tokio::test]
async fn a_second_client_is_answered_without_the_origin() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    for status in ["storing", "hit"] {
        let response = rig.get("/a.mp4").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(field(response.headers(), "cache-status").contains(status), "{response:?}");
        assert_eq!(field(response.headers(), "via"), "1.1 tower-video-cache");
        assert_eq!(whole(response).await, movie());
    }
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn a_range_of_a_stored_video_is_answered_without_the_origin() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    whole(rig.get("/a.mp4").await).await;
    let response = rig.send(Request::get("/a.mp4").header("range", "bytes=1000000-2000000")).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(response.headers(), "content-range"), format!("bytes 1000000-2000000/{LENGTH}"));
    assert_eq!(whole(response).await, movie().slice(1_000_000..=2_000_000));
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn in_every_mode_of_filling_a_second_client_is_answered_without_the_origin() {
    for mode in ["whole", "progressive", "sliced"] {
        let rig = Rig::with(&["--fill", mode], |_| async { Ok(video()) }).await;
        for status in ["fwd=uri-miss", "hit"] {
            let response = rig.get("/a.mp4").await;
            assert_eq!(response.status(), StatusCode::OK, "{mode}");
            let what = field(response.headers(), "cache-status");
            assert!(what.contains(status), "{mode}: {what}");
            assert_eq!(whole(response).await, movie(), "{mode}");
        }
        assert_eq!(rig.seen().len(), 1, "{mode}");
    }
}

#[tokio::test]
async fn a_sliced_fill_fetches_little_more_than_the_range_that_was_asked_for() {
    let fetched = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&fetched);
    let arguments = ["--fill", "sliced", "--chunk-size", "64KiB", "--read-ahead", "128KiB"];
    let rig = Rig::with(&arguments, move |request| {
        let (answer, bytes) = part(&request);
        counted.fetch_add(bytes, Ordering::Relaxed);
        std::future::ready(Ok(answer))
    })
    .await;
    for status in ["fwd=uri-miss", "hit"] {
        let response = rig.send(Request::get("/a.mp4").header("range", "bytes=2000000-2000999")).await;
        assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
        assert_eq!(field(response.headers(), "content-range"), format!("bytes 2000000-2000999/{LENGTH}"));
        let what = field(response.headers(), "cache-status");
        assert!(what.contains(status), "{what}");
        assert_eq!(whole(response).await, movie().slice(2_000_000..2_001_000));
    }
    // The range is within one chunk, and the read-ahead adds its limit at most.
    let fetched = fetched.load(Ordering::Relaxed);
    assert!((64 << 10..=192 << 10).contains(&fetched), "{fetched} bytes were fetched");
    let seen = rig.seen();
    assert!(seen.iter().all(|seen| seen.headers.contains_key("range")), "{seen:?}");
    assert_eq!(whole(rig.get("/a.mp4").await).await, movie());
}

#[tokio::test]
async fn a_head_is_forwarded_until_the_video_is_stored() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let length = || async {
        let response = rig.send(Request::head("/a.mp4")).await;
        assert_eq!(response.status(), StatusCode::OK);
        field(response.headers(), "content-length")
    };
    assert_eq!(length().await, LENGTH.to_string());
    assert_eq!(rig.seen()[0].method, Method::HEAD);
    whole(rig.get("/a.mp4").await).await;
    assert_eq!(length().await, LENGTH.to_string());
    assert_eq!(rig.seen().len(), 2);
}

#[tokio::test]
async fn clients_of_both_http_versions_share_stored_responses() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let response = rig.send_http2(Request::get("/a.mp4")).await;
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(whole(response).await, movie());
    assert_eq!(whole(rig.get("/a.mp4").await).await, movie());
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn hosts_do_not_share_stored_responses() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    for host in ["one.example", "two.example", "ONE.example"] {
        whole(rig.send(Request::get("/a.mp4").header("host", host)).await).await;
    }
    assert_eq!(rig.seen().len(), 2);
}

// Requests that go through to the origin.

#[tokio::test]
async fn every_method_is_forwarded_with_its_body() {
    let rig = Rig::new(|request| async { Ok(Response::new(boxed(request.into_body()))) }).await;
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS, Method::GET] {
        let request = Request::builder().method(method.clone()).uri("/a.mp4?x=%20y");
        let response = rig.send_body(request, boxed(Full::from(movie()))).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(whole(response).await, movie(), "{method}");
        let seen = rig.seen().pop().unwrap();
        assert_eq!((seen.method, seen.uri.to_string()), (method, "/a.mp4?x=%20y".to_owned()));
        assert_eq!(field(&seen.headers, "content-length"), LENGTH.to_string());
    }
}

#[tokio::test]
async fn every_form_of_a_target_reaches_the_origin_as_a_path() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    for (target, path) in [
        ("OPTIONS *", "*"),
        ("GET http://a.example", "/"),
        ("GET http://a.example?x", "/?x"),
        ("GET http://A.example:80/x?y", "/x?y"),
        ("GET https://a.example/x", "/x"),
        ("GET /x//y/../z?a=%2F&b", "/x//y/../z?a=%2F&b"),
    ] {
        let request = format!("{target} HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n\r\n");
        assert!(rig.raw(request.as_bytes()).await.starts_with("HTTP/1.1 200 "), "{target}");
        let seen = rig.log.lock().unwrap().pop();
        if let Some(seen) = seen {
            assert_eq!(seen.uri.to_string(), path, "{target}");
        } else {
            assert_eq!(target, "GET https://a.example/x", "the response to another form is the stored one");
        }
    }
}

#[tokio::test]
async fn an_upload_is_answered_while_it_is_still_sent() {
    let rig = Rig::new(|request| async {
        let mut upload = request.into_body();
        let mut received = 0;
        while received < LENGTH {
            received += upload.frame().await.unwrap()?.into_data().unwrap().len();
        }
        Ok(Response::new(boxed(upload)))
    })
    .await;
    for http2 in [false, true] {
        let (mut sender, upload) = Channel::<Bytes, BoxError>::new(1);
        let request = Request::post("/upload");
        let answer = rig.send_as(http2, request, boxed(upload));
        let (response, sent) = tokio::join!(answer, sender.send_data(movie()));
        sent.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        // The origin has answered, and gets the rest now.
        sender.send_data(Bytes::from_static(b"the rest")).await.unwrap();
        drop(sender);
        assert_eq!(whole(response).await, "the rest");
    }
}

#[tokio::test]
async fn an_unstorable_response_is_not_held_back() {
    let (mut sender, page) = Channel::<Bytes, BoxError>::new(1);
    let rig = Rig::once(page_of(page)).await;
    let mut response = rig.get("/").await;
    sender.send_data(Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    drop(sender);
    assert!(response.frame().await.is_none());
}
