//! The responses that may be stored, and how long they may be served.

use http::{Request, StatusCode};
use tower_video_cache::{CacheKey, Policy, Statuses};

use crate::rig::{Rig, Script, date, movie, seconds};

#[tokio::test]
async fn a_response_that_the_rfc_forbids_to_store_is_passed_on_untouched() {
    let movie_script = || Script::movie("/a.mp4", 2500);
    for (script, detail) in [
        (movie_script().status(404), "status"),
        (movie_script().status(206).header("content-range", "bytes 0-2499/5000"), "status"),
        (movie_script().header("content-range", "bytes 0-2499/5000"), "status"),
        (movie_script().without("content-type").header("content-type", "text/html"), "media-type:text/html"),
        (
            movie_script().without("content-type").header("content-type", "text/plain"),
            "media-type:text/plain",
        ),
        (movie_script().header("cache-control", "max-age=60, No-Store"), "no-store"),
        (movie_script().header("cache-control", "private"), "private"),
        (movie_script().header("cache-control", "private=\"no name\""), "private"),
        (movie_script().header("cache-control", "private;max-age=600"), "private"),
        (movie_script().header("cache-control", "private max-age=0"), "private"),
        (movie_script().header("cache-control", "max-age=600;no-store;"), "no-store"),
        (movie_script().header("cache-control", "public").header("cache-control", "no-cache"), "no-cache"),
        (movie_script().header("set-cookie", "viewer=1"), "set-cookie"),
        (movie_script().header("vary", "*"), "vary-star"),
        (movie_script().header("cache-control", "max-age=0"), "never-fresh"),
        (movie_script().header("cache-control", "max-age=9").header("age", "10"), "never-fresh"),
        (movie_script().header("expires", &date(-1)), "never-fresh"),
    ] {
        let rig = Rig::new().script("/a.mp4", script);
        for call in 1..=2 {
            let answer = rig.get("/a.mp4").send().await;
            assert_eq!(answer.bytes, movie("/a.mp4", 2500), "{detail}");
            assert_eq!(answer.cache_status(), format!("tower-video-cache; fwd=uri-miss; detail={detail}"));
            assert!(!answer.has("age") || detail == "never-fresh");
            rig.inner.was_called(call);
        }
        assert_eq!(rig.puts(), 0, "{detail}");
    }
}

#[tokio::test]
async fn a_seek_in_an_unstorable_response_is_still_a_seek() {
    let script = Script::movie("/a.mp4", 2500).header("cache-control", "no-store").honours_ranges();
    let rig = Rig::new().script("/a.mp4", script);
    let truth = movie("/a.mp4", 2500);
    // The first request asks for the whole, which could be stored. After the refusal, the client's own request goes
    // out unchanged.
    rig.get("/a.mp4").range("bytes=100-199").send().await.partial(&truth, 100..200);
    rig.inner.was_called(2);
    // The cache remembers that for a while, and one call is enough.
    for call in 3..6 {
        let answer = rig.get("/a.mp4").range("bytes=5-9").send().await;
        answer.partial(&truth, 5..10);
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=no-store");
        rig.inner.was_called(call);
    }
    rig.clock.advance(seconds(10));
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 2500));
    rig.get("/a.mp4").send().await.whole(&truth);
    rig.get("/a.mp4").send().await.is_hit();
}

#[tokio::test]
async fn an_answer_that_may_be_stored_ends_the_memory_of_unstorable_ones() {
    let script = || Script::movie("/a.mp4", 2500).honours_ranges();
    let truth = movie("/a.mp4", 2500);
    let rig = Rig::new().script("/a.mp4", script().header("cache-control", "no-store"));
    rig.get("/a.mp4").send().await;
    rig.inner.answer("/a.mp4", script());
    // This request still passes unchanged. Its answer shows that the next one need not.
    let answer = rig.get("/a.mp4").range("bytes=5-9").send().await;
    answer.partial(&truth, 5..10);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=no-store");
    rig.get("/a.mp4").range("bytes=5-9").send().await.partial(&truth, 5..10);
    rig.get("/a.mp4").range("bytes=7-8").send().await.is_hit().partial(&truth, 7..9);
    rig.inner.was_called(3);
}

#[tokio::test]
async fn an_unsafe_request_ends_the_memory_of_unstorable_answers() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 10).header("cache-control", "no-store"));
    rig.get("/a.mp4").send().await;
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 10));
    rig.ask(http::Method::PUT, "/a.mp4").send().await;
    rig.get("/a.mp4").send().await;
    rig.get("/a.mp4").send().await.is_hit();
}

