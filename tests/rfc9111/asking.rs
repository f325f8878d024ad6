//! Directives of a request about the response that it wants. RFC 9111 §5.2.1, §5.4; RFC 8246.

use super::rig::{Fields, Rig, answer, cached, ok};

/// The expected outcome of the second request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Second {
    Hit,
    /// The origin was asked whether the stored response is good.
    Validated,
    /// The origin was asked as if nothing were stored.
    Forwarded,
    /// 504 (Gateway Timeout), and the origin was not asked.
    Refused,
}

use Second::{Forwarded, Hit, Refused, Validated};

type Row<'a> = (&'a str, &'a str, u64, Fields<'a>, Second);

const ROWS: &[Row<'_>] = &[
    ("nothing asked", "max-age=60", 10, &[], Hit),
    ("§5.2.1.1 max-age, younger", "max-age=60", 10, &[("cache-control", "max-age=11")], Hit),
    ("§5.2.1.1 max-age, as old", "max-age=60", 10, &[("cache-control", "max-age=10")], Hit),
    ("§5.2.1.1 max-age, older", "max-age=60", 10, &[("cache-control", "max-age=9")], Validated),
    ("§5.2.1.1 max-age=0", "max-age=60", 10, &[("cache-control", "max-age=0")], Validated),
    (
        "§5.2.1.1 max-age welcomes nothing stale",
        "max-age=60, stale-while-revalidate=60",
        70,
        &[("cache-control", "max-age=90")],
        Validated,
    ),
    ("§5.2.1.2 max-stale", "max-age=10", 1000, &[("cache-control", "max-stale")], Hit),
    ("§5.2.1.2 max-stale, as stale", "max-age=10", 20, &[("cache-control", "max-stale=10")], Hit),
    ("§5.2.1.2 max-stale, staler", "max-age=10", 20, &[("cache-control", "max-stale=9")], Validated),
    ("§5.2.1.2 max-stale of no number", "max-age=10", 20, &[("cache-control", "max-stale=x")], Validated),
    ("§5.2.1.2 with max-age", "max-age=10", 20, &[("cache-control", "max-age=30, max-stale=10")], Hit),
    (
        "§5.2.1.2 with max-age, too old",
        "max-age=10",
        40,
        &[("cache-control", "max-age=30, max-stale=60")],
        Validated,
    ),
    (
        "§4.2.4 max-stale and must-revalidate",
        "max-age=10, must-revalidate",
        20,
        &[("cache-control", "max-stale")],
        Validated,
    ),
    (
        "§4.2.4 max-stale and proxy-revalidate",
        "max-age=10, proxy-revalidate",
        20,
        &[("cache-control", "max-stale")],
        Validated,
    ),
    ("§4.2.4 max-stale and s-maxage", "s-maxage=10", 20, &[("cache-control", "max-stale")], Validated),
    (
        "§4.2.4 max-stale and no-cache",
        "max-age=10, no-cache",
        5,
        &[("cache-control", "max-stale")],
        Validated,
    ),
    ("§5.2.1.3 min-fresh, so fresh", "max-age=60", 10, &[("cache-control", "min-fresh=50")], Hit),
    ("§5.2.1.3 min-fresh, less fresh", "max-age=60", 10, &[("cache-control", "min-fresh=51")], Validated),
    (
        "§5.2.1.3 min-fresh of a stale response",
        "max-age=10, stale-while-revalidate=60",
        20,
        &[("cache-control", "min-fresh=1")],
        Validated,
    ),
    ("§5.2.1.4 no-cache", "max-age=60", 10, &[("cache-control", "no-cache")], Validated),
    (
        "§5.2 NO-CACHE on another line",
        "max-age=60",
        10,
        &[("cache-control", "x"), ("cache-control", "NO-CACHE")],
        Validated,
    ),
    ("§5.2.1.5 no-store", "max-age=60", 10, &[("cache-control", "no-store")], Forwarded),
    ("§5.2.1.7 only-if-cached, and fresh", "max-age=60", 10, &[("cache-control", "only-if-cached")], Hit),
    ("§5.2.1.7 only-if-cached, and stale", "max-age=10", 10, &[("cache-control", "only-if-cached")], Refused),
    (
        "§5.2.1.7 only-if-cached, and too old",
        "max-age=60",
        10,
        &[("cache-control", "only-if-cached, max-age=5")],
        Refused,
    ),
    (
        "§5.2.1.7 only-if-cached, and stale is welcome",
        "max-age=10",
        20,
        &[("cache-control", "only-if-cached, max-stale")],
        Hit,
    ),
    (
        "§5.2.1.7 only-if-cached, and no-cache",
        "max-age=10, no-cache",
        5,
        &[("cache-control", "only-if-cached")],
        Refused,
    ),
    ("§5.2.3 an unknown directive", "max-age=60", 10, &[("cache-control", "x, y=\"no-cache\"")], Hit),
    ("§5.4 Pragma: no-cache", "max-age=60", 10, &[("pragma", "no-cache")], Validated),
    (
        "§5.4 not beside Cache-Control",
        "max-age=60",
        10,
        &[("pragma", "no-cache"), ("cache-control", "max-age=60")],
        Hit,
    ),
    ("§5.4 another Pragma", "max-age=60", 10, &[("pragma", "x=\"no-cache\"")], Hit),
    ("RFC 8246 §2 immutable, reloaded", "max-age=60, immutable", 10, &[("cache-control", "max-age=0")], Hit),
    (
        "RFC 8246 §2 immutable, reloaded by force",
        "max-age=60, immutable",
        10,
        &[("cache-control", "no-cache")],
        Validated,
    ),
    ("RFC 8246 §2 immutable, and stale", "max-age=60, immutable", 60, &[], Validated),
    ("RFC 8246 §2 immutable is no freshness", "immutable", 0, &[], Validated),
    (
        "RFC 8246 §2 immutable=x is the same",
        "max-age=60, immutable=x",
        10,
        &[("cache-control", "max-age=0")],
        Hit,
    ),
];

