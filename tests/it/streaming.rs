//! The preset for live streams: no viewer gets a playlist that is older than half of its own target duration.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, StatusCode};
use tower_video_cache::{CacheKey, Fill, Policy, Retry, Rule, Statuses, StoredResponse};

use crate::rig::{Answer, CHUNK, PATH, Rig, Script, movie, seconds, settle};

const LIVE: &str = "/live/a.m3u8";
const MPD: &str = "/live/a.mpd";
const SEGMENT: &str = "/live/7.ts";

/// A playlist of the segments from this number on, with these lines before them.
fn text(tags: &str, first: u64, segments: u64) -> Bytes {
    let segments = (first..first + segments).map(|number| format!("#EXTINF:6.006,\n{number}.ts\n"));
    let tags = format!("#EXTM3U\n{tags}#EXT-X-MEDIA-SEQUENCE:{first}\n");
    (tags + &segments.collect::<String>()).into()
}

fn live(first: u64) -> Bytes {
    text("#EXT-X-TARGETDURATION:6\n", first, 3)
}

fn hls(text: &Bytes) -> Script {
    let script = Script::of(text).without("content-type");
    script
        .header("content-type", "application/vnd.apple.mpegurl")
        .header("content-length", &text.len().to_string())
}

fn dash(attributes: &str) -> Script {
    let text = format!("<?xml version='1.0'?>\n<MPD {attributes}><Period/></MPD>").into();
    Script::of(&text).without("content-type").header("content-type", "application/dash+xml")
}

fn of(policy: Policy) -> Rig {
    Rig::new().layer(|layer| layer.policy(policy))
}

fn streaming() -> Rig {
    of(Policy::streaming())
}

async fn stored(rig: &Rig, path: &str) -> Option<StoredResponse> {
    let request = Request::get(path).body(()).unwrap().into_parts().0;
    rig.layer.handle().explain(&request).await.stored
}

async fn lifetime(rig: &Rig, path: &str) -> (u64, &'static str) {
    let stored = stored(rig, path).await.unwrap();
    (stored.lifetime.as_secs(), stored.lifetime_by)
}

fn is_from_the_store(answer: &Answer) -> bool {
    answer.cache_status().contains("; hit")
}

#[tokio::test]
async fn a_playlist_is_fresh_as_long_as_it_says_of_itself_whatever_its_header_says() {
    let fields: [(&str, &[_]); 6] = [
        ("nothing", &[]),
        ("max-age", &[("cache-control", "max-age=600")]),
        ("s-maxage", &[("cache-control", "max-age=60, s-maxage=600")]),
        ("targeted", &[("cdn-cache-control", "max-age=600"), ("cache-control", "no-store")]),
        ("no-store", &[("cache-control", "no-store")]),
        ("aged", &[("cache-control", "max-age=600"), ("age", "2")]),
    ];
    let ended = text("#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n", 1, 3);
    let several = Bytes::from_static(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n");
    // The seconds for which each is used: none where it is not stored.
    for (which, path, script, expected) in [
        ("live", LIVE, hls(&live(1)), [3, 3, 3, 3, 0, 1]),
        ("live without a target", LIVE, hls(&text("", 1, 3)), [1, 1, 1, 1, 0, 0]),
        ("ended", LIVE, hls(&ended), [300, 600, 600, 600, 0, 598]),
        ("several", LIVE, hls(&several), [1, 600, 600, 600, 0, 598]),
        ("dynamic", MPD, dash("type='dynamic' minimumUpdatePeriod='PT8S'"), [4, 4, 4, 4, 0, 2]),
        ("static", MPD, dash("type='static'"), [300, 600, 600, 600, 0, 598]),
    ] {
        for ((says, lines), expected) in fields.iter().zip(expected) {
            let policy = Policy::streaming().targeted_fields([HeaderName::from_static("cdn-cache-control")]);
            let script =
                lines.iter().fold(script.clone(), |script, (name, value)| script.header(name, value));
            let rig = of(policy).script(path, script);
            assert_eq!(rig.get(path).send().await.status, 200, "{which} {says}");
            if expected > 0 {
                rig.clock.advance(seconds(expected - 1));
                assert!(is_from_the_store(&rig.get(path).send().await), "{which} {says}");
                rig.clock.advance(seconds(1));
            }
            assert!(!is_from_the_store(&rig.get(path).send().await), "{which} {says}");
        }
    }
}

#[tokio::test]
async fn viewers_get_no_playlist_older_than_half_of_its_target_duration_in_any_mode() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        for says in ["max-age=86400", "max-age=86400, stale-while-revalidate=86400"] {
            let policy = Policy::streaming().stale_while_revalidate(seconds(60)).stale_if_error(seconds(60));
            let rig = of(policy).fill(fill);
            let (mut made_at, mut calls) = (Vec::new(), 0);
            for second in 0..40_u64 {
                let script = hls(&live(second)).header("etag", &format!("\"{second}\"")).honours_ranges();
                rig.inner.answer(LIVE, script.header("cache-control", says).honours_conditions());
                for _ in 0..3 {
                    let answer = rig.get(LIVE).send().await;
                    let made = (0..=second).rev().find(|made| *answer.bytes == *live(*made)).unwrap();
                    assert!(second - made < 3, "{second}: {}", answer.cache_status());
                    calls += u64::from(!is_from_the_store(&answer));
                    made_at.push(made);
                }
                rig.clock.advance(seconds(1));
                settle().await;
            }
            assert!(made_at.is_sorted(), "no playlist is older than one before it");
            assert_eq!(calls, 40_u64.div_ceil(3), "one call for all viewers of three seconds, {says}");
        }
    }
}

