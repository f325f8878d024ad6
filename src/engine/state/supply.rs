//! Tracks the runs that bring bytes which the store does not have. Each stored response that somebody reads has one
//! supply.
//!
//! RFC 9111 §3.4 (combining partial content); RFC 9110 §15.3.7.3.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, StatusCode};
use tokio::sync::{Notify, watch};

use super::{
    readers::Readers,
    run::{Barred, End, InParts, Kind, Progress, Run, Runs},
};
use crate::{
    clock::moment,
    engine::config::{Config, lead},
    format::{key::Generation, layout::Layout, manifest::Manifest},
    semantics::partial::Binding,
    settings::Mode,
    sync::lock,
};

/// The supplies that are in use.
pub(crate) struct Supplies {
    /// How many calls of the inner service one supply makes at once.
    most_slices: usize,
    /// How many bytes a paced fill may be ahead of its farthest reader.
    max_lead: u64,
    /// Whether runs bring no more than their readers are about to read.
    follow: bool,
    open: Arc<Mutex<HashMap<Generation, Weak<Supply>>>>,
}

impl Supplies {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            most_slices: config.fill.max_calls.get(),
            max_lead: config.fill.max_lead,
            follow: config.fill.mode == Mode::Auto,
            open: Arc::default(),
        }
    }

    /// The same supplies, with these settings for each that opens from now on.
    pub(crate) fn with(&self, config: &Config) -> Self {
        Self { open: Arc::clone(&self.open), ..Self::new(config) }
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

    /// The runs under way: the key and the length of the response, the first byte of the run, and the byte that lands
    /// next.
    pub(crate) fn under_way(&self) -> Vec<(Vec<u8>, Option<u64>, u64, u64)> {
        let open: Vec<_> = lock(&self.open).values().filter_map(Weak::upgrade).collect();
        let of = |supply: &Arc<Supply>| -> Vec<_> {
            let state = lock(&supply.state);
            let of_run = |run: &Run| {
                let key = supply.manifest.key.as_bytes().to_vec();
                (key, supply.length(), run.bytes.start, run.progress.borrow().next)
            };
            state.under_way.iter().map(of_run).collect()
        };
        open.iter().flat_map(of).collect()
    }

    fn close(&self, generation: Generation) {
        let mut supplies = lock(&self.open);
        if supplies.get(&generation).is_some_and(|supply| supply.strong_count() == 0) {
            supplies.remove(&generation);
        }
    }
}

/// The runs that bring the missing bytes of one stored response, each byte once.
pub(crate) struct Supply {
    supplies: Arc<Supplies>,
    /// The manifest as it was when the supply was opened.
    pub(crate) manifest: Manifest,
    /// Binds further parts to the stored response. `None` if no part can be bound to it.
    pub(crate) binding: Option<Binding>,
    length: OnceLock<u64>,
    /// Whether a fill has brought the whole body.
    filled: AtomicBool,
    /// Whether readers of the running fill can have parts by runs of their own; not at all before it is set.
    pub(crate) in_parts: OnceLock<InParts>,
    /// Whether the running fill brings a 206 that is all of the body.
    pub(crate) came_as_a_part: AtomicBool,
    /// Whether the inner service has given a part to a request for a range alone, and none to one with a validator.
    pub(crate) asks_plainly: AtomicBool,
    /// Whether a chunk that the fill had stored was lost. The chunk cannot be fetched again before the fill has
    /// ended.
    pub(crate) holed: AtomicBool,
    /// The header fields that only the leader of the fill may have.
    withheld: HeaderMap,
    /// How many bytes from the start are in the store, while the length of the body is not known.
    poured: watch::Sender<u64>,
    /// How far the readers have come.
    pub(crate) readers: Readers,
    state: Mutex<Runs>,
    /// Notified when a run has ended, so another one may begin.
    pub(crate) turn: Notify,
}

/// The result of an attempt to begin a run.
pub(crate) enum Begun {
    Barred(Barred),
    /// As many slices are under way as may be.
    Full,
    /// Another run brings the byte.
    UnderWay,
    /// The run, and the bytes that it is to bring.
    Run(Running, Range<u64>),
}

