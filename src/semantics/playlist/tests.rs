//! Texts of servers and packagers, and what each of them says.

use std::time::Duration;

use proptest::prelude::*;

use super::{super::fields::tests::headers, *};

fn found(pieces: &[&[u8]]) -> Playlist {
    let mut scanner = Scanner::default();
    for piece in pieces {
        scanner.read(piece);
    }
    scanner.found(pieces.iter().map(|piece| u64::try_from(piece.len()).unwrap()).sum())
}

fn live(milliseconds: u64) -> Playlist {
    Playlist::Live(Some(Duration::from_millis(milliseconds)))
}

const LIVE: &str = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n#EXT-X-MEDIA-SEQUENCE:2680\n\
                    #EXTINF:5.994,\n2680.ts\n#EXTINF:6.006,\n2681.ts\n";

const LOW_LATENCY: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-VERSION:6\n\
     #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0,CAN-SKIP-UNTIL=12.0\n\
     #EXT-X-PART-INF:PART-TARGET=0.33334\n#EXT-X-MEDIA-SEQUENCE:266\n#EXTINF:4.00008,\nfileSequence266.mp4\n\
     #EXT-X-PART:DURATION=0.33334,URI=\"filePart267.0.mp4\"\n\
     #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"filePart267.1.mp4\"\n\
     #EXT-X-RENDITION-REPORT:URI=\"../1M/waitForMSN.php\",LAST-MSN=267,LAST-PART=1\n";

const MULTIVARIANT: &str = "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n\
     #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"aac\",NAME=\"English\",DEFAULT=YES,URI=\"audio.m3u8\"\n\
     #EXT-X-STREAM-INF:BANDWIDTH=1280000,AVERAGE-BANDWIDTH=1000000,CODECS=\"avc1.64001f\"\nlow/a.m3u8\n\
     #EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=86000,URI=\"low/iframe.m3u8\"\n";

const DYNAMIC: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- made by a packager, type=\"static\" -->\n\
     <MPD xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xmlns=\"urn:mpeg:dash:schema:mpd:2011\"\n\
     xsi:schemaLocation=\"urn:mpeg:dash:schema:mpd:2011 DASH-MPD.xsd\" profiles=\"urn:mpeg:dash:profile:isoff-live:2011\"\n\
     type=\"dynamic\" availabilityStartTime=\"1970-01-01T00:00:00Z\" minimumUpdatePeriod=\"PT2S\"\n\
     timeShiftBufferDepth=\"PT5M\" maxSegmentDuration=\"PT2S\" minBufferTime=\"PT2S\">\n\
     <Period id=\"P0\" start=\"PT0S\"><AdaptationSet type=\"static\" minimumUpdatePeriod=\"PT9S\"/></Period></MPD>";

