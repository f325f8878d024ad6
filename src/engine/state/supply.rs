//! Tracks the runs that bring chunks which the store does not have. Each stored response that somebody reads has one
//! supply.
//!
//! RFC 9111 §3.4 (combining partial content); RFC 9110 §15.3.7.3.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, OnceLock, Weak,
    },
};

use http::{HeaderMap, StatusCode};
use tokio::sync::{watch, Notify};

use super::run::{End, Progress, Run};
use crate::{
    engine::config::{lead, Config},
    format::{
        key::Generation,
        manifest::{Layout, Manifest},
    },
    semantics::partial::Binding,
    sync::lock,
};

/// The supplies that are in use.
pub(crate) struct Supplies {
    /// How many calls of the inner service one supply makes at once.
    most_slices: usize,
    /// How many bytes a paced fill may be ahead of its farthest reader.
    max_lead: u64,
    open: Mutex<HashMap<Generation, Weak<Supply>>>,
}

impl Supplies {
    pub(crate) fn new(config: &Config) -> Self {
        Self { most_slices: config.most_slices.max(1), max_lead: config.max_lead, open: Mutex::default() }
    }

    /// Returns the supply of the response with this manifest, and opens one if there is none. `length` is the length
    /// of the body, if it is known.
    pub(crate) fn open(
        self: &Arc<Self>,
        manifest: &Manifest,
        length: Option<u64>,
        withheld: HeaderMap,
    ) -> Arc<Supply> {
        let mut supplies = lock(&self.open);
        let generation = manifest.layout.generation;
        if let Some(supply) = supplies.get(&generation).and_then(Weak::upgrade) {
            return supply;
        }
        let supply = Arc::new(Supply::new(self, manifest.clone(), length, withheld));
        supplies.insert(generation, Arc::downgrade(&supply));
        supply
    }

    fn close(&self, generation: Generation) {
        let mut supplies = lock(&self.open);
        if supplies.get(&generation).is_some_and(|supply| supply.strong_count() == 0) {
            supplies.remove(&generation);
        }
    }
}

/// The runs that bring the missing chunks of one stored response, each chunk once.
pub(crate) struct Supply {
    supplies: Arc<Supplies>,
    /// The manifest as it was when the supply was opened.
    pub(crate) manifest: Manifest,
    /// Binds further parts to the stored response. `None` if no part can be bound to it.
    pub(crate) binding: Option<Binding>,
    length: OnceLock<u64>,
    /// Whether a fill has brought the whole body.
    filled: AtomicBool,
    /// Whether a chunk that the fill had stored was lost. The chunk cannot be fetched again before the fill has
    /// ended.
    pub(crate) holed: AtomicBool,
    /// The header fields that only the leader of the fill may have.
    withheld: HeaderMap,
    /// How many bytes from the start are in the store, while the length of the body is not known.
    poured: watch::Sender<u64>,
    /// The farthest chunk that readers have reached by reading on.
    farthest: watch::Sender<u64>,
    /// Whether the fill goes no faster than its readers.
    paced: watch::Sender<bool>,
    state: Mutex<State>,
    /// Notified when a run has ended, so another one may begin.
    pub(crate) turn: Notify,
}

#[derive(Default)]
struct State {
    runs: Vec<Run>,
    numbers: u64,
    /// The reason why further runs are useless, if there is one.
    barred: Option<Barred>,
}

/// Why no run will bring anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    Changed,
    NoParts,
}

/// The result of an attempt to begin a run.
pub(crate) enum Begun {
    Barred(Barred),
    /// As many slices are under way as may be.
    Full,
    /// Another run brings the chunk.
    UnderWay,
    Run(Running, Range<u64>),
}

impl Supply {
    fn new(supplies: &Arc<Supplies>, manifest: Manifest, length: Option<u64>, withheld: HeaderMap) -> Self {
        let binding = binding(&manifest);
        let known = OnceLock::new();
        if let Some(length) = length {
            // The cell is new, so this cannot fail.
            let _ = known.set(length);
        }
        Self {
            supplies: Arc::clone(supplies),
            manifest,
            binding,
            length: known,
            filled: AtomicBool::new(false),
            holed: AtomicBool::new(false),
            withheld,
            poured: watch::Sender::new(0),
            farthest: watch::Sender::new(0),
            paced: watch::Sender::new(false),
            state: Mutex::default(),
            turn: Notify::new(),
        }
    }

