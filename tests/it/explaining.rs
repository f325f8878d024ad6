//! What `CacheHandle::explain` says of a request is what the request then gets; and who is at the top.

use http::{Method, Request, request};
use tower_video_cache::{Explanation, Fill, Operation, Policy, TargetUri};

use crate::rig::{
    Gate, PATH, Rig, Script, movie,
    parted::{parted, truth},
    seconds, settle,
};

fn asked(path: &str, fields: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::get(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

async fn explained(rig: &Rig, path: &str, fields: &[(&str, &str)]) -> Explanation {
    rig.layer.handle().explain(&asked(path, fields)).await
}

#[tokio::test]
async fn the_outcome_that_is_explained_is_the_outcome_of_the_next_request() {
    let rig = Rig::new()
        .layer(|layer| layer.bypass(|request| request.uri.path() == "/bypassed.mp4"))
        .movie(PATH, 2500)
        .movie("/bypassed.mp4", 100)
        .script("/short.mp4", Script::movie("/short.mp4", 900).header("cache-control", "max-age=1"))
        .script(
            "/window.mp4",
            Script::movie("/window.mp4", 900).header("cache-control", "max-age=1, stale-while-revalidate=60"),
        )
        .script("/private.mp4", Script::movie("/private.mp4", 900).header("cache-control", "private"))
        .script("/vary.mp4", Script::movie("/vary.mp4", 900).header("vary", "accept-language"));
    let all = [PATH, "/bypassed.mp4", "/short.mp4", "/window.mp4", "/private.mp4", "/vary.mp4"];
    let mut outcomes = Vec::new();
    for fields in [
        &[][..],
        &[],
        &[("accept-language", "de")],
        &[("cache-control", "no-cache")],
        &[("cache-control", "no-store")],
        &[("cache-control", "only-if-cached")],
    ] {
        for path in all {
            let calls = rig.inner.calls().len();
            let explanation = explained(&rig, path, fields).await;
            assert_eq!(rig.inner.calls().len(), calls, "the inner service is not asked");
            let before = rig.layer.handle().stats();
            let mut request = rig.get(path);
            for (name, value) in fields {
                request = request.header(name, value);
            }
            request.send().await;
            let after = rig.layer.handle().stats();
            for (outcome, count) in after.requests.iter() {
                let is_explained = count > before.requests.of(outcome);
                assert_eq!(is_explained, outcome == explanation.outcome, "{path} {fields:?}: {outcome}");
            }
            outcomes.push(explanation.outcome);
        }
        rig.clock.advance(seconds(2));
        settle().await;
    }
    for outcome in ["hit", "hit-stale", "bypass", "uri-miss", "vary-miss", "stale", "request", "generated"] {
        assert!(outcomes.contains(&outcome), "{outcome}");
    }
}

#[tokio::test]
async fn a_stored_response_is_explained_by_its_chunks_its_age_and_what_gave_its_lifetime() {
    let script = Script::movie(PATH, 9500).header("etag", "\"v1\"").header("cache-control", "max-age=60");
    let script = script.header("vary", "accept-language");
    let rig = Rig::new().layer(|layer| layer.key(TargetUri::new().into_fn())).script(PATH, script);
    assert_eq!(explained(&rig, PATH, &[]).await.stored, None);
    rig.get(PATH).send().await.whole(&movie(PATH, 9500));
    rig.clock.advance(seconds(20));
    let explanation = explained(&rig, PATH, &[]).await;
    let stored = explanation.stored.clone().unwrap();
    assert_eq!((stored.status.as_u16(), stored.length, stored.etag.as_deref()), (200, 9500, Some("\"v1\"")));
    assert_eq!(
        (stored.chunks, stored.chunks_sought, stored.chunks_found, stored.is_sparse),
        (10, 8, 8, false)
    );
    assert_eq!((stored.age, stored.lifetime, stored.lifetime_by), (seconds(20), seconds(60), "max-age"));
    assert_eq!(stored.selected_by, ["accept-language"]);
    assert!(explanation.key.contains(PATH));
    let printed = explanation.to_string();
    for line in ["outcome: hit", "age: 20 s of 60 s, by max-age", "8 of 8 sought are there"] {
        assert!(printed.contains(line), "{printed}");
    }

    let others = explained(&rig, PATH, &[("accept-language", "de")]).await;
    assert_eq!((others.outcome, others.stored), ("vary-miss", None));
}

#[tokio::test]
async fn a_lifetime_is_explained_by_what_gave_it() {
    let of = |fields: &[(&str, &str)]| {
        fields.iter().fold(Script::movie(PATH, 900), |script, (name, value)| script.header(name, value))
    };
    let modified = ("last-modified", "Sun, 22 Nov 2026 02:00:00 GMT");
    for (fields, by) in [
        (&[("cache-control", "s-maxage=9, max-age=5")][..], "s-maxage"),
        (&[("cache-control", "max-age=5"), ("expires", "Sun, 22 Nov 2026 13:00:00 GMT")], "max-age"),
        (&[("expires", "Sun, 22 Nov 2026 13:00:00 GMT")], "expires"),
        (&[modified], "heuristic"),
        (&[], "default"),
    ] {
        let policy = Policy::default().heuristics(10, seconds(3600));
        let rig = Rig::new().layer(|layer| layer.policy(policy)).script(PATH, of(fields));
        rig.get(PATH).send().await;
        assert_eq!(explained(&rig, PATH, &[]).await.stored.unwrap().lifetime_by, by, "{fields:?}");
    }
}

#[tokio::test]
async fn a_refusal_is_explained_as_long_as_it_is_remembered() {
    let rig = Rig::new().script(PATH, Script::movie(PATH, 900).header("cache-control", "private"));
    assert_eq!(explained(&rig, PATH, &[]).await.detail, None);
    rig.get(PATH).send().await;
    assert_eq!(explained(&rig, PATH, &[]).await.detail, Some("private"));
    assert!(explained(&rig, PATH, &[]).await.to_string().contains("not stored: private"));
    rig.clock.advance(seconds(3600));
    assert_eq!(explained(&rig, PATH, &[]).await.detail, None);
}

#[tokio::test]
async fn chunks_that_are_gone_and_those_that_never_came_are_explained() {
    let rig = Rig::new().fill(Fill::whole()).script(PATH, parted());
    rig.get(PATH).send().await.whole(&truth());
    let gets = rig.store.calls(Operation::Get);
    rig.store.spoil(Operation::Get, gets + 4, tower_video_cache::Fault::Absent);
    let stored = explained(&rig, PATH, &[]).await.stored.unwrap();
    assert_eq!((stored.is_sparse, stored.chunks_sought, stored.chunks_found), (false, 8, 7));

    let rig = Rig::new().fill(Fill::sliced()).script(PATH, parted());
    rig.get(PATH).range("bytes=0-0").send().await;
    let stored = explained(&rig, PATH, &[]).await.stored.unwrap();
    assert!(stored.is_sparse && stored.chunks_found < stored.chunks_sought, "{stored:?}");
}

#[tokio::test]
async fn a_fill_under_way_is_explained() {
    let gate = Gate::shut();
    let rig = Rig::new().script(PATH, Script::movie(PATH, 2500).held_by(&gate));
    let client = rig.get(PATH).start();
    gate.reached_by(1).await;
    let explanation = explained(&rig, PATH, &[]).await;
    assert!(explanation.is_being_filled && explanation.outcome == "uri-miss");
    gate.open();
    client.await.unwrap();
    assert!(!explained(&rig, PATH, &[]).await.is_being_filled);
}

#[tokio::test]
async fn the_key_of_an_unsafe_request_is_explained_and_nothing_is_removed() {
    let rig = Rig::new().movie(PATH, 2500);
    rig.get(PATH).send().await;
    let mut delete = asked(PATH, &[]);
    delete.method = Method::DELETE;
    let explanation = rig.layer.handle().explain(&delete).await;
    assert!(explanation.outcome == "method" && explanation.stored.is_some());
    rig.get(PATH).send().await.is_hit();
}

#[tokio::test]
async fn the_top_lists_have_the_bytes_the_misses_and_the_refusals_of_each_key() {
    let rig = Rig::new()
        .movie(PATH, 2500)
        .movie("/other.mp4", 400)
        .script("/private.mp4", Script::movie("/private.mp4", 900).header("cache-control", "private"));
    for _ in 0..3 {
        rig.get(PATH).send().await;
        rig.get("/other.mp4").send().await;
        rig.get("/private.mp4").send().await;
    }
    rig.get(PATH).range("bytes=0-99").send().await;
    rig.head(PATH).send().await;
    let top = rig.layer.handle().top();
    let served: Vec<_> = top.served.iter().map(|ranked| (ranked.weight, ranked.requests)).collect();
    assert_eq!(served, [(7600, 5), (1200, 3)]);
    assert!(top.served[0].key.contains(PATH) && top.served[0].inherited == 0);
    let missed: Vec<_> = top.missed.iter().map(|ranked| ranked.weight).collect();
    assert_eq!(missed, [3, 1, 1]);
    let [refused] = &top.refused[..] else { panic!("{top:?}") };
    assert!(refused.key.contains("/private.mp4"));
    assert_eq!((refused.weight, refused.detail), (3, Some("private")));
    // A record that is written anew is decoded anew, and its past is not forgotten.
    rig.get(PATH).header("cache-control", "no-cache").send().await;
    rig.get(PATH).send().await;
    assert_eq!(rig.layer.handle().top().served[0].requests, 7);
}
