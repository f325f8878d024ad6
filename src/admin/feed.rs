//! [`Feed`]: events as they happen, for one reader, who may be slow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use super::json;
use crate::{
    handle::{CacheHandle, Watching},
    observer::{Event, Observer},
};

/// The readers of the feed.
#[derive(Debug, Default)]
pub(super) struct Feeds(AtomicUsize);

impl Feeds {
    /// A feed for one more reader, unless there are too many.
    pub(super) fn open(self: &Arc<Self>, cache: &CacheHandle) -> Option<Feed> {
        let seat = Seat::take(self)?;
        let (sender, lines) = mpsc::channel(MOST_WAITING);
        let missed = Arc::new(AtomicU64::new(0));
        let watching = cache.watch(Writer { sender, missed: Arc::clone(&missed) });
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Feed { lines, missed, beat, _watching: watching, _seat: seat })
    }
}

/// A place among the readers.
struct Seat(Arc<Feeds>);

impl Seat {
    fn take(feeds: &Arc<Feeds>) -> Option<Self> {
        let seat = Self(Arc::clone(feeds));
        (feeds.0.fetch_add(1, Ordering::Relaxed) < MOST_READERS).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Events as lines, from the moment on when it was opened.
pub(super) struct Feed {
    lines: mpsc::Receiver<Bytes>,
    /// How many events found no room since the reader was told.
    missed: Arc<AtomicU64>,
    /// Without it, a server would not notice that a reader has gone.
    beat: Interval,
    _watching: Watching,
    _seat: Seat,
}

impl Feed {
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        // The events that were missed are newer than the lines that still wait.
        if self.lines.is_empty() {
            let missed = self.missed.swap(0, Ordering::Relaxed);
            if missed > 0 {
                return Poll::Ready(Bytes::from(format!("event: missed\ndata: {missed}\n\n")));
            }
        }
        // The watching ends with this feed, and with it the sender.
        if let Poll::Ready(Some(line)) = self.lines.poll_recv(cx) {
            return Poll::Ready(line);
        }
        ready!(self.beat.poll_tick(cx));
        Poll::Ready(Bytes::from_static(b": still here\n\n"))
    }
}

struct Writer {
    sender: mpsc::Sender<Bytes>,
    missed: Arc<AtomicU64>,
}

impl Observer for Writer {
    fn observe(&self, event: &Event<'_>) {
        if self.sender.capacity() == 0 && json::is_fed(event) {
            self.missed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Some(json) = json::event(event) else { return };
        if self.sender.try_send(Bytes::from(format!("data: {json}\n\n"))).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

const MOST_READERS: usize = 32;

/// The most events that wait for one reader.
const MOST_WAITING: usize = 1024;

const BEAT: Duration = Duration::from_secs(15);
