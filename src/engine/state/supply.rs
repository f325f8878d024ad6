//! Where the chunks come from that the store does not have: one supply for each stored response that somebody reads.
//!
//! RFC 9111 §3.4 (combining partial content); RFC 9110 §15.3.7.3.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
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
};

/// The supplies that are in use.
pub(crate) struct Supplies {
    /// How many calls of the inner service one supply makes at once.
    most_slices: usize,
    /// How many bytes a paced fill may be ahead of the reader that is farthest.
    max_lead: u64,
    open: Mutex<HashMap<Generation, Weak<Supply>>>,
}

impl Supplies {
    pub(crate) fn new(config: &Config) -> Self {
        Self { most_slices: config.most_slices.max(1), max_lead: config.max_lead, open: Mutex::default() }
    }

    /// The supply of a response with this manifest; `length` is that of its body, where it is known yet.
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

/// What brings the missing chunks of one stored response, each of them once.
pub(crate) struct Supply {
    supplies: Arc<Supplies>,
    /// As it was when the supply was opened.
    pub(crate) manifest: Manifest,
    /// What every further part must be of; `None` where none can be had.
    pub(crate) binding: Option<Binding>,
    length: OnceLock<u64>,
    /// A fill has brought all of it.
    filled: AtomicBool,
    /// A chunk that a fill brought was lost, and cannot be had before the fill has ended.
    pub(crate) holed: AtomicBool,
    /// What came for the viewer alone who led the fill.
    withheld: HeaderMap,
    /// Where the bytes end that were poured, of a body whose length is not known yet.
    poured: watch::Sender<u64>,
    /// The farthest chunk up to which viewers have read on.
    farthest: watch::Sender<u64>,
    /// It is poured no faster than it is read.
    paced: watch::Sender<bool>,
    state: Mutex<State>,
    /// A run has ended, so another one may begin.
    pub(crate) turn: Notify,
}

#[derive(Default)]
struct State {
    runs: Vec<Run>,
    numbers: u64,
    /// What makes all further runs useless.
    barred: Option<Barred>,
}

/// Why no run will bring anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    Changed,
    NoParts,
}

/// What became of the wish for a run.
pub(crate) enum Begun {
    Barred(Barred),
    /// As many are under way as may be.
    Full,
    /// Another one brings it.
    UnderWay,
    Run(Running, Range<u64>),
}

