//! The body of every response: the inner one, or what was read back from the store.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{ready, Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    engine::{
        collect::Collector,
        leading::{Leading, Rest},
        parts::Parts,
        reader::Reader,
        supply::Upstream,
    },
    error::{BoxError, Error},
};

pin_project! {
    /// The body of a response of [`VideoCache`](crate::VideoCache).
    ///
    /// Its size hint is exact if the length is known. If it ends early, it ends with an [`Error`]. Trailers of an inner response
    /// pass through. A stored response has none.
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
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self::of(Kind::Inner { body })
    }

    pub(crate) fn stored(reader: Reader) -> Self {
        Self::of(Kind::Stored { reader })
    }

    /// What a fill brings for the viewer who leads it; `rest` is what it brings if storing stops.
    pub(crate) fn leading(stored: Reader, rest: Rest<B>) -> Self {
        Self::of(Kind::Leading { leading: Box::new(Leading::new(stored, rest)) })
    }

    pub(crate) fn parts(parts: Parts) -> Self {
        Self::of(Kind::Parts { parts: Box::new(parts) })
    }

    pub(crate) fn salvaged(stored: Reader, in_hand: Bytes, rest: Collector<B>) -> Self {
        Self::of(Kind::Salvaged { salvaged: Box::new(Salvaged { stored, in_hand, rest, failed: false }) })
    }

    /// Whether more is to be read from the store than what is ready.
    pub(crate) fn is_to_be_read(&self) -> bool {
        match &self.kind {
            Kind::Stored { reader } => reader.is_to_be_read(),
            Kind::Parts { .. } => true,
            Kind::Inner { .. } | Kind::Leading { .. } | Kind::Salvaged { .. } | Kind::Failing { .. } => false,
        }
    }

    /// Has what is still to be read come by way of `upstream`, should the store turn out not to have it.
    pub(crate) fn supply(&mut self, upstream: impl FnOnce() -> Arc<dyn Upstream>) {
        match &mut self.kind {
            Kind::Stored { reader } => reader.supply(upstream),
            Kind::Parts { parts } => parts.supply(upstream),
            Kind::Inner { .. } | Kind::Leading { .. } | Kind::Salvaged { .. } | Kind::Failing { .. } => {}
        }
    }

    /// The same body, with the rest that belongs to the viewer who leads the fill.
    pub(crate) fn led(self, rest: Rest<B>) -> Self {
        match self.kind {
            Kind::Stored { reader } if reader.remaining() != Some(0) => Self::leading(reader, rest),
            kind => Self::of(kind),
        }
    }

    fn of(kind: Kind<B>) -> Self {
        Self { kind }
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

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut kind = self.project().kind;
        let frame = ready!(match kind.as_mut().project() {
            Projected::Inner { body } => {
                return body
                    .poll_frame(cx)
                    .map(|frame| Some(frame?.map_err(|error| Error::inner(error.into()))));
            }
            Projected::Stored { reader } => reader.poll_next(cx).map(|slice| Some(slice?.map(Frame::data))),
            Projected::Parts { parts } => parts.poll_next(cx).map(|slice| Some(slice?.map(Frame::data))),
            Projected::Salvaged { salvaged } => salvaged.poll_frame(cx),
            Projected::Leading { leading } => leading.poll_frame(cx),
            Projected::Failing { error } => return Poll::Ready(error.take().map(|error| Err(*error))),
        });
        match frame {
            // A server that is given an error drops what it has not sent yet, be it the status line.
            Some(Err(error)) => {
                kind.set(Kind::Failing { error: Some(Box::new(error)) });
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Stored { reader } => reader.remaining() == Some(0),
            Kind::Parts { parts } => parts.remaining() == 0,
            // It cannot tell whether trailers are still to come.
            Kind::Leading { .. } | Kind::Salvaged { .. } => false,
            Kind::Failing { error } => error.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Stored { reader } => exact(reader.remaining()),
            Kind::Leading { leading } => exact(leading.remaining()),
            Kind::Parts { parts } => SizeHint::with_exact(parts.remaining()),
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
                Kind::Parts { .. } => "parts",
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
        Leading { leading: Box<Leading<B>> },
        Stored { reader: Reader },
        Parts { parts: Box<Parts> },
        Salvaged { salvaged: Box<Salvaged<B>> },
        // It ends with this error, once the frames before it have had their chance to leave.
        Failing { error: Option<Box<Error>> },
    }
}

/// An inner body whose storing stopped midway: its chunks, the one in hand, and what is still to come.
struct Salvaged<B> {
    stored: Reader,
    in_hand: Bytes,
    rest: Collector<B>,
    failed: bool,
}

impl<B> Salvaged<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if let Some(slice) = ready!(self.stored.poll_next(cx)) {
            // What comes after a hole must not follow what came before it.
            self.failed = slice.is_err();
            return Poll::Ready(Some(slice.map(Frame::data)));
        }
        if !self.in_hand.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.in_hand)))));
        }
        self.rest.poll_rest(cx)
    }

    fn size_hint(&self) -> SizeHint {
        let before =
            self.stored.remaining().unwrap_or(0) + u64::try_from(self.in_hand.len()).unwrap_or(u64::MAX);
        let rest = self.rest.rest_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(before)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(before));
        hint
    }
}

/// Exact where the length is known.
fn exact(remaining: Option<u64>) -> SizeHint {
    remaining.map_or_else(SizeHint::default, SizeHint::with_exact)
}