    /// The length of the whole body in bytes, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length.get().copied()
    }

    /// Whether a reader of the running fill may come to a chunk that was lost.
    pub(crate) fn has_hole(&self) -> bool {
        self.holed.load(Ordering::Relaxed)
    }

    /// The header fields that only the answer to the leader of the fill has.
    pub(crate) fn withheld(&self) -> &HeaderMap {
        &self.withheld
    }

    /// The layout of the body as far as it is known: of the whole body, or of the bytes that are in the store.
    pub(crate) fn layout(&self) -> Layout {
        let length = self.length().unwrap_or_else(|| *self.poured.borrow());
        Layout { length, ..self.manifest.layout }
    }

    /// Records that the first `bytes` of the body are in the store, if the length of the body is not known.
    fn record_poured(&self, bytes: u64) {
        if self.length().is_none() {
            self.poured.send_replace(bytes);
        }
    }

    /// Records that a fill has brought the whole body, of this `length`.
    pub(crate) fn complete(&self, length: u64) {
        self.filled.store(true, Ordering::Relaxed);
        // If the inner service declared the length, it is set already, to the same value.
        let _ = self.length.set(length);
    }

    /// Whether the fill ended before it had brought the whole body.
    pub(crate) fn has_stopped(&self) -> bool {
        let is_pouring = lock(&self.state).runs.iter().any(|run| run.chunks.end == u64::MAX);
        !is_pouring && !self.filled.load(Ordering::Relaxed)
    }

    /// Waits until the first `bytes` of the body are in the store.
    pub(crate) async fn wait_for_bytes(&self, bytes: u64) {
        // The supply owns the sender, so the wait cannot fail.
        let _ = self.poured.subscribe().wait_for(|poured| *poured >= bytes).await;
    }

    /// Notes that a reader has read the chunk before `chunk` and goes on with it. The farthest chunk moves by one
    /// chunk at a time: a reader that began far ahead must not speed the fill up by a leap.
    pub(crate) fn note_reader_moved(&self, chunk: u64) {
        self.farthest.send_if_modified(|farthest| {
            let is_farther = chunk > *farthest;
            *farthest += u64::from(is_farther);
            is_farther
        });
    }

    /// Whether nobody can tell when `chunk` comes, because the fill goes no faster than its readers and none of them
    /// is near.
    pub(crate) fn is_out_of_reach(&self, chunk: u64) -> bool {
        let reach = self
            .farthest
            .borrow()
            .saturating_add(lead(self.supplies.max_lead, self.manifest.layout.chunk_size));
        *self.paced.borrow() && chunk > reach
    }

    /// Records that the fill goes no faster than its readers from now on.
    pub(crate) fn slow_down(&self) {
        self.paced.send_if_modified(|paced| !std::mem::replace(paced, true));
    }

    /// Waits until the fill goes no faster than its readers. From then on, a request that does not read waits in
    /// vain.
    pub(crate) async fn paced(&self) {
        let _ = self.paced.subscribe().wait_for(|paced| *paced).await;
    }

    /// Waits until some reader is no more than `ahead` chunks before `chunk`.
    pub(crate) async fn reader_near(&self, chunk: u64, ahead: u64) {
        let mut farthest = self.farthest.subscribe();
        let _ = farthest.wait_for(|farthest| chunk <= farthest.saturating_add(ahead)).await;
    }

    /// Opens the run of a fill.
    pub(crate) fn pour(self: &Arc<Self>, chunks: Range<u64>) -> Running {
        let mut state = lock(&self.state);
        self.run(&mut state, chunks, false)
    }

    /// Opens a run that begins at `index`, and ends at `until` at the latest, and before chunks that other runs
    /// bring.
    pub(crate) fn begin(self: &Arc<Self>, index: u64, until: u64) -> Begun {
        let mut state = lock(&self.state);
        if let Some(barred) = state.barred {
            return Begun::Barred(barred);
        }
        if self.binding.is_none() {
            return Begun::Barred(Barred::NoParts);
        }
        if state.runs.iter().any(|run| run.is_bringing(index)) {
            return Begun::UnderWay;
        }
        // Fills do not count. A fill may itself wait for a reader that waits here.
        if state.runs.iter().filter(|run| run.is_slice).count() >= self.supplies.most_slices {
            return Begun::Full;
        }
        let limits = state.runs.iter().map(|run| {
            let next = run.progress.borrow().next;
            // A chunk that has landed is in the store, unless it was lost since. A later run finds that out.
            if run.chunks.start > index {
                run.chunks.start
            } else if next > index {
                next
            } else {
                u64::MAX
            }
        });
        let until = limits.min().unwrap_or(u64::MAX).min(until).min(self.layout().chunks());
        if index >= until {
            return Begun::Barred(Barred::NoParts);
        }
        let chunks = index..until;
        Begun::Run(self.run(&mut state, chunks.clone(), true), chunks)
    }

    fn run(self: &Arc<Self>, state: &mut State, chunks: Range<u64>, is_slice: bool) -> Running {
        state.numbers += 1;
        let number = state.numbers;
        let progress = watch::Sender::new(Progress { next: chunks.start, called: !is_slice, end: None });
        state.runs.push(Run { number, chunks, is_slice, progress: progress.clone() });
        Running { supply: Arc::clone(self), number, progress }
    }

    /// The progress of the run that is to bring the chunk.
    pub(crate) fn bringing(&self, index: u64) -> Option<watch::Receiver<Progress>> {
        let state = lock(&self.state);
        state.runs.iter().find(|run| run.is_bringing(index)).map(|run| run.progress.subscribe())
    }

    fn leave(&self, number: u64) {
        lock(&self.state).runs.retain(|run| run.number != number);
        self.turn.notify_waiters();
    }

    pub(crate) fn bar(&self, barred: Barred) {
        lock(&self.state).barred.get_or_insert(barred);
    }
}

