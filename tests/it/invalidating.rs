//! Unsafe requests that succeed remove the responses that they make untrue (RFC 9111 §4.4).

use http::Method;

use tower_video_cache::{CacheKey, Fault, Operation};

use crate::rig::{Gate, Rig, Script, Step, movie, seconds, settle};

fn method(name: &str) -> Method {
    Method::from_bytes(name.as_bytes()).unwrap()
}

#[tokio::test]
async fn an_unsafe_request_that_succeeds_takes_the_stored_response_out() {
    for name in ["POST", "PUT", "DELETE", "PATCH", "FROBNICATE"] {
        for (status, kept) in [(200, false), (204, false), (303, true), (404, true), (500, true)] {
            let rig = Rig::new().movie("/a.mp4", 10);
            rig.get("/a.mp4").send().await;
            rig.inner.answer("/a.mp4", Script::movie("/a.mp4", 10).status(status));
            let answer = rig.ask(method(name), "/a.mp4").body("new").send().await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.cache_status(), "tower-video-cache; fwd=method");
            rig.inner.answer("/a.mp4", Script::movie("/new", 20));
            let truth = if kept { movie("/a.mp4", 10) } else { movie("/new", 20) };
            rig.get("/a.mp4").send().await.whole(&truth);
        }
    }
}

#[tokio::test]
async fn a_safe_request_takes_nothing_out() {
    let rig = Rig::new().movie("/a.mp4", 10);
    rig.get("/a.mp4").send().await;
    for name in ["HEAD", "OPTIONS", "TRACE"] {
        rig.ask(method(name), "/a.mp4").send().await;
    }
    rig.get("/a.mp4").send().await.is_hit();
}

#[tokio::test]
async fn every_variant_goes_with_its_key() {
    let rig = Rig::new();
    for language in ["de", "en"] {
        rig.inner.answer("/a.mp4", Script::movie(language, 10).header("vary", "accept-language"));
        rig.get("/a.mp4").header("accept-language", language).send().await.whole(&movie(language, 10));
    }
    rig.ask(Method::DELETE, "/a.mp4").send().await;
    rig.inner.answer("/a.mp4", Script::movie("/new", 20).header("vary", "accept-language"));
    for language in ["de", "en"] {
        rig.get("/a.mp4").header("accept-language", language).send().await.whole(&movie("/new", 20));
    }
}

#[tokio::test]
async fn a_fill_under_way_does_not_put_back_an_invalidated_response() {
    let gate = Gate::shut();
    let old = Script::movie("/old", 2500).step(3, Step::Wait(gate.clone()));
    let rig = Rig::new().script("/a.mp4", old);
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let follower = rig.get("/a.mp4").start();
    settle().await;
    rig.inner.answer("/a.mp4", Script::movie("/new", 2000));
    rig.ask(Method::PUT, "/a.mp4").send().await;

    // A request after the change does not join the flight that began before it.
    rig.get("/a.mp4").send().await.whole(&movie("/new", 2000));
    gate.open();
    let answer = leader.await.unwrap();
    answer.whole(&movie("/old", 2500));
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=invalidated");
    follower.await.unwrap().whole(&movie("/new", 2000));
    rig.get("/a.mp4").send().await.whole(&movie("/new", 2000)).is_hit();
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_was_under_way_is_taken_back() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/old", 2500));
    // Three chunks, and then the manifest, which is slow.
    rig.store.spoil(Operation::Put, 4, Fault::Slow(seconds(1)));
    let leader = rig.get("/a.mp4").start();
    while rig.store.calls(Operation::Put) < 4 {
        tokio::task::yield_now().await;
    }
    rig.inner.answer("/a.mp4", Script::movie("/new", 2000));
    rig.ask(Method::PUT, "/a.mp4").send().await;
    leader.await.unwrap().whole(&movie("/old", 2500));
    rig.get("/a.mp4").send().await.whole(&movie("/new", 2000));
}

