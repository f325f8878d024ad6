//! Named limits: of fills, of room promised in the store, of calls for parts, of read-ahead, and of silence.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::StatusCode;
use tokio::time::Instant;
use tower_video_cache::{Fill, Limits, Retry, Timeouts};

use crate::rig::{Answer, Gate, PATH, Rig, Script, Step, movie, seconds, settle};

const OTHER: &str = "/b.mp4";

/// Twenty chunks.
const LENGTH: usize = 20_000;

const MODES: [Fill; 4] = [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced()];

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

/// A script whose body can be had in parts.
fn parts(path: &str, length: usize) -> Script {
    Script::movie(path, length).header("etag", "\"v1\"").honours_ranges()
}

fn rig(mode: Fill) -> Rig {
    Rig::new().fill(mode).script(PATH, parts(PATH, LENGTH)).script(OTHER, parts(OTHER, 2500))
}

fn held(script: Script, chunks: usize, gate: &Gate) -> Script {
    script.step(Script::frame_after(chunks), Step::Wait(gate.clone()))
}

#[track_caller]
fn says(answer: &Answer, detail: &str) {
    let said = answer.cache_status();
    assert!(said.ends_with(&format!("; detail={detail}")) && !said.contains("stored"), "{said}");
}

#[tokio::test]
async fn a_response_that_would_need_one_fill_too_many_passes_and_says_so() {
    for mode in MODES {
        let gate = Gate::shut();
        let rig = rig(mode).layer(|layer| layer.limits(Limits::default().max_fills(NonZeroUsize::MIN)));
        // The gate is before the head, so this is a fill in all modes.
        rig.inner.answer(PATH, parts(PATH, LENGTH).held_by(&gate));
        let leader = rig.get(PATH).start();
        gate.reached_by(1).await;
        for _ in 0..2 {
            let passed = rig.get(OTHER).send().await;
            passed.whole(&movie(OTHER, 2500));
            says(&passed, "fills-limit");
            let passed = rig.get(OTHER).range("bytes=5-9").send().await;
            passed.partial(&movie(OTHER, 2500), 5..10);
            says(&passed, "fills-limit");
        }
        rig.inner.was_called(1 + 4);
        // A follower of a fill needs no fill of its own.
        let follower = rig.get(PATH).start();
        settle().await;
        assert!(!follower.is_finished());
        gate.open();
        leader.await.unwrap().whole(&truth());
        follower.await.unwrap().whole(&truth());
        settle().await;
        rig.get(OTHER).send().await.whole(&movie(OTHER, 2500));
        rig.get(OTHER).send().await.is_hit();
        assert_eq!(rig.inner.ranges(OTHER).len(), if mode == Fill::sliced() { 4 + 2 } else { 4 + 1 });
    }
}

#[tokio::test]
async fn a_fill_that_is_read_while_it_comes_counts_until_its_end() {
    let gate = Gate::shut();
    let rig =
        rig(Fill::progressive()).layer(|layer| layer.limits(Limits::default().max_fills(NonZeroUsize::MIN)));
    rig.inner.answer(PATH, held(parts(PATH, LENGTH), 2, &gate));
    let mut leader = rig.get(PATH).reading().await;
    leader.ready();
    says(&rig.get(OTHER).send().await, "fills-limit");
    let mut follower = rig.get(PATH).reading().await;
    follower.ready();
    gate.open();
    leader.rest().await.whole(&truth());
    follower.rest().await.whole(&truth());
    settle().await;
    rig.get(OTHER).send().await.whole(&movie(OTHER, 2500));
    rig.get(OTHER).send().await.is_hit();
}

#[tokio::test]
async fn a_response_that_does_not_fit_beside_promised_room_passes_and_says_so() {
    // A chunk takes 512 bytes beside its own.
    let weight = 20 * 1512;
    for mode in [Fill::whole(), Fill::progressive()] {
        let gate = Gate::shut();
        let rig = rig(mode).layer(|layer| layer.limits(Limits::default().max_reserved(weight + 1000)));
        rig.inner.answer(PATH, held(parts(PATH, LENGTH), 2, &gate));
        let leader = rig.get(PATH).start();
        gate.reached_by(1).await;
        let passed = rig.get(OTHER).send().await;
        passed.whole(&movie(OTHER, 2500));
        says(&passed, "no-room");
        gate.open();
        leader.await.unwrap().whole(&truth());
        settle().await;
        rig.clock.advance(seconds(20));
        rig.get(OTHER).send().await.whole(&movie(OTHER, 2500));
        rig.get(OTHER).send().await.is_hit();
    }
}

