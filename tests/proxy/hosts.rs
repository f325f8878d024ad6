//! The host that a request is for: RFC 9110 §7.2, §7.4; RFC 9112 §3.2; RFC 9113 §8.3.1.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::rig::{Answer, Rig, boxed, field, video, whole};

#[tokio::test]
async fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    for host in [
        "a",
        "a.example",
        "A.example.",
        "a-b_c~d",
        "a:8080",
        "a:",
        "a:0080",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:8080",
        "%61",
        "a!$&'()*+,;=",
    ] {
        assert_eq!(status(&rig, &format!("GET /a.mp4 HTTP/1.1\r\nhost: {host}\r\n")).await, 200, "{host}");
    }
    for host in [
        "",
        ":80",
        "a/b",
        "a?b",
        "a#b",
        "a/",
        "a b",
        "a\\b",
        "me@a",
        "a@",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:+80",
        "a:65536",
        "a:99999999999999999999",
        "%6",
        "%zz",
        "%",
        "[::1",
        "::1",
        "[::1]8080",
        "[a]",
        "[v1.a]",
        "[]",
        "[::1%25eth0]",
        "a\"",
        "<a>",
        "a|b",
        "http://a",
        "\u{fc}",
    ] {
        assert_eq!(status(&rig, &format!("GET /a.mp4 HTTP/1.1\r\nhost: {host}\r\n")).await, 400, "{host}");
        let absolute = format!("GET http://a.example/a.mp4 HTTP/1.1\r\nhost: {host}\r\n");
        assert_eq!(status(&rig, &absolute).await, 400, "{host} beside a target with a host");
    }
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    for (request, expected) in [
        ("GET /a HTTP/1.1\r\n", 400),
        ("GET /a HTTP/1.1\r\nhost: a\r\nhost: b\r\n", 400),
        ("GET /a HTTP/1.1\r\nhost: a\r\nhost: a\r\n", 400),
        ("POST /a HTTP/1.1\r\ncontent-length: 0\r\n", 400),
        ("GET http://a/a HTTP/1.1\r\n", 400),
        ("GET http://a/a HTTP/1.1\r\nhost: a\r\nhost: a\r\n", 400),
        ("GET http://me@a/a HTTP/1.1\r\nhost: a\r\n", 400),
        ("GET http://a/a HTTP/1.1\r\nhost: b\r\n", 200),
        ("GET /a HTTP/1.0\r\n", 200),
        ("GET /a HTTP/1.0\r\nhost: a\r\nhost: b\r\n", 400),
    ] {
        assert_eq!(status(&rig, request).await, expected, "{request}");
    }
}

