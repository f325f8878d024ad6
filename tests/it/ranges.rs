//! Several ranges in one request, and the exact fields of every kind of answer.

use std::ops::Range;

use bytes::Bytes;
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use tower_video_cache::{ChunkSize, Fault, Operation, Policy, Retry};

use crate::rig::{Answer, Rig, Script, date, movie, seconds};

const LENGTH: usize = 25_000;

/// A rig whose store has `/a.mp4`, 25 chunks.
async fn stored() -> (Rig, Bytes) {
    stored_of(Script::movie("/a.mp4", LENGTH).header("etag", "\"v1\"").header("date", &date(0))).await
}

async fn stored_of(script: Script) -> (Rig, Bytes) {
    let rig = Rig::new().script("/a.mp4", script);
    let movie = movie("/a.mp4", LENGTH);
    rig.get("/a.mp4").send().await.whole(&movie);
    (rig, movie)
}

/// One part of a multipart content: its fields, in lower case, and its bytes.
#[derive(Debug)]
struct Part {
    fields: Vec<(String, String)>,
    bytes: Bytes,
}

impl Part {
    /// The range that `Content-Range` states, half-open. Its length of the whole must be `complete`.
    fn range(&self, complete: usize) -> Range<usize> {
        let said = self.field("content-range").expect("each part has its range");
        let (range, whole) = said.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
        let (first, last) = range.split_once('-').unwrap();
        assert_eq!(whole, complete.to_string());
        first.parse().unwrap()..last.parse::<usize>().unwrap() + 1
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

/// Splits a 206 of several parts as RFC 2046 §5.1.1 does: by its delimiters alone, whatever the parts say.
#[track_caller]
fn parts(answer: &Answer) -> Vec<Part> {
    assert!(answer.error.is_none(), "{:?}", answer.error);
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert!(!answer.has("content-range"), "each part has this field, and not the whole answer");
    assert_eq!(answer.field("content-length"), answer.bytes.len().to_string());
    let delimiter = format!("\r\n--{}", boundary(answer));
    // The first delimiter ends no line, for there is none before it.
    let body = [b"\r\n", &answer.bytes[..]].concat();
    let mut found = Vec::new();
    let mut rest = &body[after(&body, delimiter.as_bytes()).expect("a first delimiter")..];
    assert_eq!(body.len() - rest.len(), delimiter.len(), "no byte precedes the first delimiter");
    while rest != b"--\r\n" {
        let fields = rest.strip_prefix(b"\r\n").expect("a delimiter is a line of its own");
        let start = after(fields, b"\r\n\r\n").expect("an empty line after the fields");
        let end = start + after(&fields[start..], delimiter.as_bytes()).expect("another delimiter");
        let lines = std::str::from_utf8(&fields[..start - 4]).unwrap().split("\r\n");
        found.push(Part {
            fields: lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            bytes: Bytes::copy_from_slice(&fields[start..end - delimiter.len()]),
        });
        rest = &fields[end..];
    }
    found
}

fn boundary(answer: &Answer) -> &str {
    answer.field("content-type").strip_prefix("multipart/byteranges; boundary=").expect("several parts")
}

/// The end of the first `sought` in `text`.
fn after(text: &[u8], sought: &[u8]) -> Option<usize> {
    text.windows(sought.len()).position(|window| window == sought).map(|start| start + sought.len())
}

/// Whether these are the parts of an answer, each with its true bytes.
#[track_caller]
fn has_parts(answer: &Answer, truth: &Bytes, expected: &[Range<usize>]) {
    let parts = parts(answer);
    let ranges: Vec<_> = parts.iter().map(|part| part.range(truth.len())).collect();
    assert_eq!(ranges, expected);
    for part in &parts {
        assert!(part.bytes == truth.slice(part.range(truth.len())), "not the bytes of {:?}", part.fields);
    }
}

#[tokio::test]
async fn several_ranges_are_the_parts_of_one_answer() {
    let (rig, movie) = stored().await;
    for (set, expected) in [
        ("bytes=0-9,500-509", vec![0..10, 500..510]),
        ("bytes=0-0, 12000-13999 ,-1", vec![0..1, 12_000..14_000, 24_999..25_000]),
        ("bytes=-1,0-0,12000-13999", vec![24_999..25_000, 0..1, 12_000..14_000]),
        ("bytes=999-1000,2999-3000,1999-2000", vec![999..1001, 2999..3001, 1999..2001]),
        ("bytes=0-9,99999-,20000-99999", vec![0..10, 20_000..25_000]),
        ("bytes=20000-20009,5-9,20005-20019,0-3", vec![20_000..20_020, 0..10]),
    ] {
        let answer = rig.get("/a.mp4").range(set).send().await;
        has_parts(&answer, &movie, &expected);
        answer.is_hit();
        for part in parts(&answer) {
            assert_eq!(part.fields.len(), 2, "{:?}", part.fields);
            assert_eq!(part.field("content-type"), Some("video/mp4"));
        }
    }
    rig.inner.was_called(1);
}

#[tokio::test]
async fn a_cold_set_is_filled_whole_and_answered_in_parts() {
    let rig = Rig::new().movie("/a.mp4", LENGTH);
    let answer = rig.get("/a.mp4").range("bytes=0-9,5000-6999").send().await;
    has_parts(&answer, &movie("/a.mp4", LENGTH), &[0..10, 5000..7000]);
    assert_eq!(answer.cache_status(), "tower-video-cache; fwd=uri-miss; fwd-status=200; ttl=300; stored");
}

#[tokio::test]
async fn a_response_stored_without_a_type_has_parts_without_one() {
    let rig = Rig::new().script("/a.mp4", Script::movie("/a.mp4", LENGTH).without("content-type"));
    let rig = rig.layer(|layer| layer.policy(Policy::default().media_types(["*/*"])));
    let answer = rig.get("/a.mp4").range("bytes=0-9,5000-6999").send().await;
    has_parts(&answer, &movie("/a.mp4", LENGTH), &[0..10, 5000..7000]);
    assert!(parts(&answer).iter().all(|part| part.field("content-type").is_none()));
}

#[tokio::test]
async fn a_set_that_comes_to_one_range_is_answered_as_one() {
    let (rig, movie) = stored().await;
    for (set, expected) in [
        ("bytes=0-99,50-149", 0..150),
        ("bytes=100-199,0-99", 0..200),
        ("bytes=0-0,80-80", 0..81),
        ("bytes=0-12499,12500-", 0..LENGTH),
        ("bytes=99999-,7-8,-0", 7..9),
        ("bytes=7-8,7-8", 7..9),
    ] {
        rig.get("/a.mp4").range(set).send().await.partial(&movie, expected);
    }
}

#[tokio::test]
async fn a_set_is_416_only_if_none_of_it_can_be_satisfied() {
    let (rig, _) = stored().await;
    let answer = rig.get("/a.mp4").range("bytes=25000-,-0,99999-99999").send().await;
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(answer.field("content-range"), "bytes */25000");
}

#[tokio::test]
async fn no_set_costs_more_than_the_whole() {
    let (rig, movie) = stored().await;
    let every_hundredth: Vec<_> =
        (0..4000).map(|at| format!("{}-{}", at * 100 % LENGTH, at * 100 % LENGTH)).collect();
    for set in [
        // More ranges than any player asks for.
        every_hundredth.join(","),
        (0..17).map(|at| format!("{}-{}", at * 1000, at * 1000)).collect::<Vec<_>>().join(","),
        vec!["0-"; 20_000].join(","),
        // Parts with fewer bytes between them than the overhead of a part.
        "0-12400,12500-24998".to_owned(),
        // Values that are no valid sets.
        "0-9,5000-5009,x".to_owned(),
        "0-9,5000-4999".to_owned(),
    ] {
        let before = rig.store.calls(Operation::Get);
        let answer = rig.get("/a.mp4").range(&format!("bytes={set}")).send().await;
        answer.whole(&movie).is_hit();
        assert_eq!(answer.field("content-type"), "video/mp4");
        assert_eq!(answer.field("content-length"), "25000");
        assert_eq!(rig.store.calls(Operation::Get) - before, 26, "the manifest, and each chunk once");
    }
    let sixteen = (0..16).map(|at| format!("{}-{}", at * 1000, at * 1000)).collect::<Vec<_>>();
    let answer = rig.get("/a.mp4").range(&format!("bytes={}", sixteen.join(","))).send().await;
    assert_eq!(parts(&answer).len(), 16);
}

#[tokio::test]
async fn the_policy_limits_sets_and_never_a_single_range() {
    for (most, two_are_parts) in [(0, false), (1, false), (2, true)] {
        let rig = Rig::new().movie("/a.mp4", LENGTH);
        let rig = rig.layer(|layer| layer.policy(Policy::default().max_ranges(most)));
        let movie = movie("/a.mp4", LENGTH);
        rig.get("/a.mp4").range("bytes=5-9").send().await.partial(&movie, 5..10);
        let two = rig.get("/a.mp4").range("bytes=5-9,5000-5009").send().await;
        if two_are_parts {
            has_parts(&two, &movie, &[5..10, 5000..5010]);
        } else {
            two.whole(&movie);
        }
        rig.get("/a.mp4").range("bytes=5-9,5000-5009,9000-9009").send().await.whole(&movie);
    }
}

#[tokio::test]
async fn a_head_has_no_parts() {
    let (rig, _) = stored().await;
    let answer = rig.head("/a.mp4").range("bytes=0-9,5000-5009").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.field("content-length"), "25000");
    assert_eq!(answer.field("content-type"), "video/mp4");
    assert!(answer.bytes.is_empty());
}

#[tokio::test]
async fn if_range_gives_parts_only_of_the_representation_that_the_client_has() {
    let (rig, movie) = stored().await;
    let ask = |tag: &str| rig.get("/a.mp4").range("bytes=0-9,5000-5009").header("if-range", tag);
    has_parts(&ask("\"v1\"").send().await, &movie, &[0..10, 5000..5010]);
    ask("\"v2\"").send().await.whole(&movie);
}

#[tokio::test]
async fn coded_parts_are_not_mixed_with_uncoded_ones() {
    let (rig, movie) = stored_of(Script::movie("/a.mp4", LENGTH).header("content-encoding", "gzip")).await;
    rig.get("/a.mp4").range("bytes=0-9,5000-5009").send().await.whole(&movie);
    rig.get("/a.mp4").range("bytes=5000-5009").send().await.partial(&movie, 5000..5010);
}

#[tokio::test]
async fn a_boundary_is_of_one_fill_and_of_no_other() {
    let (rig, _) = stored().await;
    let ask = || rig.get("/a.mp4").range("bytes=0-9,5000-5009").send();
    let (one, again) = (ask().await, ask().await);
    assert_eq!(boundary(&one), boundary(&again));
    assert_eq!(boundary(&one).len(), 32);
    rig.ask("DELETE".parse().unwrap(), "/a.mp4").send().await;
    let refilled = ask().await;
    assert_ne!(boundary(&one), boundary(&refilled));
}

#[tokio::test]
async fn a_chunk_that_parts_share_is_read_once() {
    let (rig, movie) = stored().await;
    let before = rig.store.calls(Operation::Get);
    let answer = rig.get("/a.mp4").range("bytes=100-109,300-309,500-509,900-1109,1300-1309").send().await;
    has_parts(&answer, &movie, &[100..110, 300..310, 500..510, 900..1110, 1300..1310]);
    assert_eq!(rig.store.calls(Operation::Get) - before, 3, "the manifest and two chunks");
}

#[tokio::test(start_paused = true)]
async fn parts_wait_for_a_slow_store() {
    let (rig, movie) = stored().await;
    rig.store.spoil_from(Operation::Get, 1, Fault::Slow(seconds(1)));
    let answer = rig.get("/a.mp4").range("bytes=0-9,4500-6499,9000-9009").send().await;
    has_parts(&answer, &movie, &[0..10, 4500..6500, 9000..9010]);
    answer.is_hit();
}

#[tokio::test]
async fn parts_whose_first_byte_is_gone_are_filled_anew() {
    let (rig, movie) = stored().await;
    let calls = rig.inner.calls().len();
    // The next get reads the manifest, and the one after it the first chunk.
    rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + 2, Fault::Lost);
    for later in 0..=1 {
        let answer = rig.get("/a.mp4").range("bytes=5000-5009,0-9").send().await;
        has_parts(&answer, &movie, &[5000..5010, 0..10]);
        // The inner service says that it gives no parts, and gives the whole.
        rig.inner.was_called(calls + 2 * later);
    }
}