#[tokio::test]
async fn a_playlist_is_read_to_its_end_however_long_it_is() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        for (end, target) in [("", Some(6)), ("#EXT-X-ENDLIST", None)] {
            let playlist = [&text("#EXT-X-TARGETDURATION:6\n", 1, 900), end.as_bytes()].concat().into();
            assert!(Bytes::len(&playlist) > 10 * CHUNK as usize);
            for script in [hls(&playlist), hls(&playlist).without("content-length").header("etag", "\"v1\"")]
            {
                let rig = streaming().fill(fill).script(LIVE, script);
                assert_eq!(rig.get(LIVE).send().await.bytes, playlist);
                let stored = stored(&rig, LIVE).await.unwrap();
                assert_eq!(stored.target_duration, target.map(seconds), "{fill:?}");
                assert_eq!(stored.playlist, Some(if end.is_empty() { "live" } else { "ended" }));
                let given = if end.is_empty() { (3, "streaming") } else { (300, "default") };
                assert_eq!(lifetime(&rig, LIVE).await, given);
            }
        }
    }
}

#[tokio::test]
async fn a_playlist_that_did_not_come_as_one_plain_text_counts_as_live_for_a_second() {
    let ended: Bytes = [&text("#EXT-X-TARGETDURATION:6\n", 1, 900)[..], b"#EXT-X-ENDLIST"].concat().into();
    let says = |script: Script| script.header("cache-control", "max-age=600").header("etag", "\"v1\"");
    let rig = streaming().script(LIVE, says(hls(&ended)).header("content-encoding", "gzip"));
    rig.get(LIVE).send().await;
    assert_eq!(lifetime(&rig, LIVE).await, (1, "streaming"));

    for fill in [Fill::sliced(), Fill::auto()] {
        let rig = streaming().fill(fill).script(LIVE, says(hls(&ended)).honours_ranges());
        rig.get(LIVE).range("bytes=5000-5999").send().await.partial(&ended, 5000..6000);
        assert_eq!(lifetime(&rig, LIVE).await, (1, "streaming"));
        rig.get(LIVE).send().await.whole(&ended);
        let stored = stored(&rig, LIVE).await.unwrap();
        assert_eq!((stored.playlist, stored.lifetime), (None, seconds(1)));
    }

    // A part that is the whole was read as a whole.
    let script = says(hls(&live(1))).honours_ranges();
    let rig = streaming().fill(Fill::sliced()).script(LIVE, script);
    rig.get(LIVE).send().await.whole(&live(1));
    assert_eq!(lifetime(&rig, LIVE).await, (3, "streaming"));
}

