//! Chunks that the store lost while their response was being served: they are fetched again, proved, stored, and read
//! back.

use std::ops::Range;

use bytes::Bytes;
use http::StatusCode;
use tower_video_cache::{Error, Fault, Fill, Operation};

use crate::rig::{
    Gate, PATH, Rig, Script, Step, date,
    parted::{LENGTH, asked, changed, other, parted, truth, unparted},
    seconds, settle,
};

const MODES: [Fill; 4] = [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced()];

/// A rig that has all of the video stored.
async fn stored(mode: Fill, script: Script) -> Rig {
    let rig = Rig::new().fill(mode).script(PATH, script);
    rig.get(PATH).send().await.whole(&truth());
    rig.get(PATH).send().await.whole(&truth()).is_hit();
    rig
}

/// Has a client read a byte of the chunk, and so has the store lose it.
async fn lose(rig: &Rig, chunk: usize) {
    // The first get reads the record.
    rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + 2, Fault::Lost);
    let first = chunk * 1000;
    let answer = rig.get(PATH).range(&format!("bytes={first}-{first}")).send().await;
    answer.partial(&truth(), first..first + 1);
}

fn bytes(range: &Range<usize>) -> String {
    format!("bytes={}-{}", range.start, range.end - 1)
}

/// The ranges that were asked for since the given number of calls.
fn since(rig: &Rig, calls: usize) -> Vec<String> {
    asked(rig)[calls..].to_vec()
}

#[tokio::test]
async fn a_chunk_that_is_lost_before_the_first_byte_is_fetched_again() {
    for mode in MODES {
        let rig = stored(mode, parted()).await;
        let calls = rig.inner.calls().len();
        lose(&rig, 4).await;
        let answer = rig.get(PATH).range("bytes=4100-4199").send().await;
        answer.partial(&truth(), 4100..4200);
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=partial; ttl=300; stored");
        assert_eq!(since(&rig, calls), ["4000-4999 \"v1\""], "{mode:?}");
        rig.get(PATH).send().await.whole(&truth()).is_hit();
        rig.inner.was_called(calls + 1);
    }
}

#[tokio::test]
async fn a_chunk_that_is_fetched_again_and_that_the_store_does_not_take_is_not_said_to_be_stored() {
    for mode in MODES {
        let rig = stored(mode, parted()).await;
        lose(&rig, 4).await;
        rig.store.spoil(Operation::Put, rig.store.calls(Operation::Put) + 1, Fault::Error);
        let answer = rig.get(PATH).range("bytes=4100-4199").send().await;
        answer.partial(&truth(), 4100..4200);
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=partial; detail=store-lost");
    }
}

#[tokio::test]
async fn a_chunk_that_is_lost_within_a_body_is_fetched_again_and_the_client_does_not_notice() {
    for mode in MODES {
        let rig = stored(mode, parted()).await;
        let calls = rig.inner.calls().len();
        let mut reading = rig.get(PATH).reading().await;
        assert!(reading.ready() == truth().slice(..1000));
        for chunk in [4, 9] {
            lose(&rig, chunk).await;
        }
        reading.rest().await.whole(&truth()).is_hit();
        assert_eq!(since(&rig, calls)[0], "4000-4999 \"v1\"", "{mode:?}");
        assert_eq!(rig.inner.calls().len(), calls + 2, "{:?}", asked(&rig));
        rig.get(PATH).send().await.whole(&truth()).is_hit();
        rig.inner.was_called(calls + 2);
    }
}

