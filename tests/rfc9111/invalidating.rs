//! Responses that an unsafe request invalidates. RFC 9111 §4.4.

use super::rig::{Answer, Rig, answer, cached, closed};

#[tokio::test]
async fn only_an_unsafe_request_that_succeeds_takes_out_the_stored_response() {
    let rows: [(&str, &str, Answer, bool); 20] = [
        ("§4.4 POST", "POST", answer(200, &[]), true),
        ("§4.4 POST that made something", "POST", answer(201, &[]), true),
        ("§4.4 PUT", "PUT", answer(204, &[]), true),
        ("§4.4 DELETE", "DELETE", answer(204, &[]), true),
        ("§4.4 PATCH", "PATCH", answer(200, &[]), true),
        ("§4.4 a method whose safety is not known", "FROBNICATE", answer(200, &[]), true),
        ("§4.4 a redirect is no error", "POST", answer(303, &[("location", "/elsewhere")]), true),
        ("§4.4 an error of the client", "POST", answer(400, &[]), false),
        ("§4.4 not found", "DELETE", answer(404, &[]), false),
        ("§4.4 not allowed", "PUT", answer(405, &[]), false),
        ("§4.4 a conflict", "PATCH", answer(409, &[]), false),
        ("§4.4 an error of the origin", "POST", answer(500, &[]), false),
        ("§4.4 not implemented", "FROBNICATE", answer(501, &[]), false),
        ("§4.4 unavailable", "DELETE", answer(503, &[]), false),
        ("§4.4 no answer", "POST", closed(), false),
        ("RFC 9110 §9.2.1 GET is safe", "GET", answer(200, &[]), false),
        ("RFC 9110 §9.2.1 HEAD is safe", "HEAD", answer(200, &[]), false),
        ("RFC 9110 §9.2.1 OPTIONS is safe", "OPTIONS", answer(200, &[]), false),
        ("RFC 9110 §9.2.1 TRACE is safe", "TRACE", answer(200, &[]), false),
        ("§4.4 an answer that could be stored", "POST", cached("max-age=60"), true),
    ];
    let rig = Rig::new().await;
    for (index, (rule, method, unsafe_answer, taken_out)) in rows.into_iter().enumerate() {
        let path = format!("/{index}?q");
        let stored = cached("max-age=60");
        rig.script(path.trim_end_matches("?q"), [stored.clone(), unsafe_answer, stored]);
        rig.get(&path).await;
        rig.ask(method, &path, &[]).await;
        let got = rig.get(&path).await;
        assert_eq!(got.is_hit(), !taken_out, "{rule}");
        assert_eq!(got.text(), if taken_out { "answer 3" } else { "answer 1" }, "{rule}");
    }
}

// §4: an unsafe request is always written through to the origin, and never answered from the store.
#[tokio::test]
async fn an_answer_to_an_unsafe_request_is_neither_stored_nor_reused() {
    let rig = Rig::new().await;
    rig.script("/a", [cached("max-age=60")]);
    for count in 1..=3 {
        let got = rig.ask("POST", "/a", &[]).await;
        assert_eq!(got.text(), format!("answer {count}"));
    }
    assert_eq!(rig.get("/a").await.text(), "answer 4");
}

// §4.4: above all, no response of another origin is invalidated, even if the answer names it.
#[tokio::test]
async fn a_response_stored_for_another_uri_stays() {
    let rig = Rig::new().await;
    let elsewhere = "http://another.example/b";
    let done = answer(201, &[("location", elsewhere), ("content-location", elsewhere)]);
    rig.script("/a", [cached("max-age=60"), cached("max-age=60"), done, cached("max-age=60")]);
    rig.script("/b", [cached("max-age=60")]);
    for target in ["/a", "/a?query", "/b"] {
        rig.get(target).await;
    }
    assert_eq!(rig.get_with("/b", &[("host", "another.example")]).await.text(), "answer 2");
    rig.ask("POST", "/a", &[]).await;
    assert!(rig.get("/b").await.is_hit());
    assert!(rig.get_with("/b", &[("host", "another.example")]).await.is_hit());
    assert!(rig.get("/a?query").await.is_hit());
    assert!(!rig.get("/a").await.is_hit());
}

// §4.4: to invalidate means to remove all stored responses of the URI, including all variants.
#[tokio::test]
async fn all_variants_go_at_once() {
    let rig = Rig::new().await;
    rig.script("/a", [cached("max-age=60").field("vary", "x-a")]);
    for value in ["1", "2"] {
        rig.get_with("/a", &[("x-a", value)]).await;
    }
    rig.ask("DELETE", "/a", &[]).await;
    for value in ["1", "2"] {
        assert!(!rig.get_with("/a", &[("x-a", value)]).await.is_hit(), "{value}");
    }
}
