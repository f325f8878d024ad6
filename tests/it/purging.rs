//! An operator takes a video out, or ends its freshness.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Uri;
use tower_video_cache::{
    CacheKey, Fault, Fill, ManualClock, Mark, MokaStore, Operation, Policy, Tiered, VideoCacheLayer,
};

use crate::rig::{Gate, Nodes, PATH, Rig, Script, Step, movie, noon, seconds, settle};

const MARKS: [Mark; 3] = [Mark::Stale, Mark::Invalid, Mark::Gone];

const LENGTH: usize = 4500;

fn uri() -> Uri {
    PATH.parse().unwrap()
}

fn bytes(version: &str) -> Bytes {
    movie(version, LENGTH)
}

fn version(version: &str) -> Script {
    Script::version(version, LENGTH)
}

async fn stored() -> Rig {
    let rig = Rig::new().script(PATH, version("v1"));
    rig.get(PATH).send().await.whole(&bytes("v1"));
    rig.get(PATH).send().await.is_hit();
    rig
}

/// The conditions of the last call of the inner service.
fn last_call_has_conditions(rig: &Rig) -> bool {
    let calls = rig.inner.calls();
    calls.last().unwrap().headers.contains_key("if-none-match")
}

#[tokio::test]
async fn a_purged_video_is_validated_or_fetched_anew_before_it_is_used() {
    for mark in MARKS {
        let rig = stored().await;
        let purged = rig.layer.handle().purger().uri(&uri(), mark).await.unwrap();
        assert!(purged.found == Some(true) && purged.effective_within == Duration::ZERO, "{mark:?}");
        let calls = rig.inner.calls().len();
        let answer = rig.get(PATH).range("bytes=0-99").send().await;
        answer.partial(&bytes("v1"), 0..100);
        assert!(!answer.cache_status().contains("; hit"), "{mark:?}: {}", answer.cache_status());
        assert_eq!(rig.inner.calls().len(), calls + 1, "{mark:?}");
        assert_eq!(last_call_has_conditions(&rig), mark != Mark::Gone, "{mark:?}");
        // Once the inner service has said that it is good, it is fresh again.
        rig.get(PATH).send().await.is_hit().whole(&bytes("v1"));
    }
}

#[tokio::test]
async fn a_purged_video_that_has_changed_is_the_new_one() {
    for mark in MARKS {
        let rig = stored().await;
        rig.inner.answer(PATH, version("v2"));
        rig.get(PATH).send().await.is_hit().whole(&bytes("v1"));
        rig.layer.handle().purger().key(&CacheKey::new(key(&rig).await), mark).await.unwrap();
        rig.get(PATH).send().await.whole(&bytes("v2"));
        rig.get(PATH).send().await.is_hit().whole(&bytes("v2"));
    }
}

/// The key, as it is explained.
async fn key(rig: &Rig) -> Vec<u8> {
    let request = http::Request::get(PATH).body(()).unwrap().into_parts().0;
    rig.layer.handle().explain(&request).await.key.replace("\\n", "\n").into_bytes()
}

#[tokio::test]
async fn only_a_stale_mark_lets_a_video_be_used_stale() {
    for mark in MARKS {
        let policy = Policy::default().stale_while_revalidate(seconds(60)).stale_if_error(seconds(600));
        let rig = Rig::new().layer(|layer| layer.policy(policy)).script(PATH, version("v1"));
        rig.get(PATH).send().await.whole(&bytes("v1"));
        // The windows begin with the purge, and not with the age of the response.
        rig.clock.advance(seconds(1800));
        rig.layer.handle().purger().uri(&uri(), mark).await.unwrap();
        rig.inner.answer(PATH, Script::absent().status(503));
        rig.clock.advance(seconds(30));
        let answer = rig.get(PATH).send().await;
        if mark == Mark::Stale {
            answer.whole(&bytes("v1"));
            settle().await;
            rig.clock.advance(seconds(60));
            let stands_in = rig.get(PATH).send().await;
            stands_in.whole(&bytes("v1"));
            assert!(
                stands_in.cache_status().contains("detail=stale-if-error"),
                "{}",
                stands_in.cache_status()
            );
            rig.clock.advance(seconds(600));
        } else {
            assert_eq!(answer.status, 503, "{mark:?}");
        }
        assert_eq!(rig.get(PATH).send().await.status, 503, "{mark:?}");
    }
}

