//! The rules of the policy: the first one that is for a response counts, also for what is stored already.

use http::{HeaderName, Method, Request, StatusCode, Uri};
use tower_video_cache::{Error, Fill, Mark, Policy, Rule, TargetUri};

use crate::rig::{PATH, Rig, Script, movie, seconds, settle};

const LIVE: &str = "/live/7/a.m3u8";

fn with_rules(rules: impl IntoIterator<Item = Rule>) -> Policy {
    rules.into_iter().try_fold(Policy::default(), Policy::rule).unwrap()
}

fn ruled(rules: impl IntoIterator<Item = Rule>) -> Rig {
    let policy = with_rules(rules);
    Rig::new().layer(|layer| layer.policy(policy))
}

fn playlist(cache_control: &str) -> Script {
    let script = Script::movie(LIVE, 900).without("content-type").header("etag", "\"v1\"");
    script.header("content-type", "application/vnd.apple.mpegurl").header("cache-control", cache_control)
}

async fn lifetime(rig: &Rig, path: &str) -> (u64, &'static str) {
    let request = Request::get(path).body(()).unwrap().into_parts().0;
    let stored = rig.layer.handle().explain(&request).await.stored.unwrap();
    (stored.lifetime.as_secs(), stored.lifetime_by)
}

#[tokio::test]
async fn a_missing_segment_appears_one_second_after_it_is_there() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        let statuses = [StatusCode::OK, StatusCode::NOT_FOUND];
        let policy = with_rules([Rule::any().status(404).ttl(seconds(1))]).statuses(statuses);
        let rig = Rig::new().fill(fill).layer(|layer| layer.policy(policy));
        let rig =
            rig.script(PATH, Script::movie(PATH, 10).status(404).header("cache-control", "max-age=600"));
        assert_eq!(rig.get(PATH).send().await.status, 404);
        rig.inner.answer(PATH, Script::movie(PATH, 2500));
        assert_eq!(rig.get(PATH).send().await.is_hit().status, 404);
        rig.clock.advance(seconds(1));
        rig.get(PATH).send().await.whole(&movie(PATH, 2500));
        rig.clock.advance(seconds(200));
        rig.get(PATH).send().await.is_hit().whole(&movie(PATH, 2500));
    }
}

#[tokio::test]
async fn the_first_rule_that_is_for_a_response_counts() {
    let rig = ruled([
        Rule::path("/live/**").media_type("application/vnd.apple.mpegurl").at_most(seconds(1)),
        Rule::path("/live/**").at_most(seconds(6)),
        Rule::any().field(HeaderName::from_static("x-kind"), "final").immutable(),
        Rule::any().host("*.example").default_ttl(seconds(9)),
    ]);
    let video = |path| Script::movie(path, 900);
    let rig = rig
        .script(LIVE, playlist("max-age=86400"))
        .script("/live/7/1.mp4", video("/live/7/1.mp4"))
        .script("/final.mp4", video("/final.mp4").header("x-kind", "final"))
        .script("/b.mp4", video("/b.mp4"));
    for (uri, expected) in [
        (LIVE, (1, "rule")),
        ("/live/7/1.mp4", (6, "rule")),
        ("/final.mp4", (1 << 31, "rule")),
        ("http://a.EXAMPLE:80/b.mp4", (9, "rule")),
        ("http://example/b.mp4", (300, "default")),
    ] {
        rig.get(uri).send().await;
        assert_eq!(lifetime(&rig, uri).await, expected, "{uri}");
    }
}

#[tokio::test]
async fn a_response_that_a_rule_never_stores_passes_through() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        let rig = ruled([Rule::path("/private/*").never()]).fill(fill);
        let script = Script::movie("/private/a.mp4", 2500).header("etag", "\"v1\"").honours_ranges();
        let rig = rig.script("/private/a.mp4", script).movie(PATH, 2500);
        for _ in 0..2 {
            let answer = rig.get("/private/a.mp4").send().await;
            answer.whole(&movie("/private/a.mp4", 2500));
            assert!(answer.cache_status().ends_with("detail=rule"), "{}", answer.cache_status());
        }
        let part = rig.get("/private/a.mp4").range("bytes=0-99").send().await;
        part.partial(&movie("/private/a.mp4", 2500), 0..100);
        rig.get(PATH).send().await.whole(&movie(PATH, 2500));
        rig.get(PATH).send().await.is_hit();
    }
}

