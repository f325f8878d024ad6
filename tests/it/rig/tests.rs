//! The rig itself: its inner service must be as good a server as it claims, or bad in exactly the requested way.

use std::time::Duration;

use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use tower::ServiceExt as _;
use tower_video_cache::Fill;

use super::{Gate, Inner, Reading, Rig, Script, Step, date, movie, settle};

const LENGTH: usize = 2500;

/// The answer of the inner service itself: status, a field, and the bytes up to the end or the error.
struct Told {
    status: u16,
    content_range: String,
    content_length: String,
    bytes: Vec<u8>,
    failed: bool,
}

async fn tell(inner: &Inner, fields: &[(&str, &str)]) -> Told {
    let mut request = Request::new(Full::default());
    (*request.method_mut(), *request.uri_mut()) = (Method::GET, "/a.mp4".parse().unwrap());
    for (name, value) in fields {
        request.headers_mut().append(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
    }
    let (parts, mut body) = inner.clone().oneshot(request).await.unwrap().into_parts();
    let (mut bytes, mut failed) = (Vec::new(), false);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            failed = true;
            break;
        };
        bytes.extend_from_slice(&frame.into_data().unwrap());
    }
    let field = |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    Told {
        status: parts.status.as_u16(),
        content_range: field("content-range"),
        content_length: field("content-length"),
        bytes,
        failed,
    }
}

fn script() -> Script {
    Script::movie("/a.mp4", LENGTH)
        .header("etag", "\"v1\"")
        .header("last-modified", &date(-600))
        .honours_ranges()
}

fn inner(script: Script) -> Inner {
    let inner = Inner::default();
    inner.answer("/a.mp4", script);
    inner
}

#[tokio::test]
async fn a_range_is_answered_as_a_good_server_does() {
    let date = date(-600);
    for (what, range, if_range, status, expected) in [
        ("closed", "bytes=600-1300", "", 206, 600..1301),
        ("one byte", "bytes=0-0", "", 206, 0..1),
        ("open", "bytes=2000-", "", 206, 2000..2500),
        ("suffix", "bytes=-7", "", 206, 2493..2500),
        ("a suffix longer than all", "bytes=-9999", "", 206, 0..2500),
        ("a last past the end", "bytes=2499-9999", "", 206, 2499..2500),
        ("a last past all numbers", "bytes=1-18446744073709551615", "", 206, 1..2500),
        ("a first at the end", "bytes=2500-", "", 416, 0..0),
        ("an empty suffix", "bytes=-0", "", 416, 0..0),
        ("backwards", "bytes=9-5", "", 200, 0..2500),
        ("several", "bytes=0-1,5-6", "", 200, 0..2500),
        ("another unit", "frames=0-1", "", 200, 0..2500),
        ("of its tag", "bytes=5-9", "\"v1\"", 206, 5..10),
        ("of another tag", "bytes=5-9", "\"v2\"", 200, 0..2500),
        ("of a weak tag", "bytes=5-9", "W/\"v1\"", 200, 0..2500),
        ("of its date", "bytes=5-9", &date, 206, 5..10),
        ("of another date", "bytes=5-9", "Sun, 22 Nov 2026 11:49:59 GMT", 200, 0..2500),
    ] {
        let fields = [("range", range), ("if-range", if_range)];
        let fields = if if_range.is_empty() { &fields[..1] } else { &fields[..] };
        let told = tell(&inner(script()), fields).await;
        assert_eq!(told.status, status, "{what}");
        assert_eq!(told.bytes, movie("/a.mp4", LENGTH)[expected.clone()], "{what}");
        assert_eq!(told.content_length, expected.len().to_string(), "{what}");
        let said = match status {
            206 => format!("bytes {}-{}/2500", expected.start, expected.end - 1),
            416 => "bytes */2500".to_owned(),
            _ => String::new(),
        };
        assert_eq!(told.content_range, said, "{what}");
    }
}

#[tokio::test]
async fn a_part_is_wrong_in_the_way_that_was_asked() {
    let asked = ("range", "bytes=600-1300");
    for (what, script, said, expected) in [
        ("a lie", script().says_range("bytes 0-9/10"), "bytes 0-9/10", 600..1301),
        ("another part", script().gives_range(0..700), "bytes 0-699/2500", 0..700),
        ("a smaller part", script().gives_at_most(10), "bytes 600-609/2500", 600..610),
        ("misplaced", script().misplaces_parts(1000), "bytes 1600-2300/2500", 600..1301),
        ("no total", script().without_total(), "bytes 600-1300/*", 600..1301),
    ] {
        let told = tell(&inner(script), &[asked]).await;
        assert_eq!((told.status, &*told.content_range), (206, said), "{what}");
        assert_eq!(told.bytes, movie("/a.mp4", LENGTH)[expected], "{what}");
    }
    let told = tell(&inner(script().codes_parts()), &[asked]).await;
    let inverted: Vec<_> = movie("/a.mp4", LENGTH)[600..1301].iter().map(|byte| !byte).collect();
    assert_eq!(told.bytes, inverted);
    let deaf = inner(script().ignores_if_range().part_header("content-length", "9").part_without("etag"));
    let told = tell(&deaf, &[asked, ("if-range", "\"v2\"")]).await;
    assert_eq!((told.status, &*told.content_length), (206, "9"));
}

