//! A fill whose last client has gone: it is finished, stopped, or gives way to others.

use bytes::Bytes;
use std::num::NonZeroUsize;
use tower_video_cache::{Abandon, ChunkSize, Fill, Limits, Policy, VideoCacheLayer};

use crate::rig::{Gate, PATH, Rig, Script, Step, movie, seconds, settle};

/// Five chunks.
const LENGTH: usize = 5000;

const MODES: [Fill; 2] = [Fill::whole(), Fill::progressive()];

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

/// A script whose body can be had in parts.
fn known() -> Script {
    Script::movie(PATH, LENGTH).header("etag", "\"v1\"").honours_ranges()
}

/// Scripts without a validator that binds parts: a stopped fill of them cannot be continued.
fn unbound() -> [Script; 4] {
    [
        Script::movie(PATH, LENGTH),
        Script::movie(PATH, LENGTH).header("etag", "W/\"v1\"").honours_ranges(),
        Script::of(&truth()),
        // The fill could be continued, but nobody knows how many bytes are missing.
        Script::of(&truth()).header("etag", "\"v1\"").honours_ranges(),
    ]
}

fn rig(mode: Fill, abandon: Abandon) -> Rig {
    Rig::new().fill(mode).layer(|layer| layer.abandon(abandon))
}

/// Holds the first body once this many chunks have come, and no later body.
fn held(rig: &Rig, script: &Script, chunks: usize) -> Gate {
    let gate = Gate::shut();
    let frame = Script::frame_after(chunks);
    rig.inner.answer_each(PATH, [script.clone().step(frame, Step::Wait(gate.clone())), script.clone()]);
    gate
}

