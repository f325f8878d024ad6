//! Settings that change while the cache runs.

use std::{
    num::NonZeroUsize,
    sync::{Arc, mpsc},
    time::Duration,
};

use futures_util::future::join_all;
use http::{Request, StatusCode};
use tower::{Layer, ServiceExt};
use tower_video_cache::{
    Abandon, CacheHandle, CacheKey, CacheStatus, ChunkSize, Event, Fill, Limits, Mark, Observer, Policy,
    Retry, Rule, SystemClock, TargetUri, Timeouts, VideoCacheLayer,
};

use crate::rig::{
    Answer, Ask, CHUNK, Gate, PATH, Rig, Script, Step, movie, poll_until_done, seconds, settle,
};

const LENGTH: usize = 4300;
const FILLS: [Fill; 4] = [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced()];

fn lasting(ttl: u64) -> Policy {
    Policy::default().default_ttl(seconds(ttl))
}

fn tagged(path: &str) -> Script {
    Script::movie(path, LENGTH).header("etag", "\"v1\"").honours_ranges().honours_conditions()
}

async fn lifetime(rig: &Rig) -> u64 {
    let request = Request::get(PATH).body(()).unwrap().into_parts().0;
    rig.layer.handle().explain(&request).await.stored.unwrap().lifetime.as_secs()
}

#[tokio::test]
async fn a_new_policy_acts_on_what_is_stored_at_once() {
    for fill in FILLS {
        let rig = Rig::new().fill(fill).script(PATH, tagged(PATH));
        let cache = rig.layer.handle();
        // The service was made before the policy changed.
        let service = rig.service();
        let ask = || Rig::ask_of(service.clone(), http::Method::GET, PATH).send();
        ask().await.whole(&movie(PATH, LENGTH));
        rig.clock.advance(seconds(20));
        ask().await.is_hit();
        cache.reconfigure(lasting(10));
        let answer = ask().await;
        assert!(answer.cache_status().contains("fwd=stale; fwd-status=304"), "{}", answer.cache_status());
        answer.whole(&movie(PATH, LENGTH));
        rig.clock.advance(seconds(20));
        cache.reconfigure(lasting(30));
        ask().await.is_hit().whole(&movie(PATH, LENGTH));
        cache.reconfigure(Policy::default().rule(Rule::path("/*").ttl(seconds(15))).unwrap());
        assert!(ask().await.cache_status().contains("fwd=stale"));
        let bytes: u64 = cache.stats().inner_bytes.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(bytes, LENGTH as u64, "nothing was fetched again");
    }
}

#[tokio::test]
async fn the_preset_for_live_streams_bounds_a_stored_playlist_at_once() {
    let (path, text) = ("/live/a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\n1.ts\n");
    let script = Script::of(&text.into())
        .without("content-type")
        .header("content-type", "application/vnd.apple.mpegurl")
        .header("cache-control", "max-age=600")
        .header("etag", "\"v1\"")
        .honours_conditions();
    let rig = Rig::new().script(path, script);
    rig.get(path).send().await.whole(&text.into());
    rig.clock.advance(seconds(2));
    rig.layer.handle().reconfigure(Policy::streaming());
    rig.get(path).send().await.is_hit();
    rig.clock.advance(seconds(1));
    assert!(rig.get(path).send().await.cache_status().contains("fwd=stale"));
    rig.clock.advance(seconds(4));
    rig.layer.handle().reconfigure(Policy::default());
    rig.get(path).send().await.is_hit();
}

#[tokio::test]
async fn every_variant_of_a_response_goes_by_the_new_policy() {
    let rig = Rig::new().script(PATH, tagged(PATH).header("vary", "accept-language"));
    let ask = |language: &str| rig.get(PATH).header("accept-language", language).send();
    for language in ["de", "fr"] {
        ask(language).await.whole(&movie(PATH, LENGTH));
        ask(language).await.is_hit();
    }
    rig.clock.advance(seconds(20));
    rig.layer.handle().reconfigure(lasting(10));
    for language in ["de", "fr"] {
        assert!(ask(language).await.cache_status().contains("fwd=stale"), "{language}");
    }
}

