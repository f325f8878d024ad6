//! The rig: a scripted inner service under the layer, a store that fails on demand, and a clock that stands still.

mod asking;
mod gate;
mod inner;
mod leasing;
pub(crate) mod parted;
mod playing;
mod script;
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use tower::Layer;
use tower_video_cache::{
    ChunkSize, FaultStore, Fill, ManualClock, MokaStore, Operation, Policy, VideoCache, VideoCacheLayer,
};

pub(crate) use self::{
    asking::{Answer, Ask, Reading},
    gate::{Gate, poll_until_done, settle},
    inner::{Inner, Refused},
    leasing::{Call, Nodes, Trouble},
    script::{Script, Step},
};

/// The path of the video that most tests ask for.
pub(crate) const PATH: &str = "/a.mp4";

/// Small, so that a short video has many chunks.
pub(crate) const CHUNK: u32 = 1000;

/// The layer around a scripted inner service.
pub(crate) struct Rig {
    pub(crate) inner: Inner,
    pub(crate) store: Arc<FaultStore<MokaStore>>,
    pub(crate) clock: ManualClock,
    pub(crate) layer: VideoCacheLayer,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_capacity(64 << 20)
    }

    pub(crate) fn with_capacity(capacity: u64) -> Self {
        let store = Arc::new(FaultStore::new(MokaStore::new(capacity).unwrap()));
        let clock = ManualClock::starting_at(noon());
        let layer = VideoCacheLayer::new(Arc::clone(&store))
            .chunk_size(ChunkSize::new(CHUNK).unwrap())
            // Most tests are about the cache's rules, and calls of whole responses show them best.
            .fill(Fill::whole())
            // No test depends on real time.
            .patience(Duration::MAX)
            .clock(clock.clone());
        Self { inner: Inner::default(), store, clock, layer }
    }

    /// The same store, clock and inner service under a layer of another process.
    pub(crate) fn after_a_restart(&self, policy: Policy) -> Self {
        let layer = VideoCacheLayer::new(Arc::clone(&self.store))
            .chunk_size(ChunkSize::new(CHUNK).unwrap())
            .fill(Fill::whole())
            .patience(Duration::MAX)
            .clock(self.clock.clone())
            .policy(policy);
        Self { inner: self.inner.clone(), store: Arc::clone(&self.store), clock: self.clock.clone(), layer }
    }

    /// Changes the layer.
    pub(crate) fn layer(mut self, change: impl FnOnce(VideoCacheLayer) -> VideoCacheLayer) -> Self {
        self.layer = change(self.layer);
        self
    }

    pub(crate) fn fill(self, fill: Fill) -> Self {
        self.layer(|layer| layer.fill(fill))
    }

    /// Has the inner service answer `path` with a video of `length` bytes.
    pub(crate) fn movie(self, path: &str, length: usize) -> Self {
        self.script(path, Script::movie(path, length))
    }

    pub(crate) fn script(self, path: &str, script: Script) -> Self {
        self.inner.answer(path, script);
        self
    }

    pub(crate) fn service(&self) -> VideoCache<Inner> {
        self.layer.layer(self.inner.clone())
    }

    pub(crate) fn get(&self, path: &str) -> Ask {
        self.ask(Method::GET, path)
    }

    pub(crate) fn head(&self, path: &str) -> Ask {
        self.ask(Method::HEAD, path)
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> Ask {
        Self::ask_of(self.service(), method, path)
    }

    /// Asks a service that is not of this rig's layer.
    pub(crate) fn ask_of(service: VideoCache<Inner>, method: Method, path: &str) -> Ask {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        Ask::new(service, request)
    }

    /// The number of chunks and records that were put so far.
    pub(crate) fn puts(&self) -> u64 {
        self.store.calls(Operation::Put)
    }
}

/// 12:00:00 on the day of all rigs.
pub(crate) fn noon() -> SystemTime {
    httpdate::parse_http_date("Sun, 22 Nov 2026 12:00:00 GMT").unwrap()
}

/// The true bytes of the video at `path`. A shorter one is the beginning of a longer one.
pub(crate) fn movie(path: &str, length: usize) -> Bytes {
    let seed = path.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let mut state = seed;
    let mut bytes = vec![0; length];
    // A word at a time: the tests are not optimised, and make gigabytes of these.
    for word in bytes.chunks_mut(8) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.copy_from_slice(&(state ^ (state >> 31)).to_be_bytes()[..word.len()]);
    }
    bytes.into()
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// `offset` seconds after noon, as a date field.
pub(crate) fn date(offset: i64) -> String {
    let noon = i64::try_from(noon().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    httpdate::fmt_http_date(UNIX_EPOCH + seconds(u64::try_from(noon + offset).unwrap()))
}