/// A client comes, and leaves once this many chunks are stored.
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
async fn an_abandoned_fill_of_a_small_video_is_finished_by_default() {
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
async fn a_stopped_fill_takes_no_more_of_the_inner_body() {
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
async fn a_stopped_fill_leaves_only_the_missing_bytes_to_fetch() {
    for mode in MODES {
        for chunks in 1..5 {
            let rig = rig(mode, Abandon::Stop);
            one_leaves_after(&rig, &known(), chunks).await;
            rig.get(PATH).send().await.whole(&truth());
            assert_eq!(rig.inner.ranges(PATH), [String::new(), format!("bytes={chunks}000-4999")]);
            assert_eq!(rig.inner.calls()[1].headers["if-range"], "\"v1\"");
            rig.get(PATH).send().await.is_hit().whole(&truth());
            rig.inner.was_called(2);
            // Five chunks, each put once.
            assert!(rig.puts() <= 5 + 2);
        }
    }
}

#[tokio::test]
async fn a_stopped_fill_serves_its_stored_ranges_without_another_call() {
    let rig = rig(Fill::progressive(), Abandon::Stop);
    one_leaves_after(&rig, &known(), 3).await;
    rig.get(PATH).range("bytes=100-2999").send().await.is_hit().partial(&truth(), 100..3000);
    assert_eq!(rig.head(PATH).send().await.is_hit().field("content-length"), "5000");
    rig.inner.was_called(1);
    // A range that is not stored costs only its own chunks.
    rig.get(PATH).range("bytes=3500-3600").send().await.partial(&truth(), 3500..3601);
    assert_eq!(rig.inner.ranges(PATH)[1..], ["bytes=3000-3999"]);
}

#[tokio::test]
async fn a_stopped_fill_without_a_strong_validator_leaves_nothing() {
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
async fn a_client_that_leaves_before_anything_is_stored_leaves_nothing() {
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
async fn a_request_after_a_fill_was_stopped_does_not_wait_for_it() {
    for mode in MODES {
        let rig = rig(mode, Abandon::Stop);
        let gate = held(&rig, &known(), 2);
        let viewer = rig.get(PATH).start();
        gate.reached_by(1).await;
        settle().await;
        viewer.abort();
        settle().await;
        // The gate stays shut, so the stopped fill never goes on.
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(rig.inner.ranges(PATH), ["", "bytes=2000-4999"]);
    }
}

#[tokio::test]
async fn an_abandoned_fill_is_finished_from_the_set_percentage() {
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
async fn an_abandoned_fill_is_finished_if_no_more_is_missing_than_was_set() {
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
async fn an_abandoned_fill_of_unknown_length_is_finished_by_no_share_of_it() {
    for mode in MODES {
        let rig = rig(mode, Abandon::FinishFromPercent(1));
        one_leaves_after(&rig, &Script::of(&truth()), 4).await;
        rig.get(PATH).send().await.whole(&truth());
        rig.inner.was_called(2);
    }
}

#[tokio::test]
async fn an_abandoned_fill_of_unknown_length_goes_on_for_the_set_bytes() {
    for mode in MODES {
        // The chunk under way when the client left is not counted.
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
async fn a_client_that_stays_keeps_the_fill_going() {
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
async fn the_last_client_to_leave_stops_the_fill() {
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
async fn a_body_that_was_begun_and_is_not_read_keeps_the_fill_going() {
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
async fn a_client_that_got_its_range_does_not_keep_the_fill_going() {
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
async fn a_stopped_fill_that_cannot_be_completed_is_begun_anew() {
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
        // Only a body that had begun may break. All other answers are unharmed.
        assert!(mode != Fill::whole() || answers[0].error.is_none());
        answers[1].whole(&other);
        answers[2].is_hit().whole(&other);
    }
}

#[tokio::test]
async fn a_refresh_in_the_background_is_never_abandoned() {
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
                // A client that may not have the stale response waits for the fill for a moment.
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
async fn a_usable_stale_response_is_not_given_up_for_a_part_of_the_new_one() {
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
async fn a_client_that_leaves_costs_the_inner_service_8_mib_at_most_by_default() {
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
                // If the length is unknown, the fill takes the chunk under way, 8 MiB, and the part of the next chunk
                // that came.
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

/// Another video, with room for one of the two.
fn crowded(mode: Fill, layer: impl FnOnce(VideoCacheLayer) -> VideoCacheLayer) -> Rig {
    rig(mode, Abandon::Finish).layer(layer).script(OTHER, Script::movie(OTHER, LENGTH))
}

fn one_place(layer: VideoCacheLayer) -> VideoCacheLayer {
    layer.limits(Limits::default().max_fills(NonZeroUsize::MIN))
}

/// A chunk takes 512 bytes beside its own.
const ROOM_FOR_ONE: u64 = 5 * 1512 + 1000;

fn room_for_one(layer: VideoCacheLayer) -> VideoCacheLayer {
    layer.limits(Limits::default().max_reserved(ROOM_FOR_ONE))
}

const CROWDS: [fn(VideoCacheLayer) -> VideoCacheLayer; 2] = [one_place, room_for_one];

#[tokio::test]
async fn an_abandoned_fill_yields_to_one_that_a_client_waits_for() {
    for mode in MODES {
        for crowd in CROWDS {
            for is_bound in [true, false] {
                let script = if is_bound { known() } else { Script::movie(PATH, LENGTH) };
                let rig = crowded(mode, crowd);
                // This fill never ends.
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
                assert_eq!(rig.inner.bytes_of(PATH), taken, "the fill takes no more of the inner body");
                rig.get(PATH).send().await.whole(&truth());
                let is_gone_on_with = rig.inner.ranges(PATH) == ["", "bytes=2000-4999"];
                assert_eq!(is_gone_on_with, is_bound);
            }
        }
    }
}

#[tokio::test]
async fn an_abandoned_fill_yields_before_the_inner_service_has_answered() {
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
        // A new client of the abandoned video does not wait for the fill that was given up.
        rig.get(PATH).send().await.whole(&truth());
        rig.get(PATH).send().await.is_hit().whole(&truth());
    }
}

#[tokio::test]
async fn a_fill_that_a_client_waits_for_yields_to_no_other() {
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
async fn many_abandoned_fills_keep_no_other_response_from_being_stored() {
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
async fn a_refresh_that_no_client_waits_for_yields_too() {
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
            // The stale response is served as before, and refreshed once more.
            rig.inner.answer(PATH, Script::movie(PATH, LENGTH));
            rig.get(PATH).send().await.whole(&truth());
        }
    }
}
