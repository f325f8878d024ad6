//! Requests that mean harm: each gets a clear answer, and its effects touch no other client.

use http::Method;

use crate::rig::{Gate, Rig, Script, movie, settle};

const LENGTH: usize = 2500;

fn rig() -> Rig {
    Rig::new().movie("/a.mp4", LENGTH)
}

fn truth() -> bytes::Bytes {
    movie("/a.mp4", LENGTH)
}

/// Checks that an honest client gets the true video now, fetched for no other client.
async fn is_unharmed(rig: &Rig) {
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", LENGTH));
    rig.get("/a.mp4").send().await.whole(&truth());
    rig.get("/a.mp4").send().await.whole(&truth()).is_hit();
}

#[tokio::test]
async fn a_response_that_varies_by_an_unkeyed_field_is_kept_for_that_value() {
    let rig = Rig::new();
    let reflecting = |host: &str| Script::movie(host, LENGTH).header("vary", "X-Forwarded-Host");
    rig.inner.answer("/a.mp4", reflecting("evil.example"));
    let evil = || rig.get("/a.mp4").header("x-forwarded-host", "evil.example");
    evil().send().await.whole(&movie("evil.example", LENGTH));
    rig.inner.answer("/a.mp4", reflecting("one.example"));
    for _ in 0..2 {
        rig.get("/a.mp4").send().await.whole(&movie("one.example", LENGTH));
        let honest = rig.get("/a.mp4").header("x-forwarded-host", "one.example");
        honest.send().await.whole(&movie("one.example", LENGTH));
    }
    evil().send().await.whole(&movie("evil.example", LENGTH)).is_hit();
    rig.inner.was_called(3);
}

#[tokio::test]
async fn paths_that_some_take_for_another_are_keys_of_their_own() {
    let rig = Rig::new();
    let paths = [
        "/video.mp4",
        "/video.mp4;x",
        "/video.mp4/..%2fprivate",
        "/video.mp4/%2e%2e/private",
        "/private",
        "/private/..;/video.mp4",
        "/private/../video.mp4",
        "/private%2f..%2fvideo.mp4",
        "/private%00.mp4",
        "/private%23.mp4",
        "/private%3f.mp4",
        "/private\\video.mp4",
        "//private",
    ];
    for path in paths {
        rig.inner.answer(path, Script::movie(path, LENGTH));
        rig.get(path).send().await.whole(&movie(path, LENGTH));
    }
    rig.inner.was_called(paths.len());
    for path in paths {
        rig.get(path).send().await.whole(&movie(path, LENGTH)).is_hit();
    }
}

#[tokio::test]
async fn a_request_that_the_inner_service_refuses_is_refused_for_itself_alone() {
    let oversized = "x".repeat(60 << 10);
    for status in [400, 413, 414, 431, 501] {
        let rig = rig();
        let gate = Gate::shut();
        rig.inner.answer("/a.mp4", Script::movie("/refused", 10).status(status).held_by(&gate));
        let evil = rig.get("/a.mp4").header("x-oversized", &oversized).start();
        gate.reached_by(1).await;
        // A request that waits for the answer meanwhile is not refused with it.
        let waiting = rig.get("/a.mp4").start();
        settle().await;
        rig.inner.answer("/a.mp4", Script::movie("/a.mp4", LENGTH));
        gate.open();
        assert_eq!(evil.await.unwrap().status, status);
        waiting.await.unwrap().whole(&truth());
        is_unharmed(&rig).await;
    }
}

#[tokio::test]
async fn a_get_that_asks_for_another_method_is_not_for_the_cache() {
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        for method in ["DELETE", "HEAD", "POST", ""] {
            let rig = rig();
            let ask = || rig.get("/a.mp4").header(name, method);
            // If the method override is obeyed, the answer is not one to a GET.
            rig.inner.answer("/a.mp4", Script::movie("/deleted", 0));
            let answer = ask().send().await;
            assert!(answer.bytes.is_empty());
            assert_eq!(answer.cache_status(), "tower-video-cache; fwd=bypass");
            assert_eq!(rig.puts(), 0);
            is_unharmed(&rig).await;

            // The cache also keeps no such request from the inner service, and removes nothing for it.
            rig.inner.answer("/a.mp4", Script::movie("/deleted", 0));
            assert!(ask().send().await.bytes.is_empty());
            rig.get("/a.mp4").send().await.whole(&truth()).is_hit();
        }
    }
}

