//! The fault matrix: at every fault of the store and at every moment, a client gets true bytes or an error, and an
//! answer no worse than the inner service's.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tower_video_cache::{Fault, Fill, Operation, Timeouts};

use crate::rig::{Answer, CHUNK, Gate, Nodes, Rig, Script, movie, settle};

const LENGTH: usize = 2500;

/// Every fault that a call of a store can have.
pub(crate) const FAULTS: [Fault; 8] = [
    Fault::Error,
    Fault::ErrorAfter,
    Fault::Absent,
    Fault::Corrupt,
    Fault::Lost,
    Fault::Panic,
    Fault::Hang,
    Fault::Slow(Duration::from_secs(1)),
];

/// The requests that clients make.
const ASKS: [(&str, Option<&str>); 4] =
    [("GET", None), ("GET", Some("bytes=1500-2200")), ("GET", Some("bytes=0-0")), ("HEAD", None)];

async fn ask(rig: &Rig, (method, range): (&str, Option<&str>)) -> Answer {
    let mut ask = rig.ask(method.parse().unwrap(), "/a.mp4");
    if let Some(range) = range {
        ask = ask.range(range);
    }
    // The timeout uses tokio's clock, which moves only when no task can go on.
    tokio::time::timeout(Duration::from_secs(120), ask.send()).await.expect("no answer hangs")
}

