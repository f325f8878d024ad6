//! Reads an inner body: as chunk payloads while it is stored, as frames once it is only passed on.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};

use crate::{
    clock::moment,
    counters::{Meter, Reason},
    error::{BoxError, Error},
    format::chunk::TRAILER,
    semantics::cache_status::Refusal,
};

/// An inner body under way, held to the length that it declared.
pub(crate) struct InnerBody<B> {
    body: Pin<Box<B>>,
    /// The bytes of the last frame that are not taken yet.
    leftover: Bytes,
    /// The bytes of the chunk under way that have come.
    payload: BytesMut,
    /// When the first of them came that have not landed, if somebody waits for them to land.
    waiting_since: Option<Instant>,
    /// When the last of them came, if the wait for more was interrupted.
    heard_at: Option<Instant>,
    trailers: Option<HeaderMap>,
    ended: bool,
    expected: Option<u64>,
    taken: u64,
    meter: Meter,
}

impl<B> InnerBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(crate) fn new(body: B, expected: Option<u64>, meter: Meter) -> Self {
        Self {
            body: Box::pin(body),
            leftover: Bytes::new(),
            payload: BytesMut::new(),
            waiting_since: None,
            heard_at: None,
            trailers: None,
            ended: false,
            expected,
            taken: 0,
            meter,
        }
    }

    /// Bytes taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Returns the next `size` bytes, or fewer at the end of the body, or none after it. If the body falls silent for
    /// longer than `limit`, returns the bytes that came before. With a `landing`, returns early once there are bytes to be
    /// landed, and keeps them: [`under_way`](Self::under_way) has them.
    ///
    /// The bytes are copied into a buffer of the right size, with room for a trailer. A slice of the buffer that the
    /// inner service read into would keep all of that buffer alive.
    ///
    /// # Errors
    ///
    /// The body failed, or is longer or shorter than it declared. The bytes of the chunk that came before are kept
    /// for [`go_on`](Self::go_on).
    ///
    /// # Cancel safety
    ///
    /// The bytes that came before the future was dropped are kept for the next call.
    pub(crate) async fn chunk(
        &mut self,
        size: usize,
        limit: Duration,
        landing: Option<PieceRule>,
    ) -> Result<Collected, Error> {
        let mut heard_at = self.heard_at.take().unwrap_or_else(moment);
        while self.payload.len() < size {
            let due = landing.and_then(|landing| landing.due(self.payload.len(), self.waiting_since));
            if due.is_some_and(|due| due <= moment()) {
                self.heard_at = Some(heard_at);
                return Ok(Collected::Due);
            }
            let most = size - self.payload.len();
            let silence = heard_at.checked_add(limit);
            let until = [due, silence].into_iter().flatten().min();
            let polled = poll_fn(|cx| self.poll_data(cx, most));
            let data = match until {
                Some(until) => timeout_at(until, polled).await,
                None => Ok(polled.await),
            };
            let Ok(data) = data else {
                if due.is_some() && until == due {
                    self.heard_at = Some(heard_at);
                    return Ok(Collected::Due);
                }
                self.waiting_since = None;
                return Ok(Collected::Stalled(mem::take(&mut self.payload)));
            };
            let Some(data) = data.transpose()? else {
                break;
            };
            if self.payload.capacity() == 0 {
                let room = self.expected_after(&data).map_or(size, |bytes| bytes.min(size));
                self.payload.reserve(room + TRAILER);
            }
            heard_at = moment();
            if landing.is_some() {
                self.waiting_since.get_or_insert_with(moment);
            }
            self.payload.extend_from_slice(&data);
        }
        self.waiting_since = None;
        let mut payload = mem::take(&mut self.payload);
        if payload.is_empty() {
            return Ok(Collected::End);
        }
        // If the length was unknown, the last chunk gets a buffer of its own size.
        if payload.len() + TRAILER < payload.capacity() {
            let mut exact = BytesMut::with_capacity(payload.len() + TRAILER);
            exact.extend_from_slice(&payload);
            payload = exact;
        }
        Ok(Collected::Chunk(payload))
    }

    /// The bytes of the chunk under way that have come.
    pub(crate) fn under_way(&self) -> &[u8] {
        &self.payload
    }

    /// Takes the bytes of the chunk under way.
    pub(crate) fn take_under_way(&mut self) -> Bytes {
        self.waiting_since = None;
        mem::take(&mut self.payload).freeze()
    }

    /// Records that all bytes under way have landed.
    pub(crate) fn mark_landed(&mut self) {
        self.waiting_since = None;
    }

    /// Skips the next `bytes`, none of which were taken yet.
    ///
    /// # Errors
    ///
    /// As [`chunk`](Self::chunk), and also if the body falls silent for longer than `limit`.
    pub(crate) async fn skip(&mut self, bytes: u64, limit: Duration) -> Result<(), Error> {
        let until = self.taken.saturating_add(bytes);
        while self.taken < until {
            let most = usize::try_from(until - self.taken).unwrap_or(usize::MAX);
            let data = tokio::time::timeout(limit, poll_fn(|cx| self.poll_data(cx, most))).await;
            data.map_err(|_| Error::timed_out())?.transpose()?.ok_or_else(Error::too_short)?;
        }
        Ok(())
    }

    /// Reads the bytes that have come already, without waiting for any, and keeps them for the next call. The look
    /// ahead stops after `most` bytes, or a frame more.
    ///
    /// # Errors
    ///
    /// The body breaks within these bytes.
    pub(crate) async fn look_ahead(&mut self, most: usize) -> Result<(), Error> {
        let taken = self.taken;
        let mut ahead = BytesMut::new();
        let looked = poll_fn(|cx| {
            while ahead.len() < most {
                match self.poll_data(cx, usize::MAX) {
                    Poll::Ready(Some(Ok(data))) => ahead.extend_from_slice(&data),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        });
        looked.await?;
        ahead.extend_from_slice(&self.leftover);
        (self.leftover, self.taken) = (ahead.freeze(), taken);
        Ok(())
    }

    /// Goes on with another body, which begins where this one failed. The other body must end at the length that was
    /// declared, or after `complete` bytes if none was.
    pub(crate) fn go_on(&mut self, body: B, complete: u64) {
        self.body = Box::pin(body);
        self.meter.go_on_for(Reason::Resume);
        self.expected = Some(self.expected.unwrap_or(complete));
        (self.ended, self.leftover, self.trailers) = (false, Bytes::new(), None);
    }

    /// The rest of the body as it comes, with its trailers.
    pub(crate) fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(data) = ready!(self.poll_data(cx, usize::MAX)) {
            return Poll::Ready(Some(data.map(Frame::data)));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// The size of the rest; exact if the length is known.
    pub(crate) fn rest_hint(&self) -> SizeHint {
        if let Some(expected) = self.expected {
            return SizeHint::with_exact(expected.saturating_sub(self.taken));
        }
        let leftover = bytes_in(&self.leftover);
        if self.ended {
            return SizeHint::with_exact(leftover);
        }
        let body = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper().and_then(|upper| upper.checked_add(leftover)) {
            hint.set_upper(upper);
        }
        hint.set_lower(body.lower().saturating_add(leftover));
        hint
    }

    /// Up to `most` bytes of data, at least one; `None` at the end of a body that kept its declared length.
    fn poll_data(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Option<Result<Bytes, Error>>> {
        let mut empty_frames = 0;
        while self.leftover.is_empty() {
            // A body of endless empty frames must not keep the thread to itself.
            empty_frames += 1;
            if empty_frames > EMPTY_FRAMES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(self.body.as_mut().poll_frame(cx)) {
                None => {
                    self.ended = true;
                    if self.expected.is_some_and(|expected| self.taken < expected) {
                        self.trailers = None;
                        return Poll::Ready(Some(Err(Error::too_short())));
                    }
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(Error::inner(error.into()))));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.meter.add(bytes_in(&data));
                        self.leftover = data;
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok().or(self.trailers.take()),
                },
            }
        }
        let data = self.leftover.split_to(most.min(self.leftover.len()));
        self.taken = self.taken.saturating_add(bytes_in(&data));
        if self.expected.is_some_and(|expected| self.taken > expected) {
            self.ended = true;
            self.leftover = Bytes::new();
            return Poll::Ready(Some(Err(Error::too_long())));
        }
        Poll::Ready(Some(Ok(data)))
    }

    /// How many bytes are still to come, `data` included, if the length is known.
    fn expected_after(&self, data: &Bytes) -> Option<usize> {
        let before = self.taken.saturating_sub(bytes_in(data));
        usize::try_from(self.expected?.saturating_sub(before)).ok()
    }
}

/// When the bytes of a chunk under way are landed before the rest of the chunk has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PieceRule {
    /// How many bytes of the chunk have landed.
    pub(crate) landed: usize,
    /// How many bytes of the chunk are landed at once.
    pub(crate) enough: usize,
    /// Bytes that have come and are fewer are landed after so long.
    pub(crate) patience: Duration,
    /// No bytes are landed before this moment.
    pub(crate) not_before: Instant,
}

