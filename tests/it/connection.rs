//! Fields that a request's `Connection` lists (RFC 9110 §7.6.1): such fields are for one hop, and the layer is behind
//! that hop.

use tower_video_cache::Fill;

use crate::rig::{PATH, Rig, Script, movie, seconds};

const LENGTH: usize = 9500;

fn script() -> Script {
    Script::movie(PATH, LENGTH)
        .header("cache-control", "max-age=60")
        .header("etag", "\"v1\"")
        .honours_conditions()
        .honours_ranges()
}

#[tokio::test]
async fn a_listed_field_selects_no_variant() {
    for (list, field) in [("close, X-Q", "x-q"), ("Keep-Alive,x-q", "x-q"), ("origin", "origin")] {
        let rig = Rig::new().script(PATH, Script::movie("/none", 2500).header("vary", field));
        rig.get(PATH).header("connection", list).header(field, "a").send().await.whole(&movie("/none", 2500));
        let asked = rig.inner.calls().pop().unwrap().headers;
        assert!(!asked.contains_key(field) && !asked.contains_key("connection"), "{asked:?}");
        rig.inner.answer(PATH, Script::movie("/a", 2500).header("vary", field));
        rig.get(PATH).header(field, "a").send().await.whole(&movie("/a", 2500));
        rig.get(PATH).send().await.is_hit().whole(&movie("/none", 2500));
    }
}

#[tokio::test]
async fn a_listed_field_asks_for_nothing() {
    let rig = Rig::new().script(PATH, script());
    rig.get(PATH).send().await;
    for (name, value) in [
        ("range", "bytes=0-9"),
        ("if-none-match", "\"v1\""),
        ("if-match", "\"other\""),
        ("if-modified-since", "Sun, 22 Nov 2099 12:00:00 GMT"),
        ("cache-control", "no-cache"),
        ("cache-control", "no-store"),
        ("pragma", "no-cache"),
        ("authorization", "x"),
    ] {
        let answer = rig.get(PATH).header("connection", name).header(name, value).send().await;
        answer.is_hit().whole(&movie(PATH, LENGTH));
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_list_takes_off_no_field_that_the_layer_adds() {
    // A service behind the layer that obeys `Connection` would drop the listed fields.
    for list in
        ["If-None-Match", "close, range, if-range", "\"a, if-none-match, b\"", "if-modified-since, \u{e9}"]
    {
        let rig = Rig::new().fill(Fill::sliced()).script(PATH, script());
        rig.get(PATH).header("connection", list).range("bytes=0-9").send().await;
        rig.get(PATH).header("connection", list).range("bytes=5000-5009").send().await;
        rig.clock.advance(seconds(60));
        rig.get(PATH).header("connection", list).send().await.whole(&movie(PATH, LENGTH));
        let calls = rig.inner.calls();
        assert!(calls.iter().all(|call| !call.headers.contains_key("connection")), "{list}");
        assert!(calls.iter().any(|call| call.headers.contains_key("if-none-match")), "{list}");
        assert!(calls.iter().any(|call| call.headers.contains_key("if-range")), "{list}");
    }
}

#[tokio::test]
async fn a_key_is_made_of_the_request_that_the_inner_service_sees() {
    let rig = Rig::new().script(PATH, Script::movie("/nobody", 2500));
    let poison = rig.get(PATH).header("host", "victim.example").header("connection", "host").send().await;
    poison.whole(&movie("/nobody", 2500));
    rig.inner.answer(PATH, Script::movie("/victim", 2500));
    rig.get(PATH).header("host", "victim.example").send().await.whole(&movie("/victim", 2500));
}

#[tokio::test]
async fn a_list_that_names_no_field_and_a_bypassing_request_stay_as_they_are() {
    let rig = Rig::new().script(PATH, script());
    rig.get(PATH).header("connection", "keep-alive").range("bytes=0-9").send().await;
    rig.get("/b.mp4")
        .header("connection", "upgrade, x-q")
        .header("upgrade", "x")
        .header("x-q", "a")
        .send()
        .await;
    let calls = rig.inner.calls();
    assert_eq!(calls[0].headers["connection"], "keep-alive");
    assert_eq!(
        (&calls[1].headers["connection"], &calls[1].headers["x-q"]),
        (&"upgrade, x-q".parse().unwrap(), &"a".parse().unwrap())
    );
}
