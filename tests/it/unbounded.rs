//! Bodies without a declared length: when their bytes leave, and how long the cache stores one that may have no end.

use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version};
use tower_video_cache::{Fill, Timeouts};

use crate::rig::{Gate, PATH, Rig, Script, Step, movie, seconds, settle};

const LENGTH: usize = 9500;

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

fn unbounded() -> Script {
    Script::of(&truth())
}

/// The modes in which clients read a response while it comes.
const MODES: [Fill; 3] = [Fill::auto(), Fill::progressive(), Fill::sliced()];

fn rig(mode: Fill, script: Script) -> Rig {
    Rig::new().fill(mode).script(PATH, script)
}

#[tokio::test]
async fn a_range_from_the_start_gets_the_stream_at_once() {
    for mode in MODES {
        for range in ["bytes=0-", "bytes=0-1048575"] {
            let gate = Gate::shut();
            let rig = rig(mode, unbounded().step(4, Step::Wait(gate.clone())));
            let mut reading = rig.get(PATH).range(range).reading().await;
            reading.next().await.unwrap().unwrap();
            gate.open();
            let answer = reading.rest().await;
            assert_eq!(answer.status, StatusCode::OK, "{mode:?}, {range}");
            assert!(!answer.has("content-range") && !answer.has("content-length"), "{mode:?}, {range}");
            assert_eq!(answer.bytes, truth(), "{mode:?}, {range}");
            // Once the length is known, a range is a part.
            settle().await;
            rig.get(PATH).range(range).send().await.partial(&truth(), 0..LENGTH).is_hit();
        }
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_byte_before_the_end_is_known() {
    for mode in MODES {
        let gate = Gate::shut();
        let rig = rig(mode, unbounded().step(4, Step::Wait(gate.clone())));
        let old = rig.get(PATH).version(Version::HTTP_10).start();
        let new = rig.get(PATH).reading().await;
        settle().await;
        assert!(!old.is_finished(), "{mode:?}");
        gate.open();
        let answer = old.await.unwrap();
        assert_eq!((answer.field("content-length"), &answer.bytes), ("9500", &truth()), "{mode:?}");
        new.rest().await.whole(&truth());
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_an_error_for_a_body_that_breaks() {
    for mode in MODES {
        let rig = rig(mode, unbounded().dies_at(5000).dies_times(9));
        let answer = rig.get(PATH).version(Version::HTTP_10).send().await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{mode:?}");
    }
}

#[tokio::test]
async fn every_client_waits_for_the_length_if_the_settings_say_so() {
    for mode in MODES {
        let rig = rig(mode.await_length(true), unbounded());
        let answer = rig.get(PATH).send().await;
        assert_eq!(answer.field("content-length"), "9500", "{mode:?}");
        answer.whole(&truth());
        let rig = self::rig(mode.await_length(true), unbounded().dies_at(5000).dies_times(9));
        assert_eq!(rig.get(PATH).send().await.status, StatusCode::BAD_GATEWAY, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_live_after_a_while_and_passes_from_then_on() {
    for mode in [Fill::auto(), Fill::progressive(), Fill::sliced(), Fill::whole()] {
        let script = unbounded().paced(Duration::from_secs(1));
        let rig = rig(mode, script)
            .layer(|layer| layer.timeouts(Timeouts::default().endless(seconds(5)).inner_idle(seconds(60))));
        let begun = tokio::time::Instant::now();
        let mut reading = rig.get(PATH).reading().await;
        reading.next().await.unwrap().unwrap();
        assert!(begun.elapsed() <= seconds(6), "{mode:?}: {:?}", begun.elapsed());
        reading.rest().await.whole(&truth());
        let answer = rig.get(PATH).send().await;
        answer.whole(&truth());
        assert!(answer.cache_status().ends_with("detail=endless"), "{mode:?}: {}", answer.cache_status());
        rig.inner.was_called(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_is_read_no_more_once_nobody_listens() {
    for mode in MODES {
        let rig = rig(mode, unbounded().paced(Duration::from_secs(1)))
            .layer(|layer| layer.timeouts(Timeouts::default().endless(seconds(5))));
        let mut reading = rig.get(PATH).reading().await;
        while reading.bytes.len() < 6000 {
            reading.next().await.unwrap().unwrap();
        }
        drop(reading);
        settle().await;
        let fetched = rig.inner.bytes_of(PATH);
        tokio::time::sleep(seconds(60)).await;
        assert_eq!(rig.inner.bytes_of(PATH), fetched, "{mode:?}");
    }
}