/// Judges an answer. The inner service is well, so it is a 200, or the 206 that was asked for. Its fields and bytes
/// are true; at the worst, an error ends the body midway.
fn judge(answer: &Answer, truth: &Bytes, (method, range): (&str, Option<&str>)) {
    let expected = match (answer.status.as_u16(), range) {
        (206, Some("bytes=1500-2200")) => 1500..2201,
        (206, Some("bytes=0-0")) => 0..1,
        (200, _) => 0..truth.len(),
        other => panic!("{other:?}"),
    };
    if answer.has("content-length") {
        assert_eq!(answer.field("content-length"), expected.len().to_string());
    }
    let said = format!("bytes {}-{}/{}", expected.start, expected.end - 1, truth.len());
    assert_eq!(answer.has("content-range"), answer.status == 206);
    assert!(answer.status == 200 || answer.field("content-range") == said);
    if method == "HEAD" {
        assert!(answer.bytes.is_empty() && answer.error.is_none());
    } else if answer.error.is_some() {
        assert!(truth.slice(expected).starts_with(&answer.bytes), "before an error, no wrong byte leaves");
    } else {
        assert_eq!(answer.bytes, truth.slice(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn every_fault_at_every_moment_of_every_request_is_true_bytes_or_an_error() {
    let truth = movie("/a.mp4", LENGTH);
    for script in [Script::movie("/a.mp4", LENGTH), Script::of(&truth).header("vary", "x-device")] {
        for operation in [Operation::Get, Operation::Put, Operation::Remove] {
            for fault in FAULTS {
                for nth in 1..=12 {
                    for all_after in [false, true] {
                        for asked in ASKS {
                            let rig = Rig::new().script("/a.mp4", script.clone());
                            if all_after {
                                rig.store.spoil_from(operation, nth, fault);
                            } else {
                                rig.store.spoil(operation, nth, fault);
                            }
                            // The request that fills, one that finds the result of the fault, and one after it.
                            for _ in 0..3 {
                                judge(&ask(&rig, asked).await, &truth, asked);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_that_fails_at_any_moment_costs_the_client_nothing() {
    let truth = movie("/a.mp4", LENGTH);
    // The first, middle and last chunk, then the manifest.
    for nth in 1..=4 {
        for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
            for range in [None, Some("bytes=1500-2200"), Some("bytes=0-0")] {
                let rig =
                    Rig::new().script("/a.mp4", Script::movie("/a.mp4", LENGTH).header("x-title", "a film"));
                rig.store.spoil(Operation::Put, nth, fault);
                let answer = ask(&rig, ("GET", range)).await;
                // The client gets the status, the fields and the bytes of the inner response, with one call of it.
                answer.whole(&truth);
                assert_eq!(answer.field("content-length"), "2500");
                assert_eq!(answer.field("x-title"), "a film");
                assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=store-failed");
                rig.inner.was_called(1);
                // The next request finds the store well again.
                ask(&rig, ("GET", None)).await.whole(&truth);
                ask(&rig, ("GET", None)).await.whole(&truth).is_hit();
                rig.inner.was_called(2);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_costs_no_client_an_answer() {
    let truth = movie("/a.mp4", LENGTH);
    for fault in [Fault::Error, Fault::Panic, Fault::Hang] {
        let rig = Rig::new().movie("/a.mp4", LENGTH);
        for operation in [Operation::Get, Operation::Put, Operation::Remove] {
            rig.store.spoil_from(operation, 1, fault);
        }
        for call in 1..=2 {
            ask(&rig, ("GET", None)).await.whole(&truth);
            rig.inner.was_called(call);
        }
    }
}

#[tokio::test]
async fn a_chunk_that_was_stored_and_cannot_be_read_back_is_asked_for_again() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", LENGTH).honours_ranges());
    // The third put fails, and the second of the two chunks before it is gone.
    rig.store.spoil(Operation::Put, 2, Fault::Lost);
    rig.store.spoil(Operation::Put, 3, Fault::Error);
    let answer = rig.get("/a.mp4").range("bytes=5-9").send().await;
    answer.partial(&movie("/a.mp4", LENGTH), 5..10);
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_store_that_keeps_nothing_costs_a_second_call_and_no_client_an_answer() {
    let truth = movie("/a.mp4", LENGTH);
    let rig = Rig::new().movie("/a.mp4", LENGTH);
    rig.store.spoil_from(Operation::Put, 1, Fault::Lost);
    rig.get("/a.mp4").send().await.whole(&truth);
    rig.inner.was_called(2);
    // For a while the store is not tried again, and the operator is told why.
    let puts = rig.puts();
    let answer = rig.get("/a.mp4").send().await;
    answer.whole(&truth);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=store-lost");
    rig.inner.was_called(3);
    assert_eq!(rig.puts(), puts);
}

#[tokio::test]
async fn followers_of_a_fill_that_a_store_did_not_keep_do_not_fill_again() {
    let truth = movie("/a.mp4", LENGTH);
    let gate = Gate::shut();
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", LENGTH).held_by(&gate));
    rig.store.spoil_from(Operation::Put, 1, Fault::Lost);
    let leader = rig.get("/a.mp4").start();
    gate.reached_by(1).await;
    let followers: Vec<_> = (0..5).map(|_| rig.get("/a.mp4").start()).collect();
    settle().await;
    gate.open();
    leader.await.unwrap().whole(&truth);
    for follower in followers {
        follower.await.unwrap().whole(&truth);
    }
    // One call for the fill, and then one for each of the six.
    rig.inner.was_called(1 + 6);
}

/// Stores the video, has it played once, and then has the store lose the chunk.
async fn without_chunk(chunk: u64) -> Rig {
    let rig = Rig::new().movie("/a.mp4", LENGTH);
    rig.get("/a.mp4").send().await;
    // The first get reads the manifest, and the next ones the chunks.
    rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + 2 + chunk, Fault::Lost);
    rig.get("/a.mp4").send().await.is_hit();
    rig.inner.was_called(1);
    rig
}

#[tokio::test]
async fn a_chunk_that_one_get_misses_is_read_again() {
    let truth = movie("/a.mp4", LENGTH);
    for fault in [Fault::Absent, Fault::Corrupt, Fault::Error, Fault::Panic] {
        for nth in 2..=4 {
            let rig = Rig::new().movie("/a.mp4", LENGTH);
            rig.get("/a.mp4").send().await;
            rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + nth, fault);
            rig.get("/a.mp4").send().await.whole(&truth).is_hit();
            rig.inner.was_called(1);
        }
    }
}

#[tokio::test]
async fn a_chunk_gone_before_the_first_byte_is_like_an_empty_store() {
    let rig = without_chunk(0).await;
    let answer = rig.get("/a.mp4").send().await;
    answer.whole(&movie("/a.mp4", LENGTH));
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=partial; ttl=300; stored");
    rig.inner.was_called(2);
    rig.get("/a.mp4").send().await.is_hit();
}

#[tokio::test]
async fn a_chunk_lost_in_mid_body_that_cannot_be_fetched_again_ends_the_body_and_removes_the_manifest() {
    let truth = movie("/a.mp4", LENGTH);
    let other = movie("/b.mp4", LENGTH);
    // The inner service fails, or has another video by now.
    for script in [Script::absent().fails(), Script::movie("/b.mp4", LENGTH)] {
        let rig = without_chunk(1).await;
        rig.inner.answer("/a.mp4", script);
        let answer = rig.get("/a.mp4").send().await;
        assert!(answer.error.expect("the body ends with an error").is_store());
        assert_eq!(answer.bytes, truth.slice(..CHUNK as usize));
        rig.inner.answer("/a.mp4", Script::movie("/b.mp4", LENGTH));
        rig.get("/a.mp4").send().await.whole(&other);
    }
}

#[tokio::test]
async fn a_manifest_is_taken_out_only_if_it_is_the_one_that_failed() {
    let other = movie("/b.mp4", LENGTH);
    let rig = Rig::new().movie("/a.mp4", LENGTH);
    let reading = rig.get("/a.mp4").response().await.unwrap();
    // While that client reads, the response is replaced by another one. Then the client's own chunk is gone.
    rig.ask(http::Method::PUT, "/a.mp4").send().await;
    rig.inner.answer("/a.mp4", Script::movie("/b.mp4", LENGTH));
    rig.get("/a.mp4").send().await.whole(&other);
    // The store is asked twice, for the chunk and for its piece.
    for nth in 1..=4 {
        rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + nth, Fault::Absent);
    }
    assert!(Answer::of(reading).await.error.is_some());
    rig.get("/a.mp4").send().await.whole(&other).is_hit();
    rig.inner.was_called(3);
}

#[tokio::test]
async fn an_inner_body_that_dies_while_it_is_salvaged_ends_with_an_error() {
    // The body breaks more than a chunk after the one in hand, so the salvage needs bytes that have not
    // come yet.
    let film = || Script::movie("/a.mp4", 2 * LENGTH);
    let (short, failing) = (film().ends_at(4500), film().dies_at(4500));
    for (script, is_truncated) in [(short, true), (failing, false)] {
        let rig = Rig::new().script("/a.mp4", script);
        rig.store.spoil(Operation::Put, 2, Fault::Error);
        let answer = rig.get("/a.mp4").send().await;
        let error = answer.error.expect("the body ends with an error");
        assert_eq!((error.is_truncated(), error.is_inner()), (is_truncated, !is_truncated), "{error}");
        assert!(movie("/a.mp4", 2 * LENGTH).starts_with(&answer.bytes));
    }
}

#[tokio::test]
async fn a_body_that_dies_just_past_an_unstored_chunk_is_a_502() {
    for put in [1, 2, 3] {
        let at = u64::from(CHUNK) * put + 100;
        let film = || Script::movie("/a.mp4", 2 * LENGTH);
        for (script, reason) in
            [(film().ends_at(at), "inner-length-mismatch"), (film().dies_at(at), "inner-body-failed")]
        {
            let rig = Rig::new().script("/a.mp4", script);
            rig.store.spoil_from(Operation::Put, put, Fault::Error);
            let answer = rig.get("/a.mp4").send().await;
            assert_eq!(answer.status, 502);
            assert!(answer.error.is_none() && answer.cache_status().contains(reason), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_body_that_breaks_lets_the_bytes_before_it_leave() {
    // A server drops its unsent bytes, even the status line, when it gets an error. While the body waits, the server
    // sends.
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", 2 * LENGTH).dies_at(4500));
    rig.store.spoil_from(Operation::Put, 1, Fault::Error);
    let mut reading = rig.get("/a.mp4").reading().await;
    while reading.bytes.len() < 4500 {
        reading.ready();
    }
    let wakes = reading.waits();
    assert_eq!(wakes.count(), 1, "the body goes on at once");
    assert!(reading.next().await.unwrap().is_err());
}

#[tokio::test]
async fn a_salvaged_prefix_that_is_lost_in_mid_body_is_never_skipped() {
    let rig = Rig::new().movie("/a.mp4", LENGTH);
    rig.store.spoil(Operation::Put, 3, Fault::Error);
    let response = rig.get("/a.mp4").response().await.unwrap();
    rig.store.spoil_from(Operation::Get, rig.store.calls(Operation::Get) + 1, Fault::Absent);
    let answer = Answer::of(response).await;
    assert!(answer.error.expect("the body ends with an error").is_store());
    assert_eq!(answer.bytes, movie("/a.mp4", LENGTH).slice(..CHUNK as usize));
}

#[tokio::test]
async fn a_body_that_ended_with_an_error_has_nothing_more_to_say() {
    for operation in [Operation::Put, Operation::Get] {
        let rig = Rig::new().movie("/a.mp4", LENGTH);
        if operation == Operation::Put {
            // The body is then a salvaged one, with a chunk in hand behind the hole.
            rig.store.spoil(Operation::Put, 3, Fault::Error);
        }
        let mut body = std::pin::pin!(rig.get("/a.mp4").response().await.unwrap().into_body());
        rig.store.spoil_from(Operation::Get, rig.store.calls(Operation::Get) + 1, Fault::Absent);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    }
}

#[tokio::test]
async fn a_damaged_entry_that_cannot_be_taken_out_is_filled_over() {
    let rig = without_chunk(0).await;
    rig.store.spoil_from(Operation::Remove, rig.store.calls(Operation::Remove) + 1, Fault::Error);
    let answer = rig.get("/a.mp4").send().await;
    answer.whole(&movie("/a.mp4", LENGTH));
    assert!(answer.cache_status().ends_with("; stored"), "{}", answer.cache_status());
}

#[tokio::test]
async fn a_commit_that_failed_and_happened_all_the_same_is_taken_out() {
    let truth = movie("/a.mp4", LENGTH);
    let rig = Rig::new().movie("/a.mp4", LENGTH);
    rig.store.spoil(Operation::Put, 4, Fault::ErrorAfter);
    let answer = rig.get("/a.mp4").send().await;
    answer.whole(&truth);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; detail=store-failed");
    let next = rig.get("/a.mp4").send().await;
    assert_eq!(next.cache_status(), "tower-video-cache; fwd=uri-miss; ttl=300; stored");
}

#[tokio::test(start_paused = true)]
async fn one_answer_waits_once_for_a_store_that_hangs() {
    let limit = Duration::from_millis(2600);
    for mode in [Fill::whole(), Fill::progressive(), Fill::sliced()] {
        for (is_leased, is_stale) in [(true, true), (true, false), (false, true), (false, false)] {
            for (get, put) in (1..12).flat_map(|nth| [(nth, u64::MAX), (u64::MAX, nth), (nth, 1)]) {
                let nodes = Nodes::new(1).layer(|layer| layer.fill(mode));
                let rig = &nodes[0];
                if !is_leased {
                    nodes.leases.offers_none();
                }
                let film = Script::movie("/a.mp4", LENGTH).header("etag", "\"v1\"");
                nodes.inner.answer("/a.mp4", film.honours_ranges().honours_conditions());
                if is_stale {
                    rig.get("/a.mp4").send().await;
                    rig.clock.advance(Duration::from_secs(301));
                }
                for (operation, nth) in [(Operation::Get, get), (Operation::Put, put)] {
                    let first = rig.store.calls(operation).saturating_add(nth);
                    rig.store.spoil_from(operation, first, Fault::Hang);
                }
                let began = tokio::time::Instant::now();
                drop(rig.get("/a.mp4").reading().await);
                let waited = began.elapsed();
                assert!(waited <= limit, "{mode:?} {is_leased} {is_stale} {get} {put}: {waited:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hung_several_times_is_left_alone_for_a_while() {
    let limit = Duration::from_secs(2);
    let rig =
        Rig::new().movie("/a.mp4", LENGTH).layer(|layer| layer.timeouts(Timeouts::default().store(limit)));
    rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", LENGTH));
    let next = rig.store.calls(Operation::Get) + 1;
    rig.store.spoil_from(Operation::Get, next, Fault::Hang);
    rig.store.spoil_from(Operation::Put, 1, Fault::Hang);
    let took = || async {
        let began = tokio::time::Instant::now();
        rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", LENGTH));
        began.elapsed()
    };
    // The store is asked for the record, and for nothing else.
    for _ in 0..3 {
        assert_eq!(took().await, limit);
    }
    for _ in 0..10 {
        assert_eq!(took().await, Duration::ZERO);
    }
    rig.store.heal();
    let asked = rig.store.calls(Operation::Get);
    took().await;
    assert_eq!(rig.store.calls(Operation::Get), asked, "the store is not asked");
    tokio::time::advance(limit * 5).await;
    rig.get("/a.mp4").send().await.is_hit().whole(&movie("/a.mp4", LENGTH));
}
