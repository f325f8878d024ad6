//! Clients that take nothing, and more clients than there is room for.

use std::{net::SocketAddr, pin::pin, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, channel::Channel};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tower_video_cache::BoxError;

use super::{
    rig::{Content, Rig, SHORT, answer_once, boxed, page_of, whole},
    unread::Frames,
};

/// RFC 9112 §8: a connection that closes cleanly may look like the end of the body.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_takes_nothing_is_ended_with_an_error() {
    for (version, cached) in [("1.1", false), ("1.0", false), ("1.1", true), ("1.0", true)] {
        let rig =
            Rig::with(&["--write-timeout", SHORT], move |_| std::future::ready(Ok(large(cached)))).await;
        let request = format!("GET /a HTTP/{version}\r\nhost: a\r\n\r\n");
        let mut viewer = stalled(rig.proxy, &request).await;
        is_ended(&viewer).await;
        let mut rest = Vec::new();
        assert!(viewer.read_to_end(&mut rest).await.is_err(), "HTTP/{version}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_reads_no_small_answers_is_ended_too() {
    let rig =
        Rig::with(&["--write-timeout", SHORT], |_| async { Ok(page_of(Full::from(vec![7; 40_000]))) }).await;
    let mut viewer = stalled(rig.proxy, "").await;
    let requests = "GET /a HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
    // Writes until neither side takes any more.
    while viewer.write_all(requests.as_bytes()).await.is_ok() {}
}

#[tokio::test]
async fn over_http2_an_answer_that_is_not_taken_ends_its_connection() {
    let rig = Rig::with(&["--write-timeout", SHORT], |_| async { Ok(large(true)) }).await;
    let stream = TcpStream::connect(rig.proxy).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(1 << 16).initial_connection_window_size(1 << 24);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://{}/a", rig.proxy)).body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    // The connection lives, and only one of its answers is ended.
    assert!(timeout(PATIENCE, connection).await.is_ok());
    assert!(response.collect().await.is_err());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_waits_for_the_origin_is_not_taken_for_one_that_takes_nothing() {
    let (mut sender, page) = Channel::<Bytes, BoxError>::new(1);
    let rig = Rig::with(&["--write-timeout", "1ms"], answer_once(page_of(page))).await;
    let mut response = rig.get("/").await;
    sender.send_data(Bytes::from_static(b"first")).await.unwrap();
    assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
    // Many times the limit.
    let stalled = stalled(rig.proxy, "").await;
    for _ in 0..200 {
        assert_eq!(
            rig.send(Request::options("/").header("max-forwards", "0")).await.status(),
            StatusCode::OK
        );
    }
    drop((sender, stalled));
    assert!(response.frame().await.is_none());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_client_that_took_nothing_for_longest_is_ended_if_memory_is_short() {
    let rig = Rig::with(&["--most-unread", "2MiB"], |_| async { Ok(large(true)) }).await;
    let mut viewers = Vec::new();
    for path in 0..3 {
        viewers.push(stalled(rig.proxy, &format!("GET /{path} HTTP/1.1\r\nhost: a\r\n\r\n")).await);
        // The head has come, so bytes wait behind it.
        viewers[path].readable().await.unwrap();
    }
    // Other clients are answered meanwhile, and each of them makes the proxy look for room.
    let others = async {
        loop {
            assert_eq!(whole(rig.get("/0").await).await.len(), LARGE);
        }
    };
    tokio::select! {
        () = is_ended(&viewers[0]) => {}
        () = others => {}
    }
    // Enough memory is free now, and the last client reads on.
    let mut rest = vec![0; LARGE];
    viewers[2].read_exact(&mut rest).await.unwrap();
    assert!(rest.iter().rev().take(1 << 20).all(|byte| *byte == 7));
}

#[test]
fn a_frame_that_waits_for_several_clients_counts_once() {
    let frames = Frames::default();
    let (one, other) = (Bytes::from(vec![0; 1000]), Bytes::from(vec![0; 10]));
    for (adds, bytes, total) in [
        (true, &one, 1000),
        (true, &one.clone(), 1000),
        (true, &other, 1010),
        (false, &one, 1010),
        (false, &one, 10),
        (false, &one, 10),
        (false, &other, 0),
    ] {
        if adds {
            frames.add(bytes);
        } else {
            frames.remove(bytes);
        }
        assert_eq!(frames.total(), total);
    }
}

#[tokio::test]
async fn an_idle_client_gives_up_its_seat_if_all_seats_are_taken() {
    let rig = Rig::with(&["--most-connections", "2", "--write-timeout", SHORT], |_| async {
        Ok(page_of(Full::from("page")))
    })
    .await;
    let mut idle = TcpStream::connect(rig.proxy).await.unwrap();
    let mut answered = TcpStream::connect(rig.proxy).await.unwrap();
    answered.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    answered.readable().await.unwrap();
    assert_eq!(whole(rig.get("/").await).await, "page");
    // The proxy ended the client that has been quiet for longer, and not the other.
    assert!(matches!(timeout(PATIENCE, idle.read(&mut [0])).await, Ok(Ok(0) | Err(_))));
    answered.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut both = String::new();
    answered.read_to_string(&mut both).await.unwrap();
    assert_eq!(both.matches("page").count(), 2, "{both}");
}

#[tokio::test]
async fn a_client_that_waits_for_its_answer_keeps_its_seat() {
    let (mut sender, page) = Channel::<Bytes, BoxError>::new(1);
    let rig =
        Rig::with(&["--most-connections", "1", "--write-timeout", SHORT], answer_once(page_of(page))).await;
    let mut first = rig.get("/").await;
    let mut second =
        pin!(rig.raw(b"OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\nconnection: close\r\n\r\n"));
    // Longer than a client may be quiet when seats are short.
    assert!(timeout(Duration::from_millis(300), &mut second).await.is_err());
    sender.send_data(Bytes::from_static(b"the answer")).await.unwrap();
    drop(sender);
    assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "the answer");
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200 "));
}

/// An answer that is larger than the system's buffers for a client that does not read.
fn large(cached: bool) -> Response<Content> {
    let response = Response::builder().header("content-type", "video/mp4");
    let control = if cached { "max-age=60" } else { "no-store" };
    response.header("cache-control", control).body(boxed(Full::from(vec![7; LARGE]))).unwrap()
}

const LARGE: usize = 12 << 20;

/// A client that sends this request and has little room for the answer.
async fn stalled(proxy: SocketAddr, request: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut viewer = socket.connect(proxy).await.unwrap();
    viewer.write_all(request.as_bytes()).await.unwrap();
    viewer
}

/// Returns once the proxy has broken the connection.
#[cfg(target_os = "linux")]
async fn is_ended(viewer: &TcpStream) {
    timeout(PATIENCE, viewer.ready(Interest::ERROR)).await.unwrap().unwrap();
}

const PATIENCE: Duration = Duration::from_secs(30);
