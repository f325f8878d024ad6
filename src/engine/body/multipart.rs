//! Reads several parts of a stored body back, with the delimiters between them.
//!
//! RFC 9110 §14.6 (`multipart/byteranges`).

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

use bytes::Bytes;

use super::reader::{Reading, Source, bytes_in, first};
use crate::{
    engine::{fetch::fetcher::Fetch, lookup::prefetch::Prefetched, state::records::Stretch},
    error::Error,
    semantics::{
        multipart::{Multipart, Part},
        range::ByteRange,
    },
};

/// Several parts of a stored body on their way to a client.
pub(crate) struct MultipartReader {
    /// The delimiter before the part under way, or after the last part; empty once it has gone.
    text: Bytes,
    /// The bytes of the part under way that are still to go.
    under_way: ByteRange,
    to_come: vec::IntoIter<Part>,
    close: Bytes,
    /// Bytes still to go.
    remaining: u64,
    source: Source,
    /// The bytes that were read last. The next part may be in them too.
    stretch: Stretch,
    reading: Option<Reading>,
}

impl MultipartReader {
    /// Opens the first part and reads its first bytes, so that the reader has bytes to send.
    ///
    /// # Errors
    ///
    /// The first bytes cannot be had.
    pub(crate) async fn open(
        source: Source,
        multipart: Multipart,
        prefetched: Option<Prefetched>,
    ) -> Result<Self, Error> {
        let remaining = multipart.length();
        let mut to_come = multipart.parts.into_iter();
        let Part { head, range } = to_come.next().ok_or_else(Error::lost)?;
        let stretch = source.first(range.start, prefetched).await?;
        Ok(Self {
            text: head,
            under_way: range,
            to_come,
            close: multipart.close,
            remaining,
            source,
            stretch,
            reading: None,
        })
    }

    /// Bytes still to come.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Lets the reader get missing chunks through `fetcher`.
    pub(crate) fn supply(&mut self, fetcher: impl FnOnce() -> Arc<dyn Fetch>) {
        let ends = self.to_come.as_slice().iter().map(|part| part.range.end);
        let until = ends.fold(self.under_way.end, u64::max);
        self.source.supply(fetcher, until);
    }

    /// The next slice; `None` after the last, or after an error. A body that ends early has no closing delimiter.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.remaining == 0 {
            return Poll::Ready(None);
        }
        if self.text.is_empty() && self.under_way.length() == 0 {
            match self.to_come.next() {
                Some(part) => (self.text, self.under_way) = (part.head, part.range),
                None => self.text = std::mem::take(&mut self.close),
            }
        }
        let slice = if self.text.is_empty() {
            ready!(self.poll_part(cx))
        } else {
            Ok(std::mem::take(&mut self.text))
        };
        self.remaining = slice.as_ref().map_or(0, |slice| self.remaining.saturating_sub(bytes_in(slice)));
        Poll::Ready(Some(slice))
    }

    /// The next slice of the part under way.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Error>> {
        let offset = self.under_way.start;

        if !self.stretch.holds(offset) {
            let reading = self.reading.get_or_insert_with(|| Box::pin(self.source.clone().read(offset)));
            let (elsewhere, stretch) = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            if let Some(elsewhere) = elsewhere {
                self.source = elsewhere;
            }
            self.stretch = stretch?.ok_or_else(Error::lost)?;
        }
        let slice = first(&self.stretch.from(offset), self.under_way.length());
        // Bytes that proved their place are some. None would be asked for without end.
        if slice.is_empty() {
            return Poll::Ready(Err(Error::lost()));
        }
        self.under_way.start = self.under_way.start.saturating_add(bytes_in(&slice));
        // A body whose client does not read on must not hold bytes that it no longer needs.
        let is_in_it = |offset: u64| self.stretch.holds(offset);
        let next = self.to_come.as_slice().first().map(|part| part.range.start);
        let goes_on = self.under_way.length() > 0 && is_in_it(self.under_way.start);
        if !goes_on && !next.is_some_and(is_in_it) {
            self.stretch.bytes = Bytes::new();
        }
        Poll::Ready(Ok(slice))
    }
}
