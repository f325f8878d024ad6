//! Fields with tens of thousands of members cost no more than their bytes. Comparing each member with all previous
//! ones would take minutes.

use std::time::{Duration, Instant};

use tower_video_cache::Policy;

use crate::rig::{PATH, Rig, Script, movie};

const LENGTH: usize = 2500;
const MANY: usize = 20_000;

/// Ten times the time that any of them takes, and a tenth of the time that quadratic work would take.
const MOST: Duration = Duration::from_secs(12);

/// Members that all differ, with a text before and after each.
fn members(before: &str, after: &str) -> String {
    let members: Vec<_> = (0..MANY).map(|number| format!("{before}{number:x}{after}")).collect();
    members.join(",")
}

fn rig(script: Script) -> Rig {
    let policy = Policy::default()
        .targeted_fields([http::HeaderName::from_static("cdn-cache-control")])
        .max_ranges(usize::MAX);
    Rig::new().script(PATH, script).layer(|layer| layer.policy(policy))
}

#[track_caller]
fn took(what: &str, began: Instant) {
    let took = began.elapsed();
    assert!(took < MOST, "{what} took {took:?}");
}

#[tokio::test]
async fn a_response_that_names_very_many_things_is_stored_and_served_in_time() {
    let qualified = |directive: &str| format!("max-age=60, {directive}=\"{}\"", members("x-", ""));
    for (what, name, value) in [
        ("private", "cache-control", qualified("private")),
        ("no-cache", "cache-control", qualified("no-cache")),
        ("each in its own", "cache-control", format!("max-age=60, {}", members("private=x-", ""))),
        ("directives", "cache-control", format!("max-age=60, {}", members("x-", "=1"))),
        ("targeted", "cdn-cache-control", format!("max-age=60, {}", members("a", "=1"))),
        ("targeted, again and again", "cdn-cache-control", {
            let first: Vec<_> = (0..1000).map(|number| format!("aaaaaaa{number:03}")).collect();
            format!("{},{}", first.join(","), vec!["aaaaaaa999"; MANY].join(","))
        }),
        ("connection", "connection", members("x-", "")),
        ("vary", "vary", members("x-", "")),
        ("age", "age", members("", "")),
        ("content-length", "content-length", vec!["2500"; MANY].join(",")),
    ] {
        let script = Script::movie(PATH, LENGTH).without(name).header("etag", "\"v1\"").header(name, &value);
        let rig = rig(script);
        let began = Instant::now();
        for _ in 0..3 {
            rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
        }
        took(what, began);
    }
}

#[tokio::test]
async fn a_request_that_names_very_many_things_is_answered_in_time() {
    let rig =
        rig(Script::movie(PATH, LENGTH).header("etag", "\"v1\"").header("vary", "x-a, accept-encoding"));
    rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    for (name, value) in [
        ("if-none-match", members("\"", "\"")),
        ("if-match", members("W/\"", "\"")),
        ("range", format!("bytes={}", vec!["0-0,2000-2000"; MANY / 2].join(","))),
        ("range", format!("bytes={}", vec!["-1"; MANY].join(","))),
        ("cache-control", members("x-", "=1")),
        ("pragma", members("x-", "")),
        ("connection", members("x-", "")),
        ("x-a", members("", "")),
        ("accept-encoding", members("", ";q=0.5")),
        ("cookie", members("", "=1")),
    ] {
        let began = Instant::now();
        for _ in 0..3 {
            rig.get(PATH).header(name, &value).send().await;
        }
        took(name, began);
    }
}