#[tokio::test]
async fn a_fill_under_way_gives_the_old_video_to_no_client_that_comes_after_the_purge() {
    let before_the_header = None;
    let moments = [before_the_header, Some(0), Some(2), Some(Script::frame_after(4))];
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced(), Fill::auto()] {
        for mark in MARKS {
            for moment in moments {
                let why = format!("{fill:?} {mark:?} {moment:?}");
                let gate = Gate::shut();
                let held = match moment {
                    None => version("v1").held_by(&gate),
                    Some(frame) => version("v1").step(frame, Step::Wait(gate.clone())),
                };
                let rig = Rig::new().fill(fill).script(PATH, held);
                let early = rig.get(PATH).start();
                gate.reached_by(1).await;
                rig.inner.answer(PATH, version("v2"));
                rig.layer.handle().purger().uri(&uri(), mark).await.unwrap();
                // It joins no fill that was begun before the purge.
                let late = rig.get(PATH).send().await;
                assert_eq!(late.bytes, bytes("v2"), "{why}");
                gate.open();
                // A request whose fill has come to nothing asks by itself, and gets the new video.
                let early = early.await.unwrap();
                let is_whole = early.bytes == bytes("v1") || early.bytes == bytes("v2");
                assert!(is_whole || early.error.is_some(), "{why}: {}", early.cache_status());
                settle().await;
                let last = rig.get(PATH).send().await;
                assert_eq!(last.bytes, bytes("v2"), "{why}");
            }
        }
    }
}

#[tokio::test]
async fn a_validation_under_way_makes_no_purged_video_fresh() {
    for mark in MARKS {
        let rig = stored().await;
        rig.clock.advance(seconds(3601));
        let gate = Gate::shut();
        rig.inner.answer(PATH, version("v1").held_by(&gate));
        let early = rig.get(PATH).start();
        gate.reached_by(1).await;
        rig.inner.answer(PATH, version("v2"));
        rig.layer.handle().purger().uri(&uri(), mark).await.unwrap();
        gate.open();
        early.await.unwrap().whole(&bytes("v1"));
        rig.get(PATH).send().await.whole(&bytes("v2"));
    }
}

