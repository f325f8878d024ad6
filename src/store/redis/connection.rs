//! One connection to the server, made at the first call, and again after it broke.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind};
use tokio::sync::OnceCell;

use super::server::{Link, Server};

/// The place of a connection. Concurrent calls share the connection and the wait for it.
#[derive(Default)]
pub(super) struct Connection {
    place: Mutex<Made>,
    calls: AtomicUsize,
}

/// A connection that is made or about to be made.
pub(super) type Made = Arc<OnceCell<Link>>;

/// Counts one call on a connection, until it is dropped.
pub(super) struct Busy<'a>(&'a Connection);

/// The connection with the fewest calls, and the first of several. If calls come one by one, its buffers are still in
/// the processor's cache.
pub(super) fn least_busy(connections: &[Connection]) -> Option<Busy<'_>> {
    let chosen = connections.iter().min_by_key(|connection| connection.calls.load(Ordering::Relaxed))?;
    chosen.calls.fetch_add(1, Ordering::Relaxed);
    Some(Busy(chosen))
}

impl Deref for Busy<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Sends a command, and sends it again if the connection broke meanwhile, as after a restart of the server. It does
    /// not try again if no connection could be made. A timeout of the caller covers both attempts.
    ///
    /// Any command may run twice.
    pub(super) async fn ask<T: FromRedisValue>(
        &self,
        server: &Server,
        timeout: Duration,
        command: &Cmd,
    ) -> RedisResult<T> {
        let mut tried_before = false;
        loop {
            let made = self.made();
            let mut link = made.get_or_try_init(|| server.connect(timeout)).await?.clone();
            match link.ask(command).await {
                Err(error) if is_broken(&error) => {
                    self.retire(&made);
                    if tried_before {
                        return Err(error);
                    }
                    tried_before = true;
                }
                answered => return answered,
            }
        }
    }

    /// The connection for the next call.
    pub(super) fn made(&self) -> Made {
        Arc::clone(&self.place.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has the next call use the connection of another place.
    pub(super) fn replace(&self, other: &Self) {
        let made = other.made();
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = made;
    }

    /// Leaves a connection to the calls that use it already. The next call makes another.
    pub(super) fn retire(&self, made: &Made) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&place, made) {
            *place = Made::default();
        }
    }
}

/// Whether the server understood the command and refused it. Any other error says that it cannot answer now.
pub(super) fn is_answer(error: &RedisError) -> bool {
    match error.kind() {
        // Out of memory, a wrong type, no permission and the like.
        ErrorKind::Extension => true,
        ErrorKind::Server(kind) => !matches!(
            kind,
            // More redirections than the client follows.
            ServerErrorKind::Ask
                | ServerErrorKind::Moved
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::TryAgain
        ),
        _ => false,
    }
}

/// Whether another connection may help: this one ended, lost its place in the protocol, or leads to a server that is no
/// longer the master.
fn is_broken(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}