#[tokio::test]
async fn a_get_with_content_is_neither_answered_from_the_store_nor_stored() {
    let rig = rig();
    rig.inner.answer("/a.mp4", Script::movie("/fat", 10));
    let fat = || rig.get("/a.mp4").body("fat");
    fat().send().await.whole(&movie("/fat", 10));
    assert_eq!(rig.puts(), 0);
    is_unharmed(&rig).await;
    rig.inner.answer("/a.mp4", Script::movie("/fat", 10));
    fat().send().await.whole(&movie("/fat", 10));
    rig.get("/a.mp4").send().await.whole(&truth()).is_hit();
}

#[tokio::test]
async fn lengths_that_a_get_contradicts_itself_with_change_nothing() {
    for lengths in [["5", "7"], ["0", "5"], ["5, 7", "x"], ["-1", "18446744073709551616"]] {
        let rig = rig();
        let ask =
            || lengths.iter().fold(rig.get("/a.mp4"), |ask, length| ask.header("content-length", length));
        ask().send().await.whole(&truth());
        ask().range("bytes=10-19").send().await;
        is_unharmed(&rig).await;
        ask().send().await.whole(&truth());
    }
}

#[tokio::test]
async fn a_range_means_nothing_on_another_method_than_get() {
    let rig = rig();
    is_unharmed(&rig).await;
    let head = rig.head("/a.mp4").range("bytes=0-9").send().await;
    assert_eq!((head.status.as_u16(), head.field("content-length")), (200, "2500"));
    for name in ["OPTIONS", "PROPFIND", "DELETE"] {
        let method = Method::from_bytes(name.as_bytes()).unwrap();
        rig.ask(method, "/a.mp4").range("bytes=0-9").send().await.whole(&truth());
        assert_eq!(rig.inner.calls().last().unwrap().headers["range"], "bytes=0-9", "{name}");
    }
    is_unharmed(&rig).await;
}

#[tokio::test]
async fn an_absolute_target_answers_for_its_own_host_only() {
    let rig = Rig::new();
    for target in ["http://evil.example/a.mp4", "http://one.example@evil.example/a.mp4", "http://[::1]/a.mp4"]
    {
        rig.inner.answer("/a.mp4", Script::movie(target, LENGTH));
        let answer = rig.get(target).header("host", "one.example").send().await;
        answer.whole(&movie(target, LENGTH));
    }
    rig.inner.answer("/a.mp4", Script::movie("/a.mp4", LENGTH));
    for host in ["one.example", "evil.example"] {
        rig.get("/a.mp4").header("host", host).send().await.whole(&truth());
    }
}

#[tokio::test]
async fn an_empty_host_is_no_host_of_others() {
    let rig = Rig::new();
    for (name, host) in [("/empty", ""), ("/blank", " "), ("/one", "one.example")] {
        rig.inner.answer("/a.mp4", Script::movie(name, LENGTH));
        rig.get("/a.mp4").header("host", host).send().await.whole(&movie(name, LENGTH));
    }
    is_unharmed(&rig).await;
    rig.get("/a.mp4").header("host", "one.example").send().await.whole(&movie("/one", LENGTH)).is_hit();
}

#[tokio::test]
async fn conditions_that_make_no_sense_are_answered_in_full() {
    let rig = rig();
    is_unharmed(&rig).await;
    let long = "\"x\",".repeat(10_000);
    for (name, value) in [
        ("if-none-match", "garbage"),
        ("if-none-match", "\""),
        ("if-none-match", "W/"),
        ("if-none-match", long.as_str()),
        ("if-modified-since", "yesterday"),
        ("if-modified-since", "Sun, 99 Nov 9999 99:99:99 GMT"),
        ("if-unmodified-since", "0"),
        ("if-range", "garbage"),
        ("if-none-match", "\u{fc}"),
        ("if-modified-since", "\u{fc}"),
        ("if-unmodified-since", "\u{fc}"),
    ] {
        rig.get("/a.mp4").header(name, value).send().await.whole(&truth()).is_hit();
    }
    // RFC 9110 §13.1.1: a value that matches no tag is a condition that fails, so the inner service judges it.
    for value in ["garbage", "", "\u{fc}", long.as_str()] {
        let answer = rig.get("/a.mp4").header("if-match", value).send().await;
        assert!(answer.whole(&truth()).cache_status().contains("fwd=request"), "{}", answer.cache_status());
    }
    rig.get("/a.mp4").send().await.whole(&truth()).is_hit();
}

