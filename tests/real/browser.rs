//! A real player: headless Chromium plays the example's videos from behind caches in all modes of filling.
//!
//! Needs `chromium` and `chromedriver` (Debian: `chromium`, `chromium-driver`). If they are missing, the test is left
//! out, and the end of the run says so. If `CI` is set, the test fails instead.

#[path = "../../examples/player/app.rs"]
mod app;
#[expect(dead_code, reason = "its own tests run with the example")]
#[path = "../../examples/player/chunk_map.rs"]
mod chunk_map;
#[path = "../../examples/player/log.rs"]
mod log;
#[expect(unused_imports, reason = "its own tests run with the example")]
#[path = "../../examples/player/stage.rs"]
mod stage;
#[expect(dead_code, unused_imports, reason = "its own tests run with the example")]
#[path = "../../examples/player/watched_store.rs"]
mod watched_store;

use std::{
    error::Error,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    panic::{AssertUnwindSafe, resume_unwind},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use fantoccini::{
    Client, ClientBuilder, Locator,
    wd::{Capabilities, TimeoutConfiguration},
};
use futures_util::FutureExt;
use http::Request;
use http_body_util::Full;
use hyper_util::{client::legacy, rt::TokioExecutor};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::stage::Pace;
use crate::trials::{program, tests};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

tests! {
    &["chromium", "chromedriver"] => on_one_thread:
        chromium_plays_and_seeks_in_every_mode_from_caches_that_are_empty_or_not,
        the_page_for_operators_follows_a_video_that_plays_dark_and_narrow_too;
}

async fn chromium_plays_and_seeks_in_every_mode_from_caches_that_are_empty_or_not() {
    look(app::router(PACE).unwrap(), watch).await.unwrap();
}

async fn the_page_for_operators_follows_a_video_that_plays_dark_and_narrow_too() {
    look(app::router(PACE).unwrap(), operate).await.unwrap();
}

/// Starts the app and a browser, and looks at the page.
pub(crate) async fn look(
    app: Router,
    watch: impl AsyncFnOnce(&Driver, &Client, &str) -> Outcome<()>,
) -> Outcome<()> {
    let chromium = program("chromium").ok_or("no chromium")?;
    let chromedriver = program("chromedriver").ok_or("no chromedriver")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let page = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let driver = Driver::start(&chromedriver)?;
    let browser = driver.browser(&chromium).await?;
    let watched = tokio::time::timeout(LIMIT, watch(&driver, &browser, &page));
    // The browser is closed before any failure is reported.
    let watched = AssertUnwindSafe(watched).catch_unwind().await;
    let closed = browser.close().await;
    match watched {
        Ok(in_time) => in_time??,
        Err(panic) => resume_unwind(panic),
    }
    Ok(closed?)
}

async fn watch(driver: &Driver, browser: &Client, page: &str) -> Outcome<()> {
    for sample in &SAMPLES {
        open(browser, page, sample).await?;
        play_to_the_end(browser, sample, 2).await?;
        let seen = Seen::read(browser, sample).await?;
        seen.assert_filled_once(0);
        seen.assert_first_bytes(0);
        // The page shows the whole state, which it asks for at its own pace.
        let cells = "article[data-mode='whole'] .strip .served".to_owned();
        let rows = format!("#log tbody tr:nth-child({})", seen.requests().len());
        for selector in [cells, rows] {
            browser.wait().at_most(LIMIT).for_element(Locator::Css(&selector)).await?;
        }
    }
    for sample in &SAMPLES {
        empty(browser, sample).await?;
        let before = Seen::read(browser, sample).await?.requests().len();
        open(browser, page, sample).await?;
        seek(browser, sample, 0.8).await?;
        Seen::read(browser, sample).await?.assert_parts(before);
        seek(browser, sample, 0.1).await?;
        Seen::read(browser, sample).await?.assert_filled_once(before);
    }
    // A new page holds none of the old page's videos, and the answers were `no-store`: the browser must ask again. On
    // a fast line a whole sample is there before the browser seeks, and no seek asks for bytes.
    driver.slow_down(browser).await?;
    for sample in &SAMPLES {
        let before = Seen::read(browser, sample).await?.requests().len();
        open(browser, page, sample).await?;
        seek(browser, sample, 0.8).await?;
        seek(browser, sample, 0.1).await?;
        play_to_the_end(browser, sample, 4).await?;
        let seen = Seen::read(browser, sample).await?;
        let requests = seen.requests_of("whole", before);
        assert!(requests.iter().any(|request| starts_midway(request)), "{}: {requests:?}", sample.file);
        assert_hits(&requests);
        assert_eq!(seen.0["modes"]["whole"]["inner_calls"], 1, "{}", sample.file);
    }
    heal(browser, page, &SAMPLES[0]).await
}

async fn operate(driver: &Driver, browser: &Client, page: &str) -> Outcome<()> {
    let sample = &SAMPLES[1];
    open(browser, page, sample).await?;
    browser.execute("document.querySelector(`video[data-mode='auto']`).play();", vec![]).await?;
    let window = browser.new_window(true).await?;
    browser.switch_to_window(window.handle).await?;
    browser.goto(&format!("{page}figures/auto/{}/", sample.file)).await?;
    let now = async |id: &str| browser.find(Locator::Id(id)).await?.text().await;
    let shows = async |condition: &str| {
        let script = "
            const [condition, done] = arguments;
            const at = id => document.getElementById(id).textContent;
            const holds = new Function('at', `return ${condition}`);
            const look = () => holds(at) ? done(true) : setTimeout(look, 50);
            look();
        ";
        browser.execute_async(script, vec![json!(condition)]).await
    };
    // Figures, rankings and events come by themselves, while the video plays.
    shows("Number(at('requests')) > 0 && at('fetched') !== '–' && at('state') === 'Well.'").await?;
    shows("document.querySelector('#outcomes td').textContent !== 'No request yet.'").await?;
    shows("at('served').includes('moov-at-front.mp4')").await?;
    let (requests, sent) = (now("requests").await?, now("sent").await?);
    let another = "fetch(`/videos/auto/${arguments[0]}`).then(answer => answer.arrayBuffer());";
    browser.execute(another, vec![json!(sample.file)]).await?;
    shows(&format!("at('requests') !== '{requests}' && at('sent') !== '{sent}'")).await?;
    shows("at('events').includes('GET /videos/auto/moov-at-front.mp4')").await?;

    let url = format!("{page}videos/auto/{}", sample.file);
    browser.find(Locator::Css("#explain input[name=uri]")).await?.send_keys(&url).await?;
    browser.find(Locator::Css("#explain button")).await?.click().await?;
    shows("at('explanation').includes('outcome: hit')").await?;
    assert!(now("explanation").await?.contains("sought are there"));

    // A purge ends the freshness, and the next request has the video validated.
    browser.find(Locator::Css("#purge input[name=selector]")).await?.send_keys(&url).await?;
    browser.find(Locator::Css("#purge button")).await?.click().await?;
    shows("at('purged').includes('found and purged')").await?;
    browser.find(Locator::Css("#explain button")).await?.click().await?;
    shows("at('explanation').includes('outcome: stale')").await?;
    browser.find(Locator::Css("#purge option[value=all]")).await?.click().await?;
    browser.find(Locator::Css("#purge option[value=gone]")).await?.click().await?;
    browser.find(Locator::Css("#purge button")).await?.click().await?;
    shows("at('purged').startsWith('purged; other nodes follow within 2000 ms')").await?;
    browser.find(Locator::Css("#explain button")).await?.click().await?;
    shows("at('explanation').includes('outcome: uri-miss')").await?;

    // Text of clients is no markup, and the pause stops the feed.
    let hostile = "fetch('/videos/auto/moov-at-front.mp4?<b id=injected>', {headers: {Range: 'bytes=0-0'}});";
    browser.execute(hostile, vec![]).await?;
    shows("at('missed').includes('injected')").await?;
    assert!(browser.find(Locator::Id("injected")).await.is_err());
    browser.find(Locator::Id("pause")).await?.click().await?;
    assert_eq!(now("pause").await?, "Go on");

    let colour = "return getComputedStyle(document.body).backgroundColor;";
    let light = browser.execute(colour, vec![]).await?;
    let features = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
    let dark = json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
    driver.command(browser, "goog/cdp/execute", dark).await?;
    assert_ne!(browser.execute(colour, vec![]).await?, light);
    browser.set_window_size(380, 800).await?;
    let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth;";
    assert_eq!(browser.execute(overflow, vec![]).await?, 0, "a narrow page needs no sideways scrolling");
    Ok(())
}

/// Every request was answered from the store, with bytes.
fn assert_hits(requests: &[&Value]) {
    for request in requests {
        assert!(cache_status(request).contains("; hit"), "{request}");
        assert_eq!(request["inner_called"], false, "{request}");
        assert_eq!(request["status"], 206, "{request}");
        assert!(request["content_range"].is_string(), "{request}");
    }
}

fn cache_status(request: &Value) -> &str {
    request["cache_status"].as_str().unwrap_or_default()
}

fn starts_midway(request: &Value) -> bool {
    let range = request["range"].as_str().unwrap_or_default();
    range.starts_with("bytes=") && !range.starts_with("bytes=0-")
}

/// Opens a new page, with a player for each mode.
async fn open(browser: &Client, page: &str, sample: &Sample) -> Outcome<()> {
    browser.goto(&format!("{page}?sample={}", sample.file)).await?;
    for mode in MODES {
        let selector = format!("video[data-mode='{mode}']");
        browser.wait().at_most(LIMIT).for_element(Locator::Css(&selector)).await?;
    }
    Ok(())
}

/// Plays in all modes at once.
async fn play_to_the_end(browser: &Client, sample: &Sample, rate: u32) -> Outcome<()> {
    let script = "
        const [rate, done] = arguments;
        const play = video => new Promise(resolve => {
            const answer = event => resolve([video.dataset.mode, {
                event, error: video.error?.message ?? null, time: video.currentTime, duration: video.duration,
                frames: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount,
            }]);
            video.addEventListener('ended', () => answer('ended'), {once: true});
            video.addEventListener('error', () => answer('error'), {once: true});
            video.muted = true;
            video.playbackRate = rate;
            video.play().catch(error => answer(String(error)));
        });
        Promise.all([...document.querySelectorAll('video')].map(play)).then(all => done(Object.fromEntries(all)));
    ";
    let played = browser.execute_async(script, vec![json!(rate)]).await?;
    for mode in MODES {
        let (played, which) = (&played[mode], format!("{}, {mode}", sample.file));
        assert_eq!(played["event"], "ended", "{which}: {played}");
        assert_eq!(played["error"], Value::Null, "{which}: {played}");
        assert_near(&played["duration"], sample.seconds);
        assert_near(&played["time"], sample.seconds);
        assert!(played["frames"].as_u64() > Some(0), "{which}: no picture: {played}");
        assert!(played["sound"].as_u64() > Some(0), "{which}: no sound: {played}");
    }
    Ok(())
}

/// Seeks to `part` of the whole in all modes at once. If nothing is stored, a player first loads as much as a browser
/// must.
async fn seek(browser: &Client, sample: &Sample, part: f64) -> Outcome<()> {
    let script = "
        const [part, done] = arguments;
        const seek = video => new Promise(resolve => {
            const answer = event => resolve([video.dataset.mode, {
                event, error: video.error?.message ?? null, time: video.currentTime,
            }]);
            video.addEventListener('seeked', () => answer('seeked'), {once: true});
            video.addEventListener('error', () => answer('error'), {once: true});
            const seek = () => { video.currentTime = part * video.duration; };
            if (video.readyState >= HTMLMediaElement.HAVE_METADATA) {
                seek();
            } else {
                video.addEventListener('loadedmetadata', seek, {once: true});
                video.preload = 'auto';
            }
        });
        Promise.all([...document.querySelectorAll('video')].map(seek)).then(all => done(Object.fromEntries(all)));
    ";
    let sought = browser.execute_async(script, vec![json!(part)]).await?;
    for mode in MODES {
        let (sought, which) = (&sought[mode], format!("{}, {mode}", sample.file));
        assert_eq!(sought["event"], "seeked", "{which}: {sought}");
        assert_eq!(sought["error"], Value::Null, "{which}: {sought}");
        assert_near(&sought["time"], part * sample.seconds);
    }
    Ok(())
}

/// Empties a sample's caches.
async fn empty(browser: &Client, sample: &Sample) -> Outcome<()> {
    let script = "
        const [sample, modes, done] = arguments;
        const empty = mode => fetch(`/stored/${mode}/${sample}`, {method: 'DELETE'}).then(answer => answer.status);
        Promise.all(modes.map(empty)).then(done, error => done(String(error)));
    ";
    let emptied = browser.execute_async(script, vec![json!(sample.file), json!(MODES)]).await?;
    assert_eq!(emptied, json!([204, 204, 204, 204]), "{}", sample.file);
    Ok(())
}

#[track_caller]
fn assert_near(seconds: &Value, expected: f64) {
    // A frame is 0.04 s, and a container may count one frame more or less than the other.
    let near = seconds.as_f64().is_some_and(|seconds| (seconds - expected).abs() < 0.1);
    assert!(near, "{seconds} s is not {expected} s");
}

struct Sample {
    file: &'static str,
    seconds: f64,
}

/// The app's state of one sample: `/seen/{sample}`.
struct Seen(Value);

impl Seen {
    async fn read(browser: &Client, sample: &Sample) -> Outcome<Self> {
        let script = "
            const [sample, done] = arguments;
            fetch(`/seen/${sample}`).then(answer => answer.json()).then(done, error => done(String(error)));
        ";
        Ok(Self(browser.execute_async(script, vec![json!(sample.file)]).await?))
    }

    fn requests(&self) -> &[Value] {
        self.0["requests"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The requests in one mode, without the first `before` requests of all modes.
    fn requests_of(&self, mode: &str, before: usize) -> Vec<&Value> {
        self.requests().iter().skip(before).filter(|request| request["mode"] == mode).collect()
    }

    /// Checks that `Fill::whole()` keeps its word. The first request after the first `before` has
    /// filled the cache with one call of the inner service. The requests after it are hits.
    fn assert_filled_once(&self, before: usize) {
        let (whole, requests) = (&self.0["modes"]["whole"], self.requests_of("whole", before));
        assert_eq!(whole["inner_calls"], 1, "{whole}");
        assert_eq!(whole["fetched"], whole["length"], "{whole}");
        let chunks = whole["chunks"].as_array().into_iter().flatten();
        assert!(chunks.clone().all(|state| state == "stored" || state == "served"), "{whole}");
        assert!(chunks.clone().any(|state| state == "served"), "{whole}");
        assert_eq!(requests[0]["inner_called"], true, "{requests:?}");
        assert!(cache_status(requests[0]).contains("; fwd=uri-miss"), "{requests:?}");
        assert!(cache_status(requests[0]).contains("; stored"), "{requests:?}");
        assert_hits(&requests[1..]);
    }
}

/// A chromedriver, which is ended when it is dropped.
pub(crate) struct Driver {
    process: Child,
    address: SocketAddr,
}

impl Driver {
    pub(crate) fn start(program: &Path) -> Outcome<Self> {
        let mut process = Command::new(program).arg("--port=0").stdout(Stdio::piped()).spawn()?;
        let output = process.stdout.take().ok_or("chromedriver has no output")?;
        // From here on, the process is stopped when the value is dropped.
        let mut driver = Self { process, address: (Ipv4Addr::LOCALHOST, 0).into() };
        let mut lines = BufReader::new(output).lines();
        let port = loop {
            let line = lines.next().ok_or("chromedriver ended before it listened")??;
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').parse()?;
            }
        };
        driver.address.set_port(port);
        // Its further output must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        Ok(driver)
    }

    pub(crate) async fn browser(&self, chromium: &Path) -> Outcome<Client> {
        let options = json!({
            "binary": chromium,
            "args": [
                "--headless=new",
                // As root, as in a container, Chromium has no sandbox.
                "--no-sandbox",
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--mute-audio",
                "--autoplay-policy=no-user-gesture-required",
            ],
        });
        let capabilities = Capabilities::from_iter([("goog:chromeOptions".to_owned(), options)]);
        let mut builder = ClientBuilder::new(legacy::connect::HttpConnector::new());
        let browser = builder.capabilities(capabilities).connect(&format!("http://{}", self.address)).await?;
        browser.update_timeouts(TimeoutConfiguration::new(Some(LIMIT), Some(LIMIT), None)).await?;
        Ok(browser)
    }

    /// Gives the browser a slow line. `WebDriver` has no command for that, but chromedriver has one.
    async fn slow_down(&self, browser: &Client) -> Outcome<()> {
        let line = json!({ "offline": false, "latency": 0, "throughput": BYTES_PER_SECOND });
        self.command(browser, "chromium/network_conditions", json!({ "network_conditions": line })).await
    }

    /// A command of chromedriver's own.
    async fn command(&self, browser: &Client, name: &str, parameters: Value) -> Outcome<()> {
        let session = browser.session_id().await?.ok_or("the browser has no session")?;
        let uri = format!("http://{}/session/{session}/{name}", self.address);
        let request = Request::post(uri).body(Full::<Bytes>::from(parameters.to_string()))?;
        let client = legacy::Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request).await?;
        assert_eq!(answer.status(), 200);
        Ok(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Its browser is closed by then. The call does nothing if the process has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const VIDEOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/player/videos");

const SAMPLES: [Sample; 3] = [
    Sample { file: "moov-at-end.mp4", seconds: 8.0 },
    Sample { file: "moov-at-front.mp4", seconds: 7.0 },
    Sample { file: "clip.webm", seconds: 6.0 },
];

const MODES: [&str; 4] = ["auto", "whole", "progressive", "sliced"];

/// A sample takes two seconds to come.
const PACE: Pace = Pace { latency: Duration::from_millis(100), chunk: Duration::from_millis(100) };

/// The longest wait for the browser, which needs some forty seconds on a machine that is not busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);

/// A sample takes a few seconds in all modes, which is more than a browser takes to find the length and seek.
const BYTES_PER_SECOND: u32 = 750_000;

/// Loses a chunk in the middle of the stored chunks, in all modes, and plays through it.
async fn heal(browser: &Client, page: &str, sample: &Sample) -> Outcome<()> {
    let before = Seen::read(browser, sample).await?;
    let script = "
        const [sample, modes, chunk, done] = arguments;
        const lose = mode => fetch(`/stored/${mode}/${sample}/${chunk}`, {method: 'DELETE'}).then(answer => answer.status);
        Promise.all(modes.map(lose)).then(done, error => done(String(error)));
    ";
    let lost = browser.execute_async(script, vec![json!(sample.file), json!(MODES), json!(LOST)]).await?;
    assert_eq!(lost, json!([204, 204, 204, 204]), "{}", sample.file);
    open(browser, page, sample).await?;
    play_to_the_end(browser, sample, 4).await?;
    let after = Seen::read(browser, sample).await?;
    for mode in MODES {
        let (before, after) = (&before.0["modes"][mode], &after.0["modes"][mode]);
        assert_eq!(after["chunks"][LOST], "healed", "{}, {mode}: {after}", sample.file);
        // Only the lost chunk is asked for, once more if the browser left before it came. The default mode asks for all that
        // the client wants, and stops at the next stored chunk.
        let calls = after["asked"].as_array().into_iter().flatten();
        let calls: Vec<_> = calls.skip(before["asked"].as_array().map_or(0, Vec::len)).collect();
        assert!(!calls.is_empty(), "{}, {mode}: {after}", sample.file);
        assert!(
            calls.iter().all(|asked| asked[0] == LOST && (mode == "auto" || asked[1] == LOST + 1)),
            "{}, {mode}: {after}",
            sample.file
        );
    }
    Ok(())
}

// In `impl Seen`:

impl Seen {
    /// An answer that does not wait for the last byte is much earlier.
    fn assert_first_bytes(&self, before: usize) {
        let first = |mode| self.requests_of(mode, before)[0]["first_byte_ms"].as_f64().unwrap_or(f64::MAX);
        for mode in ["auto", "progressive", "sliced"] {
            assert!(first(mode) < first("whole") / 2.0, "{mode}: {:?}", self.requests());
        }
    }

    /// Checks that `Fill::sliced()` keeps its word: a seek to a missing chunk costs less than the video, and makes
    /// calls for parts only. `Fill::progressive()` keeps its word too: one call.
    fn assert_parts(&self, before: usize) {
        let (sliced, progressive) = (&self.0["modes"]["sliced"], &self.0["modes"]["progressive"]);
        assert!(sliced["fetched"].as_u64() < sliced["length"].as_u64(), "{sliced}");
        let chunks = sliced["chunks"].as_array().into_iter().flatten();
        assert!(chunks.clone().any(|state| state == "absent"), "{sliced}");
        assert!(sliced["inner_calls"].as_u64() > Some(1), "{sliced}");
        assert_eq!(progressive["inner_calls"], 1, "{progressive}");
        let requests = self.requests_of("sliced", before);
        assert!(requests.iter().all(|request| request["status"] == 206), "{requests:?}");
    }
}

// A constant: the middle of all samples.

const LOST: usize = 6;