#[tokio::test]
async fn a_body_breaks_at_a_byte_in_every_part_and_as_often_as_asked() {
    let truth = movie("/a.mp4", LENGTH);
    for (script, failed) in [(script().dies_at(1500), true), (script().ends_at(1500), false)] {
        let inner = inner(script.dies_times(2));
        let told = tell(&inner, &[("range", "bytes=600-1499")]).await;
        assert!(!told.failed && told.bytes == truth[600..1500], "the body does not reach the place");
        let told = tell(&inner, &[("range", "bytes=600-")]).await;
        assert!(told.failed == failed && told.bytes == truth[600..1500]);
        let told = tell(&inner, &[("range", "bytes=1500-1600")]).await;
        assert!(told.failed == failed && told.bytes.is_empty(), "the body begins at the place");
        let told = tell(&inner, &[]).await;
        assert!(!told.failed && told.bytes == truth, "twice, and no more");
    }
    let told = tell(&inner(script().dies_at(2500)), &[("range", "bytes=2400-")]).await;
    assert!(told.failed && told.bytes == truth[2400..], "at the very end");
}

#[tokio::test(start_paused = true)]
async fn the_steps_of_a_body_are_those_of_its_parts() {
    let gate = Gate::shut();
    // The gate is before the fourth frame, which begins with byte 1851.
    let inner = inner(script().step(3, Step::Wait(gate.clone())));
    tell(&inner, &[("range", "bytes=0-1850")]).await;
    tell(&inner, &[("range", "bytes=1852-")]).await;
    let limit = Duration::from_secs(1);
    for range in ["bytes=0-1851", "bytes=1851-1900"] {
        let fields = [("range", range)];
        assert!(tokio::time::timeout(limit, tell(&inner, &fields)).await.is_err(), "{range}");
    }
    gate.open();
    tell(&inner, &[("range", "bytes=0-1851")]).await;

    let stalling = self::inner(script().stalls_at(1000));
    assert!(tokio::time::timeout(limit, tell(&stalling, &[])).await.is_err());
    let began = tokio::time::Instant::now();
    tell(&self::inner(script().paced(limit)), &[("range", "bytes=617-1851")]).await;
    assert_eq!(began.elapsed(), 3 * limit, "one for each frame");
}

#[tokio::test]
async fn each_call_has_its_script_and_its_request_and_answer_are_counted() {
    let inner = Inner::default();
    inner.answer_each("/a.mp4", [script().status(203), script(), script().fails()]);
    assert_eq!(tell(&inner, &[]).await.status, 203);
    assert_eq!(tell(&inner, &[("range", "bytes=0-9")]).await.status, 206);
    for _ in 0..2 {
        assert!(inner.clone().oneshot(Request::get("/a.mp4").body(Full::default()).unwrap()).await.is_err());
    }
    assert_eq!(inner.ranges("/a.mp4"), ["", "bytes=0-9", "", ""]);
    assert_eq!(inner.bytes_of("/a.mp4"), 2510);
    assert_eq!(inner.bytes_of("/b.mp4"), 0);
}

#[tokio::test]
async fn conditions_are_judged_before_ranges() {
    let inner = inner(script().honours_conditions());
    let range = ("range", "bytes=0-9");
    for (condition, tag, status) in [
        ("if-none-match", "\"v1\"", 304),
        ("if-none-match", "\"v2\"", 206),
        ("if-match", "\"v1\"", 206),
        ("if-match", "\"v2\"", 412),
    ] {
        assert_eq!(tell(&inner, &[range, (condition, tag)]).await.status, status, "{condition}: {tag}");
    }
}

#[tokio::test]
async fn a_body_can_be_read_frame_by_frame() {
    let gate = Gate::shut();
    // The request bypasses the cache, so the body is the inner service's own.
    let script = script().step(2, Step::Wait(gate.clone()));
    let rig = Rig::new().fill(Fill::whole()).script("/a.mp4", script).layer(|layer| layer.bypass(|_| true));
    let mut reading: Reading = rig.get("/a.mp4").reading().await;
    assert_eq!(reading.status, 200);
    assert_eq!(reading.ready().len(), 617);
    assert_eq!(reading.next().await.unwrap().unwrap().len(), 617);
    let wakes = reading.waits();
    settle().await;
    assert_eq!((wakes.count(), reading.bytes.len()), (0, 1234));
    gate.open();
    assert_eq!(wakes.count(), 1);
    reading.rest().await.whole(&movie("/a.mp4", LENGTH));
}
