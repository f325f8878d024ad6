//! What becomes of a fill when its last viewer has gone.

use bytes::Bytes;
use std::num::NonZeroUsize;
use tower_video_cache::{Abandon, ChunkSize, Fill, Limits, Policy, VideoCacheLayer};

use crate::rig::{movie, seconds, settle, Gate, Rig, Script, Step, CHUNK};

const PATH: &str = "/a.mp4";

/// Five chunks.
const LENGTH: usize = 5000;

const MODES: [Fill; 2] = [Fill::whole(), Fill::progressive()];

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

/// One that can be had in parts.
fn known() -> Script {
    Script::movie(PATH, LENGTH).header("etag", "\"v1\"").honours_ranges()
}

/// What was stopped of it cannot be gone on with.
fn unbound() -> [Script; 4] {
    [
        Script::movie(PATH, LENGTH),
        Script::movie(PATH, LENGTH).header("etag", "W/\"v1\"").honours_ranges(),
        Script::of(&truth()),
        // It could be, but nobody knows how much is missing.
        Script::of(&truth()).header("etag", "\"v1\"").honours_ranges(),
    ]
}

fn rig(mode: Fill, abandon: Abandon) -> Rig {
    Rig::new().fill(mode).layer(|layer| layer.abandon(abandon))
}

/// Holds the first body once so many chunks have come, and no later one.
fn held(rig: &Rig, script: &Script, chunks: usize) -> Gate {
    let gate = Gate::shut();
    let frame = (chunks * CHUNK as usize).div_ceil(617);
    rig.inner.answer_each(PATH, [script.clone().step(frame, Step::Wait(gate.clone())), script.clone()]);
    gate
}

/// A viewer comes, and goes once so many chunks are stored.
async fn one_leaves_after(rig: &Rig, script: &Script, chunks: usize) {
    let gate = held(rig, script, chunks);
    let viewer = rig.get(PATH).start();
    gate.reached_by(1).await;
    settle().await;
    assert_eq!(rig.puts(), chunks as u64);
    viewer.abort();
    settle().await;
    gate.open();
    settle().await;
}

#[tokio::test]
async fn by_default_what_is_small_is_finished() {
    for mode in MODES {
        for chunks in 0..5 {
            for script in [known()].into_iter().chain(unbound()) {
                let rig = Rig::new().fill(mode);
                one_leaves_after(&rig, &script, chunks).await;
                rig.get(PATH).send().await.is_hit().whole(&truth());
                rig.inner.was_called(1);
                assert_eq!(rig.inner.bytes_of(PATH), LENGTH as u64);
            }
        }
    }
}

#[tokio::test]
async fn one_that_is_stopped_takes_no_more_of_the_inner_body() {
    for mode in MODES {
        for chunks in 1..5 {
            let rig = rig(mode, Abandon::Stop);
            let gate = held(&rig, &known(), chunks);
            let viewer = rig.get(PATH).start();
            gate.reached_by(1).await;
            settle().await;
            let taken = rig.inner.bytes_of(PATH);
            viewer.abort();
            settle().await;
            gate.open();
            settle().await;
            assert_eq!(rig.inner.bytes_of(PATH), taken);
        }
    }
}

#[tokio::test]
async fn of_one_that_is_stopped_only_what_is_missing_is_fetched_later() {
    for mode in MODES {
        for chunks in 1..5 {
            let rig = rig(mode, Abandon::Stop);
            one_leaves_after(&rig, &known(), chunks).await;
            rig.get(PATH).send().await.whole(&truth());
            assert_eq!(rig.inner.ranges(PATH), [String::new(), format!("bytes={chunks}000-4999")]);
            assert_eq!(rig.inner.calls()[1].headers["if-range"], "\"v1\"");
            rig.get(PATH).send().await.is_hit().whole(&truth());
            rig.inner.was_called(2);
            // Five chunks, each of them once.
            assert!(rig.puts() <= 5 + 2);
        }
    }
}

#[tokio::test]
async fn of_one_that_is_stopped_a_range_that_is_stored_needs_nothing_more() {
    let rig = rig(Fill::progressive(), Abandon::Stop);
    one_leaves_after(&rig, &known(), 3).await;
    rig.get(PATH).range("bytes=100-2999").send().await.is_hit().partial(&truth(), 100..3000);
    assert_eq!(rig.head(PATH).send().await.is_hit().field("content-length"), "5000");
    rig.inner.was_called(1);
    // And one that is not, no more than its own chunks.
    rig.get(PATH).range("bytes=3500-3600").send().await.partial(&truth(), 3500..3601);
    assert_eq!(rig.inner.ranges(PATH)[1..], ["bytes=3000-3999"]);
}