#[tokio::test]
async fn a_host_with_more_in_it_fills_no_entry_of_another() {
    let rig = Rig::new(|request| what_is_there(&request)).await;
    for (host, target, victim) in [
        ("a.example/x", "/y.mp4", "/x/y.mp4"),
        ("a.example/?q=", "/y.mp4", "/?q=/y.mp4"),
        ("a.example\n/z", "/y.mp4", "/z/y.mp4"),
    ] {
        rig.raw(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").as_bytes())
            .await;
        let good = rig.send(Request::get(victim).header("host", "a.example")).await;
        assert_eq!(whole(good).await, format!("a.example {victim}"), "{host}");
    }
}

#[tokio::test]
async fn a_host_in_the_target_counts_whatever_the_field_says() {
    let rig = Rig::new(|request| what_is_there(&request)).await;
    let asked =
        rig.raw(b"GET http://a.example/x HTTP/1.1\r\nhost: b.example\r\nconnection: close\r\n\r\n").await;
    assert!(asked.ends_with("a.example /x"), "{asked}");
    for host in ["a.example", "b.example"] {
        let answer = rig.send(Request::get("/x").header("host", host)).await;
        assert_eq!(whole(answer).await, format!("{host} /x"));
    }
    assert_eq!(rig.seen().len(), 2);
}

#[tokio::test]
async fn a_host_has_one_key_and_one_name_for_the_origin_however_it_is_written() {
    for (name, spellings) in [
        ("one.example", ["one.example", "ONE.example", "one.example:80", "one.example:", "One.Example:0080"]),
        ("[::1]:81", ["[::1]:81", "[0:0:0:0:0:0:0:1]:81", "[::0001]:081", "[0::1]:81", "[::1]:0081"]),
    ] {
        let rig = Rig::new(|request| what_is_there(&request)).await;
        for host in spellings {
            let answer = rig.send(Request::get("/x").header("host", host)).await;
            assert_eq!(whole(answer).await, format!("{name} /x"), "{host}");
        }
        assert_eq!(rig.seen().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn over_http2_the_host_is_said_by_the_authority_or_the_field_and_not_differently_by_both() {
    let rig = Rig::new(|request| what_is_there(&request)).await;
    for (target, host, expected) in [
        ("http://a.example/x", &[][..], Some("a.example /x")),
        ("http://a.example/x", &["a.example"], Some("a.example /x")),
        ("http://a.example/x", &["A.example:80"], Some("a.example /x")),
        ("http://a.example/x", &["b.example"], None),
        ("http://a.example/x", &["a.example", "b.example"], None),
        ("http://a.example/x", &["a.example/b"], None),
        ("/y", &["a.example"], Some("a.example /y")),
        ("/y", &["a.example/b"], None),
        ("/y", &["a.example", "a.example"], None),
        ("/y", &[], None),
    ] {
        let answer = over_http2(&rig, target, host).await;
        match expected {
            Some(text) => assert_eq!(whole(answer).await, text, "{target} {host:?}"),
            None => assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{target} {host:?}"),
        }
    }
    assert_eq!(rig.seen().len(), 2);
}

#[tokio::test]
async fn a_host_that_is_not_allowed_is_misdirected_and_never_reaches_the_origin() {
    let rig =
        Rig::with(&["--hosts", "a.example,B.example:8080,[::1]:80"], |request| what_is_there(&request)).await;
    for (host, allowed) in [
        ("a.example", true),
        ("A.EXAMPLE:80", true),
        ("a.example:81", true),
        ("b.example:8080", true),
        ("[0::1]", true),
        ("b.example", false),
        ("b.example:80", false),
        ("a.example.", false),
        ("a.example.evil", false),
        ("evil.a.example", false),
        ("[::1]:81", false),
    ] {
        let answer = rig.send(Request::get("/x").header("host", host)).await;
        let status = if allowed { StatusCode::OK } else { StatusCode::MISDIRECTED_REQUEST };
        assert_eq!(answer.status(), status, "{host}");
        let said = answer.headers().contains_key("proxy-status");
        assert_eq!(said, !allowed, "{host}");
    }
    assert_eq!(status(&rig, "GET /x HTTP/1.0\r\n").await, 400);
    assert_eq!(status(&rig, "GET http://c/x HTTP/1.1\r\nhost: a.example\r\n").await, 421);
    assert!(rig.seen().iter().all(|seen| field(&seen.headers, "x-forwarded-host") != "b.example"));
}

/// The host that the origin was told, and the path.
fn what_is_there(request: &Request<Incoming>) -> std::future::Ready<Answer> {
    let host = field(request.headers(), "x-forwarded-host");
    let path = request.uri().path_and_query().unwrap();
    let mut response = video().map(|_| boxed(Full::from(format!("{host} {path}"))));
    response.headers_mut().remove("content-length");
    std::future::ready(Ok(response))
}

async fn status(rig: &Rig, head: &str) -> u16 {
    let answer = rig.raw(format!("{head}connection: close\r\n\r\n").as_bytes()).await;
    answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default()
}

async fn over_http2(rig: &Rig, target: &str, hosts: &[&str]) -> Response<Incoming> {
    let stream = TcpStream::connect(rig.proxy).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    // HTTP/1.1 is set so that h2 accepts a target without authority.
    let version = if target.starts_with('/') { Version::HTTP_11 } else { Version::HTTP_2 };
    let request =
        hosts.iter().fold(Request::get(target).version(version), |ask, host| ask.header("host", *host));
    sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap()
}
