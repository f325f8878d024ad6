//! Hostile and careless clients and inner services, in combinations that no other file has.

use http::{Method, StatusCode};
use tower_video_cache::{Fault, Fill, Operation, Policy, TargetUri};

use crate::rig::{Gate, PATH, Rig, Script, Step, movie, noon, seconds, settle};

const LENGTH: usize = 2500;

fn script(cache_control: &str) -> Script {
    Script::movie(PATH, LENGTH)
        .header("cache-control", cache_control)
        .header("etag", "\"v1\"")
        .honours_conditions()
        .honours_ranges()
}

fn another(cache_control: &str) -> Script {
    Script::movie("/another", LENGTH)
        .header("cache-control", cache_control)
        .header("etag", "\"v2\"")
        .honours_conditions()
        .honours_ranges()
}

#[tokio::test]
async fn an_answer_that_lists_vary_in_connection_is_still_one_of_a_variant() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let rig = Rig::new().fill(fill);
        let by = |script: Script| script.header("vary", "x-user").header("connection", "Vary, close");
        rig.inner.answer(PATH, by(script("max-age=60")));
        rig.get(PATH).header("x-user", "1").send().await.whole(&movie(PATH, LENGTH));
        settle().await;
        rig.inner.answer(PATH, by(another("max-age=60")));
        rig.get(PATH).header("x-user", "2").send().await.whole(&movie("/another", LENGTH));
    }
}

#[tokio::test]
async fn an_answer_that_lists_cache_control_in_connection_is_fresh_no_longer_for_that() {
    for listed in ["Cache-Control", "Expires, Age, Cache-Control", "age"] {
        let rig = Rig::new();
        let aged = script("max-age=60").header("age", "50").header("connection", listed);
        rig.inner.answer(PATH, aged);
        rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
        rig.clock.advance(seconds(10));
        rig.inner.answer(PATH, another("max-age=60"));
        rig.get(PATH).send().await.whole(&movie("/another", LENGTH));
    }
}

#[tokio::test]
async fn a_304_that_lists_cache_control_in_connection_may_forbid_all_the_same() {
    for forbids in ["no-store", "private", "max-age=0"] {
        let rig = Rig::new().script(PATH, script("max-age=60"));
        rig.get(PATH).send().await;
        rig.clock.advance(seconds(60));
        let forbidding = Script::absent()
            .status(304)
            .header("etag", "\"v1\"")
            .header("cache-control", forbids)
            .header("connection", "cache-control");
        rig.inner.answer(PATH, forbidding);
        rig.get(PATH).header("cookie", "user=1").send().await;
        settle().await;
        rig.inner.answer(PATH, another("max-age=60"));
        rig.get(PATH).send().await.whole(&movie("/another", LENGTH));
    }
}

#[tokio::test]
async fn a_url_that_is_signed_in_two_ways_keeps_all_of_its_query() {
    let rig = Rig::new().layer(|layer| layer.key(TargetUri::new().without_signatures().into_fn()));
    let end = noon().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;
    let signed = format!("{PATH}?Key-Pair-Id=k&Signature=s&Expires={end}");
    rig.inner.answer(PATH, another("max-age=60"));
    rig.get(&format!("{signed}&sv=2022-11-02&sig=x&st=30")).send().await;
    rig.inner.answer(PATH, script("max-age=60"));
    rig.get(&signed).send().await.whole(&movie(PATH, LENGTH));
}

#[tokio::test]
async fn a_percent_encoded_signature_does_not_make_a_url_hold_longer() {
    let url = [
        "X%2DAmz%2DDate=20261122T120000Z&X-Amz-Expires=60&X-Amz-Signature=ab",
        "X-Amz-Date=20261122T120000Z&X%2dAmz-Expires=60&X-Amz-Signature=ab",
        "X-Amz-Date=20261122T120000Z&X-Amz-Expires=60&X%2DAmz%2DSignature=ab",
        "X-Amz-Date=20261122T120000Z&X-Amz-Expires=60&X-Amz-Signatur%65=ab",
    ];
    for query in url {
        let rig = Rig::new().script(PATH, script("max-age=3600"));
        rig.get(&format!("{PATH}?{query}")).send().await;
        rig.clock.advance(seconds(60));
        rig.inner.answer(PATH, Script::absent().status(403));
        let ended = rig.get(&format!("{PATH}?{query}")).send().await;
        assert_eq!(ended.status, StatusCode::FORBIDDEN, "{query}");
    }
}