#[tokio::test]
async fn without_a_strong_validator_nothing_is_left_of_one_that_is_stopped() {
    for mode in MODES {
        for script in unbound() {
            let rig = rig(mode, Abandon::Stop);
            one_leaves_after(&rig, &script, 2).await;
            let again = rig.get(PATH).send().await;
            again.whole(&truth());
            assert!(again.cache_status().contains("fwd=uri-miss"), "{}", again.cache_status());
            assert_eq!(rig.inner.ranges(PATH), ["", ""]);
            rig.get(PATH).send().await.is_hit().whole(&truth());
        }
    }
}

#[tokio::test]
async fn who_leaves_before_anything_is_stored_leaves_nothing() {
    for mode in MODES {
        for held_before_its_head in [true, false] {
            let gate = Gate::shut();
            let script = if held_before_its_head {
                known().held_by(&gate)
            } else {
                known().step(0, Step::Wait(gate.clone()))
            };
            let rig = rig(mode, Abandon::Stop);
            rig.inner.answer_each(PATH, [script, known()]);
            let viewer = rig.get(PATH).start();
            gate.reached_by(1).await;
            viewer.abort();
            settle().await;
            gate.open();
            settle().await;
            assert_eq!((rig.puts(), rig.inner.bytes_of(PATH)), (0, 0));
            rig.get(PATH).send().await.whole(&truth());
            assert_eq!(rig.inner.ranges(PATH), ["", ""]);
        }
    }
}

#[tokio::test]
async fn who_comes_after_one_was_stopped_does_not_wait_for_it() {
    for mode in MODES {
        let rig = rig(mode, Abandon::Stop);
        let gate = held(&rig, &known(), 2);
        let viewer = rig.get(PATH).start();
        gate.reached_by(1).await;
        settle().await;
        viewer.abort();
        settle().await;
        // The gate stays shut.
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(rig.inner.ranges(PATH), ["", "bytes=2000-4999"]);
    }
}

#[tokio::test]
async fn it_is_finished_from_the_percentage_that_was_set() {
    for mode in MODES {
        for (percent, chunks, is_finished) in [
            (0, 1, true),
            (20, 1, true),
            (21, 1, false),
            (40, 1, false),
            (40, 2, true),
            (41, 2, false),
            (80, 3, false),
            (80, 4, true),
            (100, 4, false),
            (255, 4, false),
        ] {
            let rig = rig(mode, Abandon::FinishFromPercent(percent));
            one_leaves_after(&rig, &known(), chunks).await;
            rig.get(PATH).send().await.whole(&truth());
            let expected = if is_finished { 1 } else { 2 };
            assert_eq!(rig.inner.calls().len(), expected, "{percent} %, {chunks} chunks");
        }
    }
}

#[tokio::test]
async fn it_is_finished_if_no_more_is_missing_than_was_set() {
    for mode in MODES {
        for (bytes, chunks, is_finished) in [
            (0, 4, false),
            (999, 4, false),
            (1000, 4, true),
            (1000, 3, false),
            (2999, 2, false),
            (3000, 2, true),
            (u64::MAX, 1, true),
        ] {
            let rig = rig(mode, Abandon::FinishWithin(bytes));
            one_leaves_after(&rig, &known(), chunks).await;
            rig.get(PATH).send().await.whole(&truth());
            let expected = if is_finished { 1 } else { 2 };
            assert_eq!(rig.inner.calls().len(), expected, "within {bytes}, {chunks} chunks");
        }
    }
}

#[tokio::test]
async fn one_of_unknown_length_is_finished_by_no_share_of_it() {
    for mode in MODES {
        let rig = rig(mode, Abandon::FinishFromPercent(1));
        one_leaves_after(&rig, &Script::of(&truth()), 4).await;
        rig.get(PATH).send().await.whole(&truth());
        rig.inner.was_called(2);
    }
}

