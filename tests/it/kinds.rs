//! The type that the cache assumes for a response with no type or a wrong one.

use tower_video_cache::Policy;

use crate::rig::{Rig, Script, movie, seconds};

fn typed(path: &str, kind: Option<&str>) -> Script {
    let script = Script::movie(path, 2500).without("content-type");
    kind.into_iter().fold(script, |script, kind| script.header("content-type", kind))
}

#[tokio::test]
async fn the_ending_of_the_path_decides_if_the_type_does_not_and_the_client_gets_the_original_type() {
    let octets = Some("application/octet-stream");
    for (path, kind, is_stored) in [
        ("/a.m4s", octets, true),
        ("/a.mkv", octets, true),
        ("/a.vtt", Some("text/plain; charset=utf-8"), true),
        ("/a.TS", Some("text/vnd.trolltech.linguist"), true),
        ("/a.ts?x=.html", Some("binary/octet-stream"), true),
        ("/a.mp4", None, true),
        ("/a.html", octets, false),
        ("/a", None, false),
        ("/a?b.mp4", None, false),
        ("/a.mp4", Some("text/html"), false),
    ] {
        for (policy, is_stored) in
            [(Policy::default(), is_stored), (Policy::default().media_by_ending(false), false)]
        {
            let rig = Rig::new().layer(|layer| layer.policy(policy));
            rig.inner.answer(path.split('?').next().unwrap(), typed(path, kind));
            rig.get(path).send().await.whole(&movie(path, 2500));
            let again = rig.get(path).send().await;
            assert_eq!(again.cache_status().contains("; hit"), is_stored, "{path} {kind:?}");
            assert_eq!(again.has("content-type").then(|| again.field("content-type")), kind, "{path}");
        }
    }
}

#[tokio::test]
async fn a_manifest_has_no_freshness_by_default_whatever_type_it_came_with() {
    for (path, kind) in [
        ("/a.m3u8", Some("application/octet-stream")),
        ("/a.m3u8", Some("text/plain")),
        ("/a.m3u8", None),
        ("/a.mpd", Some("application/xml")),
        ("/a.mpd", Some("video/vnd.mpeg.dash.mpd")),
        ("/a.mpd", Some("application/dash+xml")),
    ] {
        // With a validator the response is stored, and asked about before each use.
        let rig = Rig::new();
        rig.inner.answer(path, typed(path, kind).header("etag", "\"v1\"").honours_conditions());
        rig.get(path).send().await.whole(&movie(path, 2500));
        for call in 2..4 {
            let validated = rig.get(path).send().await;
            let status = "tower-video-cache; fwd=stale; fwd-status=304; ttl=0";
            assert_eq!(validated.whole(&movie(path, 2500)).cache_status(), status, "{path} {kind:?}");
            rig.inner.was_called(call);
        }
        // The response is as fresh as it says.
        let rig = Rig::new();
        rig.inner.answer(path, typed(path, kind).header("cache-control", "max-age=9"));
        rig.get(path).send().await.whole(&movie(path, 2500));
        rig.clock.advance(seconds(8));
        rig.get(path).send().await.whole(&movie(path, 2500)).is_hit();
        rig.clock.advance(seconds(1));
        rig.get(path).send().await.whole(&movie(path, 2500));
        rig.inner.was_called(2);
    }
}

#[tokio::test]
async fn the_type_of_a_304_is_not_that_of_the_bytes() {
    for kind in ["application/xml", "text/html", "application/octet-stream"] {
        let rig = Rig::new();
        let stored =
            Script::movie("/a.mp4", 2500).header("etag", "\"v1\"").header("cache-control", "max-age=10");
        let not_modified = Script::absent().status(304).header("etag", "\"v1\"").header("content-type", kind);
        rig.inner.answer_each("/a.mp4", [stored, not_modified.header("cache-control", "max-age=10")]);
        rig.get("/a.mp4").send().await.whole(&movie("/a.mp4", 2500));
        rig.clock.advance(seconds(10));
        for _ in 0..2 {
            let answer = rig.get("/a.mp4").send().await;
            assert_eq!(answer.whole(&movie("/a.mp4", 2500)).field("content-type"), "video/mp4");
        }
        rig.inner.was_called(2);
    }
}
