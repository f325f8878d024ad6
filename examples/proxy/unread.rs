//! [`Outgoing`]: a body that is sent to a client in pieces, with a count of the bytes that are in memory meanwhile.

use std::{
    collections::{HashMap, hash_map::Entry},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::crowd::Crowd;

/// An answer that a client waits for, or has not yet taken completely.
#[derive(Debug)]
pub(crate) struct Answer {
    /// When the client last took something. `None` for an answer that has the connection to itself: the socket says it.
    taken: Option<Mutex<Instant>>,
    held: AtomicU64,
}

impl Answer {
    pub(crate) fn new(version: Version) -> Self {
        // Answers share a connection from HTTP/2 on.
        let taken = (version >= Version::HTTP_2).then(|| Mutex::new(Instant::now()));
        Self { taken, held: AtomicU64::new(0) }
    }

    /// When the client last took something of this answer among others; `None` if nothing waits for the client.
    pub(crate) fn waits_since(&self) -> Option<Instant> {
        let taken = self.taken.as_ref().filter(|_| self.holds() > 0)?;
        Some(*locked(taken))
    }

    /// The size of the frames that wait, counted whole: a piece keeps all of its frame in memory.
    pub(crate) fn holds(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    fn take(&self) {
        if let Some(taken) = &self.taken {
            *locked(taken) = Instant::now();
        }
    }

    /// The most bytes that hyper gets at once. The socket takes of them what it has room for. The windows of HTTP/2 are
    /// small, so that pieces tell there how much the client has taken.
    fn piece(&self) -> usize {
        if self.taken.is_some() { PIECE } else { usize::MAX }
    }
}

/// The frames that wait for clients. A frame that waits for several clients is in memory once.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The number of clients that each frame waits for, by its address and length.
    clients: Mutex<HashMap<(usize, usize), usize>>,
    total: AtomicU64,
}

impl Frames {
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: &Bytes) {
        let mut all = locked(&self.clients);
        let clients = all.entry(place(bytes)).or_default();
        *clients += 1;
        if *clients == 1 {
            self.total.fetch_add(length(bytes), Ordering::Relaxed);
        }
    }

    pub(crate) fn remove(&self, bytes: &Bytes) {
        let mut all = locked(&self.clients);
        let Entry::Occupied(mut clients) = all.entry(place(bytes)) else { return };
        *clients.get_mut() -= 1;
        if *clients.get() == 0 {
            clients.remove();
            self.total.fetch_sub(length(bytes), Ordering::Relaxed);
        }
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
        let piece = this.rest.split_to(this.rest.len().min(this.answer.piece()));
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(bytes: &Bytes) -> (usize, usize) {
    (bytes.as_ptr().addr(), bytes.len())
}

fn length(bytes: &Bytes) -> u64 {
    // No system has more memory than a u64 counts.
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Enough bytes for a system call, and few to hold for a client that does not read.
const PIECE: usize = 64 << 10;
