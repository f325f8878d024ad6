//! Objects that are fetched in parts: the ranges that the inner service is asked for, how often, and the use of its
//! answers.

use std::num::NonZeroUsize;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, StatusCode};
use tower_video_cache::Fill;

use crate::rig::{
    Answer, CHUNK, Gate, PATH, Rig, Script, Step, date, movie,
    parted::{LENGTH, asked, begun, parted, rig, small, tagged, truth},
    settle,
};

/// The chunks that were asked for, in order.
fn chunks(rig: &Rig) -> Vec<u64> {
    let size = u64::from(CHUNK);
    let mut chunks = Vec::new();
    for range in rig.inner.ranges(PATH) {
        let (first, last) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        assert_eq!(first % size, 0, "whole chunks only: {range}");
        chunks.extend(first / size..=last / size);
    }
    chunks
}

/// Checks `Cache-Status` after a miss. If it needs more than one chunk, the others are still to come when the head
/// leaves.
#[track_caller]
fn is_missed(answer: &Answer, is_one_chunk: bool) {
    let status = if answer.status == StatusCode::PARTIAL_CONTENT { "" } else { " fwd-status=206;" };
    let stored = if is_one_chunk { "stored" } else { "detail=storing" };
    assert_eq!(answer.cache_status(), format!("tower-video-cache; fwd=uri-miss;{status} ttl=300; {stored}"));
}

#[tokio::test]
async fn a_miss_asks_for_the_chunks_of_the_requested_range_and_for_no_more() {
    for (range, calls, part) in [
        ("bytes=0-0", &["0-999"][..], 0..1),
        ("bytes=4100-4199", &["4000-4999"], 4100..4200),
        ("bytes=3999-4000", &["3000-4999"], 3999..4001),
        ("bytes=2000-4999", &["2000-4999"], 2000..5000),
        ("bytes=9400-9499", &["9000-9999"], 9400..9500),
        ("bytes=9400-99999", &["9000-99999"], 9400..9500),
        ("bytes=0-9499", &["0-9999"], 0..9500),
        ("bytes=8000-", &["8000-8999", "9000-9499 \"v1\""], 8000..9500),
        ("bytes=-500", &["0-999", "9000-9499 \"v1\""], 9000..9500),
        ("bytes=-1", &["0-999", "9000-9499 \"v1\""], 9499..9500),
    ] {
        let rig = rig(parted());
        let answer = rig.get(PATH).range(range).send().await;
        answer.partial(&truth(), part.clone());
        is_missed(&answer, part.start / 1000 == (part.end - 1) / 1000);
        assert_eq!(asked(&rig), calls, "{range}");
    }
}

