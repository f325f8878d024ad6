//! The default mode: the request and the knowledge of the inner service decide which bytes are asked for, and each byte
//! leaves as soon as it is stored.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tower_video_cache::{Abandon, ChunkSize, Fault, Fill, Operation};

use crate::rig::{
    Gate, PATH, Rig, Script, Step, movie,
    parted::{asked, tagged},
    settle,
};

/// Ten pieces of 64 KiB, and a part of one.
const LENGTH: usize = 700_000;

/// The size of a piece.
const PIECE: usize = 64 << 10;

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

/// An inner service that says that it gives parts, and gives them.
fn parted() -> Script {
    tagged(&truth(), "\"v1\"").header("accept-ranges", "bytes")
}

/// A rig with chunks of 1 MiB: one chunk holds the whole video.
fn rig(script: Script) -> Rig {
    Rig::new().fill(Fill::auto()).layer(|layer| layer.chunk_size(ChunkSize::default())).script(PATH, script)
}

/// The frame of a script that holds the byte at `offset`.
fn frame_of(offset: usize) -> usize {
    offset / 617
}

/// The script, held by the gate before it gives the byte at `offset`.
fn held_at(script: Script, offset: usize, gate: &Gate) -> Script {
    script.step(frame_of(offset), Step::Wait(gate.clone()))
}

