//! The cache finds and selects responses only by what the origin sees: RFC 9110 §7.6.1, RFC 9111 §4.1.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full, channel::Channel};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpSocket;
use tower_video_cache::BoxError;

use super::rig::{Answer, LENGTH, Rig, boxed, field, movie, part, video, whole};

#[tokio::test]
async fn a_field_that_connection_lists_selects_nothing() {
    for (name, value) in [("x-q", "a"), ("origin", "https://shop.example"), ("accept-language", "de")] {
        let rig = Rig::new(move |request| varying(&request, name)).await;
        let listed = Request::get("/x").header(name, value).header("connection", name);
        assert_eq!(whole(rig.send(listed).await).await, "", "{name}");
        let answer = rig.send(Request::get("/x").header(name, value)).await;
        assert_eq!(whole(answer).await, value);
        assert_eq!(whole(rig.get("/x").await).await, "", "{name}");
        assert_eq!(rig.seen().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_response_that_varies_by_a_field_of_the_proxy_is_a_variant_of_each() {
    for (name, first, second) in [
        ("x-forwarded-for", "127.0.0.1", "127.0.0.2"),
        ("via", "1.1 tower-video-cache", "1.1 tower-video-cache"),
        ("x-forwarded-proto", "http", "http"),
    ] {
        let rig = Rig::new(move |request| varying(&request, name)).await;
        for _ in 0..2 {
            assert_eq!(from(&rig, "127.0.0.1:0", &[]).await, first);
            assert_eq!(from(&rig, "127.0.0.2:0", &[]).await, second);
        }
        assert_eq!(rig.seen().len(), if first == second { 1 } else { 2 }, "{name}");
    }
    let rig = Rig::new(|request| varying(&request, "x-forwarded-for")).await;
    assert_eq!(from(&rig, "127.0.0.1:0", &[("x-forwarded-for", "192.0.2.1")]).await, "192.0.2.1, 127.0.0.1");
    assert_eq!(from(&rig, "127.0.0.1:0", &[]).await, "127.0.0.1");
    let listed = [("x-forwarded-for", "192.0.2.1"), ("connection", "x-forwarded-for")];
    assert_eq!(from(&rig, "127.0.0.1:0", &listed).await, "127.0.0.1");
    assert_eq!(rig.seen().len(), 2);
}

#[tokio::test]
async fn connection_takes_off_no_field_that_the_cache_asks_by() {
    let rig = Rig::with(&["--fill", "sliced", "--chunk-size", "64KiB"], |request| {
        let (mut response, _) = part(&request);
        response.headers_mut().insert("cache-control", HeaderValue::from_static("no-cache"));
        if field(request.headers(), "if-none-match") == "\"movie\"" {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = boxed(Empty::new());
            response.headers_mut().remove("content-length");
        }
        std::future::ready(Ok(response))
    })
    .await;
    let range = || Request::get("/a.mp4").header("range", "bytes=0-99");
    whole(rig.send(range().header("connection", "range")).await).await;
    let answer = rig.send(range()).await;
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(whole(answer).await, movie().slice(..100));
    let asked = rig.seen().len();
    let answer = rig.send(range().header("connection", "if-none-match, if-range")).await;
    assert_eq!(whole(answer).await, movie().slice(..100));
    let validations = rig.seen();
    assert_eq!(field(&validations[asked].headers, "if-none-match"), "\"movie\"");
}

#[tokio::test]
async fn a_bypassing_request_is_recognised_and_changed_in_the_same_way() {
    let rig = Rig::new(|request| async { Ok(Response::new(boxed(request.into_body()))) }).await;
    for method in ["POST", "PUT", "DELETE", "GET"] {
        let request = Request::builder().method(method).uri("/x").header("host", "A.example:80");
        let request = request.header("connection", "x-q").header("x-q", "1").header("x-real-ip", "192.0.2.1");
        let answer = rig.send_body(request, boxed(Full::from("content"))).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let seen = rig.seen().pop().unwrap().headers;
        assert!(!seen.contains_key("x-q") && !seen.contains_key("x-real-ip"), "{method}: {seen:?}");
        assert_eq!(field(&seen, "x-forwarded-for"), "127.0.0.1");
        assert_eq!(field(&seen, "x-forwarded-host"), "a.example");
        assert_eq!(field(&seen, "host"), rig.origin.to_string());
    }
}

#[tokio::test]
async fn connection_cannot_take_off_the_length_of_the_content_or_the_host() {
    let rig = Rig::new(|request| async { Ok(Response::new(boxed(request.into_body()))) }).await;
    let request =
        b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 7\r\nconnection: close, content-length, host, via, \
        cdn-loop\r\nvia: 1.1 b\r\ncdn-loop: c\r\n\r\ncontent";
    let answer = rig.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let seen = rig.seen().pop().unwrap().headers;
    assert_eq!(field(&seen, "content-length"), "7");
    assert_eq!(field(&seen, "x-forwarded-host"), "a");
    assert_eq!(field(&seen, "via"), "1.1 b, 1.1 tower-video-cache");
    assert!(field(&seen, "cdn-loop").starts_with("c, tower-video-cache-"));
}

/// A GET with content has its own answer (RFC 9110 §9.3.1), and one without content has another.
#[tokio::test]
async fn a_get_with_chunked_content_reaches_the_origin_with_it() {
    let length = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&length);
    let rig = Rig::new(move |request: Request<Incoming>| {
        let counted = Arc::clone(&counted);
        async move {
            let content = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
            counted.store(content.len(), std::sync::atomic::Ordering::Relaxed);
            Ok(video())
        }
    })
    .await;
    whole(rig.get("/a.mp4").await).await;
    for http2 in [false, true] {
        let (mut sender, content) = Channel::<Bytes, BoxError>::new(1);
        let request = Request::get("/a.mp4");
        let request = if http2 { request } else { request.header("transfer-encoding", "chunked") };
        let (answer, ()) = tokio::join!(rig.send_as(http2, request, boxed(content)), async {
            sender.send_data(movie()).await.unwrap();
            drop(sender);
        });
        whole(answer).await;
        assert_eq!(length.swap(0, std::sync::atomic::Ordering::Relaxed), LENGTH, "HTTP/2: {http2}");
    }
    assert_eq!(rig.seen().len(), 3);
}

/// Answers with the value of the field that the response varies by.
fn varying(request: &Request<Incoming>, name: &'static str) -> std::future::Ready<Answer> {
    let value = field(request.headers(), name);
    let mut response = video().map(|_| boxed(Full::from(value)));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static(name));
    std::future::ready(Ok(response))
}

/// The body that a client at `address` gets.
async fn from(rig: &Rig, address: &str, fields: &[(&'static str, &'static str)]) -> Bytes {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(address.parse::<SocketAddr>().unwrap()).unwrap();
    let stream = socket.connect(rig.proxy).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::get("/x").header("host", "a").body(Empty::<Bytes>::new()).unwrap();
    for (name, value) in fields {
        request.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    whole(sender.send_request(request).await.unwrap()).await
}
