//! A slow store: the likely first bytes of an answer are read while the record is still being looked up.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};
use tower_video_cache::{Fault, Operation, Timeouts};

use crate::rig::{Ask, PATH, Rig, Script, movie, seconds};

const LENGTH: usize = 2500;
const AWAY: Duration = Duration::from_secs(1);

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

/// A rig whose store has the video and was asked for it once. From now on, each get takes a second.
async fn far(script: Script) -> Rig {
    let rig = Rig::new().script(PATH, script);
    rig.get(PATH).send().await.whole(&truth());
    rig.get(PATH).send().await.is_hit().whole(&truth());
    rig.store.spoil_from(Operation::Get, 1, Fault::Slow(AWAY));
    rig
}

fn fresh() -> Script {
    Script::movie(PATH, LENGTH).header("cache-control", "max-age=60").header("etag", "\"v1\"")
}

/// The time until the answer began, and the number of gets until then.
async fn begins(rig: &Rig, ask: Ask) -> (Duration, u64) {
    let (begun, gets) = (Instant::now(), rig.store.calls(Operation::Get));
    ask.response().await.expect("an answer");
    (begun.elapsed(), rig.store.calls(Operation::Get) - gets)
}

#[tokio::test(start_paused = true)]
async fn a_hit_takes_one_way_to_the_store_and_back() {
    let rig = far(fresh()).await;
    for (range, expected) in
        [("bytes=0-", 0..2500), ("bytes=1500-1600", 1500..1601), ("bytes=-1", 2499..2500)]
    {
        assert_eq!(begins(&rig, rig.get(PATH).range(range)).await, (AWAY, 2), "{range}");
        rig.get(PATH).range(range).send().await.partial(&truth(), expected).is_hit();
    }
    assert_eq!(begins(&rig, rig.get(PATH).range("bytes=0-0,2000-2000")).await, (AWAY, 2));
    rig.inner.was_called(1);
}

#[tokio::test(start_paused = true)]
async fn a_variant_takes_one_way_for_each_of_its_records() {
    let mut began = Vec::new();
    for _ in 0..10 {
        let rig = far(fresh().header("vary", "accept-language")).await;
        began.push(begins(&rig, rig.get(PATH)).await);
    }
    // About one key in 512 shares its place in the memo with its own list, by chance, and is not foreseen.
    began.retain(|how| *how != (AWAY * 3, 3));
    assert!(began.len() > 7, "{}", began.len());
    assert!(began.iter().all(|how| *how == (AWAY * 2, 3)), "{began:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_content_reads_no_chunk() {
    // An immutable video does not grow, so a 416 needs no question.
    let script = fresh().without("cache-control").header("cache-control", "max-age=60, immutable");
    let rig = far(script).await;
    for ask in [
        rig.head(PATH),
        rig.get(PATH).header("if-none-match", "\"v1\""),
        rig.get(PATH).range("bytes=2500-"),
        // The inner service answers.
        rig.get(PATH).header("if-match", "\"v2\""),
    ] {
        assert_eq!(begins(&rig, ask).await, (AWAY, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_not_read_before_it_is_validated() {
    let rig = far(fresh().honours_conditions()).await;
    rig.clock.advance(seconds(100));
    // The lookup reads the record, the flight reads it once more, and the freshening reads it too. A mark is looked
    // for before the question and around the commit. Only then is a chunk read.
    assert_eq!(begins(&rig, rig.get(PATH)).await, (AWAY * 6, 7));
    rig.inner.was_called(2);
}

#[tokio::test(start_paused = true)]
async fn the_record_decides_and_not_the_guess() {
    let rig = far(fresh()).await;
    // Another node, whose changes this node does not hear of.
    let other =
        Rig::new().script(PATH, Script::of(&movie("/b.mp4", LENGTH)).header("cache-control", "max-age=60"));
    let node = rig.layer.clone().timeouts(Timeouts::default().store(seconds(3))).layer(other.inner.clone());
    for method in [Method::PUT, Method::GET] {
        let request = Request::builder().method(method).uri(PATH).body(Full::default()).unwrap();
        node.clone().oneshot(request).await.unwrap().into_body().collect().await.unwrap();
    }
    other.inner.was_called(2);
    rig.get(PATH).send().await.is_hit().whole(&movie("/b.mp4", LENGTH));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_gone_is_guessed_once() {
    let rig = far(fresh()).await;
    rig.inner.answer(PATH, Script::movie(PATH, LENGTH).header("cache-control", "no-store"));
    rig.ask(Method::PUT, PATH).send().await;
    let gets: Vec<_> = [begins(&rig, rig.get(PATH)).await.1, begins(&rig, rig.get(PATH)).await.1].into();
    let what = "record, chunk, the record again in the flight, mark; then only the record";
    assert_eq!(gets, [4, 1], "{what}");
}

#[tokio::test(start_paused = true)]
async fn a_right_or_wrong_guess_gives_true_bytes() {
    for fault in [
        Fault::Error,
        Fault::Absent,
        Fault::Corrupt,
        Fault::Lost,
        Fault::Panic,
        Fault::Hang,
        Fault::Slow(AWAY * 3),
    ] {
        for spoiled in [1, 2] {
            let rig = far(fresh().honours_ranges()).await;
            rig.store.heal();
            let next = rig.store.calls(Operation::Get);
            rig.store.spoil(Operation::Get, next + spoiled, fault);
            rig.store.spoil_from(Operation::Get, 1, Fault::Slow(AWAY));
            rig.get(PATH).range("bytes=1-1999").send().await.partial(&truth(), 1..2000);
        }
    }
}
