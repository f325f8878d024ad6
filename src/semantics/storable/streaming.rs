//! Which manifests and 404s the preset for live streams stores.

use std::time::{Duration, UNIX_EPOCH};

use super::{super::fields::tests::headers, *};

#[test]
fn the_preset_for_streams_stores_a_manifest_that_may_be_of_use() {
    type Row = (
        &'static str,
        &'static str,
        u16,
        &'static [(&'static str, &'static str)],
        Result<Option<u64>, Refusal>,
    );
    let rows: &[Row] = &[
        ("it says nothing", "/a.m3u8", 200, &[], Ok(None)),
        (
            "it may have ended, and be fresh for long",
            "/a.m3u8",
            200,
            &[("cache-control", "max-age=600"), ("age", "99")],
            Ok(None),
        ),
        ("it may have a long target duration", "/a.mpd", 200, &[("age", "99")], Ok(None)),
        (
            "it is old already",
            "/a.m3u8",
            200,
            &[("cache-control", "max-age=9"), ("age", "99")],
            Err(Refusal::NeverFresh),
        ),
        (
            "it says that it is not fresh",
            "/a.m3u8",
            200,
            &[("cache-control", "max-age=0")],
            Err(Refusal::NeverFresh),
        ),
        ("it forbids it", "/a.m3u8", 200, &[("cache-control", "no-store")], Err(Refusal::NoStore)),
        ("a segment is not there", "/a.ts", 404, &[("content-type", "text/html")], Ok(None)),
        (
            "a segment is not there, and no answer says so for long",
            "/a.ts",
            404,
            &[("age", "1")],
            Err(Refusal::NeverFresh),
        ),
        ("another page is not there", "/a.html", 404, &[("content-type", "text/html")], Err(Refusal::Status)),
        (
            "a page in the place of a segment",
            "/a.ts",
            200,
            &[("content-type", "text/html")],
            Err(Refusal::Media),
        ),
    ];
    let exchange = Exchange {
        requested: UNIX_EPOCH,
        received: UNIX_EPOCH,
        with_cookie: false,
        purges: crate::semantics::purge::Position::default(),
    };
    for ttl in [0, 300] {
        let policy = Policy::streaming().default_ttl(Duration::from_secs(ttl));
        for (rule, path, status, response, expected) in rows {
            let (status, place) = (StatusCode::from_u16(*status).unwrap(), Place::at(path));
            let judged =
                storable(&HeaderMap::new(), &place, status, &headers(response), None, exchange, &policy);
            assert_eq!(judged, *expected, "{rule}, {ttl}");
        }
    }
    let (place, none) = (Place::at("/a.m3u8"), HeaderMap::new());
    let judged = storable(&none, &place, StatusCode::OK, &none, None, exchange, &Policy::default());
    assert_eq!(judged, Err(Refusal::NeverFresh), "without the preset");
}