#[tokio::test]
async fn one_of_unknown_length_goes_on_for_so_many_bytes() {
    for mode in MODES {
        // The chunk under way when the viewer left is not counted.
        for (bytes, chunks, stored) in
            [(0, 1, 1), (1, 1, 3), (1000, 1, 3), (2000, 1, 4), (3001, 1, 5), (1000, 2, 4), (u64::MAX, 0, 5)]
        {
            let rig = rig(mode, Abandon::FinishWithin(bytes));
            one_leaves_after(&rig, &Script::of(&truth()), chunks).await;
            let is_finished = stored == 5;
            assert_eq!(rig.puts(), stored + u64::from(is_finished), "{mode:?}, {bytes} bytes");
            rig.get(PATH).send().await.whole(&truth());
            rig.inner.was_called(if is_finished { 1 } else { 2 });
        }
    }
}

#[tokio::test]
async fn who_stays_keeps_it_going() {
    for mode in MODES {
        for script in [known()].into_iter().chain(unbound()) {
            let rig = rig(mode, Abandon::Stop);
            let gate = held(&rig, &script, 2);
            let [leader, other] = [rig.get(PATH).start(), rig.get(PATH).start()];
            let range = rig.get(PATH).range("bytes=2500-2600").start();
            gate.reached_by(1).await;
            settle().await;
            leader.abort();
            other.abort();
            settle().await;
            gate.open();
            assert_eq!(range.await.unwrap().bytes, truth()[2500..2601]);
            rig.inner.was_called(1);
        }
    }
}

#[tokio::test]
async fn the_last_to_leave_stops_it() {
    for mode in MODES {
        let rig = rig(mode, Abandon::Stop);
        let gate = held(&rig, &known(), 2);
        let viewers: [_; 3] = std::array::from_fn(|_| rig.get(PATH).start());
        gate.reached_by(1).await;
        settle().await;
        for viewer in viewers {
            viewer.abort();
            settle().await;
        }
        gate.open();
        settle().await;
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(rig.inner.ranges(PATH), ["", "bytes=2000-4999"]);
    }
}

#[tokio::test]
async fn a_body_that_was_begun_and_is_not_read_keeps_it_going() {
    let rig = rig(Fill::progressive(), Abandon::Stop);
    let gate = held(&rig, &known(), 2);
    let unread = rig.get(PATH).reading().await;
    gate.reached_by(1).await;
    gate.open();
    settle().await;
    assert_eq!(rig.puts(), 5 + 1);
    unread.rest().await.whole(&truth());
    rig.inner.was_called(1);
}