impl Drop for Supply {
    fn drop(&mut self) {
        self.supplies.close(self.manifest.layout.generation);
    }
}

/// Binds further parts to a stored response, by the strong validator that the response had when its bytes came. A
/// response without one has a digest instead. If its date became strong with time, that proves nothing about its
/// bytes.
pub(crate) fn binding(manifest: &Manifest) -> Option<Binding> {
    // RFC 9110 §14.2: only a 200 has parts.
    let is_bound = manifest.status == StatusCode::OK && !manifest.own_etag && manifest.digest.is_none();
    is_bound.then(|| Binding::of(&manifest.headers)).flatten()
}

/// The duty to end one run. If it is dropped before that, the run has failed.
pub(crate) struct Running {
    pub(crate) supply: Arc<Supply>,
    pub(super) number: u64,
    pub(crate) progress: watch::Sender<Progress>,
}

impl Running {
    pub(crate) fn supply(&self) -> &Arc<Supply> {
        &self.supply
    }

    /// Records that all chunks before `next` are in the store, up to the byte at `offset`.
    pub(crate) fn landed(&self, next: u64, offset: u64) {
        self.supply.record_poured(offset);
        self.progress.send_modify(|progress| progress.next = next);
    }

    /// Records that the chunks which land next come from a call of the inner service.
    pub(crate) fn mark_called(&self) {
        self.progress.send_modify(|progress| progress.called = true);
    }

    /// Returns a function that tells whether somebody waits for a chunk of this run.
    pub(crate) fn waited_for(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let progress = self.progress.clone();
        move || !progress.is_closed()
    }

    /// Whether nobody waits for any chunk of this run.
    pub(crate) fn is_deserted(&self) -> bool {
        self.progress.is_closed()
    }

    pub(crate) fn end(self, end: End) {
        self.finish(end);
    }

    fn finish(&self, end: End) {
        self.supply.leave(self.number);
        self.progress.send_if_modified(|progress| {
            let is_first = progress.end.is_none();
            if is_first {
                progress.end = Some(end);
            }
            is_first
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.finish(End::Failed);
    }
}