#[tokio::test]
async fn a_playlist_is_read_though_a_player_asks_for_it_by_a_range() {
    // Chromium's own player does.
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        for range in ["bytes=0-", "bytes=0-65535"] {
            for script in [hls(&live(1)), hls(&live(1)).honours_ranges()] {
                let script = script.header("etag", "\"v1\"").header("cache-control", "max-age=600");
                let rig = streaming().fill(fill).script(LIVE, script);
                let length = live(1).len();
                rig.get(LIVE).range(range).send().await.partial(&live(1), 0..length);
                assert_eq!(lifetime(&rig, LIVE).await, (3, "streaming"), "{fill:?} {range}");
            }
        }
    }
}

#[tokio::test]
async fn a_segment_that_was_not_there_appears_within_a_second_of_the_first_request() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        for (says, kind) in [
            ("max-age=600", Some("text/html")),
            ("max-age=600, stale-while-revalidate=600, stale-if-error=600", Some("application/json")),
            ("public", None),
            ("max-age=1", Some("video/mp2t")),
        ] {
            let policy = Policy::streaming().stale_while_revalidate(seconds(60)).default_ttl(seconds(60));
            let rig = of(policy).fill(fill);
            let missing = Script::movie(SEGMENT, 10).without("content-type").header("cache-control", says);
            let missing = kind.into_iter().fold(missing, |script, kind| script.header("content-type", kind));
            rig.inner.answer(SEGMENT, missing.status(404));
            assert_eq!(rig.get(SEGMENT).send().await.status, 404);
            rig.inner.answer(SEGMENT, Script::movie(SEGMENT, 2500));
            assert_eq!(rig.get(SEGMENT).send().await.is_hit().status, 404, "{says} {kind:?}");
            rig.clock.advance(seconds(1));
            rig.get(SEGMENT).send().await.whole(&movie(SEGMENT, 2500));
            rig.clock.advance(seconds(30));
            rig.get(SEGMENT).send().await.is_hit().whole(&movie(SEGMENT, 2500));
        }
    }
}

#[tokio::test]
async fn no_other_404_is_stored_unless_the_operator_says_so() {
    let missing = || Script::absent().header("cache-control", "max-age=600");
    let both = [StatusCode::OK, StatusCode::NOT_FOUND];
    for (path, policy, lifetime_of_it) in [
        (SEGMENT, Policy::streaming(), Some(1)),
        ("/live/a.html", Policy::streaming(), None),
        (SEGMENT, Policy::default(), None),
        (SEGMENT, Policy::streaming().statuses([StatusCode::OK]), None),
        (SEGMENT, Policy::streaming().statuses(both), Some(1)),
        (
            SEGMENT,
            Policy::streaming().statuses(both).rule(Rule::any().status(404).ttl(seconds(9))).unwrap(),
            Some(9),
        ),
        ("/live/a", Policy::streaming().statuses(both).media_types(["*/*"]), Some(600)),
    ] {
        let rig = of(policy).script(path, missing());
        assert_eq!(rig.get(path).send().await.status, 404);
        let found = stored(&rig, path).await.map(|stored| stored.lifetime);
        assert_eq!(found, lifetime_of_it.map(seconds), "{path}");
    }
    for (name, value) in
        [("cache-control", "no-store"), ("cache-control", "private"), ("vary", "*"), ("set-cookie", "a=b")]
    {
        let rig = streaming().script(SEGMENT, missing().header(name, value));
        rig.get(SEGMENT).send().await;
        assert!(stored(&rig, SEGMENT).await.is_none(), "{name}: {value}");
    }
}

