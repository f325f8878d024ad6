//! The bodies of the inner service of the `request` target.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::origin::Call;

/// A body in frames of the size that the script chooses.
#[derive(Debug)]
pub(super) struct Frames {
    left: VecDeque<Bytes>,
    breaks: bool,
    exact: bool,
    /// How many polls each frame is held back, and how many of them are left for the next frame.
    pends: (u8, u8),
    /// Counts the bytes that leave.
    taken: Arc<AtomicU64>,
}

impl Frames {
    pub(super) fn of(call: &Call, taken: Arc<AtomicU64>) -> Self {
        let sent = Bytes::copy_from_slice(&call.sent);
        let size = usize::from(call.answer.frame);
        let empty = call.answer.frame == 0;
        let mut frames: VecDeque<_> = sent.chunks(size.max(3)).map(|frame| sent.slice_ref(frame)).collect();
        if empty {
            frames.push_front(Bytes::new());
            frames.push_back(Bytes::new());
        }
        // A body that breaks its fields' promise does not announce its length: hyper would not allow it.
        let exact = call.answer.exact && !call.is_broken();
        let pends = call.answer.manner.pends;
        Self { left: frames, breaks: call.breaks(), exact, pends: (pends, pends), taken }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        if self.pends.1 > 0 {
            self.pends.1 -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.pends.1 = self.pends.0;
        let frame = self.left.pop_front().map(|frame| {
            self.taken.fetch_add(u64::try_from(frame.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
            Ok(Frame::data(frame))
        });
        let broken = || std::mem::take(&mut self.breaks).then_some(Err(Failed));
        Poll::Ready(frame.or_else(broken))
    }

    fn size_hint(&self) -> SizeHint {
        if self.exact {
            let bytes: usize = self.left.iter().map(Bytes::len).sum();
            return SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        SizeHint::new()
    }
}

/// The error of the inner service and of its bodies.
#[derive(Debug)]
pub(super) struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed by the script")
    }
}

impl std::error::Error for Failed {}