#[tokio::test]
async fn credentials_share_only_by_leave() {
    let rig = Rig::new().movie("/a.mp4", 10);
    rig.inner.answer("/public.mp4", Script::movie("/public.mp4", 10).header("cache-control", "public"));
    for path in ["/a.mp4", "/public.mp4"] {
        for _ in 0..2 {
            rig.get(path).header("authorization", "Bearer x").send().await.whole(&movie(path, 10));
        }
    }
    rig.inner.was_called(2 + 1);
    let asked = &rig.inner.calls()[2];
    assert_eq!(asked.headers["authorization"], "Bearer x");
}

#[tokio::test]
async fn a_request_that_says_no_store_leaves_no_trace() {
    let rig = Rig::new().movie("/a.mp4", 10);
    let answer = rig.get("/a.mp4").header("cache-control", "no-store").send().await;
    answer.whole(&movie("/a.mp4", 10));
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=request");
    assert_eq!(rig.puts(), 0);
}

#[tokio::test]
async fn a_response_is_served_while_it_is_fresh_and_fetched_again_after() {
    for (script, lifetime) in [
        (Script::movie("/a.mp4", 10), 300),
        (Script::movie("/a.mp4", 10).header("cache-control", "max-age=60"), 60),
        (Script::movie("/a.mp4", 10).header("cache-control", "max-age=60, s-maxage=20"), 20),
        (Script::movie("/a.mp4", 10).header("cache-control", "max-age=60").header("age", "50"), 10),
        (Script::movie("/a.mp4", 10).header("expires", &date(90)).header("date", &date(0)), 90),
        (Script::movie("/a.mp4", 10).header("cache-control", "max-age=60").header("date", &date(-30)), 30),
    ] {
        let rig = Rig::new().script("/a.mp4", script);
        rig.get("/a.mp4").send().await;
        rig.clock.advance(seconds(lifetime - 1));
        rig.get("/a.mp4").send().await.is_hit();
        rig.clock.advance(seconds(1));
        let answer = rig.get("/a.mp4").send().await;
        answer.whole(&movie("/a.mp4", 10));
        assert!(
            answer.cache_status().starts_with("tower-video-cache; fwd=stale; "),
            "{}",
            answer.cache_status()
        );
        rig.inner.was_called(2);
    }
}

#[tokio::test]
async fn the_policy_decides_questions_that_the_rfc_leaves_open() {
    let page = Script::movie("/page", 10).without("content-type").header("content-type", "text/html");
    let policy = Policy::default().media_types(["*/*"]).default_ttl(seconds(5)).statuses([StatusCode::OK]);
    let rig = Rig::new().script("/page", page).layer(|layer| layer.policy(policy));
    rig.get("/page").send().await;
    rig.clock.advance(seconds(4));
    rig.get("/page").send().await.is_hit();

    let never = Policy::default().default_ttl(seconds(0));
    let rig = Rig::new().movie("/a.mp4", 10).layer(|layer| layer.policy(never));
    for call in 1..=2 {
        rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 10));
        rig.inner.was_called(call);
    }
}

#[tokio::test]
async fn a_playlist_is_stored_only_for_as_long_as_it_says() {
    let playlist = |length| {
        Script::movie("/live.m3u8", length)
            .without("content-type")
            .header("content-type", "application/vnd.apple.mpegurl")
    };
    let rig = Rig::new().script("/live.m3u8", playlist(10));
    rig.get("/live.m3u8").send().await;
    rig.inner.answer("/live.m3u8", playlist(20));
    rig.get("/live.m3u8").send().await.whole(&movie("/live.m3u8", 20));

    let rig = Rig::new().script("/live.m3u8", playlist(10).header("cache-control", "max-age=2"));
    rig.get("/live.m3u8").send().await;
    rig.clock.advance(seconds(1));
    rig.get("/live.m3u8").send().await.is_hit();
}

#[tokio::test]
async fn variants_are_kept_apart_and_never_mixed() {
    let variant = |name: &str| Script::movie(name, 2500).header("vary", "Accept-Language, X-Device");
    let rig = Rig::new();
    for (language, device, truth) in [
        (Some("de"), Some("tv"), "/de-tv"),
        (Some("en"), Some("tv"), "/en-tv"),
        (None, Some("tv"), "/tv"),
        (None, None, "/"),
    ] {
        rig.inner.answer("/a.mp4", variant(truth));
        let ask = || {
            let mut ask = rig.get("/a.mp4");
            for (name, value) in [("accept-language", language), ("x-device", device)] {
                if let Some(value) = value {
                    ask = ask.header(name, value);
                }
            }
            ask
        };
        let calls = rig.inner.calls().len();
        ask().send().await.whole(&movie(truth, 2500));
        // This variant is stored, so the inner service's new answer does not matter.
        rig.inner.answer("/a.mp4", variant("/other"));
        ask().range("bytes=7-8").send().await.partial(&movie(truth, 2500), 7..9).is_hit();
        rig.inner.was_called(calls + 1);
    }
    let first = rig.get("/a.mp4").header("x-device", "tv").header("accept-language", " de").send().await;
    first.whole(&movie("/de-tv", 2500)).is_hit();
    let missing = rig.get("/a.mp4").header("accept-language", "fr").send().await;
    missing.whole(&movie("/other", 2500));
    assert!(
        missing.cache_status().starts_with("tower-video-cache; fwd=vary-miss; "),
        "{}",
        missing.cache_status()
    );
}

