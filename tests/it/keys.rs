//! The requests that share a response: the cache key, and the ready-made functions for it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request,
    http::StatusCode,
    middleware::{Next, from_fn},
    response::IntoResponse,
    routing::get,
};
use bytes::Bytes;
use tower::ServiceExt;
use tower_video_cache::TargetUri;

use crate::rig::{Ask, Rig, Script, movie};

/// A rig whose inner service knows one video, under this key function.
fn rig(uri: TargetUri) -> Rig {
    Rig::new().movie("/a.mp4", 2500).layer(|layer| layer.key(uri.into_fn()))
}

async fn hits(ask: Ask) -> bool {
    let answer = ask.send().await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.cache_status().contains("; hit")
}

#[tokio::test]
async fn targets_share_nothing_unless_they_are_equal_byte_for_byte() {
    let rig = Rig::new();
    let paths = ["/a/b", "/a%2Fb", "/a%2fb", "//a/b", "/A/b", "/c/../a/b", "/./a/b", "/a/b/", "/a%62"];
    for path in paths {
        rig.inner.answer(path, Script::movie(path, 2500));
        rig.get(path).send().await.whole(&movie(path, 2500));
    }
    for path in paths {
        rig.get(path).send().await.whole(&movie(path, 2500)).is_hit();
    }
    for query in ["?", "??", "?x", "?X", "?x=", "?x&", "?%78"] {
        let path = format!("/a/b{query}");
        assert!(!hits(rig.get(&path)).await, "{query}");
        assert!(hits(rig.get(&path)).await, "{query}");
    }
}

#[tokio::test]
async fn a_request_that_names_two_hosts_poisons_neither() {
    let rig = Rig::new();
    let honest = |host: &'static str| rig.get("/a.mp4").header("host", host);
    let confused = [
        rig.get("/a.mp4").header("host", "one.example").header("host", "two.example"),
        rig.get("/a.mp4").header("host", "two.example").header("host", "one.example"),
        rig.get("/a.mp4").header("host", "one.example, two.example"),
        rig.get("http://one.example/a.mp4").header("host", "two.example"),
        rig.get("http://two.example/a.mp4").header("host", "one.example"),
        rig.get("/a.mp4").header("host", ""),
    ];
    // The inner service may believe either host, and may give any answer.
    for (index, ask) in confused.into_iter().enumerate() {
        let name = format!("/confused/{index}");
        rig.inner.answer("/a.mp4", Script::movie(&name, 2500));
        ask.send().await.whole(&movie(&name, 2500));
    }
    for host in ["one.example", "two.example"] {
        rig.inner.answer("/a.mp4", Script::movie(host, 2500));
        honest(host).send().await.whole(&movie(host, 2500));
    }
    rig.inner.answer("/a.mp4", Script::movie("/late", 2500));
    for host in ["one.example", "two.example"] {
        honest(host).send().await.whole(&movie(host, 2500)).is_hit();
    }
}

#[tokio::test]
async fn parameters_that_do_not_change_the_video_can_be_left_out() {
    let rig = rig(TargetUri::new().without_parameters(["token", "utm_*"]));
    assert!(!hits(rig.get("/a.mp4?token=1&v=2")).await);
    assert!(hits(rig.get("/a.mp4?v=2&utm_source=x&token=2")).await);
    assert!(!hits(rig.get("/a.mp4?v=3&token=1")).await);
    assert!(!hits(rig.get("/a.mp4?v=2&to%6ben=1")).await);
    // The inner service gets the client's own URI.
    assert_eq!(rig.inner.calls()[0].uri, "/a.mp4?token=1&v=2");
}

#[tokio::test]
async fn all_parameters_but_some_can_be_left_out_and_their_order_with_them() {
    let rig = rig(TargetUri::new().only_parameters(["v", "lang"]).sorted_parameters());
    assert!(!hits(rig.get("/a.mp4?v=2&lang=de&x=1")).await);
    assert!(hits(rig.get("/a.mp4?y&lang=de&v=2")).await);
    assert!(!hits(rig.get("/a.mp4?y&lang=en&v=2")).await);
    assert!(!hits(rig.get("/a.mp4?lang=de&v=2&%76=3")).await);
}

