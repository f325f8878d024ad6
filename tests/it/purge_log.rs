//! An operator purges many videos at once: by prefix, by group, by origin, and all.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Uri};
use tokio::task::JoinHandle;
use tower::Layer;
use tower_video_cache::{
    CacheKey, Error, Fault, Fill, GroupField, Invalidate, ManualClock, Mark, MokaStore, Operation, Policy,
    Purged, Store, TargetUri, Tiered, VideoCacheLayer,
};

use crate::rig::{Answer, Ask, Gate, Nodes, PATH, Rig, Script, Step, movie, noon, seconds, settle};

const MARKS: [Mark; 3] = [Mark::Stale, Mark::Invalid, Mark::Gone];

const LENGTH: usize = 4500;

const ORIGIN: &str = "http://a.example";

/// The selector of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Uri,
    UriPrefix,
    Prefix,
    Group,
    Origin,
    All,
}

const BY_THE_LOG: [By; 5] = [By::UriPrefix, By::Prefix, By::Group, By::Origin, By::All];

impl By {
    async fn purge(self, layer: &VideoCacheLayer, mark: Mark) -> Result<Purged, Error> {
        let (purger, origin) = (layer.handle().purger(), ORIGIN.parse().unwrap());
        match self {
            Self::Uri => purger.uri(&format!("{ORIGIN}{PATH}").parse().unwrap(), mark).await,
            Self::UriPrefix => purger.uri_prefix(&format!("{ORIGIN}/a").parse().unwrap(), mark).await,
            Self::Prefix => purger.prefix(key(layer).await.as_bytes(), mark).await,
            Self::Group => purger.groups(&origin, ["others", "news"], mark).await,
            Self::Origin => purger.origin(&origin, mark).await,
            Self::All => purger.all(mark).await,
        }
    }
}

/// The key of the video without its last letter.
async fn key(layer: &VideoCacheLayer) -> String {
    let request = http::Request::get(PATH).header("host", "a.example").body(()).unwrap().into_parts().0;
    let mut key = layer.handle().explain(&request).await.key.replace("\\n", "\n");
    key.pop();
    key
}

fn bytes(version: &str) -> Bytes {
    movie(version, LENGTH)
}

fn version(version: &str) -> Script {
    Script::version(version, LENGTH).header("cache-groups", "\"videos\", \"news\";x=1")
}

/// Nodes, and the inner service behind them.
struct Scene {
    rig: Rig,
    nodes: Vec<VideoCacheLayer>,
}

impl Scene {
    fn ask(&self, node: usize, path: &str) -> Ask {
        let service = self.nodes[node].layer(self.rig.inner.clone());
        Rig::ask_of(service, Method::GET, path).header("host", "a.example")
    }

    async fn get(&self, node: usize) -> Answer {
        self.ask(node, PATH).send().await
    }

    /// The conditions of the last call of the inner service.
    fn last_call_has_conditions(&self) -> bool {
        self.rig.inner.calls().last().unwrap().headers.contains_key("if-none-match")
    }
}

/// What the nodes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// There is one node.
    Nothing,
    Store,
    /// Each node has a nearer store of its own.
    FarStore,
    /// Each node has a store of its own.
    Log,
}

const SHARINGS: [Sharing; 4] = [Sharing::Nothing, Sharing::Store, Sharing::FarStore, Sharing::Log];

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} nodes", self.nodes.len())
    }
}

/// Nodes that read the log before each request.
fn scene(sharing: Sharing, fill: Fill) -> Scene {
    scene_with(sharing, |layer| layer.fill(fill).purge_age(Duration::ZERO))
}

fn scene_with(sharing: Sharing, change: impl Fn(VideoCacheLayer) -> VideoCacheLayer) -> Scene {
    let rig = Rig::new().script(PATH, version("v1"));
    let memory = || MokaStore::new(64 << 20).unwrap();
    let like_the_rig = |layer: VideoCacheLayer| {
        layer
            .chunk_size(tower_video_cache::ChunkSize::new(1000).unwrap())
            .patience(Duration::MAX)
            .clock(rig.clock.clone())
    };
    let node = || match sharing {
        Sharing::Nothing | Sharing::Store => like_the_rig(VideoCacheLayer::new(Arc::clone(&rig.store))),
        Sharing::FarStore => {
            let tiered = Tiered::new(memory(), Arc::clone(&rig.store)).record_age(Duration::ZERO);
            like_the_rig(VideoCacheLayer::new(tiered))
        }
        Sharing::Log => like_the_rig(VideoCacheLayer::new(memory())).purge_log(Arc::clone(&rig.store)),
    };
    let count = if sharing == Sharing::Nothing { 1 } else { 2 };
    let nodes = (0..count).map(|_| change(node())).collect();
    Scene { rig, nodes }
}

/// A node with the video in its store, and nothing read before its purges but by itself.
async fn stored() -> Scene {
    let scene = scene(Sharing::Nothing, Fill::whole());
    scene.get(0).await.whole(&bytes("v1"));
    scene.get(0).await.is_hit();
    scene
}

#[tokio::test]
async fn a_video_that_a_purge_names_is_validated_or_fetched_anew_on_every_node() {
    for sharing in SHARINGS {
        for by in BY_THE_LOG {
            for mark in MARKS {
                let why = format!("{sharing:?} {by:?} {mark:?}");
                let scene = scene(sharing, Fill::whole());
                let last = scene.nodes.len() - 1;
                for node in [0, last] {
                    scene.get(node).await.whole(&bytes("v1"));
                    scene.get(node).await.is_hit();
                }
                let purged = by.purge(&scene.nodes[0], mark).await.unwrap();
                assert_eq!((purged.found, purged.effective_within), (None, Duration::ZERO), "{why}");
                for (nth, node) in [last, 0].into_iter().enumerate() {
                    let calls = scene.rig.inner.calls().len();
                    let answer = scene.ask(node, PATH).range("bytes=0-99").send().await;
                    answer.partial(&bytes("v1"), 0..100);
                    let is_first = nth == 0 || sharing == Sharing::Log;
                    assert_eq!(scene.rig.inner.calls().len(), calls + usize::from(is_first), "{why}");
                    assert_eq!(scene.last_call_has_conditions(), mark != Mark::Gone, "{why}");
                    // Once the inner service has said that it is good, it is fresh again.
                    scene.get(node).await.is_hit().whole(&bytes("v1"));
                }
            }
        }
    }
}

#[tokio::test]
async fn a_video_that_no_purge_names_stays_a_hit() {
    let scene = stored().await;
    let other = "/b.mp4";
    scene.rig.inner.answer(other, Script::movie(other, LENGTH).header("cache-control", "max-age=3600"));
    scene.ask(0, other).send().await.whole(&movie(other, LENGTH));
    let elsewhere = Rig::ask_of(scene.nodes[0].layer(scene.rig.inner.clone()), Method::GET, PATH);
    elsewhere.header("host", "b.example").send().await.whole(&bytes("v1"));
    for by in [By::Uri, By::UriPrefix, By::Prefix, By::Group] {
        by.purge(&scene.nodes[0], Mark::Gone).await.unwrap();
        scene.ask(0, other).send().await.is_hit();
    }
    By::Origin.purge(&scene.nodes[0], Mark::Gone).await.unwrap();
    let elsewhere = Rig::ask_of(scene.nodes[0].layer(scene.rig.inner.clone()), Method::GET, PATH);
    elsewhere.header("host", "b.example").send().await.is_hit();
    let other = scene.ask(0, other).send().await;
    assert!(other.cache_status().contains("fwd=uri-miss"), "{}", other.cache_status());
}

