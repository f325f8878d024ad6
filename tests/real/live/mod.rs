//! A live HLS stream in a real browser, from an origin that gives its playlists the lifetime of its videos.
//!
//! Needs `chromium`, with HLS of its own (142 and later), and `chromedriver`.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use fantoccini::Client;
use http::{HeaderValue, StatusCode, header::CACHE_CONTROL};
use serde_json::json;
use tower_video_cache::{MokaStore, Policy, VideoCacheLayer};

use crate::{
    browser::{Outcome, look},
    trials::tests,
};

tests! {
    &["chromium", "chromedriver"] => on_threads:
        no_viewer_of_a_live_stream_gets_a_playlist_older_than_half_of_its_target_duration;
}

async fn no_viewer_of_a_live_stream_gets_a_playlist_older_than_half_of_its_target_duration() {
    let stage = Stage::new();
    let app = stage.router().unwrap();
    look(app, async |_, browser, page| watch(browser, page, &stage).await).await.unwrap();
}

async fn watch(browser: &Client, page: &str, stage: &Stage) -> Outcome<()> {
    browser.goto(page).await?;
    let script = "
        const [seconds, done] = arguments;
        const play = async (video, later) => {
            // The viewers ask at different moments.
            await new Promise(resolve => setTimeout(resolve, 700 * later));
            const failed = new Promise(resolve => video.addEventListener('error', () => resolve(video.error.message)));
            video.src = video.dataset.src;
            video.play().catch(() => {});
            const plays = new Promise(resolve => {
                let first = null;
                video.addEventListener('timeupdate', () => {
                    first ??= video.currentTime;
                    if (video.currentTime >= first + seconds) resolve('played');
                });
            });
            const end = await Promise.race([failed, plays]);
            return {end, time: video.currentTime, frames: video.getVideoPlaybackQuality().totalVideoFrames};
        };
        // This one gets one playlist for an hour, and stops.
        const old = document.querySelector('#default');
        old.src = old.dataset.src;
        old.play().catch(() => {});
        Promise.all([...document.querySelectorAll('.streaming')].map(play)).then(done, error => done(String(error)));
    ";
    let played = browser.execute_async(script, vec![json!(SECONDS)]).await?;
    for viewer in played.as_array().ok_or_else(|| played.to_string())? {
        assert_eq!(viewer["end"], "played", "{played}");
        assert!(viewer["frames"].as_u64() > Some(10 * SECONDS / 2), "no picture: {played}");
    }

    let seen = stage.seen("/streaming/a.m3u8");
    let oldest = seen.iter().map(|seen| seen.age).max();
    assert!(oldest < Some(TARGET / 2 + SLACK), "{seen:?}");
    // Two answers that leave at the same time may be noted in either order.
    let slack = u64::try_from(SLACK.as_millis()).unwrap();
    let goes_on = seen.iter().zip(seen.iter().skip(1)).all(|(one, next)| next.made + slack >= one.made);
    assert!(goes_on, "no playlist is older than one before it: {seen:?}");
    let hits = seen.iter().filter(|seen| seen.cache_status.contains("; hit")).count();
    assert!(hits > 0, "the viewers share playlists: {seen:?}");
    let all_are_there = stage.seen("/streaming/").iter().all(|seen| seen.status.is_success());
    assert!(all_are_there, "no playlist names a segment that is not there: {:?}", stage.seen("/streaming/"));

    // Without the preset, the same origin gives the same player an old playlist.
    let oldest = stage.seen("/default/a.m3u8").iter().map(|seen| seen.age).max();
    assert!(oldest > Some(TARGET), "{:?}", stage.seen("/default/a.m3u8"));
    Ok(())
}

/// The origin, and what left the caches before it.
#[derive(Clone)]
struct Stage {
    began: Instant,
    stream: Arc<Stream>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// An answer that a browser got.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    status: StatusCode,
    cache_status: String,
    /// When the origin made it, in milliseconds of the stream.
    made: u64,
    /// How long ago that was.
    age: Duration,
}

impl Stage {
    fn new() -> Self {
        Self { began: Instant::now(), stream: Arc::new(Stream::read()), seen: Arc::default() }
    }

