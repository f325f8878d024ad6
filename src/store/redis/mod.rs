//! [`RedisStore`]: a Redis or Valkey server, a cluster, or the master that sentinels name, through the `redis` crate.

mod breakers;
mod connection;
mod scripts;
mod server;

use std::{fmt, num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use redis::{Cmd, FromRedisValue, cmd};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use self::{
    breakers::Breakers,
    connection::{Connection, is_answer, least_busy},
    scripts::Scripts,
    server::Server,
};
use super::{
    Lease, PutNew, Store,
    breaker::{Breaker, Pass},
    is_chunk, is_log, is_mark,
};
use crate::{
    clock::moment,
    error::{BoxError, Error},
};

/// Keeps values in Redis or Valkey. All nodes of an application share the values, and the values survive restarts of
/// the nodes.
///
/// - *Eviction.* The server decides. Set a `maxmemory`, and the policy `allkeys-lru` or `allkeys-lfu`. With the
///   default, `noeviction`, a full server refuses values until others [expire](Self::expiry) or are removed. The cache
///   fetches evicted parts of a video again.
/// - *Persistence.* The cache needs none: `save ""` and `appendonly no` spare the server that work.
/// - *Versions.* Redis 4 or newer; 6.2 for [`refresh_on_use`](Self::refresh_on_use). The largest value is 512 MiB.
/// - *Leases.* They need `EVAL`. If an ACL forbids it, the store offers no leases, and each node fills for itself.
/// - *Log of purges.* Its values have no [expiry](Self::expiry). A server with a policy `allkeys-…` may evict them, and a
///   failover may lose the last of them. The cache notices the loss, and then validates the stored responses.
/// - *Failures.* The store connects at the first call, so an application starts without its Redis. If the server is
///   down or hangs, a few calls take up to the [`timeout`](Self::timeout) each. Then calls fail at once for a
///   [`pause`](Self::pause), and the cache works without the store.
///
/// Use the store within a Tokio runtime. Each of its connections lives as long as the runtime that it was made in.
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
    /// A connection of their own, because a manifest behind sixty chunks waits a fifth of a second.
    records: Connection,
    chunks: Box<[Connection]>,
    places: Semaphore,
}

impl RedisStore {
    /// One server, as `redis://user:password@host:port/database`, `unix:///path/to/socket?db=0`, or over TLS as
    /// `rediss://…`.
    ///
    /// TLS needs the feature `redis-tls`. If the build has more than one crypto provider of `rustls`, the application
    /// must install one. A public authority must have signed the server's certificate, or one of
    /// [`root_certificates`](Self::root_certificates).
    ///
    /// The call does not connect yet.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for any other URL.
    pub fn new(url: &str) -> Result<Self, Error> {
        Server::one(url).map(Self::with)
    }

