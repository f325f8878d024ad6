//! The body for the leader of a fill: reads from the store, and if storing stops, goes on with the inner body.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};

use super::{reader::Reader, salvaged::Salvage};
use crate::{
    engine::inner::chunks::InnerBody,
    error::{BoxError, Error},
};

/// Waits for the fill to end, and returns the rest of the inner response if storing stopped. Returns `None` if
/// storing went well, or the inner body failed.
pub(crate) type Rest<B> = Pin<Box<dyn Future<Output = Option<Box<Salvage<B>>>> + Send>>;

/// A part of a body that is stored while the leader reads it.
pub(crate) struct LeaderBody<B> {
    stage: Stage<B>,
    /// Bytes still to go, if that is known.
    remaining: Option<u64>,
    /// The offset of the next byte in the body.
    offset: u64,
}

enum Stage<B> {
    Stored(Reader, Rest<B>),
    /// The store has no more bytes, and the body waits for the rest. If there is no rest, it ends with this error.
    Seeking(Error, Rest<B>),
    /// The chunk in hand, how many bytes of the rest to skip, and the rest.
    Live(Bytes, u64, InnerBody<B>),
    Over,
}

impl<B> LeaderBody<B> {
    pub(crate) fn new(stored: Reader, rest: Rest<B>) -> Self {
        let (remaining, offset) = (stored.remaining(), stored.offset());
        Self { stage: Stage::Stored(stored, rest), remaining, offset }
    }

    /// Bytes still to go, if that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.remaining
    }
}

impl<B> LeaderBody<B> {
    /// Whether the next bytes come from the inner body.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Seeking(..) | Stage::Live(..))
    }
}

impl<B> LeaderBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(self.poll_any(cx));
        if let Some(Ok(frame)) = &frame {
            let bytes = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
            self.offset = self.offset.saturating_add(bytes);
            self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(bytes));
        } else {
            (self.stage, self.remaining) = (Stage::Over, Some(0));
        }
        Poll::Ready(frame)
    }

    fn poll_any(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        loop {
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Over => return Poll::Ready(None),
                Stage::Stored(mut reader, rest) => match reader.poll_next(cx) {
                    Poll::Pending => {
                        self.stage = Stage::Stored(reader, rest);
                        return Poll::Pending;
                    }
                    // The fill has ended, and may have left its rest.
                    Poll::Ready(Some(Err(error))) if error.is_inner() => {
                        self.stage = Stage::Seeking(error, rest);
                    }
                    Poll::Ready(slice) => {
                        self.stage = Stage::Stored(reader, rest);
                        return Poll::Ready(slice.map(|slice| slice.map(Frame::data)));
                    }
                },
                Stage::Seeking(error, mut rest) => match rest.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.stage = Stage::Seeking(error, rest);
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(salvage)) if self.offset >= salvage.stored.length => {
                        let Salvage { stored, mut in_hand, rest, .. } = *salvage;
                        // The bytes before this client's part are skipped: first in the chunk in hand, then in the
                        // rest.
                        let before = self.offset - stored.length;
                        let of_chunk = usize::try_from(before).unwrap_or(usize::MAX).min(in_hand.len());
                        in_hand.advance(of_chunk);
                        let of_rest = before.saturating_sub(u64::try_from(of_chunk).unwrap_or(u64::MAX));
                        self.stage = Stage::Live(in_hand, of_rest, rest);
                    }
                    // A chunk before the hole is gone as well.
                    Poll::Ready(_) => return Poll::Ready(Some(Err(error))),
                },
                Stage::Live(in_hand, passed, mut rest) => {
                    if self.remaining == Some(0) {
                        return Poll::Ready(None);
                    }
                    if !in_hand.is_empty() {
                        self.stage = Stage::Live(Bytes::new(), passed, rest);
                        return Poll::Ready(Some(Ok(Frame::data(self.wanted(in_hand)))));
                    }
                    let Poll::Ready(frame) = rest.poll_rest(cx) else {
                        self.stage = Stage::Live(in_hand, passed, rest);
                        return Poll::Pending;
                    };
                    match frame {
                        Some(Ok(frame)) => match frame.into_data() {
                            Ok(mut data) => {
                                let most = usize::try_from(passed).unwrap_or(usize::MAX).min(data.len());
                                data.advance(most);
                                let passed = passed.saturating_sub(u64::try_from(most).unwrap_or(u64::MAX));
                                self.stage = Stage::Live(in_hand, passed, rest);
                                if !data.is_empty() {
                                    return Poll::Ready(Some(Ok(Frame::data(self.wanted(data)))));
                                }
                            }
                            Err(trailers) => {
                                self.stage = Stage::Live(in_hand, passed, rest);
                                return Poll::Ready(Some(Ok(trailers)));
                            }
                        },
                        // A part whose length was declared must come whole.
                        None if self.remaining.is_some() => {
                            return Poll::Ready(Some(Err(Error::too_short())));
                        }
                        end => return Poll::Ready(end),
                    }
                }
            }
        }
    }

    /// As many bytes of the data as were asked for.
    fn wanted(&self, mut data: Bytes) -> Bytes {
        let most = self.remaining.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
        data.truncate(most.min(data.len()));
        data
    }
}