#[tokio::test]
async fn what_the_old_policy_refused_is_judged_anew() {
    let poster =
        || Script::movie("/a.webp", 900).without("content-type").header("content-type", "image/webp");
    let rig = Rig::new().script("/a.webp", poster());
    let refused = rig.get("/a.webp").send().await;
    assert!(refused.cache_status().contains("detail=media-type"), "{}", refused.cache_status());
    assert!(rig.get("/a.webp").send().await.cache_status().contains("detail=media-type"), "remembered");
    rig.layer.handle().reconfigure(Policy::default().also_media_types(["image/webp"]));
    rig.get("/a.webp").send().await.whole(&movie("/a.webp", 900));
    rig.get("/a.webp").send().await.is_hit();
}

#[tokio::test]
async fn a_refusal_stays_remembered_if_the_policy_stays() {
    let rig = Rig::new().script(PATH, Script::movie(PATH, 900).header("cache-control", "private"));
    rig.get(PATH).send().await;
    rig.layer.clone().fill(Fill::sliced()).apply_to(&rig.layer.handle()).unwrap();
    // Another mode would ask for a part. A request for what is known to be refused goes on as it is.
    rig.get(PATH).range("bytes=5-9").send().await;
    assert_eq!(rig.inner.ranges(PATH), ["", "bytes=5-9"]);
}

/// A fill at some moment, which a gate holds there.
fn held(moment: &str, gate: &Gate) -> Script {
    let script = tagged(PATH);
    match moment {
        "before the answer" => script.held_by(gate),
        "before the body" => script.step(0, Step::Wait(gate.clone())),
        "within the body" => script.step(Script::frame_after(2), Step::Wait(gate.clone())),
        _ => script.step(usize::MAX, Step::Wait(gate.clone())),
    }
}

#[tokio::test]
async fn a_fill_under_way_ends_as_it_began_and_serves_those_who_come_later() {
    for fill in FILLS {
        for moment in ["before the answer", "before the body", "within the body", "before the end"] {
            for next in FILLS {
                let gate = Gate::shut();
                let rig = Rig::new().fill(fill).script(PATH, held(moment, &gate));
                let cache = rig.layer.handle();
                let first = rig.get(PATH).start();
                settle().await;
                let changed = rig.layer.clone().fill(next).policy(lasting(30));
                changed.apply_to(&cache).unwrap();
                let second = rig.get(PATH).start();
                settle().await;
                gate.open();
                for viewer in [first, second] {
                    viewer.await.unwrap().whole(&movie(PATH, LENGTH));
                }
                let told = format!("{fill:?} {moment} {next:?}");
                assert_eq!(rig.inner.bytes_of(PATH), LENGTH as u64, "{told}");
                rig.get(PATH).send().await.is_hit().whole(&movie(PATH, LENGTH));
                assert_eq!(lifetime(&rig).await, 30, "{told}");
                assert_eq!(cache.stats().reserved_bytes, 0, "{told}");
            }
        }
    }
}

