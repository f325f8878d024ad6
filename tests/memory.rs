//! However long a video is, the layer holds a few chunks of it at a time.
//!
//! A test binary of its own: its allocator counts what the whole process holds, so the tests take turns.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may panic and print"
)]

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc, LazyLock, Mutex, PoisonError,
    },
    task::{Context, Poll},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{header, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty};
use peak_alloc::PeakAlloc;
use tower::{service_fn, Layer, ServiceExt};
use tower_video_cache::{
    BoxError, Fault, FaultStore, ManualClock, MokaStore, Operation, Store, VideoCacheLayer,
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;

/// The movie's length: not a multiple of a chunk, so that the last one is short.
const LENGTH: u64 = 2 * GIB + 12_345;

/// What a request may add to what the process held before it.
const MOST: usize = 8 * MIB;

const STORE_FAILED: &str = "tower-video-cache; fwd=uri-miss; detail=store-failed";
const NOT_STORED: &str = "tower-video-cache; fwd=uri-miss";
const STORED: &str = "tower-video-cache; fwd=uri-miss; ttl=300; stored";
const HIT: &str = "tower-video-cache; hit";

#[test]
fn a_movie_whose_first_chunk_is_not_taken_streams_from_the_one_inner_call() {
    for length in [Length::Declared, Length::Unsaid] {
        let store = FaultStore::new(MokaStore::new(8 * GIB));
        store.spoil_from(Operation::Put, 1, Fault::Error);
        play(store, length, &[Showing { status: STORE_FAILED, inner_calls: 1 }]);
    }
}

#[test]
fn a_movie_whose_third_chunk_is_not_taken_streams_on_from_there() {
    for length in [Length::Declared, Length::Unsaid] {
        let store = FaultStore::new(MokaStore::new(8 * GIB));
        store.spoil_from(Operation::Put, 3, Fault::Error);
        play(store, length, &[Showing { status: STORE_FAILED, inner_calls: 1 }]);
    }
}

#[test]
fn a_movie_that_the_store_forgets_is_asked_for_again() {
    for (keeps_manifests, length) in [(false, Length::Declared), (true, Length::Unsaid)] {
        let store = Forgetful { keeps_manifests, ..Forgetful::default() };
        play(store, length, &[Showing { status: NOT_STORED, inner_calls: 2 }]);
    }
}

#[test]
fn a_movie_on_disk_is_played_from_there() {
    for length in [Length::Declared, Length::Unsaid] {
        let showings = [Showing { status: STORED, inner_calls: 1 }, Showing { status: HIT, inner_calls: 1 }];
        play(Disk::new("played"), length, &showings);
    }
}

#[test]
fn a_movie_on_disk_without_its_manifest_is_read_back_for_its_one_viewer() {
    let store = FaultStore::new(Disk::new("salvaged"));
    let chunks = LENGTH.div_ceil(1 << 20);
    store.spoil(Operation::Put, chunks + 1, Fault::Error);
    play(store, Length::Declared, &[Showing { status: STORE_FAILED, inner_calls: 1 }]);
}

/// One request for the movie: what its `Cache-Status` begins with, and how often the inner service was called
/// until its end.
struct Showing {
    status: &'static str,
    inner_calls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Declared,
    Unsaid,
}

/// Plays the movie through a layer on `store`, once for each showing, and holds the heap to its bound.
#[track_caller]
fn play(store: impl Store, length: Length, showings: &[Showing]) {
    static TURNS: Mutex<()> = Mutex::new(());
    let _turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);

    let inner_calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&inner_calls);
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        counted.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::builder().header(header::CONTENT_TYPE, "video/mp4");
        if length == Length::Declared {
            response = response.header(header::CONTENT_LENGTH, LENGTH);
        }
        std::future::ready(response.body(Film { position: 0 }))
    });
    // A disk that others write to as well may take its time.
    let layer = VideoCacheLayer::new(store).store_limit(Duration::from_secs(60));
    let service = layer.clock(ManualClock::starting_at(UNIX_EPOCH)).layer(inner);
    LazyLock::force(&PICTURES);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for showing in showings {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        runtime.block_on(async {
            let request = Request::get("/movie.mp4").body(Empty::new()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            let status = response.headers()["cache-status"].to_str().unwrap();
            assert!(status.starts_with(showing.status), "{length:?}: {status}");
            watch(response.into_body()).await;
        });
        let grown = HEAP.peak_usage().saturating_sub(before);
        println!("{length:?} length, {}: {} KiB of heap at most", showing.status, grown / KIB);
        assert!(grown <= MOST, "{length:?}, {}: {} KiB of heap", showing.status, grown / KIB);
        assert_eq!(inner_calls.load(Ordering::SeqCst), showing.inner_calls, "{length:?}");
    }
}