#[tokio::test]
async fn whoever_got_what_was_asked_for_does_not_keep_it_going() {
    let rig = rig(Fill::progressive(), Abandon::Stop);
    let gate = held(&rig, &known(), 2);
    rig.get(PATH).range("bytes=0-99").send().await.partial(&truth(), 0..100);
    gate.reached_by(1).await;
    settle().await;
    gate.open();
    settle().await;
    rig.get(PATH).send().await.whole(&truth());
    assert_eq!(rig.inner.ranges(PATH), ["", "bytes=2000-4999"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_stopped_and_fails_to_be_completed_is_begun_anew() {
    for mode in MODES {
        let rig = rig(mode, Abandon::Stop);
        one_leaves_after(&rig, &known(), 2).await;
        let other = movie("/other", LENGTH);
        rig.inner.answer(PATH, Script::movie("/other", LENGTH).header("etag", "\"v2\"").honours_ranges());
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(rig.get(PATH).send().await);
        }
        for answer in &answers {
            let is_broken = answer.error.is_some() && truth().starts_with(&answer.bytes);
            assert!(is_broken || answer.bytes == other);
        }
        // A body that had begun could not go on; no other is harmed.
        assert!(mode != Fill::whole() || answers[0].error.is_none());
        answers[1].whole(&other);
        answers[2].is_hit().whole(&other);
    }
}

#[tokio::test]
async fn a_refresh_behind_the_viewers_back_is_never_abandoned() {
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        for joined in [false, true] {
            let rig = rig(mode, Abandon::Stop)
                .layer(|layer| layer.policy(Policy::default().stale_while_revalidate(seconds(60))));
            let first =
                Script::movie(PATH, LENGTH).header("cache-control", "max-age=60").header("etag", "\"v1\"");
            rig.inner.answer(PATH, first);
            rig.get(PATH).send().await.whole(&truth());
            rig.clock.advance(seconds(70));
            let gate = Gate::shut();
            let new =
                Script::movie("/new", LENGTH).header("etag", "\"v2\"").step(4, Step::Wait(gate.clone()));
            rig.inner.answer(PATH, new);
            rig.get(PATH).send().await.is_hit().whole(&truth());
            gate.reached_by(1).await;
            if joined {
                // One who may not have it stale waits with it for a moment.
                let viewer = rig.get(PATH).header("cache-control", "max-age=0").start();
                settle().await;
                viewer.abort();
            }
            settle().await;
            gate.open();
            settle().await;
            rig.get(PATH).send().await.is_hit().whole(&movie("/new", LENGTH));
            rig.inner.was_called(2);
        }
    }
}

#[tokio::test]
async fn what_is_stale_and_may_be_used_is_not_given_up_for_a_part_of_the_new() {
    for mode in MODES {
        let rig = rig(mode, Abandon::Stop);
        let cached = |path: &str, tag: &str| {
            let script = Script::movie(path, LENGTH).header("etag", tag).honours_ranges();
            script.header("cache-control", "max-age=60, stale-if-error=600")
        };
        rig.inner.answer(PATH, cached(PATH, "\"v1\""));
        rig.get(PATH).send().await.whole(&truth());
        rig.clock.advance(seconds(70));
        let gate = Gate::shut();
        rig.inner.answer(PATH, cached("/new", "\"v2\"").step(4, Step::Wait(gate.clone())));
        let viewer = rig.get(PATH).start();
        gate.reached_by(1).await;
        settle().await;
        viewer.abort();
        settle().await;
        rig.inner.answer(PATH, Script::absent().status(503));
        rig.get(PATH).send().await.whole(&truth());
    }
}

#[tokio::test]
async fn by_default_a_client_who_leaves_costs_the_inner_service_no_more_than_8_mib() {
    const MOVIE: usize = 12 << 20;
    for mode in MODES {
        for says_length in [true, false] {
            let script =
                if says_length { Script::movie(PATH, MOVIE) } else { Script::of(&movie(PATH, MOVIE)) };
            for (frames, is_finished) in [(4, false), ((5 << 20) / 617, true)] {
                let rig =
                    Rig::new().fill(mode).layer(|layer| layer.chunk_size(ChunkSize::new(1 << 20).unwrap()));
                let gate = Gate::shut();
                rig.inner.answer(PATH, script.clone().step(frames, Step::Wait(gate.clone())));
                let viewer = rig.get(PATH).range("bytes=0-0").start();
                gate.reached_by(1).await;
                let taken = rig.inner.bytes_of(PATH);
                viewer.abort();
                settle().await;
                gate.open();
                settle().await;
                let fetched = rig.inner.bytes_of(PATH);
                // Of what length it is, nobody knows: the chunk under way, 8 MiB, and what came of the next.
                let most = if says_length { taken } else { (9 << 20) + 617 };
                assert!(
                    is_finished == (fetched == MOVIE as u64),
                    "{mode:?} after {frames} frames: {fetched}"
                );
                assert!(is_finished || fetched <= most, "{mode:?} after {frames} frames: {fetched}");
            }
        }
    }
}

const OTHER: &str = "/b.mp4";

fn other() -> Bytes {
    movie(OTHER, LENGTH)
}

/// Another movie, with room for one of the two.
fn crowded(mode: Fill, layer: impl FnOnce(VideoCacheLayer) -> VideoCacheLayer) -> Rig {
    rig(mode, Abandon::Finish).layer(layer).script(OTHER, Script::movie(OTHER, LENGTH))
}

fn one_place(layer: VideoCacheLayer) -> VideoCacheLayer {
    layer.limits(Limits::default().max_fills(NonZeroUsize::MIN))
}

/// Each chunk is reckoned with 512 bytes beside its own.
const ROOM_FOR_ONE: u64 = 5 * 1512 + 1000;

fn room_for_one(layer: VideoCacheLayer) -> VideoCacheLayer {
    layer.limits(Limits::default().max_reserved(ROOM_FOR_ONE))
}

const CROWDS: [fn(VideoCacheLayer) -> VideoCacheLayer; 2] = [one_place, room_for_one];

#[tokio::test]
async fn one_that_nobody_waits_for_yields_to_one_that_somebody_waits_for() {
    for mode in MODES {
        for crowd in CROWDS {
            for is_bound in [true, false] {
                let script = if is_bound { known() } else { Script::movie(PATH, LENGTH) };
                let rig = crowded(mode, crowd);
                // It never comes to its end.
                let gate = held(&rig, &script, 2);
                let viewer = rig.get(PATH).start();
                gate.reached_by(1).await;
                viewer.abort();
                settle().await;
                let taken = rig.inner.bytes_of(PATH);
                rig.get(OTHER).send().await.whole(&other());
                rig.get(OTHER).send().await.is_hit().whole(&other());
                gate.open();
                settle().await;
                assert_eq!(rig.inner.bytes_of(PATH), taken, "it takes no more of the inner body");
                rig.get(PATH).send().await.whole(&truth());
                let is_gone_on_with = rig.inner.ranges(PATH) == ["", "bytes=2000-4999"];
                assert_eq!(is_gone_on_with, is_bound);
            }
        }
    }
}

#[tokio::test]
async fn one_that_nobody_waits_for_yields_before_the_inner_service_has_answered() {
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let rig = crowded(mode, one_place);
        let gate = Gate::shut();
        rig.inner.answer_each(PATH, [known().held_by(&gate), known()]);
        let viewer = rig.get(PATH).start();
        gate.reached_by(1).await;
        viewer.abort();
        settle().await;
        rig.get(OTHER).send().await.whole(&other());
        rig.get(OTHER).send().await.is_hit();
        // And who comes for it now does not wait for what was given up.
        rig.get(PATH).send().await.whole(&truth());
        rig.get(PATH).send().await.is_hit().whole(&truth());
    }
}