#[tokio::test]
async fn a_response_that_would_never_fit_passes_as_a_whole_and_comes_through_the_store_in_pieces() {
    let rig_of = |mode: Fill| {
        rig(mode.max_lead(4000)).layer(|layer| layer.limits(Limits::default().max_reserved(10_000)))
    };
    let rig = rig_of(Fill::whole());
    let passed = rig.get(PATH).send().await;
    passed.whole(&truth());
    says(&passed, "too-large");
    for mode in [Fill::progressive(), Fill::sliced()] {
        let rig = rig_of(mode);
        let answer = rig.get(PATH).send().await;
        answer.whole(&truth());
        says(&answer, "storing");
        settle().await;
        rig.get(PATH).send().await.is_hit().whole(&truth());
    }
    // The limit has no room even for the chunks that would be ahead of a reader.
    let rig = self::rig(Fill::progressive().max_lead(4000))
        .layer(|layer| layer.limits(Limits::default().max_reserved(5000)));
    let passed = rig.get(PATH).send().await;
    passed.whole(&truth());
    says(&passed, "no-room");
}

#[tokio::test]
async fn promised_room_is_given_back_however_a_fill_ends() {
    for mode in MODES {
        let rig = rig(mode).layer(|layer| {
            layer.limits(Limits::default().max_reserved(20 * 1512)).retry(Retry::default().attempts(0))
        });
        for broken in [
            parts(PATH, LENGTH).step(3, Step::Fail),
            parts(PATH, LENGTH).step(3, Step::Panic),
            parts(PATH, LENGTH).fails(),
            Script::absent(),
        ] {
            rig.inner.answer(PATH, broken);
            // A panic of the inner service may reach its caller.
            let _ = tokio::spawn({
                let ask = rig.get(PATH);
                async move { drop(ask.response().await) }
            })
            .await;
            settle().await;
        }
        rig.inner.answer(PATH, parts(PATH, LENGTH));
        rig.clock.advance(seconds(20));
        rig.get(PATH).send().await.whole(&truth());
        rig.get(PATH).send().await.is_hit().whole(&truth());
    }
}

/// A sparse object of which only the first chunk is stored.
async fn begun(rig: Rig) -> Rig {
    rig.get(PATH).range("bytes=0-99").send().await.partial(&truth(), 0..100);
    settle().await;
    rig.inner.was_called(1);
    rig
}

#[tokio::test(start_paused = true)]
async fn a_request_that_needs_one_slice_too_many_waits_for_its_turn() {
    let rig = begun(rig(Fill::sliced().max_calls(NonZeroUsize::new(2).unwrap()))).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, parts(PATH, LENGTH).held_by(&gate));
    let viewers: [_; 4] = std::array::from_fn(|place| {
        rig.get(PATH).range(&format!("bytes={}-{}", 5000 * place + 2000, 5000 * place + 2099)).start()
    });
    gate.reached_by(2).await;
    settle().await;
    rig.inner.was_called(1 + 2);
    gate.open();
    for (place, viewer) in viewers.into_iter().enumerate() {
        viewer.await.unwrap().partial(&truth(), 5000 * place + 2000..5000 * place + 2100);
    }
    rig.inner.was_called(1 + 4);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_its_own_slice_does_so_within_its_limit() {
    let limit = seconds(7);
    let rig = rig(Fill::sliced().max_calls(NonZeroUsize::MIN))
        .layer(|layer| layer.timeouts(Timeouts::default().follower(limit)));
    let rig = begun(rig).await;
    let gate = Gate::shut();
    rig.inner.answer_each(PATH, [parts(PATH, LENGTH).held_by(&gate), parts(PATH, LENGTH)]);
    let first = rig.get(PATH).range("bytes=5000-5099").start();
    gate.reached_by(1).await;

    // An answer that has not begun is forwarded to the inner service at its limit.
    let begun = Instant::now();
    let late = rig.get(PATH).range("bytes=9000-9099").send().await;
    late.partial(&truth(), 9000..9100);
    says(&late, "waited-too-long");
    assert_eq!(begun.elapsed(), limit);
    rig.inner.was_called(1 + 2);

    // A body that has begun ends with an error at its limit.
    let mut body = rig.get(PATH).range("bytes=0-3000").reading().await;
    assert_eq!(body.ready(), truth()[..1000]);
    let begun = Instant::now();
    assert!(body.rest().await.error.is_some());
    assert_eq!(begun.elapsed(), limit);

    gate.open();
    first.await.unwrap().partial(&truth(), 5000..5100);
    rig.get(PATH).send().await.whole(&truth());
}