    fn router(&self) -> Outcome<Router> {
        let cached = |policy: Policy| -> Outcome<Router> {
            let layer = VideoCacheLayer::new(MokaStore::new(64 << 20)?).policy(policy);
            Ok(Router::new().fallback(answer).with_state(self.clone()).layer(layer))
        };
        let router = Router::new()
            .nest("/streaming", cached(Policy::streaming())?)
            .nest("/default", cached(Policy::default())?);
        let router = router.layer(from_fn_with_state(self.clone(), note));
        Ok(router.route("/", get(|| async { Html(PAGE) })))
    }

    /// The answers to requests for such paths, oldest first.
    fn seen(&self, path: &str) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path.starts_with(path)).cloned().collect()
    }
}

/// Answers as an origin that says of everything that it is fresh for an hour.
async fn answer(State(stage): State<Stage>, request: Request) -> Response {
    let made = stage.began.elapsed();
    // A segment of a second is written each second, and some were written before.
    let written = made.as_secs() + WINDOW;
    let (kind, body) = match request.uri().path() {
        "/a.m3u8" => ("application/vnd.apple.mpegurl", stage.stream.playlist(written)),
        "/init.mp4" => ("video/mp4", stage.stream.header.clone()),
        path => match stage.stream.segment(path, written) {
            Some(segment) => ("video/mp4", segment),
            None => return (StatusCode::NOT_FOUND, [("cache-control", "max-age=3600")]).into_response(),
        },
    };
    let made = made.as_millis().to_string();
    let fields = [("content-type", kind), ("cache-control", "max-age=3600"), ("x-made", &made)];
    (fields, Body::from(body)).into_response()
}

/// Notes an answer, and keeps the browser from storing it.
async fn note(State(stage): State<Stage>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let made = field("x-made").parse().unwrap_or(0);
    let age = stage.began.elapsed().saturating_sub(Duration::from_millis(made));
    let cache_status = field("cache-status").to_owned();
    stage.seen.lock().unwrap().push(Seen { path, status: response.status(), cache_status, made, age });
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A video in fragments: its header, and the segments.
struct Stream {
    header: Bytes,
    segments: Vec<Bytes>,
}

impl Stream {
    fn read() -> Self {
        let video = Bytes::from_static(include_bytes!("stream.mp4"));
        let mut boxes = Vec::new();
        let mut at = 0;
        while at < video.len() {
            let length: [u8; 4] = video[at..at + 4].try_into().unwrap();
            let end = at + usize::try_from(u32::from_be_bytes(length)).unwrap();
            boxes.push((at..end, video.slice(at + 4..at + 8)));
            at = end;
        }
        let fragments = boxes.iter().zip(boxes.iter().skip(1)).filter(|((_, kind), _)| kind == "moof");
        let segments: Vec<_> = fragments.map(|((head, _), (data, _))| head.start..data.end).collect();
        let header = video.slice(..segments[0].start);
        Self { header, segments: segments.into_iter().map(|segment| video.slice(segment)).collect() }
    }

    /// The playlist of the last segments, of which so many are written.
    fn playlist(&self, written: u64) -> Bytes {
        let last = written.min(u64::try_from(self.segments.len()).unwrap());
        let first = last - WINDOW;
        let segments = (first..last).map(|number| format!("#EXTINF:1.0,\n{number}.m4s\n"));
        let tags = format!("#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{first}\n", TARGET.as_secs());
        let map = "#EXT-X-MAP:URI=\"init.mp4\"\n";
        format!("#EXTM3U\n#EXT-X-VERSION:7\n{tags}{map}{}", segments.collect::<String>()).into()
    }

    fn segment(&self, path: &str, written: u64) -> Option<Bytes> {
        let number = path.strip_prefix('/')?.strip_suffix(".m4s")?.parse::<u64>().ok()?;
        self.segments.get(usize::try_from(number).ok()?).filter(|_| number < written).cloned()
    }
}

const PAGE: &str = "<!doctype html><title>live</title>\
    <video class=streaming muted data-src=/streaming/a.m3u8></video>\
    <video class=streaming muted data-src=/streaming/a.m3u8></video>\
    <video id=default muted data-src=/default/a.m3u8></video>";

/// The target duration. The preset takes half of it.
const TARGET: Duration = Duration::from_secs(2);

/// The time that a busy machine may take between the look at the clock and the answer.
const SLACK: Duration = Duration::from_millis(900);

/// The segments in a playlist.
const WINDOW: u64 = 6;

/// The seconds that each viewer plays. They are more than a playlist has.
const SECONDS: u64 = 10;
