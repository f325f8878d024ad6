//! A run of chunks on its way from the inner service into the store, as those who wait for it see it.

use std::ops::Range;

use bytes::Bytes;
use tokio::sync::watch;

/// How far a run is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The chunk that lands next; those before it are in the store.
    pub(crate) next: u64,
    /// The inner service was asked: what lands was not there.
    pub(crate) called: bool,
    /// How the run ended, if it did.
    pub(crate) end: Option<End>,
}

/// How a run of chunks ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The representation is another by now.
    Changed,
    /// All that was to land has landed, or was there.
    Done,
    /// The inner service failed, or its body broke its word.
    Failed,
    /// The inner service does not give parts.
    NoParts,
    /// Nobody waited for the rest, or it is on its way elsewhere.
    Stopped,
    /// The store did not take this chunk: here it is, for those who wait for it.
    Unstored(u64, Bytes),
}

/// One run, as its supply knows it.
pub(super) struct Run {
    pub(super) number: u64,
    pub(super) chunks: Range<u64>,
    /// Asked for on behalf of viewers, and no fill.
    pub(super) is_slice: bool,
    pub(super) progress: watch::Sender<Progress>,
}

impl Run {
    /// Whether the chunk is to land yet.
    pub(super) fn is_bringing(&self, index: u64) -> bool {
        self.chunks.contains(&index) && index >= self.progress.borrow().next
    }
}

/// Until the run has brought the chunk, `None`, or has ended without it.
pub(crate) async fn landing(mut progress: watch::Receiver<Progress>, index: u64) -> Option<End> {
    let seen = progress.wait_for(|progress| progress.next > index || progress.end.is_some()).await;
    match seen {
        Ok(progress) if progress.next > index => None,
        Ok(progress) => progress.end.clone(),
        Err(_) => Some(End::Failed),
    }
}
