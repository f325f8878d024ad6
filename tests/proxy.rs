//! The proxy of `examples/proxy` over real sockets: viewers on one side, a scripted origin on the other.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../examples/proxy/args.rs"]
mod args;
#[path = "../examples/proxy/body.rs"]
mod body;
#[path = "../examples/proxy/fields.rs"]
mod fields;
#[path = "../examples/proxy/origin.rs"]
mod origin;
#[path = "../examples/proxy/server.rs"]
mod server;
#[path = "../examples/proxy/store.rs"]
mod store;
#[path = "../examples/proxy/values.rs"]
mod values;

use std::{
    future::{pending, Future},
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc, LazyLock, Mutex,
    },
    time::Duration,
};

use bytes::Bytes;
use clap::{error::ErrorKind, Parser};
use http::{header, request, HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{channel::Channel, combinators::UnsyncBoxBody, BodyExt, Empty, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tower_video_cache::{Abandon, BoxError};

use self::{args::Args, server::Stopped, store::StoreArg};

// What is stored, and how it is answered.

#[tokio::test]
async fn a_second_viewer_is_answered_without_the_origin() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    for status in ["stored", "hit"] {
        let response = rig.get("/a.mp4").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(field(response.headers(), "cache-status").contains(status), "{response:?}");
        assert_eq!(field(response.headers(), "via"), "1.1 tower-video-cache");
        assert_eq!(whole(response).await, movie());
    }
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn a_range_of_what_is_stored_is_answered_without_the_origin() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    whole(rig.get("/a.mp4").await).await;
    let response = rig.send(Request::get("/a.mp4").header("range", "bytes=1000000-2000000")).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(field(response.headers(), "content-range"), format!("bytes 1000000-2000000/{LENGTH}"));
    assert_eq!(whole(response).await, movie().slice(1_000_000..=2_000_000));
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn in_every_mode_of_filling_a_second_viewer_is_answered_without_the_origin() {
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
    // All in one chunk, and the read-ahead at most.
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
async fn viewers_of_both_http_versions_share_what_is_stored() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let response = rig.send_http2(Request::get("/a.mp4")).await;
    assert_eq!((response.status(), response.version()), (StatusCode::OK, Version::HTTP_2));
    assert_eq!(whole(response).await, movie());
    assert_eq!(whole(rig.get("/a.mp4").await).await, movie());
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn hosts_do_not_share_what_is_stored() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    for host in ["one.example", "two.example", "ONE.example"] {
        whole(rig.send(Request::get("/a.mp4").header("host", host)).await).await;
    }
    assert_eq!(rig.seen().len(), 2);
}

// What goes through.

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
        // The origin has answered, and now gets the rest.
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

// RFC 9110 §7.6.

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
async fn the_origin_is_told_who_asked_for_what() {
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
async fn a_viewer_can_limit_the_hops() {
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

// An origin that fails.

#[tokio::test]
async fn an_origin_that_is_not_there_is_a_bad_gateway() {
    let (listener, origin) = listener().await;
    drop(listener);
    let rig = Rig::of(origin, &[]).await;
    refused(rig.get("/a.mp4").await, StatusCode::BAD_GATEWAY).await;
    refused(rig.send(Request::post("/")).await, StatusCode::BAD_GATEWAY).await;
}

#[tokio::test]
async fn an_origin_that_hangs_up_is_a_bad_gateway_and_is_not_asked_again() {
    let rig = Rig::new(|_| async { Err("no answer".into()) }).await;
    refused(rig.get("/a.mp4").await, StatusCode::BAD_GATEWAY).await;
    assert_eq!(rig.seen().len(), 1);
}

#[tokio::test]
async fn a_failure_is_not_stored() {
    let answers = Mutex::new(vec![Ok(video()), Err("no answer".into())]);
    let rig = Rig::new(move |_| std::future::ready(answers.lock().unwrap().pop().unwrap())).await;
    refused(rig.get("/a.mp4").await, StatusCode::BAD_GATEWAY).await;
    assert_eq!(whole(rig.get("/a.mp4").await).await, movie());
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_a_gateway_timeout() {
    let rig = Rig::with(&["--response-timeout", SHORT], |_| pending()).await;
    refused(rig.get("/a.mp4").await, StatusCode::GATEWAY_TIMEOUT).await;
    let upload = rig.send_body(Request::post("/"), boxed(Full::from("upload"))).await;
    refused(upload, StatusCode::GATEWAY_TIMEOUT).await;
}

/// A full backlog: the system leaves further connections without an answer.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_origin_that_does_not_accept_is_a_gateway_timeout() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let origin = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(50), TcpStream::connect(origin)).await
    {
        waiting.push(connected.unwrap());
    }
    let rig = Rig::of(origin, &["--connect-timeout", SHORT]).await;
    refused(rig.get("/a.mp4").await, StatusCode::GATEWAY_TIMEOUT).await;
}

#[tokio::test]
async fn a_long_upload_is_not_taken_for_a_late_answer() {
    let rig = Rig::with(&["--response-timeout", SHORT], |request| async {
        if request.uri().path() == "/never" {
            pending::<()>().await;
        }
        let upload = request.into_body().collect().await?;
        Ok(Response::new(boxed(Full::from(upload.to_bytes()))))
    })
    .await;
    let (mut sender, upload) = Channel::<Bytes, BoxError>::new(1);
    let feed = async {
        sender.send_data(Bytes::from_static(b"long")).await.unwrap();
        // A request that came later meets the limit first.
        assert_eq!(rig.get("/never").await.status(), StatusCode::GATEWAY_TIMEOUT);
        drop(sender);
    };
    let (response, ()) = tokio::join!(rig.send_body(Request::post("/"), boxed(upload)), feed);
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(whole(response).await, "long");
}

#[tokio::test]
async fn a_page_that_breaks_off_is_not_taken_for_a_whole_one() {
    for http2 in [false, true] {
        let (mut sender, page) = Channel::<Bytes, BoxError>::new(1);
        let rig = Rig::once(page_of(page)).await;
        let request = Request::get("/");
        let mut response = rig.send_as(http2, request, boxed(Empty::new())).await;
        sender.send_data(Bytes::from_static(b"half")).await.unwrap();
        assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        sender.abort("the origin dies".into());
        assert!(response.collect().await.is_err(), "HTTP/2: {http2}");
    }
}

#[tokio::test]
async fn a_page_that_falls_silent_is_broken_off() {
    let (mut sender, page) = Channel::<Bytes, BoxError>::new(1);
    let rig = Rig::with(&["--body-timeout", SHORT], answer_once(page_of(page))).await;
    let response = rig.get("/").await;
    sender.send_data(Bytes::from_static(b"half")).await.unwrap();
    assert!(response.collect().await.is_err());
}

#[tokio::test]
async fn a_truncated_video_is_a_bad_gateway() {
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let rig = Rig::once(video().map(|_| boxed(body))).await;
    let (response, sent) = tokio::join!(rig.get("/a.mp4"), async {
        let sent = sender.send_data(movie().slice(..LENGTH / 2)).await;
        drop(sender);
        sent
    });
    sent.unwrap();
    refused(response, StatusCode::BAD_GATEWAY).await;
}

// A viewer that fails.

#[tokio::test]
async fn an_upload_that_falls_silent_is_a_request_timeout() {
    let rig = Rig::with(&["--body-timeout", SHORT], |request| async {
        request.into_body().collect().await?;
        Ok(video())
    })
    .await;
    let (mut sender, upload) = Channel::<Bytes, BoxError>::new(1);
    let first = sender.send_data(Bytes::from_static(b"first"));
    let (response, sent) = tokio::join!(rig.send_body(Request::post("/"), boxed(upload)), first);
    sent.unwrap();
    refused(response, StatusCode::REQUEST_TIMEOUT).await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_does_not_reach_the_origin_as_a_whole_one() {
    let (told, verdict) = oneshot::channel();
    let told = Mutex::new(Some(told));
    let rig = Rig::new(move |request| {
        let told = told.lock().unwrap().take();
        async move {
            let upload = request.into_body().collect().await;
            told.unwrap().send(upload.is_err()).unwrap();
            Ok(video())
        }
    })
    .await;
    let mut viewer = TcpStream::connect(rig.proxy).await.unwrap();
    let half = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    viewer.write_all(half).await.unwrap();
    drop(viewer);
    assert!(verdict.await.unwrap());
}

#[tokio::test]
async fn a_connection_without_a_request_is_let_go() {
    let rig = Rig::with(&["--header-timeout", SHORT], |_| async { Ok(video()) }).await;
    for beginning in ["", "PRI * HT", "GET / HTTP/1.1\r\nhost", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        rig.raw(beginning.as_bytes()).await;
    }
}

// The stop.

#[tokio::test]
async fn a_stop_lets_a_running_download_finish() {
    for http2 in [false, true] {
        let (mut sender, page) = Channel::<Bytes, BoxError>::new(1);
        let rig = Rig::once(page_of(page)).await;
        let idle = TcpStream::connect(rig.proxy).await.unwrap();
        let request = Request::get("/");
        let response = rig.send_as(http2, request, boxed(Empty::new())).await;
        sender.send_data(Bytes::from_static(b"one ")).await.unwrap();
        let (proxy, served) = rig.stop();
        until_refused(proxy, idle).await;
        assert!(!served.is_finished());
        sender.send_data(Bytes::from_static(b"two")).await.unwrap();
        drop(sender);
        assert_eq!(whole(response).await, "one two");
        assert_eq!(served.await.unwrap(), Stopped::Finished);
    }
}

#[tokio::test]
async fn a_stop_waits_no_longer_than_its_grace() {
    let (_sender, page) = Channel::<Bytes, BoxError>::new(1);
    let rig = Rig::with(&["--grace", SHORT], answer_once(page_of(page))).await;
    let response = rig.get("/").await;
    let (_, served) = rig.stop();
    assert_eq!(served.await.unwrap(), Stopped::CutOff);
    drop(response);
}

// The command line.

#[test]
fn wrong_arguments_are_refused() {
    for (wrong, kind) in [
        (&["--memory", "lots"][..], ErrorKind::ValueValidation),
        (&["--store", "memory"], ErrorKind::ValueValidation),
        (&["--store", "moka:lots"], ErrorKind::ValueValidation),
        (&["--store", "redis-cluster://"], ErrorKind::ValueValidation),
        (&["--store", "s3://bucket?zone=a"], ErrorKind::ValueValidation),
        (&["--store", "fs:"], ErrorKind::ValueValidation),
        (&["--store", "foyer:cache?disk=large"], ErrorKind::ValueValidation),
        (&["--store", "moka:1GiB", "--memory", "1GiB"], ErrorKind::ArgumentConflict),
        (&["--near", "close"], ErrorKind::ValueValidation),
        (&["--chunk-size", "0"], ErrorKind::ValueValidation),
        (&["--chunk-size", "65MiB"], ErrorKind::ValueValidation),
        (&["--chunk-size", "5GiB"], ErrorKind::ValueValidation),
        (&["--media", "video"], ErrorKind::ValueValidation),
        (&["--media", "video/*,/mp4"], ErrorKind::ValueValidation),
        (&["--default-ttl", "5"], ErrorKind::ValueValidation),
        (&["--statuses", "200,all"], ErrorKind::ValueValidation),
        (&["--targeted", "not a name"], ErrorKind::ValueValidation),
        (&["--name", ""], ErrorKind::ValueValidation),
        (&["--heed-requests", "maybe"], ErrorKind::InvalidValue),
        (&["--fill", "half"], ErrorKind::InvalidValue),
        (&["--read-ahead", "far"], ErrorKind::ValueValidation),
        (&["--fill-ahead", "0"], ErrorKind::ValueValidation),
        (&["--most-fills", "-1"], ErrorKind::UnknownArgument),
        (&["--most-promised", "half"], ErrorKind::ValueValidation),
        (&["--most-slices", "0"], ErrorKind::ValueValidation),
        (&["--resumes", "often"], ErrorKind::ValueValidation),
        (&["--resume-pause", "1"], ErrorKind::ValueValidation),
        (&["--follower-limit", "soon"], ErrorKind::ValueValidation),
        (&["--idle-limit", "60"], ErrorKind::ValueValidation),
        (&["--origin", "http://b"], ErrorKind::ArgumentConflict),
        (&["--colour"], ErrorKind::UnknownArgument),
    ] {
        let line = ["proxy", "--listen", "[::1]:0", "--origin", "http://a"];
        let refused = Args::try_parse_from(line.iter().chain(wrong)).unwrap_err();
        assert_eq!(refused.kind(), kind, "{wrong:?}");
    }
    for origin in ["a", "a:80", "https://a", "http://a/path", "http://a?", "http://me@a", "/", ""] {
        let line = ["proxy", "--listen", "[::1]:0", "--origin", origin];
        assert_eq!(Args::try_parse_from(line).unwrap_err().kind(), ErrorKind::ValueValidation, "{origin}");
    }
}

#[test]
fn sizes_durations_and_lists_are_understood() {
    let line = "proxy --listen 127.0.0.1:0 --origin http://a:9000/ --memory 512MiB --chunk-size 64KiB \
                --max-size 1073741824 --media video/*,audio/* --default-ttl 1h30m --grace 0s --fill sliced \
                --statuses 200,404 --stale-if-error 1d --targeted My-CDN-Cache-Control,cdn-cache-control \
                --heed-requests false --name edge-1 --max-ranges 4 --read-ahead 2MiB --fill-ahead 8 \
                --most-fills 0 --most-promised 64MB --most-slices 1 --resumes 0 --resume-pause 1s \
                --follower-limit 5s --idle-limit 2m --stale-on-request 30s --share-with-authorized \
                --invalidate non-error";
    let args = format!("{:?}", Args::try_parse_from(line.split_whitespace()).unwrap());
    for part in [
        "memory: 512.0 MiB (536870912 bytes)",
        "chunk_size: ChunkSize(65536)",
        "max_size: 1.0 GiB (1073741824 bytes)",
        "media: Some([\"video/*\", \"audio/*\"])",
        "default_ttl: Some(5400s)",
        "statuses: Some([Some(200), Some(404)])",
        "stale_if_error: Some(86400s)",
        "stale_on_request: Some(30s)",
        "share_with_authorized: true",
        "invalidate: Some(NonError)",
        "targeted: Some([\"my-cdn-cache-control\", \"cdn-cache-control\"])",
        "heed_requests: Some(false)",
        "name: CacheName(edge-1)",
        "max_ranges: Some(4)",
        "fill: Sliced",
        "read_ahead: 2.0 MiB (2097152 bytes)",
        "fill_ahead: 8,",
        "most_fills: 0,",
        "most_promised: Some(61.0 MiB (64000000 bytes))",
        "most_slices: 1,",
        "resumes: 0,",
        "resume_pause: 1s",
        "follower_limit: 5s",
        "idle_limit: 120s",
        "grace: 0ns",
    ] {
        assert!(args.contains(part), "{part} in {args}");
    }
}

#[test]
fn a_store_is_named_by_what_it_is_and_where() {
    let redis = |url: &str, roots: Option<&str>| StoreArg::Redis {
        url: url.to_owned(),
        roots: roots.map(Into::into),
    };
    for (text, expected) in [
        ("moka:512MiB", StoreArg::Moka(512 << 20)),
        ("redis://:secret@a:6379/1", redis("redis://:secret@a:6379/1", None)),
        ("rediss://a:6380", redis("rediss://a:6380", None)),
        ("rediss://a:6380/1?roots=/etc/ca.pem", redis("rediss://a:6380/1", Some("/etc/ca.pem"))),
        ("redis-cluster://a:7000,b:7001", {
            StoreArg::RedisCluster(vec!["redis://a:7000".to_owned(), "redis://b:7001".to_owned()])
        }),
        ("s3://videos?endpoint=http%3A%2F%2Fa%3A9000&region=eu", {
            let settings = [("endpoint", "http://a:9000"), ("region", "eu")];
            let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
            StoreArg::S3 { bucket: "videos".to_owned(), settings: settings.to_vec() }
        }),
        ("fs:/var/cache/videos", StoreArg::Fs("/var/cache/videos".into())),
        ("foyer:cache?disk=2GiB", {
            StoreArg::Foyer { directory: "cache".into(), memory: 256 << 20, disk: 2 << 30 }
        }),
    ] {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
}

#[tokio::test]
async fn memory_before_a_store_answers_as_the_store_does() {
    let rig = Rig::with(&["--store", "moka:64MiB", "--near", "8MiB"], |_| async { Ok(video()) }).await;
    for status in ["stored", "hit", "hit"] {
        let response = rig.get("/a.mp4").await;
        assert!(field(response.headers(), "cache-status").contains(status), "{response:?}");
        assert_eq!(whole(response).await, movie());
    }
    assert_eq!(rig.seen().len(), 1);
}

#[test]
fn what_becomes_of_an_abandoned_fill_is_said_in_words_percent_or_bytes() {
    for (text, expected) in [
        ("finish", Ok(Abandon::Finish)),
        ("stop", Ok(Abandon::Stop)),
        ("90%", Ok(Abandon::FinishFromPercent(90))),
        ("0%", Ok(Abandon::FinishFromPercent(0))),
        ("100 %", Ok(Abandon::FinishFromPercent(100))),
        ("8MiB", Ok(Abandon::FinishWithin(8 << 20))),
        ("1.5 MB", Ok(Abandon::FinishWithin(1_500_000))),
        ("0B", Ok(Abandon::FinishWithin(0))),
        ("90", Err("write 90% or 90B")),
        ("101%", Err("from 0% to 100%")),
        ("256%", Err("from 0% to 100%")),
        ("-1%", Err("from 0% to 100%")),
        ("12.5%", Err("from 0% to 100%")),
        ("%", Err("from 0% to 100%")),
        ("8 apples", Err("expected finish, stop, a percentage such as 90%, or bytes such as 8MiB")),
        ("Finish", Err("expected finish, stop")),
        ("", Err("expected finish, stop")),
    ] {
        let line = format!("proxy --listen [::1]:0 --origin http://a --abandon={text}");
        let line = line.splitn(6, ' ');
        match (Args::try_parse_from(line), expected) {
            (Ok(args), Ok(expected)) => {
                let args = format!("{args:?}");
                assert!(args.contains(&format!("abandon: {expected:?},")), "{text}: {args}");
            }
            (Err(error), Err(why)) => {
                assert_eq!(error.kind(), ErrorKind::ValueValidation, "{text}");
                assert!(error.to_string().contains(why), "{text}: {error}");
            }
            (given, _) => panic!("{text}: {given:?}"),
        }
    }
}

/// The proxy, and the origin behind it, in this process. Both end with the test's runtime.
struct Rig {
    proxy: SocketAddr,
    origin: SocketAddr,
    log: Arc<Mutex<Vec<request::Parts>>>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Stopped>,
}

type Content = UnsyncBoxBody<Bytes, BoxError>;
type Answer = Result<Response<Content>, BoxError>;

impl Rig {
    /// An origin that answers as `answer` does; where that fails, it hangs up.
    async fn new<F: Future<Output = Answer> + Send>(
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self {
        Self::with(&[], answer).await
    }

    /// An origin that answers one request.
    async fn once(response: Response<Content>) -> Self {
        Self::with(&[], answer_once(response)).await
    }

    async fn with<F: Future<Output = Answer> + Send>(
        arguments: &[&str],
        answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static,
    ) -> Self {
        let (listener, origin) = listener().await;
        let rig = Self::of(origin, arguments).await;
        let (log, answer) = (Arc::clone(&rig.log), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    log.lock().unwrap().push(parts.clone());
                    let answer = Arc::clone(&answer);
                    async move { answer(Request::from_parts(parts, body)).await }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        rig
    }

    /// The proxy of an origin that is as it is.
    async fn of(origin: SocketAddr, arguments: &[&str]) -> Self {
        let line = ["proxy", "--listen", "127.0.0.1:0", "--origin", &format!("http://{origin}")];
        let args = Args::try_parse_from(line.iter().chain(arguments)).unwrap();
        let listener = TcpListener::bind(args.listen).await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let opened = args.open().await.unwrap();
        let served = tokio::spawn(async move {
            let stopped = async { _ = stopped.await };
            let layer = opened.layer.clone();
            let how = server::serve(listener, layer, args.origin(), args.limits(), stopped).await;
            opened.close().await.unwrap();
            how
        });
        Self { proxy, origin, log: Arc::default(), stop, served }
    }

    async fn get(&self, path: &str) -> Response<Incoming> {
        self.send(Request::get(path)).await
    }

    async fn send(&self, request: request::Builder) -> Response<Incoming> {
        self.send_body(request, boxed(Empty::new())).await
    }

    async fn send_body(&self, request: request::Builder, body: Content) -> Response<Incoming> {
        self.send_as(false, request, body).await
    }

    async fn send_http2(&self, request: request::Builder) -> Response<Incoming> {
        self.send_as(true, request, boxed(Empty::new())).await
    }

    /// On a connection of its own, which ends with the response.
    async fn send_as(&self, http2: bool, request: request::Builder, body: Content) -> Response<Incoming> {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        let mut request = request.body(body).unwrap();
        *request.uri_mut() = format!("http://{}{}", self.proxy, request.uri()).parse().unwrap();
        client.request(request).await.unwrap()
    }

    /// What the proxy answers to these bytes, up to the connection's end.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut viewer = TcpStream::connect(self.proxy).await.unwrap();
        viewer.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        viewer.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The heads of the requests that reached the origin.
    fn seen(&self) -> Vec<request::Parts> {
        self.log.lock().unwrap().clone()
    }

    fn stop(self) -> (SocketAddr, JoinHandle<Stopped>) {
        self.stop.send(()).unwrap();
        (self.proxy, self.served)
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers one request, and hangs up on every other.
fn answer_once(
    response: Response<Content>,
) -> impl Fn(Request<Incoming>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync {
    let response = Mutex::new(Some(response));
    move |_| {
        let answer = response.lock().unwrap().take().ok_or_else(|| "only once".into());
        Box::pin(std::future::ready(answer))
    }
}

/// Returns once `proxy` has let go of an `idle` connection and takes no new one.
async fn until_refused(proxy: SocketAddr, mut idle: TcpStream) {
    // Closed before it was greeted, or after.
    let _ = idle.read(&mut [0]).await;
    while TcpStream::connect(proxy).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

async fn refused(response: Response<Incoming>, status: StatusCode) {
    assert_eq!(response.status(), status);
    assert_eq!(field(response.headers(), "cache-control"), "no-store");
    assert_eq!(field(response.headers(), "content-type"), "text/plain");
    assert!(!whole(response).await.is_empty());
}

fn video() -> Response<Content> {
    Response::builder()
        .header(header::CONTENT_TYPE, "video/mp4")
        .header(header::CACHE_CONTROL, "public, max-age=60")
        .header(header::CONTENT_LENGTH, LENGTH)
        .body(boxed(Full::from(movie())))
        .unwrap()
}

/// What an origin with rangesand a strong validator answers, and how many bytes of the video that is.
fn part(request: &Request<Incoming>) -> (Response<Content>, usize) {
    let range = field(request.headers(), "range");
    let wanted = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')).map(|(first, last)| {
        let last = last.parse().map_or(LENGTH, |last: usize| LENGTH.min(last + 1));
        first.parse().unwrap()..last
    });
    let mut response = video();
    response.headers_mut().insert("etag", "\"movie\"".parse().unwrap());
    let Some(wanted) = wanted else {
        return (response, LENGTH);
    };
    let part = movie().slice(wanted.clone());
    let length = part.len();
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    *response.body_mut() = boxed(Full::from(part));
    response.headers_mut().insert("content-length", length.into());
    let content_range = format!("bytes {}-{}/{LENGTH}", wanted.start, wanted.end - 1);
    response.headers_mut().insert("content-range", content_range.parse().unwrap());
    (response, length)
}

fn page_of<B>(body: B) -> Response<Content>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Response::builder().header(header::CONTENT_TYPE, "text/html").body(boxed(body)).unwrap()
}

fn boxed<B>(body: B) -> Content
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    body.map_err(Into::into).boxed_unsync()
}

async fn whole(response: Response<Incoming>) -> Bytes {
    response.collect().await.unwrap().to_bytes()
}

/// All lines of a field as one.
fn field(headers: &HeaderMap, name: &str) -> String {
    let lines: Vec<_> = headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect();
    lines.join(", ")
}

/// Bytes that tell where they are.
fn movie() -> Bytes {
    static MOVIE: LazyLock<Bytes> =
        LazyLock::new(|| (0_u32..).flat_map(u32::to_be_bytes).take(LENGTH).collect());
    MOVIE.clone()
}

/// Some chunks, and no whole number of them.
const LENGTH: usize = (3 << 20) - 5;

/// A limit that is reached soon.
const SHORT: &str = "50ms";