#[tokio::test]
async fn a_validation_under_way_ends_as_it_began() {
    let gate = Gate::shut();
    let rig = Rig::new().script(PATH, tagged(PATH));
    rig.get(PATH).send().await;
    rig.clock.advance(seconds(400));
    rig.inner.answer(PATH, tagged(PATH).held_by(&gate));
    let viewers: Vec<_> = (0..4).map(|_| rig.get(PATH).start()).collect();
    gate.reached_by(1).await;
    rig.layer.handle().reconfigure(lasting(30));
    settle().await;
    let late = rig.get(PATH).start();
    settle().await;
    gate.open();
    for viewer in viewers.into_iter().chain([late]) {
        viewer.await.unwrap().whole(&movie(PATH, LENGTH));
    }
    rig.inner.was_called(2);
    assert_eq!(lifetime(&rig).await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_viewers_notice_nothing_while_the_settings_change() {
    for fill in FILLS {
        // `Fill::whole` answers once the record is there.
        let rig = Rig::new().fill(Fill::whole()).script(PATH, tagged(PATH));
        rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
        let cache = rig.layer.handle();
        rig.layer.clone().fill(fill).apply_to(&cache).unwrap();
        let viewer = |number: usize| {
            let service = rig.service();
            tokio::spawn(async move {
                for turn in 0..50 {
                    let from = (number * 61 + turn * 97) % (LENGTH - 700);
                    let range = format!("bytes={from}-{}", from + 699);
                    let ask = Rig::ask_of(service.clone(), http::Method::GET, PATH).range(&range);
                    ask.send().await.is_hit().partial(&movie(PATH, LENGTH), from..from + 700);
                    tokio::task::yield_now().await;
                }
            })
        };
        let viewers: Vec<_> = (0..64).map(viewer).collect();
        for changes in 1_u64.. {
            cache.reconfigure(lasting(100 + changes % 7));
            let other = rig.layer.clone().fill(FILLS[(changes % 4) as usize]).abandon(Abandon::Stop);
            other.apply_to(&cache).unwrap();
            if viewers.iter().all(tokio::task::JoinHandle::is_finished) {
                break;
            }
            tokio::task::yield_now().await;
        }
        for viewer in join_all(viewers).await {
            viewer.unwrap();
        }
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn the_settings_of_a_layer_come_to_its_running_cache() {
    let rig = Rig::new().script(PATH, tagged(PATH)).script("/b.mp4", tagged("/b.mp4"));
    let cache = rig.layer.handle();
    rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    let changed = rig
        .layer
        .clone()
        .fill(Fill::sliced().read_ahead(1))
        .bypass(|request| request.uri.path() == "/b.mp4")
        .cache_status(CacheStatus::default().with_key())
        .timeouts(Timeouts::default().follower(Duration::ZERO))
        .retry(Retry::default().attempts(0))
        .abandon(Abandon::Finish)
        .expiry(|_| None)
        .groups(|_, _| vec!["all".to_owned()])
        .policy(lasting(60));
    changed.apply_to(&cache).unwrap();
    assert!(rig.get(PATH).send().await.is_hit().cache_status().contains("key="));
    assert_eq!(lifetime(&rig).await, 60);
    let bypassed = rig.get("/b.mp4").send().await;
    assert!(bypassed.cache_status().contains("fwd=bypass"), "{}", bypassed.cache_status());
    // And back again.
    rig.layer.apply_to(&cache).unwrap();
    assert!(!rig.get("/b.mp4").send().await.cache_status().contains("key="));
    rig.get("/b.mp4").send().await.is_hit();
    assert_eq!(cache.stats().requests.iter().map(|(_, count)| count).sum::<u64>(), 5, "the counters go on");
}

struct Deaf;

impl Observer for Deaf {
    fn observe(&self, _: &Event<'_>) {}
}

#[tokio::test]
async fn a_setting_that_cannot_change_is_named_and_nothing_changes() {
    let rig = Rig::new().script(PATH, tagged(PATH));
    let cache = rig.layer.handle();
    rig.get(PATH).send().await.whole(&movie(PATH, LENGTH));
    let base = || rig.layer.clone().policy(lasting(10));
    let one = NonZeroUsize::MIN;
    for (other, named) in [
        (VideoCacheLayer::new(Arc::clone(&rig.store)).policy(lasting(10)), "its store"),
        (base().key(TargetUri::new().into_fn()), "its key function"),
        (base().chunk_size(ChunkSize::new(2 * CHUNK).unwrap()), "its chunk size"),
        (base().cache_status(CacheStatus::named("b").unwrap()), "its name"),
        (base().clock(SystemClock), "its clock"),
        (base().limits(Limits::default().max_fills(one)), "its limits"),
        (base().limits(Limits::default().max_reserved(1)), "its limits"),
        (base().observer(Deaf), "its observers"),
        (base().purge_log(Arc::clone(&rig.store)), "its log of purges"),
        (base().purge_age(seconds(9)), "its age of purges"),
        (base().timeouts(Timeouts::default().store(seconds(9))), "its timeout of the store"),
    ] {
        let refused = other.apply_to(&cache).unwrap_err();
        assert!(refused.is_config() && refused.to_string().contains(named), "{named}: {refused}");
        assert_eq!(lifetime(&rig).await, 300, "{named}");
    }
    base().apply_to(&cache).unwrap();
    assert_eq!(lifetime(&rig).await, 10);
}

#[tokio::test]
async fn the_observers_and_the_log_that_a_layer_has_need_not_change() {
    let rig = Rig::new();
    let log = Arc::clone(&rig.store);
    let rig = rig.layer(|layer| layer.observer(Deaf).purge_log(log)).script(PATH, tagged(PATH));
    rig.layer.clone().policy(lasting(10)).apply_to(&rig.layer.handle()).unwrap();
    rig.get(PATH).send().await;
    assert_eq!(lifetime(&rig).await, 10);
}

#[tokio::test]
async fn a_purge_holds_whatever_settings_come_after_it() {
    for mark in [Mark::Stale, Mark::Invalid, Mark::Gone] {
        let rig = Rig::new().script(PATH, tagged(PATH)).script("/b.mp4", tagged("/b.mp4"));
        let cache = rig.layer.handle();
        // A purger that was there before the change, and one from after it.
        let purger = cache.purger();
        for path in [PATH, "/b.mp4"] {
            rig.get(path).send().await;
        }
        purger.all(mark).await.unwrap();
        cache.reconfigure(lasting(3600));
        assert!(!rig.get(PATH).send().await.cache_status().contains("; hit"), "{mark:?}");
        rig.get(PATH).send().await.is_hit();
        cache.purger().uri(&PATH.parse().unwrap(), mark).await.unwrap();
        assert!(!rig.get(PATH).send().await.cache_status().contains("; hit"), "{mark:?}");
        purger.all(mark).await.unwrap();
        assert!(!rig.get("/b.mp4").send().await.cache_status().contains("; hit"), "{mark:?}");
    }
}

#[tokio::test]
async fn an_unsafe_request_takes_out_what_a_fill_of_the_old_settings_brings() {
    for fill in FILLS {
        let gate = Gate::shut();
        let rig = Rig::new().fill(fill).script(PATH, held("within the body", &gate));
        let first = rig.get(PATH).start();
        settle().await;
        rig.layer.handle().reconfigure(lasting(30));
        rig.inner.answer(PATH, tagged(PATH));
        rig.ask(http::Method::POST, PATH).send().await;
        gate.open();
        first.await.unwrap().whole(&movie(PATH, LENGTH));
        assert!(!rig.get(PATH).send().await.cache_status().contains("; hit"), "{fill:?}");
    }
}

#[tokio::test]
async fn a_request_that_comes_back_to_its_own_cache_bypasses_it_under_new_settings_too() {
    let rig = Rig::new().script(PATH, tagged(PATH));
    // The cache stands twice on the way: its own inner calls must not wait for themselves.
    let twice = rig.layer.layer(rig.service());
    rig.layer.handle().reconfigure(lasting(30));
    let request = Request::get(PATH).body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
    // Real time runs here: if the request waited for itself, it would for half a minute.
    let response = poll_until_done(twice.oneshot(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

/// The ranges that the inner service was asked for, by the mode that a rule set.
async fn asked_by_a_part(rig: &Rig, uri: &str, path: &str) -> Vec<String> {
    let answer: Answer = rig.get(uri).range("bytes=2000-2099").send().await;
    answer.partial(&movie(path, LENGTH), 2000..2100);
    rig.inner.ranges(path)
}

#[tokio::test]
async fn a_rule_sets_the_fill_of_the_requests_that_it_fits() {
    let rules = [
        Rule::path("/whole/*").fill(Fill::whole()),
        Rule::path("/sliced/*").host("*.example").fill(Fill::sliced()),
        Rule::path("/sliced/**").default_ttl(seconds(7)),
        Rule::any().fill(Fill::progressive()),
    ];
    let policy = rules.into_iter().try_fold(Policy::default(), Policy::rule).unwrap();
    let rig = Rig::new().fill(Fill::auto()).layer(|layer| layer.policy(policy));
    let paths = ["/whole/a.mp4", "/sliced/a.mp4", "/other/a.mp4", "/sliced/b.mp4"];
    let rig = paths.into_iter().fold(rig, |rig, path| rig.script(path, tagged(path)));
    assert_eq!(asked_by_a_part(&rig, "http://a.example/whole/a.mp4", "/whole/a.mp4").await, [""]);
    let parts = asked_by_a_part(&rig, "http://a.example/sliced/a.mp4", "/sliced/a.mp4").await;
    assert!(parts[0].starts_with("bytes=2000-"), "{parts:?}");
    assert_eq!(asked_by_a_part(&rig, "http://a.example/other/a.mp4", "/other/a.mp4").await, [""]);
    assert_eq!(asked_by_a_part(&rig, "http://b.test/sliced/b.mp4", "/sliced/b.mp4").await, [""]);
    // A rule that sets nothing but the fill leaves the lifetime to the rules after it.
    let request = Request::get("http://a.example/sliced/a.mp4").body(()).unwrap().into_parts().0;
    assert_eq!(rig.layer.handle().explain(&request).await.stored.unwrap().lifetime.as_secs(), 7);
}

#[tokio::test]
async fn a_fill_that_a_rule_sets_comes_and_goes_with_the_policy() {
    let rig = Rig::new().fill(Fill::whole());
    let rig =
        ["/a.mp4", "/b.mp4", "/c.mp4"].into_iter().fold(rig, |rig, path| rig.script(path, tagged(path)));
    let cache = rig.layer.handle();
    assert_eq!(asked_by_a_part(&rig, "/a.mp4", "/a.mp4").await, [""]);
    cache.reconfigure(Policy::default().rule(Rule::any().fill(Fill::sliced())).unwrap());
    assert!(asked_by_a_part(&rig, "/b.mp4", "/b.mp4").await[0].starts_with("bytes=2000-"));
    cache.reconfigure(Policy::default());
    assert_eq!(asked_by_a_part(&rig, "/c.mp4", "/c.mp4").await, [""]);
}

#[test]
fn a_rule_that_sets_the_fill_asks_for_nothing_that_is_not_known_yet() {
    let rule = || Rule::path("/a").fill(Fill::whole());
    assert!(Policy::default().rule(rule().host("example.com").ttl(seconds(1))).is_ok());
    let name = http::header::ETAG;
    for other in [rule().status(200), rule().media_type("video/*"), rule().field(name, "x"), rule().never()] {
        assert!(Policy::default().rule(other.clone()).unwrap_err().is_config(), "{other:?}");
    }
}

#[tokio::test]
async fn a_client_that_gets_whole_responses_reads_no_body_that_may_break() {
    for fill in [Fill::progressive(), Fill::auto(), Fill::sliced()] {
        for range in [None, Some("bytes=0-"), Some("bytes=100-3999")] {
            for has_length in [true, false] {
                let gate = Gate::shut();
                // One key for both paths, and a rule for one of them.
                let policy = Policy::default().rule(Rule::path("/whole/*").fill(Fill::whole())).unwrap();
                let rig = Rig::new().fill(fill).layer(|layer| {
                    layer.policy(policy).key(|_| CacheKey::new("a")).retry(Retry::default().attempts(0))
                });
                let tagged = Script::movie(PATH, LENGTH).header("etag", "\"v1\"");
                let script =
                    if has_length { tagged.clone() } else { tagged.clone().without("content-length") };
                let held = script.step(Script::frame_after(2), Step::Wait(gate.clone()));
                rig.inner.answer(PATH, held.dies_at(3000));
                rig.inner.answer("/whole/a.mp4", tagged);
                let first = rig.get(PATH).start();
                gate.reached_by(1).await;
                let ask = rig.get("/whole/a.mp4");
                let second = range.into_iter().fold(ask, Ask::range).start();
                settle().await;
                gate.open();
                drop(first.await);
                let answer = second.await.unwrap();
                let told = format!("{fill:?} {range:?} {has_length}: {}", answer.cache_status());
                assert!(answer.error.is_none(), "{told}");
                match range {
                    None => answer.whole(&movie(PATH, LENGTH)),
                    Some("bytes=0-") => answer.partial(&movie(PATH, LENGTH), 0..LENGTH),
                    Some(_) => answer.partial(&movie(PATH, LENGTH), 100..4000),
                };
            }
        }
    }
}

/// Asks its cache when it is dropped.
struct Last(CacheHandle, mpsc::Sender<()>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.stats();
        self.1.send(()).unwrap();
    }
}

#[test]
fn a_function_that_a_change_drops_may_ask_the_cache() {
    let rig = Rig::new();
    let cache = rig.layer.handle();
    let (sender, dropped) = mpsc::channel();
    let last = Last(cache.clone(), sender);
    let changed = rig.layer.clone().bypass(move |_| {
        let _ = &last;
        false
    });
    changed.apply_to(&cache).unwrap();
    drop(changed);
    std::thread::spawn(move || rig.layer.apply_to(&cache).unwrap());
    dropped.recv_timeout(seconds(5)).unwrap();
}
