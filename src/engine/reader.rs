//! Reads a part of a stored body back, chunk by chunk.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{ready, Context, Poll},
};

use bytes::Bytes;

use super::{lookup::Entry, purge::forget, records::Records};
use crate::{error::Error, format::manifest::Layout, semantics::range::ByteRange};

/// A part of a stored body on its way to a viewer.
pub(crate) struct Reader {
    /// The slice that goes next, already read.
    ready: Bytes,
    /// Bytes still to go, `ready` included.
    remaining: u64,
    /// The chunk after `ready`.
    next: u64,
    /// `None` where all there is to read is `ready`.
    source: Option<Source>,
    reading: Option<Reading>,
}

/// Where the chunks of one body are.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) records: Arc<Records>,
    pub(crate) layout: Layout,
    /// What to forget if a chunk turns out to be gone.
    pub(crate) entry: Option<Arc<Entry>>,
}

impl Reader {
    /// No bytes at all.
    pub(crate) fn empty() -> Self {
        Self::of(Bytes::new())
    }

    /// Just these bytes.
    pub(crate) fn of(ready: Bytes) -> Self {
        let remaining = bytes_in(&ready);
        Self { ready, remaining, next: 0, source: None, reading: None }
    }

    /// Opens `range` with its first chunk read: whoever has a `Reader` has bytes to send.
    ///
    /// # Errors
    ///
    /// The first chunk is not to be had.
    pub(crate) async fn open(source: Source, range: ByteRange) -> Result<Self, Error> {
        let (index, offset) = source.layout.locate(range.start);
        let chunk = source.records.chunk(source.layout.chunk(index)).await?;
        let remaining = range.length();
        let ready = first(&chunk.slice(offset.min(chunk.len())..), remaining);
        Ok(Self { ready, remaining, next: index + 1, source: Some(source), reading: None })
    }

    /// Bytes still to come.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// The next slice; `None` after the last.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        if self.ready.is_empty() {
            match ready!(self.poll_chunk(cx)) {
                Ok(chunk) => self.ready = first(&chunk, self.remaining),
                Err(error) => {
                    self.remaining = 0;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        let slice = std::mem::take(&mut self.ready);
        self.remaining = self.remaining.saturating_sub(bytes_in(&slice));
        Poll::Ready(Some(Ok(slice)))
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        let Some(source) = &self.source else {
            return Poll::Ready(Err(Error::lost()));
        };
        let reading = self.reading.get_or_insert_with(|| Box::pin(source.clone().read(self.next)));
        let chunk = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        self.next += 1;
        Poll::Ready(chunk)
    }
}

impl Source {
    /// Reads one chunk. One that is gone or damaged takes the entry with it, so that the next viewer's request
    /// fills it anew.
    pub(super) async fn read(self, index: u64) -> Result<Bytes, Error> {
        let chunk = self.records.chunk(self.layout.chunk(index)).await;
        if let (Err(_), Some(entry)) = (&chunk, &self.entry) {
            forget(&self.records, entry).await;
        }
        // A chunk past the end of the layout has no bytes, and would be asked for without end.
        chunk.and_then(|chunk| if chunk.is_empty() { Err(Error::lost()) } else { Ok(chunk) })
    }
}

pub(super) type Reading = Pin<Box<dyn Future<Output = Result<Bytes, Error>> + Send>>;

/// The first `most` bytes of a chunk, or all of it.
pub(super) fn first(chunk: &Bytes, most: u64) -> Bytes {
    chunk.slice(..usize::try_from(most).unwrap_or(usize::MAX).min(chunk.len()))
}

pub(super) fn bytes_in(slice: &Bytes) -> u64 {
    u64::try_from(slice.len()).unwrap_or(u64::MAX)
}