#[tokio::test]
async fn an_inner_service_that_changes_its_vary_mixes_nothing() {
    let rig = Rig::new();
    let ask = |language: &'static str| {
        rig.get("/a.mp4").header("accept-language", language).header("x-device", language)
    };
    rig.inner.answer("/a.mp4", Script::movie("/1", 2500).header("vary", "accept-language"));
    ask("de").send().await.whole(&movie("/1", 2500));
    rig.inner.answer("/a.mp4", Script::movie("/2", 2500).header("vary", "x-device"));
    ask("en").send().await.whole(&movie("/2", 2500));
    ask("de").send().await.whole(&movie("/1", 2500)).is_hit();
    ask("en").send().await.whole(&movie("/2", 2500)).is_hit();
    // The response no longer varies, so the latest answer is for every client.
    rig.inner.answer("/a.mp4", Script::movie("/3", 2500));
    ask("fr").send().await.whole(&movie("/3", 2500));
    ask("de").send().await.whole(&movie("/3", 2500)).is_hit();
}

#[tokio::test]
async fn followers_of_another_variant_fetch_their_own() {
    let gate = crate::rig::Gate::shut();
    let rig = Rig::new();
    rig.inner.answer("/a.mp4", Script::movie("/de", 2500).header("vary", "accept-language").held_by(&gate));
    let german = rig.get("/a.mp4").header("accept-language", "de").start();
    gate.reached_by(1).await;
    let english: Vec<_> = (0..5).map(|_| rig.get("/a.mp4").header("accept-language", "en").start()).collect();
    crate::rig::settle().await;
    rig.inner.answer("/a.mp4", Script::movie("/en", 2500).header("vary", "accept-language"));
    gate.open();
    german.await.unwrap().whole(&movie("/de", 2500));
    for viewer in english {
        viewer.await.unwrap().whole(&movie("/en", 2500));
    }
    rig.inner.was_called(2);
}

#[tokio::test]
async fn hosts_and_queries_have_answers_of_their_own() {
    let rig = Rig::new().movie("/a.mp4", 10);
    rig.get("/a.mp4").header("host", "one.example").send().await;
    rig.get("/a.mp4").header("host", "ONE.example").send().await.is_hit();
    for ask in [
        rig.get("/a.mp4").header("host", "two.example"),
        rig.get("/a.mp4?").header("host", "one.example"),
        rig.get("/a.mp4?b").header("host", "one.example"),
    ] {
        let answer = ask.send().await;
        assert!(answer.cache_status().contains("uri-miss"), "{}", answer.cache_status());
    }
}

#[tokio::test]
async fn a_key_function_decides_which_requests_share_a_response() {
    let rig =
        Rig::new().movie("/a.mp4", 10).layer(|layer| layer.key(|request| CacheKey::new(request.uri.path())));
    rig.get("/a.mp4?token=1").send().await.whole(&movie("/a.mp4", 10));
    rig.get("/a.mp4?token=2").header("host", "two.example").send().await.is_hit();
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_router_that_strips_prefixes_is_put_right_by_a_key_function() {
    use axum::{Router, body::Body, extract::OriginalUri, routing::get};
    use tower::ServiceExt;

    let layer = Rig::new().layer.key(|request| {
        let whole = request.extensions.get::<OriginalUri>().map_or(&request.uri, |OriginalUri(whole)| whole);
        CacheKey::new(whole.to_string())
    });
    let nest = |text: &'static str| {
        let video = get(move || async move { ([("content-type", "video/mp4")], text) });
        Router::new().route("/v.mp4", video).layer(layer.clone())
    };
    let app = Router::new().nest("/one", nest("one")).nest("/two", nest("two"));
    for text in ["one", "two", "one", "two"] {
        let request = Request::get(format!("/{text}/v.mp4")).body(Body::empty()).unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), text);
    }
}

#[tokio::test]
async fn a_get_with_content_is_for_the_inner_service_alone() {
    let rig = Rig::new().movie("/a.mp4", 10);
    for call in 1..=2 {
        let answer = rig.get("/a.mp4").body("fat").send().await;
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=bypass");
        rig.inner.was_called(call);
    }
    assert_eq!(rig.puts(), 0);
}