#[test]
fn a_playlist_says_how_it_goes_on() {
    let with = |line: &str| format!("#EXTM3U\n#EXT-X-TARGETDURATION:{line}\n#EXTINF:6,\na.ts\n");
    for (which, text, expected) in [
        ("live", LIVE.to_owned(), live(6000)),
        ("live, with CRLF", LIVE.replace('\n', "\r\n"), live(6000)),
        ("live, with a byte order mark", format!("\u{feff}{LIVE}"), live(6000)),
        ("live, after empty lines", format!("\r\n \n{LIVE}"), live(6000)),
        ("low latency", LOW_LATENCY.to_owned(), live(4000)),
        ("an event", with("9\n#EXT-X-PLAYLIST-TYPE:EVENT"), live(9000)),
        (
            "an event that is over",
            with("9\n#EXT-X-PLAYLIST-TYPE:EVENT") + "#EXT-X-ENDLIST\n",
            Playlist::Ended,
        ),
        ("on demand", with("9\n#EXT-X-PLAYLIST-TYPE:VOD"), Playlist::Ended),
        ("ended, without a last line end", format!("{LIVE}#EXT-X-ENDLIST"), Playlist::Ended),
        ("ended, without a target", "#EXTM3U\n#EXTINF:6,\na.ts\n#EXT-X-ENDLIST".to_owned(), Playlist::Ended),
        ("an end in a comment", format!("{LIVE}# EXT-X-ENDLIST\n## EXT-X-ENDLIST\n"), live(6000)),
        ("an end in a URI", format!("{LIVE}a.ts?#EXT-X-ENDLIST\n"), live(6000)),
        ("an end in a title", format!("{LIVE}#EXTINF:6,#EXT-X-ENDLIST\n"), live(6000)),
        ("a tag that begins like the end", format!("{LIVE}#EXT-X-ENDLISTS\n"), live(6000)),
        ("a delta update", with("5\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3"), live(5000)),
        ("pictures alone", with("5\n#EXT-X-I-FRAMES-ONLY"), live(5000)),
        ("several playlists", MULTIVARIANT.to_owned(), Playlist::Multivariant),
        (
            "several playlists, and segments",
            format!("{MULTIVARIANT}#EXTINF:6,\na.ts\n"),
            Playlist::Live(None),
        ),
        ("several playlists, and a target", format!("{MULTIVARIANT}#EXT-X-TARGETDURATION:3"), live(3000)),
        ("no target", "#EXTM3U\n#EXTINF:6,\na.ts\n".to_owned(), Playlist::Live(None)),
        ("nothing more", "#EXTM3U".to_owned(), Playlist::Live(None)),
        ("a target with decimals", with("6.5"), live(6500)),
        ("a target with many decimals", with("6.00650999999999"), live(6006)),
        ("a target with white space", with(" 6 "), live(6000)),
        ("a target of zero", with("0"), Playlist::Live(None)),
        ("a target below zero", with("-6"), Playlist::Live(None)),
        ("no number", with("six"), Playlist::Live(None)),
        ("no value", "#EXTM3U\n#EXT-X-TARGETDURATION".to_owned(), Playlist::Live(None)),
        ("a huge target", with("99999999999999999999999999999999"), live((1 << 31) * 1000)),
        ("a target longer than a line", with(&"9".repeat(9000)), live((1 << 31) * 1000)),
        ("a huge fraction", with(&format!("1.{}", "9".repeat(9000))), live(1999)),
        ("two targets", with("8\n#EXT-X-TARGETDURATION:4"), live(4000)),
        ("a list of files", "a.mp3\nb.mp3\n#EXT-X-ENDLIST\n".to_owned(), Playlist::Unknown),
        ("another first line", format!("#EXTINF:6,\n{LIVE}"), Playlist::Unknown),
        (
            "a page of a server",
            "<!DOCTYPE html><html><body>Sorry</body></html>".to_owned(),
            Playlist::Unknown,
        ),
        ("nothing", String::new(), Playlist::Unknown),
        ("white space", " \r\n ".to_owned(), Playlist::Unknown),
    ] {
        assert_eq!(found(&[text.as_bytes()]), expected, "{which}");
    }
}

#[test]
fn a_dash_manifest_says_how_it_goes_on() {
    let with = |attributes: &str| format!("<MPD {attributes}>");
    let dynamic = |period: &str| with(&format!("type=\"dynamic\" minimumUpdatePeriod=\"{period}\""));
    for (which, text, expected) in [
        ("dynamic", DYNAMIC.to_owned(), live(2000)),
        (
            "dynamic, with a byte order mark and CRLF",
            format!("\u{feff}{}", DYNAMIC.replace('\n', "\r\n")),
            live(2000),
        ),
        ("static", DYNAMIC.replacen("\"dynamic\"", "\"static\"", 1), Playlist::Ended),
        (
            "no type",
            with("xmlns='urn:mpeg:dash:schema:mpd:2011' mediaPresentationDuration='PT9S'"),
            Playlist::Ended,
        ),
        ("nothing at all", "<MPD>".to_owned(), Playlist::Ended),
        ("an empty element", "<MPD/>".to_owned(), Playlist::Ended),
        ("single quotes", "<MPD type='dynamic' minimumUpdatePeriod='PT0.5S'>".to_owned(), live(500)),
        (
            "white space around the sign",
            "<MPD\n\ttype = 'dynamic'\r\n minimumUpdatePeriod\n=\n'PT1M'>".to_owned(),
            live(60_000),
        ),
        (
            "a prefix",
            "<mpd:MPD xmlns:mpd='u' type='dynamic' minimumUpdatePeriod='PT3S'>".to_owned(),
            live(3000),
        ),
        (
            "attributes of other names",
            with("xsi:type='dynamic' x:minimumUpdatePeriod='PT9S' xtype='dynamic'"),
            Playlist::Ended,
        ),
        ("the other quote in a value", with("title='type=\"dynamic\"' id=\">\""), Playlist::Ended),
        ("a new type", with("type='growing' minimumUpdatePeriod='PT4S'"), live(4000)),
        ("no period", with("type=\"dynamic\""), Playlist::Live(None)),
        ("a period of nothing", dynamic("PT0S"), Playlist::Live(None)),
        ("all units", dynamic("P0Y0M0DT0H1M2.25S"), live(62_250)),
        ("days", dynamic("P1DT1H"), live(90_000_000)),
        ("months and years", dynamic("P1Y1M"), live(395 * 86_400_000)),
        ("white space", dynamic(" PT2S\n"), live(2000)),
        ("a huge period", dynamic("P99999999999999999999Y"), live((1 << 31) * 1000)),
        ("a period longer than any", dynamic(&format!("PT{}S", "9".repeat(900))), Playlist::Live(None)),
        ("below zero", dynamic("-PT2S"), Playlist::Live(None)),
        ("no unit", dynamic("PT2"), Playlist::Live(None)),
        ("no number", dynamic("PTS"), Playlist::Live(None)),
        ("a wrong unit", dynamic("P2S"), Playlist::Live(None)),
        ("two times", dynamic("PT2ST2S"), Playlist::Live(None)),
        (
            "a comment with dashes",
            "<!-- - -- <MPD type='static'> ---><MPD type='dynamic'>".to_owned(),
            Playlist::Live(None),
        ),
        (
            "an instruction",
            "<?a <MPD type='static'> ? ??><MPD type='dynamic'>".to_owned(),
            Playlist::Live(None),
        ),
        (
            "a document type",
            "<!DOCTYPE MPD [<!ENTITY a '>'><!-- ] -->]><MPD type='dynamic'>".to_owned(),
            Playlist::Live(None),
        ),
        ("another root", "<Patch><MPD type='static'></MPD></Patch>".to_owned(), Playlist::Unknown),
        ("another root of a like name", "<MPDs type='static'>".to_owned(), Playlist::Unknown),
        ("a root without an end", "<MPD type='static' ".to_owned(), Playlist::Unknown),
        ("a comment without an end", "<!-- <MPD type='static'>".to_owned(), Playlist::Unknown),
        ("an end before any start", "</MPD><MPD type='static'>".to_owned(), Playlist::Unknown),
        ("a name longer than any", format!("<{}MPD>", "a".repeat(900)), Playlist::Unknown),
    ] {
        assert_eq!(found(&[text.as_bytes()]), expected, "{which}");
    }
}