#[tokio::test(start_paused = true)]
async fn a_follower_waits_within_its_limit_in_every_mode() {
    for mode in MODES {
        let gate = Gate::shut();
        let rig =
            Rig::new().fill(mode).layer(|layer| layer.timeouts(Timeouts::default().follower(seconds(7))));
        rig.inner.answer_each(PATH, [parts(PATH, LENGTH).held_by(&gate), parts(PATH, LENGTH)]);
        let leader = rig.get(PATH).start();
        gate.reached_by(1).await;
        let begun = Instant::now();
        let late = rig.get(PATH).range("bytes=9000-9099").send().await;
        late.partial(&truth(), 9000..9100);
        says(&late, "waited-too-long");
        assert_eq!(begun.elapsed(), seconds(7));
        gate.open();
        leader.await.unwrap().whole(&truth());
    }
}

#[tokio::test]
async fn no_more_is_read_ahead_than_was_set() {
    for ahead in [0, 1, 1000, 3000, 6000] {
        let rig = rig(Fill::sliced().read_ahead(ahead));
        let mut viewer = rig.get(PATH).reading().await;
        let mut consumed = 0;
        loop {
            settle().await;
            let fetched = rig.inner.bytes_of(PATH);
            // The limit is rounded to chunks, and never less than the chunk that is read next.
            let most = (consumed + ahead.max(1)).div_ceil(1000) * 1000 + 1000;
            assert!(fetched <= most, "{fetched} bytes with {consumed} read, {ahead} ahead");
            match viewer.next().await {
                Some(bytes) => consumed += bytes.unwrap().len() as u64,
                None => break,
            }
        }
        viewer.rest().await.whole(&truth());
        assert_eq!(rig.inner.bytes_of(PATH), LENGTH as u64);
    }
}

#[tokio::test]
async fn the_read_ahead_grows_with_the_bytes_that_were_read() {
    let rig = rig(Fill::sliced().read_ahead(4000));
    rig.get(PATH).send().await.whole(&truth());
    settle().await;
    let ranges = rig.inner.ranges(PATH);
    assert_eq!(ranges[0], "bytes=0-999");
    let lengths: Vec<_> = ranges
        .iter()
        .map(|range| {
            let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            last.parse::<usize>().unwrap() + 1 - first.parse::<usize>().unwrap()
        })
        .collect();
    assert_eq!(lengths.iter().sum::<usize>(), LENGTH);
    assert!(lengths.iter().all(|length| *length <= 4000));
    assert!(ranges.len() < 20, "{ranges:?}");
}

#[tokio::test]
async fn nothing_is_read_ahead_beyond_the_requested_range() {
    for (asked, range) in
        [("bytes=0-2500", 0..2501), ("bytes=5500-9100", 5500..9101), ("bytes=-1500", 18_500..20_000)]
    {
        let rig = begun(rig(Fill::sliced())).await;
        rig.get(PATH).range(asked).send().await.partial(&truth(), range.clone());
        settle().await;
        let chunks = range.end.div_ceil(1000) - range.start / 1000;
        let stored_before = usize::from(range.start < 1000);
        assert_eq!(rig.inner.bytes_of(PATH), (1000 * (1 + chunks - stored_before)) as u64, "{asked}");
    }
}

