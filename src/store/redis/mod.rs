//! [`RedisStore`]: one Redis or Valkey server, a cluster of them, or whichever of them is the master, through the
//! `redis` crate.

mod breakers;
mod connection;
mod scripts;
mod server;

use std::{fmt, num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use redis::{cmd, Cmd, FromRedisValue};
use tokio::{
    sync::Semaphore,
    time::{timeout_at, Instant},
};

use self::{
    breakers::Breakers,
    connection::{is_answer, least_busy, Connection},
    scripts::Scripts,
    server::Server,
};
use super::{
    breaker::{Breaker, Pass},
    is_chunk, is_mark, Lease, Store,
};
use crate::{
    clock::moment,
    error::{BoxError, Error},
};

/// Keeps values in Redis or Valkey: shared between all nodes of an application, and still there when they restart.
///
/// The server decides what is evicted. Give it a `maxmemory`, and the policy `allkeys-lru` or `allkeys-lfu`; with the
/// default, `noeviction`, a full server refuses what is put until something [expires](Self::expiry) or is removed. It
/// may forget any part of a video, which is then fetched again. It needs no persistence: `save ""` and `appendonly no`
/// spare it the work. Values of up to 512 MiB are kept. From version 4 on, each Redis will do (6.2 for
/// [`refresh_on_use`](Self::refresh_on_use)). Leases need `EVAL`, where an ACL says what the user may
/// do: without it the store offers none, and each node fills for itself.
///
/// Nothing is connected before the first call, so an application starts though its Redis does not. A server that is
/// down or hangs costs each of a few calls at most the [`timeout`](Self::timeout), then none for a
/// [`pause`](Self::pause): calls fail at once, and the cache goes without.
///
/// It must be used within a Tokio runtime, and each of its connections lives as long as the runtime that it was made in.
///
/// ```no_run
/// # fn main() -> Result<(), tower_video_cache::Error> {
/// use std::time::Duration;
/// use tower_video_cache::{RedisStore, VideoCacheLayer};
///
/// let store = RedisStore::new("redis://127.0.0.1:6379")?
///     .expiry(Duration::from_secs(7 * 24 * 60 * 60))
///     .refresh_on_use(true);
/// let layer = VideoCacheLayer::new(store);
/// # Ok(())
/// # }
/// ```
pub struct RedisStore {
    server: Server,
    prefix: String,
    expiry: Option<Duration>,
    refresh_on_use: bool,
    timeout: Duration,
    breakers: Breakers,
    scripts: Scripts,
    /// What is small is not to wait behind what is large: a manifest behind sixty chunks waits a fifth of a second.
    records: Connection,
    chunks: Box<[Connection]>,
    places: Semaphore,
}

impl RedisStore {
    /// One server, as `redis://user:password@host:port/database`, `unix:///path/to/socket?db=0`, or over TLS as
    /// `rediss://…`.
    ///
    /// TLS needs the feature `redis-tls`, and a crypto provider of `rustls` that the application has installed, unless
    /// there is just one in its build. The server's certificate must be signed by a public authority, or by one of
    /// [`root_certificates`](Self::root_certificates).
    ///
    /// Does not connect yet.
    ///
    /// # Errors
    ///
    /// The URL is none of these; [`Error::is_config`] says so.
    pub fn new(url: &str) -> Result<Self, Error> {
        Server::one(url).map(Self::with)
    }

    /// A cluster, of which one or more nodes are named; the others are asked for. Chunks are spread over all of them.
    ///
    /// A node that fails has the [`pause`](Self::pause) for itself, about: it is taken by sixteenths of the slots. But
    /// while `redis` asks for the slots anew, the other calls of that connection wait with it; where it asks a node that
    /// hangs, for up to the [`timeout`](Self::timeout), which fails them as well. The call that tries after a pause asks
    /// for the slots over connections of its own; if it is answered, all further calls do.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), tower_video_cache::Error> {
    /// let store = tower_video_cache::RedisStore::cluster(["redis://10.0.0.1:7000", "redis://10.0.0.2:7000"])?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// There is no URL, or one that is none; [`Error::is_config`] says so.
    pub fn cluster(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, Error> {
        Server::cluster(urls).map(Self::with)
    }

    /// Whichever server the sentinels at `urls` call the master of this name, also after a failover.
    ///
    /// They are asked in their order, and one that hangs delays a connection by up to a second: all of the default
    /// [`timeout`](Self::timeout).
    ///
    /// Where the master wants a password, a database or TLS, `master` is a URL whose host is the name:
    /// `redis://:password@mymaster/0`.
    ///
    /// # Errors
    ///
    /// There is no URL, or one that is none; [`Error::is_config`] says so.
    pub fn sentinel(urls: impl IntoIterator<Item = impl AsRef<str>>, master: &str) -> Result<Self, Error> {
        Server::sentinels(urls, master).map(Self::with)
    }

    /// What the keys begin with, to keep them apart from other keys of the server: visible ASCII characters without
    /// braces, which would put all keys on one node of a cluster. With any other prefix each call is an error.
    /// Default: `tvc:`.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Trusts servers whose certificate is signed by one of these authorities, in PEM, and no other. Default: the
    /// authorities that browsers trust, which sign for no name within a private network.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_video_cache::RedisStore;
    ///
    /// let authority = std::fs::read("/etc/ssl/internal-ca.pem")?;
    /// let store = RedisStore::new("rediss://cache.internal:6380")?.root_certificates(&authority)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// There is no certificate in `pem`, or one that is none; a URL does not begin with `rediss`, or ends with
    /// `#insecure`; or the master is found by sentinels, where this is not offered. [`Error::is_config`] says so.
    #[cfg(feature = "redis-tls")]
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.server.trust(pem)?;
        Ok(self)
    }

    /// How many connections the chunks have; manifests and leases have one more. Of a cluster, so many to each node.
    /// Default: 4.
    #[must_use]
    pub fn connections(mut self, connections: NonZeroUsize) -> Self {
        self.chunks = (0..connections.get()).map(|_| Connection::default()).collect();
        self
    }

    /// How many calls for chunks are on their way at once, over all connections. The others wait, and their wait counts
    /// towards the [`timeout`](Self::timeout). Default: 64.
    #[must_use]
    pub fn max_in_flight(mut self, calls: NonZeroUsize) -> Self {
        self.places = Semaphore::new(calls.get().min(Semaphore::MAX_PERMITS));
        self
    }

    /// The longest that a call may take, with all waiting and connecting. Keep it below the layer's
    /// [`Timeouts::store`](crate::Timeouts::store), 2 seconds by default: a call that the layer gives up first
    /// tells the store nothing, and a server that hangs is never left alone. Default: 1 second.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a value is kept after it was put. Default: until the server evicts it.
    #[must_use]
    pub fn expiry(mut self, expiry: Duration) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Whether the [`expiry`](Self::expiry) is reckoned from the last use instead: what is watched stays. Needs Redis
    /// 6.2, for `GETEX`. Default: `false`.
    #[must_use]
    pub fn refresh_on_use(mut self, refreshed: bool) -> Self {
        self.refresh_on_use = refreshed;
        self
    }

    /// How long the server is left alone after three calls in a row that it did not answer; calls fail at once
    /// meanwhile. Then one call tries again. Default: 1 second.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.breakers = Breakers::new(self.server.is_cluster(), pause);
        self
    }

    fn with(server: Server) -> Self {
        Self {
            breakers: Breakers::new(server.is_cluster(), Duration::from_secs(1)),
            server,
            prefix: "tvc:".to_owned(),
            expiry: None,
            refresh_on_use: false,
            timeout: Duration::from_secs(1),
            scripts: Scripts::default(),
            records: Connection::default(),
            chunks: (0..CHUNK_CONNECTIONS).map(|_| Connection::default()).collect(),
            places: Semaphore::new(IN_FLIGHT),
        }
    }

    async fn ask<T: FromRedisValue>(&self, key: &str, command: Cmd) -> Result<T, BoxError> {
        self.ask_until(self.deadline()?, key, command, Urgency::CanWait).await
    }

    async fn ask_at_once<T: FromRedisValue>(&self, key: &str, command: Cmd) -> Result<T, BoxError> {
        self.ask_until(self.deadline()?, key, command, Urgency::AtOnce).await
    }

    /// Asks for a chunk over the least busy of their connections, for anything else over the one for records.
    async fn ask_until<T: FromRedisValue>(
        &self,
        deadline: Instant,
        key: &str,
        command: Cmd,
        urgency: Urgency,
    ) -> Result<T, BoxError> {
        let breaker = self.breakers.of([&self.prefix, key]);
        let pass = match urgency {
            Urgency::CanWait => breaker.map(Breaker::admit).transpose()?,
            Urgency::AtOnce => breaker.map(Breaker::admit_at_once),
        };
        let tries = pass.as_ref().is_some_and(Pass::is_try);
        let (_place, busy);
        let mut connection = &self.records;
        if is_chunk(key) {
            let place = timeout_at(deadline, self.places.acquire()).await;
            // That so many calls are on their way says nothing about the server: those who have places will tell.
            _place = place.map_err(|_| "too many calls to redis were on their way")??;
            busy = least_busy(&self.chunks);
            connection = busy.as_deref().unwrap_or(connection);
        }

        // A connection to a cluster never leaves a node that hangs while its kernel acknowledges what is sent, not even
        // for the one that has its slots by now. So a try asks for the slots anew, and holds up nobody else's calls.
        let anew = Connection::default();
        let is_anew = tries && self.server.is_cluster();
        let connection = if is_anew { &anew } else { connection };

        let time_left = deadline.saturating_duration_since(moment());
        let made = connection.made();
        let asked = timeout_at(deadline, connection.ask(&self.server, self.timeout, &command)).await;
        let Ok(answer) = asked else {
            // A call that waited long for its place had no time for an answer, and says nothing either.
            if time_left >= self.timeout / 2 {
                // What the connection brings next is what was given up; one to a cluster has others as well.
                if !self.server.is_cluster() {
                    connection.retire(&made);
                }
                end(pass, false);
            }
            return Err("redis took too long".into());
        };
        let is_answered = answer.as_ref().err().is_none_or(is_answer);
        if is_anew && is_answered {
            self.leave_for(&anew);
        }
        end(pass, is_answered);
        Ok(answer?)
    }

    /// The connections that are there may still lead to a node that this one found a successor of.
    fn leave_for(&self, anew: &Connection) {
        for connection in &self.chunks {
            connection.replace(&Connection::default());
        }
        self.records.replace(anew);
    }

    /// When a call that begins now is given up.
    fn deadline(&self) -> Result<Instant, Error> {
        // A limit past what the clock can tell.
        let too_long = || Error::config("the timeout of redis is too long");
        moment().checked_add(self.timeout).ok_or_else(too_long)
    }

    fn renewal(&self, key: &str, holder: &str, time: Duration) -> Result<Cmd, Error> {
        let mut command = cmd("EVAL");
        command.arg(RENEW).arg(1).arg(self.named(key)?).arg(holder).arg(milliseconds(time));
        Ok(command)
    }

    fn named(&self, key: &str) -> Result<String, Error> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
        if !self.prefix.bytes().all(fits) {
            return Err(Error::config("the prefix of redis has other than visible ascii characters"));
        }
        Ok([&self.prefix, key].concat())
    }
}

