//! Reloads by force: `no-cache` in a request (RFC 9111 §5.2.1.4).

use std::time::Duration;

use bytes::Bytes;
use tower_video_cache::{Fill, Policy};

use crate::rig::{PATH, Rig, Script, date, movie, seconds};

fn truth() -> Bytes {
    movie(PATH, 2500)
}

fn script() -> Script {
    Script::movie(PATH, 2500).header("cache-control", "max-age=60")
}

/// The ways to say it.
const RELOADS: [&[(&str, &str)]; 4] = [
    &[("cache-control", "no-cache")],
    &[("pragma", "no-cache")],
    &[("cache-control", "no-cache"), ("pragma", "no-cache")],
    &[("cache-control", "max-age=30, max-stale=9"), ("cache-control", "No-Cache")],
];

#[tokio::test]
async fn a_question_of_the_caches_own_says_max_age_in_the_place_of_no_cache() {
    for reload in RELOADS {
        let rig = Rig::new().script(PATH, script().header("etag", "\"v1\"").honours_conditions());
        rig.get(PATH).send().await.whole(&truth());
        let mut ask = rig.get(PATH).range("bytes=5-9");
        for (name, value) in reload {
            ask = ask.header(name, value);
        }
        let answer = ask.send().await;
        answer.partial(&truth(), 5..10);
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=request; fwd-status=304; ttl=60");
        let asked = &rig.inner.calls()[1].headers;
        assert_eq!(
            (&asked["cache-control"], &asked["if-none-match"]),
            (&"max-age=0".parse().unwrap(), &"\"v1\"".parse().unwrap())
        );
        assert!(!asked.contains_key("pragma"), "{reload:?}");
    }
}

#[tokio::test]
async fn a_part_is_asked_for_without_no_cache_too() {
    let script = Script::movie(PATH, 9500).header("etag", "\"v1\"").honours_ranges();
    let rig = Rig::new().fill(Fill::sliced()).script(PATH, script);
    rig.get(PATH).range("bytes=3000-3999").header("cache-control", "no-cache").send().await;
    rig.get(PATH).range("bytes=7000-7999").header("cache-control", "no-cache").send().await;
    let calls = rig.inner.calls();
    assert!(
        calls.len() > 1 && calls.iter().all(|call| call.headers["cache-control"] == "max-age=0"),
        "{calls:?}"
    );
}

#[tokio::test]
async fn a_question_for_one_client_alone_says_it_too() {
    let rig = Rig::new().script(PATH, script().header("etag", "\"v1\"").honours_conditions());
    rig.get(PATH).send().await.whole(&truth());
    let ask = rig.get(PATH).header("authorization", "x").header("cache-control", "no-cache");
    ask.send().await.whole(&truth());
    let asked = &rig.inner.calls()[1].headers;
    assert_eq!([&asked["cache-control"], &asked["if-none-match"]], ["max-age=0", "\"v1\""]);
}

#[tokio::test]
async fn a_request_that_passes_keeps_its_no_cache() {
    // The answer may not be stored, so the second request passes.
    let rig = Rig::new().script(PATH, Script::movie(PATH, 2500).header("cache-control", "no-store"));
    for said in ["no-cache", "no-cache, no-store"] {
        rig.get(PATH).send().await.whole(&truth());
        rig.get(PATH).header("cache-control", said).header("pragma", "no-cache").send().await.whole(&truth());
        let asked = rig.inner.calls().pop().unwrap().headers;
        assert_eq!([&asked["cache-control"], &asked["pragma"]], [said, "no-cache"]);
    }
}

#[tokio::test]
async fn a_response_without_validator_is_new_enough_for_a_reload_while_it_is_new() {
    let letter = Policy::default().reload_grace(Duration::ZERO);
    let long = Policy::default().reload_grace(seconds(9));
    for (rule, policy, script, age, is_hit) in [
        ("new", Policy::default(), script(), 1, true),
        ("not new", Policy::default(), script(), 2, false),
        ("by the letter", letter, script(), 0, false),
        ("the operator's choice", long.clone(), script(), 8, true),
        ("past the operator's choice", long.clone(), script(), 9, false),
        ("stale", long, script().without("cache-control").header("cache-control", "max-age=5"), 5, false),
        ("a tag to ask by", Policy::default(), script().header("etag", "W/\"v1\""), 1, false),
        ("a date to ask by", Policy::default(), script().header("last-modified", &date(-9)), 1, false),
    ] {
        for reload in RELOADS {
            let rig = Rig::new().layer(|layer| layer.policy(policy.clone())).script(PATH, script.clone());
            rig.get(PATH).send().await.whole(&truth());
            rig.clock.advance(seconds(age));
            let mut ask = rig.get(PATH).range("bytes=5-9");
            for (name, value) in reload {
                ask = ask.header(name, value);
            }
            let answer = ask.send().await;
            answer.partial(&truth(), 5..10);
            assert_eq!(answer.cache_status().contains("; hit"), is_hit, "{rule}: {}", answer.cache_status());
        }
    }
}

#[tokio::test]
async fn a_refused_response_is_no_longer_new() {
    let rig = Rig::new().script(PATH, script());
    rig.get(PATH).send().await.whole(&truth());
    rig.clock.advance(seconds(2));
    rig.inner.answer(PATH, Script::absent().status(451));
    for _ in 0..2 {
        assert_eq!(rig.get(PATH).header("cache-control", "no-cache").send().await.status, 451);
    }
    rig.get(PATH).send().await.whole(&truth()).is_hit();
}