impl Supply {
    fn new(supplies: &Arc<Supplies>, manifest: Manifest, length: Option<u64>, withheld: HeaderMap) -> Self {
        let binding = binding(&manifest);
        let known = OnceLock::new();
        if let Some(length) = length {
            // The first to be set.
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

    /// Bytes of the whole body, where that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length.get().copied()
    }

    /// Whether whoever reads while it comes may come to a hole.
    pub(crate) fn has_hole(&self) -> bool {
        self.holed.load(Ordering::Relaxed)
    }

    /// What the answer to the viewer who led the fill has besides.
    pub(crate) fn withheld(&self) -> &HeaderMap {
        &self.withheld
    }

    /// The layout of what is certain by now.
    pub(crate) fn layout(&self) -> Layout {
        let length = self.length().unwrap_or_else(|| *self.poured.borrow());
        Layout { length, ..self.manifest.layout }
    }

    /// Of a body whose length is not known, so many bytes from the start are in the store.
    fn record_poured(&self, bytes: u64) {
        if self.length().is_none() {
            self.poured.send_replace(bytes);
        }
    }

    /// The body has ended: so long it is.
    pub(crate) fn complete(&self, length: u64) {
        self.filled.store(true, Ordering::Relaxed);
        // Known before where the inner service said it, and then the same.
        let _ = self.length.set(length);
    }

    /// Whether the fill ended before it had brought all.
    pub(crate) fn has_stopped(&self) -> bool {
        let is_pouring = lock(&self.state).runs.iter().any(|run| run.chunks.end == u64::MAX);
        !is_pouring && !self.filled.load(Ordering::Relaxed)
    }

    /// Until so many bytes from the start are in the store.
    pub(crate) async fn wait_for_bytes(&self, bytes: u64) {
        // The sender is here, so there is no end of it.
        let _ = self.poured.subscribe().wait_for(|poured| *poured >= bytes).await;
    }

    /// A viewer has read the chunk before `chunk`, and goes on with it. A step at a time: who began far ahead must not pull
    /// the pace along by a leap.
    pub(crate) fn note_reader_moved(&self, chunk: u64) {
        self.farthest.send_if_modified(|farthest| {
            let is_farther = chunk > *farthest;
            *farthest += u64::from(is_farther);
            is_farther
        });
    }

    /// Whether nobody knows when `chunk` comes: it is poured no faster than it is read, and nobody has read up to it.
    pub(crate) fn is_out_of_reach(&self, chunk: u64) -> bool {
        let reach = self
            .farthest
            .borrow()
            .saturating_add(lead(self.supplies.max_lead, self.manifest.layout.chunk_size));
        *self.paced.borrow() && chunk > reach
    }

    /// From now on it is poured no faster than it is read.
    pub(crate) fn slow_down(&self) {
        self.paced.send_if_modified(|paced| !std::mem::replace(paced, true));
    }

    /// Until it is poured no faster than it is read: who waits without reading waits in vain.
    pub(crate) async fn paced(&self) {
        let _ = self.paced.subscribe().wait_for(|paced| *paced).await;
    }

    /// Until some viewer is no more than `ahead` chunks before `chunk`.
    pub(crate) async fn reader_near(&self, chunk: u64, ahead: u64) {
        let mut farthest = self.farthest.subscribe();
        let _ = farthest.wait_for(|farthest| chunk <= farthest.saturating_add(ahead)).await;
    }

    /// Opens the run that a fill is.
    pub(crate) fn pour(self: &Arc<Self>, chunks: Range<u64>) -> Running {
        let mut state = lock(&self.state);
        self.run(&mut state, chunks, false)
    }

    /// Opens a run from `index` on, no further than `until`, nor into what others bring.
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
        // A fill is none of them, and may itself wait for a viewer who waits here.
        if state.runs.iter().filter(|run| run.is_slice).count() >= self.supplies.most_slices {
            return Begun::Full;
        }
        let limits = state.runs.iter().map(|run| {
            let next = run.progress.borrow().next;
            // What has landed is there, unless it was lost since; that is for a later run to find.
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

    /// The run that is to bring the chunk.
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

/// What binds further parts to a stored response: the strong validator that it had when its bytes came. Where it had
/// none then, it has a digest, and a date that became strong with time proves nothing of them.
pub(crate) fn binding(manifest: &Manifest) -> Option<Binding> {
    // RFC 9110 §14.2: there are parts of a 200 alone.
    let is_bound = manifest.status == StatusCode::OK && !manifest.own_etag && manifest.digest.is_none();
    is_bound.then(|| Binding::of(&manifest.headers)).flatten()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The duty to end one run. Dropped before that, it has failed.
pub(crate) struct Running {
    pub(crate) supply: Arc<Supply>,
    pub(super) number: u64,
    pub(crate) progress: watch::Sender<Progress>,
}

impl Running {
    pub(crate) fn supply(&self) -> &Arc<Supply> {
        &self.supply
    }

    /// All chunks before `next` are in the store, up to the byte at `offset`.
    pub(crate) fn landed(&self, next: u64, offset: u64) {
        self.supply.record_poured(offset);
        self.progress.send_modify(|progress| progress.next = next);
    }

    /// The inner service has given what lands next.
    pub(crate) fn mark_called(&self) {
        self.progress.send_modify(|progress| progress.called = true);
    }

    /// Whether somebody waits for a chunk of this run, whenever that is asked.
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
