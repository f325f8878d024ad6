//! Directives of a request about the answer that it wants (RFC 9111 §5.2.1).

use std::time::Duration;

use bytes::Bytes;
use tower_video_cache::Policy;

use crate::rig::{PATH, Rig, Script, movie, seconds};

fn truth() -> Bytes {
    movie(PATH, 2500)
}

fn script(cache_control: &str) -> Script {
    Script::movie(PATH, 2500)
        .header("cache-control", cache_control)
        .header("etag", "\"v1\"")
        .honours_conditions()
}

#[tokio::test]
async fn each_directive_is_heeded() {
    const HIT: &str = "hit";
    const REQUEST: &str = "fwd=request; fwd-status=304";
    const STALE: &str = "fwd=stale; fwd-status=304";
    let willing = Policy::default().stale_on_request(Duration::MAX);
    for (rule, stored, age, field, asked, expected) in [
        ("no directive", "max-age=60", 59, "cache-control", "", HIT),
        ("§5.2.1.1 old enough", "max-age=60", 20, "cache-control", "max-age=20", HIT),
        ("§5.2.1.1 too old", "max-age=60", 21, "cache-control", "max-age=20", REQUEST),
        ("§5.2.1.1 a reload", "max-age=60", 1, "cache-control", "max-age=0", REQUEST),
        ("§5.2.1.1 garbage", "max-age=60", 21, "cache-control", "max-age=x", HIT),
        ("§5.2.1.2 stale, as allowed", "max-age=60", 70, "cache-control", "max-stale=10", HIT),
        ("§5.2.1.2 too stale", "max-age=60", 71, "cache-control", "max-stale=10", STALE),
        ("§5.2.1.2 any staleness", "max-age=60", 9999, "cache-control", "max-stale", HIT),
        (
            "§5.2.1.2 not if the response forbids it",
            "max-age=60, must-revalidate",
            70,
            "cache-control",
            "max-stale",
            STALE,
        ),
        ("§5.2.1.1 and .2 together", "max-age=60", 70, "cache-control", "max-age=80, max-stale=10", HIT),
        ("§5.2.1.1 and .2 too old", "max-age=60", 70, "cache-control", "max-age=65, max-stale=10", STALE),
        (
            "§5.2.1.1 max-age allows nothing stale",
            "max-age=60, stale-while-revalidate=99",
            70,
            "cache-control",
            "max-age=80",
            STALE,
        ),
        ("§5.2.1.3 fresh for long enough", "max-age=60", 20, "cache-control", "min-fresh=40", HIT),
        ("§5.2.1.3 not fresh for long enough", "max-age=60", 21, "cache-control", "min-fresh=40", REQUEST),
        ("§5.2.1.4", "max-age=60", 1, "cache-control", "no-cache", REQUEST),
        ("§5.2.1.5", "max-age=60", 1, "cache-control", "no-store", "fwd=request"),
        ("§5.2.1.7 a response is stored", "max-age=60", 1, "cache-control", "only-if-cached", HIT),
        ("§5.2.1.7 with no-store", "max-age=60", 1, "cache-control", "only-if-cached, no-store", HIT),
        ("§5.4", "max-age=60", 1, "pragma", "no-cache", REQUEST),
        ("RFC 8246 a reload is in vain", "max-age=60, immutable", 1, "cache-control", "max-age=0", HIT),
        ("RFC 8246 unless forced", "max-age=60, immutable", 1, "cache-control", "no-cache", REQUEST),
        ("RFC 8246 immutable goes stale, too", "max-age=60, immutable", 60, "cache-control", "", STALE),
    ] {
        let rig = Rig::new().layer(|layer| layer.policy(willing.clone())).script(PATH, script(stored));
        rig.get(PATH).send().await;
        rig.clock.advance(seconds(age));
        let answer = rig.get(PATH).header(field, asked).send().await;
        answer.whole(&truth());
        assert!(answer.cache_status().contains(expected), "{rule}: {}", answer.cache_status());
        rig.inner.was_called(if expected == HIT { 1 } else { 2 });

        // An operator may choose to ignore all of them.
        let deaf = Policy::default().request_directives(false);
        let rig = Rig::new().layer(|layer| layer.policy(deaf)).script(PATH, script(stored));
        rig.get(PATH).send().await;
        rig.clock.advance(seconds(age));
        let answer = rig.get(PATH).header(field, asked).send().await;
        let said = answer.cache_status();
        assert!(said.contains("; hit") == (age < 60 || stored.contains("while")), "{rule}: {said}");
    }
}

#[tokio::test]
async fn only_if_cached_is_answered_504_if_nothing_is_stored() {
    // RFC 9111 §5.2.1.7
    let rig = Rig::new().script(PATH, script("max-age=60"));
    for staleness in [0, 60] {
        rig.clock.advance(seconds(staleness));
        for (ask, has_content) in [(rig.get(PATH), true), (rig.head(PATH), false)] {
            let answer = ask.header("cache-control", "only-if-cached").send().await;
            assert_eq!(answer.status, 504);
            assert_eq!(answer.bytes.is_empty(), !has_content);
            assert_eq!(answer.cache_status(), "tower-video-cache; detail=only-if-cached");
            assert_eq!(answer.field("cache-control"), "no-store");
        }
        rig.inner.was_called(usize::from(staleness > 0));
        rig.get(PATH).send().await;
    }
}

#[tokio::test]
async fn a_reload_is_one_question_for_all_clients_that_reload() {
    let gate = crate::rig::Gate::shut();
    let rig = Rig::new().script(PATH, script("max-age=60"));
    rig.get(PATH).send().await;
    rig.inner.answer(PATH, script("max-age=60").held_by(&gate));
    let reloads: Vec<_> =
        (0..20).map(|_| rig.get(PATH).header("cache-control", "no-cache").start()).collect();
    gate.reached_by(1).await;
    crate::rig::settle().await;
    gate.open();
    for reload in reloads {
        reload.await.unwrap().whole(&truth());
    }
    rig.inner.was_called(2);
}
