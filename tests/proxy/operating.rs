//! The proxy for its operator: figures on a listener of their own.

use clap::Parser;
use http::{Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    args::Args,
    rig::{Rig, boxed, movie, video, whole},
};

async fn figures(rig: &Rig, path: &str) -> (StatusCode, String) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::get(format!("http://{}{path}", rig.figures.unwrap()));
    let body = boxed(http_body_util::Empty::new());
    let response = client.request(request.body(body).unwrap()).await.unwrap();
    (response.status(), String::from_utf8(whole(response).await.into()).unwrap())
}

#[tokio::test]
async fn an_operator_sees_the_figures_on_a_listener_of_their_own() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let line = ["--admin", "127.0.0.1:0", "--name", "edge"];
    let rig = Rig::of(rig.origin, &line).await;
    for _ in 0..2 {
        assert_eq!(whole(rig.get("/a.mp4").await).await, movie());
    }
    let (answered, stats) = figures(&rig, "/stats").await;
    assert_eq!(answered, StatusCode::OK);
    assert!(stats.contains("\"hit\":1") && stats.contains("\"name\":\"edge\""), "{stats}");
    let (_, metrics) = figures(&rig, "/metrics").await;
    assert!(metrics.contains("video_cache_requests_total{cache=\"edge\",outcome=\"hit\"} 1\n"), "{metrics}");
    let (_, explained) = figures(&rig, &format!("/explain?uri=http://{}/a.mp4", rig.proxy)).await;
    assert!(explained.contains("\"outcome\":\"hit\""), "{explained}");
    assert_eq!(figures(&rig, "/a.mp4").await.0, StatusCode::NOT_FOUND, "no client's listener");
    assert_eq!(rig.get("/stats").await.status(), StatusCode::OK, "that is the origin's page");
}

#[tokio::test]
async fn an_operator_purges_a_video_and_no_client_can() {
    let rig = Rig::new(|_| async { Ok(video()) }).await;
    let rig = Rig::of(rig.origin, &["--admin", "127.0.0.1:0"]).await;
    let purge = async |address: std::net::SocketAddr, target: String| {
        let line = format!("PURGE {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", rig.proxy);
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(line.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    let outcome = async || {
        let response = rig.get("/a.mp4").await;
        let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
        assert_eq!(whole(response).await, movie());
        status
    };
    outcome().await;
    assert!(outcome().await.contains("; hit"));
    let target = format!("http://{}/a.mp4", rig.proxy);
    let answer = purge(rig.figures.unwrap(), target.clone()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"found\":true"), "{answer}");
    assert!(outcome().await.contains("fwd="));
    assert!(outcome().await.contains("; hit"));
    // To the proxy itself, PURGE is an unknown method, and the origin decides.
    let answer = purge(rig.proxy, target).await;
    assert!(answer.contains("fwd=method"), "{answer}");
}

#[test]
fn an_address_that_others_reach_is_refused_for_the_figures() {
    let line =
        |address| ["proxy", "--listen", "127.0.0.1:0", "--origin", "http://a.example", "--admin", address];
    for address in ["127.0.0.1:9901", "[::1]:9901", "[::ffff:127.0.0.1]:9901"] {
        assert!(Args::try_parse_from(line(address)).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:9901", "[::]:9901", "192.0.2.1:9901", "localhost", "9901"] {
        assert!(Args::try_parse_from(line(address)).is_err(), "{address}");
    }
}
