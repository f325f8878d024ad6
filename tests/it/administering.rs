//! The service for operators: its answers, its feed, and what it refuses.

use std::collections::BTreeSet;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use serde_json::Value;
use tower::ServiceExt;
use tower_video_cache::{AdminBody, AdminService, CacheStatus};

use crate::rig::{PATH, Rig, Script, movie};

async fn ask(admin: &AdminService, method: Method, path: &str) -> Response<AdminBody> {
    let request = Request::builder().method(method).uri(path).body(Empty::<bytes::Bytes>::new()).unwrap();
    admin.clone().oneshot(request).await.unwrap()
}

async fn text(admin: &AdminService, path: &str) -> String {
    let response = ask(admin, Method::GET, path).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

async fn json(admin: &AdminService, path: &str) -> Value {
    serde_json::from_str(&text(admin, path).await).unwrap()
}

fn rig() -> (Rig, AdminService) {
    let rig = Rig::new()
        .layer(|layer| layer.cache_status(CacheStatus::named("edge").unwrap()))
        .movie(PATH, 2500)
        .script("/private.mp4", Script::movie("/private.mp4", 900).header("cache-control", "private"));
    let admin = AdminService::new(rig.layer.handle());
    (rig, admin)
}

#[tokio::test]
async fn an_operator_gets_the_figures_the_rankings_and_explanations() {
    let (rig, admin) = rig();
    rig.get(PATH).send().await;
    rig.get(PATH).send().await;
    rig.get("/private.mp4").send().await;
    let stats = json(&admin, "/stats").await;
    assert_eq!(
        (&stats["name"], &stats["requests"]["hit"], &stats["requests"]["uri-miss"]),
        (&"edge".into(), &1.into(), &2.into())
    );
    assert_eq!(stats["response_bytes"]["store"], 5000);
    assert_eq!(stats["first_byte"]["hit"]["count"], 1);
    // The names are those of `Stats`.
    let printed = format!("{:?}", rig.layer.handle().stats());
    for name in stats.as_object().unwrap().keys() {
        let is_of_its_own =
            ["name", "hit_ratio", "byte_hit_ratio", "bodies_under_way"].contains(&name.as_str());
        assert!(is_of_its_own || printed.contains(&format!("{name}: ")), "{name}");
    }
    let metrics = text(&admin, "/metrics").await;
    let mut expected = String::new();
    rig.layer.handle().stats().open_metrics("edge", &mut expected).unwrap();
    assert_eq!(metrics, expected);

    let top = json(&admin, "/top?n=1").await;
    assert_eq!(top["served"].as_array().unwrap().len(), 1);
    assert_eq!(top["refused"][0]["detail"], "private");

    let explanation = json(&admin, &format!("/explain?uri={PATH}")).await;
    assert_eq!((&explanation["outcome"], &explanation["stored"]["length"]), (&"hit".into(), &2500.into()));
    assert!(explanation["text"].as_str().unwrap().contains("outcome: hit"));
    let unsure = json(&admin, &format!("/explain?uri={PATH}&field=Cache-Control:min-fresh=99999")).await;
    assert_eq!(unsure["outcome"], "request");
    assert_eq!(json(&admin, "/transfers").await, Value::Array(Vec::new()));
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere_and_allows_no_other_script() {
    let (_, admin) = rig();
    let page = text(&admin, "/").await;
    for path in ["page.css", "page.js"] {
        assert!(page.contains(path));
        assert!(!text(&admin, &format!("/{path}")).await.contains("://"), "{path} is of this service alone");
    }
    assert!(!page.contains("<script>") && !page.contains("style="));
    let answer = ask(&admin, Method::GET, "/").await;
    let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    for path in ["/", "/stats", "/none", "/events"] {
        let headers = ask(&admin, Method::GET, path).await.headers().clone();
        assert_eq!(headers[header::CACHE_CONTROL], "no-store", "{path}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
    }
}

#[tokio::test]
async fn another_path_method_or_question_is_refused() {
    let (_, admin) = rig();
    for (method, path, status) in [
        (Method::GET, "/none", StatusCode::NOT_FOUND),
        (Method::POST, "/stats", StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, "/", StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "/explain", StatusCode::BAD_REQUEST),
        (Method::GET, "/explain?uri=%20", StatusCode::BAD_REQUEST),
        (Method::GET, "/explain?uri=/&field=x", StatusCode::BAD_REQUEST),
        (Method::GET, "/top?n=many", StatusCode::BAD_REQUEST),
    ] {
        let answer = ask(&admin, method.clone(), path).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        assert_eq!(answer.headers().contains_key(header::ALLOW), status == StatusCode::METHOD_NOT_ALLOWED);
    }
    let foreign = Request::get("/events").header("sec-fetch-site", "cross-site");
    let foreign = admin.clone().oneshot(foreign.body(Empty::<bytes::Bytes>::new()).unwrap()).await.unwrap();
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN);
    let head = ask(&admin, Method::HEAD, "/stats").await;
    assert_eq!(head.status(), StatusCode::OK);
    assert!(head.headers()[header::CONTENT_LENGTH] != "0");
    assert!(head.into_body().collect().await.unwrap().to_bytes().is_empty());
}

async fn next(body: &mut AdminBody) -> String {
    let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
    String::from_utf8(frame.into()).unwrap()
}

#[tokio::test]
async fn the_feed_has_the_events_from_its_beginning_on_and_no_queries() {
    let (rig, admin) = rig();
    rig.get("/private.mp4").send().await;
    let mut feed = ask(&admin, Method::GET, "/events").await.into_body();
    rig.get(&format!("{PATH}?token=secret")).send().await;
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    let mut events = Vec::new();
    while events.len() < 6 {
        let line = next(&mut feed).await;
        if let Some(data) = line.strip_prefix("data: ") {
            events.push(serde_json::from_str::<Value>(data).unwrap());
        }
    }
    let kinds: BTreeSet<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, BTreeSet::from(["answered", "body", "fill", "filled"]));
    let answered = events.iter().find(|event| event["event"] == "answered").unwrap();
    assert_eq!((&answered["method"], &answered["path"]), (&"GET".into(), &PATH.into()));
    assert!(events.iter().all(|event| event["path"].as_str().is_none_or(|path| !path.contains("secret"))));
}

#[tokio::test]
async fn a_slow_reader_of_the_feed_is_told_how_many_events_it_missed() {
    let (rig, admin) = rig();
    let mut feed = ask(&admin, Method::GET, "/events").await.into_body();
    rig.get(PATH).send().await;
    for _ in 0..1100 {
        rig.head(PATH).send().await;
    }
    let mut heard = 0;
    let missed = loop {
        let line = next(&mut feed).await;
        if let Some(missed) = line.strip_prefix("event: missed\ndata: ") {
            break missed.trim().parse::<usize>().unwrap();
        }
        heard += usize::from(line.starts_with("data: "));
    };
    // The fill, its answer and its body are four events.
    assert_eq!((heard, heard + missed), (1024, 1104));
    rig.head(PATH).send().await;
    assert!(next(&mut feed).await.starts_with("data: "));
}

#[tokio::test]
async fn readers_of_the_feed_are_few_and_one_that_leaves_makes_room() {
    let (rig, admin) = rig();
    let mut feeds = Vec::new();
    for _ in 0..32 {
        feeds.push(ask(&admin, Method::GET, "/events").await);
    }
    assert!(feeds.iter().all(|feed| feed.status() == StatusCode::OK));
    // A clone has the same readers.
    assert_eq!(ask(&admin.clone(), Method::GET, "/events").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    feeds.pop();
    assert_eq!(ask(&admin, Method::GET, "/events").await.status(), StatusCode::OK);
    drop(feeds);
    rig.get(PATH).send().await;
}

mod purging {
    use std::{sync::Arc, time::Duration};

    use bytes::Bytes;
    use futures_util::future::poll_immediate;
    use http::{Request, StatusCode};
    use http_body_util::{BodyExt, Full};
    use serde_json::{Value, json};
    use tower::ServiceExt;
    use tower_video_cache::{Fault, MokaStore, Operation, PurgeService, Tiered, VideoCacheLayer};

    use crate::rig::{PATH, Rig, Script, movie, seconds, settle};

    const URL: &str = "http://video.example/a.mp4";

    async fn ask(
        purges: &PurgeService,
        request: http::request::Builder,
        content: &str,
    ) -> (StatusCode, String) {
        let request = request.body(Full::<Bytes>::from(content.to_owned())).unwrap();
        let answer = purges.clone().oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let content = body.collect().await.unwrap().to_bytes();
        (parts.status, String::from_utf8(content.into()).unwrap())
    }

    async fn stored() -> (Rig, PurgeService) {
        let rig = Rig::new().script(
            PATH,
            Script::movie(PATH, 2500)
                .header("etag", "\"v\"")
                .header("cache-groups", "\"g\"")
                .honours_conditions(),
        );
        rig.get(PATH).header("host", "video.example").send().await.whole(&movie(PATH, 2500));
        let purges = PurgeService::new(rig.layer.handle().purger());
        (rig, purges)
    }

    #[tokio::test]
    async fn a_purge_of_a_uri_has_its_mark() {
        for (mark, next) in [
            (None, "fwd=stale"),
            (Some("stale"), "fwd=stale"),
            (Some("invalid"), "fwd=stale"),
            (Some("gone"), "fwd=uri-miss"),
        ] {
            let (rig, purges) = stored().await;
            let request = mark.iter().fold(Request::builder().method("PURGE").uri(URL), |request, mark| {
                request.header("purge-mark", *mark)
            });
            let (status, told) = ask(&purges, request, "").await;
            assert_eq!(status, StatusCode::OK, "{mark:?}: {told}");
            let told: Value = serde_json::from_str(&told).unwrap();
            assert_eq!(
                (&told["results"][0]["found"], &told["effective_within_ms"]),
                (&true.into(), &0.into())
            );
            let answer = rig.get(PATH).header("host", "video.example").send().await;
            assert!(answer.cache_status().contains(next), "{mark:?}: {}", answer.cache_status());
        }
    }

    #[tokio::test]
    async fn a_list_of_uris_is_purged() {
        for (is_purge, next) in
            [(json!(true), "fwd=uri-miss"), (json!(false), "fwd=stale"), (Value::Null, "fwd=stale")]
        {
            let (rig, purges) = stored().await;
            let mut list = json!({ "type": "uri", "selectors": [URL, "http://video.example/none.mp4"] });
            if !is_purge.is_null() {
                list["purge"] = is_purge;
            }
            let request =
                Request::post("/invalidate").header("content-type", "application/json; charset=utf-8");
            let (status, told) = ask(&purges, request, &list.to_string()).await;
            assert_eq!(status, StatusCode::OK, "{told}");
            assert!(told.contains("\"found\":true") && told.contains("\"found\":false"), "{told}");
            let answer = rig.get(PATH).header("host", "video.example").send().await;
            assert!(answer.cache_status().contains(next), "{}", answer.cache_status());
        }
    }

    #[tokio::test]
    async fn a_request_that_is_no_purge_is_refused_and_purges_nothing() {
        let (rig, purges) = stored().await;
        let list = |kind: &str| json!({ "type": kind, "selectors": [URL] }).to_string();
        let long = list("uri") + &" ".repeat(64 << 10);
        let post = |media: &str| Request::post("/invalidate").header("content-type", media);
        let purge = |uri: &str| Request::builder().method("PURGE").uri(uri);
        let page =
            |origin: &str, host: &str| post("application/json").header("origin", origin).header("host", host);
        for (request, content, status) in [
            (purge("/a.mp4"), "", 400),
            (purge(URL).header("purge-mark", "soft"), "", 400),
            (purge(URL).header("origin", "http://evil.example:9901"), "", 403),
            (page("http://evil.example:9901", "127.0.0.1:9901"), &list("uri"), 403),
            // A name of somebody else that leads here.
            (page("http://evil.example:9901", "evil.example:9901"), &list("uri"), 403),
            (page("http://127.0.0.1:9902", "127.0.0.1:9901"), &list("uri"), 403),
            (page("null", "127.0.0.1:9901"), &list("uri"), 403),
            (purge(URL).header("origin", "http://video.example"), "", 403),
            (Request::get("/invalidate"), "", 405),
            (Request::post("/"), "", 404),
            (post("text/plain"), &list("uri")[..], 415),
            (Request::post("/invalidate"), &list("uri"), 415),
            (post("application/json"), "{", 400),
            (post("application/json"), &list("file"), 400),
            (post("application/json"), &list("group"), 400),
            (
                post("application/json"),
                &json!({ "type": "group", "selectors": [URL], "groups": [""] }).to_string(),
                400,
            ),
            (
                post("application/json"),
                &json!({ "type": "group", "selectors": [URL], "groups": ["a", 1] }).to_string(),
                400,
            ),
            (post("application/json"), &json!({ "type": "all", "mark": "soft" }).to_string(), 400),
            (
                post("application/json"),
                &json!({ "type": "origin", "selectors": vec![URL; 65] }).to_string(),
                413,
            ),
            (
                post("application/json"),
                &json!({ "type": "uri-prefix", "selectors": vec![URL; 65] }).to_string(),
                413,
            ),
            (post("application/json"), &json!({ "type": "uri" }).to_string(), 400),
            (post("application/json"), &json!({ "type": "uri", "selectors": ["/a.mp4"] }).to_string(), 400),
            (
                post("application/json"),
                &json!({ "type": "uri", "selectors": [URL], "purge": 1 }).to_string(),
                400,
            ),
            (post("application/json"), &long, 413),
        ] {
            let (answered, told) = ask(&purges, request, content).await;
            assert_eq!(answered.as_u16(), status, "{content}: {told}");
        }
        rig.get(PATH).header("host", "video.example").send().await.is_hit();
    }

    #[tokio::test]
    async fn an_order_by_prefix_group_origin_or_all_is_in_the_log() {
        let origin = "http://video.example";
        for (order, next) in [
            (json!({ "type": "uri-prefix", "selectors": [format!("{origin}/a")] }), "fwd=stale"),
            (
                json!({ "type": "group", "selectors": [origin], "groups": ["x", "g"], "purge": true }),
                "fwd=uri-miss",
            ),
            (
                json!({ "type": "origin", "selectors": ["http://other.example", origin], "mark": "gone" }),
                "fwd=uri-miss",
            ),
            (json!({ "type": "all", "mark": "stale", "purge": true }), "fwd=stale"),
            (json!({ "type": "group", "selectors": [origin], "groups": ["x"], "purge": true }), "hit"),
            (json!({ "type": "origin", "selectors": [] }), "hit"),
        ] {
            let (rig, purges) = stored().await;
            let request = Request::post("/invalidate").header("content-type", "application/json");
            let (status, told) = ask(&purges, request, &order.to_string()).await;
            let told: Value = serde_json::from_str(&told).unwrap();
            let count = order["selectors"].as_array().map_or(1, Vec::len);
            assert_eq!(
                status,
                if count == 0 { StatusCode::OK } else { StatusCode::ACCEPTED },
                "{order}: {told}"
            );
            assert_eq!(told["results"].as_array().unwrap().len(), count, "{order}: {told}");
            assert!(
                told["results"].as_array().unwrap().iter().all(|result| result["found"].is_null()),
                "{told}"
            );
            let answer = rig.get(PATH).header("host", "video.example").send().await;
            assert!(answer.cache_status().contains(next), "{order}: {}", answer.cache_status());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_is_purged_to_its_end_though_its_client_is_gone() {
        let (rig, purges) = stored().await;
        rig.store.spoil_from(Operation::Get, 1, Fault::Slow(Duration::from_millis(50)));
        let list =
            json!({ "type": "uri", "selectors": ["http://video.example/none.mp4", URL], "mark": "gone" });
        let request = Request::post("/invalidate").header("content-type", "application/json");
        let request = request.body(Full::<Bytes>::from(list.to_string())).unwrap();
        let mut answer = Box::pin(purges.oneshot(request));
        assert!(poll_immediate(answer.as_mut()).await.is_none());
        drop(answer);
        for _ in 0..20 {
            tokio::time::advance(Duration::from_millis(50)).await;
            settle().await;
        }
        rig.store.heal();
        let answer = rig.get(PATH).header("host", "video.example").send().await;
        assert!(answer.cache_status().contains("fwd=uri-miss"), "{}", answer.cache_status());
    }

    #[tokio::test]
    async fn a_page_of_the_services_own_origin_may_purge() {
        for (origin, host) in [
            ("http://127.0.0.1:9901", "127.0.0.1:9901"),
            ("http://[::1]:9901", "[::1]:9901"),
            ("http://localhost", "localhost"),
            ("https://Cache.example", "cache.example"),
        ] {
            let (rig, purges) = stored().await;
            let purges = purges.page_host("cache.example");
            let request = Request::post("/invalidate").header("content-type", "application/json");
            let request = request.header("origin", origin).header("host", host);
            let list = json!({ "type": "uri", "selectors": [URL], "mark": "gone" }).to_string();
            let (status, told) = ask(&purges, request, &list).await;
            assert_eq!(status, StatusCode::OK, "{origin}: {told}");
            let answer = rig.get(PATH).header("host", "video.example").send().await;
            assert!(answer.cache_status().contains("fwd=uri-miss"), "{}", answer.cache_status());
        }
    }

    #[tokio::test]
    async fn an_operator_hears_if_nodes_lag_or_the_store_does_not_confirm() {
        let (rig, purges) = stored().await;
        let tiered =
            Tiered::new(MokaStore::new(1 << 20).unwrap(), Arc::clone(&rig.store)).record_age(seconds(7));
        let lagging = PurgeService::new(VideoCacheLayer::new(tiered).handle().purger());
        let purge = || Request::builder().method("PURGE").uri(URL);
        let (status, told) = ask(&lagging, purge(), "").await;
        assert!(status == StatusCode::ACCEPTED && told.contains("\"effective_within_ms\":7000"), "{told}");
        rig.store.spoil_from(Operation::Remove, 1, Fault::Error);
        rig.store.spoil_from(Operation::Put, 1, Fault::Error);
        let (status, told) = ask(&purges, purge(), "").await;
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && told.contains("did not confirm"), "{told}");
    }
}
