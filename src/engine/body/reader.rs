//! Reads a part of a stored body back.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::timeout;

use crate::{
    engine::{
        fetch::{demand::Demand, fetcher::Fetch, subscription::Found},
        lookup::prefetch::Prefetched,
        state::{
            entry::Entry,
            records::{Records, Stretch, Waited},
        },
    },
    error::Error,
    format::layout::Layout,
    semantics::range::ByteRange,
};

/// A part of a stored body on its way to a client.
pub(crate) struct Reader {
    /// The slice that goes next, already read.
    ready: Bytes,
    /// Bytes still to go, `ready` included; `None` if only the end of the body will tell.
    remaining: Option<u64>,
    /// The offset of the byte after `ready`.
    offset: u64,
    /// `None` if `ready` holds all the bytes that are left. Boxed, because a response is moved many times.
    source: Option<Box<Source>>,
    reading: Option<Reading>,
}

/// The source of the chunks of one body.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) records: Arc<Records>,
    pub(crate) layout: Layout,
    /// The entry to forget if a chunk turns out to be gone.
    pub(crate) entry: Option<Arc<Entry>>,
    /// Gets the chunks that the store does not have.
    pub(crate) demand: Option<Arc<Demand>>,
}

impl Reader {
    /// A reader without bytes.
    pub(crate) fn empty() -> Self {
        Self::of(Bytes::new())
    }

    /// A reader of just these bytes.
    pub(crate) fn of(ready: Bytes) -> Self {
        let remaining = Some(bytes_in(&ready));
        Self { ready, remaining, offset: 0, source: None, reading: None }
    }

    /// Opens `range` and reads its first chunk, so that the reader has bytes to send.
    ///
    /// # Errors
    ///
    /// The first chunk cannot be had.
    pub(crate) async fn open(
        source: Source,
        range: ByteRange,
        prefetched: Option<Prefetched>,
    ) -> Result<Self, Error> {
        let length = range.length();
        let ready = first(&source.first(range.start, prefetched).await?.from(range.start), length);
        let offset = range.start.saturating_add(bytes_in(&ready));
        let source = (bytes_in(&ready) < length).then(|| Box::new(source));
        Ok(Self { ready, remaining: Some(length), offset, source, reading: None })
    }

    /// Opens the whole of a body whose length is not known.
    ///
    /// # Errors
    ///
    /// The first chunk cannot be had.
    pub(crate) async fn open_all(source: Source) -> Result<Self, Error> {
        let ready = source.first(0, None).await?.bytes;
        let offset = bytes_in(&ready);
        Ok(Self { ready, remaining: None, offset, source: Some(Box::new(source)), reading: None })
    }

    /// Opens all stored bytes of a body, after it has read each chunk once. Before the first byte leaves, the cache
    /// can still ask the inner service again; after that, it cannot. If a put has failed after a wait, the reads get
    /// a time limit, because the store may hang.
    pub(crate) async fn open_proved(records: &Arc<Records>, stored: Layout, waited: Waited) -> Option<Self> {
        let whole = ByteRange { start: 0, end: stored.length };
        if whole.length() == 0 {
            return Some(Self::empty());
        }
        let reading = async {
            for index in 1..stored.chunks() {
                records.chunk(stored.chunk(index)).await.ok()?;
            }
            let records = Arc::clone(records);
            let source = Source { records, layout: stored, entry: None, demand: None };
            Self::open(source, whole, None).await.ok()
        };
        // The time limit of one call does not suit all reads of a long body.
        if waited == Waited::default() {
            return reading.await;
        }
        let limit = records.limit();
        timeout(limit.saturating_sub(waited.0).max(limit / 4), reading).await.ok()?
    }

    /// Bytes still to come, if that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    /// The offset of the next byte in the body.
    pub(crate) fn offset(&self) -> u64 {
        self.offset.saturating_sub(bytes_in(&self.ready))
    }

    /// Whether more must be read than the bytes that are ready.
    pub(crate) fn is_to_be_read(&self) -> bool {
        self.source.is_some()
    }

    /// Lets the reader get missing chunks through `fetcher`.
    pub(crate) fn supply(&mut self, fetcher: impl FnOnce() -> Arc<dyn Fetch>) {
        let after = self.remaining.map_or(u64::MAX, |remaining| remaining - bytes_in(&self.ready));
        if let (1.., Some(source)) = (after, &mut self.source) {
            source.supply(fetcher, self.offset.saturating_add(after));
        }
    }

    /// The next slice; `None` after the last.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.remaining == Some(0) {
            return Poll::Ready(None);
        }
        if self.ready.is_empty() {
            match ready!(self.poll_stretch(cx)) {
                Ok(Some(chunk)) => {
                    self.ready = first(&chunk.from(self.offset), self.remaining.unwrap_or(u64::MAX));
                    self.offset = self.offset.saturating_add(bytes_in(&self.ready));
                }
                Ok(None) => {
                    self.remaining = Some(0);
                    return Poll::Ready(None);
                }
                Err(error) => {
                    self.remaining = Some(0);
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        let slice = std::mem::take(&mut self.ready);
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(bytes_in(&slice)));
        Poll::Ready(Some(Ok(slice)))
    }

    fn poll_stretch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Stretch>, Error>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(Err(Error::lost()));
        };
        let reading = self.reading.get_or_insert_with(|| Box::pin((**source).clone().read(self.offset)));
        let (elsewhere, chunk) = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        if let Some(elsewhere) = elsewhere {
            **source = elsewhere;
        }
        match chunk {
            // Only a body of unknown length may end before a declared end.
            Ok(None) if self.remaining.is_some() => Poll::Ready(Err(Error::lost())),
            chunk => Poll::Ready(chunk),
        }
    }
}