#[tokio::test]
async fn a_miss_without_range_asks_for_the_first_chunk_and_then_for_the_rest() {
    let rig = rig(parted());
    let answer = rig.get(PATH).send().await;
    answer.whole(&truth());
    is_missed(&answer, false);
    assert!(answer.knows_its_length);
    assert_eq!(asked(&rig), ["0-999", "1000-9499 \"v1\""]);
    let again = rig.get(PATH).send().await;
    again.whole(&truth()).is_hit();
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_range_that_is_longer_than_the_read_ahead_comes_in_several_calls() {
    let rig = small(parted(), 3);
    rig.get(PATH).range("bytes=1000-8499").send().await.partial(&truth(), 1000..8500);
    assert_eq!(asked(&rig)[0], "1000-3999");
    assert_eq!(chunks(&rig), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[tokio::test]
async fn several_ranges_ask_for_the_chunks_of_each() {
    let rig = rig(parted());
    let answer = rig.get(PATH).range("bytes=2100-2109,7000-8099,-10").send().await;
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert!(answer.error.is_none());
    is_missed(&answer, false);
    for part in [2100..2110, 7000..8100, 9490..9500] {
        let part = truth().slice(part);
        assert!(answer.bytes.windows(part.len()).any(|bytes| bytes == part));
    }
    let mut chunks = chunks(&rig);
    assert_eq!(asked(&rig)[0], "2000-2999");
    chunks.sort_unstable();
    chunks.dedup();
    assert_eq!(chunks, [2, 7, 8, 9]);
}

#[tokio::test]
async fn a_set_whose_first_range_is_beyond_the_end_gets_the_others() {
    for mode in [Fill::sliced(), Fill::auto()] {
        let far = rig(parted()).fill(mode);
        // The length stays unknown, and this inner service gives one part or all.
        far.get(PATH).range("bytes=20500-20599, 100-199").send().await.whole(&truth());
        let near = rig(parted()).fill(mode);
        near.get(PATH).range("bytes=9500-, 7000-7999, 9501-").send().await.partial(&truth(), 7000..8000);
    }
}

#[tokio::test]
async fn a_range_beyond_the_end_is_answered_as_the_inner_service_does() {
    let rig = rig(parted());
    let answer = rig.get(PATH).range("bytes=20500-20599").send().await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(answer.field("content-range"), "bytes */9500");
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=status");
    assert_eq!(asked(&rig), ["20000-20999"]);

    // Once the length is known, the inner service is asked whether the video has grown.
    let rig = begun(parted().honours_conditions()).await;
    let answer = rig.get(PATH).range("bytes=9500-").send().await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(answer.field("content-range"), "bytes */9500");
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=request; fwd-status=304; ttl=300");
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_head_asks_for_no_bytes() {
    let rig = rig(parted());
    let answer = rig.head(PATH).send().await;
    assert_eq!((answer.status, answer.field("content-length")), (StatusCode::OK, "9500"));
    assert_eq!(asked(&rig), ["all"]);
    assert_eq!(rig.inner.calls()[0].method, Method::HEAD);

    let rig = begun(parted()).await;
    let answer = rig.head(PATH).send().await;
    assert_eq!((answer.status, answer.field("content-length")), (StatusCode::OK, "9500"));
    answer.is_hit();
    rig.inner.was_called(1);
}

#[tokio::test]
async fn the_conditions_of_a_client_are_taken_off_and_judged_by_the_answer() {
    let not_modified = rig(parted());
    let answer = not_modified.get(PATH).header("if-none-match", "\"v1\"").send().await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    let failed = rig(parted().honours_conditions());
    let answer = failed.get(PATH).header("if-match", "\"v2\"").send().await;
    // RFC 9111 §4.3.2: the inner service judges it.
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(failed.inner.calls()[1].headers["if-match"], "\"v2\"");
    let same = rig(parted());
    let range = "bytes=4100-4199";
    let answer = same.get(PATH).range(range).header("if-range", "\"v1\"").send().await;
    answer.partial(&truth(), 4100..4200);
    for (rig, calls) in [(not_modified, 1), (failed, 2), (same, 1)] {
        rig.inner.was_called(calls);
        let asked = &rig.inner.calls()[0].headers;
        assert!(asked.contains_key("range"));
        assert!(asked.keys().all(|name| name == "range" || name == "if-range"), "{asked:?}");
    }
}

#[tokio::test]
async fn the_clients_if_range_goes_with_the_first_question_and_costs_no_call() {
    let range = "bytes=4100-4199";
    for mode in [Fill::auto(), Fill::sliced()] {
        // RFC 9110 §13.1.5: the client has another version, and gets all of this one.
        // A weak tag, and text that is no validator, never hold.
        for (tag, goes_along) in [("\"v0\"", true), ("W/\"v1\"", false), ("v1", false)] {
            let another = rig(parted()).fill(mode);
            another.get(PATH).range(range).header("if-range", tag).send().await.whole(&truth());
            let calls = another.inner.calls();
            assert_eq!(calls.len(), 1, "{tag}: {:?}", asked(&another));
            assert_eq!(calls[0].headers.get("if-range").is_some_and(|sent| sent == tag), goes_along, "{tag}");
            assert_eq!(another.inner.bytes_of(PATH), 9500, "{tag}");
            another.get(PATH).range(range).send().await.partial(&truth(), 4100..4200).is_hit();
        }
        // The inner service gives a part whatever the client has.
        let deaf = rig(parted().ignores_if_range()).fill(mode);
        deaf.get(PATH).range(range).header("if-range", "\"v0\"").send().await.whole(&truth());
        assert!(deaf.inner.bytes_of(PATH) < 11_000, "{}", deaf.inner.bytes_of(PATH));
    }
}

#[tokio::test]
async fn the_other_fields_of_the_clients_request_are_sent_with_every_slice() {
    let rig = rig(parted());
    rig.get("/a.mp4?quality=4k").header("x-kept", "1").send().await.whole(&truth());
    for call in rig.inner.calls() {
        assert_eq!(call.uri, "/a.mp4?quality=4k");
        assert_eq!(call.headers["x-kept"], "1");
        assert_eq!(call.method, Method::GET);
    }
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_date_binds_parts_if_it_is_old_enough() {
    let dated = |at: i64| {
        let length = LENGTH.to_string();
        Script::of(&truth())
            .header("content-length", &length)
            .header("last-modified", &date(at))
            .header("date", &date(0))
            .honours_ranges()
    };
    let old = rig(dated(-3600));
    old.get(PATH).send().await.whole(&truth());
    assert_eq!(asked(&old), ["0-999".to_owned(), format!("1000-9499 {}", date(-3600))]);

    // RFC 9110 §8.8.2.2: the object may have changed again within the second of its date.
    let recent = rig(dated(-30));
    let answer = recent.get(PATH).range("bytes=0-9").send().await;
    answer.partial(&truth(), 0..10);
    assert_eq!(asked(&recent), ["0-999", "all"]);
}

#[tokio::test]
async fn objects_of_every_size_are_whole() {
    for length in [1, 999, 1000, 1001, 3000] {
        let movie = movie(PATH, length);
        let rig = rig(tagged(&movie, "\"v1\""));
        rig.get(PATH).send().await.whole(&movie);
        assert_eq!(rig.inner.bytes_of(PATH), length as u64);
        rig.get(PATH).range("bytes=-1").send().await.partial(&movie, length - 1..length).is_hit();
        rig.get(PATH).send().await.whole(&movie).is_hit();
        rig.inner.was_called(if length > 1000 { 2 } else { 1 });
    }
}

#[tokio::test]
async fn an_empty_object_is_asked_for_without_range() {
    let rig = rig(tagged(&Bytes::new(), "\"v1\""));
    let answer = rig.get(PATH).send().await;
    answer.whole(&Bytes::new());
    assert_eq!(asked(&rig), ["0-999", "all"]);
    rig.get(PATH).send().await.whole(&Bytes::new()).is_hit();
    rig.inner.was_called(2);
}

#[tokio::test]
async fn two_hundred_clients_of_one_chunk_cost_one_call() {
    let gate = Gate::shut();
    let script = parted().held_by(&gate);
    for cold in [true, false] {
        let rig = if cold { rig(script.clone()) } else { begun(parted()).await };
        if !cold {
            rig.inner.answer(PATH, script.clone());
        }
        let before = rig.inner.calls().len();
        let range = |viewer: usize| format!("bytes={}-{}", 5000 + viewer, 5400 + viewer);
        let viewers: Vec<_> = (0..200).map(|viewer| rig.get(PATH).range(&range(viewer)).start()).collect();
        settle().await;
        gate.open();
        for (viewer, answer) in viewers.into_iter().enumerate() {
            answer.await.unwrap().partial(&truth(), 5000 + viewer..5401 + viewer);
        }
        assert_eq!(asked(&rig)[before..], [if cold { "5000-5999" } else { "5000-5999 \"v1\"" }]);
    }
}

#[tokio::test]
async fn clients_of_overlapping_ranges_get_each_chunk_fetched_once() {
    for cold in [true, false] {
        let rig = if cold { rig(parted()) } else { begun(parted()).await };
        let ranges = [0..2500, 1000..3500, 2400..4600, 4599..9500, 0..9500, 7000..7001];
        let ask = |range: &std::ops::Range<usize>| format!("bytes={}-{}", range.start, range.end - 1);
        let answers = join_all(ranges.iter().map(|range| rig.get(PATH).range(&ask(range)).send())).await;
        for (range, answer) in ranges.into_iter().zip(&answers) {
            answer.partial(&truth(), range);
        }
        assert_eq!(rig.inner.bytes_of(PATH), 9500, "{:?}", asked(&rig));
    }
}

#[tokio::test]
async fn clients_that_come_while_the_first_part_is_fetched_wait_and_get_their_own() {
    let gate = Gate::shut();
    let rig = rig(parted());
    rig.inner.answer_each(PATH, [parted().held_by(&gate), parted()]);
    let first = rig.get(PATH).range("bytes=0-9").start();
    gate.reached_by(1).await;
    let far = rig.get(PATH).range("bytes=8000-8009").start();
    let last = rig.get(PATH).range("bytes=-10").start();
    settle().await;
    rig.inner.was_called(1);
    gate.open();
    first.await.unwrap().partial(&truth(), 0..10);
    far.await.unwrap().partial(&truth(), 8000..8010);
    last.await.unwrap().partial(&truth(), 9490..9500);
    let mut chunks = chunks(&rig);
    chunks.sort_unstable();
    assert_eq!(chunks, [0, 8, 9]);
}

#[tokio::test]
async fn missing_chunks_that_are_neighbours_come_in_one_call_and_those_that_are_there_are_not_asked_for() {
    let rig = begun(parted()).await;
    rig.get(PATH).range("bytes=5000-5999").send().await.partial(&truth(), 5000..6000);
    let answer = rig.get(PATH).send().await;
    answer.whole(&truth()).is_hit();
    assert_eq!(asked(&rig), ["0-999", "5000-5999 \"v1\"", "1000-4999 \"v1\"", "6000-9499 \"v1\""]);
    rig.get(PATH).range("bytes=999-9000").send().await.partial(&truth(), 999..9001).is_hit();
    rig.inner.was_called(4);
}

#[tokio::test]
async fn an_answer_that_leaves_before_its_slices_come_does_not_say_that_it_is_stored() {
    let rig = rig(parted());
    let mut viewer = rig.get(PATH).reading().await;
    rig.inner.answer(PATH, parted().fails());
    viewer.ready();
    let answer = viewer.rest().await;
    assert!(answer.error.is_some());
    is_missed(&answer, false);
}

#[tokio::test]
async fn the_reason_for_a_slice_is_told_to_the_request_that_waited_for_it() {
    let rig = begun(parted()).await;
    let missed = rig.get(PATH).range("bytes=5000-5099").send().await;
    assert_eq!(missed.cache_status(), "tower-video-cache; fwd=partial; ttl=300; stored");
    let again = rig.get(PATH).range("bytes=5000-5099").send().await;
    assert_eq!(again.cache_status(), "tower-video-cache; hit; ttl=300");
}

#[tokio::test]
async fn read_ahead_grows_with_the_bytes_read_up_to_its_limit() {
    let rig = small(parted(), 4);
    let mut reading = rig.get(PATH).reading().await;
    settle().await;
    assert_eq!(chunks(&rig), [0], "no client has read more yet");
    let mut most = 0;
    for read in 1..=10 {
        reading.next().await.unwrap().unwrap();
        settle().await;
        let fetched = chunks(&rig).len() as u64;
        assert!(fetched <= read + 4, "{fetched} chunks with {read} read: {:?}", asked(&rig));
        most = most.max(fetched - read);
    }
    assert!(most > 1, "it has grown: {:?}", asked(&rig));
    assert!(reading.next().await.is_none());
    assert_eq!(chunks(&rig), (0..10).collect::<Vec<_>>());
    assert!(reading.rest().await.bytes == truth());
    assert!(rig.inner.calls().len() < 8, "{:?}", asked(&rig));
}

#[tokio::test]
async fn nothing_is_read_ahead_past_the_requested_range() {
    let rig = small(parted(), 2);
    rig.get(PATH).range("bytes=1000-6999").send().await.partial(&truth(), 1000..7000);
    settle().await;
    assert_eq!(chunks(&rig), [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_slice_ends_with_the_client_that_it_is_for() {
    let gate = Gate::shut();
    // The gate is within chunk 3.
    let rig = small(parted(), 4);
    rig.inner.answer_each(PATH, [parted(), parted().step(6, Step::Wait(gate.clone()))]);
    let mut reading = rig.get(PATH).reading().await;
    reading.next().await.unwrap().unwrap();
    while reading.bytes.len() < 3000 {
        reading.next().await.unwrap().unwrap();
    }
    let waits = reading.waits();
    gate.reached_by(1).await;
    settle().await;
    let calls = rig.inner.calls().len();
    drop(reading);
    settle().await;
    gate.open();
    settle().await;
    rig.inner.was_called(calls);
    assert_eq!(waits.count(), 0);
    let fetched = rig.inner.bytes_of(PATH);
    assert_eq!(fetched, 6702, "{:?}", asked(&rig));

    // The stored chunks stay, and the next client goes on from there.
    rig.get(PATH).send().await.whole(&truth()).is_hit();
    assert_eq!(chunks(&rig).iter().filter(|chunk| **chunk < 3).count(), 3);
}

#[tokio::test]
async fn a_slice_goes_on_for_a_request_that_still_waits_for_it() {
    let gate = Gate::shut();
    let rig = begun(parted()).await;
    rig.inner.answer(PATH, parted().step(9, Step::Wait(gate.clone())));
    let first = rig.get(PATH).range("bytes=5000-5999").start();
    let second = rig.get(PATH).range("bytes=5500-5599").start();
    gate.reached_by(1).await;
    settle().await;
    first.abort();
    settle().await;
    gate.open();
    second.await.unwrap().partial(&truth(), 5500..5600);
    rig.inner.was_called(2);
}

#[tokio::test]
async fn chunks_are_read_as_they_land() {
    let gate = Gate::shut();
    let rig = begun(parted()).await;
    // Frame 8 begins at byte 4936.
    rig.inner.answer(PATH, parted().step(8, Step::Wait(gate.clone())));
    let mut reading = rig.get(PATH).range("bytes=3000-5999").reading().await;
    gate.reached_by(1).await;
    assert!(reading.ready() == truth().slice(3000..4000));
    let wakes = reading.waits();
    settle().await;
    assert_eq!(wakes.count(), 0);
    gate.open();
    settle().await;
    assert!(wakes.count() > 0);
    reading.rest().await.partial(&truth(), 3000..6000);
    rig.inner.was_called(2);
}

#[tokio::test]
async fn no_more_calls_run_at_once_than_the_limit_allows() {
    let gate = Gate::shut();
    let rig = begun(parted()).await.fill(Fill::sliced().max_calls(NonZeroUsize::new(2).unwrap()));
    rig.inner.answer(PATH, parted().held_by(&gate));
    let viewers: Vec<_> =
        (1..8).map(|chunk| rig.get(PATH).range(&format!("bytes={chunk}000-{chunk}099")).start()).collect();
    settle().await;
    rig.inner.was_called(1 + 2);
    gate.open();
    for (chunk, viewer) in (1..8).zip(viewers) {
        viewer.await.unwrap().partial(&truth(), chunk * 1000..chunk * 1000 + 100);
    }
    rig.inner.was_called(1 + 7);
}
