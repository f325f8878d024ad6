//! Kept connections to the origin: RFC 9112 §9.3, §9.5.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{Method, Request, StatusCode};
use http_body_util::{Empty, Full};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::Semaphore,
};

use super::{
    rig::{LENGTH, Rig, boxed, field, listener, movie, whole},
    wire::Wire,
};

#[tokio::test]
async fn a_get_or_head_that_meets_a_closing_connection_is_sent_on_a_new_one() {
    for mode in ["whole", "progressive", "sliced"] {
        for method in [Method::GET, Method::HEAD] {
            let origin = Origin::start([&[page(), Step::Closes][..], &[page()]]).await;
            let rig = Rig::of(origin.address, &["--fill", mode]).await;
            whole(rig.get("/1").await).await;
            origin.is_kept().await;
            let answer = rig.send(Request::builder().method(&method).uri("/2")).await;
            assert_eq!(answer.status(), StatusCode::OK, "{mode} {method}");
            assert_eq!(
                origin.seen(),
                ["0 GET /1", &format!("0 {method} /2"), &format!("1 {method} /2")],
                "{mode}"
            );
        }
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_acted_on_is_sent_once() {
    for (method, content) in
        [(Method::POST, ""), (Method::DELETE, ""), (Method::OPTIONS, ""), (Method::GET, "x")]
    {
        let origin = Origin::start([&[page(), Step::Closes][..], &[page()]]).await;
        let rig = Rig::of(origin.address, &[]).await;
        whole(rig.get("/1").await).await;
        origin.is_kept().await;
        let request = Request::builder().method(&method).uri("/2");
        let answer = rig.send_body(request, boxed(Full::from(content))).await;
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{method}");
        assert_eq!(field(answer.headers(), "proxy-status"), "tower-video-cache; error=connection_terminated");
        assert_eq!(origin.seen().len(), 2, "{method}");
    }
}

#[tokio::test]
async fn a_request_is_sent_a_second_time_only_if_no_answer_had_begun_and_only_once() {
    for (first, second, expected, requests) in [
        (Step::Sends("HTTP/1.1 20"), page(), 502, 2),
        (Step::Sends("HTTP/1.1 200 OK\r\ncontent-"), page(), 502, 2),
        (Step::Sends("HTTP/1.1 103 Early Hints\r\n\r\n"), page(), 502, 2),
        (Step::Closes, Step::Closes, 502, 3),
        // Bytes that belong to no answer are not the beginning of one.
        (Step::Sends("stray"), page(), 200, 3),
        (Step::Sends("\u{16}\u{3}\u{1}\r\n\r\n"), page(), 200, 3),
    ] {
        let origin = Origin::start([&[page(), first][..], &[second], &[page()]]).await;
        let rig = Rig::of(origin.address, &[]).await;
        whole(rig.get("/1").await).await;
        origin.is_kept().await;
        let answer = rig.get("/2").await;
        assert_eq!(answer.status(), expected, "{first:?}");
        assert_eq!(origin.seen().len(), requests, "{first:?}");
    }
    // The first request of a connection is not sent again: the origin may have closed because of it.
    let origin = Origin::start([&[Step::Closes][..], &[page()]]).await;
    let rig = Rig::of(origin.address, &[]).await;
    assert_eq!(rig.get("/1").await.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(origin.seen().len(), 1);
}

#[tokio::test]
async fn a_connection_that_the_origin_has_closed_takes_no_request() {
    for method in [Method::GET, Method::POST] {
        let origin = Origin::start([&[page()][..], &[page()]]).await;
        let rig = Rig::of(origin.address, &[]).await;
        whole(rig.get("/1").await).await;
        origin.has_closed(1).await;
        let answer = rig.send(Request::builder().method(&method).uri("/2")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{method}");
        assert_eq!(origin.seen(), ["0 GET /1".to_owned(), format!("1 {method} /2")]);
    }
}

#[tokio::test]
async fn bytes_beyond_a_body_cost_the_connection_and_never_the_next_request() {
    let evil = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nevil";
    for mode in ["whole", "progressive", "sliced"] {
        for stray in ["x", "\r\n", "stray\r\n\r\n", evil] {
            for method in [Method::GET, Method::POST] {
                let origin =
                    Origin::start([&[Step::Film(stray), Step::Answers("wrong")][..], &[page()], &[page()]])
                        .await;
                let rig = Rig::of(origin.address, &["--fill", mode]).await;
                assert_eq!(whole(rig.get("/1").await).await, movie());
                let answer = rig.send(Request::builder().method(&method).uri("/2")).await;
                assert_eq!(answer.status(), StatusCode::OK, "{mode} {method} {stray}");
                assert_eq!(whole(answer).await, "page", "{mode} {method} {stray}");
            }
        }
    }
}

#[tokio::test]
async fn forbidden_content_of_an_answer_costs_the_connection_alone() {
    for (method, answer) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
        (Method::HEAD, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\nevil"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil"),
        (Method::DELETE, "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
    ] {
        for next in [Method::GET, Method::POST] {
            let script = [Step::SendsAndWaits(answer), Step::Answers("evil")];
            let origin = Origin::start([&script[..], &[page()], &[page()]]).await;
            let rig = Rig::of(origin.address, &[]).await;
            rig.send(Request::builder().method(&method).uri("/1")).await;
            let answer = rig.send(Request::builder().method(&next).uri("/2")).await;
            assert_eq!(whole(answer).await, "page", "{method} {next}");
        }
    }
}

#[tokio::test]
async fn an_unrequested_answer_is_given_to_no_client() {
    let (listener, address) = listener().await;
    let (says, said) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (asked_to, told) = (says.clone(), said.clone());
    tokio::spawn(async move {
        let mut streams = Vec::new();
        for first in [true, false] {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            let head = head(&mut stream).await.unwrap();
            act(stream.get_mut(), &head, page()).await;
            if first {
                asked_to.acquire().await.unwrap().forget();
                act(stream.get_mut(), &head, Step::Answers("evil")).await;
                told.add_permits(1);
            }
            streams.push(stream);
        }
    });
    let rig = Rig::of(address, &[]).await;
    assert_eq!(whole(rig.get("/1").await).await, "page");
    says.add_permits(1);
    said.acquire().await.unwrap().forget();
    assert_eq!(whole(rig.send(Request::post("/2")).await).await, "page");
}

#[cfg(unix)]
#[tokio::test]
async fn the_system_knows_that_a_connection_is_not_quiet_before_tokio_does() {
    for bytes in [&b"x"[..], b""] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let wire = Wire::new(stream);
        assert!(wire.socket().is_quiet());
        // No line below gives tokio a turn.
        std::io::Write::write_all(&mut peer, bytes).unwrap();
        drop(peer);
        assert!(!wire.socket().is_quiet());
    }
}

#[tokio::test]
async fn a_kept_connection_is_used_again() {
    let origin = Origin::start([&[page(), page(), page()][..]]).await;
    let rig = Rig::of(origin.address, &[]).await;
    for (index, method) in [Method::GET, Method::POST, Method::GET].into_iter().enumerate() {
        let request = Request::builder().method(method).uri("/");
        assert_eq!(whole(rig.send_body(request, boxed(Empty::new())).await).await, "page");
        if index < 2 {
            origin.is_kept().await;
        }
    }
    assert_eq!(origin.seen(), ["0 GET /", "0 POST /", "0 GET /"]);
}

/// The origin's reaction to a request.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A page that is not stored.
    Answers(&'static str),
    /// The connection is closed and no byte is sent.
    Closes,
    /// A video, followed by extra bytes.
    Film(&'static str),
    /// These bytes are sent, and the connection is closed.
    Sends(&'static str),
    SendsAndWaits(&'static str),
}

fn page() -> Step {
    Step::Answers("page")
}

/// An origin with a script for every connection. The connection closes at the end of its script.
struct Origin {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    /// A permit for each connection that waits for another request.
    waiting: Arc<Semaphore>,
    closed: Arc<Semaphore>,
}

impl Origin {
    async fn start<const N: usize>(scripts: [&[Step]; N]) -> Self {
        let (listener, address) = listener().await;
        let origin = Self {
            address,
            log: Arc::default(),
            waiting: Arc::new(Semaphore::new(0)),
            closed: Arc::new(Semaphore::new(0)),
        };
        let (log, waiting, closed) = (origin.log.clone(), origin.waiting.clone(), origin.closed.clone());
        let scripts = scripts.map(<[Step]>::to_vec);
        tokio::spawn(async move {
            for (number, script) in scripts.into_iter().enumerate() {
                let (stream, _) = listener.accept().await.unwrap();
                let (log, waiting, closed) = (log.clone(), waiting.clone(), closed.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    for (index, step) in script.into_iter().enumerate() {
                        if index > 0 {
                            waiting.add_permits(1);
                        }
                        let Some(head) = head(&mut stream).await else { return };
                        log.lock().unwrap().push(format!("{number} {head}"));
                        if !act(stream.get_mut(), &head, step).await {
                            break;
                        }
                    }
                    drop(stream);
                    closed.add_permits(1);
                });
            }
        });
        origin
    }

    /// Returns once the proxy has a connection that it may use again.
    async fn is_kept(&self) {
        self.waiting.acquire().await.unwrap().forget();
        // The proxy learns of the end of the answer from the bytes that the test has read by now.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    async fn has_closed(&self, connections: u32) {
        self.closed.acquire_many(connections).await.unwrap().forget();
    }

    fn seen(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// Method and target of the next request; `None` if there is none.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut first = String::new();
    stream.read_line(&mut first).await.ok()?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            return Some(first.trim_end().trim_end_matches(" HTTP/1.1").to_owned());
        }
    }
}

/// Plays one step. Returns false if the connection ends with it.
async fn act(stream: &mut TcpStream, head: &str, step: Step) -> bool {
    let answer = |kind: &str, length: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncache-control: max-age=60\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let (bytes, goes_on) = match step {
        Step::Answers(_) if head.starts_with("HEAD") => (answer("text/html", 4).into_bytes(), true),
        Step::Answers(text) => ((answer("text/html", text.len()) + text).into_bytes(), true),
        Step::Closes => (Vec::new(), false),
        Step::Film(stray) => {
            ([answer("video/mp4", LENGTH).as_bytes(), &movie(), stray.as_bytes()].concat(), true)
        }
        Step::Sends(text) => (text.as_bytes().to_vec(), false),
        Step::SendsAndWaits(text) => (text.as_bytes().to_vec(), true),
    };
    stream.write_all(&bytes).await.is_ok() && goes_on
}
