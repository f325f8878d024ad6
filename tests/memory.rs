//! The layer holds a few chunks of a video at a time, however long the video is and whenever its first byte leaves.
//!
//! A test binary of its own: its allocator counts the memory of the whole process, so the tests take turns.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test may panic and print"
)]

#[path = "memory/beside.rs"]
mod beside;
#[path = "memory/fills.rs"]
mod fills;
#[path = "memory/movie.rs"]
mod movie;
#[path = "memory/stores.rs"]
mod stores;

use std::{
    future::Future,
    ops::RangeInclusive,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use peak_alloc::PeakAlloc;
use tokio::runtime::Runtime;
use tower::{Layer, ServiceExt, service_fn};
use tower_video_cache::{
    BoxError, Fault, FaultStore, Fill, ManualClock, MokaStore, Operation, Store, Timeouts, VideoCacheLayer,
};

use self::{
    movie::{Answer, Movie, PICTURES},
    stores::{Disk, Forgetful},
};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const GIB: u64 = 1 << 30;

const MODES: [Fill; 3] = [Fill::whole(), Fill::progressive(), Fill::sliced()];
const ANSWERS: [Answer; 3] = [Answer::Declared, Answer::Unsaid, Answer::InParts];

/// Neither is a multiple of a chunk, so that the last one is short.
const LONG: u64 = 2 * GIB + 12_345;
const LESS: u64 = GIB / 16 + 12_345;

/// The most that a request may add to the memory of the process.
const MOST: usize = 8 * MIB;

const CACHE: &str = "tower-video-cache; ";
const STORE_FAILED: &str = "tower-video-cache; fwd=uri-miss; detail=store-failed";
const NOT_STORED: &str = "tower-video-cache; fwd=uri-miss";
const STORED: &str = "tower-video-cache; fwd=uri-miss; ttl=300; stored";
const HIT: &str = "tower-video-cache; hit";

#[test]
fn a_movie_whose_first_chunk_is_not_taken_streams_from_the_one_inner_call() {
    let _turn = turn();
    for play in plays() {
        let store = FaultStore::new(MokaStore::new(8 * GIB).unwrap());
        store.spoil_from(Operation::Put, 1, Fault::Error);
        play.show(store, &[Showing::of(STORE_FAILED, 1..=1)]);
    }
}

#[test]
fn a_movie_whose_third_chunk_is_not_taken_streams_on_from_there() {
    let _turn = turn();
    for play in plays() {
        let store = FaultStore::new(MokaStore::new(8 * GIB).unwrap());
        store.spoil_from(Operation::Put, 3, Fault::Error);
        // The third put is that of a piece, of a chunk or of the record, as the machine is busy. After the record, each chunk
        // of a sliced fill that the store does not take costs a call.
        let most = if play.mode == Fill::sliced() { play.chunks() + 2 } else { 1 };
        play.show(store, &[Showing::of(STORE_FAILED, 1..=most)]);
    }
}

#[test]
fn a_movie_that_the_store_forgets_is_asked_for_again() {
    let _turn = turn();
    for play in plays() {
        let store = Forgetful::of(play.answer != Answer::Declared);
        let asked_for_again = Showing::of(NOT_STORED, 2..=2);
        // After the first byte, each chunk can be asked for again, a few times. Otherwise the body breaks.
        let broken = Showing { may_break: true, ..Showing::of(NOT_STORED, 1..=4 * play.chunks()) };
        play.show(store, &[if play.mode == Fill::whole() { asked_for_again } else { broken }]);
    }
}

#[test]
fn a_movie_on_disk_is_played_from_there() {
    let _turn = turn();
    for play in plays() {
        play.show(Disk::new("played"), &[Showing::of(STORED, 1..=1), Showing::of(HIT, 0..=0)]);
    }
}

#[test]
fn a_movie_on_disk_without_its_manifest_is_read_back_for_its_one_viewer() {
    let _turn = turn();
    for play in plays().filter(|play| play.answer != Answer::Unsaid) {
        let store = FaultStore::new(Disk::new("salvaged"));
        store.spoil(Operation::Put, play.chunks() + 1, Fault::Error);
        play.show(store, &[Showing::of(STORE_FAILED, 1..=1)]);
    }
}

/// One request for the video: the start of its `Cache-Status`, and the number of inner calls until its end.
struct Showing {
    status: &'static str,
    inner_calls: RangeInclusive<u64>,
    may_break: bool,
}

impl Showing {
    fn of(status: &'static str, inner_calls: RangeInclusive<u64>) -> Self {
        Self { status, inner_calls, may_break: false }
    }
}

/// A video that is played in a mode, with the inner service's kind of answer.
#[derive(Clone, Copy)]
struct Play {
    mode: Fill,
    answer: Answer,
    movie: Movie,
}

fn plays() -> impl Iterator<Item = Play> {
    let both = MODES.into_iter().flat_map(|mode| ANSWERS.into_iter().map(move |answer| (mode, answer)));
    both.map(|(mode, answer)| {
        let is_long = mode == Fill::whole() && answer != Answer::InParts;
        Play { mode, answer, movie: Movie { number: 0, length: if is_long { LONG } else { LESS } } }
    })
}

impl Play {
    fn chunks(self) -> u64 {
        self.movie.length.div_ceil(1 << 20)
    }

    /// Plays the video through a layer on `store`, once for each showing, and checks that the heap stays within its
    /// bound.
    #[track_caller]
    fn show(self, store: impl Store, showings: &[Showing]) {
        let inner_calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&inner_calls);
        let inner = service_fn(move |request: Request<Empty<Bytes>>| {
            counted.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, BoxError>(self.answer.to(&request, self.movie, None)))
        });
        // A disk that others write to as well may be slow.
        let layer = VideoCacheLayer::new(store)
            .fill(self.mode)
            .timeouts(Timeouts::default().store(Duration::from_secs(60)));
        let service = layer.clock(ManualClock::starting_at(UNIX_EPOCH)).layer(inner);

        let runtime = runtime();
        for showing in showings {
            let name = format!("{:?} of {:?}, {}", self.mode, self.answer, showing.status);
            inner_calls.store(0, Ordering::SeqCst);
            let grown = heap_of(&runtime, async {
                let request = Request::get("/movie.mp4").body(Empty::new()).unwrap();
                let response = service.clone().oneshot(request).await.unwrap();
                let status = response.headers()["cache-status"].to_str().unwrap();
                assert!(status.starts_with(self.status_of(showing)), "{name}: {status}");
                let watched = self.movie.watch(response.into_body()).await;
                assert!(watched.is_ok() || showing.may_break, "{name}: {watched:?}");
            });
            println!("{name}: {} KiB of heap at most", grown / KIB);
            assert!(grown <= MOST, "{name}: {} KiB of heap", grown / KIB);
            let calls = inner_calls.load(Ordering::SeqCst);
            assert!(self.calls_of(showing).contains(&calls), "{name}: {calls} calls");
        }
    }

    /// The expected status. If the first byte leaves before all is stored, the end is still unknown at that time. A
    /// later client may also come before the end.
    fn status_of(self, showing: &Showing) -> &'static str {
        match (self.mode, showing.status) {
            (mode, status) if mode == Fill::whole() => status,
            (_, HIT) => CACHE,
            _ => NOT_STORED,
        }
    }

    /// The expected number of calls. A fill in parts makes at most one call for each part.
    fn calls_of(self, showing: &Showing) -> RangeInclusive<u64> {
        let (least, most) = showing.inner_calls.clone().into_inner();
        let in_parts = self.mode == Fill::sliced() && self.answer == Answer::InParts;
        least..=if in_parts { most * self.chunks() } else { most }
    }
}

fn runtime() -> Runtime {
    LazyLock::force(&PICTURES);
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The most memory that a run adds to the process.
fn heap_of(runtime: &Runtime, run: impl Future<Output = ()>) -> usize {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    runtime.block_on(run);
    HEAP.peak_usage().saturating_sub(before)
}

/// Held while the heap is counted.
fn turn() -> MutexGuard<'static, ()> {
    static TURNS: Mutex<()> = Mutex::new(());
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}