#[tokio::test]
async fn a_refusal_of_an_unsigned_url_makes_nothing_hold_longer() {
    let rig = Rig::new().layer(|layer| layer.key(TargetUri::new().without_signatures().into_fn()));
    rig.inner.answer(PATH, script("max-age=3600, stale-if-error=60"));
    let short = format!("{PATH}?X-Amz-Date=20261122T120000Z&X-Amz-Expires=60&X-Amz-Signature=ab");
    let long = short.replace("Expires=60", "Expires=7200");
    rig.get(&short).send().await.whole(&movie(PATH, LENGTH));
    rig.inner.answer(PATH, Script::absent().status(403));
    assert_eq!(rig.get(PATH).header("cache-control", "no-cache").send().await.status, 403);
    rig.clock.advance(seconds(60));
    assert_eq!(rig.get(&long).send().await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_cookie_of_a_304_goes_to_no_waiting_request() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let (rig, gate) = (Rig::new().fill(fill).script(PATH, script("max-age=60")), Gate::shut());
        rig.get(PATH).send().await;
        settle().await;
        rig.clock.advance(seconds(60));
        let good = || {
            let good = Script::absent().status(304).header("etag", "\"v1\"");
            good.header("cache-control", "max-age=60")
        };
        let own = good().header("set-cookie", "sid=bob").header("x-user", "bob").held_by(&gate);
        rig.inner.answer_each(PATH, [own, good()]);
        let bob = rig.get(PATH).header("cookie", "sid=bob").start();
        gate.reached_by(1).await;
        let others: Vec<_> = [rig.get(PATH), rig.head(PATH), rig.get(PATH).range("bytes=0-9")]
            .into_iter()
            .map(crate::rig::Ask::start)
            .collect();
        settle().await;
        gate.open();
        assert_eq!(bob.await.unwrap().field("set-cookie"), "sid=bob");
        for other in others {
            let other = other.await.unwrap();
            assert!(!other.has("set-cookie") && !other.has("x-user"), "{:?}", other.headers);
        }
        let later = rig.get(PATH).send().await;
        assert!(!later.has("set-cookie") && !later.has("x-user"), "{:?}", later.headers);
    }
}

#[tokio::test]
async fn a_head_with_a_cookie_changes_no_field_of_others() {
    for age in [0, 60] {
        let rig = Rig::new().script(PATH, script("max-age=60"));
        rig.get(PATH).send().await;
        rig.clock.advance(seconds(age));
        rig.inner.answer(PATH, script("max-age=600").header("set-cookie", "sid=bob"));
        rig.head(PATH).header("cookie", "sid=bob").header("cache-control", "no-cache").send().await;
        rig.inner.answer(PATH, script("max-age=600"));
        for _ in 0..2 {
            let answer = rig.get(PATH).send().await;
            assert!(!answer.has("set-cookie"), "{:?}", answer.headers);
            answer.whole(&movie(PATH, LENGTH));
        }
    }
}

#[tokio::test]
async fn credentials_that_are_validated_while_another_is_stored_mix_nothing() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let (rig, gate) = (Rig::new().fill(fill).script(PATH, script("max-age=60")), Gate::shut());
        rig.get(PATH).range("bytes=0-9").send().await.partial(&movie(PATH, LENGTH), 0..10);
        settle().await;
        let good = Script::absent().status(304).header("etag", "\"v1\"").held_by(&gate);
        rig.inner.answer_each(PATH, [good, another("max-age=60")]);
        let reading = rig.get(PATH).header("authorization", "x").start();
        gate.reached_by(1).await;
        rig.ask(Method::POST, "/else").send().await;
        rig.get(PATH).header("cache-control", "no-cache").send().await.whole(&movie("/another", LENGTH));
        gate.open();
        let owner = reading.await.unwrap();
        let bytes = &owner.bytes[..];
        let (one, other) = (movie(PATH, LENGTH), movie("/another", LENGTH));
        if owner.error.is_none() {
            assert!(bytes == &one[..] || bytes == &other[..], "{fill:?}: {} bytes", bytes.len());
            let tag = if bytes == &one[..] { "\"v1\"" } else { "\"v2\"" };
            assert_eq!(owner.field("etag"), tag, "{fill:?}");
        } else {
            assert!(one.starts_with(bytes), "{fill:?}");
        }
    }
}

#[tokio::test]
async fn the_rest_of_a_video_that_was_begun_without_credentials_and_cookies_comes_without_them() {
    for name in ["authorization", "cookie"] {
        let rig = Rig::new().fill(Fill::sliced()).script(PATH, script("max-age=60"));
        rig.get(PATH).range("bytes=0-9").send().await.partial(&movie(PATH, LENGTH), 0..10);
        rig.get(PATH).header(name, "x").send().await.whole(&movie(PATH, LENGTH));
        // A slice for this client's credentials might be for this client alone, and then the body would break.
        let last = rig.inner.calls().pop().unwrap().headers;
        assert!(last.contains_key("range") && !last.contains_key(name), "{last:?}");
    }
}

