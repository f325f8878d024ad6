//! [`Flow`]: a body that is forwarded, in either direction.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep},
};

/// The body of a client or the origin, frame by frame; empty by default.
///
/// It ends with an error if the sender's body does, and with [`io::ErrorKind::TimedOut`] if the sender is silent for
/// too long.
#[derive(Default)]
pub(crate) struct Flow {
    incoming: Option<Incoming>,
    /// The silence that ends the body; unlimited if `None`.
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    silent: bool,
    /// Dropping the sender is the message.
    sender: Option<oneshot::Sender<Infallible>>,
}

impl Flow {
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming), ..Self::default() }
    }

    pub(crate) fn limited(self, limit: Duration) -> Self {
        Self { limit: Some(limit), ..self }
    }

    /// Resolves, with an error, once the body has ended or was dropped.
    pub(crate) fn gone(&mut self) -> oneshot::Receiver<Infallible> {
        let (sender, receiver) = oneshot::channel();
        self.sender = (!self.is_end_stream()).then_some(sender);
        receiver
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        if !self.silent {
            timer.as_mut().reset(Instant::now() + limit);
            self.silent = true;
        }
        timer.as_mut().poll(cx)
    }
}

impl Body for Flow {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(frame) = Pin::new(incoming).poll_frame(cx) {
            self.silent = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.poll_silence(cx));
        Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::TimedOut).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