#[tokio::test]
async fn a_rule_of_the_operator_goes_before_the_preset() {
    let policy = Policy::streaming()
        .rule(Rule::path("/radio/**").at_most(seconds(10)))
        .and_then(|policy| policy.rule(Rule::path("/vod/**").default_ttl(seconds(9))))
        .and_then(|policy| policy.rule(Rule::any().groups(["all"])))
        .unwrap();
    let rig = of(policy);
    for (path, expected) in
        [("/radio/a.m3u8", (10, "rule")), ("/vod/a.m3u8", (3, "streaming")), (LIVE, (3, "streaming"))]
    {
        rig.inner.answer(path, hls(&live(1)).header("cache-control", "max-age=60"));
        rig.get(path).send().await;
        assert_eq!(lifetime(&rig, path).await, expected, "{path}");
    }
}

#[tokio::test]
async fn the_preset_acts_at_once_on_what_a_default_policy_has_stored() {
    let ended = text("#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n", 1, 3);
    let says = |script: Script| script.header("etag", "\"v1\"").header("cache-control", "max-age=600");
    let rig = Rig::new().script(LIVE, says(hls(&live(1)).honours_conditions()));
    let rig = rig
        .script("/vod.m3u8", says(hls(&ended)))
        .script(MPD, dash("type='static'").header("etag", "\"v1\""));
    for path in [LIVE, "/vod.m3u8", MPD] {
        rig.get(path).send().await;
    }
    assert_eq!(lifetime(&rig, LIVE).await, (600, "max-age"));
    assert_eq!(lifetime(&rig, MPD).await, (0, "default"));

    let streams = rig.after_a_restart(Policy::streaming());
    assert_eq!(lifetime(&streams, LIVE).await, (3, "streaming"));
    assert_eq!(lifetime(&streams, "/vod.m3u8").await, (600, "max-age"));
    assert_eq!(lifetime(&streams, MPD).await, (300, "default"));
    streams.get(MPD).send().await.is_hit();
    streams.clock.advance(seconds(3));
    // A 304 confirms the same bytes, so what they say is known still (RFC 9111 §4.3.4).
    for _ in 0..3 {
        let validated = streams.get(LIVE).send().await;
        assert!(
            validated.cache_status().contains("fwd=stale; fwd-status=304"),
            "{}",
            validated.cache_status()
        );
        let found = stored(&streams, LIVE).await.unwrap();
        assert_eq!((found.playlist, found.target_duration), (Some("live"), Some(seconds(6))));
        streams.clock.advance(seconds(2));
        streams.get(LIVE).send().await.is_hit();
        streams.clock.advance(seconds(1));
    }
    assert_eq!(lifetime(&rig.after_a_restart(Policy::default()), LIVE).await, (600, "max-age"));
}

#[tokio::test]
async fn a_playlist_that_is_fresh_for_a_second_is_used_for_a_second_whenever_the_second_began() {
    let rig = streaming().script(LIVE, hls(&text("#EXT-X-TARGETDURATION:2\n", 1, 3)));
    rig.clock.advance(Duration::from_millis(900));
    rig.get(LIVE).send().await;
    rig.clock.advance(Duration::from_millis(999));
    rig.get(LIVE).send().await.is_hit();
    rig.clock.advance(Duration::from_millis(1));
    assert!(!is_from_the_store(&rig.get(LIVE).send().await));
}

#[tokio::test]
async fn a_stream_that_ends_is_asked_for_no_more() {
    let rig = streaming().script(LIVE, hls(&live(1)).header("cache-control", "max-age=600"));
    rig.get(LIVE).send().await;
    let ended: Bytes = [&live(2)[..], b"#EXT-X-ENDLIST\n"].concat().into();
    rig.inner.answer(LIVE, hls(&ended).header("cache-control", "max-age=600"));
    rig.clock.advance(seconds(3));
    rig.get(LIVE).send().await.whole(&ended);
    rig.clock.advance(seconds(599));
    rig.get(LIVE).send().await.is_hit().whole(&ended);
    rig.inner.was_called(2);
}