impl Supply {
    fn new(supplies: &Arc<Supplies>, manifest: Manifest, length: Option<u64>, withheld: HeaderMap) -> Self {
        let binding = manifest.binding();
        Self {
            supplies: Arc::clone(supplies),
            manifest,
            binding,
            length: length.map_or_else(OnceLock::new, OnceLock::from),
            filled: AtomicBool::new(false),
            in_parts: OnceLock::new(),
            came_as_a_part: AtomicBool::default(),
            asks_plainly: AtomicBool::default(),
            holed: AtomicBool::default(),
            withheld,
            poured: watch::Sender::default(),
            readers: Readers::default(),
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
        let is_pouring = lock(&self.state).under_way.iter().any(|run| run.kind == Kind::Fill);
        !is_pouring && !self.filled.load(Ordering::Relaxed)
    }

    /// Waits until the first `bytes` of the body are in the store.
    pub(crate) async fn wait_for_bytes(&self, bytes: u64) {
        // The supply owns the sender, so the wait cannot fail.
        let _ = self.poured.subscribe().wait_for(|poured| *poured >= bytes).await;
    }

    /// Whether nobody can tell when the byte at `offset` comes, because the fill goes no faster than its readers and
    /// none of them is near.
    pub(crate) fn is_out_of_reach(&self, offset: u64) -> bool {
        let chunk_size = self.manifest.layout.chunk_size;
        let lead = lead(self.supplies.max_lead, chunk_size);
        !self.is_had_in_parts()
            && self.readers.are_out_of_reach(self.manifest.layout.chunk_around(offset).start, lead)
    }

    /// Whether the running fill need not bring what readers can have by runs of their own.
    pub(crate) fn is_had_in_parts(&self) -> bool {
        self.in_parts.get() == Some(&InParts::Yes)
    }

    /// Whether a run of its own brings the byte at `offset` sooner than the run that is to bring it: that run is far
    /// from it, and the inner service may give parts.
    pub(crate) fn is_better_off_alone(&self, offset: u64) -> bool {
        let exchange = self.manifest.exchange;
        let answered = exchange.received.duration_since(exchange.requested).unwrap_or_default();
        let state = lock(&self.state);
        let may_be_given = matches!(self.in_parts.get(), Some(InParts::Perhaps | InParts::Yes));
        if !may_be_given || self.binding.is_none() || state.barred.is_some() {
            return false;
        }
        state.nearest(offset).is_some_and(|run| run.is_far_from(offset, answered.saturating_add(LEAST_GAIN)))
    }

    /// Whether runs bring no more than their readers are about to read.
    pub(crate) fn follows(&self) -> bool {
        self.supplies.follow
    }

    /// Records that a reader has come to the byte at `offset`, which some run has brought or is about to bring.
    pub(crate) fn note_reader(&self, offset: u64, is_waiting: bool) {
        lock(&self.state).under_way.iter().for_each(|run| run.note_reader(offset, is_waiting));
    }

    /// Opens the run of a fill that brings the whole body.
    pub(crate) fn pour(self: &Arc<Self>) -> Running {
        let mut state = lock(&self.state);
        self.run(&mut state, 0..u64::MAX, Kind::Fill)
    }

    /// Opens the run of a fill that brings these bytes first.
    pub(crate) fn pour_part(self: &Arc<Self>, bytes: Range<u64>) -> Running {
        let mut state = lock(&self.state);
        self.run(&mut state, bytes, Kind::FirstPart)
    }

    /// Opens a run that begins with the byte at `from`, and ends at `until` at the latest, and before bytes that other
    /// runs bring. `beside` says that it may begin within bytes that another run is to bring later.
    pub(crate) fn begin(self: &Arc<Self>, from: u64, until: u64, beside: bool) -> Begun {
        let mut state = lock(&self.state);
        if let Some(barred) = state.barred {
            return Begun::Barred(barred);
        }
        if self.binding.is_none() {
            return Begun::Barred(Barred::NoParts);
        }
        if !beside && state.under_way.iter().any(|run| run.is_bringing(from)) {
            return Begun::UnderWay;
        }
        // Fills do not count: a fill may itself wait for a reader that waits here. Runs that follow their readers go on as
        // long as these read, and a reader has one at a time, as it would without the cache.
        let is_slice = |run: &&Run| run.kind == Kind::Slice;
        if !self.supplies.follow
            && state.under_way.iter().filter(is_slice).count() >= self.supplies.most_slices
        {
            return Begun::Full;
        }
        let limits = state.under_way.iter().filter_map(|run| run.limits_one_that_begins_at(from));
        let until = limits.min().unwrap_or(u64::MAX).min(until).min(self.layout().length);
        if from >= until {
            return Begun::Barred(Barred::NoParts);
        }
        let bytes = from..until;
        Begun::Run(self.run(&mut state, bytes.clone(), Kind::Slice), bytes)
    }

    fn run(self: &Arc<Self>, state: &mut Runs, bytes: Range<u64>, kind: Kind) -> Running {
        state.numbers += 1;
        let number = state.numbers;
        let (next, came) = (bytes.start, (kind != Kind::Slice).then_some(StatusCode::PARTIAL_CONTENT));
        let progress = watch::Sender::new(Progress { next, whole: next, came, end: None });
        let (reached, began) = (watch::Sender::new(next), moment());
        let (shown, heard) = (progress.clone(), reached.clone());
        state.under_way.push(Run { number, bytes, kind, progress: shown, reached: heard, began });
        let follows = self.supplies.follow && (kind != Kind::Fill || self.is_had_in_parts());
        Running { supply: Arc::clone(self), number, progress, reached, start: next, follows }
    }

    /// The progress of the run that is to bring the byte at `offset`.
    pub(crate) fn bringing(&self, offset: u64) -> Option<watch::Receiver<Progress>> {
        let state = lock(&self.state);
        state.nearest(offset).map(|run| run.progress.subscribe())
    }

    /// The progress of the run whose byte at `offset` has landed in a piece of a chunk that is still under way.
    pub(crate) fn in_pieces(&self, offset: u64) -> Option<watch::Receiver<Progress>> {
        let is_in_pieces = |run: &&Run| {
            let progress = run.progress.borrow();
            (progress.whole..progress.next).contains(&offset)
        };
        let state = lock(&self.state);
        state.under_way.iter().find(is_in_pieces).map(|run| run.progress.subscribe())
    }

    fn leave(&self, number: u64) {
        lock(&self.state).under_way.retain(|run| run.number != number);
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

/// The duty to end one run. If it is dropped before that, the run has failed.
pub(crate) struct Running {
    pub(crate) supply: Arc<Supply>,
    pub(super) number: u64,
    pub(crate) progress: watch::Sender<Progress>,
    reached: watch::Sender<u64>,
    start: u64,
    /// Whether the run brings no more than its readers are about to read.
    pub(crate) follows: bool,
}

impl Running {
    pub(crate) fn supply(&self) -> &Arc<Supply> {
        &self.supply
    }

    /// Records that all bytes before `next` are in the store, those before `whole` in whole chunks.
    pub(crate) fn landed(&self, next: u64, whole: u64) {
        self.supply.record_poured(next);
        self.progress.send_modify(|progress| {
            // After a failure, a run begins again with the piece that was under way.
            (progress.next, progress.whole) = (progress.next.max(next), progress.whole.max(whole));
        });
    }

    /// Waits until some reader is near enough to `offset`. The run may be ahead of its farthest reader by a quarter of the
    /// bytes that this one has read, and by `most` bytes.
    pub(crate) async fn reader_follows(&self, offset: u64, most: u64) {
        let mut reached = self.reached.subscribe();
        let is_near = |reached: &u64| {
            let lead = (reached.saturating_sub(self.start) / 4).max(LEAST_LEAD).min(most);
            offset <= reached.saturating_add(lead)
        };
        // The readers of a slice wait for nothing that it does not bring to them.
        if self.supply.is_had_in_parts() && !is_near(&reached.borrow_and_update()) {
            self.supply.readers.slow_the_fill_down();
        }
        let _ = reached.wait_for(is_near).await;
    }

    /// Waits until nobody waits for any byte of this run.
    pub(crate) async fn deserted(&self) {
        self.progress.closed().await;
    }

    /// Records that the bytes which land next come from a call of the inner service.
    pub(crate) fn mark_called(&self, status: StatusCode) {
        self.progress.send_modify(|progress| progress.came = Some(status));
    }

    /// Returns a function that tells whether somebody waits for a byte of this run.
    pub(crate) fn waited_for(&self) -> impl Fn() -> bool + Send + Sync + 'static + use<> {
        let progress = self.progress.clone();
        move || !progress.is_closed()
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

/// How many bytes a run may be ahead of a reader that has just begun.
const LEAST_LEAD: u64 = 1 << 20;

/// A run of its own costs a call of the inner service, and must bring its bytes sooner by at least so much.
const LEAST_GAIN: Duration = Duration::from_millis(10);
