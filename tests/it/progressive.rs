//! Fills that are read while they are stored: `Fill::progressive()`.

use bytes::Bytes;
use futures_util::future::poll_immediate;
use http::{Method, StatusCode};
use tower_video_cache::{Fault, Fill, Operation, Timeouts};

use crate::rig::{Answer, Ask, CHUNK, Gate, PATH, Rig, Script, Step, movie, seconds, settle};

/// Five chunks; the last is short.
const LENGTH: usize = 4300;

fn truth() -> Bytes {
    movie(PATH, LENGTH)
}

fn known() -> Script {
    Script::movie(PATH, LENGTH)
}

fn unknown() -> Script {
    Script::of(&truth())
}

fn rig(script: Script) -> Rig {
    Rig::new().fill(Fill::progressive()).script(PATH, script)
}

/// Holds the body once this many chunks have come. If a script has several gates, add the later ones first.
fn held(script: Script, chunks: usize, gate: &Gate) -> Script {
    script.step(Script::frame_after(chunks), Step::Wait(gate.clone()))
}

#[tokio::test]
async fn the_first_byte_leaves_once_the_first_chunk_is_stored() {
    for script in [known(), unknown()] {
        let [first, second] = [Gate::shut(), Gate::shut()];
        // The first gate holds the last frame of the first chunk.
        let script = held(script, 1, &second).step(1, Step::Wait(first.clone()));
        let rig = rig(script);
        let mut asking = Box::pin(rig.get(PATH).reading());
        assert!(poll_immediate(asking.as_mut()).await.is_none());
        first.reached_by(1).await;
        settle().await;
        assert!(poll_immediate(asking.as_mut()).await.is_none());
        assert_eq!(rig.puts(), 0);

        first.open();
        let mut viewer = asking.await;
        assert_eq!(viewer.status, StatusCode::OK);
        assert_eq!(rig.puts(), 1);
        assert_eq!(viewer.ready(), truth()[..1000]);
        second.reached_by(1).await;
        settle().await;
        let wakes = viewer.waits();
        assert_eq!((wakes.count(), rig.puts()), (0, 1));

        second.open();
        settle().await;
        assert!(wakes.count() > 0);
        assert_eq!(viewer.ready(), truth()[1000..2000]);
        let answer = viewer.rest().await;
        answer.whole(&truth());
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; ttl=300; detail=storing");
        assert_eq!(rig.puts(), 5 + 1);
        rig.inner.was_called(1);
        rig.get(PATH).send().await.is_hit().whole(&truth());
    }
}

#[tokio::test]
async fn an_answer_that_leaves_before_the_end_of_its_fill_does_not_say_that_it_is_stored() {
    for script in [known(), unknown()] {
        for (range, part) in
            [(None, 0..LENGTH), (Some("bytes=5-9"), 5..10), (Some("bytes=1500-3499"), 1500..3500)]
        {
            // The gate is in the last chunk, and the rest of that chunk never comes.
            let gate = Gate::shut();
            let rig = rig(held(script.clone().step(Script::frame_after(4) + 1, Step::Fail), 4, &gate));
            let asking = range.into_iter().fold(rig.get(PATH), Ask::range);
            let viewer = asking.reading().await;
            rig.inner.answer(PATH, Script::absent().fails());
            gate.open();
            let answer = viewer.rest().await;
            let said = answer.cache_status();
            assert!(
                said.ends_with("; ttl=300; detail=storing") && !said.contains("stored"),
                "{range:?} {said}"
            );
            assert_eq!(answer.error.is_some(), part.end == LENGTH, "{range:?}");
        }
    }
}