#[tokio::test]
async fn credentials_with_several_ranges_and_conditions_get_one_truth() {
    let rig = Rig::new().script(PATH, script("max-age=60"));
    rig.get(PATH).send().await;
    let ask = || rig.get(PATH).header("authorization", "x");
    let several = ask().range("bytes=0-1,2000-2001").send().await;
    assert!(several.field("content-type").starts_with("multipart/byteranges"), "{:?}", several.headers);
    ask().range("bytes=5-9").header("if-range", "\"v0\"").send().await.whole(&movie(PATH, LENGTH));
    assert_eq!(ask().header("if-match", "\"v0\"").send().await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(ask().range("bytes=9999-").send().await.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(ask().header("if-none-match", "*").send().await.status, StatusCode::NOT_MODIFIED);
    rig.get(PATH).send().await.is_hit().whole(&movie(PATH, LENGTH));
}

#[tokio::test]
async fn a_response_to_credentials_is_poured_for_no_other_client() {
    for (fill, private) in [
        (Fill::progressive(), "max-age=60"),
        (Fill::sliced(), "max-age=60"),
        (Fill::progressive(), "private, public, max-age=60"),
        (Fill::progressive(), "public;max-age=60"),
    ] {
        let (rig, gate) = (Rig::new().fill(fill), Gate::shut());
        rig.inner.answer(PATH, another(private).step(3, Step::Wait(gate.clone())));
        let owner = rig.get(PATH).header("authorization", "x").start();
        settle().await;
        rig.inner.answer(PATH, script("max-age=60"));
        let other = rig.get(PATH).start();
        settle().await;
        gate.open();
        other.await.unwrap().whole(&movie(PATH, LENGTH));
        owner.await.unwrap().whole(&movie("/another", LENGTH));
    }
}

#[tokio::test]
async fn a_field_that_alters_parts_alone_turns_slicing_off_for_nobody_else() {
    let rig = Rig::new().fill(Fill::sliced());
    let whole =
        Script::movie(PATH, LENGTH).header("cache-control", "no-store").header("vary", "accept-encoding");
    rig.inner.answer(PATH, whole);
    rig.get(PATH).header("accept-encoding", "gzip").range("bytes=0-9").send().await;
    rig.inner.answer(PATH, script("max-age=60").header("vary", "accept-encoding"));
    let calls = rig.inner.calls().len();
    rig.get(PATH).range("bytes=0-9").send().await.partial(&movie(PATH, LENGTH), 0..10);
    assert_eq!(&rig.inner.ranges(PATH)[calls..], ["bytes=0-999"]);
}

#[tokio::test]
async fn policies_of_many_strange_words_allow_nothing() {
    for strange in [
        "max-age=60, \"no-store\"",
        "max-age=60, no-store=1",
        "max-age=60,\tprivate",
        "max-age=60 private",
        "max-age=60, x=\"\\\"\", private",
        "max-age=60, =private",
        "public, max-age=60, PRIVATE",
    ] {
        let rig = Rig::new().layer(|layer| layer.policy(Policy::default().share_with_authorized(true)));
        rig.inner.answer(PATH, another(strange));
        rig.get(PATH).send().await.whole(&movie("/another", LENGTH));
        rig.inner.answer(PATH, script("max-age=60"));
        rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    }
}

#[tokio::test]
async fn a_lost_chunk_is_fetched_without_the_cookie_or_credentials_of_the_client() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        for (name, parted) in
            [("cookie", true), ("cookie", false), ("authorization", true), ("authorization", false)]
        {
            let whole = Script::movie(PATH, LENGTH)
                .header("cache-control", "max-age=60")
                .header("etag", "\"v1\"")
                .honours_conditions();
            let script = if parted { whole.honours_ranges() } else { whole };
            let rig = Rig::new().fill(fill).script(PATH, script);
            rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
            rig.get(PATH).send().await.is_hit();
            // The first get reads the record. The second loses a chunk.
            rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + 2, Fault::Lost);
            rig.get(PATH).range("bytes=1000-1000").send().await.partial(&movie(PATH, LENGTH), 1000..1001);
            rig.get(PATH).header(name, "x").send().await.whole(&movie(PATH, LENGTH));
            let calls = rig.inner.calls();
            let again = calls[1..].iter().filter(|call| !call.headers.contains_key("if-none-match"));
            let has_it: Vec<_> = again.map(|call| call.headers.contains_key(name)).collect();
            assert!(!has_it.is_empty() && !has_it.contains(&true), "{fill:?} {name} {parted}: {has_it:?}");
        }
    }
}

