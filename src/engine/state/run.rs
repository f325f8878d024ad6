//! The progress of a run of bytes from the inner service into the store, as the waiting requests see it.

use std::ops::Range;

use tokio::{sync::watch, time::Instant};

use super::records::Stretch;

/// How far a run has come.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The offset of the byte that lands next. All bytes of the run before it are in the store.
    pub(crate) next: u64,
    /// The offset after the last byte that is stored in a whole chunk. The bytes from there to `next` are in pieces.
    pub(crate) whole: u64,
    /// Whether the inner service was asked. If it was not, the bytes were in the store already.
    pub(crate) called: bool,
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
    /// The bytes that the run is to bring. The end is `u64::MAX` if only the end of the body will tell. It comes nearer
    /// when another run begins within the range.
    pub(super) bytes: Range<u64>,
    pub(super) kind: Kind,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) began: Instant,
}

/// What a run is a part of.
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