#[tokio::test]
async fn each_request_directive_is_obeyed() {
    let rig = Rig::new().await;
    for (index, row) in ROWS.iter().enumerate() {
        assert_eq!(second(&rig, index, row).await, row.4, "{}", row.0);
    }
}

#[tokio::test]
async fn requests_that_are_not_heeded_get_the_freshness_that_the_response_allows() {
    let rig = Rig::with(&["--heed-requests", "false"]).await;
    for (index, row) in ROWS.iter().enumerate() {
        let (rule, response, age, ..) = row;
        let fresh = *age < if response.contains("=10") { 10 } else { 60 } && response.contains("max-age");
        let in_window = response.contains("stale-while-revalidate");
        let expected = if !response.contains("no-cache") && (fresh || in_window) { Hit } else { Validated };
        assert_eq!(second(&rig, index, row).await, expected, "{rule}");
    }
    // A miss stays a miss.
    rig.script("/miss", [cached("max-age=60")]);
    let got = rig.get_with("/miss", &[("cache-control", "only-if-cached, no-store")]).await;
    assert_eq!((got.status, rig.count("/miss")), (200, 1));
    assert!(rig.get("/miss").await.is_hit());
}

async fn second(rig: &Rig, index: usize, row: &Row<'_>) -> Second {
    let (rule, response, age, request, _) = row;
    rig.restart_clock();
    let path = format!("/{index}");
    let fields = [("cache-control", *response), ("etag", "\"a\"")];
    rig.script(&path, [ok(&fields), answer(304, &fields)]);
    rig.get(&path).await;
    rig.advance(*age);
    let got = rig.get_with(&path, request).await;
    if got.status != 504 && got.is_hit() {
        assert_eq!((got.status, got.text()), (200, "answer 1"), "{rule}");
        return Hit;
    }
    match rig.seen(&path).get(1) {
        None => {
            assert_eq!(got.status, 504, "{rule}");
            Refused
        }
        Some(seen) if seen.field("if-none-match") == "\"a\"" => {
            assert_eq!((got.status, got.text()), (200, "answer 1"), "{rule}");
            Validated
        }
        Some(_) => Forwarded,
    }
}

// §5.2.1.7
#[tokio::test]
async fn only_if_cached_never_reaches_the_origin() {
    let rig = Rig::new().await;
    let only_if_cached = [("cache-control", "only-if-cached")];
    for _ in 0..2 {
        for method in ["GET", "HEAD"] {
            let got = rig.ask(method, "/a", &only_if_cached).await;
            assert_eq!((got.status, rig.count("/a")), (504, 0));
        }
    }
}

// RFC 9211 §2.1: a hit is a request that was satisfied by the cache.
#[tokio::test]
async fn an_only_if_cached_request_that_was_not_answered_is_no_hit() {
    let got = Rig::new().await.get_with("/a", &[("cache-control", "only-if-cached")]).await;
    assert_eq!((got.status, got.is_hit()), (504, false));
}

// §5.2.1.5
#[tokio::test]
async fn a_request_that_says_no_store_leaves_the_stored_response_alone() {
    let rig = Rig::new().await;
    rig.script("/a", [cached("max-age=60")]);
    let no_store = [("cache-control", "no-store")];
    assert_eq!(rig.get_with("/a", &no_store).await.text(), "answer 1");
    assert_eq!(rig.get("/a").await.text(), "answer 2");
    assert_eq!(rig.get_with("/a", &no_store).await.text(), "answer 3");
    let got = rig.get("/a").await;
    assert_eq!((got.text(), got.is_hit()), ("answer 2", true));
}

// §5.2.1.4: the origin's answer to a reload is stored for all clients.
#[tokio::test]
async fn a_reload_renews_the_stored_response() {
    let rig = Rig::new().await;
    rig.script("/a", [cached("max-age=60")]);
    rig.get("/a").await;
    assert_eq!(rig.get_with("/a", &[("cache-control", "no-cache")]).await.text(), "answer 2");
    let got = rig.get("/a").await;
    assert_eq!((got.text(), got.is_hit()), ("answer 2", true));
}

// §5.2: directives may be for any recipient along the way.
#[tokio::test]
async fn directives_are_passed_on_in_both_directions() {
    let rig = Rig::new().await;
    let stored = "max-age=60, x-known-to-others=\"1, 2\", no-transform";
    rig.script("/a", [cached(stored)]);
    let asked = "max-stale=5, x-of-the-clients, no-transform";
    for _ in 0..2 {
        let got = rig.get_with("/a", &[("cache-control", asked), ("pragma", "x")]).await;
        assert_eq!(got.field("cache-control"), stored);
    }
    let seen = rig.seen("/a").pop().unwrap();
    assert_eq!([seen.field("cache-control"), seen.field("pragma")], [asked, "x"]);
    assert_eq!(rig.count("/a"), 1);
}