#[tokio::test]
async fn nothing_more_is_read_ahead_for_a_client_that_has_left() {
    let rig = rig(Fill::sliced().read_ahead(8000));
    let mut viewer = rig.get(PATH).reading().await;
    for _ in 0..5 {
        viewer.next().await.unwrap().unwrap();
    }
    settle().await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, parts(PATH, LENGTH).held_by(&gate));
    while poll_immediate(Box::pin(viewer.next())).await.is_some() {
        settle().await;
    }
    let fetched = rig.inner.bytes_of(PATH);
    drop(viewer);
    gate.open();
    settle().await;
    assert_eq!(rig.inner.bytes_of(PATH), fetched);
    rig.get(PATH).send().await.whole(&truth());
    assert_eq!(rig.inner.bytes_of(PATH), LENGTH as u64);
}

#[tokio::test]
async fn a_slice_whose_client_has_left_ends_at_once() {
    let rig = begun(rig(Fill::sliced())).await;
    let gate = Gate::shut();
    rig.inner.answer(PATH, held(parts(PATH, LENGTH), 3, &gate));
    let mut viewer = rig.get(PATH).range("bytes=1000-8999").reading().await;
    for _ in 0..2 {
        viewer.next().await.unwrap().unwrap();
    }
    gate.reached_by(1).await;
    viewer.waits();
    drop(viewer);
    gate.open();
    settle().await;
    rig.get(PATH).range("bytes=1000-8999").send().await.partial(&truth(), 1000..9000);
    assert_eq!(rig.inner.ranges(PATH), ["bytes=0-999", "bytes=1000-8999", "bytes=3000-8999"]);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_does_not_answer_is_waited_for_by_its_leader_alone() {
    for mode in MODES {
        let gate = Gate::shut();
        let rig =
            Rig::new().fill(mode).layer(|layer| layer.timeouts(Timeouts::default().inner_idle(seconds(5))));
        let held = parts(PATH, LENGTH).held_by(&gate);
        rig.inner.answer_each(PATH, [held.clone(), parts(PATH, LENGTH)]);
        let begun = Instant::now();
        let leader = rig.get(PATH).range("bytes=100-199").start();
        gate.reached_by(1).await;
        let follower = rig.get(PATH).range("bytes=100-199").send().await;
        follower.partial(&truth(), 100..200);
        assert_eq!(begun.elapsed(), seconds(5));
        gate.open();
        let leader = leader.await.unwrap();
        says(&leader, "inner-stalled");
        match leader.status {
            StatusCode::OK => leader.whole(&truth()),
            _ => leader.partial(&truth(), 100..200),
        };
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_is_given_up_in_every_mode() {
    for mode in MODES {
        // The body falls silent within the first chunk, and later.
        for byte in [500, 2500] {
            let rig = Rig::new()
                .fill(mode)
                .layer(|layer| layer.timeouts(Timeouts::default().inner_idle(seconds(5))));
            // The body falls silent once.
            rig.inner.answer(PATH, parts(PATH, LENGTH).stalls_at(byte));
            let leader = rig.get(PATH).start();
            settle().await;
            let begun = Instant::now();
            let follower = rig.get(PATH).send().await;
            assert!(begun.elapsed() <= seconds(5) + Duration::from_secs(1), "{mode:?} at {byte}");
            follower.whole(&truth());
            if mode == Fill::sliced() {
                leader.await.unwrap().whole(&truth());
            } else {
                // The leader has read the live bytes, and waits for the rest.
                settle().await;
                assert!(!leader.is_finished());
                leader.abort();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slices_that_fall_silent_again_and_again_are_given_up() {
    let rig = rig(Fill::sliced()).layer(|layer| {
        layer
            .timeouts(Timeouts::default().inner_idle(seconds(5)))
            .retry(Retry::default().first_delay(seconds(1)))
    });
    let rig = begun(rig).await;
    rig.inner.answer(PATH, parts(PATH, LENGTH).stalls_at(1500).dies_times(100));
    let begun = Instant::now();
    let mut viewer = rig.get(PATH).range("bytes=0-4999").reading().await;
    viewer.ready();
    assert!(viewer.rest().await.error.is_some());
    // Four silences, and three pauses between them.
    assert_eq!(begun.elapsed(), seconds(4 * 5 + 1 + 2 + 4));
    rig.inner.was_called(1 + 4);
}