#[tokio::test]
async fn a_bypassed_request_passes_untouched() {
    let rig = Rig::new().movie("/a.mp4", 10);
    let rig = rig.layer(|layer| layer.bypass(|request| request.uri.path() == "/a.mp4"));
    for call in 1..=2 {
        let answer = rig.get("/a.mp4").range("bytes=0-1").send().await;
        answer.whole(&movie("/a.mp4", 10));
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=bypass");
        assert_eq!(answer.headers.len(), 3, "that, and the script's fields: {:?}", answer.headers);
        assert_eq!(rig.inner.calls()[call - 1].headers["range"], "bytes=0-1");
    }
    let upgrade = rig.get("/b.mp4").header("upgrade", "websocket").send().await;
    assert_eq!(upgrade.cache_status(), "tower-video-cache; fwd=bypass");
}

#[tokio::test]
async fn a_second_call_is_made_only_if_its_answer_could_be_better() {
    let script = || Script::movie("/a.mp4", 2500).honours_ranges();
    // An error has no parts.
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 10).status(503));
    for calls in 1..=2 {
        assert_eq!(rig.get("/a.mp4").range("bytes=0-1").send().await.status, 503);
        rig.inner.was_called(calls);
    }
    // Credentials and cookies are remembered like any other reason, but credentials only for requests that have them.
    for (script, name) in [(script(), "authorization"), (script().header("set-cookie", "a=b"), "cookie")] {
        let rig = Rig::new().script("/a.mp4", script);
        for calls in [2, 3, 4] {
            let answer = rig.get("/a.mp4").range("bytes=0-1").header(name, "x").send().await;
            answer.partial(&movie("/a.mp4", 2500), 0..2);
            rig.inner.was_called(calls);
        }
        if name == "authorization" {
            rig.get("/a.mp4").send().await;
            rig.get("/a.mp4").send().await.is_hit();
        }
    }
}

#[tokio::test]
async fn a_private_answer_to_one_client_does_not_keep_others_from_theirs() {
    let rig = Rig::new();
    let by_user = |name: &str| Script::movie(name, 2500).header("vary", "x-user");
    rig.inner.answer("/a.mp4", by_user("/one").header("cache-control", "private"));
    rig.get("/a.mp4").header("x-user", "1").send().await.whole(&movie("/one", 2500));
    rig.inner.answer("/a.mp4", by_user("/all"));
    for _ in 0..2 {
        rig.get("/a.mp4").send().await.whole(&movie("/all", 2500));
    }
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_request_that_selects_two_responses_gets_the_one_that_needs_no_validation() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).header("vary", "x-a"));
    rig.get("/a.mp4").header("x-a", "1").header("x-b", "1").send().await;
    let later = Script::movie("/b.mp4", 900).header("vary", "x-b").header("cache-control", "max-age=5");
    rig.inner.answer("/a.mp4", later);
    rig.get("/a.mp4").header("x-a", "2").header("x-b", "1").send().await;
    let ask = || rig.get("/a.mp4").header("x-a", "1").header("x-b", "1");
    // RFC 9111 §4: the most recent of the suitable responses is used, and a stale one is not suitable yet.
    ask().send().await.is_hit().whole(&movie("/b.mp4", 900));
    rig.clock.advance(seconds(5));
    ask().send().await.is_hit().whole(&movie("/a.mp4", 2500));
}

#[tokio::test]
async fn a_response_that_varies_by_range_is_stored_once() {
    let script = Script::movie("/a.mp4", 2500).header("vary", "Range, If-Range");
    let rig = Rig::new().script("/a.mp4", script);
    rig.get("/a.mp4").range("bytes=0-9").send().await;
    rig.get("/a.mp4").range("bytes=10-19").send().await.partial(&movie("/a.mp4", 2500), 10..20).is_hit();
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500)).is_hit();
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_stored_412_or_416_is_served_with_all_its_fields() {
    for status in [412, 416] {
        let script = Script::movie("/a.mp4", 10)
            .status(status)
            .header("cache-control", "max-age=60")
            .header("content-encoding", "gzip");
        let policy = Policy::default().statuses(Statuses::Any);
        let rig = Rig::new().layer(|layer| layer.policy(policy)).script("/a.mp4", script);
        for _ in 0..2 {
            let answer = rig.get("/a.mp4").send().await;
            assert_eq!((answer.status.as_u16(), &answer.bytes), (status, &movie("/a.mp4", 10)));
            let fields = ["cache-control", "content-encoding", "content-type"].map(|name| answer.field(name));
            assert_eq!(fields, ["max-age=60", "gzip", "video/mp4"], "{status}");
            assert!(!answer.has("content-range"), "{status}");
        }
        rig.inner.was_called(1);
    }
}
