//! Answers from the store: ranges, conditions, HEAD, and the fields that every answer has.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use tower::{Layer, ServiceExt};
use tower_video_cache::{CacheStatus, ChunkSize, Fill};

use crate::rig::{Rig, Script, date, movie, seconds};

/// A rig whose store has `/a.mp4`, 2500 bytes in three chunks.
async fn stored() -> (Rig, Bytes) {
    let script = Script::movie("/a.mp4", 2500).header("etag", "\"v1\"").header("date", &date(0));
    let rig = Rig::new().script("/a.mp4", script.header("last-modified", &date(-3600)));
    let movie = movie("/a.mp4", 2500);
    rig.get("/a.mp4").send().await.whole(&movie);
    rig.inner.was_called(1);
    (rig, movie)
}

#[tokio::test]
async fn a_video_that_was_fetched_once_is_served_from_the_store() {
    let (rig, movie) = stored().await;
    rig.get("/a.mp4").send().await.whole(&movie).is_hit();
    rig.inner.was_called(1);
}

#[tokio::test]
async fn every_answer_of_a_kind_has_the_same_fields_and_its_own_numbers() {
    for (others, fields) in
        [(&[][..], 0), (&["near; hit"], 0), (&["", "far; hit", "near; fwd=miss"], 0), (&[""], 0), (&[], 100)]
    {
        let mut script = Script::movie("/a.mp4", 2500).header("etag", "\"v1\"").header("content-md5", "x");
        script = script.header("access-control-allow-origin", "*");
        for other in others {
            script = script.header("cache-status", other);
        }
        for field in 0..fields {
            script = script.header(&format!("x-{field}"), "y");
        }
        let rig = Rig::new().script("/a.mp4", script);
        rig.get("/a.mp4").send().await;
        let asks = |round: u64| {
            let (first, tag) = (round * 7, "\"v1\"");
            [
                (rig.get("/a.mp4"), "2500".to_owned(), String::new()),
                (rig.head("/a.mp4"), "2500".to_owned(), String::new()),
                (
                    rig.get("/a.mp4").range(&format!("bytes={first}-99")),
                    (100 - first).to_string(),
                    format!("bytes {first}-99/2500"),
                ),
                (rig.get("/a.mp4").header("if-none-match", tag), String::new(), String::new()),
                (rig.get("/a.mp4").range("bytes=0-9,1000-1009"), String::new(), String::new()),
            ]
        };
        let mut before = Vec::new();
        for round in 0..3 {
            for (kind, (ask, length, range)) in asks(round).into_iter().enumerate() {
                let answer = ask.send().await;
                let why = format!("{others:?} {fields} {round} {kind}: {:?}", answer.headers);
                assert_eq!(answer.field("age"), (round * 5).to_string(), "{why}");
                assert_eq!(answer.field("content-range"), range, "{why}");
                if !length.is_empty() {
                    assert_eq!(answer.field("content-length"), length, "{why}");
                }
                assert_eq!(answer.has("content-length"), answer.status != StatusCode::NOT_MODIFIED, "{why}");
                assert_eq!(answer.has("content-md5"), answer.status == StatusCode::OK, "{why}");
                let lines: Vec<_> = answer.headers.get_all("cache-status").iter().collect();
                let ours = format!("tower-video-cache; hit; ttl={}", 300 - round * 5);
                let of_others = others.iter().copied().filter(|other| !other.is_empty());
                let is_with_others = answer.status != StatusCode::NOT_MODIFIED;
                let expected = of_others.filter(|_| is_with_others).chain([&ours[..]]);
                assert_eq!(lines, expected.collect::<Vec<_>>(), "{why}");
                let mut names: Vec<_> = answer.headers.iter().map(|(name, _)| name.to_string()).collect();
                names.sort();
                before.resize(before.len().max(kind + 1), names.clone());
                assert_eq!(before[kind], names, "{why}");
            }
            rig.clock.advance(seconds(5));
        }
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn every_single_range_is_exact() {
    let (rig, movie) = stored().await;
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=0-", 0..2500),
        ("bytes=0-999", 0..1000),
        ("bytes=999-1000", 999..1001),
        ("bytes=1000-1999", 1000..2000),
        ("bytes=1500-2400", 1500..2401),
        ("bytes=2499-2499", 2499..2500),
        ("bytes=2000-99999999999999999999999", 2000..2500),
        ("bytes=-1", 2499..2500),
        ("bytes=-2000", 500..2500),
        ("bytes=-99999", 0..2500),
        ("BYTES=1-2", 1..3),
        ("bytes= 1-2 ", 1..3),
    ] {
        rig.get("/a.mp4").range(range).send().await.partial(&movie, expected).is_hit();
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn ranges_that_mean_nothing_are_ignored() {
    let (rig, movie) = stored().await;
    for range in ["bytes=2-1", "bytes=x-", "seconds=1-2", "bytes", "bytes=1-2,5-4", "bytes=\u{fc}-"] {
        rig.get("/a.mp4").range(range).send().await.whole(&movie);
    }
    rig.get("/a.mp4").range("bytes=0-1").range("bytes=5-6").send().await.whole(&movie);
}

#[tokio::test]
async fn a_range_past_the_end_is_416_with_the_length() {
    let (rig, _) = stored().await;
    for range in ["bytes=2500-", "bytes=9999-10000", "bytes=-0"] {
        let answer = rig.get("/a.mp4").range(range).send().await;
        assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(answer.field("content-range"), "bytes */2500");
        assert_eq!(answer.field("content-length"), "0");
        assert!(answer.bytes.is_empty());
        assert!(!answer.has("content-type") && !answer.has("etag"));
    }
}

#[tokio::test]
async fn a_cold_range_is_filled_whole_and_answered_in_part() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    let movie = movie("/a.mp4", 2500);
    let answer = rig.get("/a.mp4").range("bytes=100-199").send().await;
    answer.partial(&movie, 100..200);
    let said = "tower-video-cache; fwd=uri-miss; fwd-status=200; ttl=300; stored";
    assert_eq!(answer.cache_status(), said, "the inner service was not asked for a part");
    rig.get("/a.mp4").range("bytes=-5").send().await.partial(&movie, 2495..2500).is_hit();
    rig.inner.was_called(1);
    let asked = &rig.inner.calls()[0];
    assert!(asked.headers.is_empty(), "{:?}", asked.headers);
}

#[tokio::test]
async fn if_range_gives_the_part_only_of_the_representation_that_the_client_has() {
    let (rig, movie) = stored().await;
    let ask = |validator: &str| rig.get("/a.mp4").range("bytes=5-9").header("if-range", validator);
    ask("\"v1\"").send().await.partial(&movie, 5..10);
    ask("\"v2\"").send().await.whole(&movie);
    ask("W/\"v1\"").send().await.whole(&movie);
    ask(&date(-3600)).send().await.partial(&movie, 5..10);
    ask(&date(-3599)).send().await.whole(&movie);
    ask("nonsense").send().await.whole(&movie);
}

#[tokio::test]
async fn a_304_has_the_fields_that_an_update_needs_and_no_others() {
    let (rig, _) = stored().await;
    let answer = rig.get("/a.mp4").header("if-none-match", "\"v0\", W/\"v1\"").send().await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    assert!(answer.bytes.is_empty());
    assert_eq!(answer.field("etag"), "\"v1\"");
    assert_eq!(answer.field("date"), date(0));
    assert_eq!(answer.field("age"), "0");
    for absent in ["content-length", "content-type", "content-range", "last-modified", "accept-ranges"] {
        assert!(!answer.has(absent), "{absent}");
    }
    answer.is_hit();
    let since = rig.get("/a.mp4").header("if-modified-since", &date(-3600)).send().await;
    assert_eq!(since.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_precondition_that_the_stored_response_does_not_fulfil_is_for_the_inner_service() {
    let failing = [
        ("if-match", "\"v2\"".to_owned()),
        ("if-match", "W/\"v1\"".to_owned()),
        ("if-unmodified-since", date(-3601)),
    ];
    for (name, value) in &failing {
        // It goes on as the client sent it, and the answer of the inner service is the client's.
        for (honours, status) in [(true, StatusCode::PRECONDITION_FAILED), (false, StatusCode::OK)] {
            let (rig, movie) = stored().await;
            let script =
                Script::movie("/a.mp4", 2500).header("etag", "\"v1\"").header("last-modified", &date(-3600));
            rig.inner.answer("/a.mp4", if honours { script.honours_conditions() } else { script });
            let answer = rig.get("/a.mp4").range("bytes=0-1").header(name, value).send().await;
            assert_eq!(answer.status, status, "{name}: {value}");
            assert_eq!(answer.cache_status(), "tower-video-cache; fwd=request; detail=precondition");
            let asked = &rig.inner.calls()[1].headers;
            assert_eq!([&asked[*name], &asked["range"]], [value.as_str(), "bytes=0-1"]);
            assert_eq!(rig.head("/a.mp4").header(name, value).send().await.status, status);
            rig.inner.was_called(3);
            rig.get("/a.mp4").send().await.whole(&movie).is_hit();
        }
    }
    let (rig, movie) = stored().await;
    for (name, value) in [("if-match", "\"v1\""), ("if-match", "*"), ("if-unmodified-since", &date(-3600))] {
        rig.get("/a.mp4").header(name, value).send().await.whole(&movie).is_hit();
    }
    let only =
        rig.get("/a.mp4").header("if-match", "\"v2\"").header("cache-control", "only-if-cached").send().await;
    assert_eq!(only.status, StatusCode::GATEWAY_TIMEOUT);
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_strong_tag_made_of_a_weak_one_is_for_the_inner_service() {
    // VLC does so.
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced(), Fill::auto()] {
        let script = Script::movie("/a.mp4", 2500).header("etag", "W/\"v1\"").honours_ranges();
        let rig = Rig::new().fill(fill).script("/a.mp4", script);
        let movie = movie("/a.mp4", 2500);
        // Cold and warm.
        for _ in 0..2 {
            let answer = rig.get("/a.mp4").range("bytes=5-9").header("if-match", "\"v1\"").send().await;
            answer.partial(&movie, 5..10);
        }
    }
}

#[tokio::test]
async fn a_cold_condition_is_judged_by_the_stored_response() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2500).header("etag", "\"v1\""));
    let answer = rig.get("/a.mp4").header("if-none-match", "\"v1\"").send().await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    assert!(rig.inner.calls()[0].headers.is_empty());
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500)).is_hit();
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_head_is_answered_from_a_stored_get() {
    let (rig, _) = stored().await;
    for range in [None, Some("bytes=0-9"), Some("bytes=9999-")] {
        let mut ask = rig.head("/a.mp4");
        if let Some(range) = range {
            ask = ask.range(range);
        }
        let answer = ask.send().await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.field("content-length"), "2500");
        assert_eq!(answer.field("accept-ranges"), "bytes");
        assert!(answer.bytes.is_empty());
        answer.is_hit();
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_cold_head_is_forwarded_and_stores_nothing() {
    let rig = Rig::new().movie("/a.mp4", 2500);
    let answer = rig.head("/a.mp4").send().await;
    assert_eq!(answer.field("content-length"), "2500");
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss");
    assert_eq!(rig.puts(), 0);
    assert_eq!(rig.inner.calls()[0].method, "HEAD");
}

#[tokio::test]
async fn every_answer_describes_itself_truly() {
    let (rig, _) = stored().await;
    rig.clock.advance(seconds(42));
    let whole = rig.get("/a.mp4").send().await;
    assert_eq!(whole.field("content-length"), "2500");
    assert_eq!(whole.field("content-type"), "video/mp4");
    for answer in [whole, rig.get("/a.mp4").range("bytes=0-9").send().await] {
        assert_eq!(answer.field("age"), "42");
        assert_eq!(answer.field("accept-ranges"), "bytes");
        assert_eq!(answer.field("date"), date(0));
        assert_eq!(answer.cache_status(), "tower-video-cache; hit; ttl=258");
    }
}

#[tokio::test]
async fn every_request_reads_how_it_was_handled() {
    let (rig, _) = stored().await;
    rig.inner.answer("/fat.mp4", Script::movie("/fat.mp4", 100).header("cache-control", "no-store"));
    rig.inner.answer("/broken.mp4", Script::movie("/broken.mp4", 2500).cut(2));
    let rig = rig.layer(|layer| {
        layer
            .cache_status(CacheStatus::named("Edge 1").unwrap())
            .bypass(|request| request.uri.path() == "/live.mp4")
    });
    for (ask, said) in [
        (rig.get("/a.mp4"), "hit; ttl=300"),
        (rig.head("/a.mp4"), "hit; ttl=300"),
        (rig.get("/a.mp4").range("bytes=0-1"), "hit; ttl=300"),
        (rig.get("/a.mp4").range("bytes=9999-"), "fwd=request; fwd-status=200; ttl=300; stored"),
        (rig.get("/a.mp4").header("if-none-match", "\"v1\""), "hit; ttl=300"),
        (rig.get("/a.mp4").header("if-match", "\"v2\""), "fwd=request; detail=precondition"),
        (rig.head("/b.mp4"), "fwd=uri-miss"),
        (rig.get("/b.mp4"), "fwd=uri-miss; detail=status"),
        (rig.get("/fat.mp4"), "fwd=uri-miss; detail=no-store"),
        (rig.get("/broken.mp4"), "fwd=uri-miss; fwd-status=200; detail=inner-length-mismatch"),
        (rig.get("/a.mp4").header("cache-control", "no-store"), "fwd=request"),
        (rig.get("/live.mp4"), "fwd=bypass"),
        (rig.ask(Method::POST, "/live.mp4"), "fwd=bypass"),
        (rig.get("/a.mp4").header("upgrade", "websocket"), "fwd=bypass"),
        (rig.get("/a.mp4").body("fat"), "fwd=bypass"),
        (rig.ask(Method::OPTIONS, "/a.mp4"), "fwd=method"),
        (rig.ask(Method::TRACE, "/a.mp4"), "fwd=method"),
        (rig.ask(Method::CONNECT, "/a.mp4"), "fwd=method"),
        (rig.ask(Method::POST, "/a.mp4").body("fat"), "fwd=method"),
        (rig.ask(Method::DELETE, "/b.mp4"), "fwd=method"),
    ] {
        assert_eq!(ask.send().await.cache_status(), format!("\"Edge 1\"; {said}"));
    }
}

#[tokio::test]
async fn a_key_is_shown_after_a_lookup_and_only_if_the_operator_asks_for_it() {
    let (rig, _) = stored().await;
    assert!(!rig.get("/a.mp4").send().await.cache_status().contains("key"));
    let rig = rig.layer(|layer| {
        layer
            .cache_status(CacheStatus::default().with_key())
            .bypass(|request| request.uri.path() == "/live.mp4")
    });
    let ask = |path| rig.get(path).header("host", "video.example");
    for (ask, said) in [
        (ask("/a.mp4"), r#"fwd=uri-miss; ttl=300; stored; key="@video.example\\n/a.mp4""#),
        (ask("/a.mp4"), r#"hit; ttl=300; key="@video.example\\n/a.mp4""#),
        (ask("/b\".mp4"), r#"fwd=uri-miss; key="@video.example\\n/b\\\".mp4"; detail=status"#),
        (ask("/a.mp4").header("cache-control", "no-store"), "fwd=request"),
        (ask("/live.mp4"), "fwd=bypass"),
    ] {
        assert_eq!(ask.send().await.cache_status(), format!("tower-video-cache; {said}"));
    }
}

#[tokio::test]
async fn a_request_that_comes_back_to_the_same_cache_bypasses_it_and_both_passes_are_told() {
    let (rig, movie) = stored().await;
    let twice = rig.layer.layer(rig.layer.layer(rig.inner.clone()));
    rig.inner.answer("/b.mp4", Script::of(&movie));
    for own in ["fwd=uri-miss; ttl=300; stored", "hit; ttl=300"] {
        let request = Request::get("/b.mp4").body(Full::default()).unwrap();
        let response = twice.clone().oneshot(request).await.unwrap();
        let members = response.headers().get_all("cache-status").iter();
        let members: Vec<_> = members.map(|member| member.to_str().unwrap()).collect();
        assert_eq!(members, ["tower-video-cache; fwd=bypass", &format!("tower-video-cache; {own}")]);
    }
}

#[tokio::test]
async fn all_values_of_all_fields_are_kept_but_those_of_one_connection() {
    let script = Script::movie("/a.mp4", 10)
        .header("link", "<1>")
        .header("link", "<2>")
        .header("x-title", "a film")
        .header("cache-status", "origin; fwd=miss")
        .header("connection", "X-Hop, keep-alive")
        .header("x-hop", "1")
        .header("keep-alive", "timeout=5")
        .header("transfer-encoding", "chunked");
    let rig = Rig::new().script("/a.mp4", script);
    for _ in 0..2 {
        let answer = rig.get("/a.mp4").send().await;
        let values = |name: &str| -> Vec<_> {
            answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(values("link"), ["<1>", "<2>"]);
        assert_eq!(values("x-title"), ["a film"]);
        assert_eq!(values("cache-status")[0], "origin; fwd=miss");
        assert_eq!(values("cache-status").len(), 2);
        for absent in ["connection", "x-hop", "keep-alive", "transfer-encoding"] {
            assert!(!answer.has(absent), "{absent}");
        }
    }
}

#[tokio::test]
async fn without_a_validator_the_content_gives_one() {
    let rig = Rig::new().movie("/a.mp4", 2500).movie("/b.mp4", 2500);
    rig.inner.answer("/same.mp4", Script::of(&movie("/a.mp4", 2500)));
    let (a, b) = (rig.get("/a.mp4").send().await, rig.get("/b.mp4").send().await);
    let same = rig.get("/same.mp4").send().await;
    assert!(a.field("etag").starts_with('"') && a.field("etag").ends_with('"'));
    assert_ne!(a.field("etag"), b.field("etag"));
    assert_eq!(a.field("etag"), same.field("etag"));
    let etag = a.field("etag").to_owned();
    let resumed = rig.get("/a.mp4").range("bytes=9-").header("if-range", &etag).send().await;
    resumed.partial(&movie("/a.mp4", 2500), 9..2500);
    let again = rig.get("/a.mp4").header("if-none-match", &etag).send().await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_validator_of_the_inner_service_is_left_alone() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 10).header("last-modified", &date(-9)));
    let answer = rig.get("/a.mp4").send().await;
    assert!(!answer.has("etag"));
    assert_eq!(answer.field("last-modified"), date(-9));
}

#[tokio::test]
async fn an_empty_video_is_an_empty_answer() {
    let script = Script::movie("/a.mp4", 0).header("cache-control", "max-age=60, immutable");
    let rig = Rig::new().script("/a.mp4", script);
    for _ in 0..2 {
        let answer = rig.get("/a.mp4").send().await;
        answer.whole(&Bytes::new());
        assert_eq!(answer.field("content-length"), "0");
    }
    assert_eq!(rig.get("/a.mp4").range("bytes=0-").send().await.status, StatusCode::RANGE_NOT_SATISFIABLE);
    rig.get("/a.mp4").range("bytes=-5").send().await.whole(&Bytes::new());
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_stored_status_that_is_no_200_has_neither_ranges_nor_conditions() {
    let script = Script::movie("/a.mp4", 100).status(404).header("etag", "\"v1\"");
    let rig = Rig::new().script("/a.mp4", script);
    let policy = tower_video_cache::Policy::default().statuses([StatusCode::OK, StatusCode::NOT_FOUND]);
    let rig = rig.layer(|layer| layer.policy(policy));
    for _ in 0..2 {
        let answer = rig.get("/a.mp4").range("bytes=0-9").header("if-none-match", "\"v1\"").send().await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.bytes.len(), 100);
        assert!(!answer.has("accept-ranges"));
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_range_passing_through_shows_that_ranges_are_served() {
    let script = Script::movie("/a.mp4", 100).header("cache-control", "no-store").honours_ranges();
    let rig = Rig::new().script("/a.mp4", script.clone());
    let whole = rig.get("/a.mp4").send().await;
    assert!(!whole.has("accept-ranges"), "a 200 shows nothing either way");
    let rig = rig.layer(|layer| layer.bypass(|request| request.headers.contains_key("x-bypass")));
    let bypassed = rig.get("/a.mp4").range("bytes=0-9").header("x-bypass", "1").send().await;
    assert!(!bypassed.has("accept-ranges"), "a bypass is untouched");
    let no_store = rig.get("/a.mp4").range("bytes=0-9").header("cache-control", "no-store").send().await;
    no_store.partial(&movie("/a.mp4", 100), 0..10);
    assert_eq!(no_store.field("accept-ranges"), "bytes");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_range_of_any_length_over_any_chunk_size_is_the_slice(
        length in 0_usize..3000,
        chunk_size in 1_u32..1200,
        ranges in proptest::collection::vec((0_usize..3000, 0_usize..3000), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // An immutable video does not grow, so the inner service is not asked about a 416.
            let script = Script::movie("/a.mp4", length).header("cache-control", "max-age=60, immutable");
            let rig = Rig::new().script("/a.mp4", script);
            let rig = rig.layer(|layer| layer.chunk_size(ChunkSize::new(chunk_size).unwrap()));
            let movie = movie("/a.mp4", length);
            for (first, last) in ranges {
                let answer = rig.get("/a.mp4").range(&format!("bytes={first}-{last}")).send().await;
                if first > last {
                    answer.whole(&movie);
                } else if first >= length {
                    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
                } else {
                    answer.partial(&movie, first..(last + 1).min(length));
                }
            }
            rig.inner.was_called(1);
        });
    }
}

#[tokio::test]
async fn a_field_that_is_true_of_the_whole_only_is_left_out_of_a_part() {
    let script = Script::movie("/a.mp4", 2500)
        .header("content-digest", "sha-256=:x:")
        .header("repr-digest", "sha-256=:x:");
    let rig = Rig::new().script("/a.mp4", script);
    assert!(rig.get("/a.mp4").send().await.has("content-digest"));
    let part = rig.get("/a.mp4").range("bytes=0-9").send().await;
    assert!(!part.has("content-digest") && part.has("repr-digest"));
}

#[tokio::test]
async fn a_page_of_another_origin_may_see_every_answer_it_may_see_one_of() {
    let fields = ["access-control-allow-origin", "timing-allow-origin", "cross-origin-resource-policy"];
    let script = fields.iter().fold(Script::movie("/a.mp4", 2500), |script, name| script.header(name, "x"));
    let rig = Rig::new().script("/a.mp4", script.header("etag", "\"v1\""));
    for (name, value, status) in
        [("range", "bytes=0-9", 206), ("range", "bytes=9999-", 416), ("if-none-match", "\"v1\"", 304)]
    {
        let answer = rig.get("/a.mp4").header(name, value).send().await;
        assert_eq!(answer.status, status);
        for field in fields {
            assert!(answer.has(field), "{status} {field}");
        }
    }
}

#[tokio::test]
async fn a_length_that_is_said_twice_is_one_and_lengths_that_differ_are_a_502() {
    let rig = Rig::new();
    let twice: [&[&str]; 3] = [&["2500", "2500"], &["2500, 2500"], &["2500", "2500,2500", "2500"]];
    let differing: [&[&str]; 4] = [&["2500", "2499"], &["2500, 2499"], &["2500", "x"], &["2500,"]];
    for (lengths, is_valid) in
        twice.map(|lengths| (lengths, true)).into_iter().chain(differing.map(|l| (l, false)))
    {
        // The answer is stored, not storable, or to another method.
        for (method, kind) in [
            (Method::HEAD, "video/mp4"),
            (Method::GET, "text/html"),
            (Method::POST, "video/mp4"),
            (Method::GET, "video/mp4"),
        ] {
            let path = format!("/{}/{method}/{kind}", lengths.join("-").replace([' ', ','], "_"));
            let script =
                Script::of(&movie("/a.mp4", 2500)).without("content-type").header("content-type", kind);
            let script =
                lengths.iter().fold(script, |script, length| script.header("content-length", length));
            rig.inner.answer(&path, script);
            let answer = rig.ask(method.clone(), &path).send().await;
            let said: Vec<_> =
                answer.headers.get_all("content-length").iter().map(|said| said.to_str().unwrap()).collect();
            let about = format!("{method} {kind} {lengths:?}: {answer:?}");
            if is_valid {
                assert_eq!((answer.status.as_u16(), said), (200, vec!["2500"]), "{about}");
            } else {
                assert_eq!((answer.status.as_u16(), said), (502, vec!["0"]), "{about}");
                assert!(answer.bytes.is_empty() && answer.error.is_none(), "{about}");
                let explained = answer.cache_status().contains("; detail=invalid-content-length");
                assert_eq!(explained, method != Method::POST, "{about}");
            }
        }
    }
}

#[tokio::test]
async fn a_tag_that_is_none_by_the_grammar_is_good_to_ask_by() {
    for tag in ["5f3a-1b", "\"a, b,c\"", "a,b", "W/5f3a", "\"5f3a", "*x"] {
        let script = Script::movie("/a.mp4", 2500).header("etag", tag);
        let rig = Rig::new().script("/a.mp4", script);
        let given = rig.get("/a.mp4").send().await;
        assert_eq!(given.field("etag"), tag);
        for asked in [tag.to_owned(), format!("\"x\", {tag}"), format!("{tag} ,W/\"y\"")] {
            // A tag with a comma and without quotes, or with only one quote, counts as one tag only if it stands
            // alone.
            let is_found =
                !["a,b", "\"5f3a"].contains(&tag) || asked.starts_with("\"x") && tag != "a,b" || asked == tag;
            let expected = if is_found { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
            let answer = rig.get("/a.mp4").header("if-none-match", &asked).send().await;
            assert_eq!(answer.status, expected, "{tag} {asked}");
        }
        let other = rig.get("/a.mp4").header("if-none-match", "5f3b, \"a,b,c\"").send().await;
        assert_eq!(other.status, StatusCode::OK, "{tag}");
    }
}