#[tokio::test]
async fn a_fill_under_way_on_any_node_gives_no_client_the_old_video_as_a_fresh_one_after_a_purge() {
    let before_the_header = None;
    let moments = [before_the_header, Some(0), Some(2), Some(Script::frame_after(4))];
    for sharing in SHARINGS {
        for fill in [Fill::whole(), Fill::progressive(), Fill::sliced(), Fill::auto()] {
            for by in [By::Uri, By::UriPrefix, By::Group, By::All] {
                for mark in MARKS {
                    for moment in moments {
                        let why = format!("{sharing:?} {fill:?} {by:?} {mark:?} {moment:?}");
                        let gate = Gate::shut();
                        let held = match moment {
                            None => version("v1").held_by(&gate),
                            Some(frame) => version("v1").step(frame, Step::Wait(gate.clone())),
                        };
                        let scene = scene(sharing, fill);
                        scene.rig.inner.answer(PATH, held);
                        let last = scene.nodes.len() - 1;
                        let early = scene.ask(last, PATH).start();
                        gate.reached_by(1).await;
                        scene.rig.inner.answer(PATH, version("v2"));
                        by.purge(&scene.nodes[0], mark).await.unwrap();
                        // It joins no fill that was begun before the purge. The fill of another node ends first if the
                        // purge is of the key in a store that both have.
                        let late = if by == By::Uri && sharing != Sharing::Log { [0, 0] } else { [0, last] };
                        // Before the header nobody knows the groups, so these requests wait for it.
                        let waits = by == By::Group && moment.is_none();
                        for node in late {
                            let answer = scene.ask(node, PATH).start();
                            if waits {
                                settle().await;
                                gate.open();
                            }
                            let answer = answer.await.unwrap();
                            assert!(answer.bytes == bytes("v2"), "{why}: {}", answer.cache_status());
                        }
                        gate.open();
                        let early = early.await.unwrap();
                        let is_whole = early.bytes == bytes("v1") || early.bytes == bytes("v2");
                        assert!(is_whole || early.error.is_some(), "{why}: {}", early.cache_status());
                        settle().await;
                        for node in [last, 0] {
                            let answer = scene.get(node).await;
                            assert!(answer.bytes == bytes("v2"), "{why}: {}", answer.cache_status());
                        }
                    }
                }
            }
        }
    }
}

/// The inner service is about to tell of the old version of a stale video, and tells later requests of a new one.
async fn asked_about_the_old(scene: &Scene, method: Method) -> (JoinHandle<Answer>, Gate) {
    scene.rig.clock.advance(seconds(3601));
    let gate = Gate::shut();
    scene.rig.inner.answer(PATH, version("v1").held_by(&gate));
    let service = scene.nodes[0].layer(scene.rig.inner.clone());
    let early = Rig::ask_of(service, method, PATH).header("host", "a.example").start();
    gate.reached_by(1).await;
    scene.rig.inner.answer(PATH, version("v2"));
    (early, gate)
}

#[tokio::test]
async fn a_validation_under_way_makes_no_video_fresh_that_a_purge_names() {
    for by in BY_THE_LOG {
        for mark in MARKS {
            let scene = stored().await;
            let (early, gate) = asked_about_the_old(&scene, Method::GET).await;
            by.purge(&scene.nodes[0], mark).await.unwrap();
            gate.open();
            let early = early.await.unwrap();
            assert!(early.bytes == bytes("v1") || early.bytes == bytes("v2"), "{by:?} {mark:?}");
            scene.get(0).await.whole(&bytes("v2"));
        }
    }
}

/// The bytes of the video are wrong, and the inner service has mended them under the same tag.
fn mended() -> Script {
    Script::of(&bytes("v2")).header("etag", "\"v1\"").honours_conditions().honours_ranges()
}

#[tokio::test]
async fn a_304_brings_no_video_back_that_is_gone() {
    for by in BY_THE_LOG {
        let scene = stored().await;
        scene.rig.inner.answer(PATH, mended());
        // The inner service says that the video is good, so nothing else helps.
        by.purge(&scene.nodes[0], Mark::Invalid).await.unwrap();
        scene.get(0).await.whole(&bytes("v1"));
        by.purge(&scene.nodes[0], Mark::Gone).await.unwrap();
        scene.get(0).await.whole(&bytes("v2"));
        assert!(!scene.last_call_has_conditions());

        // The purge comes while the inner service is asked about the video.
        let scene = stored().await;
        scene.rig.clock.advance(seconds(3601));
        let gate = Gate::shut();
        scene.rig.inner.answer(PATH, mended().held_by(&gate));
        let early = scene.ask(0, PATH).start();
        gate.reached_by(1).await;
        by.purge(&scene.nodes[0], Mark::Gone).await.unwrap();
        gate.open();
        let early = early.await.unwrap();
        assert_eq!(early.bytes, bytes("v2"), "{by:?}: {}", early.cache_status());
        scene.get(0).await.whole(&bytes("v2"));
    }
}

#[tokio::test]
async fn a_304_brings_no_variant_back_that_is_gone() {
    let scene = stored().await;
    let vary = |name: &str| version(name).header("vary", "accept-language");
    scene.rig.inner.answer(PATH, vary("v1"));
    By::All.purge(&scene.nodes[0], Mark::Gone).await.unwrap();
    let ask = |language: &str| scene.ask(0, PATH).header("accept-language", language);
    ask("de").send().await.whole(&bytes("v1"));
    By::Group.purge(&scene.nodes[0], Mark::Gone).await.unwrap();
    let mended = Script::of(&bytes("v2")).header("etag", "\"v1\"").header("vary", "accept-language");
    scene.rig.inner.answer(PATH, mended.honours_conditions());
    for language in ["en", "de", "en"] {
        ask(language).send().await.whole(&bytes("v2"));
    }
}

#[tokio::test]
async fn only_a_stale_mark_lets_a_video_be_used_stale_that_a_purge_names() {
    let policy = || Policy::default().stale_while_revalidate(seconds(60)).stale_if_error(seconds(600));
    for by in BY_THE_LOG {
        for mark in MARKS {
            let scene = scene_with(Sharing::Nothing, |layer| layer.policy(policy()));
            scene.get(0).await.whole(&bytes("v1"));
            scene.rig.clock.advance(seconds(1800));
            by.purge(&scene.nodes[0], mark).await.unwrap();
            scene.rig.inner.answer(PATH, Script::absent().status(503));
            scene.rig.clock.advance(seconds(30));
            let answer = scene.get(0).await;
            if mark == Mark::Stale {
                answer.whole(&bytes("v1"));
                settle().await;
                scene.rig.clock.advance(seconds(60));
                let stands_in = scene.get(0).await;
                stands_in.whole(&bytes("v1"));
                assert!(stands_in.cache_status().contains("detail=stale-if-error"));
                scene.rig.clock.advance(seconds(600));
            } else {
                assert_eq!(answer.status, 503, "{by:?} {mark:?}");
            }
            assert_eq!(scene.get(0).await.status, 503, "{by:?} {mark:?}");
        }
    }
}