impl Source {
    /// Lets missing chunks come through `fetcher`; `until` is the offset after the last byte asked for.
    pub(super) fn supply(&mut self, fetcher: impl FnOnce() -> Arc<dyn Fetch>, until: u64) {
        if let (None, Some(entry)) = (&self.demand, &self.entry) {
            self.demand = Some(Arc::new(Demand::new(fetcher(), Arc::clone(entry), until)));
        }
    }

    /// The bytes that a body begins with, which may be prefetched. The reader takes them from the store alone, unless a
    /// running fill is to bring them.
    pub(super) async fn first(&self, offset: u64, prefetched: Option<Prefetched>) -> Result<Stretch, Error> {
        let is_pouring = self.entry.as_ref().is_some_and(|entry| entry.pouring.is_some());
        match &self.demand {
            Some(demand) if is_pouring => match demand.at(offset).await? {
                Found::Bytes(stretch) => Ok(stretch),
                Found::Elsewhere(_) | Found::End => Err(Error::lost()),
            },
            _ => {
                let (index, _) = self.layout.locate(offset);
                let read = match prefetched {
                    Some(prefetched) => prefetched.chunk(self.layout.chunk(index)).await,
                    None => None,
                };
                match read {
                    Some(Ok(bytes)) => Ok(Stretch { start: self.layout.chunk_around(offset).start, bytes }),
                    Some(Err(error)) if error.is_lost() => {
                        let piece = Box::pin(self.records.piece_around(self.layout, offset)).await;
                        piece.map_err(|_| error)
                    }
                    Some(Err(error)) => Err(error),
                    None => self.records.around(self.layout, offset).await,
                }
            }
        }
    }

    /// Reads the bytes around `offset`; `None` after the end. If the body goes on in another generation, also returns the
    /// source of that.
    ///
    /// If the bytes are lost or damaged, and cannot be fetched again, the entry is forgotten, so that the next request
    /// fills it anew.
    pub(super) async fn read(self, offset: u64) -> (Option<Self>, Result<Option<Stretch>, Error>) {
        // If no byte is known to be missing, the store most likely has this one. The rare other case is boxed, so
        // that the future of a read stays small.
        if self.is_plain() {
            if let Ok(stretch) = self.records.around(self.layout, offset).await {
                return (None, Ok(Some(stretch)));
            }
        }
        Box::pin(self.seek(offset)).await
    }

    fn is_plain(&self) -> bool {
        let is_settled = |entry: &Arc<Entry>| entry.pouring.is_none() && !entry.manifest.sparse;
        let is_subscribed = |demand: &Arc<Demand>| demand.is_subscribed();
        self.entry.as_ref().is_none_or(is_settled) && !self.demand.as_ref().is_some_and(is_subscribed)
    }

    /// Reads bytes as [`read`](Self::read) does, and fetches them if need be.
    async fn seek(mut self, offset: u64) -> (Option<Self>, Result<Option<Stretch>, Error>) {
        let mut moved = false;
        loop {
            let found = match &self.demand {
                Some(demand) => demand.at(offset).await,
                None => self.records.around(self.layout, offset).await.map(Found::Bytes),
            };
            let stretch = match found {
                // Past the end of the layout there are no bytes, and they would be asked for without end.
                Ok(Found::Bytes(stretch)) if !stretch.holds(offset) => Err(Error::lost()),
                Ok(Found::Bytes(stretch)) => Ok(Some(stretch)),
                Ok(Found::End) => Ok(None),
                Ok(Found::Elsewhere(_)) if moved => Err(Error::lost()),
                Ok(Found::Elsewhere(entry)) => {
                    moved = true;
                    let demand = self.demand.as_ref().map(|demand| Arc::new(demand.elsewhere(&entry)));
                    self.layout = entry.manifest.layout;
                    (self.demand, self.entry) = (demand, Some(entry));
                    continue;
                }
                Err(error) => Err(error),
            };
            if let (Err(error), Some(entry)) = (&stretch, &self.entry) {
                // A byte that a demand cannot get now may be had later.
                if error.is_lost() || self.demand.is_none() {
                    entry.forget(&self.records).await;
                }
            }
            return (moved.then_some(self), stretch);
        }
    }
}

/// A read under way.
pub(super) type Reading =
    Pin<Box<dyn Future<Output = (Option<Source>, Result<Option<Stretch>, Error>)> + Send>>;

/// The first `most` bytes of a chunk, or all of it.
pub(super) fn first(chunk: &Bytes, most: u64) -> Bytes {
    chunk.slice(..usize::try_from(most).unwrap_or(usize::MAX).min(chunk.len()))
}

pub(super) fn bytes_in(slice: &Bytes) -> u64 {
    u64::try_from(slice.len()).unwrap_or(u64::MAX)
}
