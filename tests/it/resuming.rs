//! An inner body that dies midway is continued from the byte at which it died.
//!
//! RFC 9110 §14.2 (`Range`), §13.1.5 (`If-Range`).

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;
use tower_video_cache::{Fill, Retry, Timeouts};

use crate::rig::{Answer, PATH, Rig, Script, Step, date, movie, seconds};

/// Five chunks; the last is short.
const LENGTH: usize = 4300;

const MODES: [Fill; 3] = [Fill::auto(), Fill::whole(), Fill::progressive()];

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

fn known() -> Script {
    Script::movie(PATH, LENGTH).header("etag", "\"v1\"").honours_ranges()
}

fn unknown() -> Script {
    Script::of(&truth()).header("etag", "\"v1\"").honours_ranges()
}

fn rig(mode: Fill, script: Script) -> Rig {
    Rig::new().fill(mode).script(PATH, script)
}

/// The ranges that were asked for after the first call.
fn asked_again(rig: &Rig) -> Vec<String> {
    rig.inner.ranges(PATH).split_off(1)
}

/// Checks that the answer has only true bytes and then an error.
#[track_caller]
fn breaks(answer: &Answer) {
    if answer.status == StatusCode::OK {
        assert!(answer.error.is_some() && truth().starts_with(&answer.bytes), "{answer:?}");
    } else {
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_dies_goes_on_from_the_byte_it_died_at() {
    for mode in MODES {
        for script in [known(), unknown()] {
            for byte in [0, 1, 616, 617, 999, 1000, 1001, 2000, 3500, 4299] {
                let rig = rig(mode, script.clone().dies_at(byte));
                let viewers = [rig.get(PATH).start(), rig.get(PATH).range("bytes=900-4000").start()];
                let [whole, part] = futures_util::future::join_all(viewers).await.try_into().unwrap();
                whole.unwrap().whole(&truth());
                assert_eq!(part.unwrap().bytes, truth()[900..4001]);
                assert_eq!(asked_again(&rig), [format!("bytes={byte}-")]);
                let again = &rig.inner.calls()[1].headers;
                assert_eq!(again["if-range"], "\"v1\"");
                assert_eq!(again.len(), 2);
                rig.get(PATH).send().await.is_hit().whole(&truth());
                rig.inner.was_called(2);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_too_early_goes_on_as_well() {
    for mode in MODES {
        for byte in [0, 1500, 4299] {
            let rig = rig(mode, known().ends_at(byte));
            rig.get(PATH).send().await.whole(&truth());
            assert_eq!(asked_again(&rig), [format!("bytes={byte}-")]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_dies_at_its_end_has_come_as_a_whole_or_is_broken() {
    for mode in MODES {
        // All bytes have come, so there is no range left to ask for.
        for script in [known(), unknown()] {
            let rig = rig(mode, script.dies_at(LENGTH as u64));
            breaks(&rig.get(PATH).send().await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_may_be_followed_by_another() {
    for mode in MODES {
        // The body dies at two places, and the parts are shorter than the requested range.
        let rig = rig(mode, known().dies_at(700).dies_at(2900));
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(asked_again(&rig), ["bytes=700-", "bytes=2900-"]);

        let rig = self::rig(mode, known().dies_at(700).gives_at_most(1500));
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(asked_again(&rig), ["bytes=700-", "bytes=2200-", "bytes=3700-"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_is_tried_the_set_times_with_a_pause_that_doubles() {
    let pause = Duration::from_millis(100);
    for mode in MODES {
        for resumes in 0..=3 {
            for deaths in 1..=4 {
                let rig = rig(mode, known().dies_at(1500).dies_times(deaths))
                    .layer(|layer| layer.retry(Retry::default().attempts(resumes).first_delay(pause)));
                let begun = Instant::now();
                let answer = rig.get(PATH).send().await;
                let tries = deaths.min(resumes);
                assert_eq!(
                    begun.elapsed(),
                    pause * (2_u32.pow(tries) - 1),
                    "{deaths} deaths, {resumes} resumes"
                );
                assert_eq!(asked_again(&rig), vec!["bytes=1500-"; tries as usize]);
                if deaths <= resumes {
                    answer.whole(&truth());
                    rig.get(PATH).send().await.is_hit();
                } else {
                    breaks(&answer);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_resume_is_tried_three_times_by_default() {
    for mode in MODES {
        for (deaths, is_saved) in [(3, true), (4, false)] {
            let rig = rig(mode, known().dies_at(1500).dies_times(deaths));
            let begun = Instant::now();
            let answer = rig.get(PATH).send().await;
            assert_eq!(answer.error.is_none() && answer.status == StatusCode::OK, is_saved);
            assert_eq!(begun.elapsed(), Duration::from_millis(700));
            rig.inner.was_called(4);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_is_down_for_a_moment_is_asked_again() {
    for mode in MODES {
        for down in [Script::absent().status(503), Script::absent().fails(), Script::absent().status(429)] {
            let rig = Rig::new().fill(mode);
            rig.inner.answer_each(PATH, [known().dies_at(1500), down.clone(), down, known()]);
            let begun = Instant::now();
            rig.get(PATH).send().await.whole(&truth());
            assert_eq!(begun.elapsed(), Duration::from_millis(700));
            assert_eq!(asked_again(&rig), ["bytes=1500-"; 3]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_does_not_answer_in_time_is_asked_again() {
    for mode in MODES {
        let never = crate::rig::Gate::shut();
        let rig =
            Rig::new().fill(mode).layer(|layer| layer.timeouts(Timeouts::default().inner_idle(seconds(5))));
        rig.inner.answer_each(PATH, [known().dies_at(1500), known().held_by(&never), known()]);
        let begun = Instant::now();
        rig.get(PATH).send().await.whole(&truth());
        assert_eq!(begun.elapsed(), seconds(5) + Duration::from_millis(300));
        rig.inner.was_called(3);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_strong_validator_nothing_is_resumed() {
    let plain = || Script::movie(PATH, LENGTH).honours_ranges();
    for mode in MODES {
        for (script, is_strong) in [
            (plain(), false),
            (plain().header("etag", "W/\"v1\""), false),
            (plain().header("etag", "v1"), false),
            // A date is strong once it is a minute older than the answer (RFC 9110 §8.8.2.2).
            (plain().header("last-modified", &date(-59)), false),
            (plain().header("last-modified", &date(-60)), true),
            (plain().header("last-modified", &date(-600)).header("date", &date(-590)), false),
            (plain().header("etag", "W/\"v1\"").header("last-modified", &date(-59)), false),
            (plain().header("etag", "v1").header("last-modified", &date(-600)), false),
        ] {
            let rig = rig(mode, script.dies_at(1500));
            let answer = rig.get(PATH).send().await;
            if is_strong {
                answer.whole(&truth());
                assert_eq!(rig.inner.calls()[1].headers["if-range"], *date(-60));
                rig.inner.was_called(2);
            } else {
                breaks(&answer);
                rig.inner.was_called(1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_weak_tag_and_a_strong_date_continue_a_body_together() {
    let weak = |tag: &str, modified: &str| {
        Script::movie(PATH, LENGTH).honours_ranges().header("etag", tag).header("last-modified", modified)
    };
    let known = || weak("W/\"v1\"", &date(-600));
    for mode in MODES {
        for (what, next, is_continued) in [
            ("the same", known(), true),
            ("the same, by a server that looks at conditions", known().honours_conditions(), true),
            ("another tag", weak("W/\"v2\"", &date(-600)), false),
            ("another date", weak("W/\"v1\"", &date(-300)), false),
            (
                "another date, by a server that looks",
                weak("W/\"v1\"", &date(-300)).honours_conditions(),
                false,
            ),
            ("a part without a date", known().part_without("last-modified"), false),
        ] {
            let rig = Rig::new().fill(mode);
            rig.inner.answer_each(PATH, [known().dies_at(1500), next]);
            let answer = rig.get(PATH).send().await;
            let calls = rig.inner.calls();
            assert_eq!(calls[1].headers["if-unmodified-since"], *date(-600), "{what}");
            assert!(!calls[1].headers.contains_key("if-range"), "{what}");
            if is_continued {
                answer.whole(&truth());
                rig.inner.was_called(2);
            } else {
                breaks(&answer);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_representation_that_has_changed_by_now_is_never_mixed_in() {
    let other = |length| Script::movie("/other", length).header("etag", "\"v2\"").honours_ranges();
    for mode in MODES {
        for (what, answer) in [
            ("another representation, and the inner service says so", other(LENGTH)),
            ("another representation, and a part of it all the same", other(LENGTH).ignores_if_range()),
            ("a shorter one", other(1000)),
            ("another length", Script::movie("/other", 5000).header("etag", "\"v1\"").honours_ranges()),
            ("without a validator", Script::movie("/other", LENGTH).honours_ranges().ignores_if_range()),
            ("with a weak one", other(LENGTH).part_header("etag", "W/\"v1\"").ignores_if_range()),
            (
                "in a coding",
                other(LENGTH)
                    .part_header("etag", "\"v1\"")
                    .part_header("content-encoding", "gzip")
                    .ignores_if_range(),
            ),
            ("another part", known().gives_range(1000..4300)),
            ("one that lies", known().says_range("bytes 1400-4299/4300")),
            ("gone", Script::absent()),
            ("gone for good", Script::absent().status(410)),
            ("one that gives no parts", Script::movie(PATH, LENGTH).header("etag", "\"v1\"")),
        ] {
            let rig = Rig::new().fill(mode);
            rig.inner.answer_each(PATH, [known().dies_at(1500), answer]);
            let heard = rig.get(PATH).send().await;
            breaks(&heard);
            assert!(rig.inner.calls().len() <= 3, "{what}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_another_representation_came_the_next_client_gets_that_one_alone() {
    let other = movie("/other", 3000);
    for mode in MODES {
        let rig = Rig::new().fill(mode);
        let second = Script::movie("/other", 3000).header("etag", "\"v2\"").honours_ranges();
        rig.inner.answer_each(PATH, [known().dies_at(1500), second]);
        breaks(&rig.get(PATH).send().await);
        // The rest of the first representation is recognised before one of its bytes is sent, or the body breaks.
        for _ in 0..3 {
            let answer = rig.get(PATH).send().await;
            let (old, new) = (truth(), &other);
            let is_one = old.starts_with(&answer.bytes) || new.starts_with(&answer.bytes);
            assert!(is_one || answer.status != StatusCode::OK);
            assert!(answer.error.is_some() || answer.bytes == *new);
        }
        rig.get(PATH).send().await.whole(&other);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_during_a_resume_notices_nothing() {
    let rig = rig(Fill::progressive(), known().dies_at(1500));
    let mut leader = rig.get(PATH).reading().await;
    let mut follower = rig.get(PATH).reading().await;
    for viewer in [&mut leader, &mut follower] {
        assert_eq!(viewer.ready(), truth()[..1000]);
        viewer.waits();
    }
    leader.rest().await.whole(&truth());
    follower.rest().await.whole(&truth());
    rig.inner.was_called(2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_not_resumed() {
    for mode in MODES {
        let rig = rig(mode, known().step(4, Step::Panic));
        let viewer = rig.get(PATH).start().await;
        if let Ok(answer) = viewer {
            breaks(&answer);
        }
        rig.inner.was_called(1);
    }
}
