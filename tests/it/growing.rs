//! Files that grow while clients read them: live streams in one file, of which a playlist names the byte ranges.

use http::StatusCode;
use tower_video_cache::Fill;

use crate::rig::{Gate, PATH, Rig, Script, date, movie, seconds, settle};

/// The first bytes of the file, so many as there are by now.
fn file(length: usize) -> Script {
    let bytes = movie(PATH, 9000).slice(..length);
    let script = Script::of(&bytes).header("content-length", &length.to_string());
    script.honours_ranges().honours_conditions()
}

fn tagged(length: usize) -> Script {
    file(length).header("etag", &format!("\"{length}\""))
}

#[tokio::test]
async fn a_client_at_the_end_of_a_file_that_grows_gets_the_new_bytes() {
    let dated = |length, offset| file(length).header("last-modified", &date(offset));
    for fill in [Fill::whole(), Fill::progressive(), Fill::sliced(), Fill::auto()] {
        for [before, after] in [
            [tagged(2500), tagged(3500)],
            [dated(2500, -3600), dated(3500, -1800)],
            // There is nothing to ask by.
            [file(2500), file(3500)],
        ] {
            let rig = Rig::new().fill(fill).script(PATH, before);
            rig.get(PATH).send().await;
            let past = || rig.get(PATH).range("bytes=2500-").send();
            let calls = rig.inner.calls().len();
            assert_eq!(past().await.status, StatusCode::RANGE_NOT_SATISFIABLE, "{fill:?}");
            assert!(rig.inner.calls().len() > calls, "the inner service is asked");
            rig.inner.answer(PATH, after);
            past().await.partial(&movie(PATH, 9000).slice(..3500), 2500..3500);
        }
    }
}

#[tokio::test]
async fn a_416_leaves_the_store_once_the_inner_service_has_confirmed_it() {
    let rig = Rig::new().script(PATH, tagged(2500));
    rig.get(PATH).send().await;
    for call in 2..4 {
        let answer = rig.get(PATH).range("bytes=2500-2599").send().await;
        assert_eq!(
            (answer.status, answer.field("content-range")),
            (StatusCode::RANGE_NOT_SATISFIABLE, "bytes */2500")
        );
        assert_eq!(answer.cache_status(), "tower-video-cache; fwd=request; fwd-status=304; ttl=300");
        rig.inner.was_called(call);
        let asked = &rig.inner.calls()[call - 1].headers;
        assert_eq!(
            (&asked["if-none-match"], asked.contains_key("range")),
            (&"\"2500\"".parse().unwrap(), false)
        );
    }
    // The question is for all clients that wait for its answer.
    let gate = Gate::shut();
    rig.inner.answer(PATH, tagged(2500).held_by(&gate));
    let clients: Vec<_> = (0..9).map(|_| rig.get(PATH).range("bytes=2500-").start()).collect();
    gate.reached_by(1).await;
    settle().await;
    gate.open();
    for client in clients {
        assert_eq!(client.await.unwrap().status, StatusCode::RANGE_NOT_SATISFIABLE);
    }
    rig.inner.was_called(4);
    // An inner service in trouble changes nothing.
    rig.inner.answer(PATH, Script::absent().status(503));
    let answer = rig.get(PATH).range("bytes=2500-").send().await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    rig.get(PATH).send().await.is_hit();
}

#[tokio::test]
async fn a_416_is_not_asked_about_where_no_other_answer_can_come() {
    let rig = Rig::new().script(PATH, tagged(2500).header("cache-control", "max-age=60, immutable"));
    rig.get(PATH).send().await;
    let answer = rig.get(PATH).range("bytes=2500-").send().await;
    assert_eq!(answer.is_hit().status, StatusCode::RANGE_NOT_SATISFIABLE);

    let rig = Rig::new().script(PATH, tagged(2500));
    rig.get(PATH).send().await;
    let ask = rig.get(PATH).range("bytes=2500-").header("cache-control", "only-if-cached");
    assert_eq!(ask.send().await.is_hit().status, StatusCode::RANGE_NOT_SATISFIABLE);
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_response_that_changed_a_moment_ago_is_guessed_to_change_soon() {
    for (modified, lifetime) in [(-20, 20), (-3600, 300)] {
        let rig = Rig::new().script(PATH, tagged(2500).header("last-modified", &date(modified)));
        rig.get(PATH).send().await;
        rig.clock.advance(seconds(lifetime - 1));
        rig.get(PATH).send().await.is_hit();
        rig.clock.advance(seconds(1));
        let answer = rig.get(PATH).send().await;
        assert!(answer.cache_status().contains("fwd=stale; fwd-status=304"), "{}", answer.cache_status());
    }
}