#[tokio::test]
async fn one_that_somebody_waits_for_yields_to_nobody() {
    for mode in MODES {
        for crowd in CROWDS {
            let rig = crowded(mode, crowd);
            let gate = held(&rig, &known(), 2);
            let leader = rig.get(PATH).start();
            gate.reached_by(1).await;
            let follower = rig.get(PATH).start();
            settle().await;
            leader.abort();
            settle().await;
            let passed = rig.get(OTHER).send().await;
            passed.whole(&other());
            assert!(passed.cache_status().contains("detail="), "{}", passed.cache_status());
            gate.open();
            follower.await.unwrap().whole(&truth());
            rig.get(PATH).send().await.is_hit().whole(&truth());
            assert_eq!(rig.inner.ranges(PATH), [""]);
        }
    }
}

#[tokio::test]
async fn many_that_nobody_waits_for_keep_nobody_from_being_stored() {
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let limits = Limits::default().max_reserved(ROOM_FOR_ONE).max_fills(NonZeroUsize::new(3).unwrap());
        let rig = crowded(mode, |layer| layer.limits(limits));
        let gate = Gate::shut();
        for number in 0..20 {
            let path = format!("/left?{number}");
            rig.inner.answer(&path, Script::movie(PATH, LENGTH).step(2, Step::Wait(gate.clone())));
            let viewer = rig.get(&path).range("bytes=0-0").start();
            settle().await;
            viewer.abort();
            settle().await;
        }
        let answer = rig.get(OTHER).send().await;
        answer.whole(&other());
        assert!(!answer.cache_status().contains("detail"), "{}", answer.cache_status());
        rig.get(OTHER).send().await.is_hit().whole(&other());
    }
}

#[tokio::test]
async fn a_refresh_that_nobody_waits_for_yields_too() {
    for mode in MODES {
        for crowd in CROWDS {
            let policy = Policy::default().stale_while_revalidate(seconds(60));
            let rig = crowded(mode, |layer| crowd(layer).policy(policy));
            rig.inner.answer(PATH, Script::movie(PATH, LENGTH).header("cache-control", "max-age=60"));
            rig.get(PATH).send().await.whole(&truth());
            rig.clock.advance(seconds(70));
            let gate = Gate::shut();
            rig.inner.answer(PATH, Script::movie(PATH, LENGTH).step(4, Step::Wait(gate.clone())));
            rig.get(PATH).send().await.is_hit().whole(&truth());
            gate.reached_by(1).await;
            rig.get(OTHER).send().await.whole(&other());
            rig.get(OTHER).send().await.is_hit();
            // What was stale is served as before, and refreshed once more.
            rig.inner.answer(PATH, Script::movie(PATH, LENGTH));
            rig.get(PATH).send().await.whole(&truth());
        }
    }
}