#[tokio::test]
async fn no_rule_lets_the_cache_store_what_the_response_forbids() {
    for (fields, refusal) in [
        (&[("cache-control", "no-store")][..], "no-store"),
        (&[("cache-control", "private")], "private"),
        (&[("cache-control", "no-cache")], "no-cache"),
        (&[("set-cookie", "a=b")], "set-cookie"),
        (&[("vary", "*")], "vary-star"),
    ] {
        for rule in [Rule::any().ttl(seconds(60)), Rule::any().immutable(), Rule::any().at_least(seconds(60))]
        {
            let script = fields
                .iter()
                .fold(Script::movie(PATH, 900), |script, (name, value)| script.header(name, value));
            let rig = ruled([rule.stale_if_error(seconds(60))]).script(PATH, script);
            let answer = rig.get(PATH).send().await;
            answer.whole(&movie(PATH, 900));
            let says = format!("detail={refusal}");
            assert!(answer.cache_status().ends_with(&says), "{}", answer.cache_status());
            assert!(!rig.get(PATH).send().await.cache_status().contains("; hit"));
        }
    }
    let rig = ruled([Rule::any().immutable()]).movie(PATH, 900);
    let answer = rig.get(PATH).header("authorization", "x").send().await;
    assert!(answer.cache_status().ends_with("detail=authorization"), "{}", answer.cache_status());
    let answer = rig.get(PATH).header("cookie", "a=b").send().await;
    assert!(answer.cache_status().ends_with("detail=cookie"), "{}", answer.cache_status());
}

#[tokio::test]
async fn a_rule_acts_at_once_on_what_is_stored() {
    let rig = ruled([]).script(LIVE, playlist("max-age=86400").honours_conditions());
    rig.get(LIVE).send().await;
    rig.clock.advance(seconds(5));
    rig.get(LIVE).send().await.is_hit();
    assert_eq!(lifetime(&rig, LIVE).await, (86_400, "max-age"));

    let shorter = rig.after_a_restart(with_rules([Rule::path("/live/**").at_most(seconds(2))]));
    assert_eq!(lifetime(&shorter, LIVE).await, (2, "rule"));
    let validated = shorter.get(LIVE).send().await;
    assert!(validated.cache_status().contains("fwd=stale; fwd-status=304"), "{}", validated.cache_status());
    shorter.clock.advance(seconds(1));
    shorter.get(LIVE).send().await.is_hit();
    shorter.clock.advance(seconds(1));
    assert!(shorter.get(LIVE).send().await.cache_status().contains("fwd=stale"));

    // The record keeps what the response says, and nothing of a rule.
    let without = rig.after_a_restart(Policy::default());
    assert_eq!(lifetime(&without, LIVE).await, (86_400, "max-age"));
    without.get(LIVE).send().await.is_hit();
}

#[tokio::test]
async fn a_stored_response_that_a_rule_forbids_since_is_used_no_more() {
    for script in [playlist("max-age=600").honours_conditions(), playlist("max-age=600").without("etag")] {
        let rig = ruled([]).script(LIVE, script);
        rig.get(LIVE).send().await;
        rig.get(LIVE).send().await.is_hit();
        let never = rig.after_a_restart(with_rules([Rule::path("/live/**").never()]));
        for _ in 0..2 {
            let answer = never.get(LIVE).send().await;
            answer.whole(&movie(LIVE, 900));
            assert!(!answer.cache_status().contains("; hit"), "{}", answer.cache_status());
            settle().await;
        }
        let again = rig.after_a_restart(Policy::default());
        let answer = again.get(LIVE).send().await;
        assert!(answer.cache_status().contains("fwd=uri-miss"), "{}", answer.cache_status());
    }
}