#[tokio::test]
async fn parts_that_lose_a_chunk_midway_end_with_an_error_and_without_a_closing_delimiter() {
    let (rig, movie) = stored().await;
    let rig = rig.layer(|layer| layer.retry(Retry::default().attempts(0)));
    let ask = || rig.get("/a.mp4").range("bytes=0-9,4500-6499,9000-9009").send();
    let script = Script::movie("/a.mp4", movie.len()).header("etag", "\"v1\"").header("date", &date(0));
    // The gets read the manifest, and chunks 0, 4, 5, 6 and 9.
    for lost in 3..=6 {
        let whole = ask().await;
        has_parts(&whole, &movie, &[0..10, 4500..6500, 9000..9010]);
        rig.store.spoil(Operation::Get, rig.store.calls(Operation::Get) + lost, Fault::Lost);
        ask().await;
        let calls = rig.inner.calls().len();
        rig.inner.answer("/a.mp4", Script::absent().fails());
        let answer = ask().await;
        assert!(answer.error.as_ref().is_some_and(tower_video_cache::Error::is_inner), "{lost}");
        assert!(whole.bytes.starts_with(&answer.bytes), "before the error, no wrong byte leaves");
        let closing = format!("--{}--", boundary(&answer));
        assert!(after(&answer.bytes, closing.as_bytes()).is_none(), "{lost}");
        let begun = String::from_utf8_lossy(&answer.bytes).matches("Content-Range").count();
        assert_eq!(begun, if lost == 6 { 3 } else { 2 }, "{lost}");
        rig.inner.was_called(calls + 1);
        rig.inner.answer("/a.mp4", script.clone());
        ask().await;
    }
}