impl PieceRule {
    /// When the bytes are to be landed of which the first came at `since`, if some have come.
    fn due(self, came: usize, since: Option<Instant>) -> Option<Instant> {
        if came <= self.landed {
            return None;
        }
        if came >= self.enough {
            return Some(self.not_before);
        }
        let patient = since.and_then(|since| since.checked_add(self.patience))?;
        Some(patient.max(self.not_before))
    }
}

/// The result of reading a chunk.
pub(crate) enum Collected {
    Chunk(BytesMut),
    /// There are bytes under way to be landed.
    Due,
    End,
    Stalled(BytesMut),
}

/// The refusal for a body that broke with this error.
pub(crate) fn broken_by(error: &Error) -> Refusal {
    if error.is_truncated() { Refusal::ChangedLength } else { Refusal::InnerFailed }
}

/// Frames without data in a row before other tasks get their turn.
const EMPTY_FRAMES: u32 = 64;

fn bytes_in(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::poll_immediate;
    use http_body_util::Full;

    use super::*;
    use crate::{counters::Counters, watchers::Watchers};

    fn meter() -> Meter {
        Meter::new(&Arc::new(Counters::new(Watchers::default())), Reason::Fill)
    }

    /// A body that is always ready with an empty frame.
    struct Empty;

    impl Body for Empty {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::new()))))
        }
    }

    #[tokio::test]
    async fn a_body_of_empty_frames_leaves_others_their_turn() {
        let mut body = InnerBody::new(Empty, None, meter());
        assert!(poll_immediate(body.chunk(1000, Duration::from_secs(60), None)).await.is_none());
    }

    #[tokio::test]
    async fn every_chunk_has_a_buffer_of_its_own_size() {
        for expected in [None, Some(2500)] {
            let body = Full::new(Bytes::from(vec![7; 2500]));
            let mut body = InnerBody::new(body, expected, meter());
            for length in [1000, 1000, 500] {
                let Collected::Chunk(payload) = body.chunk(1000, Duration::MAX, None).await.unwrap() else {
                    panic!("there is more");
                };
                assert_eq!((payload.len(), payload.capacity()), (length, length + TRAILER));
            }
            assert!(matches!(body.chunk(1000, Duration::MAX, None).await.unwrap(), Collected::End));
        }
    }
}
