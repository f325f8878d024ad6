//! [`Wire`]: a TCP stream that other code can observe while hyper reads and writes it.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    time::Instant,
};

/// The stream that hyper reads and writes. Its [`Socket`] outlives it only if other code still holds it.
#[derive(Debug)]
pub(crate) struct Wire(Arc<Socket>);

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let state = State { moved: Instant::now(), blocked: None };
        Self(Arc::new(Socket { stream, heard: AtomicBool::new(false), state: Mutex::new(state) }))
    }

    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.0
    }
}

/// One end of a connection, and the events on it.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// Whether a byte came since [`Socket::listen`].
    heard: AtomicBool,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// When the last byte came or went.
    moved: Instant,
    /// Since when bytes wait that the peer does not take.
    blocked: Option<Instant>,
}

impl Socket {
    pub(crate) fn listen(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    pub(crate) fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Relaxed)
    }

    pub(crate) fn moved(&self) -> Instant {
        self.state().moved
    }

    pub(crate) fn blocked(&self) -> Option<Instant> {
        self.state().blocked
    }

    /// Whether the peer has neither closed the connection nor sent unread bytes.
    ///
    /// The system itself is asked, because tokio may not have noticed the latest bytes yet.
    #[cfg(unix)]
    pub(crate) fn is_quiet(&self) -> bool {
        use std::os::fd::AsFd;

        let twin = self.stream.as_fd().try_clone_to_owned().map(std::net::TcpStream::from);
        let peeked = twin.and_then(|twin| twin.peek(&mut [0]));
        peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// On other systems hyper notices it a moment later.
    #[cfg(not(unix))]
    #[expect(clippy::unused_self, reason = "the same on all systems")]
    pub(crate) fn is_quiet(&self) -> bool {
        true
    }

    /// Makes the system discard the unsent bytes when the connection is closed, and tells the peer that it broke.
    /// Otherwise the end of a body without a length would look like a clean one.
    pub(crate) fn reset_at_close(&self) {
        // A connection for which this fails has ended already.
        let _ = self.stream.set_zero_linger();
    }

    fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let mut state = self.state();
        match written {
            Poll::Ready(_) => {
                state.moved = Instant::now();
                state.blocked = None;
            }
            Poll::Pending if state.blocked.is_none() => state.blocked = Some(Instant::now()),
            Poll::Pending => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let socket = &self.0;
        loop {
            ready!(socket.stream.poll_read_ready(cx))?;
            let room = buffer.remaining();
            let mut read = None;
            // A read that leaves room has taken all there was. tokio hears so now, and need not find out by a further
            // call of the system.
            let tried = socket.stream.try_io(Interest::READABLE, || {
                let length = *read.insert(socket.stream.try_read_buf(buffer)?);
                // Elsewhere, the system tells of new bytes only after it was really asked in vain.
                let has_emptied = cfg!(unix) && (1..room).contains(&length);
                if has_emptied { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (read, tried) {
                (Some(0), _) => return Poll::Ready(Ok(())),
                (Some(_), _) => {
                    socket.heard.store(true, Ordering::Relaxed);
                    socket.state().moved = Instant::now();
                    return Poll::Ready(Ok(()));
                }
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                (None, _) => {}
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let stream = &self.0.stream;
        let written = loop {
            match stream.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
            match stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => break Poll::Ready(written),
            }
        };
        self.0.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// hyper drops the stream next, which closes it.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
