//! When a stale response is used all the same. RFC 9111 §4.2.4; RFC 5861.

use super::rig::{Answer, Fields, Gate, Rig, answer, cached, closed, ok};

// RFC 5861 §3
#[tokio::test]
async fn within_its_window_a_stale_response_is_served_while_it_is_fetched_anew_once() {
    let (rig, gate) = (Rig::new().await, Gate::default());
    let with_window = cached("max-age=10, stale-while-revalidate=20");
    rig.script("/a", [with_window.clone(), with_window.behind(&gate)]);
    rig.get("/a").await;
    rig.advance(15);
    for _ in 0..3 {
        let stale = rig.get("/a").await;
        assert_eq!((stale.status, stale.text(), stale.is_hit()), (200, "answer 1", true));
        assert_eq!(stale.field("age"), "15");
    }
    rig.arrived("/a", 2).await;
    gate.open();
    let new = rig.until("/a", "answer 2").await;
    assert_eq!((new.is_hit(), new.field("age").as_str()), (true, "0"));
    assert_eq!(rig.count("/a"), 2);
}

#[tokio::test]
async fn a_request_in_the_background_is_a_validation_of_the_whole() {
    let (rig, gate) = (Rig::new().await, Gate::default());
    let cache_control = ("cache-control", "max-age=10, stale-while-revalidate=20");
    let unchanged = answer(304, &[cache_control, ("etag", "\"a\""), ("x-news", "1")]);
    rig.script("/a", [ok(&[cache_control, ("etag", "\"a\"")]), unchanged.behind(&gate)]);
    rig.get("/a").await;
    rig.advance(10);
    let part = rig.get_with("/a", &[("range", "bytes=0-2"), ("if-match", "\"a\"")]).await;
    assert_eq!((part.status, part.text()), (206, "ans"));
    rig.arrived("/a", 2).await;
    let seen = rig.seen("/a").pop().unwrap();
    let conditions = ["if-none-match", "if-match", "range"].map(|name| seen.field(name));
    assert_eq!(conditions, ["\"a\"", "", ""]);
    gate.open();
    // The fields of the 304 show that it has arrived; the bytes are the old ones.
    while rig.get("/a").await.field("x-news") != "1" {}
    let fresh = rig.get("/a").await;
    assert_eq!((fresh.text(), fresh.field("age").as_str(), rig.count("/a")), ("answer 1", "0", 2));
}

#[tokio::test]
async fn the_window_for_stale_answers_ends_and_a_prohibition_closes_it() {
    let window = &["--stale-while-revalidate", "20s"][..];
    for (rule, flags, cache_control, age, served) in [
        ("§3 in the window", &[][..], "max-age=10, stale-while-revalidate=20", 29, true),
        ("§3 at its end", &[], "max-age=10, stale-while-revalidate=20", 30, false),
        ("§3 none", &[], "max-age=10", 10, false),
        ("§3 of no number", &[], "max-age=10, stale-while-revalidate=long", 10, false),
        ("§3 never fresh, but in the window", &[], "max-age=0, stale-while-revalidate=20", 19, true),
        ("9111 §5.2.2.2", &[], "max-age=10, stale-while-revalidate=20, must-revalidate", 15, false),
        ("9111 §5.2.2.8", &[], "max-age=10, stale-while-revalidate=20, proxy-revalidate", 15, false),
        ("9111 §5.2.2.10", &[], "s-maxage=10, stale-while-revalidate=20", 15, false),
        ("9111 §5.2.2.4", &[], "max-age=10, stale-while-revalidate=20, no-cache", 15, false),
        ("the operator's window", window, "max-age=10", 29, true),
        ("its end", window, "max-age=10", 30, false),
        ("the response's own counts", window, "max-age=10, stale-while-revalidate=0", 10, false),
        ("9111 §5.2.2.2 it is closed too", window, "max-age=10, must-revalidate", 15, false),
    ] {
        let rig = Rig::with(flags).await;
        let tagged = |tag| ok(&[("cache-control", cache_control), ("etag", tag)]);
        rig.script("/a", [tagged("\"a\""), tagged("\"b\"")]);
        rig.get("/a").await;
        rig.advance(age);
        let got = rig.get("/a").await;
        assert_eq!(got.text(), if served { "answer 1" } else { "answer 2" }, "{rule}");
        assert_eq!(got.is_hit(), served, "{rule}");
    }
}

