//! The body of every response: the inner body, or bytes read back from the store.

pub(crate) mod leader;
pub(crate) mod multipart;
pub(crate) mod reader;
pub(crate) mod salvaged;
mod tally;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pub(crate) use self::tally::{Seen, tell_answer};
use self::{
    leader::{LeaderBody, Rest},
    multipart::MultipartReader,
    reader::Reader,
    salvaged::Salvaged,
    tally::{From, Tally},
};
use super::{fetch::fetcher::Fetch, inner::chunks::InnerBody};
use crate::{
    counters::Counters,
    error::{BoxError, Error},
    semantics::cache_status::Told,
};

pin_project! {
    /// The body of a response of [`VideoCache`](crate::VideoCache).
    ///
    /// Its size hint is exact if the length is known. If it ends early, it ends with an [`Error`]. Trailers of an inner
    /// response pass through. A stored response has none.
    ///
    /// ```
    /// use http_body_util::BodyExt;
    /// use tower_video_cache::{Error, ResponseBody};
    ///
    /// /// Reads the bytes of a response that answers from the store, or tells why they end early.
    /// async fn read(body: ResponseBody<http_body_util::Full<bytes::Bytes>>) -> Result<bytes::Bytes, Error> {
    ///     Ok(body.collect().await?.to_bytes())
    /// }
    /// ```
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
        tally: Tally,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self::of(Kind::Inner { body })
    }

    pub(crate) fn stored(reader: Reader) -> Self {
        Self::of(Kind::Stored { reader })
    }

    /// The body for the leader of a fill; `rest` is the rest of the inner body, if storing stops.
    pub(crate) fn leading(stored: Reader, rest: Rest<B>) -> Self {
        Self::of(Kind::Leading { leading: Box::new(LeaderBody::new(stored, rest)) })
    }

    pub(crate) fn multipart(reader: MultipartReader) -> Self {
        Self::of(Kind::Multipart { reader: Box::new(reader) })
    }

    pub(crate) fn salvaged(stored: Reader, in_hand: Bytes, rest: InnerBody<B>) -> Self {
        Self::of(Kind::Salvaged { salvaged: Box::new(Salvaged { stored, in_hand, rest, failed: false }) })
    }

    /// Whether more must be read from the store than the bytes that are ready.
    pub(crate) fn is_to_be_read(&self) -> bool {
        match &self.kind {
            Kind::Stored { reader } => reader.is_to_be_read(),
            Kind::Multipart { .. } => true,
            Kind::Inner { .. } | Kind::Leading { .. } | Kind::Salvaged { .. } | Kind::Failing { .. } => false,
        }
    }

    /// Lets the body get chunks through `fetcher` that the store turns out not to have.
    pub(crate) fn supply(&mut self, fetcher: impl FnOnce() -> Arc<dyn Fetch>) {
        match &mut self.kind {
            Kind::Stored { reader } => reader.supply(fetcher),
            Kind::Multipart { reader } => reader.supply(fetcher),
            Kind::Inner { .. } | Kind::Leading { .. } | Kind::Salvaged { .. } | Kind::Failing { .. } => {}
        }
    }

    /// Turns this body into that of the leader of the fill, who gets the `rest`.
    pub(crate) fn led(self, rest: Rest<B>) -> Self {
        match self.kind {
            Kind::Stored { reader } if reader.remaining() != Some(0) => {
                Self { tally: self.tally, ..Self::leading(reader, rest) }
            }
            kind => Self { kind, tally: self.tally },
        }
    }

    /// Notes the outcome of the request that this body answers.
    pub(crate) fn tell(&mut self, told: Told) {
        self.tally.told = told;
    }

    fn of(kind: Kind<B>) -> Self {
        Self { kind, tally: Tally::default() }
    }
}

impl<B> ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// Counts this body, which is about to leave after its client has `waited`, and its bytes from now on.
    pub(crate) fn leaves(
        &mut self,
        counters: Arc<Counters>,
        seen: (Option<Box<Seen>>, StatusCode),
        waited: Duration,
    ) {
        let is_over = self.is_end_stream();
        self.tally.begin(counters, seen, waited, is_over);
    }
}

impl<B> Default for ResponseBody<B> {
    /// An empty body, for the answers that a layer around the cache makes by itself.
    fn default() -> Self {
        Self::stored(Reader::empty())
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.as_mut().project();
        let mut kind = this.kind;
        let (frame, from) = match kind.as_mut().project() {
            Projected::Stored { reader } => match ready!(reader.poll_next(cx)) {
                Some(Ok(slice)) => {
                    this.tally.count_stored(&slice, reader.remaining() == Some(0));
                    return Poll::Ready(Some(Ok(Frame::data(slice))));
                }
                end => (end.map(|end| end.map(Frame::data)), From::Store),
            },
            Projected::Inner { body } => {
                let frame = ready!(body.poll_frame(cx));
                let frame = frame.map(|frame| frame.map_err(|error| Error::inner(error.into())));
                let is_over = matches!(frame, None | Some(Err(_))) || self.is_end_stream();
                self.project().tally.count(frame.as_ref(), From::Inner, is_over);
                return Poll::Ready(frame);
            }
            Projected::Multipart { reader } => {
                (ready!(reader.poll_next(cx)).map(|slice| slice.map(Frame::data)), From::Store)
            }
            Projected::Salvaged { salvaged } => {
                let from = if salvaged.is_live() { From::Live } else { From::Store };
                (ready!(salvaged.poll_frame(cx)), from)
            }
            Projected::Leading { leading } => {
                let frame = ready!(leading.poll_frame(cx));
                (frame, if leading.is_live() { From::Live } else { From::Store })
            }
            Projected::Failing { error } => {
                let frame = error.take().map(|error| Err(*error));
                this.tally.count(frame.as_ref(), From::Store, true);
                return Poll::Ready(frame);
            }
        };
        if let Some(Err(error)) = frame {
            // A server that is given an error drops the bytes that it has not sent yet, even the status line.
            kind.set(Kind::Failing { error: Some(Box::new(error)) });
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let is_over = frame.is_none() || self.is_end_stream();
        self.project().tally.count(frame.as_ref(), from, is_over);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Stored { reader } => reader.remaining() == Some(0),
            Kind::Multipart { reader } => reader.remaining() == 0,
            // These bodies cannot tell whether trailers are still to come.
            Kind::Leading { .. } | Kind::Salvaged { .. } => false,
            Kind::Failing { error } => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Stored { reader } => exact(reader.remaining()),
            Kind::Leading { leading } => exact(leading.remaining()),
            Kind::Multipart { reader } => SizeHint::with_exact(reader.remaining()),
            Kind::Salvaged { salvaged } => salvaged.size_hint(),
            Kind::Failing { .. } => SizeHint::with_exact(0),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseBody")
            .field(&match &self.kind {
                Kind::Inner { .. } => "inner",
                Kind::Leading { .. } => "leading",
                Kind::Stored { .. } => "stored",
                Kind::Multipart { .. } => "parts",
                Kind::Salvaged { .. } => "salvaged",
                Kind::Failing { .. } => "failing",
            })
            .finish()
    }
}

pin_project! {
    #[project = Projected]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Leading { leading: Box<LeaderBody<B>> },
        Stored { reader: Reader },
        Multipart { reader: Box<MultipartReader> },
        Salvaged { salvaged: Box<Salvaged<B>> },
        // The body ends with this error, once the frames before it have had their chance to leave.
        Failing { error: Option<Box<Error>> },
    }
}

/// A size hint that is exact if the length is known.
fn exact(remaining: Option<u64>) -> SizeHint {
    remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
}