#[tokio::test]
async fn a_rule_finds_the_path_of_the_request_that_brought_the_response() {
    let policy = with_rules([Rule::path("/live/**").at_most(seconds(2))]);
    let by_file = |request: &http::request::Parts| {
        let path = request.uri.path();
        tower_video_cache::CacheKey::new(path.rsplit('/').next().unwrap_or_default())
    };
    let rig = Rig::new().layer(|layer| layer.policy(policy).key(by_file));
    let rig =
        rig.script("/live/a.mp4", Script::movie(PATH, 900)).movie("/vod/a.mp4", 900).movie("/vod/b.mp4", 900);
    rig.get("/live/a.mp4").send().await;
    assert_eq!(lifetime(&rig, "/vod/a.mp4").await, (2, "rule"), "one key, and so one response");
    rig.get("/vod/b.mp4").send().await;
    assert_eq!(lifetime(&rig, "/live/b.mp4").await, (300, "default"));
}

#[tokio::test]
async fn a_purge_finds_the_groups_of_a_rule() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        let policy =
            with_rules([Rule::path("/shows/*/**").media_type("video/*").groups(["shows", "old shows"])]);
        let rig = Rig::new().fill(fill).layer(|layer| layer.policy(policy).key(TargetUri::new().into_fn()));
        let uri = |path: &str| format!("http://a.example{path}");
        let paths = ["/shows/1/a.mp4", "/trailers/a.mp4"];
        let [show, other] = paths.map(uri);
        let script = || {
            let script = Script::movie(PATH, 900).header("etag", "\"v1\"").header("cache-groups", "\"own\"");
            script.header("cache-control", "max-age=60").honours_ranges().honours_conditions()
        };
        let rig = paths.into_iter().fold(rig, |rig, path| rig.script(path, script()));
        let purger = rig.layer.handle().purger();
        let origin: Uri = uri("/").parse().unwrap();
        for group in ["shows", "old shows", "own"] {
            for uri in [&show, &other] {
                rig.get(uri).send().await.whole(&movie(PATH, 900));
            }
            // A 304 has no type, and leaves the groups as they are.
            rig.clock.advance(seconds(61));
            for uri in [&show, &other] {
                rig.get(uri).send().await.whole(&movie(PATH, 900));
                rig.get(uri).send().await.is_hit();
            }
            purger.groups(&origin, [group], Mark::Gone).await.unwrap();
            let hits = [rig.get(&show).send().await, rig.get(&other).send().await];
            let hits = hits.map(|answer| answer.cache_status().contains("; hit"));
            assert_eq!(hits, [false, group != "own"], "{group}");
        }
    }
}

#[tokio::test]
async fn a_rule_gives_stale_windows() {
    let rule = Rule::path("/a.*").at_most(seconds(10)).stale_if_error(seconds(30));
    let rig = ruled([rule]).movie(PATH, 2500);
    rig.get(PATH).send().await.whole(&movie(PATH, 2500));
    rig.inner.answer(PATH, Script::absent().status(503));
    rig.clock.advance(seconds(39));
    let stands_in = rig.get(PATH).send().await;
    stands_in.whole(&movie(PATH, 2500));
    assert!(stands_in.cache_status().contains("detail=stale-if-error"), "{}", stands_in.cache_status());
    rig.clock.advance(seconds(1));
    assert_eq!(rig.get(PATH).send().await.status, 503);
}

#[tokio::test]
async fn a_reload_asks_nothing_about_what_a_rule_calls_immutable() {
    let rig = ruled([Rule::path("/*.mp4").immutable()]).movie(PATH, 900);
    rig.get(PATH).send().await.whole(&movie(PATH, 900));
    rig.clock.advance(seconds(40_000_000));
    rig.get(PATH).header("cache-control", "max-age=0").send().await.is_hit().whole(&movie(PATH, 900));
    rig.inner.was_called(1);
    let other = rig.ask(Method::GET, PATH).header("cache-control", "no-cache").send().await;
    assert!(!other.cache_status().contains("; hit"), "{}", other.cache_status());
}

#[tokio::test]
async fn a_rule_that_can_do_nothing_is_an_error_of_the_configuration() {
    for rule in [
        Rule::any(),
        Rule::path("live").never(),
        Rule::any().host("").never(),
        Rule::any().never().immutable(),
    ] {
        assert!(Policy::default().rule(rule).is_err_and(|error: Error| error.is_config()));
    }
}
