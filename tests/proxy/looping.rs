//! Requests that come back to the proxy: RFC 8586.

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};

use super::rig::{Rig, boxed, field, listener, movie, video, whole};

#[tokio::test]
async fn a_proxy_that_is_its_own_origin_says_so_at_once() {
    let (listener, address) = listener().await;
    let rig = Rig::on(listener, &address.to_string(), &[]).await;
    for (http2, method) in
        [(false, "GET"), (false, "HEAD"), (false, "POST"), (true, "GET"), (false, "OPTIONS")]
    {
        let request = Request::builder().method(method).uri("/a.mp4");
        let answer = rig.send_as(http2, request, boxed(Empty::new())).await;
        assert_eq!(answer.status(), StatusCode::LOOP_DETECTED, "{method}");
        let said = field(answer.headers(), "proxy-status");
        assert_eq!(said, "tower-video-cache; error=proxy_loop_detected");
        // The request came back once.
        assert_eq!(field(answer.headers(), "via"), "1.1 tower-video-cache");
        assert_eq!(field(answer.headers(), "cache-control"), "no-store");
    }
    let hiding = Request::get("/a.mp4").header("connection", "cdn-loop, via");
    assert_eq!(rig.send(hiding).await.status(), StatusCode::LOOP_DETECTED);
}

#[tokio::test]
async fn a_loop_of_two_proxies_ends_where_it_began() {
    let ((one, one_address), (two, two_address)) = (listener().await, listener().await);
    let one = Rig::on(one, &two_address.to_string(), &[]).await;
    let two = Rig::on(two, &one_address.to_string(), &[]).await;
    for rig in [&one, &two] {
        let answer = rig.send_body(Request::post("/a.mp4"), boxed(Full::from("content"))).await;
        assert_eq!(answer.status(), StatusCode::LOOP_DETECTED);
        assert_eq!(field(answer.headers(), "via"), "1.1 tower-video-cache, 1.1 tower-video-cache");
        assert!(answer.collect().await.is_ok());
    }
}

#[tokio::test]
async fn proxies_behind_each_other_are_no_loop() {
    let inner = Rig::new(|_| async { Ok(video()) }).await;
    let outer = Rig::of(inner.proxy, &[]).await;
    let request = Request::get("/a.mp4").header("cdn-loop", "cdn.example; x=\"1, tower-video-cache\"");
    assert_eq!(whole(outer.send(request.header("via", "1.1 tower-video-cache")).await).await, movie());
    let seen = inner.seen().pop().unwrap().headers;
    let names: Vec<_> = seen.get_all("cdn-loop").iter().map(|name| name.to_str().unwrap()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[0], "cdn.example; x=\"1, tower-video-cache\"");
    assert!(names[1].starts_with("tower-video-cache-") && names[1] != names[2], "{names:?}");
}