#[tokio::test]
async fn a_live_playlist_stands_in_for_an_error_only_if_its_origin_says_so() {
    for (says, stands_in) in [("max-age=60", false), ("max-age=60, stale-if-error=30", true)] {
        let rig = of(Policy::streaming().stale_if_error(seconds(60)).stale_on_request(seconds(60)));
        let rig = rig.script(LIVE, hls(&live(1)).header("cache-control", says));
        rig.get(LIVE).send().await;
        rig.inner.answer(LIVE, Script::absent().status(503));
        rig.clock.advance(seconds(32));
        let answer = rig.get(LIVE).header("cache-control", "max-stale, stale-if-error=60").send().await;
        assert_eq!(answer.status, if stands_in { 200 } else { 503 }, "{says}");
        rig.clock.advance(seconds(1));
        assert_eq!(rig.get(LIVE).send().await.status, 503, "{says}");
    }
}

#[tokio::test]
async fn the_explanation_names_the_preset_and_the_playlist() {
    let rig = streaming().script(LIVE, hls(&text("#EXT-X-TARGETDURATION:5\n", 1, 3))).movie(PATH, 900);
    rig.get(LIVE).send().await;
    rig.get(PATH).send().await;
    let explained = |path| {
        let request = Request::get(path).body(()).unwrap().into_parts().0;
        let handle = rig.layer.handle();
        async move { handle.explain(&request).await.to_string() }
    };
    let playlist = explained(LIVE).await;
    assert!(
        playlist.contains("age: 0 s of 2 s, by streaming\nplaylist: live, a target of 5 s\n"),
        "{playlist}"
    );
    let video = explained(PATH).await;
    assert!(video.contains("by default") && !video.contains("playlist"), "{video}");
}

#[tokio::test]
async fn a_playlist_that_its_own_bytes_call_live_stays_bounded_whatever_confirms_it() {
    let of_type = |script: Script, kind: &str| {
        let script = script.without("content-type").header("content-type", kind);
        script.header("etag", "\"v1\"").header("cache-control", "max-age=600")
    };
    let (octets, video) = ("application/octet-stream", "video/mp2t");
    for (which, path, confirmed) in [
        ("a 304 at another path", "/live/a", of_type(hls(&live(1)), octets).honours_conditions()),
        ("a 200 of another type", LIVE, of_type(hls(&live(1)), video)),
    ] {
        // One key for both paths, and one of them has no ending.
        let policy = Policy::streaming().also_media_types([octets]);
        let rig = of(policy).layer(|layer| layer.key(|_| CacheKey::new("a")));
        let rig = rig.script(LIVE, of_type(hls(&live(1)), octets));
        rig.get(LIVE).send().await.whole(&live(1));
        assert_eq!(lifetime(&rig, LIVE).await, (3, "streaming"));
        rig.clock.advance(seconds(3));
        rig.inner.answer(path, confirmed);
        let answer = rig.get(path).send().await;
        assert!(answer.cache_status().contains("fwd=stale"), "{which}");
        assert_eq!(lifetime(&rig, LIVE).await, (3, "streaming"), "{which}");
    }
}

#[tokio::test]
async fn a_playlist_stored_under_a_policy_that_did_not_go_by_endings_is_one_for_the_preset() {
    let octets = "application/octet-stream";
    let script = hls(&live(1)).without("content-type").header("content-type", octets);
    let policy = Policy::default().media_by_ending(false).also_media_types([octets]);
    let rig = of(policy).script(LIVE, script.header("cache-control", "max-age=600"));
    rig.get(LIVE).send().await.whole(&live(1));
    assert_eq!(lifetime(&rig, LIVE).await, (600, "max-age"));
    rig.layer.handle().reconfigure(Policy::streaming());
    assert_eq!(lifetime(&rig, LIVE).await, (1, "streaming"));
}

#[tokio::test]
async fn a_playlist_that_a_proxy_has_changed_counts_as_live_for_a_second() {
    let script = hls(&live(1)).status(203).header("cache-control", "max-age=600");
    let rig = of(Policy::streaming().statuses(Statuses::Any)).script(LIVE, script);
    assert_eq!(rig.get(LIVE).send().await.status, 203);
    assert_eq!(lifetime(&rig, LIVE).await, (1, "streaming"));
}