#[tokio::test]
async fn clocks_that_are_an_hour_apart_change_nothing() {
    for offset in [-3600_i64, 3600] {
        for by in BY_THE_LOG {
            for mark in MARKS {
                let scene = scene(Sharing::Store, Fill::whole());
                let clock = ManualClock::starting_at(noon() + Duration::from_secs(offset.unsigned_abs()));
                if offset < 0 {
                    clock.set(noon() - Duration::from_secs(offset.unsigned_abs()));
                }
                scene.get(1).await.whole(&bytes("v1"));
                scene.rig.inner.answer(PATH, version("v2"));
                by.purge(&scene.nodes[0].clone().clock(clock), mark).await.unwrap();
                let answer = scene.get(1).await;
                assert!(answer.bytes == bytes("v2"), "{offset} {by:?} {mark:?}: {}", answer.cache_status());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_hears_of_a_purge_within_the_set_time() {
    let age = seconds(4);
    let scene = scene_with(Sharing::Store, |layer| layer.purge_age(age));
    for node in [0, 1] {
        scene.get(node).await.whole(&bytes("v1"));
    }
    scene.rig.inner.answer(PATH, version("v2"));
    let purged = By::Group.purge(&scene.nodes[0], Mark::Invalid).await.unwrap();
    assert_eq!(purged.effective_within, age);
    scene.get(1).await.is_hit().whole(&bytes("v1"));
    scene.get(0).await.whole(&bytes("v2"));
    // After half of the time a request has the log read beside it, and the next one knows the purge.
    tokio::time::advance(age / 2).await;
    scene.get(1).await;
    settle().await;
    scene.get(1).await.is_hit().whole(&bytes("v2"));

    // A node that had nothing to do waits for the log.
    let purged = By::Group.purge(&scene.nodes[0], Mark::Gone).await;
    assert!(purged.is_ok());
    scene.rig.inner.answer(PATH, version("v3"));
    tokio::time::advance(age).await;
    scene.get(1).await.whole(&bytes("v3"));
}

#[tokio::test(start_paused = true)]
async fn a_node_of_another_store_hears_of_a_purge_of_a_key_by_the_log() {
    for by in [By::Uri, By::Group] {
        for mark in MARKS {
            let scene = scene_with(Sharing::Log, |layer| layer.purge_age(seconds(2)));
            for node in [0, 1] {
                scene.get(node).await.whole(&bytes("v1"));
            }
            scene.rig.inner.answer(PATH, version("v2"));
            let purged = by.purge(&scene.nodes[0], mark).await.unwrap();
            assert_eq!(purged.effective_within, seconds(2), "{by:?} {mark:?}");
            tokio::time::advance(purged.effective_within).await;
            for node in [1, 0] {
                scene.get(node).await.whole(&bytes("v2"));
            }
        }
    }
}

/// The clock by which the age of stored responses is told, against the time that passes.
#[derive(Clone, Copy, Debug)]
enum Date {
    Stands,
    GoesAlong,
    JumpsBack,
    JumpsForth,
}

#[tokio::test(start_paused = true)]
async fn the_first_request_after_an_idle_time_knows_a_purge_whatever_the_date_says() {
    let age = seconds(2);
    for idle in [age, seconds(3600)] {
        for date in [Date::Stands, Date::GoesAlong, Date::JumpsBack, Date::JumpsForth] {
            let policy = || Policy::default().default_ttl(seconds(1 << 20));
            let scene = scene_with(Sharing::Store, |layer| layer.purge_age(age).policy(policy()));
            scene.get(1).await.whole(&bytes("v1"));
            scene.get(1).await.is_hit();
            scene.rig.inner.answer(PATH, version("v2"));
            By::Group.purge(&scene.nodes[0], Mark::Invalid).await.unwrap();
            tokio::time::advance(idle).await;
            let clock = &scene.rig.clock;
            match date {
                Date::Stands => {}
                Date::GoesAlong => clock.advance(idle),
                Date::JumpsBack => clock.set(noon() - seconds(86_400)),
                Date::JumpsForth => clock.advance(seconds(86_400)),
            }
            let answer = scene.get(1).await;
            assert!(answer.bytes == bytes("v2"), "{idle:?} {date:?}: {}", answer.cache_status());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_is_read_beside_the_record_and_adds_no_round_trip() {
    let (age, trip) = (seconds(2), Duration::from_millis(100));
    let scene = scene_with(Sharing::Store, |layer| layer.purge_age(age));
    scene.get(1).await.whole(&bytes("v1"));
    let slow = |operation| scene.rig.store.spoil_from(operation, 1, Fault::Slow(trip));
    slow(Operation::Get);
    let took = async || {
        let (began, reads) = (tokio::time::Instant::now(), scene.rig.store.calls(Operation::GetLog));
        scene.ask(1, PATH).range("bytes=0-99").send().await.is_hit();
        (began.elapsed(), scene.rig.store.calls(Operation::GetLog) > reads)
    };
    let (without, is_read) = took().await;
    assert!(!is_read);
    slow(Operation::GetLog);
    // After an idle time the request waits for both at once, and under traffic for the record alone.
    for idle in [seconds(3600), age / 2] {
        tokio::time::advance(idle).await;
        assert_eq!(took().await, (without, true), "{idle:?}");
        tokio::time::advance(trip * 3).await;
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_long_in_coming_is_judged_by_no_older_log_than_any_other() {
    for (answer, nth) in [("plain", 1), ("a variant", 1), ("a variant", 2)] {
        let scene = scene_with(Sharing::Store, |layer| layer.purge_age(seconds(1)));
        let vary = |name: &str| match answer {
            "plain" => version(name),
            _ => version(name).header("vary", "accept-language"),
        };
        scene.rig.inner.answer(PATH, vary("v1"));
        scene.get(1).await.whole(&bytes("v1"));
        scene.rig.inner.answer(PATH, vary("v2"));
        // The store's answer takes longer than the knowledge of the log may be old.
        let gets = scene.rig.store.calls(Operation::Get);
        scene.rig.store.spoil(Operation::Get, gets + nth, Fault::Slow(Duration::from_millis(1500)));
        let waiting = scene.ask(1, PATH).start();
        settle().await;
        By::Group.purge(&scene.nodes[0], Mark::Invalid).await.unwrap();
        let waiting = waiting.await.unwrap();
        assert!(waiting.bytes == bytes("v2"), "{answer} {nth}: {}", waiting.cache_status());
    }
}

#[tokio::test(start_paused = true)]
async fn a_variant_that_was_read_before_a_slow_one_is_judged_after_it() {
    let policy = || Policy::default().default_ttl(seconds(1 << 20));
    let scene = scene_with(Sharing::Store, |layer| layer.purge_age(seconds(1)).policy(policy()));
    // Two sets of fields select variants. The latest one is read first.
    for fields in ["accept", "accept-language"] {
        scene.rig.inner.answer(PATH, version("v1").header("vary", fields));
        scene.ask(1, PATH).header(fields, "x").send().await.whole(&bytes("v1"));
    }
    scene.ask(1, PATH).header("accept-language", "x").send().await.is_hit();
    scene.rig.inner.answer(PATH, version("v2").header("vary", "accept-language"));
    // The record of the key, the first variant, and then the slow one.
    let gets = scene.rig.store.calls(Operation::Get);
    scene.rig.store.spoil(Operation::Get, gets + 3, Fault::Slow(Duration::from_millis(1500)));
    let waiting = scene.ask(1, PATH).header("accept-language", "x").start();
    settle().await;
    By::Group.purge(&scene.nodes[0], Mark::Invalid).await.unwrap();
    let waiting = waiting.await.unwrap();
    assert!(waiting.bytes == bytes("v2"), "{}", waiting.cache_status());
}

#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_holds_a_request_up_once_though_its_records_are_slow() {
    let policy = || Policy::default().default_ttl(seconds(1 << 20));
    let scene = scene_with(Sharing::Store, |layer| layer.purge_age(seconds(1)).policy(policy()));
    scene.rig.inner.answer(PATH, version("v1").header("vary", "accept-language"));
    scene.get(0).await.whole(&bytes("v1"));
    scene.get(0).await.is_hit();
    tokio::time::advance(seconds(3600)).await;
    scene.rig.store.spoil_from(Operation::GetLog, 1, Fault::Hang);
    scene.rig.store.spoil_from(Operation::Get, 1, Fault::Slow(Duration::from_millis(100)));
    let began = tokio::time::Instant::now();
    scene.ask(0, PATH).range("bytes=0-99").send().await.is_hit();
    // Half a second for the log, and three records after each other at most.
    assert!(began.elapsed() <= Duration::from_millis(800), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn requests_that_come_at_once_share_a_reading_of_the_log() {
    let scene = stored().await;
    let calls = scene.rig.store.calls(Operation::GetLog);
    scene.rig.store.spoil_from(Operation::GetLog, 1, Fault::Slow(Duration::from_millis(100)));
    let began = tokio::time::Instant::now();
    let asked: Vec<_> = (0..100).map(|_| scene.ask(0, PATH).start()).collect();
    for asked in asked {
        asked.await.unwrap().whole(&bytes("v1"));
    }
    let calls = scene.rig.store.calls(Operation::GetLog) - calls;
    assert!(calls <= 8 && began.elapsed() <= Duration::from_millis(400), "{calls} {:?}", began.elapsed());
}

/// The random number of the log.
async fn log_of(scene: &Scene) -> u64 {
    let id = scene.rig.store.inner().get("p/id").await.unwrap().unwrap();
    u64::from_be_bytes(id[6..14].try_into().unwrap())
}

/// Takes a part of the log out of the store, as an eviction does. There are two purges in it.
async fn lose(scene: &Scene, part: &str) {
    let (store, log) = (scene.rig.store.inner(), log_of(scene).await);
    let log = |key: &str| format!("p/{log:016x}/{key}");
    let lost = match part {
        "id" => vec!["p/id".to_owned()],
        "all" => vec!["p/id".to_owned(), log("head"), log("1"), log("2")],
        "purges" => vec![log("1"), log("2")],
        part => vec![log(part)],
    };
    for key in &lost {
        assert!(store.get(key).await.unwrap().is_some(), "{key}");
        store.remove(key).await.unwrap();
    }
}

#[tokio::test]
async fn a_log_that_was_lost_is_noticed_and_never_assumed_away() {
    for part in ["id", "head", "1", "2", "purges", "all"] {
        for begins_anew in [false, true] {
            let why = format!("{part}, a node that begins anew: {begins_anew}");
            let scene = scene(Sharing::Store, Fill::whole());
            scene.get(0).await.whole(&bytes("v1"));
            // The second one is of no video that is stored.
            By::Group.purge(&scene.nodes[1], Mark::Invalid).await.unwrap();
            let elsewhere: Uri = "http://b.example".parse().unwrap();
            scene.nodes[1].handle().purger().origin(&elsewhere, Mark::Gone).await.unwrap();
            lose(&scene, part).await;
            scene.rig.inner.answer(PATH, version("v2"));
            let node = if begins_anew {
                // A setter makes a cache of its own on the store.
                scene.nodes[0].clone().purge_age(Duration::ZERO)
            } else {
                scene.nodes[0].clone()
            };
            let ask = || Rig::ask_of(node.layer(scene.rig.inner.clone()), Method::GET, PATH);
            let answer = ask().header("host", "a.example").send().await;
            assert!(answer.bytes == bytes("v2"), "{why}: {}", answer.cache_status());
            // Purges go on.
            scene.rig.inner.answer(PATH, version("v3"));
            By::Group.purge(&scene.nodes[1], Mark::Invalid).await.unwrap();
            ask().header("host", "a.example").send().await.whole(&bytes("v3"));
            scene.get(1).await.is_hit().whole(&bytes("v3"));
        }
    }
}

#[tokio::test]
async fn what_is_left_of_a_lost_log_is_taken_out_of_the_store() {
    let scene = scene(Sharing::Store, Fill::whole());
    scene.get(0).await.whole(&bytes("v1"));
    let store = scene.rig.store.inner();
    By::Group.purge(&scene.nodes[0], Mark::Invalid).await.unwrap();
    let log = log_of(&scene).await;
    let left = [format!("p/{log:016x}/head"), format!("p/{log:016x}/1")];
    for key in &left {
        assert!(store.get(key).await.unwrap().is_some(), "{key}");
    }
    lose(&scene, "id").await;
    scene.get(0).await.whole(&bytes("v1"));
    settle().await;
    for key in &left {
        assert!(store.get(key).await.unwrap().is_none(), "{key}");
    }
    assert_ne!(log_of(&scene).await, log);
}

/// A purge was taken out of the log, while a node that had read the end of the log was about to read the purge.
#[tokio::test(start_paused = true)]
async fn a_purge_that_is_taken_out_while_a_node_reads_keeps_its_mark() {
    let scene = scene(Sharing::Store, Fill::whole());
    scene.get(0).await.whole(&bytes("v1"));
    By::Group.purge(&scene.nodes[1], Mark::Gone).await.unwrap();
    // The log is full, and all of it is there.
    for _ in 0..1023 {
        purge_another_origin(&scene.nodes[1]).await;
    }
    scene.rig.inner.answer(PATH, mended());
    // The random number, the end, the purge after the one that is known, and then the purges one after the other.
    let calls = scene.rig.store.calls(Operation::GetLog);
    scene.rig.store.spoil(Operation::GetLog, calls + 4, Fault::Slow(Duration::from_millis(100)));
    let late = scene.ask(0, PATH).start();
    settle().await;
    assert!(scene.rig.store.calls(Operation::GetLog) > calls + 4, "the node reads");
    for _ in 0..5 {
        purge_another_origin(&scene.nodes[1]).await;
    }
    late.await.unwrap().whole(&bytes("v2"));
    assert!(!scene.last_call_has_conditions());
}

#[tokio::test(start_paused = true)]
async fn a_key_is_purged_on_its_node_while_the_log_hangs() {
    let scene = scene_with(Sharing::Log, |layer| layer);
    scene.get(0).await.whole(&bytes("v1"));
    scene.rig.inner.answer(PATH, version("v2"));
    scene.rig.store.spoil_from(Operation::GetLog, 1, Fault::Hang);
    let layer = scene.nodes[0].clone();
    let purging = tokio::spawn(async move { By::Uri.purge(&layer, Mark::Gone).await });
    settle().await;
    assert!(!purging.is_finished());
    scene.get(0).await.whole(&bytes("v2"));
    assert!(purging.await.unwrap().unwrap_err().is_store());
}

#[tokio::test]
async fn a_damaged_part_of_the_log_is_as_a_lost_one_and_costs_one_validation() {
    for key in ["p/id", "head"] {
        let mut scene = scene(Sharing::Store, Fill::whole());
        scene.get(0).await.whole(&bytes("v1"));
        let (store, log) = (scene.rig.store.inner(), log_of(&scene).await);
        let key = if key == "head" { format!("p/{log:016x}/head") } else { key.to_owned() };
        store.put(&key, Bytes::from_static(b"half of a val")).await.unwrap();
        anew(&mut scene);
        scene.get(0).await.whole(&bytes("v1"));
        assert!(scene.last_call_has_conditions(), "{key}");
        anew(&mut scene);
        scene.get(0).await.is_hit().whole(&bytes("v1"));
    }
}

#[tokio::test]
async fn a_purge_whose_answer_is_lost_is_in_the_log_once() {
    let scene = stored().await;
    By::All.purge(&scene.nodes[0], Mark::Stale).await.unwrap();
    let puts = scene.rig.store.calls(Operation::PutNew);
    scene.rig.store.spoil(Operation::PutNew, puts + 1, Fault::ErrorAfter);
    scene.rig.inner.answer(PATH, version("v2"));
    By::Group.purge(&scene.nodes[0], Mark::Invalid).await.unwrap();
    assert_eq!(scene.rig.store.calls(Operation::PutNew), puts + 1);
    scene.get(0).await.whole(&bytes("v2"));
}

#[tokio::test]
async fn a_purge_that_is_not_in_the_log_for_certain_is_an_error() {
    for (operation, fault) in [
        (Operation::PutNew, Fault::Error),
        (Operation::PutNew, Fault::Panic),
        (Operation::PutLog, Fault::Error),
        (Operation::GetLog, Fault::Error),
    ] {
        let scene = stored().await;
        By::All.purge(&scene.nodes[0], Mark::Stale).await.unwrap();
        scene.get(0).await.whole(&bytes("v1"));
        let calls = scene.rig.store.calls(operation);
        scene.rig.store.spoil_from(operation, calls + 1, fault);
        let error = By::Group.purge(&scene.nodes[0], Mark::Gone).await.unwrap_err();
        assert!(error.is_store(), "{operation:?} {fault:?}: {error:?}");
        // The cache goes by the purges that it knows.
        scene.get(0).await.whole(&bytes("v1"));
        scene.rig.store.heal();
        scene.rig.inner.answer(PATH, version("v2"));
        By::Group.purge(&scene.nodes[0], Mark::Gone).await.unwrap();
        scene.get(0).await.whole(&bytes("v2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_holds_nobody_up_for_long() {
    let scene = stored().await;
    let calls = scene.rig.store.calls(Operation::GetLog);
    scene.rig.store.spoil_from(Operation::GetLog, 1, Fault::Hang);
    let began = tokio::time::Instant::now();
    scene.get(0).await.is_hit().whole(&bytes("v1"));
    assert!(began.elapsed() <= Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(scene.rig.store.calls(Operation::GetLog) > calls, "the log was asked");
}

#[tokio::test]
async fn a_store_without_a_log_says_so_and_loses_nothing() {
    /// A store that keeps values, and does no more.
    struct Plain(MokaStore);

    impl Store for Plain {
        async fn get(&self, key: &str) -> Result<Option<Bytes>, tower_video_cache::BoxError> {
            self.0.get(key).await
        }

        async fn put(&self, key: &str, value: Bytes) -> Result<(), tower_video_cache::BoxError> {
            self.0.put(key, value).await
        }

        async fn remove(&self, key: &str) -> Result<(), tower_video_cache::BoxError> {
            self.0.remove(key).await
        }
    }

    let rig = Rig::new().script(PATH, version("v1"));
    let layer = VideoCacheLayer::new(Plain(MokaStore::new(1 << 20).unwrap()));
    let get =
        || Rig::ask_of(layer.layer(rig.inner.clone()), Method::GET, PATH).header("host", "a.example").send();
    get().await.whole(&bytes("v1"));
    for by in BY_THE_LOG {
        let error = by.purge(&layer, Mark::Gone).await.unwrap_err();
        assert!(error.is_not_offered() && !error.is_store(), "{by:?}: {error:?}");
        get().await.is_hit();
    }
    By::Uri.purge(&layer, Mark::Gone).await.unwrap();
    get().await.whole(&bytes("v1"));
}

#[tokio::test]
async fn a_purge_that_names_nothing_is_an_error() {
    let scene = stored().await;
    let (purger, mark) = (scene.nodes[0].handle().purger(), Mark::Gone);
    let origin: Uri = ORIGIN.parse().unwrap();
    let long = "x".repeat(129);
    for groups in [vec![], vec![""], vec!["\u{e4}"], vec!["news\n"], vec![&*long], vec!["news"; 65]] {
        let error = purger.groups(&origin, &groups, mark).await.unwrap_err();
        assert!(error.is_config(), "{groups:?}: {error:?}");
    }
    let path: Uri = "/a".parse().unwrap();
    for refused in [
        purger.groups(&path, ["news"], mark).await,
        purger.origin(&path, mark).await,
        purger.prefix(b"", mark).await,
        purger.prefix(&[b'a'; 1025], mark).await,
    ] {
        assert!(refused.unwrap_err().is_config());
    }
    // The keys have the path before the version, so a prefix of a URI is no prefix of a key.
    let odd = VideoCacheLayer::new(MokaStore::new(1 << 20).unwrap())
        .key(|request| CacheKey::from(format!("{}#v2", request.uri.path())));
    let refused = odd.handle().purger().uri_prefix(&path, mark).await;
    assert!(refused.unwrap_err().is_config());
    scene.get(0).await.is_hit();
}

#[tokio::test]
async fn a_prefix_of_uris_is_a_prefix_of_the_keys_of_this_crate() {
    let functions: [fn(VideoCacheLayer) -> VideoCacheLayer; 4] = [
        |layer| layer,
        |layer| layer.key(TargetUri::new().into_fn()),
        |layer| layer.key(TargetUri::new().forwarded().without_parameters(["t"]).into_fn()),
        |layer| layer.key(|request| CacheKey::from(request.uri.path())),
    ];
    for (nth, function) in functions.into_iter().enumerate() {
        for (prefix, is_named) in
            [("/", true), ("/a", true), ("/a.mp4", true), ("/b", false), ("/a.mp4/", false), ("", true)]
        {
            let scene = scene_with(Sharing::Nothing, function);
            scene.get(0).await.whole(&bytes("v1"));
            let prefix = format!("{ORIGIN}{prefix}").parse().unwrap();
            scene.nodes[0].handle().purger().uri_prefix(&prefix, Mark::Gone).await.unwrap();
            let answer = scene.get(0).await;
            assert_eq!(
                answer.cache_status().contains("; hit"),
                !is_named,
                "{nth} {prefix}: {}",
                answer.cache_status()
            );
        }
    }
}

#[tokio::test]
async fn a_video_is_in_the_groups_that_each_chosen_field_or_the_function_names() {
    let policy = || {
        Policy::default().group_fields([
            GroupField::CacheGroups,
            GroupField::SurrogateKey,
            GroupField::CacheTag,
            GroupField::Xkey,
        ])
    };
    let scene = scene_with(Sharing::Nothing, |layer| {
        layer.policy(policy()).groups(|request, response| {
            let kind = response.get("content-type").map_or("none", |kind| kind.to_str().unwrap());
            vec![format!("of {}", request.uri.path()), kind.to_owned(), String::new()]
        })
    });
    let named =
        version("v1").header("surrogate-key", "s1 s2").header("cache-tag", "t 1, t2").header("xkey", "x1");
    scene.rig.inner.answer(PATH, named);
    scene.get(0).await.whole(&bytes("v1"));
    let purge = async |group: &str| {
        let (purger, origin) = (scene.nodes[0].handle().purger(), ORIGIN.parse().unwrap());
        purger.groups(&origin, [group], Mark::Gone).await.unwrap();
        let answer = scene.get(0).await;
        answer.whole(&bytes("v1"));
        !answer.cache_status().contains("; hit")
    };
    for group in ["videos", "news", "s1", "s2", "t 1", "t2", "x1", "of /a.mp4", "video/mp4"] {
        assert!(purge(group).await, "{group}");
    }
    for group in ["News", "s1 s2", "t", "x", "none"] {
        assert!(!purge(group).await, "{group}");
    }
}

#[tokio::test]
async fn a_304_that_names_no_hidden_groups_leaves_the_video_in_them() {
    let policy = || Policy::default().group_fields([GroupField::CacheGroups, GroupField::SurrogateKey]);
    let scene = scene_with(Sharing::Nothing, |layer| layer.policy(policy()));
    let bare = |name: &str| {
        Script::movie(name, LENGTH)
            .header("etag", "\"v1\"")
            .header("cache-control", "max-age=60")
            .honours_conditions()
    };
    scene.rig.inner.answer(PATH, bare("v1").header("surrogate-key", "s1").header("cache-groups", "\"c1\""));
    scene.get(0).await.whole(&bytes("v1"));
    scene.rig.clock.advance(seconds(61));
    scene.rig.inner.answer(PATH, bare("v1"));
    scene.get(0).await.whole(&bytes("v1"));
    scene.get(0).await.is_hit();
    for group in ["s1", "c1"] {
        let (purger, origin) = (scene.nodes[0].handle().purger(), ORIGIN.parse().unwrap());
        purger.groups(&origin, [group], Mark::Invalid).await.unwrap();
        let answer = scene.get(0).await;
        assert!(answer.cache_status().contains("fwd=stale"), "{group}: {}", answer.cache_status());
    }
}

#[tokio::test]
async fn the_answer_to_an_unsafe_request_invalidates_groups_of_its_origin() {
    let policies: [fn() -> Policy; 3] = [
        Policy::default,
        || Policy::default().heed_group_invalidation(false),
        || Policy::default().invalidate(Invalidate::Never),
    ];
    for (nth, policy) in policies.into_iter().enumerate() {
        for (host, status, field, is_named) in [
            ("a.example", 200, "\"others\", \"news\"", true),
            ("A.example:80", 204, "\"news\";because=\"it changed\"", true),
            ("b.example", 200, "\"news\"", false),
            ("a.example", 500, "\"news\"", false),
            ("a.example", 200, "\"News\"", false),
            ("a.example", 200, "news", false),
        ] {
            let why = format!("{nth} {host} {status} {field}");
            let scene = scene_with(Sharing::Nothing, |layer| layer.policy(policy()));
            scene.get(0).await.whole(&bytes("v1"));
            // RFC 9875 §3: in the answer to a safe request, the field says nothing.
            let says = |status| Script::absent().status(status).header("cache-group-invalidation", field);
            scene.rig.inner.answer("/admin", says(status));
            let ask = |method| Rig::ask_of(scene.nodes[0].layer(scene.rig.inner.clone()), method, "/admin");
            ask(Method::GET).header("host", host).send().await;
            ask(Method::OPTIONS).header("host", host).send().await;
            scene.get(0).await.is_hit();
            ask(Method::POST).header("host", host).send().await;
            let answer = scene.get(0).await;
            let is_hit = answer.cache_status().contains("; hit");
            assert_eq!(is_hit, !(is_named && nth == 0), "{why}: {}", answer.cache_status());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nodes_that_share_leases_are_not_held_up_by_their_own_purged_fills() {
    let mut nodes = Nodes::new(2);
    nodes = nodes.layer(|layer| layer.fill(Fill::progressive()).purge_age(Duration::ZERO));
    let gate = Gate::shut();
    nodes.inner.answer(PATH, version("v1").step(2, Step::Wait(gate.clone())));
    let early = nodes[0].get(PATH).header("host", "a.example").start();
    gate.reached_by(1).await;
    nodes.inner.answer(PATH, version("v2"));
    By::Group.purge(&nodes[1].layer, Mark::Invalid).await.unwrap();
    nodes[0].get(PATH).header("host", "a.example").send().await.whole(&bytes("v2"));
    gate.open();
    early.await.unwrap();
    nodes[1].get(PATH).header("host", "a.example").send().await.is_hit().whole(&bytes("v2"));
}

/// A purge of responses that nobody has stored.
async fn purge_another_origin(layer: &VideoCacheLayer) {
    let elsewhere: Uri = "http://b.example".parse().unwrap();
    layer.handle().purger().origin(&elsewhere, Mark::Stale).await.unwrap();
}

/// The node as a process that begins anew: a setter makes a cache of its own on the store.
fn anew(scene: &mut Scene) {
    scene.nodes = scene.nodes.iter().map(|node| node.clone().purge_age(Duration::ZERO)).collect();
}

#[tokio::test]
async fn a_304_brings_no_video_back_that_is_gone_by_a_purge_after_the_log_was_lost() {
    for part in ["id", "head", "all"] {
        for by in BY_THE_LOG {
            for begins_anew in [false, true] {
                let mut scene = scene(Sharing::Store, Fill::whole());
                scene.get(0).await.whole(&bytes("v1"));
                purge_another_origin(&scene.nodes[1]).await;
                purge_another_origin(&scene.nodes[1]).await;
                lose(&scene, part).await;
                by.purge(&scene.nodes[1], Mark::Gone).await.unwrap();
                scene.rig.inner.answer(PATH, mended());
                if begins_anew {
                    anew(&mut scene);
                }
                let answer = scene.get(0).await;
                assert!(answer.bytes == bytes("v2"), "{part} {by:?}: {}", answer.cache_status());
                assert!(!scene.last_call_has_conditions(), "{part} {by:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_gap_in_the_log_makes_no_purge_before_it_weaker_for_a_node_that_begins_anew() {
    let mut scene = scene(Sharing::Store, Fill::whole());
    scene.get(0).await.whole(&bytes("v1"));
    By::Group.purge(&scene.nodes[1], Mark::Gone).await.unwrap();
    purge_another_origin(&scene.nodes[1]).await;
    lose(&scene, "2").await;
    // This node finds the gap, and puts the end of the log.
    purge_another_origin(&scene.nodes[0]).await;
    scene.rig.inner.answer(PATH, mended());
    anew(&mut scene);
    scene.get(0).await.whole(&bytes("v2"));
    assert!(!scene.last_call_has_conditions());
}

#[tokio::test]
async fn a_video_that_was_stored_while_no_log_could_be_read_outlives_no_purge_of_a_log_that_was_lost() {
    for part in ["id", "head", "all"] {
        for begins_anew in [false, true] {
            let mut scene = scene(Sharing::Store, Fill::whole());
            scene.rig.store.spoil_from(Operation::GetLog, 1, Fault::Error);
            scene.get(0).await.whole(&bytes("v1"));
            scene.rig.store.heal();
            By::Group.purge(&scene.nodes[1], Mark::Invalid).await.unwrap();
            purge_another_origin(&scene.nodes[1]).await;
            lose(&scene, part).await;
            scene.rig.inner.answer(PATH, version("v2"));
            if begins_anew {
                anew(&mut scene);
            }
            let answer = scene.get(0).await;
            assert!(answer.bytes == bytes("v2"), "{part} {begins_anew}: {}", answer.cache_status());
        }
    }
}

/// As a replica of Redis does that takes over before it has heard of the last writes.
#[tokio::test]
async fn a_store_that_falls_back_to_an_earlier_log_hides_no_purge_from_a_node_that_knew_more() {
    for is_known_by_then in [false, true] {
        let scene = scene(Sharing::Store, Fill::whole());
        scene.get(0).await.whole(&bytes("v1"));
        purge_another_origin(&scene.nodes[0]).await;
        let store = scene.rig.store.inner();
        let id = store.get("p/id").await.unwrap().unwrap();
        let head = format!("p/{:016x}/head", u64::from_be_bytes(id[6..14].try_into().unwrap()));
        let early = store.get(&head).await.unwrap().unwrap();
        purge_another_origin(&scene.nodes[0]).await;
        lose(&scene, "2").await;
        store.put(&head, early).await.unwrap();
        if is_known_by_then {
            scene.get(0).await.whole(&bytes("v1"));
        }
        scene.rig.inner.answer(PATH, version("v2"));
        By::Group.purge(&scene.nodes[1], Mark::Invalid).await.unwrap();
        let answer = scene.get(0).await;
        assert!(answer.bytes == bytes("v2"), "{is_known_by_then}: {}", answer.cache_status());
        scene.get(1).await.whole(&bytes("v2"));
    }
}

#[tokio::test]
async fn a_purge_of_a_key_counts_on_this_node_although_the_log_fails() {
    for mark in MARKS {
        let scene = scene(Sharing::Log, Fill::whole());
        scene.get(0).await.whole(&bytes("v1"));
        let calls = scene.rig.store.calls(Operation::PutNew);
        scene.rig.store.spoil_from(Operation::PutNew, calls + 1, Fault::Error);
        let error = By::Uri.purge(&scene.nodes[0], mark).await.unwrap_err();
        assert!(error.is_store(), "{mark:?}: {error:?}");
        scene.rig.inner.answer(PATH, version("v2"));
        let answer = scene.get(0).await;
        assert!(answer.bytes == bytes("v2"), "{mark:?}: {}", answer.cache_status());
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_does_not_hold_up_one_request_after_the_other() {
    for age in [Duration::ZERO, seconds(2)] {
        let scene = scene_with(Sharing::Log, |layer| layer.purge_age(age));
        scene.get(0).await.whole(&bytes("v1"));
        tokio::time::advance(age).await;
        scene.rig.store.spoil_from(Operation::GetLog, 1, Fault::Hang);
        let began = tokio::time::Instant::now();
        for _ in 0..100 {
            scene.get(0).await.is_hit().whole(&bytes("v1"));
        }
        // One call of the store may take two seconds.
        assert!(began.elapsed() <= seconds(3), "{age:?}: {:?}", began.elapsed());
        // The reading goes on.
        scene.rig.store.heal();
        tokio::time::advance(seconds(20)).await;
        scene.rig.inner.answer(PATH, version("v2"));
        By::Group.purge(&scene.nodes[1], Mark::Invalid).await.unwrap();
        tokio::time::advance(age).await;
        scene.get(0).await.whole(&bytes("v2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_does_not_wait_for_the_end_of_a_fill_once_its_groups_say_that_a_purge_names_it() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto()] {
        for mark in MARKS {
            let scene = scene(Sharing::Nothing, fill);
            let (header, body) = (Gate::shut(), Gate::shut());
            let held = version("v1").held_by(&header).step(Script::frame_after(2), Step::Wait(body.clone()));
            scene.rig.inner.answer(PATH, held);
            let early = scene.ask(0, PATH).start();
            header.reached_by(1).await;
            scene.rig.inner.answer(PATH, version("v2"));
            By::Group.purge(&scene.nodes[0], mark).await.unwrap();
            let late = [(); 3].map(|()| scene.ask(0, PATH).start());
            settle().await;
            header.open();
            body.reached_by(1).await;
            if fill == Fill::whole() {
                // Nobody sees the header of such a fill before its end.
                body.open();
            }
            for late in late {
                let answer = tokio::time::timeout(seconds(1), late).await.expect("it waits").unwrap();
                assert!(answer.bytes == bytes("v2"), "{fill:?} {mark:?}: {}", answer.cache_status());
            }
            // One fill is for all of them.
            assert_eq!(scene.rig.inner.calls().len(), 2, "{fill:?} {mark:?}");
            body.open();
            early.await.unwrap().whole(&bytes("v1"));
            scene.get(0).await.is_hit().whole(&bytes("v2"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_waits_for_another_takes_no_lease_from_a_fill_that_was_begun_after_the_purge() {
    let mut nodes = Nodes::new(2);
    nodes = nodes.layer(|layer| layer.fill(Fill::progressive()).purge_age(Duration::ZERO));
    let (old, new) = (Gate::shut(), Gate::shut());
    nodes.inner.answer(PATH, version("v1").step(2, Step::Wait(old.clone())));
    let get = |node: usize| nodes[node].get(PATH).header("host", "a.example").start();
    let first = get(1);
    old.reached_by(1).await;
    // It waits for the lease of the other node.
    let waiting = get(0);
    settle().await;
    nodes.inner.answer(PATH, version("v2").step(2, Step::Wait(new.clone())));
    By::Prefix.purge(&nodes[1].layer, Mark::Invalid).await.unwrap();
    let second = get(1);
    new.reached_by(1).await;
    let third = get(0);
    settle().await;
    new.open();
    old.open();
    for (answer, name) in [(first, "v1"), (second, "v2"), (waiting, "v2"), (third, "v2")] {
        let answer = answer.await.unwrap();
        assert!(answer.bytes == bytes(name), "{}", answer.cache_status());
    }
    nodes.inner.was_called(2);
    nodes[0].get(PATH).header("host", "a.example").send().await.is_hit().whole(&bytes("v2"));
}

#[tokio::test]
async fn a_request_that_waited_before_a_purge_has_the_response_that_it_waited_for() {
    for by in BY_THE_LOG {
        for mark in MARKS {
            let scene = scene(Sharing::Nothing, Fill::whole());
            purge_another_origin(&scene.nodes[0]).await;
            let gate = Gate::shut();
            scene.rig.inner.answer(PATH, version("v1").held_by(&gate));
            let early = [(); 3].map(|()| scene.ask(0, PATH).start());
            gate.reached_by(1).await;
            settle().await;
            by.purge(&scene.nodes[0], mark).await.unwrap();
            gate.open();
            for early in early {
                early.await.unwrap().whole(&bytes("v1"));
            }
            scene.rig.inner.was_called(1);
        }
    }
}

#[tokio::test]
async fn the_answer_to_a_head_makes_no_video_fresh_that_was_purged_meanwhile() {
    for by in BY_THE_LOG {
        for mark in MARKS {
            let scene = stored().await;
            let (head, gate) = asked_about_the_old(&scene, Method::HEAD).await;
            by.purge(&scene.nodes[0], mark).await.unwrap();
            gate.open();
            head.await.unwrap();
            let answer = scene.get(0).await;
            assert!(answer.bytes == bytes("v2"), "{by:?} {mark:?}: {}", answer.cache_status());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_purge_at_once_both_have_their_purge_in_the_log() {
    let scene = scene(Sharing::Store, Fill::whole());
    for node in [0, 1] {
        scene.get(node).await.whole(&bytes("v1"));
    }
    // Both want the first place, and this one comes late.
    let puts = scene.rig.store.calls(Operation::PutNew);
    scene.rig.store.spoil(Operation::PutNew, puts + 1, Fault::Slow(seconds(1)));
    let slow = scene.nodes[0].clone();
    let slow = tokio::spawn(async move { By::Group.purge(&slow, Mark::Invalid).await });
    settle().await;
    assert_eq!(scene.rig.store.calls(Operation::PutNew), puts + 1);
    purge_another_origin(&scene.nodes[1]).await;
    slow.await.unwrap().unwrap();
    scene.rig.inner.answer(PATH, version("v2"));
    scene.get(1).await.whole(&bytes("v2"));
    scene.get(0).await.is_hit().whole(&bytes("v2"));
}

/// A store that loses something at the next put of the end of a log.
struct Losing {
    store: Arc<MokaStore>,
    next: std::sync::Mutex<Option<Loss>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// All of the log.
    Log,
    /// This put, because another node puts an earlier end after it.
    End,
}

impl Store for Losing {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, tower_video_cache::BoxError> {
        self.store.get(key).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), tower_video_cache::BoxError> {
        let loss = if key.ends_with("/head") { self.next.lock().unwrap().take() } else { None };
        match loss {
            None => self.store.put(key, value).await,
            Some(Loss::End) => Ok(()),
            Some(Loss::Log) => {
                self.store.remove("p/id").await?;
                self.store.remove(&key.replace("head", "1")).await?;
                self.store.remove(key).await
            }
        }
    }

    async fn remove(&self, key: &str) -> Result<(), tower_video_cache::BoxError> {
        self.store.remove(key).await
    }

    async fn put_new(
        &self,
        key: &str,
        value: Bytes,
    ) -> Result<tower_video_cache::PutNew, tower_video_cache::BoxError> {
        self.store.put_new(key, value).await
    }

    fn can_alter(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_purge_during_which_the_log_is_lost_is_in_the_log_all_the_same() {
    for loss in [Loss::Log, Loss::End] {
        let store = Arc::new(MokaStore::new(64 << 20).unwrap());
        let rig = Rig::new().script(PATH, version("v1"));
        let losing = Arc::new(Losing { store: Arc::clone(&store), next: None.into() });
        let nodes = [(); 2].map(|()| {
            VideoCacheLayer::new(Arc::clone(&losing)).purge_age(Duration::ZERO).fill(Fill::whole())
        });
        let get = |node: usize| {
            let service = nodes[node].layer(rig.inner.clone());
            Rig::ask_of(service, Method::GET, PATH).header("host", "a.example").send()
        };
        get(0).await.whole(&bytes("v1"));
        *losing.next.lock().unwrap() = Some(loss);
        By::Group.purge(&nodes[1], Mark::Gone).await.unwrap();
        let id = store.get("p/id").await.unwrap().unwrap();
        let log = u64::from_be_bytes(id[6..14].try_into().unwrap());
        let head = store.get(&format!("p/{log:016x}/head")).await.unwrap().unwrap();
        assert_eq!(head[6..14], 1_u64.to_be_bytes(), "{loss:?}");
        rig.inner.answer(PATH, mended());
        let answer = get(0).await;
        assert!(answer.bytes == bytes("v2"), "{loss:?}: {}", answer.cache_status());
    }
}

#[tokio::test]
async fn a_purge_after_the_end_of_the_log_counts() {
    let scene = scene(Sharing::Store, Fill::whole());
    scene.get(0).await.whole(&bytes("v1"));
    // The node stops between the purge and the end of the log.
    scene.rig.store.spoil_from(Operation::PutLog, 1, Fault::Error);
    By::Group.purge(&scene.nodes[1], Mark::Invalid).await.unwrap_err();
    scene.rig.store.heal();
    scene.rig.inner.answer(PATH, version("v2"));
    scene.get(0).await.whole(&bytes("v2"));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_hangs_does_not_hold_unsafe_requests_up_one_after_the_other() {
    let scene = stored().await;
    let says = Script::absent().status(200).header("cache-group-invalidation", "\"news\"");
    scene.rig.inner.answer("/admin", says);
    let calls = scene.rig.store.calls(Operation::PutNew);
    scene.rig.store.spoil_from(Operation::PutNew, calls + 1, Fault::Hang);
    let began = tokio::time::Instant::now();
    let asked = [(); 20].map(|()| {
        let service = scene.nodes[0].layer(scene.rig.inner.clone());
        Rig::ask_of(service, Method::POST, "/admin").header("host", "a.example").start()
    });
    for asked in asked {
        assert_eq!(asked.await.unwrap().status, 200);
    }
    assert!(began.elapsed() <= seconds(3), "{:?}", began.elapsed());
    assert!(scene.rig.store.calls(Operation::PutNew) > calls, "the log was asked");
}

#[tokio::test]
async fn a_node_that_knew_a_lost_log_still_knows_what_is_gone() {
    for part in ["id", "head", "all"] {
        let scene = scene(Sharing::Store, Fill::whole());
        scene.get(0).await.whole(&bytes("v1"));
        By::Group.purge(&scene.nodes[0], Mark::Gone).await.unwrap();
        purge_another_origin(&scene.nodes[0]).await;
        lose(&scene, part).await;
        scene.rig.inner.answer(PATH, mended());
        scene.get(0).await.whole(&bytes("v2"));
        assert!(!scene.last_call_has_conditions(), "{part}");
    }
}

#[tokio::test]
async fn a_purge_that_is_in_the_log_no_more_counts_for_a_node_that_begins_anew() {
    for mark in MARKS {
        let mut scene = scene(Sharing::Store, Fill::whole());
        scene.get(0).await.whole(&bytes("v1"));
        By::Group.purge(&scene.nodes[1], mark).await.unwrap();
        // The log keeps 1,024 purges.
        for _ in 0..1030 {
            purge_another_origin(&scene.nodes[1]).await;
        }
        scene.rig.inner.answer(PATH, if mark == Mark::Gone { mended() } else { version("v2") });
        anew(&mut scene);
        scene.get(0).await.whole(&bytes("v2"));
        assert_eq!(scene.last_call_has_conditions(), mark != Mark::Gone);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_the_lease_of_a_purged_fill_does_not_take_its_video_for_a_fresh_one() {
    for fill in [Fill::whole(), Fill::progressive()] {
        for by in BY_THE_LOG {
            for mark in MARKS {
                let mut nodes = Nodes::new(2);
                nodes = nodes.layer(|layer| layer.fill(fill).purge_age(Duration::ZERO));
                let gate = Gate::shut();
                nodes.inner.answer(PATH, version("v1").step(2, Step::Wait(gate.clone())));
                let early = nodes[1].get(PATH).header("host", "a.example").start();
                gate.reached_by(1).await;
                nodes.inner.answer(PATH, version("v2"));
                by.purge(&nodes[1].layer, mark).await.unwrap();
                let late = nodes[0].get(PATH).header("host", "a.example").start();
                settle().await;
                gate.open();
                early.await.unwrap().whole(&bytes("v1"));
                let late = late.await.unwrap();
                assert!(late.bytes == bytes("v2"), "{fill:?} {by:?} {mark:?}: {}", late.cache_status());
            }
        }
    }
}