#[tokio::test]
async fn behind_a_proxy_the_forwarded_host_counts_if_the_operator_chooses_it() {
    let ask =
        |rig: &Rig, host: &str| rig.get("/a.mp4").header("host", "inside").header("x-forwarded-host", host);
    let asked_for = rig(TargetUri::new().forwarded());
    assert!(!hits(ask(&asked_for, "one.example")).await);
    assert!(hits(ask(&asked_for, "ONE.example")).await);
    assert!(!hits(ask(&asked_for, "two.example")).await);
    assert!(!hits(ask(&asked_for, "evil, one.example")).await);

    let not_asked_for = rig(TargetUri::new());
    assert!(!hits(ask(&not_asked_for, "one.example")).await);
    assert!(hits(ask(&not_asked_for, "two.example")).await);
}

#[tokio::test]
async fn an_unsafe_request_takes_out_the_responses_that_share_its_key() {
    let rig = rig(TargetUri::new().without_parameters(["token"]));
    hits(rig.get("/a.mp4?token=1")).await;
    rig.ask(http::Method::PUT, "/a.mp4?token=2").send().await;
    assert!(!hits(rig.get("/a.mp4?token=1")).await);
}

#[tokio::test]
async fn a_check_outside_of_the_cache_keeps_signed_urls_safe() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let video = get(move || async move {
        counted.fetch_add(1, Ordering::Relaxed);
        ([("content-type", "video/mp4")], "the film")
    });
    // This stands for a signature over the path, made for one client.
    let check = |request: Request, next: Next| async move {
        match request.uri().query() {
            Some("viewer=1&signature=good1" | "viewer=2&signature=good2") => next.run(request).await,
            _ => StatusCode::FORBIDDEN.into_response(),
        }
    };
    let cache = Rig::new().layer.key(TargetUri::new().without_parameters(["viewer", "signature"]).into_fn());
    let app = Router::new().route("/v.mp4", video).layer(cache).layer(from_fn(check));
    let ask = |query: &str| {
        let request = Request::get(format!("/v.mp4{query}")).body(Body::empty()).unwrap();
        let answering = app.clone().oneshot(request);
        async {
            let response = answering.await.unwrap();
            (response.status(), to_bytes(response.into_body(), 100).await.unwrap())
        }
    };
    let refused = (StatusCode::FORBIDDEN, Bytes::new());
    let shown = (StatusCode::OK, Bytes::from("the film"));
    for _ in 0..2 {
        // Before the video is stored, and after.
        for bad in ["", "?", "?viewer=1", "?viewer=1&signature=bad", "?viewer=1&signature=good2"] {
            assert_eq!(ask(bad).await, refused, "{bad}");
        }
        assert_eq!(ask("?viewer=1&signature=good1").await, shown);
        assert_eq!(ask("?viewer=2&signature=good2").await, shown);
    }
    assert_eq!(calls.load(Ordering::Relaxed), 1, "all allowed clients share one stored response");
}

#[tokio::test]
async fn the_reports_of_a_player_make_no_other_video() {
    let asks = ["/a.mp4?CMCD=br%3D1", "/a.mp4?CMCD=br%3D2%2Csid%3D%22x%22", "/a.mp4"];
    let by_default = Rig::new().movie("/a.mp4", 2500);
    assert!(!hits(by_default.get(asks[0])).await);
    for ask in &asks[1..] {
        assert!(hits(by_default.get(ask)).await, "{ask}");
    }
    // The inner service gets the player's own URI.
    assert_eq!(by_default.inner.calls()[0].uri, asks[0]);
    let kept = rig(TargetUri::new().with_cmcd());
    for ask in asks {
        assert!(!hits(kept.get(ask)).await, "{ask}");
    }
}

#[tokio::test]
async fn a_host_with_its_default_port_is_the_same_host() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    let ask = |method: http::Method, host: &str| rig.ask(method, "/a.mp4").header("host", host);
    for (first, others) in [
        ("h", ["h:80", "h:", "H:80"]),
        ("[::1]:80", ["[::1]", "[::1]:", "[::1]:80"]),
        ("i:", ["i", "i:80", "I"]),
    ] {
        assert!(!hits(ask(http::Method::GET, first)).await, "{first}");
        for other in others {
            assert!(hits(ask(http::Method::GET, other)).await, "{first} {other}");
            ask(http::Method::DELETE, other).send().await;
            assert!(!hits(ask(http::Method::GET, first)).await, "{first} {other}");
        }
    }
    for other in ["h:443", "h:8080", "h.", "h:080"] {
        assert!(!hits(ask(http::Method::GET, other)).await, "{other}");
    }
}