#[tokio::test]
async fn an_absurd_range_costs_no_more_than_the_video() {
    let sixty = 60 << 10;
    let of = |part: &str| format!("bytes={}0-0", part.repeat(sixty / part.len()));
    for stored in [false, true] {
        for range in [
            of("0-0,"),
            of("0-,"),
            of("-1,"),
            of("0-2499,"),
            of(",,"),
            of("9"),
            of("0"),
            of("-"),
            of("x"),
            format!("bytes=0-{}", "9".repeat(sixty)),
            format!("bytes={}-", "9".repeat(sixty)),
            format!("bytes=-{}", "9".repeat(sixty)),
            "9".repeat(sixty),
            "=".repeat(sixty),
        ] {
            let rig = rig();
            if stored {
                is_unharmed(&rig).await;
            }
            let answer = rig.get("/a.mp4").range(&range).send().await;
            assert!(answer.error.is_none() && [200, 206, 416].contains(&answer.status.as_u16()));
            assert!(answer.bytes.len() <= LENGTH + 1000, "{} bytes", answer.bytes.len());
            is_unharmed(&rig).await;
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_ascii_are_taken_for_no_value() {
    for name in ["range", "if-range", "cache-control", "accept-encoding", "if-none-match", "x-forwarded-host"]
    {
        let rig = rig();
        for value in ["\u{fc}", "bytes=0-\u{fc}", "no-store, \u{fc}"] {
            let ask = || rig.get("/a.mp4").header(name, value);
            ask().send().await.whole(&truth());
            ask().range("bytes=0-9").send().await;
            is_unharmed(&rig).await;
        }
    }
    let varying = |name: &str| Script::movie(name, LENGTH).header("vary", "accept-encoding");
    let rig = Rig::new().script("/a.mp4", varying("/one"));
    let with = |encoding: &str| rig.get("/a.mp4").header("accept-encoding", encoding);
    with("\u{fc}").send().await.whole(&movie("/one", LENGTH));
    rig.inner.answer("/a.mp4", varying("/two"));
    with("\u{fd}").send().await.whole(&movie("/two", LENGTH));
    with("\u{fc}").send().await.whole(&movie("/one", LENGTH)).is_hit();
}

#[tokio::test]
async fn a_page_behind_the_name_of_a_video_is_never_stored() {
    let page = || Script::movie("/page", 100);
    for script in [
        page().without("content-type").header("content-type", "text/html"),
        page()
            .without("content-type")
            .header("content-type", "text/html")
            .header("cache-control", "max-age=9"),
        page().without("content-type"),
        page().without("content-type").header("content-type", "text/plain"),
        page().header("set-cookie", "viewer=1"),
        page().header("cache-control", "private, max-age=9"),
        page().header("cache-control", "public").header("set-cookie", "viewer=1"),
    ] {
        let rig = Rig::new().script("/account/x.mp4", script);
        for calls in 1..=2 {
            let answer = rig.get("/account/x.mp4").header("cookie", "viewer=1").send().await;
            answer.whole(&movie("/page", 100));
            rig.inner.was_called(calls);
        }
        assert_eq!(rig.puts(), 0);
    }
}

#[tokio::test]
async fn a_response_to_credentials_is_for_others_only_by_leave() {
    // The answer is not stored, and requests that waited for the same URI do not get it.
    let credentials: [(&str, &[(&str, &str)]); 4] = [
        ("authorization", &[]),
        ("authorization", &[("cache-control", "max-age=60")]),
        ("cookie", &[("cache-control", "private")]),
        ("cookie", &[("vary", "cookie")]),
    ];
    for (name, fields) in credentials {
        let gate = Gate::shut();
        let rig = Rig::new();
        let add =
            |script: Script| fields.iter().fold(script, |script, (name, value)| script.header(name, value));
        rig.inner.answer("/a.mp4", add(Script::movie("/mine", LENGTH)).held_by(&gate));
        let me = rig.get("/a.mp4").header(name, "me").start();
        gate.reached_by(1).await;
        let others: Vec<_> = (0..3).map(|_| rig.get("/a.mp4").start()).collect();
        let another = rig.get("/a.mp4").header(name, "another").start();
        settle().await;
        rig.inner.answer("/a.mp4", add(Script::movie("/a.mp4", LENGTH)));
        gate.open();
        me.await.unwrap().whole(&movie("/mine", LENGTH));
        for viewer in others.into_iter().chain([another]) {
            viewer.await.unwrap().whole(&truth());
        }
        rig.get("/a.mp4").send().await.whole(&truth());
        rig.get("/a.mp4").header(name, "another").send().await.whole(&truth());
    }
}
