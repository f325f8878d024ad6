//! The progress of a run of bytes from the inner service into the store, as the waiting requests see it.

use std::{ops::Range, time::Duration};

use http::StatusCode;
use tokio::{sync::watch, time::Instant};

use super::records::Stretch;
use crate::{clock::moment, format::layout::PIECE_SIZE};

/// How far a run has come.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The offset of the byte that lands next. All bytes of the run before it are in the store.
    pub(crate) next: u64,
    /// The offset after the last byte that is stored in a whole chunk. The bytes from there to `next` are in pieces.
    pub(crate) whole: u64,
    /// The status of the answer that the bytes come from. `None` if the inner service was not asked: the bytes were in the
    /// store already.
    pub(crate) came: Option<StatusCode>,
    /// How the run ended, if it did.
    pub(crate) end: Option<End>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The representation has changed.
    Changed,
    /// Every byte of the run has landed, or was in the store before.
    Done,
    /// The inner service failed, or its body was not as declared.
    Failed,
    /// The inner service does not give parts.
    NoParts,
    /// No request waited for the rest, or the rest takes another way.
    Stopped,
    /// The store did not take these bytes. The waiting requests get them from here.
    Unstored(Stretch),
}

/// One run, as its supply knows it.
pub(super) struct Run {
    pub(super) number: u64,
    /// The bytes that the run is to bring. The end is `u64::MAX` if only the end of the body will tell.
    pub(super) bytes: Range<u64>,
    pub(super) kind: Kind,
    pub(super) progress: watch::Sender<Progress>,
    /// The farthest byte that a reader of this run has come to.
    pub(super) reached: watch::Sender<u64>,
    pub(super) began: Instant,
}

/// Whether parts of a response can be had while a fill brings the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InParts {
    No,
    /// The inner service does not say so, and has not refused yet.
    Perhaps,
    /// The inner service says so, and the mode allows to ask for them.
    Yes,
}

/// The purpose of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A fill that brings the whole body.
    Fill,
    /// A fill that brings a first part of the body.
    FirstPart,
    /// A slice that readers asked for.
    Slice,
}

impl Run {
    /// Whether the run is still to bring the byte at `offset`.
    pub(super) fn is_bringing(&self, offset: u64) -> bool {
        self.bytes.contains(&offset) && offset >= self.progress.borrow().next
    }

    /// The end of a run that begins at `from`, before bytes that this run brings or has brought.
    pub(super) fn limits_one_that_begins_at(&self, from: u64) -> Option<u64> {
        let next = self.progress.borrow().next;
        // Bytes that have landed are in the store, unless they were lost since. A later run finds that out.
        [self.bytes.start, next].into_iter().find(|limit| *limit > from)
    }

    /// Records that a reader has come to the byte at `offset`, if this run has brought it, or is to bring it to a reader
    /// that waits.
    pub(super) fn note_reader(&self, offset: u64, is_waiting: bool) {
        let next = self.progress.borrow().next;
        let end = if is_waiting { self.bytes.end } else { next.saturating_add(1) };
        if (self.bytes.start..end).contains(&offset) {
            self.reached.send_if_modified(|reached| {
                let is_farther = offset > *reached;
                *reached = offset.max(*reached);
                is_farther
            });
        }
    }

    /// Whether the run needs more than so much `time` to come to the byte at `offset`.
    pub(super) fn is_far_from(&self, offset: u64, time: Duration) -> bool {
        let next = self.progress.borrow().next;
        let distance = offset.saturating_sub(next);
        if distance <= PIECE_SIZE {
            return false;
        }
        let came = next.saturating_sub(self.bytes.start);
        let elapsed = moment().saturating_duration_since(self.began);
        // A run that has brought nothing yet tells no pace.
        came == 0
            || elapsed.is_zero()
            || elapsed.as_nanos().saturating_mul(distance.into()) / u128::from(came) > time.as_nanos()
    }
}

/// The runs of one supply.
#[derive(Default)]
pub(super) struct Runs {
    pub(super) under_way: Vec<Run>,
    pub(super) numbers: u64,
    /// The reason why further runs are useless, if there is one.
    pub(super) barred: Option<Barred>,
}

impl Runs {
    /// The run that is to bring the byte at `offset` first.
    pub(super) fn nearest(&self, offset: u64) -> Option<&Run> {
        let bringing = self.under_way.iter().filter(|run| run.is_bringing(offset));
        bringing.max_by_key(|run| run.progress.borrow().next)
    }
}

/// Why no run will bring anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barred {
    Changed,
    NoParts,
}

/// Waits until the byte at `offset` is in a whole chunk, or the run has ended.
pub(crate) async fn landing_in_whole(mut progress: watch::Receiver<Progress>, offset: u64) {
    // If the run is gone, it has ended.
    let _ = progress.wait_for(|progress| progress.whole > offset || progress.end.is_some()).await;
}

/// Waits until the run has brought the byte at `offset`, or has ended without it. In the second case, returns how the
/// run ended.
pub(crate) async fn landing(mut progress: watch::Receiver<Progress>, offset: u64) -> Option<End> {
    let seen = progress.wait_for(|progress| progress.next > offset || progress.end.is_some()).await;
    match seen {
        Ok(progress) if progress.next > offset => None,
        Ok(progress) => progress.end.clone(),
        Err(_) => Some(End::Failed),
    }
}