/// Drains a body, each byte of which must be the movie's.
async fn watch(body: impl Body<Data = Bytes, Error = impl std::fmt::Debug>) {
    let mut body = std::pin::pin!(body);
    let mut position = 0;
    while let Some(frame) = body.frame().await {
        let mut data = frame.unwrap().into_data().unwrap();
        while !data.is_empty() {
            let expected = pictures_at(position);
            let compared = expected.len().min(data.len());
            assert!(!expected.is_empty(), "bytes past the end, {position}");
            assert!(data.split_to(compared) == expected[..compared], "wrong bytes at {position}");
            position += u64::try_from(compared).unwrap();
        }
    }
    assert_eq!(position, LENGTH);
}

/// An inner body, made on the fly from slices of one buffer.
struct Film {
    position: u64,
}

impl Body for Film {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let pictures = pictures_at(self.position);
        self.position += u64::try_from(pictures.len())?;
        Poll::Ready((!pictures.is_empty()).then(|| Ok(Frame::data(pictures))))
    }
}

/// The movie from `position` to the end of its frame; empty at the end of the movie.
///
/// Each frame of 64 KiB is another slice of the same buffer, so that bytes which come from the wrong place show.
fn pictures_at(position: u64) -> Bytes {
    let frame = usize::try_from(position / FRAME).unwrap();
    let start = (frame * 7919) % FRAME_BYTES;
    let from = usize::try_from(position % FRAME).unwrap();
    let left = usize::try_from(LENGTH - position).unwrap();
    PICTURES.slice(start + from..start + FRAME_BYTES.min(from.saturating_add(left)))
}

const FRAME: u64 = 64 << 10;
const FRAME_BYTES: usize = 64 * KIB;

/// Two frames' worth of noise.
static PICTURES: LazyLock<Bytes> = LazyLock::new(|| {
    let mut noise = 1_u32;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise.to_le_bytes()[0]
    };
    (0..2 * FRAME_BYTES).map(|_| next()).collect()
});

/// A store that takes all and keeps nothing, or nothing but manifests.
#[derive(Default)]
struct Forgetful {
    keeps_manifests: bool,
    manifest: Mutex<Option<Bytes>>,
}

impl Store for Forgetful {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        Ok(if key.starts_with("c/") { None } else { self.manifest.lock().unwrap().clone() })
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        if self.keeps_manifests && !key.starts_with("c/") {
            *self.manifest.lock().unwrap() = Some(value);
        }
        Ok(())
    }

    async fn remove(&self, _: &str) -> Result<(), BoxError> {
        *self.manifest.lock().unwrap() = None;
        Ok(())
    }
}

/// A store that makes a file of each value, in a folder that goes with it.
struct Disk {
    folder: PathBuf,
    writes: AtomicU64,
}

impl Disk {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{name}"));
        // What a run that was killed has left.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self { folder, writes: AtomicU64::new(0) }
    }

    fn file(&self, key: &str) -> PathBuf {
        self.folder.join(key.replace('/', "!"))
    }
}

impl Store for Disk {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        match tokio::fs::read(self.file(key)).await {
            Ok(value) => Ok(Some(value.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        // Written aside, then renamed: a put that is dropped has not happened by half.
        let aside = self.folder.join(format!("aside-{}", self.writes.fetch_add(1, Ordering::Relaxed)));
        tokio::fs::write(&aside, value).await?;
        Ok(tokio::fs::rename(aside, self.file(key)).await?)
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        match tokio::fs::remove_file(self.file(key)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
