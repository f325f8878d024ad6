//! The fault matrix of all modes. The store fails, an inner body dies anywhere, or a representation changes at any
//! time. In every case a client gets the true bytes of one representation, or an error.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use tower_video_cache::{Fault, Fill, Operation};

use crate::{
    rig::{CHUNK, PATH, Rig, Script, seconds},
    truth::{Heard, Kind, Question, Verdict, Version, judge},
};

/// Five chunks; the last is short.
const LENGTH: usize = 4300;

const MODES: [Fill; 4] = [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced()];

/// Every fault that the modes treat differently, and a delay below every limit.
const FAULTS: [Fault; 6] = [
    Fault::Error,
    Fault::Absent,
    Fault::Corrupt,
    Fault::Lost,
    Fault::Hang,
    Fault::Slow(Duration::from_secs(1)),
];

/// The requests that clients make, one after another or at once. `""` is a request without a range, `"HEAD"` a HEAD.
const VIEWS: [[&str; 3]; 4] = [
    ["", "bytes=1500-2200", ""],
    ["bytes=1500-2200", "HEAD", "bytes=0-0"],
    ["bytes=3000-", "", "bytes=-700"],
    ["bytes=0-0, 2500-3100", "bytes=900-1100", "bytes=4299-9999"],
];

fn questions(views: [&str; 3]) -> Vec<Question> {
    let question = |asked: &str| match asked {
        "" => Question::new(Method::GET, PATH),
        "HEAD" => Question::new(Method::HEAD, PATH),
        range => Question::new(Method::GET, PATH).field("range", range),
    };
    views.into_iter().map(question).collect()
}

/// A rig whose slices are small beside the video.
fn rig(mode: Fill) -> Rig {
    Rig::new().fill(mode.read_ahead(2 * u64::from(CHUNK)))
}

fn version(number: u32, kind: Kind) -> Version {
    Version::new(PATH, number, kind, LENGTH)
}

/// Asks one after another, or all at once, and judges the answers.
async fn view(rig: &Rig, views: [&str; 3], at_once: bool, versions: &[Version], what: &str) -> Vec<Verdict> {
    let questions = questions(views);
    // Longer than any limit of the layer.
    let patience = seconds(150);
    let heard = if at_once {
        join_all(questions.iter().map(|question| question.put_to(rig, patience))).await
    } else {
        let mut heard = Vec::new();
        for question in &questions {
            heard.push(question.put_to(rig, patience).await);
        }
        heard
    };
    let judged = questions.iter().zip(&heard).map(|(question, heard)| {
        let hangs = matches!(heard, Heard::Nothing | Heard::Start(_)) && !what.contains("Stalls");
        assert!(!hangs, "it hangs: {what}: {question:?}: {heard:?}");
        judge(question, heard, versions)
            .unwrap_or_else(|why| panic!("{why}: {what}: {question:?}: {heard:?}"))
    });
    judged.collect()
}

/// The inner service was well all the time, so every answer is, too, except for a body that has begun and cannot be
/// taken back.
fn none_failed(verdicts: &[Verdict], what: &str) {
    assert!(!verdicts.contains(&Verdict::Failed), "{what}: {verdicts:?}");
}

