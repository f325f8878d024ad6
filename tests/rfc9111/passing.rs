//! No request waits for a response that cannot be stored.

use futures_util::future::join_all;

use super::rig::{Gate, Rig, answer, cached, ok};

// RFC 9111 §4 allows a cache to collapse requests only if one answer can be used for all.
#[tokio::test]
async fn many_requests_for_an_unstorable_response_reach_the_origin_at_once() {
    let (rig, gate) = (Rig::new().await, Gate::default());
    rig.script("/a", [cached("no-store"), cached("no-store").behind(&gate)]);
    rig.get("/a").await;
    let asking = join_all((0..20).map(|_| rig.get("/a")));
    let opening = async {
        rig.arrived("/a", 21).await;
        gate.open();
    };
    let (got, ()) = tokio::join!(asking, opening);
    let mut texts: Vec<_> = got.iter().map(super::rig::Got::text).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!((texts.len(), rig.count("/a")), (20, 21));
}

// No request knows this beforehand. The first answer lets all others go, and all at once.
#[tokio::test]
async fn many_requests_for_a_response_that_proves_unstorable_wait_for_one_alone() {
    let (rig, first, others) = (Rig::new().await, Gate::default(), Gate::default());
    rig.script("/a", [cached("no-store").behind(&first), cached("no-store").behind(&others)]);
    let asking = join_all((0..20).map(|_| rig.get("/a")));
    let opening = async {
        rig.arrived("/a", 1).await;
        first.open();
        rig.arrived("/a", 20).await;
        others.open();
    };
    let (got, ()) = tokio::join!(asking, opening);
    assert!(got.iter().all(|got| got.status == 200));
    assert_eq!(rig.count("/a"), 20);
}

// RFC 9110 §14.2: a request that goes to the origin anyway goes there unchanged.
#[tokio::test]
async fn a_seek_in_an_unstorable_response_reaches_the_origin_as_a_seek() {
    let (rig, gate) = (Rig::new().await, Gate::default());
    let part = answer(206, &[("cache-control", "no-store"), ("content-range", "bytes 2-4/8")]).body("swe");
    rig.script("/a", [cached("no-store"), part.behind(&gate)]);
    rig.get("/a").await;
    let asked = [("range", "bytes=2-4"), ("if-range", "\"a\""), ("if-none-match", "\"b\"")];
    let asking = join_all((0..20).map(|_| rig.get_with("/a", &asked)));
    let opening = async {
        rig.arrived("/a", 21).await;
        gate.open();
    };
    let (got, ()) = tokio::join!(asking, opening);
    assert!(got.iter().all(|got| got.status == 206 && got.text() == "swe"));
    for seen in rig.seen("/a").iter().skip(1) {
        for (name, value) in asked {
            assert_eq!(seen.field(name), value);
        }
    }
}

#[tokio::test]
async fn an_answer_that_may_be_stored_ends_the_memory_of_a_refusal() {
    let rig = Rig::new().await;
    rig.script("/a", [cached("no-store"), cached("max-age=60")]);
    for text in ["answer 1", "answer 2", "answer 3", "answer 3"] {
        assert_eq!(rig.get("/a").await.text(), text);
    }
    assert_eq!(rig.count("/a"), 3);
}

#[tokio::test]
async fn after_a_while_the_answer_is_judged_anew() {
    let rig = Rig::with(&["--refusal-ttl", "30s"]).await;
    let range = [("range", "bytes=0-2")];
    rig.script("/a", [cached("no-store"), ok(&[]), cached("max-age=60")]);
    rig.get("/a").await;
    rig.advance(29);
    // The request went out unchanged, and the origin chose to answer 200.
    assert_eq!(rig.get_with("/a", &range).await.status, 200);
    assert_eq!(rig.seen("/a")[1].field("range"), "bytes=0-2");
    rig.advance(1);
    let got = rig.get_with("/a", &range).await;
    assert_eq!((got.status, got.text()), (206, "ans"));
    assert_eq!(rig.seen("/a")[2].field("range"), "bytes=0-65535", "the fill asks for a piece");
}