    /// A cluster. Name one or more of its nodes; the client asks them for the others. Chunks are spread over all nodes.
    ///
    /// A [`pause`](Self::pause) applies to a sixteenth of the slots at a time, so roughly to the node that failed.
    /// While the client asks for the slots again, the other calls of that connection wait. If it asks a node that
    /// hangs, they fail after the [`timeout`](Self::timeout), too. The first call after a pause asks for the slots over
    /// new connections. If that call is answered, all later calls use the new connections.
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
    /// [`is_config`](Error::is_config) without a URL, or for one that is not a URL of a cluster.
    pub fn cluster(urls: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, Error> {
        Server::cluster(urls).map(Self::with)
    }

    /// The server that the sentinels at `urls` name as the master called `master`, also after a failover.
    ///
    /// The client asks the sentinels in their order. A sentinel that hangs delays a connection by up to a second, which
    /// is all of the default [`timeout`](Self::timeout).
    ///
    /// If the master needs a password, a database or TLS, let `master` be a URL with the name as its host:
    /// `redis://:password@mymaster/0`.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) without a URL, or for one that is not a URL of Redis.
    pub fn sentinel(urls: impl IntoIterator<Item = impl AsRef<str>>, master: &str) -> Result<Self, Error> {
        Server::sentinels(urls, master).map(Self::with)
    }

    /// Sets the prefix of the keys, which keeps them apart from other keys of the server. Default: `tvc:`.
    ///
    /// A prefix has visible ASCII characters, without braces, because braces would put all keys on one node of a
    /// cluster. With any other prefix, each call fails.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Trusts only servers whose certificate one of these authorities has signed, in PEM. Default: the authorities that
    /// browsers trust. They sign for no name within a private network.
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
    /// [`is_config`](Error::is_config) if `pem` has no certificate or an invalid one, if a URL does not begin with
    /// `rediss` or ends with `#insecure`, and for [`sentinel`](Self::sentinel), which does not support this.
    #[cfg(feature = "redis-tls")]
    pub fn root_certificates(mut self, pem: &[u8]) -> Result<Self, Error> {
        self.server.trust(pem)?;
        Ok(self)
    }

    /// Sets the number of connections for chunks. Manifests and leases have one more. A cluster has this many to each
    /// node. Default: 4.
    #[must_use]
    pub fn connections(mut self, connections: NonZeroUsize) -> Self {
        self.chunks = (0..connections.get()).map(|_| Connection::default()).collect();
        self
    }

    /// Sets the most calls for chunks at a time, over all connections. Other calls wait, and their wait counts towards
    /// the [`timeout`](Self::timeout). Default: 64.
    #[must_use]
    pub fn max_in_flight(mut self, calls: NonZeroUsize) -> Self {
        self.places = Semaphore::new(calls.get().min(Semaphore::MAX_PERMITS));
        self
    }

    /// Sets the longest that a call may take, with all waiting and connecting. Default: 1 second.
    ///
    /// Keep it below [`Timeouts::store`](crate::Timeouts::store), 2 seconds by default. If the layer gives up first,
    /// the store does not count the failure, and never [pauses](Self::pause).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long the server keeps a value after its put, but for the log of purges. Default: until the server evicts
    /// the value.
    #[must_use]
    pub fn expiry(mut self, expiry: Duration) -> Self {
        self.expiry = Some(expiry);
        self
    }

    /// Sets whether the [`expiry`](Self::expiry) counts from the last use of a value instead. Needs Redis 6.2, for
    /// `GETEX`. Default: `false`.
    #[must_use]
    pub fn refresh_on_use(mut self, refresh: bool) -> Self {
        self.refresh_on_use = refresh;
        self
    }

    /// Sets how long calls fail at once after three calls in a row without an answer. Then one call tries again.
    /// Default: 1 second.
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

    /// Asks for a chunk over the least busy connection for chunks, and for other values over the connection for
    /// records.
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
            // A full queue says nothing about the server. The calls that have places will tell.
            _place = place.map_err(|_| "timed out waiting for a place among the calls to redis")??;
            busy = least_busy(&self.chunks);
            connection = busy.as_deref().unwrap_or(connection);
        }

        // A connection to a cluster stays with a node that hangs as long as its kernel acknowledges packets, even after
        // another node took over its slots. So a try asks for the slots over a new connection, and delays no other
        // call.
        let anew = Connection::default();
        let is_anew = tries && self.server.is_cluster();
        let connection = if is_anew { &anew } else { connection };

