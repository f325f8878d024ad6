//! The progress of a run of chunks from the inner service into the store, as the waiting requests see it.

use std::ops::Range;

use bytes::Bytes;
use tokio::sync::watch;

/// How far a run has come.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The chunk that lands next. All chunks before it are in the store.
    pub(crate) next: u64,
    /// Whether the inner service was asked. If it was not, the chunks were in the store already.
    pub(crate) called: bool,
    /// How the run ended, if it did.
    pub(crate) end: Option<End>,
}

/// How a run of chunks ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The representation has changed.
    Changed,
    /// Every chunk of the run has landed, or was in the store before.
    Done,
    /// The inner service failed, or its body was not as declared.
    Failed,
    /// The inner service does not give parts.
    NoParts,
    /// No request waited for the rest, or the rest takes another way.
    Stopped,
    /// The store did not take this chunk. The waiting requests get it from here.
    Unstored(u64, Bytes),
}

/// One run, as its supply knows it.
pub(super) struct Run {
    pub(super) number: u64,
    pub(super) chunks: Range<u64>,
    /// Whether the run is a slice that readers asked for, and not a fill.
    pub(super) is_slice: bool,
    pub(super) progress: watch::Sender<Progress>,
}

impl Run {
    /// Whether the run is still to bring the chunk.
    pub(super) fn is_bringing(&self, index: u64) -> bool {
        self.chunks.contains(&index) && index >= self.progress.borrow().next
    }
}

/// Waits until the run has brought the chunk, or has ended without it. In the second case, returns how the run ended.
pub(crate) async fn landing(mut progress: watch::Receiver<Progress>, index: u64) -> Option<End> {
    let seen = progress.wait_for(|progress| progress.next > index || progress.end.is_some()).await;
    match seen {
        Ok(progress) if progress.next > index => None,
        Ok(progress) => progress.end.clone(),
        Err(_) => Some(End::Failed),
    }
}
