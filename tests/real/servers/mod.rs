//! The common parts of all servers.

pub(crate) mod authority;
pub(crate) mod memcached;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod s3;

use std::{future::Future, time::Duration};

use tower_video_cache::Store;

pub(crate) use self::process::{Process, answers, free_port, says, soon, up};
use crate::trials::Programs;

/// A server that can fail, and a store over it.
pub(crate) trait Server: Sized {
    type Store: Store;

    const PROGRAMS: Programs;

    /// Starts an empty server. Behind a relay, it must listen at a port.
    fn begin(at_a_port: bool) -> impl Future<Output = Self>;

    /// A store of its own, as another node has. Each of its calls takes no longer than the limit.
    fn store(&self, relay: Option<u16>, limit: Duration) -> Self::Store;

    fn port(&self) -> u16;

    fn process(&mut self) -> &mut Process;

    /// Starts the server again at the same place.
    fn begin_again(&mut self) -> impl Future<Output = ()>;
}