#[test]
fn a_manifest_says_nothing_unless_all_of_it_was_read() {
    let mut scanner = Scanner::default();
    scanner.read(LIVE.as_bytes());
    assert_eq!(scanner.found(1 + u64::try_from(LIVE.len()).unwrap()), Playlist::Unknown);
}

#[test]
fn an_end_is_found_however_far_it_is() {
    let segments = (0..200_000).map(|number| format!("#EXTINF:6.006,\nsegment-{number}.ts\n"));
    let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:7\n{}", segments.collect::<String>());
    assert!(text.len() > 5 << 20);
    assert_eq!(found(&text.as_bytes().chunks(1000).collect::<Vec<_>>()), live(7000));
    let text = text + "#EXT-X-ENDLIST\n";
    assert_eq!(found(&text.as_bytes().chunks(1000).collect::<Vec<_>>()), Playlist::Ended);
}

#[test]
fn a_scanner_reads_whole_manifests_without_a_coding() {
    let hls = ("content-type", "application/vnd.apple.mpegurl");
    let of = |path, status, lines: &[_], policy: &Policy| {
        Scanner::of(path, StatusCode::from_u16(status).unwrap(), &headers(lines), policy).is_some()
    };
    let default = Policy::default();
    for (path, status, lines, is_read) in [
        ("/a", 200, &[hls][..], true),
        ("/a.m3u8", 200, &[("content-type", "text/plain")], true),
        ("/a.mpd", 200, &[], true),
        ("/a.mp4", 200, &[("content-type", "video/mp4")], false),
        ("/a.m3u8", 404, &[hls], false),
        ("/a.m3u8", 200, &[hls, ("content-encoding", "gzip")], false),
    ] {
        assert_eq!(of(path, status, lines, &default), is_read, "{path} {status} {lines:?}");
    }
    assert!(!of("/a.mpd", 200, &[], &default.media_by_ending(false)));
}

proptest! {
    #[test]
    fn pieces_tell_the_same_as_the_whole(
        text in prop_oneof![
            Just(LIVE.to_owned()), Just(LOW_LATENCY.to_owned()), Just(MULTIVARIANT.to_owned()), Just(DYNAMIC.to_owned()),
            "(\u{feff}?(#EXTM3U|<MPD|<!--|<[?]|<!D))?(#EXT-X-(TARGETDURATION:[0-9.]{0,9}|ENDLIST|PLAYLIST-TYPE:(VOD|EVENT))?|\
             type=.(dynamic|static).|minimumUpdatePeriod=.PT[0-9]S.|['\"<>\\-\\[\\]?!\r\n -~]|[\r\n ]){0,30}",
        ],
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let text = text.as_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(text.len());
        let mut from = 0;
        let pieces: Vec<_> = cuts.iter().map(|cut| { let piece = &text[from..*cut]; from = *cut; piece }).collect();
        prop_assert_eq!(found(&pieces), found(&[text]));
        prop_assert_eq!(found(&text.chunks(1).collect::<Vec<_>>()), found(&[text]));
    }
}
