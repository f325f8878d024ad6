//! Origins and clients that fail.

use std::{future::pending, net::Ipv4Addr, sync::Mutex, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, channel::Channel};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
};
use tower_video_cache::BoxError;

use super::rig::{
    LENGTH, Rig, SHORT, answer_once, boxed, listener, movie, page_of, refused, refused_for, video, whole,
};

#[tokio::test]
async fn an_absent_origin_is_a_bad_gateway() {
    let (listener, origin) = listener().await;
    drop(listener);
    let rig = Rig::of(origin, &[]).await;
    for request in [Request::get("/a.mp4"), Request::post("/")] {
        let answer = rig.send(request).await;
        refused_for(answer, StatusCode::BAD_GATEWAY, "connection_refused", "refused the connection").await;
    }
}

#[tokio::test]
async fn an_origin_without_an_address_is_a_bad_gateway() {
    // A label of more than 63 letters is not even looked up.
    let name = format!("{}.example", "a".repeat(64));
    let rig = Rig::on(listener().await.0, &name, &[]).await;
    let answer = rig.get("/a.mp4").await;
    refused_for(answer, StatusCode::BAD_GATEWAY, "dns_error", "name could not be resolved").await;
}

#[tokio::test]
async fn an_origin_that_sends_something_else_than_an_answer_is_a_bad_gateway() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for (sent, error, words) in [
        ("SSH-2.0-OpenSSH\r\n", "http_protocol_error", "is not one of HTTP/1.1"),
        (
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            "http_protocol_error",
            "",
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "http_protocol_error", ""),
        ("HTTP/1.1 200 OK\r\nx", "connection_terminated", "before it had answered"),
        (&long, "http_response_header_section_size", "too large"),
        (&many, "http_response_header_section_size", "too large"),
    ] {
        let (listener, origin) = listener().await;
        let sent = sent.to_owned();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 20]).await.unwrap();
            // The proxy does not read all of it.
            let _ = stream.write_all(sent.as_bytes()).await;
            let _ = stream.shutdown().await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let rig = Rig::of(origin, &[]).await;
        refused_for(rig.get("/a.mp4").await, StatusCode::BAD_GATEWAY, error, words).await;
    }
}

#[tokio::test]
async fn an_origin_that_hangs_up_is_a_bad_gateway_and_is_not_asked_again() {
    let rig = Rig::new(|_| async { Err("no answer".into()) }).await;
    let answer = rig.get("/a.mp4").await;
    refused_for(answer, StatusCode::BAD_GATEWAY, "connection_terminated", "closed the connection").await;
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
    let upload = rig.send_body(Request::post("/"), boxed(Full::from("upload"))).await;
    for answer in [rig.get("/a.mp4").await, upload] {
        let words = "did not begin its answer in time";
        refused_for(answer, StatusCode::GATEWAY_TIMEOUT, "http_response_timeout", words).await;
    }
}

/// The backlog is full, so the system leaves further connections without an answer.
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
    let answer = rig.get("/a.mp4").await;
    refused_for(answer, StatusCode::GATEWAY_TIMEOUT, "connection_timeout", "did not accept a connection")
        .await;
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
    let rig = Rig::with(&["--fill", "whole"], answer_once(video().map(|_| boxed(body)))).await;
    let (response, sent) = tokio::join!(rig.get("/a.mp4"), async {
        let sent = sender.send_data(movie().slice(..LENGTH / 2)).await;
        drop(sender);
        sent
    });
    sent.unwrap();
    refused(response, StatusCode::BAD_GATEWAY).await;
}

// Clients that fail.

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
    refused_for(response, StatusCode::REQUEST_TIMEOUT, "http_request_error", "did not come in time").await;
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