#[tokio::test(start_paused = true)]
async fn a_variant_does_not_come_back_with_one_that_was_being_stored() {
    let rig = Rig::new();
    let vary = |name: &str, by: &str| Script::movie(name, 2500).header("vary", by);
    rig.inner.answer("/a.mp4", vary("/old-de", "accept-language"));
    rig.get("/a.mp4").header("accept-language", "de").send().await.whole(&movie("/old-de", 2500));
    // Another variant, by other fields. The record of the variants is written anew, slowly.
    rig.inner.answer("/a.mp4", vary("/old-en", "accept-language, origin"));
    let puts = rig.puts();
    rig.store.spoil(Operation::Put, puts + 4, Fault::Slow(seconds(1)));
    let leader = rig.get("/a.mp4").header("accept-language", "en").start();
    while rig.puts() < puts + 4 {
        tokio::task::yield_now().await;
    }
    rig.inner.answer("/a.mp4", vary("/new", "accept-language, origin"));
    rig.ask(Method::PUT, "/a.mp4").send().await;
    let all_are_new = || async {
        for language in ["de", "en"] {
            rig.get("/a.mp4").header("accept-language", language).send().await.whole(&movie("/new", 2500));
        }
    };
    all_are_new().await;
    leader.await.unwrap().whole(&movie("/old-en", 2500));
    all_are_new().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_stop_the_invalidation() {
    let rig = Rig::new().movie("/a.mp4", 10);
    rig.get("/a.mp4").send().await;
    rig.store.spoil(Operation::Remove, 1, Fault::Slow(seconds(1)));
    let unsafe_request = rig.ask(Method::PUT, "/a.mp4").start();
    while rig.store.calls(Operation::Remove) < 1 {
        tokio::task::yield_now().await;
    }
    unsafe_request.abort();
    tokio::time::advance(seconds(2)).await;
    settle().await;
    rig.inner.answer("/a.mp4", Script::movie("/new", 20));
    rig.get("/a.mp4").send().await.whole(&movie("/new", 20));
}

/// Returns the paths that still have their stored answer, after an answer with these fields.
async fn kept(rig: &Rig, paths: &[&'static str], status: u16, fields: &[(&str, &str)]) -> Vec<&'static str> {
    let ask = |path| rig.get(path).header("host", "one.example");
    for path in paths {
        rig.inner.answer(path.split('?').next().unwrap(), Script::movie(path, 10));
        ask(path).send().await;
    }
    let done = fields
        .iter()
        .fold(Script::absent().status(status), |script, (name, value)| script.header(name, value));
    rig.inner.answer("/v/edit", done);
    rig.ask(Method::POST, "/v/edit").header("host", "one.example").send().await;
    let mut kept = Vec::new();
    for path in paths {
        if ask(path).send().await.cache_status().contains("; hit") {
            kept.push(*path);
        }
    }
    kept
}

#[tokio::test]
async fn a_uri_that_the_answer_names_is_invalidated_too() {
    let paths = ["/v/a.mp4", "/v/b.mp4", "/c.mp4?x=1"];
    let (location, content) = ("location", "content-location");
    for (fields, expected) in [
        (vec![], vec!["/v/a.mp4", "/v/b.mp4", "/c.mp4?x=1"]),
        (vec![(location, "a.mp4")], vec!["/v/b.mp4", "/c.mp4?x=1"]),
        (vec![(content, "/v/a.mp4#t=1")], vec!["/v/b.mp4", "/c.mp4?x=1"]),
        (vec![(location, "http://one.example/v/a.mp4"), (content, "../c.mp4?x=1")], vec!["/v/b.mp4"]),
        (vec![(location, "a.mp4"), (location, "b.mp4")], vec!["/c.mp4?x=1"]),
        (vec![(location, "/c.mp4")], vec!["/v/a.mp4", "/v/b.mp4", "/c.mp4?x=1"]),
    ] {
        for status in [201, 204] {
            let rig = Rig::new();
            assert_eq!(kept(&rig, &paths, status, &fields).await, expected, "{status} {fields:?}");
        }
        // A redirection or an error has changed nothing.
        assert_eq!(kept(&Rig::new(), &paths, 303, &fields).await, paths, "{fields:?}");
        assert_eq!(kept(&Rig::new(), &paths, 404, &fields).await, paths, "{fields:?}");
        assert_eq!(kept(&Rig::new(), &paths, 500, &fields).await, paths, "{fields:?}");
    }
}

#[tokio::test]
async fn another_origins_name_or_no_name_at_all_takes_nothing_out() {
    let paths = ["/v/a.mp4"];
    let long = format!("/v/{}a.mp4", "./".repeat(5000));
    for value in [
        "http://two.example/v/a.mp4",
        "//two.example/v/a.mp4",
        "http://one.example:81/v/a.mp4",
        "ftp://one.example/v/a.mp4",
        "http:a.mp4",
        "/v/a.mp4 /v/a.mp4",
        "http://[/v/a.mp4",
        "\t",
        long.as_str(),
    ] {
        for name in ["location", "content-location"] {
            assert_eq!(kept(&Rig::new(), &paths, 201, &[(name, value)]).await, paths, "{name}: {value}");
        }
    }
    // If there are very many, those beyond the bound stay.
    let mut many = vec![("location", "/v/x.mp4"); 100];
    many.push(("location", "/v/a.mp4"));
    assert_eq!(kept(&Rig::new(), &paths, 201, &many).await, paths);
    many.push(("content-location", "/v/a.mp4"));
    assert!(kept(&Rig::new(), &paths, 201, &many).await.is_empty(), "one field does not crowd out the other");
}

#[tokio::test]
async fn a_safe_request_takes_nothing_out_whatever_its_answer_names() {
    for name in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        let rig = Rig::new().movie("/v/a.mp4", 10);
        rig.get("/v/a.mp4").send().await;
        rig.inner.answer("/v/edit", Script::movie("/v/edit", 10).header("content-location", "/v/a.mp4"));
        rig.ask(method(name), "/v/edit").send().await;
        rig.get("/v/a.mp4").send().await.is_hit();
    }
}

#[tokio::test]
async fn the_key_function_makes_the_keys_of_the_uris_that_the_answer_names() {
    let by_path_and_device = |request: &http::request::Parts| {
        assert_ne!(request.uri.path(), "/bad", "the key function panics, as scripted");
        let device = request.headers.get("x-device").map_or(&[][..], |device| device.as_bytes());
        CacheKey::new([request.method.as_str().as_bytes(), request.uri.path().as_bytes(), device].concat())
    };
    let rig = Rig::new().movie("/v/a.mp4", 10).layer(|layer| layer.key(by_path_and_device));
    let created =
        Script::absent().status(201).header("location", "/bad").header("content-location", "a.mp4?x");
    rig.inner.answer("/v/edit", created.clone().without("location"));
    for device in ["tv", "phone"] {
        rig.get("/v/a.mp4").header("x-device", device).send().await;
    }
    rig.ask(Method::POST, "/v/edit").header("x-device", "tv").send().await;
    rig.get("/v/a.mp4").header("x-device", "phone").send().await.is_hit();
    let answer = rig.get("/v/a.mp4").header("x-device", "tv").send().await;
    assert!(answer.cache_status().contains("uri-miss"), "{}", answer.cache_status());

    // The key function panics at a URI that no client asked for, and the answer still comes.
    rig.inner.answer("/v/edit", created);
    assert_eq!(rig.ask(Method::POST, "/v/edit").send().await.status, 201);
}

#[tokio::test]
async fn a_record_that_a_store_cannot_remove_is_not_believed_until_it_can() {
    for vary in ["", "accept-language"] {
        let with = |script: Script| if vary.is_empty() { script } else { script.header("vary", vary) };
        let rig = Rig::new().script("/a.mp4", with(Script::movie("/a.mp4", 10)));
        let get = |language| rig.get("/a.mp4").header("accept-language", language);
        for language in ["de", "en"] {
            get(language).send().await.whole(&movie("/a.mp4", 10));
        }
        rig.store.spoil_from(Operation::Remove, 1, Fault::Error);
        rig.ask(Method::PUT, "/a.mp4").body("new").send().await;
        // The old record is not used either while no new one can be put in its place.
        rig.store.spoil_from(Operation::Put, 1, Fault::Error);
        rig.inner.answer("/a.mp4", with(Script::movie("/new", 20)));
        for language in ["de", "en", "de"] {
            get(language).send().await.whole(&movie("/new", 20));
        }
        rig.store.heal();
        for language in ["de", "en"] {
            get(language).send().await.whole(&movie("/new", 20));
            get(language).send().await.whole(&movie("/new", 20)).is_hit();
        }
    }
}

#[tokio::test]
async fn a_new_response_in_place_of_an_unremovable_one_is_believed() {
    let rig = Rig::new().movie("/a.mp4", 10);
    rig.get("/a.mp4").send().await;
    rig.store.spoil_from(Operation::Remove, 1, Fault::Error);
    rig.ask(Method::PUT, "/a.mp4").body("new").send().await;
    rig.inner.answer("/a.mp4", Script::movie("/new", 20));
    rig.get("/a.mp4").send().await.whole(&movie("/new", 20));
    rig.store.heal();
    rig.get("/a.mp4").send().await.whole(&movie("/new", 20)).is_hit();
}
