//! The body of every response: the inner one, or what was read back from the store.

use std::{
    fmt,
    pin::Pin,
    task::{ready, Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{
    engine::{collect::Collector, parts::Parts, reader::Reader},
    error::{BoxError, Error},
};

pin_project! {
    /// The body of a response of [`VideoCache`](crate::VideoCache).
    ///
    /// Its size hint is exact wherever the length is known. It never ends early but with an [`Error`].
    /// Trailers of an inner response pass through; a stored response has none.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    pub(crate) fn stored(reader: Reader) -> Self {
        Self { kind: Kind::Stored { reader } }
    }

    pub(crate) fn parts(parts: Parts) -> Self {
        Self { kind: Kind::Parts { parts: Box::new(parts) } }
    }

    pub(crate) fn salvaged(stored: Reader, in_hand: Bytes, rest: Collector<B>) -> Self {
        Self {
            kind: Kind::Salvaged { salvaged: Box::new(Salvaged { stored, in_hand, rest, failed: false }) },
        }
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
        match self.project().kind.project() {
            Projected::Inner { body } => {
                body.poll_frame(cx).map(|frame| Some(frame?.map_err(|error| Error::inner(error.into()))))
            }
            Projected::Stored { reader } => reader.poll_next(cx).map(|slice| Some(slice?.map(Frame::data))),
            Projected::Parts { parts } => parts.poll_next(cx).map(|slice| Some(slice?.map(Frame::data))),
            Projected::Salvaged { salvaged } => salvaged.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } => body.is_end_stream(),
            Kind::Stored { reader } => reader.remaining() == 0,
            Kind::Parts { parts } => parts.remaining() == 0,
            // It cannot tell whether trailers are still to come.
            Kind::Salvaged { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } => body.size_hint(),
            Kind::Stored { reader } => SizeHint::with_exact(reader.remaining()),
            Kind::Parts { parts } => SizeHint::with_exact(parts.remaining()),
            Kind::Salvaged { salvaged } => salvaged.size_hint(),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResponseBody")
            .field(&match &self.kind {
                Kind::Inner { .. } => "inner",
                Kind::Stored { .. } => "stored",
                Kind::Parts { .. } => "parts",
                Kind::Salvaged { .. } => "salvaged",
            })
            .finish()
    }
}

pin_project! {
    #[project = Projected]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Stored { reader: Reader },
        Parts { parts: Box<Parts> },
        Salvaged { salvaged: Box<Salvaged<B>> },
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
        let before = self.stored.remaining() + u64::try_from(self.in_hand.len()).unwrap_or(u64::MAX);
        let rest = self.rest.rest_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(before)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(before));
        hint
    }
}
