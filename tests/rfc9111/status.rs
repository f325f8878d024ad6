//! The cache's own report of its actions. RFC 9211 §2.

use futures_util::future::join_all;

use super::rig::{Gate, Got, Rig, answer, cached, closed, ok};

/// Checks that the answer says all of these parts, and is either a hit or forwarded.
fn assert_says(got: &Got, parts: &[&str]) {
    for part in parts {
        assert!(got.says(part), "{part}: {got:?}");
    }
    // §2.2: a forwarded request is no hit.
    assert_ne!(got.says("; hit"), got.says("; fwd="), "{got:?}");
    assert!(got.says("tower-video-cache"), "{got:?}");
}

#[tokio::test]
async fn a_member_says_why_a_request_went_forward_and_whether_the_answer_was_stored() {
    let rig = Rig::new().await;
    let fields = [("cache-control", "max-age=10"), ("etag", "\"a\""), ("vary", "x-a")];
    rig.script("/a", [ok(&fields), ok(&fields), answer(304, &fields)]);
    // §2.2, §2.4, §2.5
    assert_says(&rig.get("/a").await, &["; fwd=uri-miss", "; stored", "; ttl=10"]);
    rig.advance(4);
    // §2.1
    assert_says(&rig.get("/a").await, &["; hit", "; ttl=6"]);
    assert_says(&rig.get_with("/a", &[("x-a", "1")]).await, &["; fwd=vary-miss", "; stored"]);
    // §2.2, §2.3
    assert_says(&rig.get_with("/a", &[("cache-control", "no-cache")]).await, &["; fwd=request"]);
    rig.advance(10);
    let validated = rig.get("/a").await;
    assert_says(&validated, &["; fwd=stale", "; ttl=10"]);
    assert!(!validated.says("; stored"), "{validated:?}");
}

// §2.3
#[tokio::test]
async fn a_member_has_the_origins_status_if_the_answer_has_another() {
    let rig = Rig::new().await;
    let fields = [("cache-control", "max-age=10"), ("etag", "\"a\"")];
    rig.script("/a", [ok(&fields), answer(304, &fields)]);
    rig.get("/a").await;
    rig.advance(10);
    assert_says(&rig.get("/a").await, &["; fwd=stale", "; fwd-status=304"]);
}

// §2.4: the time to live is negative once the response is stale.
#[tokio::test]
async fn the_time_to_live_of_a_stale_answer_is_negative() {
    let rig = Rig::new().await;
    rig.script("/max-stale", [cached("max-age=10")]);
    rig.script("/while-revalidate", [cached("max-age=10, stale-while-revalidate=60")]);
    rig.script("/if-error", [cached("max-age=10, stale-if-error=60"), closed()]);
    for path in ["/max-stale", "/while-revalidate", "/if-error"] {
        rig.get(path).await;
    }
    rig.advance(25);
    assert_says(
        &rig.get_with("/max-stale", &[("cache-control", "max-stale")]).await,
        &["; hit", "; ttl=-15"],
    );
    assert_says(&rig.get("/while-revalidate").await, &["; hit", "; ttl=-15"]);
    assert_says(&rig.get("/if-error").await, &["; fwd=stale", "; ttl=-15"]);
}

// §2.6
#[tokio::test]
async fn a_request_that_waited_for_anothers_answer_was_collapsed() {
    let (rig, gate) = (Rig::new().await, Gate::default());
    rig.script("/a", [cached("max-age=60").behind(&gate)]);
    let asking = join_all((0..5).map(|_| rig.get("/a")));
    let opening = async {
        rig.arrived("/a", 1).await;
        gate.open();
    };
    let (got, ()) = tokio::join!(asking, opening);
    let stored = got.iter().filter(|got| got.says("; stored")).count();
    assert_eq!((stored, rig.count("/a")), (1, 1));
    for got in &got {
        // A request that came after the landing has a hit.
        assert!(got.says("; stored") || got.says("; collapsed") || got.is_hit(), "{got:?}");
        assert!(!(got.says("; stored") && got.says("; collapsed")), "{got:?}");
    }
}

// §2: each cache adds its own member after those nearer the origin, which stay.
#[tokio::test]
async fn the_members_of_other_caches_stay_before_its_own() {
    let rig = Rig::new().await;
    let upstream = "\"Nearer, the origin\"; hit; ttl=7, other; fwd=miss";
    for (path, cache_control) in [("/stored", "max-age=60"), ("/passed", "no-store")] {
        rig.script(path, [cached(cache_control).field("cache-status", upstream)]);
        for _ in 0..2 {
            let got = rig.get(path).await;
            let members = got.field("cache-status");
            let own = members.strip_prefix(upstream).unwrap();
            assert_eq!(own.matches("tower-video-cache").count(), 1, "{members}");
        }
    }
}

// §2.8: a response that is not stored has a reason.
#[tokio::test]
async fn an_answer_that_was_not_stored_has_a_reason() {
    let rig = Rig::new().await;
    for (path, scripted, reason) in [
        ("/no-store", cached("no-store"), "; detail=no-store"),
        ("/private", cached("private"), "; detail=private"),
        ("/vary", cached("max-age=60").field("vary", "*"), "; detail=vary-star"),
        ("/never", ok(&[]), "; detail=never-fresh"),
        ("/part", answer(206, &[("content-range", "bytes 0-7/9")]), "; detail=status"),
    ] {
        rig.script(path, [scripted]);
        let got = rig.get(path).await;
        assert_says(&got, &["; fwd=uri-miss", reason]);
        assert!(!got.says("; stored") && !got.says("; ttl"), "{got:?}");
    }
}