impl Store for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let name = self.named(key)?;
        let command = match self.expiry {
            Some(expiry) if self.refresh_on_use => {
                let mut command = one_key("GETEX", name);
                command.arg("PX").arg(milliseconds(expiry));
                command
            }
            _ => one_key("GET", name),
        };
        self.ask(key, command).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        // The server would end the connection.
        if u64::try_from(value.len()).map_or(true, |length| length > LARGEST_VALUE) {
            return Err("the value is larger than redis keeps".into());
        }
        let mut command = Cmd::with_capacity(5, self.prefix.len() + key.len() + value.len() + 32);
        command.arg("SET").arg(self.named(key)?).arg(&*value);
        if let Some(expiry) = self.expiry {
            command.arg("PX").arg(milliseconds(expiry));
        }
        if is_mark(key) {
            return self.ask_at_once(key, command).await;
        }
        self.ask(key, command).await
    }

    /// What is taken out is untrue: that holds up nobody but who waits for it to be out.
    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.ask_at_once(key, one_key("UNLINK", self.named(key)?)).await
    }

    fn max_value_size(&self) -> Option<u64> {
        Some(LARGEST_VALUE)
    }

    /// The lease is a value under its key, which is the holder's name.
    async fn lease(&self, key: &str, holder: &str, time: Duration) -> Result<Lease, BoxError> {
        if self.scripts.are_forbidden() {
            return Ok(Lease::NotOffered);
        }
        let mut command = one_key("SET", self.named(key)?);
        command.arg(holder).arg("NX").arg("PX").arg(milliseconds(time));
        let deadline = self.deadline()?;
        let is_granted: bool = self.ask_until(deadline, key, command, Urgency::CanWait).await?;
        if is_granted && self.scripts.are_allowed() {
            return Ok(Lease::Granted);
        }
        // Of a lease that is refused: the server may have granted it, and the connection broken before it could say so. If
        // it does not tell now, somebody has the lease all the same. Of the first that is granted: whoever cannot renew it
        // cannot use it.
        let renewal = self.renewal(key, holder, time)?;
        let renewed = self.ask_until(deadline, key, renewal, Urgency::CanWait).await;
        if self.scripts.heard(&renewed) {
            if is_granted {
                self.ask_at_once::<()>(key, one_key("UNLINK", self.named(key)?)).await?;
            }
            return Ok(Lease::NotOffered);
        }
        let is_ours = is_granted || renewed.unwrap_or(false);
        Ok(if is_ours { Lease::Granted } else { Lease::Taken })
    }

    async fn renew(&self, key: &str, holder: &str, time: Duration) -> Result<bool, BoxError> {
        let renewed = self.ask(key, self.renewal(key, holder, time)?).await;
        self.scripts.heard(&renewed);
        renewed
    }

    async fn release(&self, key: &str, holder: &str) -> Result<(), BoxError> {
        if !self.scripts.are_forbidden() {
            let mut command = cmd("EVAL");
            command.arg(RELEASE).arg(1).arg(self.named(key)?).arg(holder);
            let released = self.ask_at_once(key, command).await;
            if !self.scripts.heard(&released) {
                return released;
            }
        }
        // The permission was taken away meanwhile. It may become another's between the two; then two nodes fill.
        let found: Option<String> = self.ask(key, one_key("GET", self.named(key)?)).await?;
        if found.as_deref() == Some(holder) {
            self.ask_at_once::<()>(key, one_key("UNLINK", self.named(key)?)).await?;
        }
        Ok(())
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No URL: it may have a password.
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("expiry", &self.expiry)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Whether a call may be left out while the server is left alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// An answer would be untrue, or somebody wait, for as long as it is.
    AtOnce,
    CanWait,
}

fn end(pass: Option<Pass<'_>>, ok: bool) {
    if let Some(pass) = pass {
        pass.ended(ok);
    }
}

fn one_key(name: &str, key: String) -> Cmd {
    let mut command = cmd(name);
    command.arg(key);
    command
}

/// As Redis wants it: at least one, and no more than it can add to the time of day.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST)
}

const CHUNK_CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 64;

/// `proto-max-bulk-len`, as it is set by default, is also the most that a value can be.
const LARGEST_VALUE: u64 = 512 << 20;

/// A hundred years, in milliseconds.
const LONGEST: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

const RENEW: &str = "\
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