#[tokio::test]
async fn each_chunk_leaves_when_it_lands_and_not_before() {
    let gates: [Gate; 4] = std::array::from_fn(|_| Gate::shut());
    let script =
        gates.iter().enumerate().rev().fold(known(), |script, (chunk, gate)| held(script, chunk + 1, gate));
    let rig = rig(script);
    let [mut leader, mut follower] = [rig.get(PATH).reading().await, rig.get(PATH).reading().await];
    for (chunk, gate) in gates.iter().enumerate() {
        gate.reached_by(1).await;
        settle().await;
        for viewer in [&mut leader, &mut follower] {
            assert_eq!(viewer.ready(), truth()[chunk * 1000..][..1000]);
            assert_eq!(viewer.waits().count(), 0);
        }
        assert_eq!(rig.puts(), chunk as u64 + 1);
        gate.open();
    }
    leader.rest().await.whole(&truth());
    follower.rest().await.whole(&truth());
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_request_that_comes_midway_reads_the_stored_chunks_at_once() {
    for script in [known(), unknown()] {
        let gate = Gate::shut();
        let rig = rig(held(script, 3, &gate));
        let mut leader = rig.get(PATH).reading().await;
        gate.reached_by(1).await;
        leader.ready();
        let asking = poll_immediate(Box::pin(rig.get(PATH).reading())).await;
        let mut follower = asking.expect("nothing to wait for");
        for chunk in 0..3 {
            assert_eq!(follower.ready(), truth()[chunk * 1000..][..1000]);
        }
        follower.waits();
        gate.open();
        let follower = follower.rest().await;
        follower.whole(&truth());
        let said = "tower-video-cache; fwd=uri-miss; ttl=300; collapsed";
        assert_eq!(follower.cache_status(), said);
        leader.rest().await.whole(&truth());
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_slow_reader_stalls_nobody() {
    for script in [known(), unknown()] {
        let gate = Gate::shut();
        let rig = rig(held(script, 1, &gate));
        let leader = rig.get(PATH).reading().await;
        let mut slow = rig.get(PATH).reading().await;
        slow.ready();
        let quick = rig.get(PATH).start();
        gate.reached_by(1).await;
        gate.open();
        // The leader has read nothing yet.
        quick.await.unwrap().whole(&truth());
        settle().await;
        rig.get(PATH).send().await.is_hit().whole(&truth());
        slow.rest().await.whole(&truth());
        leader.rest().await.whole(&truth());
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_range_of_stored_chunks_is_answered_at_once() {
    for leads in [true, false] {
        let gate = Gate::shut();
        let rig = rig(held(known(), 2, &gate));
        let leader = if leads { None } else { Some(rig.get(PATH).reading().await) };
        if !leads {
            gate.reached_by(1).await;
            settle().await;
        }
        for range in [0..10, 990..1010, 1999..2000] {
            let asked = format!("bytes={}-{}", range.start, range.end - 1);
            let answer = rig.get(PATH).range(&asked).send().await;
            answer.partial(&truth(), range);
        }
        gate.open();
        if let Some(leader) = leader {
            leader.rest().await.whole(&truth());
        }
        settle().await;
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_far_range_waits_for_its_chunk_and_for_no_more() {
    for leads in [true, false] {
        for (asked, range) in
            [("bytes=2500-2999", 2500..3000), ("bytes=2000-", 2000..4300), ("bytes=-2000", 2300..4300)]
        {
            let [near, far] = [Gate::shut(), Gate::shut()];
            let rig = rig(held(held(known(), 3, &far), 2, &near));
            let leader = if leads { None } else { Some(rig.get(PATH).reading().await) };
            let mut asking = Box::pin(rig.get(PATH).range(asked).reading());
            assert!(poll_immediate(asking.as_mut()).await.is_none());
            near.reached_by(1).await;
            settle().await;
            assert!(poll_immediate(asking.as_mut()).await.is_none());
            near.open();
            // The far gate is shut, and chunk 2 is stored.
            let mut viewer = asking.await;
            assert_eq!(viewer.status, StatusCode::PARTIAL_CONTENT);
            assert_eq!(viewer.ready(), truth()[range.start..3000]);
            far.open();
            viewer.rest().await.partial(&truth(), range);
            if let Some(leader) = leader {
                leader.rest().await.whole(&truth());
            }
            rig.inner.was_called(1);
        }
    }
}

#[tokio::test]
async fn several_ranges_of_a_running_fill_get_the_whole() {
    // An inner service that makes the bytes as they are read would see the boundary between the parts first.
    let gate = Gate::shut();
    let rig = rig(held(known().header("etag", "\"v1\""), 2, &gate));
    let leader = rig.get(PATH).reading().await;
    gate.reached_by(1).await;
    let viewer = rig.get(PATH).range("bytes=0-9, 3500-3509").reading().await;
    assert_eq!(viewer.status, StatusCode::OK);
    gate.open();
    viewer.rest().await.whole(&truth());
    leader.rest().await.whole(&truth());
    rig.inner.was_called(1);
    let hit = rig.get(PATH).range("bytes=0-9, 3500-3509").send().await;
    assert_eq!(hit.status, StatusCode::PARTIAL_CONTENT);
}

#[tokio::test]
async fn a_head_is_answered_from_the_fill_under_way() {
    for (script, length) in [(known(), "4300"), (unknown(), "")] {
        let gate = Gate::shut();
        let rig = rig(held(script.header("x-kept", "1"), 1, &gate));
        let leader = rig.get(PATH).reading().await;
        let answer = rig.head(PATH).send().await;
        assert_eq!((answer.status, answer.bytes.len()), (StatusCode::OK, 0));
        assert_eq!((answer.field("content-length"), answer.field("x-kept")), (length, "1"));
        assert_eq!(answer.headers.get("etag"), leader.headers.get("etag"));
        rig.inner.was_called(1);
        gate.open();
        leader.rest().await.whole(&truth());
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_streams_at_once_without_one() {
    let gate = Gate::shut();
    let rig = rig(held(unknown(), 1, &gate));
    let [leader, mut follower] = [rig.get(PATH).reading().await, rig.get(PATH).reading().await];
    assert_eq!(follower.ready(), truth()[..1000]);
    gate.open();
    for viewer in [leader, follower] {
        assert_eq!(viewer.status, StatusCode::OK);
        assert!(!viewer.headers.contains_key("content-length"));
        let answer = viewer.rest().await;
        answer.whole(&truth());
        assert!(!answer.knows_its_length);
    }
    let hit = rig.get(PATH).send().await;
    hit.is_hit().whole(&truth());
    assert_eq!(hit.field("content-length"), "4300");
}

#[tokio::test]
async fn a_closed_range_of_unknown_length_is_answered_once_its_bytes_are_certain() {
    for leads in [true, false] {
        let [near, far] = [Gate::shut(), Gate::shut()];
        let rig = rig(held(held(unknown(), 3, &far), 1, &near));
        let leader = if leads { None } else { Some(rig.get(PATH).reading().await) };
        let mut asking = Box::pin(rig.get(PATH).range("bytes=500-2500").reading());
        assert!(poll_immediate(asking.as_mut()).await.is_none());
        near.reached_by(1).await;
        settle().await;
        // The first byte is there, but the last one may not exist.
        assert!(poll_immediate(asking.as_mut()).await.is_none());
        near.open();
        let answer = asking.await.rest().await;
        assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
        assert_eq!(answer.field("content-range"), "bytes 500-2500/*");
        assert_eq!(answer.field("content-length"), "2001");
        assert!(answer.error.is_none() && answer.bytes == truth()[500..2501]);
        far.open();
        if let Some(leader) = leader {
            leader.rest().await.whole(&truth());
        }
        settle().await;
        rig.get(PATH).range("bytes=500-2500").send().await.is_hit().partial(&truth(), 500..2501);
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn an_open_range_of_unknown_length_waits_for_the_fill_and_is_exact() {
    for leads in [true, false] {
        for (asked, range) in [
            ("bytes=500-", 500..4300),
            ("bytes=-100", 4200..4300),
            // The range ends past the body's end, which is known once the last byte has come.
            ("bytes=4000-9999", 4000..4300),
        ] {
            let gate = Gate::shut();
            let rig = rig(held(unknown(), 4, &gate));
            let leader = if leads { None } else { Some(rig.get(PATH).reading().await) };
            let mut asking = Box::pin(rig.get(PATH).range(asked).reading());
            assert!(poll_immediate(asking.as_mut()).await.is_none());
            gate.reached_by(1).await;
            settle().await;
            assert!(poll_immediate(asking.as_mut()).await.is_none());
            gate.open();
            asking.await.rest().await.partial(&truth(), range);
            if let Some(leader) = leader {
                leader.rest().await.whole(&truth());
            }
            rig.inner.was_called(1);
        }
    }
}

#[tokio::test]
async fn a_range_past_an_unknown_end_is_not_satisfiable_once_the_end_is_known() {
    let rig = rig(unknown());
    let answer = rig.get(PATH).range("bytes=5000-6000").send().await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(answer.field("content-range"), "bytes */4300");
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_body_ends_exactly_at_its_end() {
    for length in [0, 1, 999, 1000, 1001, 2000, 2500, 3000] {
        let truth = movie(PATH, length);
        for script in [Script::movie(PATH, length), Script::of(&truth)] {
            let gate = Gate::shut();
            // The end itself comes late.
            let rig = rig(script.step(usize::MAX, Step::Wait(gate.clone())));
            let viewers = [rig.get(PATH).start(), rig.get(PATH).start()];
            gate.reached_by(1).await;
            settle().await;
            assert!(length > 1000 || viewers.iter().all(|viewer| !viewer.is_finished()));
            gate.open();
            for viewer in viewers {
                viewer.await.unwrap().whole(&truth);
            }
            settle().await;
            let hit = rig.get(PATH).send().await;
            hit.is_hit().whole(&truth);
            assert_eq!(hit.field("content-length"), length.to_string());
            rig.inner.was_called(1);
        }
    }
}

#[tokio::test]
async fn a_tag_of_the_inner_service_is_the_same_during_the_fill_and_after_it() {
    for fields in [
        &[("etag", "\"v1\"")][..],
        &[("etag", "W/\"v1\"")],
        &[("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT")],
    ] {
        for script in [known(), unknown()] {
            let gate = Gate::shut();
            let script = fields.iter().fold(script, |script, (name, value)| script.header(name, value));
            let rig = rig(held(script, 2, &gate));
            let mut viewers = vec![rig.get(PATH).reading().await];
            gate.reached_by(1).await;
            viewers.push(rig.get(PATH).reading().await);
            viewers.push(rig.get(PATH).range("bytes=0-9").reading().await);
            viewers.push(rig.head(PATH).reading().await);
            gate.open();
            settle().await;
            viewers.push(rig.get(PATH).reading().await);
            let tags: Vec<_> = viewers.iter().map(|viewer| viewer.headers.get("etag").cloned()).collect();
            assert!(tags.iter().all(|tag| *tag == tags[0]), "{tags:?}");
            assert_eq!(tags[0].is_some(), fields.iter().any(|(name, _)| *name == "etag"));
            rig.inner.was_called(1);
        }
    }
}

#[tokio::test]
async fn a_tag_made_by_the_cache_comes_once_all_bytes_are_known() {
    for script in [known(), unknown()] {
        let mut tags = Vec::new();
        for script in [script.clone(), script, Script::of(&movie("/other.mp4", LENGTH))] {
            let gate = Gate::shut();
            let rig = rig(held(script, 2, &gate));
            let leader = rig.get(PATH).reading().await;
            gate.reached_by(1).await;
            let others =
                [rig.get(PATH).range("bytes=0-9"), rig.head(PATH), rig.get(PATH).header("if-match", "*")];
            for other in others {
                assert!(!other.reading().await.headers.contains_key("etag"));
            }
            assert!(!leader.headers.contains_key("etag"));
            gate.open();
            leader.rest().await;
            let hit = rig.get(PATH).send().await;
            hit.is_hit();
            tags.push(hit.field("etag").to_owned());
            // The tag holds later.
            rig.get(PATH).header("if-match", hit.field("etag")).send().await.is_hit();
            let part = rig.get(PATH).range("bytes=5-9").header("if-range", hit.field("etag")).send().await;
            assert_eq!((part.is_hit().status, part.bytes.len()), (StatusCode::PARTIAL_CONTENT, 5));
            rig.inner.was_called(1);
        }
        assert_eq!(tags[0], tags[1], "an equal fill confirms the tag");
        assert_ne!(tags[0], tags[2]);
    }
}

#[tokio::test]
async fn conditions_hold_during_a_fill() {
    for (script, part) in [(known(), 206), (unknown(), 200)] {
        for is_tagged in [true, false] {
            let gate = Gate::shut();
            let script = held(script.clone(), 2, &gate);
            let rig = rig(if is_tagged { script.header("etag", "\"v1\"") } else { script });
            let leader = rig.get(PATH).reading().await;
            gate.reached_by(1).await;
            for (name, value, range, status) in [
                ("if-none-match", "\"v1\"", "", 304),
                ("if-none-match", "*", "", 304),
                ("if-none-match", "\"v1\"", "bytes=0-9", 304),
                // While the length is not known, a range from the start is ignored.
                ("if-match", "*", "bytes=0-9", part),
                ("if-match", "\"v1\"", "bytes=0-9", part),
                ("if-range", "\"v1\"", "bytes=0-9", part),
            ] {
                // A response without a tag fulfils only a `*`.
                if !is_tagged && value != "*" {
                    continue;
                }
                for method in [Method::GET, Method::HEAD] {
                    let status = if method == Method::HEAD && status == 206 { 200 } else { status };
                    let ask = rig.ask(method, PATH).header(name, value);
                    let ask = if range.is_empty() { ask } else { ask.range(range) };
                    let answer = ask.response().await.unwrap();
                    assert_eq!(answer.status().as_u16(), status, "{name}: {value} {range}");
                }
            }
            // The tag names another representation, so the whole comes, as it is stored.
            let mut other = rig.get(PATH).header("if-range", "\"other\"").range("bytes=0-9").reading().await;
            assert_eq!((other.status, other.ready().len()), (StatusCode::OK, 1000));
            rig.inner.was_called(1);
            // The inner service judges such a condition, and the fill goes on.
            rig.inner.answer(PATH, Script::absent().status(412));
            for method in [Method::GET, Method::HEAD] {
                let failed = rig.ask(method, PATH).header("if-match", "\"other\"").send().await;
                assert_eq!(failed.status, StatusCode::PRECONDITION_FAILED);
            }
            rig.inner.was_called(3);
            gate.open();
            leader.rest().await.whole(&truth());
            other.rest().await.whole(&truth());
            rig.inner.was_called(3);
        }
    }
}

/// Checks that the bytes are true and end with an error, never with a clean end.
#[track_caller]
fn breaks(answer: &Answer) {
    assert!(answer.error.is_some(), "a clean end after {} bytes", answer.bytes.len());
    assert!(truth().starts_with(&answer.bytes) && answer.bytes.len() < LENGTH);
}

#[tokio::test(start_paused = true)]
async fn a_fill_that_fails_midway_ends_each_body_with_an_error() {
    let long = Step::Data(Bytes::from_static(b"more"));
    for (what, script) in [
        ("the body fails", known().step(Script::frame_after(3), Step::Fail)),
        ("a body of unknown length fails", unknown().step(Script::frame_after(3), Step::Fail)),
        ("its end fails", unknown().step(usize::MAX, Step::Fail)),
        ("it is too short", known().cut(Script::frame_after(3))),
        ("it is too long", known().step(usize::MAX, long)),
        ("it panics", known().step(Script::frame_after(3), Step::Panic)),
        ("one of unknown length panics", unknown().step(Script::frame_after(3), Step::Panic)),
    ] {
        let gate = Gate::shut();
        let rig = rig(held(script, 1, &gate));
        let leader = rig.get(PATH).reading().await;
        let follower = rig.get(PATH).reading().await;
        let far = rig.get(PATH).range("bytes=4200-").start();
        settle().await;
        gate.open();
        rig.inner.answer(PATH, known().header("etag", "\"v2\""));
        breaks(&leader.rest().await);
        breaks(&follower.rest().await);
        // The far request had no byte yet, and so starts over.
        let far = far.await.unwrap();
        assert_eq!((far.status, far.bytes), (StatusCode::PARTIAL_CONTENT, truth().slice(4200..)), "{what}");
        rig.get(PATH).send().await.is_hit().whole(&truth());
        rig.inner.was_called(2);
    }
}

#[tokio::test]
async fn a_request_that_waits_for_the_end_of_a_failed_fill_gets_the_truth_of_the_next() {
    let gate = Gate::shut();
    let rig = rig(held(unknown().step(Script::frame_after(3), Step::Fail), 1, &gate));
    let leader = rig.get(PATH).reading().await;
    let open = rig.get(PATH).range("bytes=10-").start();
    let closed = rig.get(PATH).range("bytes=10-3500").start();
    settle().await;
    gate.open();
    rig.inner.answer(PATH, known());
    breaks(&leader.rest().await);
    open.await.unwrap().partial(&truth(), 10..4300);
    let closed = closed.await.unwrap();
    assert!(closed.error.is_none() && closed.bytes == truth()[10..3501]);
    rig.inner.was_called(2);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_midway_costs_the_leader_nothing() {
    for script in [known(), unknown()] {
        for put in 1..=6 {
            for (asked, range) in [
                ("", 0..4300),
                ("bytes=100-900", 100..901),
                ("bytes=0-1999", 0..2000),
                ("bytes=500-3500", 500..3501),
                ("bytes=1000-", 1000..4300),
                ("bytes=4200-4250", 4200..4251),
            ] {
                let rig = rig(script.clone());
                rig.store.spoil_from(Operation::Put, put, Fault::Error);
                let ask = rig.get(PATH);
                let ask = if asked.is_empty() { ask } else { ask.range(asked) };
                let answer = ask.send().await;
                let what = format!("put {put}, {asked}");
                assert!(answer.error.is_none(), "{what}: {:?}", answer.error);
                match answer.status {
                    StatusCode::OK => assert_eq!(answer.bytes, truth(), "{what}"),
                    status => {
                        assert_eq!(status, StatusCode::PARTIAL_CONTENT, "{what}");
                        assert_eq!(answer.bytes, truth()[range], "{what}");
                    }
                }
                rig.inner.was_called(1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_midway_gives_followers_true_bytes_or_an_error() {
    for (script, is_bound) in
        [(known(), false), (unknown(), false), (known().header("etag", "\"v1\"").honours_ranges(), true)]
    {
        for put in 2..=6 {
            let gate = Gate::shut();
            let rig = rig(held(script.clone(), 1, &gate));
            rig.store.spoil_from(Operation::Put, put, Fault::Error);
            let mut leader = rig.get(PATH).reading().await;
            let [waiting, slow] = [rig.get(PATH).start(), rig.get(PATH).start()];
            let mut unread = rig.get(PATH).reading().await;
            unread.ready();
            leader.ready();
            settle().await;
            gate.open();
            leader.rest().await.whole(&truth());
            for follower in [waiting.await.unwrap(), slow.await.unwrap(), unread.rest().await] {
                match (&follower.error, is_bound || put == 6) {
                    (None, _) => assert_eq!(follower.bytes, truth()),
                    (Some(error), true) => panic!("put {put}: {error:?}"),
                    (Some(_), false) => assert!(truth().starts_with(&follower.bytes)),
                }
            }
            assert!(is_bound || rig.inner.calls().len() == 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_is_live_for_the_leader_and_an_error_for_others() {
    for script in [known(), unknown()] {
        let gate = Gate::shut();
        let rig = rig(held(script, 2, &gate))
            .layer(|layer| layer.timeouts(Timeouts::default().inner_idle(seconds(20))));
        let leader = rig.get(PATH).reading().await;
        let begun = tokio::time::Instant::now();
        let follower = rig.get(PATH).reading().await;
        breaks(&follower.rest().await);
        assert_eq!(begun.elapsed(), seconds(20));
        let mut leader = leader;
        for _ in 0..2 {
            leader.ready();
        }
        // The part of the next chunk that came before the silence.
        assert_eq!(leader.next().await.unwrap().unwrap(), truth()[2000..2468]);
        assert_eq!(leader.waits().count(), 0);
        gate.open();
        leader.rest().await.whole(&truth());
        rig.inner.was_called(1);
        assert_eq!(rig.puts(), 2);
    }
}

#[tokio::test]
async fn bodies_under_way_outlast_an_invalidation_and_nothing_of_them_is_found_after_it() {
    for script in [known(), unknown()] {
        let gate = Gate::shut();
        let rig = rig(held(script.header("etag", "\"v1\""), 2, &gate));
        let mut leader = rig.get(PATH).reading().await;
        let mut follower = rig.get(PATH).reading().await;
        gate.reached_by(1).await;
        leader.ready();
        follower.ready();
        let new = movie("/new", 2500);
        rig.inner.answer(PATH, Script::movie("/new", 2500).header("etag", "\"v2\""));
        rig.ask(Method::PUT, PATH).send().await;
        // Neither a GET nor a HEAD joins the fill that began before.
        assert_eq!(rig.head(PATH).send().await.field("etag"), "\"v2\"");
        rig.get(PATH).send().await.whole(&new);
        gate.open();
        leader.rest().await.whole(&truth());
        follower.rest().await.whole(&truth());
        settle().await;
        rig.get(PATH).send().await.is_hit().whole(&new);
    }
}

#[tokio::test]
async fn a_request_does_not_read_a_fill_that_other_requests_select() {
    let gate = Gate::shut();
    let rig = Rig::new().fill(Fill::progressive());
    let vary = |name: &str| Script::movie(name, LENGTH).header("vary", "accept-language");
    rig.inner.answer_each(PATH, [held(vary("/de"), 2, &gate), vary("/en")]);
    let ask = |language: &str| rig.get(PATH).header("accept-language", language);
    let de = ask("de").reading().await;
    let mut en = Box::pin(ask("en").reading());
    assert!(poll_immediate(en.as_mut()).await.is_none());
    let mut too = ask("de").reading().await;
    gate.reached_by(1).await;
    assert_eq!(too.ready(), movie("/de", LENGTH)[..1000]);
    settle().await;
    assert!(poll_immediate(en.as_mut()).await.is_none());
    gate.open();
    en.await.rest().await.whole(&movie("/en", LENGTH));
    for viewer in [de, too] {
        viewer.rest().await.whole(&movie("/de", LENGTH));
    }
    rig.inner.was_called(2);
    for language in ["de", "en"] {
        ask(language).send().await.is_hit().whole(&movie(&format!("/{language}"), LENGTH));
    }
}

#[tokio::test]
async fn a_head_is_not_answered_from_a_fill_that_other_requests_select() {
    let gate = Gate::shut();
    let rig = Rig::new().fill(Fill::progressive());
    let vary = |name: &str| Script::movie(name, LENGTH).header("vary", "accept-language");
    rig.inner.answer_each(PATH, [held(vary("/de"), 2, &gate), vary("/en").header("etag", "\"en\"")]);
    let de = rig.get(PATH).header("accept-language", "de").reading().await;
    let en = rig.head(PATH).header("accept-language", "en").send().await;
    assert_eq!(en.field("etag"), "\"en\"");
    rig.inner.was_called(2);
    gate.open();
    de.rest().await.whole(&movie("/de", LENGTH));
}

#[tokio::test]
async fn a_fill_that_must_be_validated_is_read_only_by_its_leader() {
    let gate = Gate::shut();
    let script = known().header("cache-control", "no-cache").header("etag", "\"v1\"").honours_conditions();
    let rig = rig(held(script, 2, &gate));
    let mut leader = rig.get(PATH).reading().await;
    leader.ready();
    let mut follower = Box::pin(rig.get(PATH).reading());
    gate.reached_by(1).await;
    assert!(poll_immediate(follower.as_mut()).await.is_none());
    settle().await;
    assert!(poll_immediate(follower.as_mut()).await.is_none());
    rig.inner.was_called(1);
    gate.open();
    leader.rest().await.whole(&truth());
    follower.await.rest().await.whole(&truth());
    // The other client asked for itself.
    rig.inner.was_called(2);
    assert!(rig.inner.calls()[1].headers.contains_key("if-none-match"));
}

/// A rig whose store holds fewer chunks than the video has. Its fills stay at most three chunks ahead of their
/// readers.
fn scarce(script: Script) -> Rig {
    let rig = Rig::with_capacity(20_000).fill(Fill::progressive().max_lead(AHEAD * u64::from(CHUNK)));
    rig.script(PATH, script)
}

const AHEAD: u64 = 3;

/// Twenty chunks.
const LONG: usize = 20_000;

#[tokio::test]
async fn a_fill_with_scarce_room_is_a_set_number_of_chunks_ahead_of_its_readers() {
    let truth = movie(PATH, LONG);
    for script in
        [Script::movie(PATH, LONG), Script::movie(PATH, LONG).header("etag", "\"v1\"").honours_ranges()]
    {
        let rig = scarce(script);
        let mut viewer = rig.get(PATH).reading().await;
        for chunk in 0..20 {
            settle().await;
            // The chunk that is read next was taken from the store already, or is about to be.
            assert!(rig.puts() <= (chunk + 1 + AHEAD), "{} puts at {chunk}", rig.puts());
            assert!(rig.inner.bytes_of(PATH) <= (chunk + 1 + AHEAD) * 1000 + 617);
            assert_eq!(viewer.next().await.unwrap().unwrap().len(), 1000);
        }
        viewer.rest().await.whole(&truth);
        rig.inner.was_called(1);
    }
}

#[tokio::test]
async fn a_reader_far_behind_a_fill_with_scarce_room_gets_the_truth_all_the_same() {
    let truth = movie(PATH, LONG);
    let rig = scarce(Script::movie(PATH, LONG).header("etag", "\"v1\"").honours_ranges());
    let leader = rig.get(PATH).reading().await;
    let mut slow = rig.get(PATH).reading().await;
    slow.ready();
    let far = rig.get(PATH).range("bytes=15000-15999").start();
    leader.rest().await.whole(&truth);
    slow.rest().await.whole(&truth);
    far.await.unwrap().partial(&truth, 15_000..16_000);
    rig.get(PATH).send().await.whole(&truth);
}

#[tokio::test(start_paused = true)]
async fn a_far_range_of_a_fill_with_scarce_room_waits_for_no_other_reader() {
    let truth = movie(PATH, LONG);
    for script in [Script::movie(PATH, LONG), Script::of(&truth)] {
        let rig = scarce(script);
        for (asked, range) in [("bytes=15000-15999", 15_000..16_000), ("bytes=-500", 19_500..20_000)] {
            let answer = tokio::time::timeout(seconds(300), rig.get(PATH).range(asked).send());
            let answer = answer.await.expect("the request does not wait for ever");
            assert!(answer.error.is_none());
            match answer.status {
                StatusCode::OK => assert_eq!(answer.bytes, truth),
                _ => assert_eq!(answer.bytes, truth[range]),
            }
        }
    }
}

#[tokio::test]
async fn a_request_far_ahead_of_a_fill_with_scarce_room_harms_no_reader() {
    let truth = movie(PATH, LONG);
    let known = || Script::movie(PATH, LONG).header("etag", "\"v1\"");
    let far = ["bytes=15000-15999", "bytes=15000-", "bytes=-1"];
    // If the length is known, these are all of it, and a client that asks for all of it reads.
    let unknown = ["bytes=4000-99999999999", "bytes=4000-4000,9000-9000"];
    for (script, asked) in [
        (known(), &far[..]),
        (known().honours_ranges(), &far),
        (Script::of(&truth), &far),
        (Script::of(&truth).honours_ranges(), &far),
        (Script::of(&truth), &unknown),
        (Script::of(&truth).honours_ranges(), &unknown),
    ] {
        for asked in asked {
            let rig = scarce(script.clone());
            let mut slow = rig.get(PATH).reading().await;
            settle().await;
            let mut far = Vec::new();
            for chunk in 0..20 {
                // This lasts until the requested range is near.
                let is_pouring = chunk < 10;
                if is_pouring && chunk % 3 == 1 {
                    far.push(rig.get(PATH).range(asked).start());
                }
                settle().await;
                // If the length is unknown, there is room for the first seven.
                let most = if is_pouring { (chunk + 1 + AHEAD).max(7) } else { u64::MAX };
                assert!(rig.puts() <= most, "{asked}: {} puts at {chunk}", rig.puts());
                assert_eq!(slow.next().await.unwrap().unwrap().len(), 1000, "{asked}");
            }
            slow.rest().await.whole(&truth);
            for far in far {
                let answer = far.await.unwrap();
                assert!(answer.error.is_none(), "{asked}");
            }
        }
    }
}

#[tokio::test]
async fn a_reader_that_joins_ahead_moves_the_pace_of_a_fill_with_scarce_room_step_by_step() {
    let truth = movie(PATH, LONG);
    let rig = scarce(Script::movie(PATH, LONG));
    let mut slow = rig.get(PATH).reading().await;
    settle().await;
    let mut ahead = rig.get(PATH).range("bytes=3000-").reading().await;
    assert_eq!(ahead.next().await.unwrap().unwrap(), truth[3000..4000]);
    for chunk in 4..10_usize {
        settle().await;
        assert!(rig.puts() <= chunk as u64 + 1, "{} puts at {chunk}", rig.puts());
        assert_eq!(ahead.next().await.unwrap().unwrap(), truth[1000 * chunk..][..1000]);
    }
    assert_eq!(slow.next().await.unwrap().unwrap(), truth[..1000]);
    ahead.rest().await.partial(&truth, 3000..LONG);
}

#[tokio::test]
async fn a_body_that_breaks_before_its_first_byte_leaves_is_a_502() {
    for (length, script) in [
        (1000, Script::movie(PATH, 1000).step(usize::MAX, Step::Data(Bytes::from_static(b"more")))),
        (999, Script::movie(PATH, 999).step(usize::MAX, Step::Data(Bytes::from_static(b"more")))),
        (999, Script::movie(PATH, 999).cut(1)),
        (LENGTH, known().step(1, Step::Fail)),
        (LENGTH, unknown().step(1, Step::Fail)),
    ] {
        let rig = rig(script);
        let answer = rig.get(PATH).send().await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        rig.inner.was_called(1);
        rig.inner.answer(PATH, Script::movie(PATH, length));
        rig.get(PATH).send().await.whole(&movie(PATH, length));
        rig.inner.was_called(2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_chunk_of_a_fill_with_scarce_room_breaks_the_body_and_holds_nobody() {
    for script in [Script::movie(PATH, LONG), Script::of(&movie(PATH, LONG))] {
        let rig = scarce(script.clone());
        let mut leader = rig.get(PATH).reading().await;
        leader.ready();
        settle().await;
        rig.store.spoil_from(Operation::Get, rig.store.calls(Operation::Get) + 1, Fault::Absent);
        let ended = tokio::time::timeout(seconds(300), leader.rest()).await.expect("no body hangs");
        assert!(ended.error.is_some() && movie(PATH, LONG).starts_with(&ended.bytes));
        rig.store.heal();
        settle().await;
        rig.get(PATH).send().await.whole(&movie(PATH, LONG));
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_reads_late_gets_the_rest_that_was_not_stored() {
    for script in [known(), unknown(), known().header("etag", "\"v1\"")] {
        for put in 2..=6 {
            let rig = rig(script.clone());
            rig.store.spoil_from(Operation::Put, put, Fault::Error);
            let leader = rig.get(PATH).reading().await;
            settle().await;
            leader.rest().await.whole(&truth());
            rig.inner.was_called(1);
        }
    }
}