#[tokio::test]
async fn a_request_from_the_start_makes_one_call_without_a_range() {
    for range in [None, Some("bytes=0-")] {
        let rig = rig(parted());
        let ask = rig.get(PATH);
        let answer = match range {
            Some(range) => ask.range(range).send().await,
            None => ask.send().await,
        };
        assert_eq!(answer.bytes, truth(), "{range:?}");
        assert_eq!(asked(&rig), ["all"], "{range:?}");
        settle().await;
        rig.get(PATH).send().await.whole(&truth()).is_hit();
        rig.inner.was_called(1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_first_byte_waits_for_one_piece_of_the_body_and_not_for_a_chunk() {
    for (range, first) in [(None, 0), (Some("bytes=200000-"), 196_608), (Some("bytes=-300000"), 458_752)] {
        let gate = Gate::shut();
        let script = parted();
        // The first byte that the inner service is asked for, and the byte after one whole piece.
        let begin = if range == Some("bytes=-300000") { LENGTH - 300_000 - PIECE } else { first };
        let rig = rig(held_at(script, first + PIECE + 1300 - begin, &gate));
        let ask = rig.get(PATH);
        let mut reading = match range {
            Some(range) => ask.range(range).reading().await,
            None => ask.reading().await,
        };
        assert!(!reading.next().await.unwrap().unwrap().is_empty(), "{range:?}");
        gate.open();
        let answer = reading.rest().await;
        let start = match range {
            None => 0,
            Some("bytes=-300000") => LENGTH - 300_000,
            Some(_) => 200_000,
        };
        assert_eq!(answer.bytes, truth().slice(start..), "{range:?}");
        rig.inner.was_called(1);
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_that_have_come_leave_though_the_inner_service_pauses() {
    let gate = Gate::shut();
    for script in [parted(), Script::of(&truth())] {
        let rig = rig(held_at(script, 10_000, &gate));
        let rig = rig.layer(|layer| layer.patience(Duration::from_millis(50)));
        let began = tokio::time::Instant::now();
        let mut reading = rig.get(PATH).reading().await;
        let frame = reading.next().await.unwrap().unwrap();
        assert_eq!(frame, truth().slice(..frame.len()));
        assert!(frame.len() > 9000, "{}", frame.len());
        assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
        gate.open();
        reading.rest().await.whole(&truth());
    }
}

#[tokio::test]
async fn a_range_elsewhere_is_asked_for_by_itself() {
    for (range, call, part) in [
        ("bytes=200000-", "196608-", 200_000..LENGTH),
        ("bytes=200000-200099", "196608-262143", 200_000..200_100),
        ("bytes=0-1", "0-65535", 0..2),
        ("bytes=-1000", "-66536", LENGTH - 1000..LENGTH),
        ("bytes=690000-", "655360-", 690_000..LENGTH),
    ] {
        let rig = rig(parted());
        rig.get(PATH).range(range).send().await.partial(&truth(), part.clone());
        assert_eq!(asked(&rig), [call], "{range}");
        settle().await;
        rig.get(PATH).range(range).send().await.partial(&truth(), part).is_hit();
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_seek_does_not_wait_for_a_fill_that_is_far_from_it() {
    let gate = Gate::shut();
    let rig = rig(held_at(parted(), 100_000, &gate));
    let mut first = rig.get(PATH).reading().await;
    first.next().await.unwrap().unwrap();
    gate.reached_by(1).await;
    rig.inner.answer(PATH, parted());
    let seek = rig.get(PATH).range("bytes=600000-").send().await;
    seek.partial(&truth(), 600_000..LENGTH);
    assert_eq!(asked(&rig), ["all", "589824-699999 \"v1\""]);
    gate.open();
    // The first client gets all of its bytes from its own call.
    first.rest().await.whole(&truth());
    rig.inner.was_called(2);
}

#[tokio::test(start_paused = true)]
async fn a_seek_waits_for_a_fill_that_cannot_be_continued_by_parts() {
    let gate = Gate::shut();
    let rig = rig(held_at(unparted_of().header("etag", "\"v1\""), 100_000, &gate));
    let mut first = rig.get(PATH).reading().await;
    first.next().await.unwrap().unwrap();
    let seek = rig.get(PATH).range("bytes=600000-").start();
    settle().await;
    assert!(!seek.is_finished());
    gate.open();
    seek.await.unwrap().partial(&truth(), 600_000..LENGTH);
    first.rest().await.whole(&truth());
    // The service gives no parts, and says nothing of that: the seek had to find out.
    assert_eq!(asked(&rig), ["all", "589824-699999 \"v1\""]);
}

#[tokio::test(start_paused = true)]
async fn a_seek_does_not_wait_for_a_fill_though_the_service_does_not_say_that_it_gives_parts() {
    let gate = Gate::shut();
    let rig = rig(held_at(parted().without("accept-ranges"), 100_000, &gate));
    let mut first = rig.get(PATH).reading().await;
    first.next().await.unwrap().unwrap();
    rig.get(PATH).range("bytes=600000-").send().await.partial(&truth(), 600_000..LENGTH);
    assert_eq!(asked(&rig), ["all", "589824-699999 \"v1\""]);
    gate.open();
    first.rest().await.whole(&truth());
}

#[tokio::test]
async fn a_fill_that_can_be_continued_ends_with_its_last_client_and_keeps_every_piece() {
    let gate = Gate::shut();
    let rig = rig(held_at(parted(), 2 * PIECE + 1300, &gate));
    let mut viewer = rig.get(PATH).reading().await;
    while viewer.bytes.len() < PIECE {
        viewer.next().await.unwrap().unwrap();
    }
    gate.reached_by(1).await;
    drop(viewer);
    settle().await;
    gate.open();
    settle().await;
    assert!(rig.inner.bytes_of(PATH) < 3 * PIECE as u64, "{}", rig.inner.bytes_of(PATH));
    rig.inner.answer(PATH, parted());
    rig.get(PATH).send().await.whole(&truth());
    assert_eq!(asked(&rig), ["all", "131072-699999 \"v1\""]);
}

#[tokio::test]
async fn a_fill_that_cannot_be_continued_follows_the_policy_for_abandoned_fills() {
    for (abandon, calls) in [(Abandon::Finish, 1), (Abandon::Stop, 2)] {
        let gate = Gate::shut();
        let rig = rig(held_at(unparted_of(), 100_000, &gate)).layer(|layer| layer.abandon(abandon));
        let mut viewer = rig.get(PATH).reading().await;
        viewer.next().await.unwrap().unwrap();
        gate.reached_by(1).await;
        drop(viewer);
        settle().await;
        gate.open();
        settle().await;
        rig.inner.answer(PATH, unparted_of());
        rig.get(PATH).send().await.whole(&truth());
        rig.inner.was_called(calls);
    }
}

fn unparted_of() -> Script {
    let length = LENGTH.to_string();
    Script::of(&truth()).header("content-length", &length)
}

#[tokio::test]
async fn a_fill_is_not_far_ahead_of_a_client_that_pauses() {
    const LONG: usize = 4 << 20;
    let script = tagged(&movie(PATH, LONG), "\"v1\"").header("accept-ranges", "bytes");
    let rig = rig(script);
    let mut viewer = rig.get(PATH).reading().await;
    viewer.next().await.unwrap().unwrap();
    settle().await;
    assert!(rig.inner.bytes_of(PATH) <= 3 << 20, "{}", rig.inner.bytes_of(PATH));
    viewer.rest().await.whole(&movie(PATH, LONG));
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_client_that_pauses_in_a_far_range_gets_all_of_it() {
    const LONG: usize = 4 << 20;
    let long = movie(PATH, LONG);
    for lead in [0, 8 << 20] {
        let fill = Fill::auto().read_ahead(lead).max_lead(1);
        let rig = Rig::new().fill(fill).script(PATH, tagged(&long, "\"v1\""));
        let rig = rig.layer(|layer| layer.chunk_size(ChunkSize::new(256 << 10).unwrap()));
        let mut viewer = rig.get(PATH).range("bytes=200000-").reading().await;
        viewer.next().await.unwrap().unwrap();
        settle().await;
        assert!(rig.inner.bytes_of(PATH) <= 3 << 20, "{}", rig.inner.bytes_of(PATH));
        let answer = viewer.rest().await;
        assert!(answer.error.is_none(), "{:?}", answer.error);
        assert_eq!(answer.bytes, long.slice(200_000..));
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_store_that_takes_no_piece_costs_no_byte() {
    for nth in 1..=12 {
        for fault in [Fault::Error, Fault::Absent] {
            let gate = Gate::shut();
            let rig = rig(held_at(parted(), 200_000, &gate));
            rig.store.spoil(Operation::Put, nth, fault);
            let reading = rig.get(PATH).start();
            settle().await;
            gate.open();
            reading.await.unwrap().whole(&truth());
        }
    }
}

/// Answers to a request with a range that a server gave, or may give, in the place of the part that was asked for.
fn refusals() -> Vec<(&'static str, Script)> {
    let empty = || Script::of(&Bytes::new()).header("content-length", "0");
    vec![
        ("a redirection", empty().status(302).header("location", "/other")),
        ("a bad request", empty().status(400)),
        ("forbidden", empty().status(403)),
        ("not acceptable", empty().status(406)),
        ("unsatisfiable", empty().status(416)),
        ("an error", empty().status(500)),
        ("a part elsewhere", parted().says_range("bytes 0-9/700000")),
        ("a part without a length", parted().without_total()),
        ("several parts", parted().says_range("").header("content-type", "multipart/byteranges; boundary=x")),
    ]
}

#[tokio::test]
async fn the_answer_to_the_question_of_the_cache_never_reaches_a_client() {
    for (what, refusal) in refusals() {
        for (range, part) in [("bytes=200000-", 200_000..LENGTH), ("bytes=-1000", LENGTH - 1000..LENGTH)] {
            let rig = rig(parted());
            // The first answer is to the question of the cache, and all others are as they should be.
            rig.inner.answer_each(PATH, [refusal.clone(), parted()]);
            let answer = rig.get(PATH).range(range).send().await;
            assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT, "{what}, {range}");
            answer.partial(&truth(), part.clone());
            assert!(rig.inner.calls().len() <= 2, "{what}, {range}: {:?}", asked(&rig));
            let calls = rig.inner.calls().len();
            rig.get(PATH).range(range).send().await.partial(&truth(), part);
            assert!(rig.inner.calls().len() <= calls + 1, "{what}, {range}: {:?}", asked(&rig));
        }
    }
}

#[tokio::test]
async fn a_request_whose_signature_covers_its_range_is_never_altered() {
    let s3 = "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host;range;x-amz-date, Signature=0";
    for mode in [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced()] {
        for (name, value) in [("authorization", s3), ("signature-input", r#"s=("@path" "range");created=1"#)]
        {
            let rig = rig(parted()).fill(mode);
            let answer = rig.get(PATH).range("bytes=200000-200099").header(name, value).send().await;
            answer.partial(&truth(), 200_000..200_100);
            assert!(answer.cache_status().ends_with("detail=signed"), "{}", answer.cache_status());
            assert_eq!(asked(&rig), ["200000-200099"], "{mode:?}");
            assert_eq!(rig.inner.calls()[0].headers[name], value);
        }
    }
}

#[tokio::test]
async fn a_server_that_gave_no_part_of_three_videos_is_asked_for_none_of_a_fourth() {
    let rig = rig(parted());
    for number in 0..4 {
        let path = format!("/{number}.mp4");
        rig.inner.answer(&path, unparted_of());
        rig.get(&path).range("bytes=200000-200099").send().await.partial(&truth(), 200_000..200_100);
        let first = rig.inner.ranges(&path);
        assert_eq!(first, [if number < 3 { "bytes=196608-262143" } else { "" }], "{path}");
    }
}

#[tokio::test]
async fn bodies_without_a_length_say_nothing_about_the_parts_of_other_videos() {
    let rig = rig(parted());
    for number in 0..4 {
        let path = format!("/{number}.mp4");
        rig.inner.answer(&path, unparted_of().without("content-length"));
        rig.get(&path).range("bytes=200000-200099").send().await;
        assert_eq!(rig.inner.ranges(&path)[0], "bytes=196608-262143", "{path}");
    }
    rig.get(PATH).range("bytes=200000-200099").send().await.partial(&truth(), 200_000..200_100);
    assert_eq!(rig.inner.ranges(PATH), ["bytes=196608-262143"]);
}

#[tokio::test]
async fn a_tail_is_read_to_its_end_without_any_read_ahead() {
    for size in [1, 7, 1000] {
        let bytes = movie(PATH, 40);
        let fill = Fill::auto().read_ahead(0).max_lead(2);
        let rig = Rig::new().fill(fill).script(PATH, tagged(&bytes, "\"v1\""));
        let rig = rig.layer(|layer| {
            layer
                .chunk_size(ChunkSize::new(size).unwrap())
                .limits(tower_video_cache::Limits::default().max_reserved(4000))
                .abandon(Abandon::Stop)
        });
        let answer = rig.get(PATH).range("bytes=-5").send().await;
        assert!(answer.error.is_none(), "chunks of {size}: {:?} {:?}", answer.error, asked(&rig));
        answer.partial(&bytes, 35..40);
    }
}

#[tokio::test]
async fn a_set_of_ranges_is_fetched_to_its_end_and_no_farther() {
    let rig = rig(parted());
    let answer = rig.get(PATH).range("bytes=100-199,600000-600099").send().await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(asked(&rig), ["0-65535", "589824-655359 \"v1\""]);
}

#[tokio::test]
async fn another_node_need_not_wait_for_a_fill_that_follows_its_clients() {
    let gate = Gate::shut();
    let rig = rig(held_at(parted(), 2 * PIECE + 1300, &gate));
    let mut viewer = rig.get(PATH).reading().await;
    viewer.next().await.unwrap().unwrap();
    gate.reached_by(1).await;
    rig.inner.answer(PATH, parted());
    // A layer of its own on the same store knows nothing of the fill.
    let store = std::sync::Arc::clone(&rig.store);
    let other = Rig::new().layer(|_| {
        tower_video_cache::VideoCacheLayer::new(store).clock(rig.clock.clone()).patience(Duration::MAX)
    });
    let other = Rig { inner: rig.inner.clone(), clock: rig.clock.clone(), ..other };
    other.get(PATH).range("bytes=600000-").send().await.partial(&truth(), 600_000..LENGTH);
    assert_eq!(asked(&rig), ["all", "589824-699999 \"v1\""]);
    gate.open();
    viewer.rest().await.whole(&truth());
}
