//! [`Outgoing`]: a body that is sent to a client in pieces, with a count of the bytes that are in memory meanwhile.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::crowd::Crowd;

/// An answer that a client waits for, or has not yet taken completely.
#[derive(Debug)]
pub(crate) struct Answer {
    taken: Mutex<Instant>,
    held: AtomicU64,
}

impl Answer {
    /// When the client last took something; `None` if nothing waits for it.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        (self.holds() > 0).then(|| *self.taken())
    }

    /// The size of the frames that wait, counted whole: a piece keeps all of its frame in memory.
    pub(crate) fn holds(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn take(&self) {
        *self.taken() = Instant::now();
    }

    fn taken(&self) -> MutexGuard<'_, Instant> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self { taken: Mutex::new(Instant::now()), held: AtomicU64::new(0) }
    }
}

/// The frames that wait for clients. A frame that waits for several clients is in memory once.
#[derive(Debug, Default)]
pub(crate) struct Frames(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// The number of clients that each frame waits for, by its address and length.
    clients: HashMap<(usize, usize), usize>,
    total: u64,
}

impl Frames {
    pub(crate) fn total(&self) -> u64 {
        self.waiting().total
    }

    pub(crate) fn add(&self, bytes: &Bytes) {
        let mut waiting = self.waiting();
        let clients = waiting.clients.entry(place(bytes)).or_default();
        *clients += 1;
        if *clients == 1 {
            waiting.total += length(bytes);
        }
    }

    pub(crate) fn remove(&self, bytes: &Bytes) {
        let mut waiting = self.waiting();
        let Some(clients) = waiting.clients.get_mut(&place(bytes)) else { return };
        *clients -= 1;
        if *clients == 0 {
            waiting.clients.remove(&place(bytes));
            waiting.total -= length(bytes);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A frame for one client, held until hyper has written all pieces of it.
struct Held {
    bytes: Bytes,
    answer: Arc<Answer>,
    crowd: Arc<Crowd>,
}

impl Held {
    fn of(bytes: Bytes, answer: &Arc<Answer>, crowd: &Arc<Crowd>) -> Bytes {
        answer.held.fetch_add(length(&bytes), Ordering::Relaxed);
        crowd.frames().add(&bytes);
        crowd.relieve();
        Bytes::from_owner(Self { bytes, answer: Arc::clone(answer), crowd: Arc::clone(crowd) })
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.answer.held.fetch_sub(length(&self.bytes), Ordering::Relaxed);
        self.crowd.frames().remove(&self.bytes);
    }
}

pin_project! {
    /// A body for a client. Its frames go out in pieces, each when the previous one is nearly gone.
    pub(crate) struct Outgoing<B> {
        #[pin]
        body: B,
        // The part of the last frame that has not left yet.
        rest: Bytes,
        answer: Arc<Answer>,
        crowd: Arc<Crowd>,
    }
}

impl<B> Outgoing<B> {
    pub(crate) fn new(body: B, answer: Arc<Answer>, crowd: Arc<Crowd>) -> Self {
        Self { body, rest: Bytes::new(), answer, crowd }
    }
}

impl<B: Body<Data = Bytes>> Body for Outgoing<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        this.answer.take();
        if this.rest.is_empty() {
            match ready!(this.body.poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *this.rest = Held::of(data, this.answer, this.crowd),
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), length(&self.rest));
        let upper = hint.upper().map(|upper| upper.saturating_add(rest));
        let lower = hint.lower().saturating_add(rest);
        hint = SizeHint::new();
        hint.set_lower(lower);
        if let Some(upper) = upper {
            hint.set_upper(upper);
        }
        hint
    }
}

fn place(bytes: &Bytes) -> (usize, usize) {
    (bytes.as_ptr().addr(), bytes.len())
}

fn length(bytes: &Bytes) -> u64 {
    // No system has more memory than a u64 counts.
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The bytes that hyper gets at once: enough for a system call, and little to hold for a client that does not read.
const PIECE: usize = 64 << 10;