#[tokio::test]
async fn only_a_rule_for_its_status_lengthens_the_404_of_a_segment_that_is_not_there_yet() {
    let segments = || Rule::path("/**/*.ts");
    for (rule, expected) in [
        (segments().ttl(seconds(86_400)), 1),
        (segments().default_ttl(seconds(60)), 1),
        (segments().immutable(), 1),
        (segments().at_least(seconds(60)), 1),
        (segments().at_most(seconds(60)), 1),
        (segments().ttl(seconds(9)).stale_while_revalidate(seconds(60)).stale_if_error(seconds(60)), 1),
        (segments().at_most(Duration::ZERO), 0),
        (segments().never(), 0),
        (segments().status(404).ttl(seconds(9)), 9),
    ] {
        for says in ["max-age=600", "public"] {
            let rig = of(Policy::streaming().rule(rule.clone()).unwrap());
            rig.inner.answer(SEGMENT, Script::absent().header("cache-control", says));
            assert_eq!(rig.get(SEGMENT).send().await.status, 404);
            rig.inner.answer(SEGMENT, Script::movie(SEGMENT, 2500));
            if expected > 0 {
                rig.clock.advance(seconds(expected - 1));
                rig.get(SEGMENT).send().await.is_hit();
                rig.clock.advance(seconds(1));
            }
            rig.get(SEGMENT).send().await.whole(&movie(SEGMENT, 2500));
        }
    }
}

#[tokio::test]
async fn a_rule_for_all_paths_leaves_an_ended_playlist_its_lifetime() {
    let ended = text("#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n", 1, 3);
    for rule in [Rule::path("/**").default_ttl(seconds(3600)), Rule::any().groups(["a"])] {
        let rig = of(Policy::streaming().rule(rule).unwrap()).script(LIVE, hls(&ended));
        rig.get(LIVE).send().await;
        assert_eq!(lifetime(&rig, LIVE).await, (300, "default"));
    }
}

#[tokio::test]
async fn a_playlist_whose_body_dies_on_the_way_is_read_once_and_in_order() {
    let playlist: Bytes = [&text("#EXT-X-TARGETDURATION:6\n", 1, 400)[..], b"#EXT-X-ENDLIST"].concat().into();
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        for byte in [1, 25, 999, 1000, 1001, 4321, playlist.len() as u64 - 3] {
            let rig = streaming()
                .fill(fill)
                .layer(|layer| layer.retry(Retry::default().first_delay(Duration::ZERO)));
            let script = hls(&playlist).honours_ranges().header("etag", "\"v1\"");
            let rig = rig.script(LIVE, script.dies_at(byte).dies_times(1));
            rig.get(LIVE).send().await.whole(&playlist);
            // Only a body that came in parts was not read.
            let found = stored(&rig, LIVE).await.unwrap().playlist;
            let expected = if fill == Fill::sliced() { None } else { Some("ended") };
            assert_eq!(found, expected, "{fill:?} {byte}");
        }
    }
}

#[tokio::test]
async fn a_404_takes_no_fresh_segment_from_the_viewers() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        let segment = || Script::movie(SEGMENT, 2500).header("etag", "\"v1\"").honours_conditions();
        let rig = streaming().fill(fill).script(SEGMENT, segment());
        rig.get(SEGMENT).send().await.whole(&movie(SEGMENT, 2500));
        rig.inner.answer(SEGMENT, Script::absent().header("cache-control", "max-age=600"));
        let reload = rig.get(SEGMENT).header("cache-control", "no-cache").header("x-odd", "1").send().await;
        assert_eq!(reload.status, 404);
        rig.get(SEGMENT).send().await.is_hit().whole(&movie(SEGMENT, 2500));
        // A stale one is gone, and may come back.
        rig.clock.advance(seconds(300));
        assert_eq!(rig.get(SEGMENT).send().await.status, 404);
        assert_eq!(rig.get(SEGMENT).send().await.is_hit().status, 404);
        rig.inner.answer(SEGMENT, segment());
        rig.clock.advance(seconds(1));
        rig.get(SEGMENT).send().await.whole(&movie(SEGMENT, 2500));
    }
}