#[tokio::test]
async fn a_body_of_parts_says_exactly_how_much_is_left_and_has_one_end() {
    let (rig, _) = stored().await;
    for lost in [None, Some(4)] {
        if let Some(lost) = lost {
            rig.store.spoil_from(Operation::Get, rig.store.calls(Operation::Get) + lost, Fault::Absent);
            rig.inner.answer("/a.mp4", Script::absent().fails());
        }
        let response = rig.get("/a.mp4").range("bytes=0-9,4500-6499").response().await.unwrap();
        let mut left: u64 = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let mut body = response.into_body();
        let mut failed = false;
        while left > 0 {
            assert_eq!(body.size_hint().exact(), Some(left));
            assert!(!body.is_end_stream());
            let frame = body.frame().await.expect("there is more");
            failed = frame.is_err();
            left -= frame.map_or(left, |frame| frame.into_data().unwrap().len() as u64);
        }
        assert_eq!(failed, lost.is_some());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert!(body.is_end_stream());
        assert!(body.frame().await.is_none(), "nothing comes after the end, or after an error");
    }
}

/// The sorted names of an answer's fields, without those that every answer has.
fn names(answer: &Answer) -> Vec<&str> {
    for name in EVERY {
        assert!(answer.has(name), "{name}");
    }
    let mut names: Vec<_> = answer.headers.keys().map(http::HeaderName::as_str).collect();
    names.retain(|name| !EVERY.contains(name));
    names.sort_unstable();
    names
}