// RFC 5861 §4: the errors are 500, 502, 503 and 504. A failed connection counts as one, because the client would get
// a 502.
#[tokio::test]
async fn a_stale_response_stands_in_for_errors_and_for_nothing_else() {
    let errors: [(&str, Answer, u16); 9] = [
        ("500", answer(500, &[]), 200),
        ("502", answer(502, &[]), 200),
        ("503", answer(503, &[("retry-after", "5")]), 200),
        ("504", answer(504, &[]), 200),
        ("a storable 503", answer(503, &[("cache-control", "max-age=60")]), 200),
        ("no answer", closed(), 200),
        ("a body that dies", cached("max-age=60").broken(), 200),
        ("404 is no error of the origin", answer(404, &[]), 404),
        ("501 neither", answer(501, &[]), 501),
    ];
    let by_flag = &["--stale-if-error", "60s"][..];
    for (flags, cache_control) in [(&[][..], "max-age=10, stale-if-error=60"), (by_flag, "max-age=10")] {
        let rig = Rig::with(flags).await;
        for (name, error, status) in errors.clone() {
            rig.restart_clock();
            let path = format!("/{}", name.replace(' ', "-"));
            rig.script(&path, [cached(cache_control), error, cached("max-age=10")]);
            rig.get(&path).await;
            rig.advance(30);
            let got = rig.get(&path).await;
            assert_eq!((got.status, rig.count(&path)), (status, 2), "{name}");
            if status == 200 {
                assert_eq!((got.text(), got.field("age").as_str()), ("answer 1", "30"), "{name}");
                // An error that a stale response stood in for is not stored: the origin is asked again.
                assert_eq!(rig.get(&path).await.text(), "answer 3", "{name}");
            }
        }
    }
}

#[tokio::test]
async fn some_responses_stand_in_for_no_error() {
    type Row<'a> = (&'a str, Fields<'a>, u64, bool);
    let rows: &[Row<'_>] = &[
        ("§4 in the window", &[("cache-control", "max-age=10, stale-if-error=20")], 29, true),
        ("§4 at its end", &[("cache-control", "max-age=10, stale-if-error=20")], 30, false),
        ("§4 none", &[("cache-control", "max-age=10")], 10, false),
        ("9111 §5.2.2.2", &[("cache-control", "max-age=10, stale-if-error=20, must-revalidate")], 15, false),
        ("9111 §5.2.2.8", &[("cache-control", "max-age=10, stale-if-error=20, proxy-revalidate")], 15, false),
        ("9111 §5.2.2.10", &[("cache-control", "s-maxage=10, stale-if-error=20")], 15, false),
        ("9111 §5.2.2.4", &[("cache-control", "max-age=10, stale-if-error=20, no-cache")], 15, false),
    ];
    let rig = Rig::new().await;
    for (index, (rule, response, age, served)) in rows.iter().enumerate() {
        for (kind, error, status) in [
            ("503", answer(503, &[]), 503),
            ("closed", closed(), 502),
            ("died", cached("max-age=9").broken(), 502),
        ] {
            rig.restart_clock();
            let path = format!("/{index}/{kind}");
            rig.script(&path, [ok(response).field("etag", "\"a\""), error]);
            rig.get(&path).await;
            rig.advance(*age);
            let got = rig.get(&path).await;
            assert_eq!(got.status, if *served { 200 } else { status }, "{rule}: {kind}");
        }
    }
}

// RFC 5861 §4: the client may ask for a stale response, too.
#[tokio::test]
async fn a_request_may_ask_for_a_stand_in() {
    let rig = Rig::new().await;
    for (index, (cache_control, asked, status)) in [
        ("max-age=10", "stale-if-error=20", 200),
        ("max-age=10", "stale-if-error=5", 503),
        ("max-age=10, must-revalidate", "stale-if-error=20", 503),
        ("max-age=10, stale-if-error=20", "no-cache", 503),
    ]
    .into_iter()
    .enumerate()
    {
        rig.restart_clock();
        let path = format!("/{index}");
        rig.script(&path, [cached(cache_control).field("etag", "\"a\""), answer(503, &[])]);
        rig.get(&path).await;
        rig.advance(20);
        let got = rig.get_with(&path, &[("cache-control", asked)]).await;
        assert_eq!(got.status, status, "{cache_control}: {asked}");
    }
}

// RFC 9111 §4.3.3: an error removes nothing, even if no stale response stands in for it.
#[tokio::test]
async fn an_error_leaves_the_stored_response_in_place() {
    let rig = Rig::new().await;
    let unchanged = answer(304, &[("cache-control", "max-age=10")]);
    rig.script("/a", [cached("max-age=10").field("etag", "\"a\""), answer(503, &[]), unchanged]);
    rig.get("/a").await;
    rig.advance(10);
    assert_eq!(rig.get("/a").await.status, 503);
    rig.advance(10);
    let got = rig.get("/a").await;
    assert_eq!((got.status, got.text()), (200, "answer 1"));
    assert_eq!(rig.seen("/a")[2].field("if-none-match"), "\"a\"");
}
