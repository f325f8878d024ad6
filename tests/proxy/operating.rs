//! The proxy for its operator: figures on a listener of their own.

use clap::Parser;
use http::{Request, StatusCode};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

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