#[tokio::test]
async fn a_404_takes_no_variant_of_a_segment_from_the_viewers() {
    let segment = Script::movie(SEGMENT, 2500).header("etag", "\"v1\"").header("vary", "origin");
    let rig = streaming().script(SEGMENT, segment);
    let ask = |origin: &str| rig.get(SEGMENT).header("origin", origin).send();
    ask("https://a.example").await.whole(&movie(SEGMENT, 2500));
    // Many servers add no `Vary` to an error.
    rig.inner.answer(SEGMENT, Script::absent());
    assert_eq!(ask("https://b.example").await.status, 404);
    ask("https://a.example").await.is_hit().whole(&movie(SEGMENT, 2500));
}

#[tokio::test]
async fn a_head_does_not_renew_a_playlist_that_slid_on_at_the_same_length() {
    for fill in [Fill::whole(), Fill::progressive(), Fill::auto(), Fill::sliced()] {
        let rig = streaming().fill(fill).script(LIVE, hls(&live(1)));
        rig.get(LIVE).send().await.whole(&live(1));
        rig.inner.answer(LIVE, hls(&live(2)));
        rig.clock.advance(seconds(2));
        rig.head(LIVE).header("cache-control", "no-cache").send().await;
        settle().await;
        rig.clock.advance(seconds(1));
        rig.get(LIVE).send().await.whole(&live(2));
    }
}

#[tokio::test]
async fn a_variant_that_a_304_makes_of_another_one_is_bounded_as_that_one_is() {
    let script = hls(&live(1)).header("etag", "\"v1\"").header("vary", "accept-language");
    let rig = streaming().script(LIVE, script.header("cache-control", "max-age=600").honours_conditions());
    rig.get(LIVE).header("accept-language", "de").send().await.whole(&live(1));
    rig.clock.advance(seconds(2));
    let ask = || rig.get(LIVE).header("accept-language", "fr").send();
    let made = ask().await;
    assert!(made.cache_status().contains("fwd-status=304"), "{}", made.cache_status());
    rig.clock.advance(seconds(2));
    ask().await.is_hit().whole(&live(1));
    rig.clock.advance(seconds(1));
    assert!(!is_from_the_store(&ask().await));
}

#[tokio::test]
async fn a_playlist_that_was_old_when_it_came_is_known_to_be_of_no_use() {
    for fill in [Fill::auto(), Fill::whole(), Fill::progressive(), Fill::sliced()] {
        let aged = |age: &str| hls(&live(1)).header("cache-control", "max-age=600").header("age", age);
        let rig = streaming().fill(fill).script(LIVE, aged("4"));
        let old = rig.get(LIVE).send().await;
        old.whole(&live(1));
        assert!(stored(&rig, LIVE).await.is_none(), "{fill:?}: {}", old.cache_status());
        // Viewers need not wait for one another.
        let viewers: Vec<_> = (0..3).map(|_| rig.get(LIVE).start()).collect();
        for viewer in viewers {
            let answer = viewer.await.unwrap();
            assert!(answer.cache_status().contains("detail=never-fresh"), "{}", answer.cache_status());
            answer.whole(&live(1));
        }
        rig.inner.was_called(4);
        // One that came in time ends this.
        rig.inner.answer(LIVE, aged("0"));
        rig.get(LIVE).send().await.whole(&live(1));
        rig.get(LIVE).send().await.whole(&live(1));
        assert!(is_from_the_store(&rig.get(LIVE).send().await), "{fill:?}");
    }
}

#[tokio::test]
async fn a_playlist_with_a_validator_is_stored_however_old_it_was_when_it_came() {
    let script = hls(&live(1)).header("cache-control", "max-age=600").header("age", "4");
    let rig = streaming().script(LIVE, script.header("etag", "\"v1\"").honours_conditions());
    rig.get(LIVE).send().await.whole(&live(1));
    let again = rig.get(LIVE).send().await;
    assert!(again.cache_status().contains("fwd-status=304"), "{}", again.cache_status());
}