/// The fields that every answer has.
const EVERY: [&str; 5] = ["access-control-allow-origin", "age", "cache-status", "date", "vary"];

#[tokio::test]
async fn every_kind_of_answer_has_exactly_the_fields_of_its_kind() {
    let script = [
        ("accept-ranges", "none"),
        ("access-control-allow-origin", "*"),
        ("cache-control", "max-age=60"),
        ("content-digest", "sha-256=:x:"),
        ("content-language", "de"),
        ("content-location", "/film"),
        ("content-md5", "x"),
        ("date", &date(0)),
        ("etag", "\"v1\""),
        ("expires", &date(60)),
        ("last-modified", &date(-3600)),
        ("repr-digest", "sha-256=:x:"),
        ("server", "inner"),
        ("vary", "accept-language"),
    ]
    .iter()
    .fold(Script::movie("/a.mp4", LENGTH), |script, (name, value)| script.header(name, value));
    let (rig, movie) = stored_of(script.clone()).await;
    let ask = |name: &str, value: &str| rig.get("/a.mp4").header(name, value).send();

    let described = [
        "accept-ranges",
        "cache-control",
        "content-language",
        "content-length",
        "content-location",
        "content-type",
        "etag",
        "expires",
        "last-modified",
        "repr-digest",
        "server",
    ];
    let with = |more: &[&'static str]| {
        let mut names = [&described, more].concat();
        names.sort_unstable();
        names
    };
    let whole = rig.get("/a.mp4").send().await;
    assert_eq!(names(whole.whole(&movie)), with(&["content-digest", "content-md5"]));
    let part = ask("range", "bytes=0-9").await;
    assert_eq!(names(part.partial(&movie, 0..10)), with(&["content-range"]));
    let several = ask("range", "bytes=0-9,5000-5009").await;
    has_parts(&several, &movie, &[0..10, 5000..5010]);
    assert_eq!(names(&several), with(&[]));
    for answer in [&whole, &part, &several] {
        assert_eq!(answer.field("accept-ranges"), "bytes");
    }

    // RFC 9110 §15.4.5: Cache-Control, Content-Location, Date, ETag, Expires and Vary.
    let not_modified = ask("if-none-match", "\"v1\"").await;
    assert_eq!(not_modified.status, StatusCode::NOT_MODIFIED);
    assert_eq!(names(&not_modified), ["cache-control", "content-location", "etag", "expires"]);
    let past_the_end = ask("range", "bytes=25000-").await;
    assert_eq!(past_the_end.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(names(&past_the_end), ["accept-ranges", "content-length", "content-range"]);
    // The inner service is asked about the 416 alone.
    rig.inner.was_called(2);

    // §15.4.5: other metadata only if it guides an update, as a date does if there is no tag.
    let (rig, _) = stored_of(script.without("etag")).await;
    let by_date = rig.get("/a.mp4").header("if-modified-since", &date(-3600)).send().await;
    assert_eq!(by_date.status, StatusCode::NOT_MODIFIED);
    assert_eq!(names(&by_date), ["cache-control", "content-location", "expires", "last-modified"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_set_of_ranges_over_any_chunk_size_is_answered_with_the_slices(
        length in 0_usize..12_000,
        chunk_size in 40_u32..3000,
        sets in proptest::collection::vec(
            proptest::collection::vec((0_usize..12_000, 0_usize..600, 0_u8..8), 2..8),
            1..8,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            // An immutable video does not grow, so the inner service is not asked about a 416.
            let script = Script::movie("/a.mp4", length).header("cache-control", "max-age=60, immutable");
            let rig = Rig::new().script("/a.mp4", script);
            let rig = rig.layer(|layer| layer.chunk_size(ChunkSize::new(chunk_size).unwrap()));
            let movie = movie("/a.mp4", length);
            for set in sets {
                let mut asked = vec![false; length];
                let mut any_suffix = false;
                let mut members = Vec::new();
                for (first, more, kind) in set {
                    let (member, span) = match kind {
                        0 => (format!("{first}-"), first..length),
                        1 => (format!("-{more}"), length.saturating_sub(more)..length),
                        _ => (format!("{first}-{}", first + more), first..(first + more + 1).min(length)),
                    };
                    any_suffix |= kind == 1 && more > 0;
                    asked.iter_mut().take(span.end).skip(span.start).for_each(|asked| *asked = true);
                    members.push(member);
                }
                let answer = rig.get("/a.mp4").range(&format!("bytes={}", members.join(","))).send().await;
                if !asked.contains(&true) {
                    let empty = length == 0 && any_suffix;
                    assert_eq!(answer.status.as_u16(), if empty { 200 } else { 416 });
                } else if answer.status == StatusCode::OK {
                    answer.whole(&movie);
                } else if answer.has("content-range") {
                    let start = asked.iter().position(|asked| *asked).unwrap();
                    let end = asked.iter().rposition(|asked| *asked).unwrap() + 1;
                    answer.partial(&movie, start..end);
                } else {
                    let ranges: Vec<_> = parts(&answer).iter().map(|part| part.range(length)).collect();
                    has_parts(&answer, &movie, &ranges);
                    assert!(ranges.len() > 1 && answer.bytes.len() < length);
                    let answered = |at: &usize| ranges.iter().filter(|range| range.contains(at)).count();
                    assert!((0..length).all(|at| answered(&at) <= 1), "no byte comes twice");
                    assert!((0..length).all(|at| !asked[at] || answered(&at) == 1), "no byte is missing");
                }
            }
            rig.inner.was_called(1);
        });
    }
}