#[tokio::test]
async fn all_variants_go_together() {
    for mark in MARKS {
        let vary = |name: &str| version(name).header("vary", "accept-language");
        let rig = Rig::new().script(PATH, vary("v1"));
        for language in ["de", "en"] {
            rig.get(PATH).header("accept-language", language).send().await.whole(&bytes("v1"));
        }
        rig.inner.answer(PATH, vary("v2"));
        assert!(rig.layer.handle().purger().uri(&uri(), mark).await.unwrap().found.unwrap());
        for language in ["de", "en"] {
            rig.get(PATH).header("accept-language", language).send().await.whole(&bytes("v2"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_node_on_the_store_follows_at_once() {
    for mark in MARKS {
        let nodes = Nodes::new(2);
        nodes.inner.answer(PATH, version("v1"));
        for node in &nodes.all {
            node.get(PATH).send().await.whole(&bytes("v1"));
        }
        nodes.inner.answer(PATH, version("v2"));
        assert!(nodes[1].layer.handle().purger().uri(&uri(), mark).await.unwrap().found.unwrap());
        nodes[0].get(PATH).send().await.whole(&bytes("v2"));

        // A fill of the other node is under way.
        let gate = Gate::shut();
        nodes[0].layer.handle().purger().uri(&uri(), Mark::Gone).await.unwrap();
        nodes.inner.answer(PATH, version("v2").step(2, Step::Wait(gate.clone())));
        let early = nodes[0].get(PATH).start();
        gate.reached_by(1).await;
        nodes.inner.answer(PATH, version("v3"));
        nodes[1].layer.handle().purger().uri(&uri(), mark).await.unwrap();
        gate.open();
        early.await.unwrap();
        for node in &nodes.all {
            node.get(PATH).send().await.whole(&bytes("v3"));
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_changes_nothing() {
    for offset in [-3600, 0, 3600_i64] {
        for mark in MARKS {
            let rig = stored().await;
            rig.inner.answer(PATH, version("v2"));
            let start = noon() + seconds(3600);
            let clock = ManualClock::starting_at(start + Duration::from_secs(offset.unsigned_abs()));
            if offset < 0 {
                clock.set(start - Duration::from_secs(3600));
            }
            let elsewhere = rig.layer.clone().clock(clock);
            assert!(elsewhere.handle().purger().uri(&uri(), mark).await.unwrap().found.unwrap());
            let answer = rig.get(PATH).send().await;
            assert_eq!(answer.bytes, bytes("v2"), "{offset} {mark:?}: {}", answer.cache_status());
        }
    }
}

#[tokio::test]
async fn a_purge_that_the_store_does_not_confirm_is_an_error_and_holds_on_this_node() {
    for mark in MARKS {
        let rig = stored().await;
        rig.inner.answer(PATH, version("v2"));
        rig.store.spoil_from(Operation::Put, 1, Fault::Error);
        rig.store.spoil_from(Operation::Remove, 1, Fault::Error);
        let error = rig.layer.handle().purger().uri(&uri(), mark).await.unwrap_err();
        assert!(error.is_store(), "{mark:?}: {error:?}");
        rig.get(PATH).send().await.whole(&bytes("v2"));
        rig.store.heal();
        assert!(rig.layer.handle().purger().uri(&uri(), mark).await.is_ok());
        rig.get(PATH).send().await.whole(&bytes("v2"));
    }
    // If it is the put alone that fails, the video is removed.
    let rig = stored().await;
    let puts = rig.store.calls(Operation::Put);
    rig.store.spoil(Operation::Put, puts + 2, Fault::Error);
    assert!(rig.layer.handle().purger().uri(&uri(), Mark::Stale).await.unwrap().found.unwrap());
    rig.get(PATH).send().await.whole(&bytes("v1"));
    assert!(!last_call_has_conditions(&rig));
}

#[tokio::test]
async fn a_purge_says_what_it_found_and_when_it_is_effective() {
    let rig = Rig::new().script(PATH, version("v1"));
    for mark in MARKS {
        assert!(!rig.layer.handle().purger().uri(&uri(), mark).await.unwrap().found.unwrap(), "{mark:?}");
    }
    let tiered = Tiered::new(MokaStore::new(1 << 20).unwrap(), Arc::clone(&rig.store)).record_age(seconds(7));
    let layer = VideoCacheLayer::new(tiered);
    let purged = layer.handle().purger().uri(&uri(), Mark::Gone).await.unwrap();
    assert_eq!(purged.effective_within, seconds(7));
}

#[tokio::test]
async fn a_purge_is_explained() {
    let rig = stored().await;
    rig.layer.handle().purger().uri(&uri(), Mark::Stale).await.unwrap();
    let request = http::Request::get(PATH).body(()).unwrap().into_parts().0;
    let explanation = rig.layer.handle().explain(&request).await;
    assert_eq!((explanation.outcome, explanation.stored.unwrap().lifetime_by), ("stale", "purge"));
}

/// A request has found the video, and is about to have it validated in the background, when it is purged.
#[tokio::test]
async fn a_304_brings_no_video_back_that_was_taken_out_after_the_request_had_looked() {
    let policy = || Policy::default().stale_while_revalidate(seconds(600));
    for vary in [None, Some("accept-language")] {
        let varied =
            |name: &str| vary.iter().fold(version(name), |script, field| script.header("vary", field));
        let rig = Rig::new().layer(|layer| layer.policy(policy())).script(PATH, varied("v1"));
        rig.get(PATH).send().await.whole(&bytes("v1"));
        rig.clock.advance(seconds(3601));
        // The chunk that the answer begins with takes its time.
        let reads = rig.store.calls(Operation::Get);
        let records = if vary.is_some() { 2 } else { 1 };
        rig.store.spoil(Operation::Get, reads + records + 1, Fault::Slow(Duration::from_millis(50)));
        let early = rig.get(PATH).start();
        settle().await;
        rig.layer.handle().purger().uri(&uri(), Mark::Gone).await.unwrap();
        let early = early.await.unwrap();
        assert!(early.bytes == bytes("v1"), "{vary:?}: {}", early.cache_status());
        settle().await;
        let conditional =
            rig.inner.calls().iter().filter(|call| call.headers.contains_key("if-none-match")).count();
        assert_eq!(conditional, 0, "{vary:?}");
    }
}

/// One purge is between its steps when another one removes the video.
#[tokio::test]
async fn a_purge_that_ends_a_freshness_brings_no_video_back_that_another_one_took_out() {
    for mark in [Mark::Stale, Mark::Invalid] {
        // The steps: the read, the put of the mark, the put of the record, the reads after it.
        for (operation, step) in [
            (Operation::Get, 1),
            (Operation::Put, 1),
            (Operation::Get, 2),
            (Operation::Put, 2),
            (Operation::Get, 3),
            (Operation::Get, 4),
        ] {
            let rig = stored().await;
            let calls = rig.store.calls(operation);
            rig.store.spoil(operation, calls + step, Fault::Slow(Duration::from_millis(50)));
            let (one, other) = (rig.layer.handle().purger(), rig.layer.clone().clock(rig.clock.clone()));
            let ending = tokio::spawn(async move { one.uri(&uri(), mark).await });
            settle().await;
            // It is a cache of its own on the same store, as another node is.
            other.handle().purger().uri(&uri(), Mark::Gone).await.unwrap();
            ending.await.unwrap().unwrap();
            rig.get(PATH).send().await.whole(&bytes("v1"));
            assert!(!last_call_has_conditions(&rig), "{mark:?}, {operation:?} {step}");
        }
    }
}

/// A node waits for the validation of another one when the video is purged.
#[tokio::test(start_paused = true)]
async fn a_purged_record_is_no_news_to_a_node_that_waits_for_another() {
    for mark in MARKS {
        let nodes = Nodes::new(3);
        nodes.inner.answer(PATH, version("v1"));
        nodes[0].get(PATH).send().await.whole(&bytes("v1"));
        nodes.clock.advance(seconds(3601));
        let gate = Gate::shut();
        nodes.inner.answer(PATH, version("v1").held_by(&gate));
        let validating = nodes[0].get(PATH).start();
        gate.reached_by(1).await;
        let waiting = nodes[1].get(PATH).start();
        settle().await;
        nodes.inner.answer(PATH, version("v2"));
        nodes[2].layer.handle().purger().uri(&uri(), mark).await.unwrap();
        let waited = waiting.await.unwrap();
        assert_eq!(waited.bytes, bytes("v2"), "{mark:?}: {}", waited.cache_status());
        gate.open();
        validating.await.unwrap();
        for node in &nodes.all {
            node.get(PATH).send().await.whole(&bytes("v2"));
        }
    }
}