/// Every fault of the store, at every moment, with every kind of representation.
async fn store_faults(mode: Fill) {
    for kind in [Kind::Tagged, Kind::Dated, Kind::Plain, Kind::Streamed] {
        let versions = [version(1, kind)];
        for (operation, calls) in [(Operation::Get, 16), (Operation::Put, 8), (Operation::Remove, 2)] {
            for (fault, nth) in FAULTS.into_iter().flat_map(|fault| (1..=calls).map(move |nth| (fault, nth)))
            {
                for (all_after, views) in [(false, VIEWS[0]), (false, VIEWS[1]), (true, VIEWS[2])] {
                    let at_once = nth % 3 == 0;
                    let what =
                        format!("{mode:?} {kind:?} {operation:?} {fault:?} {nth} {all_after} {at_once}");
                    let rig = rig(mode).script(PATH, versions[0].script());
                    if all_after {
                        rig.store.spoil_from(operation, nth, fault);
                    } else {
                        rig.store.spoil(operation, nth, fault);
                    }
                    none_failed(&view(&rig, views, at_once, &versions, &what).await, &what);
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_fault_of_the_store_is_a_lie_of_the_default_mode() {
    store_faults(Fill::auto()).await;
}

#[tokio::test(start_paused = true)]
async fn no_fault_of_the_store_is_a_lie_of_a_whole_fill() {
    store_faults(Fill::whole()).await;
}

#[tokio::test(start_paused = true)]
async fn no_fault_of_the_store_is_a_lie_of_a_progressive_fill() {
    store_faults(Fill::progressive()).await;
}

#[tokio::test(start_paused = true)]
async fn no_fault_of_the_store_is_a_lie_of_a_sliced_fill() {
    store_faults(Fill::sliced()).await;
}

#[tokio::test(start_paused = true)]
async fn an_inner_body_that_breaks_anywhere_is_never_a_short_or_a_wrong_one() {
    type Breaks = fn(Script, u64) -> Script;
    let breaks: [(&str, Breaks); 3] =
        [("Dies", Script::dies_at), ("Ends", Script::ends_at), ("Stalls", Script::stalls_at)];
    for mode in MODES {
        for kind in Kind::ALL {
            let versions = [version(1, kind)];
            for (how, breaks) in breaks {
                // Only the inner service knows the end of a body without a length.
                if how == "Ends" && matches!(kind, Kind::Streamed | Kind::StreamedTagged) {
                    continue;
                }
                for at in [0, 1, 617, 1000, 1001, 2500, 4299, 4300] {
                    for (times, views, at_once) in [(1, VIEWS[0], false), (9, VIEWS[2], true)] {
                        let what = format!("{mode:?} {kind:?} {how} at {at}, {times} times");
                        let script = breaks(versions[0].script(), at).dies_times(times);
                        let rig = rig(mode).script(PATH, script);
                        view(&rig, views, at_once, &versions, &what).await;
                    }
                }
            }
        }
    }
}

/// Scripts of versions that follow each other: `first` for this many calls, then `second`. If `back` is set, the
/// first returns after two calls.
fn changing(first: &Version, second: &Version, calls: usize, back: bool) -> Vec<Script> {
    let mut scripts = vec![first.script(); calls];
    scripts.extend(vec![second.script(); 2]);
    if back {
        scripts.push(first.script());
    }
    scripts
}

#[tokio::test(start_paused = true)]
async fn a_representation_that_changes_between_any_two_calls_is_never_mixed_with_another() {
    for mode in MODES {
        for kind in Kind::ALL {
            for length in [LENGTH, LENGTH - 1200, LENGTH + 1200] {
                let versions = [version(1, kind), Version::new(PATH, 2, kind, length)];
                for calls in 1..=5 {
                    for (views, back) in VIEWS.into_iter().zip([false, true, false, true]) {
                        for at_once in [false, true] {
                            let what = format!("{mode:?} {kind:?} {length} after {calls}, {back}, {at_once}");
                            let rig = rig(mode);
                            rig.inner.answer_each(PATH, changing(&versions[0], &versions[1], calls, back));
                            let verdicts = view(&rig, views, at_once, &versions, &what).await;
                            none_failed(&verdicts, &what);
                            let one_call_brings_all = ![Fill::auto(), Fill::sliced()].contains(&mode);
                            let is_true = |verdict: &Verdict| matches!(verdict, Verdict::True(_));
                            assert!(
                                !one_call_brings_all || verdicts.iter().all(is_true),
                                "{what}: {verdicts:?}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_chunk_of_a_representation_is_not_replaced_with_one_of_another() {
    for mode in MODES {
        for kind in [Kind::Tagged, Kind::Dated, Kind::Deaf, Kind::Undivided, Kind::Plain, Kind::Streamed] {
            let versions = [version(1, kind), version(2, kind)];
            for calls in 1..=3 {
                for nth in 2..=14 {
                    for (fault, views) in [(Fault::Absent, VIEWS[0]), (Fault::Corrupt, VIEWS[2])] {
                        let what = format!("{mode:?} {kind:?} {fault:?} {nth}, changes after {calls}");
                        let rig = rig(mode);
                        rig.inner
                            .answer_each(PATH, changing(&versions[0], &versions[1], calls, nth % 2 == 0));
                        lose(&rig, nth, fault);
                        none_failed(&view(&rig, views, false, &versions, &what).await, &what);
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_failed_call_among_good_ones_is_an_error_at_the_worst() {
    for mode in MODES {
        for kind in Kind::ALL {
            let versions = [version(1, kind), version(2, kind)];
            for (nth, failing) in (0..4).flat_map(|nth| [(nth, "refused"), (nth, "503"), (nth, "500")]) {
                for (views, at_once) in [(VIEWS[0], false), (VIEWS[2], true)] {
                    let what = format!("{mode:?} {kind:?} {failing} {nth}");
                    let rig = rig(mode);
                    let mut scripts = vec![versions[0].script(); nth];
                    scripts.push(match failing {
                        "refused" => versions[0].script().fails(),
                        "503" => Script::absent().status(503),
                        _ => versions[0].script().status(500),
                    });
                    scripts.push(versions[1].script());
                    rig.inner.answer_each(PATH, scripts);
                    view(&rig, views, at_once, &versions, &what).await;
                }
            }
        }
    }
}

/// Parts that are wrong or differ from the requested one, each with its name. The flag says whether the first answer
/// alone shows the fault, if there is no earlier answer.
fn wrong_parts(script: &Script) -> Vec<(&'static str, bool, Script)> {
    let script = || script.clone();
    vec![
        ("another range", true, script().says_range("bytes 0-999/4300")),
        ("another total", true, script().says_range("bytes 0-1999/9000")),
        ("nonsense", true, script().says_range("bytes 0-")),
        ("nothing of a range", true, script().part_without("content-range")),
        ("another place", false, script().misplaces_parts(1000)),
        ("a place nearby", false, script().misplaces_parts(1)),
        ("the start", true, script().gives_range(0..700)),
        ("the end", true, script().gives_range(4000..4300)),
        ("all", true, script().gives_range(0..4300)),
        ("less", true, script().gives_at_most(10)),
        ("a chunk and a half", true, script().gives_at_most(1500)),
        ("no total", true, script().without_total()),
        ("a coding", false, script().codes_parts()),
        ("a tag of its own", true, script().part_header("etag", "\"another\"")),
        ("no tag", true, script().part_without("etag")),
        ("a length that is none of its own", true, script().part_header("content-length", "17")),
        ("no length", true, script().part_without("content-length")),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_part_other_than_the_requested_one_is_never_stored_in_its_place() {
    for mode in MODES {
        for kind in [Kind::Tagged, Kind::Dated, Kind::Deaf, Kind::StreamedTagged] {
            // A tag that only parts have is as good as any, if there was none before.
            let another = Version { etag: Some("\"another\"".to_owned()), ..version(1, kind) };
            let inverted = version(1, kind).bytes.iter().map(|byte| !byte).collect();
            let coded = Version { bytes: inverted, coding: "inverted", ..version(1, kind) };
            let versions = [version(1, kind), another, coded];
            // The fault is in every call, or only in the later calls.
            for (what, from_the_first, wrong) in wrong_parts(&versions[0].script()) {
                for (calls, lost) in [(0, None), (1, None), (1, Some(4)), (2, None), (2, Some(5))] {
                    if calls == 0 && !from_the_first {
                        continue;
                    }
                    let what = format!("{mode:?} {kind:?} {what} after {calls}, {lost:?} lost");
                    let rig = rig(mode);
                    let mut scripts = vec![versions[0].script(); calls];
                    scripts.push(wrong.clone());
                    rig.inner.answer_each(PATH, scripts);
                    if let Some(nth) = lost {
                        lose(&rig, nth, Fault::Absent);
                    }
                    // A part that a client itself asked for may be handed over as it came.
                    view(&rig, ["", "HEAD", ""], false, &versions, &what).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refill_in_another_coding_is_not_joined_to_bytes_that_have_left() {
    for mode in MODES {
        for nth in 2..=8 {
            let first = version(1, Kind::Undivided);
            let inverted = first.bytes.iter().map(|byte| !byte).collect();
            let second = Version { bytes: inverted, coding: "inverted", ..first.clone() };
            let coded = second.script().header("content-encoding", "inverted");
            let what = format!("{mode:?} {nth}");
            let rig = rig(mode);
            let calls = if mode == Fill::sliced() { 2 } else { 1 };
            let scripts = vec![first.script(); calls];
            rig.inner.answer_each(PATH, scripts.into_iter().chain([coded]));
            lose(&rig, nth, Fault::Absent);
            view(&rig, VIEWS[0], false, &[first, second], &what).await;
        }
    }
}

/// Loses the value of the `nth` get for a while, so that a second get does not find it either.
fn lose(rig: &Rig, nth: u64, fault: Fault) {
    (nth..nth + 4).for_each(|nth| rig.store.spoil(Operation::Get, nth, fault));
}

#[tokio::test(start_paused = true)]
async fn a_chunk_lost_once_is_healed_and_no_client_notices() {
    for mode in MODES {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.can_be_divided()) {
            let versions = [version(1, kind)];
            for fault in [Fault::Absent, Fault::Corrupt, Fault::Lost, Fault::Error] {
                for (nth, views) in (1..=16).zip(VIEWS.into_iter().cycle()) {
                    let what = format!("{mode:?} {kind:?} {fault:?} {nth} {views:?}");
                    let rig = rig(mode).script(PATH, versions[0].script());
                    rig.store.spoil(Operation::Get, nth, fault);
                    let verdicts = view(&rig, views, false, &versions, &what).await;
                    assert_eq!(verdicts, [Verdict::True(1); 3], "{what}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_body_that_dies_now_and_then_is_continued_and_no_client_notices() {
    for mode in MODES {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.can_be_divided()) {
            let versions = [version(1, kind)];
            for (at, times) in [1, 617, 1000, 1001, 2500, 4299].into_iter().flat_map(|at| [(at, 1), (at, 3)])
            {
                for views in VIEWS {
                    let what = format!("{mode:?} {kind:?} dies at {at}, {times} times {views:?}");
                    let rig = rig(mode).script(PATH, versions[0].script().dies_at(at).dies_times(times));
                    let verdicts = view(&rig, views, false, &versions, &what).await;
                    assert_eq!(verdicts, [Verdict::True(1); 3], "{what}");
                }
            }
        }
    }
}