        let time_left = deadline.saturating_duration_since(moment());
        let made = connection.made();
        let asked = timeout_at(deadline, connection.ask(&self.server, self.timeout, &command)).await;
        let Ok(answer) = asked else {
            // A call that waited long for its place left no time for an answer, and says nothing either.
            if time_left >= self.timeout / 2 {
                // The next answer on this connection would belong to the call that was given up. A connection to a
                // cluster has other calls as well.
                if !self.server.is_cluster() {
                    connection.retire(&made);
                }
                end(pass, false);
            }
            return Err("redis call timed out".into());
        };
        let is_answered = answer.as_ref().err().is_none_or(is_answer);
        if is_anew && is_answered {
            self.leave_for(&anew);
        }
        end(pass, is_answered);
        Ok(answer?)
    }

    /// Replaces the present connections, which may still lead to a node that has a successor.
    fn leave_for(&self, anew: &Connection) {
        for connection in &self.chunks {
            connection.replace(&Connection::default());
        }
        self.records.replace(anew);
    }

    /// The time at which a call that begins now is given up.
    fn deadline(&self) -> Result<Instant, Error> {
        // The clock has no time that late.
        let too_long = || Error::config("redis timeout is too long");
        moment().checked_add(self.timeout).ok_or_else(too_long)
    }

    /// The command that sets a value. A value of the log of purges has no expiry, because it must outlast the responses
    /// that it is about.
    fn setting(&self, key: &str, value: &[u8]) -> Result<Cmd, BoxError> {
        // The server would close the connection.
        if u64::try_from(value.len()).map_or(true, |length| length > LARGEST_VALUE) {
            return Err("value is larger than redis takes".into());
        }
        let mut command = Cmd::with_capacity(5, self.prefix.len() + key.len() + value.len() + 32);
        command.arg("SET").arg(self.named(key)?).arg(value);
        if let Some(expiry) = self.expiry.filter(|_| !is_log(key)) {
            command.arg("PX").arg(milliseconds(expiry));
        }
        Ok(command)
    }

    fn renewal(&self, key: &str, holder: &str, time: Duration) -> Result<Cmd, Error> {
        let mut command = cmd("EVAL");
        command.arg(RENEW).arg(1).arg(self.named(key)?).arg(holder).arg(milliseconds(time));
        Ok(command)
    }

    fn named(&self, key: &str) -> Result<String, Error> {
        let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'{' && byte != b'}';
        if !self.prefix.bytes().all(fits) {
            return Err(Error::config("redis prefix has a brace or a character that is not visible ascii"));
        }
        Ok([&self.prefix, key].concat())
    }
}

impl Store for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let name = self.named(key)?;
        let command = match self.expiry {
            Some(expiry) if self.refresh_on_use && !is_log(key) => {
                let mut command = one_key("GETEX", name);
                command.arg("PX").arg(milliseconds(expiry));
                command
            }
            _ => one_key("GET", name),
        };
        self.ask(key, command).await
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        let command = self.setting(key, &value)?;
        if is_mark(key) || is_log(key) {
            return self.ask_at_once(key, command).await;
        }
        self.ask(key, command).await
    }

    /// A removed value is wrong, so the remove goes out even while calls are paused.
    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        self.ask_at_once(key, one_key("UNLINK", self.named(key)?)).await
    }

    fn max_value_size(&self) -> Option<u64> {
        Some(LARGEST_VALUE)
    }

    /// The value under a lease's key is the holder's name.
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
        // A refused lease may have been granted just before the connection broke. The renewal tells; without an answer,
        // some holder has the lease. The first granted lease is renewed at once, because a holder that cannot renew it
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
        // The permission was withdrawn meanwhile. Another node may get the lease between the two calls; then two nodes
        // fill.
        let found: Option<String> = self.ask(key, one_key("GET", self.named(key)?)).await?;
        if found.as_deref() == Some(holder) {
            self.ask_at_once::<()>(key, one_key("UNLINK", self.named(key)?)).await?;
        }
        Ok(())
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        let mut command = self.setting(key, &value)?;
        command.arg("NX");
        let is_new: bool = self.ask_at_once(key, command).await?;
        Ok(if is_new { PutNew::Created } else { PutNew::Exists })
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may have a password.
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("expiry", &self.expiry)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Whether a call may fail at once during a pause.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// A delay would leave a wrong value in the store, or a node waiting.
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

/// The time in the range of Redis: at least one millisecond, and no more than it can add to the time of day.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).clamp(1, LONGEST)
}

const CHUNK_CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 64;

/// `proto-max-bulk-len` by default, which is also the size of the largest value.
const LARGEST_VALUE: u64 = 512 << 20;

/// A hundred years, in milliseconds.
const LONGEST: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

const RENEW: &str = "\
    if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
