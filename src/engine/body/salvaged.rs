//! A response whose storing stopped: the stored chunks, the chunk in hand, and the live rest.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::response;
use http_body::{Body, Frame, SizeHint};

use super::reader::Reader;
use crate::{
    engine::{inner::chunks::InnerBody, state::records::Waited},
    error::{BoxError, Error},
    format::layout::Layout,
    semantics::cache_status::Refusal,
};

/// An inner body whose storing stopped midway: the stored chunks, the chunk in hand, and the rest that is still to
/// come.
pub(crate) struct Salvaged<B> {
    pub(crate) stored: Reader,
    pub(crate) in_hand: Bytes,
    pub(crate) rest: InnerBody<B>,
    pub(crate) failed: bool,
}

impl<B> Salvaged<B> {
    /// Whether the next bytes come from the inner body.
    pub(super) fn is_live(&self) -> bool {
        self.stored.remaining() == Some(0)
    }
}

impl<B> Salvaged<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.failed {
            return Poll::Ready(None);
        }
        if let Some(slice) = ready!(self.stored.poll_next(cx)) {
            // The bytes after a hole must not follow the bytes before it.
            self.failed = slice.is_err();
            return Poll::Ready(Some(slice.map(Frame::data)));
        }
        if !self.in_hand.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.in_hand)))));
        }
        self.rest.poll_rest(cx)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
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

/// An inner response whose storing stopped midway.
pub(crate) struct Salvage<B> {
    pub(crate) parts: response::Parts,
    /// The layout of the chunks that are in the store, as if they were a body of their own.
    pub(crate) stored: Layout,
    /// The chunk that did not get into the store.
    pub(crate) in_hand: Bytes,
    pub(crate) rest: InnerBody<B>,
    pub(crate) refusal: Refusal,
    /// How long the fill waited for the store in vain.
    pub(crate) waited: Waited,
}