#[tokio::test]
async fn a_url_with_a_far_end_is_a_hit_and_one_with_an_invalid_end_is_not() {
    for (end, hits) in [
        ("9223372036854775807", true),
        ("9223372035000000000", true),
        ("253402300799", true),
        ("253402300800", true),
        ("18446744073709551615", false),
        ("18446744073709551616", false),
        ("-1", false),
        ("+99999999999", false),
        ("", false),
    ] {
        let url = format!("{PATH}?AWSAccessKeyId=a&Signature=b&Expires={end}");
        let rig = Rig::new().script(PATH, script("max-age=3600"));
        rig.get(&url).send().await.whole(&movie(PATH, LENGTH));
        let again = rig.get(&url).send().await;
        again.whole(&movie(PATH, LENGTH));
        assert_eq!(again.cache_status().contains("; hit"), hits, "{end}: {}", again.cache_status());
    }
}

#[tokio::test]
async fn a_star_for_a_tag_asks_for_nothing() {
    for tag in ["*", " *", "\"a\", *", "*, *"] {
        let starred = Script::movie(PATH, LENGTH).header("cache-control", "max-age=60").header("etag", tag);
        let rig = Rig::new().script(PATH, starred);
        rig.get(PATH).send().await;
        rig.clock.advance(seconds(60));
        rig.inner.answer(PATH, another("max-age=60"));
        rig.get(PATH).send().await.whole(&movie("/another", LENGTH));
        let asked = rig.inner.calls().pop().unwrap().headers;
        let asks_for_any =
            asked.get("if-none-match").is_some_and(|tags| tags.to_str().unwrap().contains('*'));
        assert!(!asks_for_any, "{asked:?}");
    }
}

#[tokio::test]
async fn a_post_takes_out_the_uri_that_its_answer_names_however_the_port_is_written() {
    for (host, location) in [
        ("h:80", "http://h/a.mp4"),
        ("h", "http://h:80/a.mp4"),
        ("h:", "http://H:/a.mp4"),
        ("[::1]:80", "http://[::1]/a.mp4"),
        ("h", "//h:80/a.mp4"),
        ("h", "a.mp4?CMCD=x"),
    ] {
        let rig = Rig::new().script(PATH, script("max-age=60"));
        let bare = host.strip_suffix(":80").unwrap_or(host).trim_end_matches(':');
        rig.get(PATH).header("host", bare).send().await;
        rig.get(PATH).header("host", bare).send().await.is_hit();
        rig.inner.answer("/post", Script::absent().status(200).header("content-location", location));
        rig.ask(Method::POST, "/post").header("host", host).send().await;
        rig.inner.answer(PATH, another("max-age=60"));
        rig.get(PATH).header("host", bare).send().await.whole(&movie("/another", LENGTH));
    }
}

#[tokio::test]
async fn no_host_is_taken_for_another_by_its_port_or_its_user() {
    let rig = Rig::new().script(PATH, script("max-age=60"));
    let mut calls = 0;
    for host in [
        "h", "h:8080", "h:080", "h.", "u@h", "u:80@h", "@h", ":80", "h:80:80", "[::1]", "::1", "::1:80",
        "h:443", "h:80 ",
    ] {
        rig.get(PATH).header("host", host).send().await.whole(&movie(PATH, LENGTH));
        calls += 1;
        rig.inner.was_called(calls);
    }
    for (host, with_port) in [("h", "H:80"), ("[::1]", "[::1]:"), ("u@h", "u@h:80")] {
        rig.get(PATH).header("host", host).send().await.is_hit();
        rig.get(PATH).header("host", with_port).send().await.is_hit();
    }
}

#[tokio::test]
async fn a_head_with_credentials_learns_nothing_of_a_flight_of_others() {
    for fill in [Fill::progressive(), Fill::sliced()] {
        let (rig, gate) = (Rig::new().fill(fill), Gate::shut());
        rig.inner.answer(PATH, script("max-age=60").step(3, Step::Wait(gate.clone())));
        let leader = rig.get(PATH).start();
        settle().await;
        rig.inner.answer(PATH, Script::movie("/paid", 5000).header("etag", "\"v3\""));
        let head = rig.head(PATH).header("authorization", "x").send().await;
        assert_eq!(head.field("content-length"), "5000", "{fill:?}: {:?}", head.headers);
        gate.open();
        drop(leader.await.unwrap());
    }
}

#[tokio::test]
async fn parts_that_may_not_be_shared_any_more_break_one_body_at_most() {
    for forbids in ["private", "no-store"] {
        let rig = Rig::new().fill(Fill::sliced()).script(PATH, script("max-age=60"));
        rig.get(PATH).range("bytes=0-9").send().await.partial(&movie(PATH, LENGTH), 0..10);
        rig.inner.answer(PATH, script(forbids));
        let broken = rig.get(PATH).send().await;
        assert!(broken.error.is_some(), "the first bytes of this body had left");
        rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
        rig.get(PATH).range("bytes=1500-1509").send().await.partial(&movie(PATH, LENGTH), 1500..1510);
    }
}