#[tokio::test]
async fn a_chunk_that_is_lost_within_a_part_is_fetched_again() {
    for mode in MODES {
        for lost in [2, 5, 8] {
            let rig = stored(mode, parted()).await;
            let calls = rig.inner.calls().len();
            let ask = || rig.get(PATH).range("bytes=2100-2109,5000-6009,8990-8999").reading();
            let truly = ask().await.rest().await;
            let begun = ask().await;
            lose(&rig, lost).await;
            for reading in [begun, ask().await] {
                let answer = reading.rest().await;
                assert!(answer.error.is_none(), "{mode:?} {lost} {:?}", answer.error);
                assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
                assert!(answer.bytes == truly.bytes);
            }
            assert_eq!(since(&rig, calls), [format!("{lost}000-{lost}999 \"v1\"")], "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_chunk_that_is_damaged_is_fetched_again() {
    for mode in MODES {
        let rig = Rig::new().fill(mode).script(PATH, parted());
        // The fifth chunk.
        rig.store.spoil(Operation::Put, if mode == Fill::sliced() { 6 } else { 5 }, Fault::Corrupt);
        rig.get(PATH).send().await.whole(&truth());
        let expected: &[&str] = if mode == Fill::sliced() {
            &["0-999", "1000-9499 \"v1\"", "4000-4999 \"v1\""]
        } else {
            &["all", "4000-4999 \"v1\""]
        };
        assert_eq!(asked(&rig), expected, "{mode:?}");
        assert!(rig.layer.handle().stats().damaged_chunks > 0, "{mode:?}");
        rig.get(PATH).send().await.whole(&truth()).is_hit();
        rig.inner.was_called(expected.len());
    }
}

#[tokio::test]
async fn many_clients_of_a_lost_chunk_cost_one_call() {
    for mode in MODES {
        let rig = stored(mode, parted()).await;
        let calls = rig.inner.calls().len();
        let mut within = Vec::new();
        for _ in 0..20 {
            let mut reading = rig.get(PATH).reading().await;
            reading.ready();
            within.push(reading);
        }
        lose(&rig, 4).await;
        let gate = Gate::shut();
        rig.inner.answer(PATH, parted().held_by(&gate));
        let before: Vec<_> = (0..50)
            .map(|viewer| {
                let range = 4100 + viewer..4200 + viewer;
                (range.clone(), rig.get(PATH).range(&bytes(&range)).start())
            })
            .collect();
        let within: Vec<_> = within.into_iter().map(|reading| tokio::spawn(reading.rest())).collect();
        settle().await;
        gate.open();
        let mut callers = 0;
        for (range, viewer) in before {
            let answer = viewer.await.unwrap();
            let status = answer.cache_status().to_owned();
            answer.partial(&truth(), range);
            // RFC 9211 §2.5–2.6: one request of a shared call says `stored`, and the others `collapsed`.
            let stored = status.ends_with("; stored");
            callers += usize::from(stored);
            assert!(stored || status.ends_with("; collapsed"), "{mode:?}: {status}");
        }
        assert!(callers <= 1, "{mode:?}: {callers}");
        for viewer in within {
            viewer.await.unwrap().whole(&truth());
        }
        assert_eq!(since(&rig, calls), ["4000-4999 \"v1\""], "{mode:?}");
    }
}

#[tokio::test]
async fn a_date_that_is_old_enough_proves_a_lost_chunk() {
    let dated = Script::movie(PATH, LENGTH).header("last-modified", &date(-3600)).honours_ranges();
    for mode in MODES {
        let rig = stored(mode, dated.clone()).await;
        let calls = rig.inner.calls().len();
        let mut reading = rig.get(PATH).reading().await;
        reading.ready();
        lose(&rig, 4).await;
        reading.rest().await.whole(&truth());
        assert_eq!(since(&rig, calls), [format!("4000-4999 {}", date(-3600))], "{mode:?}");
    }
}

#[tokio::test]
async fn a_chunk_that_is_lost_while_the_fill_is_under_way_is_fetched_again() {
    for mode in [Fill::progressive(), Fill::sliced()] {
        let gate = Gate::shut();
        // The gate is within chunk 6.
        let script = parted().step(10, Step::Wait(gate.clone()));
        let rig = Rig::new().fill(mode);
        if mode == Fill::sliced() {
            rig.inner.answer_each(PATH, [parted(), script, parted()]);
        } else {
            rig.inner.answer_each(PATH, [script, parted()]);
        }
        let mut reading = rig.get(PATH).reading().await;
        assert!(reading.ready() == truth().slice(..1000));
        while reading.bytes.len() < 3000 {
            reading.next().await.unwrap().unwrap();
        }
        gate.reached_by(1).await;
        let calls = rig.inner.calls().len();
        lose(&rig, 3).await;
        reading.next().await.unwrap().unwrap();
        assert_eq!(reading.bytes.len(), 4000);
        assert_eq!(since(&rig, calls), ["3000-3999 \"v1\""], "{mode:?}");
        gate.open();
        reading.rest().await.whole(&truth());
        rig.inner.was_called(calls + 1);
    }
}

/// A script without a validator, so only the digest of the whole can prove it.
fn plain() -> Script {
    Script::movie(PATH, LENGTH)
}

#[tokio::test]
async fn without_ranges_the_whole_is_filled_anew_and_goes_on_if_it_is_the_same() {
    for mode in MODES {
        for (script, healing) in [
            (unparted(), &["4000-4999 \"v1\"", "all"][..]),
            (plain(), &["all"]),
            (plain().honours_ranges(), &["all"]),
            (Script::of(&truth()), &["all"]),
        ] {
            let rig = stored(mode, script).await;
            let calls = rig.inner.calls().len();
            let mut reading = rig.get(PATH).reading().await;
            assert!(reading.ready() == truth().slice(..1000));
            lose(&rig, 4).await;
            reading.rest().await.whole(&truth()).is_hit();
            assert_eq!(since(&rig, calls), healing, "{mode:?}");
            rig.get(PATH).send().await.whole(&truth()).is_hit();
            rig.inner.was_called(calls + healing.len());
        }
    }
}

#[tokio::test]
async fn without_ranges_parts_go_on_in_the_refill() {
    for mode in MODES {
        for lost in [2, 5, 8] {
            let rig = stored(mode, plain()).await;
            let calls = rig.inner.calls().len();
            let ask = || rig.get(PATH).range("bytes=2100-2109,5000-6009,8990-8999").reading();
            let truly = ask().await.rest().await;
            let begun = ask().await;
            lose(&rig, lost).await;
            let answer = begun.rest().await;
            assert!(answer.bytes == truly.bytes, "{mode:?} {lost} {:?}", answer.error);
            assert!(answer.error.is_none());
            // The chunk that the body began with was read before it was lost.
            assert_eq!(since(&rig, calls).len(), usize::from(lost != 2), "{mode:?}");
        }
    }
}

#[tokio::test]
async fn without_ranges_a_body_under_way_has_nothing_to_be_proved_by() {
    let gate = Gate::shut();
    let script = unparted().step(10, Step::Wait(gate.clone()));
    let rig = Rig::new().fill(Fill::progressive());
    rig.inner.answer_each(PATH, [script, unparted()]);
    let mut leader = rig.get(PATH).reading().await;
    let mut follower = rig.get(PATH).reading().await;
    gate.reached_by(1).await;
    for reading in [&mut leader, &mut follower] {
        while reading.bytes.len() < 3000 {
            reading.next().await.unwrap().unwrap();
        }
    }
    lose(&rig, 3).await;
    let answer = follower.rest().await;
    assert!(answer.error.is_some());
    assert!(answer.bytes == truth().slice(..3000));
    gate.open();
    let answer = leader.rest().await;
    assert!(answer.error.is_some());
    assert!(answer.bytes == truth().slice(..3000));
    rig.get(PATH).send().await.whole(&truth());
}

#[tokio::test]
async fn without_ranges_many_clients_cost_one_refill() {
    for mode in MODES {
        let rig = stored(mode, plain()).await;
        let calls = rig.inner.calls().len();
        let mut within = Vec::new();
        for _ in 0..20 {
            let mut reading = rig.get(PATH).reading().await;
            reading.ready();
            within.push(reading);
        }
        lose(&rig, 4).await;
        let gate = Gate::shut();
        rig.inner.answer(PATH, plain().held_by(&gate));
        let within: Vec<_> = within.into_iter().map(|reading| tokio::spawn(reading.rest())).collect();
        settle().await;
        gate.open();
        for viewer in within {
            viewer.await.unwrap().whole(&truth());
        }
        assert_eq!(since(&rig, calls), ["all"], "{mode:?}");
    }
}

#[tokio::test]
async fn without_ranges_a_changed_representation_is_not_stitched_on() {
    let plain_other = Script::of(&other()).header("content-length", &LENGTH.to_string());
    let retagged = Script::movie(PATH, LENGTH).header("etag", "\"v2\"");
    for mode in MODES {
        for (before, after, now) in [
            (plain(), plain_other.clone(), other()),
            (unparted(), plain_other.clone().header("etag", "\"v2\""), other()),
            // The bytes are the same, but the inner service says that they are not, and the other mode has no digest
            // of them.
            (unparted(), retagged.clone(), truth()),
        ] {
            let rig = stored(mode, before).await;
            let mut reading = rig.get(PATH).reading().await;
            reading.ready();
            lose(&rig, 4).await;
            rig.inner.answer(PATH, after);
            let answer = reading.rest().await;
            assert!(answer.error.is_some(), "{mode:?}");
            assert!(answer.bytes == truth().slice(..4000), "{mode:?}");
            rig.get(PATH).send().await.whole(&now);
            rig.get(PATH).send().await.whole(&now).is_hit();
            assert!(rig.inner.calls().len() < 7, "{mode:?} {:?}", asked(&rig));
        }
    }
}

#[tokio::test]
async fn a_changed_representation_ends_the_body_and_the_next_request_gets_it() {
    for mode in MODES {
        for after in [changed(), changed().ignores_if_range(), Script::absent()] {
            let is_gone = after.clone();
            let rig = stored(mode, parted()).await;
            let mut reading = rig.get(PATH).reading().await;
            reading.ready();
            lose(&rig, 4).await;
            rig.inner.answer_each(PATH, [is_gone, changed()]);
            let answer = reading.rest().await;
            assert!(answer.error.as_ref().is_some_and(Error::is_changed), "{:?}", answer.error);
            assert!(answer.bytes == truth().slice(..4000));
            rig.get(PATH).send().await.whole(&other());
        }
    }
}

#[tokio::test]
async fn a_request_that_has_not_begun_gets_the_changed_representation() {
    for mode in MODES {
        let rig = stored(mode, parted()).await;
        lose(&rig, 4).await;
        rig.inner.answer(PATH, changed());
        let answer = rig.get(PATH).range("bytes=4100-4199").send().await;
        answer.partial(&other(), 4100..4200);
        assert_eq!(answer.field("etag"), "\"v2\"");
        rig.get(PATH).send().await.whole(&other());
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunk_that_cannot_be_healed_while_the_inner_service_is_down_is_healed_later() {
    for mode in MODES {
        for down in [Script::absent().fails(), Script::absent().status(503)] {
            let rig = stored(mode, parted()).await;
            let calls = rig.inner.calls().len();
            let mut reading = rig.get(PATH).reading().await;
            reading.ready();
            lose(&rig, 4).await;
            rig.inner.answer(PATH, down);
            let answer = reading.rest().await;
            assert!(answer.error.is_some_and(|error| error.is_inner()), "{mode:?}");
            assert!(answer.bytes == truth().slice(..4000));
            let tries = rig.inner.calls().len() - calls;
            assert!(tries <= 4, "{tries}");
            // The rest is still there.
            rig.get(PATH).range("bytes=6000-9499").send().await.partial(&truth(), 6000..9500).is_hit();
            match rig.get(PATH).range("bytes=4100-4199").response().await {
                Ok(response) => assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE),
                Err(refused) => assert_eq!(refused, crate::rig::Refused),
            }
            rig.inner.answer(PATH, parted());
            let calls = rig.inner.calls().len();
            rig.get(PATH).send().await.whole(&truth()).is_hit();
            assert_eq!(since(&rig, calls), ["4000-4999 \"v1\""], "{mode:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_ranges_an_inner_service_that_is_down_ends_the_body() {
    for mode in MODES {
        let rig = stored(mode, plain()).await;
        let mut reading = rig.get(PATH).reading().await;
        reading.ready();
        lose(&rig, 4).await;
        rig.inner.answer(PATH, Script::absent().fails());
        let answer = reading.rest().await;
        assert!(answer.error.is_some());
        assert!(answer.bytes == truth().slice(..4000));
        rig.inner.answer(PATH, plain());
        rig.get(PATH).send().await.whole(&truth());
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_says_nothing_ends_the_body_in_the_end() {
    for mode in MODES {
        let rig = stored(mode, parted()).await;
        let mut reading = rig.get(PATH).reading().await;
        reading.ready();
        lose(&rig, 4).await;
        rig.inner.answer(PATH, parted().held_by(&Gate::shut()));
        let began = tokio::time::Instant::now();
        let answer = reading.rest().await;
        assert!(answer.error.is_some_and(|error| error.is_inner()), "{mode:?}");
        // The idle limit four times, and the pauses between.
        assert!(began.elapsed() < seconds(4 * 60 + 2), "{:?}", began.elapsed());
        // A request whose answer has not begun waits no longer than any other.
        let began = tokio::time::Instant::now();
        rig.inner.answer_each(PATH, [parted().held_by(&Gate::shut()), parted()]);
        rig.get(PATH).range("bytes=4100-4199").send().await.partial(&truth(), 4100..4200);
        assert!(began.elapsed() < seconds(31), "{:?}", began.elapsed());
        rig.get(PATH).send().await.whole(&truth());
    }
}

#[tokio::test(start_paused = true)]
async fn a_slice_that_dies_is_tried_again() {
    for mode in MODES {
        let rig = stored(mode, parted()).await;
        let calls = rig.inner.calls().len();
        lose(&rig, 4).await;
        rig.inner.answer_each(PATH, [parted().dies_at(4500), Script::absent().status(503), parted()]);
        rig.get(PATH).range("bytes=4000-4999").send().await.partial(&truth(), 4000..5000);
        assert_eq!(since(&rig, calls), ["4000-4999 \"v1\""; 3], "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_nothing_costs_a_bounded_number_of_calls() {
    for mode in MODES {
        for (operation, fault) in [
            (Operation::Put, Fault::Absent),
            (Operation::Put, Fault::Lost),
            (Operation::Put, Fault::Corrupt),
            (Operation::Put, Fault::Error),
            (Operation::Get, Fault::Absent),
            (Operation::Get, Fault::Error),
            (Operation::Get, Fault::Corrupt),
        ] {
            for script in [parted(), unparted(), plain()] {
                // The store loses everything from the start, or once all is stored.
                for warm in [false, true] {
                    let rig = Rig::new().fill(mode).script(PATH, script.clone());
                    if warm {
                        rig.get(PATH).send().await.whole(&truth());
                    }
                    rig.store.spoil_from(operation, rig.store.calls(operation) + 1, fault);
                    if warm {
                        rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + 3, Fault::Lost);
                    }
                    for _ in 0..3 {
                        let calls = rig.inner.calls().len();
                        is_true(&rig, None).await;
                        is_true(&rig, Some(4100..6200)).await;
                        let calls = rig.inner.calls().len() - calls;
                        assert!(
                            calls <= 6,
                            "{mode:?} {operation:?} {fault:?} {warm} {calls}: {:?}",
                            asked(&rig)
                        );
                    }
                }
            }
        }
    }
}

/// Checks that the answer has all bytes of the range, or the first of them and an error.
async fn is_true(rig: &Rig, range: Option<Range<usize>>) {
    let answer = match &range {
        Some(range) => rig.get(PATH).range(&bytes(range)).send().await,
        None => rig.get(PATH).send().await,
    };
    let truth: Bytes = match &range {
        Some(range) if answer.status == StatusCode::PARTIAL_CONTENT => truth().slice(range.clone()),
        _ => truth(),
    };
    assert!(truth.starts_with(&answer.bytes), "{:?}", answer.status);
    assert!(answer.error.is_some() || answer.bytes.len() == truth.len());
}
