//! The changes that a proxy makes to the messages that it forwards: RFC 9110 §7.6.

use http::{Request, Response, StatusCode, Version};
use http_body_util::{Empty, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::rig::{Rig, boxed, field, page_of, refused, video, whole};

#[tokio::test]
async fn fields_of_one_connection_stay_there() {
    let rig = Rig::new(|_| async {
        let mut response = video();
        let headers = response.headers_mut();
        headers.insert("connection", "X-Foo, x-bar".parse().unwrap());
        for name in ["x-foo", "x-bar", "keep-alive", "proxy-authenticate", "x-end"] {
            headers.insert(name, "1".parse().unwrap());
        }
        Ok(response)
    })
    .await;
    let mut request =
        Request::get("/a.mp4").header("connection", "x-foo").header("connection", "X-Bar,close");
    for name in ["x-foo", "x-bar", "te", "keep-alive", "proxy-connection", "proxy-authorization", "x-end"] {
        request = request.header(name, "1");
    }
    let response = rig.send(request).await;
    let seen = rig.seen().pop().unwrap().headers;
    for headers in [&seen, response.headers()] {
        for name in ["x-foo", "x-bar", "te", "keep-alive", "proxy-connection"] {
            assert!(!headers.contains_key(name), "{name} in {headers:?}");
        }
        assert!(headers.keys().all(|name| !name.as_str().starts_with("proxy-")), "{headers:?}");
        assert_eq!(field(headers, "x-end"), "1");
    }
    assert!(!seen.contains_key("connection"), "{seen:?}");
}

#[tokio::test]
async fn an_origin_that_lists_content_fields_in_connection_is_not_taken_at_its_word() {
    // RFC 9110 §7.6.1
    for (name, value) in [
        ("cache-control", "private"),
        ("cdn-cache-control", "no-store"),
        ("cache-control", "max-age=0"),
        ("set-cookie", "a=b"),
        ("vary", "*"),
        ("expires", "0"),
        ("content-type", "text/html"),
    ] {
        let rig = Rig::with(&["--targeted", "cdn-cache-control"], move |_| async move {
            let mut response = video();
            let headers = response.headers_mut();
            headers.remove("cache-control");
            headers.insert("connection", name.parse().unwrap());
            headers.insert(name, value.parse().unwrap());
            Ok(response)
        })
        .await;
        for count in [1, 2] {
            let answer = rig.get("/a.mp4").await;
            assert_eq!(field(answer.headers(), name), value);
            whole(answer).await;
            assert_eq!(rig.seen().len(), count, "{name}: {value}");
        }
    }
}

#[tokio::test]
async fn the_origin_is_told_the_client_and_the_host_that_it_asked_for() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let request = Request::get("/a.mp4")
        .header("host", "video.example")
        .header("via", "1.0 old")
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-forwarded-for", "192.0.2.2")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "gopher")
        .header("forwarded", "host=evil.example");
    rig.send(request).await;
    let seen = rig.seen().pop().unwrap().headers;
    assert_eq!(field(&seen, "host"), rig.origin.to_string());
    assert_eq!(field(&seen, "via"), "1.0 old, 1.1 tower-video-cache");
    assert_eq!(field(&seen, "x-forwarded-for"), "192.0.2.1, 192.0.2.2, 127.0.0.1");
    assert_eq!(field(&seen, "x-forwarded-host"), "video.example");
    assert_eq!(field(&seen, "x-forwarded-proto"), "http");
    assert!(!seen.contains_key("forwarded"));
}

#[tokio::test]
async fn an_http2_request_becomes_one_of_http1() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let request = Request::get("/a.mp4").header("cookie", "a=1").header("cookie", "b=2");
    rig.send_http2(request).await;
    let seen = rig.seen().pop().unwrap();
    assert_eq!((seen.version, seen.uri.to_string()), (Version::HTTP_11, "/a.mp4".to_owned()));
    assert_eq!(seen.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    assert_eq!(field(&seen.headers, "via"), "2 tower-video-cache");
    assert_eq!(field(&seen.headers, "x-forwarded-host"), rig.proxy.to_string());
}

#[tokio::test]
async fn an_answer_of_http1_0_becomes_one_of_http1_1() {
    let mut old = page_of(Full::from("old"));
    *old.version_mut() = Version::HTTP_10;
    let rig = Rig::once(old).await;
    let response = rig.get("/").await;
    assert_eq!(response.version(), Version::HTTP_11);
    assert_eq!(field(response.headers(), "via"), "1.0 tower-video-cache");
    assert_eq!(whole(response).await, "old");
}

#[tokio::test]
async fn a_client_can_limit_the_hops() {
    let rig = Rig::new(|_| async { Ok(Response::new(boxed(Empty::new()))) }).await;
    for (method, limit, status, forwarded) in [
        ("OPTIONS", "0", StatusCode::OK, None),
        ("TRACE", "0", StatusCode::NOT_IMPLEMENTED, None),
        ("OPTIONS", "1", StatusCode::OK, Some("0")),
        ("DELETE", "0", StatusCode::OK, Some("0")),
        ("OPTIONS", "many", StatusCode::OK, Some("many")),
    ] {
        let response =
            rig.send(Request::builder().method(method).uri("/").header("max-forwards", limit)).await;
        assert_eq!(response.status(), status, "{method} {limit}");
        let seen = rig.log.lock().unwrap().pop();
        let seen = seen.map(|seen| field(&seen.headers, "max-forwards"));
        assert_eq!(seen.as_deref(), forwarded, "{method} {limit}");
    }
}

#[tokio::test]
async fn nothing_is_tunnelled() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let answer =
        rig.raw(b"CONNECT a.example:80 HTTP/1.1\r\nhost: a.example:80\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    assert_eq!(rig.seen().len(), 0);
    let upgrade = Request::get("/").header("connection", "upgrade").header("upgrade", "websocket");
    rig.send(upgrade).await;
    assert!(!rig.seen()[0].headers.contains_key("upgrade"));
}

#[tokio::test]
async fn a_protocol_that_the_origin_switches_to_is_a_bad_gateway() {
    let mut response = video();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let rig = Rig::once(response).await;
    refused(rig.get("/").await, StatusCode::BAD_GATEWAY).await;
}

#[tokio::test]
async fn an_expectation_to_continue_is_met() {
    let rig = Rig::new(|request| async { Ok(Response::new(boxed(request.into_body()))) }).await;
    let mut viewer = TcpStream::connect(rig.proxy).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
    viewer.write_all(head).await.unwrap();
    let mut interim = [0; 25];
    viewer.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    viewer.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    viewer.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("body"), "{answer}");
}
