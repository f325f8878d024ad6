//! [`OpendalStore`]: any service that an `opendal` operator supports.

mod new;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use opendal::{Buffer, Error, ErrorKind, Operator};
use tokio::{sync::OnceCell, time::timeout};

use self::new::Way;
use super::{PutNew, Store};
use crate::error::BoxError;

/// Keeps values through an [`opendal::Operator`]: in an S3 bucket, on a disk, in memcached, in Cloudflare KV.
///
/// The application builds the operator with the services and layers that it wants. `opendal` is re-exported as
/// `tower_video_cache::opendal`; name it among your own dependencies to switch on its services. The store owns all
/// values under the operator's `root`. Nodes whose operators lead to one place share the values there, and the values
/// survive the nodes. The store evicts no value: the service or a sweeper must. The [guide to
/// stores](crate::guide::stores) says what to configure for each of the four.
///
/// # Layers
///
/// opendal has no retries and no timeouts of its own. The cache gives up after
/// [`Timeouts::store`](crate::Timeouts::store), 2 seconds by default, so a retry must come soon: see [S3](#s3) for the
/// numbers. Put [`TimeoutLayer`] before [`RetryLayer`], so that the timeout applies to each attempt. A retry continues
/// a broken read from the byte where it broke. If the record was replaced meanwhile, the two halves fail their proof,
/// and the read is a miss.
///
/// # S3
///
/// Each chunk is one object and one request, without multipart uploads.
///
/// ```no_run
/// use std::time::Duration;
///
/// use opendal::{
///     layers::{ConcurrentLimitLayer, RetryLayer, TimeoutLayer},
///     services::S3,
///     Operator,
/// };
/// use tower_video_cache::{OpendalStore, VideoCacheLayer};
///
/// // Needed only if opendal has no default features. It does nothing without opendal's `http-transport-reqwest`.
/// opendal::install_default();
/// let bucket = S3::default().bucket("films").region("eu-central-1").root("cache");
/// let limit = Duration::from_secs(2);
/// let operator = Operator::new(bucket)?
///     .layer(ConcurrentLimitLayer::new(64))
///     .layer(TimeoutLayer::new().with_timeout(limit).with_io_timeout(limit))
///     .layer(RetryLayer::new().with_max_times(1).with_min_delay(Duration::from_millis(50)));
/// let layer = VideoCacheLayer::new(OpendalStore::new(operator));
/// # Ok::<_, opendal::Error>(())
/// ```
///
/// This needs opendal's features `services-s3`, `layers-timeout`, `layers-retry` and `layers-concurrent-limit`. With
/// `default-features = false`, every call fails (`ConfigInvalid`) unless the feature `http-transport-reqwest` is on
/// *and* [`opendal::install_default`] was called.
///
/// # Disk
///
/// Set `atomic_write_dir`, on the same file system. Without it, a reader may see half of a value, and a process that
/// dies leaves half of a value. With it, a value appears once it is whole, and the remains of a dead process or a
/// dropped call stay in that folder.
///
/// ```
/// use opendal::{services::Fs, Operator};
/// use tower_video_cache::{OpendalStore, VideoCacheLayer};
///
/// # let folder = std::env::temp_dir().join(format!("tower-video-cache-doc-{}", std::process::id()));
/// # let (films, unfinished) = (folder.join("films"), folder.join("unfinished"));
/// # let (films, unfinished) = (films.to_str().unwrap(), unfinished.to_str().unwrap());
/// // "/var/cache/films" and "/var/cache/unfinished", say.
/// let disk = Fs::default().root(films).atomic_write_dir(unfinished);
/// let layer = VideoCacheLayer::new(OpendalStore::new(Operator::new(disk)?));
/// # std::fs::remove_dir_all(folder).unwrap();
/// # Ok::<_, opendal::Error>(())
/// ```
///
/// # memcached
///
/// Let the server take larger items (`-I 8m`), or limit the size of values as below. Use a socket in the file system
/// (`memcached -s`): over TCP, opendal 0.59 takes about 90 ms for a call of any size, because it sends a request in
/// many small pieces and leaves their delay on.
///
/// Do not use `TimeoutLayer`. If a call is given up, opendal returns its connection to the pool with the answer still
/// to come, and the next call takes that answer for its own. The store itself runs each of its calls to the end.
///
/// ```no_run
/// use std::time::Duration;
///
/// use opendal::{services::Memcached, Operator};
/// use tower_video_cache::{OpendalStore, VideoCacheLayer};
///
/// let server = Memcached::default()
///     .endpoint("unix:///run/memcached/memcached.sock")
///     .root("films")
///     .default_ttl(Duration::from_secs(7 * 24 * 3600));
/// // A little below the default limit of 1 MiB, which includes the key and a header.
/// let store = OpendalStore::new(Operator::new(server)?).max_value_size((1 << 20) - 512);
/// let layer = VideoCacheLayer::new(store);
/// # Ok::<_, opendal::Error>(())
/// ```
///
/// # Cloudflare KV
///
/// ```no_run
/// use std::time::Duration;
///
/// use opendal::{layers::TimeoutLayer, services::CloudflareKv, Operator};
/// use tower_video_cache::{ChunkSize, OpendalStore, Timeouts, VideoCacheLayer};
///
/// let namespace = CloudflareKv::default()
///     .account_id("0123456789abcdef")
///     .namespace_id("fedcba9876543210")
///     .api_token("from-the-environment")
///     .default_ttl(Duration::from_secs(7 * 24 * 3600));
/// let limit = Duration::from_secs(5);
/// let operator = Operator::new(namespace)?
///     .layer(TimeoutLayer::new().with_timeout(limit).with_io_timeout(limit));
/// // Each call goes far, so use few large chunks. The service takes values of up to 25 MiB.
/// let layer = VideoCacheLayer::new(OpendalStore::new(operator))
///     .chunk_size(ChunkSize::new(4 << 20).unwrap())
///     .timeouts(Timeouts::default().store(limit));
/// # Ok::<_, opendal::Error>(())
/// ```
///
/// # Shared log of purges
///
/// The store [creates](Store::put_new) a value that no other process creates, if the service can:
///
/// - *S3, Azure, GCS and others* for which opendal has `write_with_if_not_exists`. Some servers ignore the condition, or
///   check it before they write and not while. So the first call has several writers race for the paths of a few small
///   values under `p/`. If two of them win, the store offers no such values.
/// - *A disk.* A hard link to a file that is whole takes the path, with or without `atomic_write_dir`. opendal's own
///   condition does not serve: with `atomic_write_dir`, two writers may both find the path free. A process that dies
///   leaves a file under `p/` whose name does not end with `~`.
/// - *memcached and Cloudflare KV* cannot.
///
/// # Cancel safety
///
/// A dropped call may or may not take effect, and never by half. Over memcached it always takes effect.
///
/// [`RetryLayer`]: https://docs.rs/opendal/0.59/opendal/layers/struct.RetryLayer.html
/// [`TimeoutLayer`]: https://docs.rs/opendal/0.59/opendal/layers/struct.TimeoutLayer.html
pub struct OpendalStore {
    operator: Operator,
    max_value_size: Option<u64>,
    pools_connections: bool,
    /// How the service creates a new value, once it is known.
    way: Arc<OnceCell<Way>>,
}

impl OpendalStore {
    /// A store of all values under the root of `operator`.
    pub fn new(operator: Operator) -> Self {
        let largest = operator.info().capability().write_total_max_size;
        let max_value_size = largest.and_then(|bytes| u64::try_from(bytes).ok());
        let pools_connections = operator.info().scheme() == "memcached";
        Self { operator, max_value_size, pools_connections, way: Arc::default() }
    }

    /// Sets the size of the largest value that the service takes, in bytes. Default: the limit that `operator` reports
    /// (25 MiB for Cloudflare KV), or no limit.
    ///
    /// The cache cuts its chunks to fit, and the store refuses larger values.
    #[must_use]
    pub fn max_value_size(mut self, bytes: u64) -> Self {
        self.max_value_size = Some(bytes);
        self
    }

    /// How the service creates a new value. The first call finds out.
    async fn way(&self) -> Result<Way, BoxError> {
        if let Some(way) = self.way.get() {
            return Ok(*way);
        }
        let (way, operator) = (Arc::clone(&self.way), self.operator.clone());
        // The task runs to its end even if its caller gives up. The next caller need not begin anew.
        let found = tokio::spawn(async move {
            let finding = way.get_or_try_init(|| Way::find(&operator));
            timeout(LONGEST_FIND, finding).await?.copied()
        });
        found.await?
    }

    fn check_size(&self, value: &Bytes) -> Result<(), BoxError> {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        if self.max_value_size.is_some_and(|largest| length > largest) {
            return Err("the value is larger than the service takes".into());
        }
        Ok(())
    }

    /// Waits for the end of a call. Over memcached, a call runs to its end even if its future is dropped.
    ///
    /// A dropped call would return its connection to opendal's pool with half a value sent, or an answer still to come.
    /// The next call on the connection would take that answer for its own.
    async fn end_of<T: Send + 'static>(
        &self,
        call: impl Future<Output = opendal::Result<T>> + Send + 'static,
    ) -> opendal::Result<T> {
        if !self.pools_connections {
            return call.await;
        }
        let ended = tokio::spawn(call).await;
        ended.map_err(|error| Error::new(ErrorKind::Unexpected, "the call did not end").set_source(error))?
    }
}

impl Store for OpendalStore {
    async fn get(&self, key: &str) -> Result<Option<Bytes>, BoxError> {
        let (path, operator) = (path(key)?, self.operator.clone());
        match self.end_of(async move { operator.read(&path).await }).await {
            Ok(value) => Ok(Some(in_one_piece(value))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        self.check_size(&value)?;
        let (path, operator) = (path(key)?, self.operator.clone());
        self.end_of(async move { operator.write(&path, value).await }).await?;
        Ok(())
    }

    async fn remove(&self, key: &str) -> Result<(), BoxError> {
        let (path, operator) = (path(key)?, self.operator.clone());
        match self.end_of(async move { operator.delete(&path).await }).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn max_value_size(&self) -> Option<u64> {
        self.max_value_size
    }

    async fn put_new(&self, key: &str, value: Bytes) -> Result<PutNew, BoxError> {
        self.check_size(&value)?;
        let path = path(key)?;
        self.way().await?.write(&self.operator, &path, value).await
    }
}

impl fmt::Debug for OpendalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpendalStore")
            .field("scheme", &self.operator.info().scheme())
            .field("max_value_size", &self.max_value_size)
            .finish_non_exhaustive()
    }
}

/// The path of a key.
///
/// Both `a` and `a/b` may be keys, and a file cannot have the name of a folder. So a path ends with a character that no
/// key has.
fn path(key: &str) -> Result<String, BoxError> {
    // Services and URLs treat `a//b` and `a/./b` as `a/b`.
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("the key is not a path".into());
    }
    let mut path = String::with_capacity(key.len() + 1);
    path.push_str(key);
    path.push('~');
    Ok(path)
}

fn in_one_piece(value: Buffer) -> Bytes {
    let bytes = value.to_bytes();
    drop(value);
    // opendal reads a file into a buffer of 2 MiB. A value of a few bytes must not keep all of that.
    match bytes.try_into_mut() {
        Ok(own) if own.capacity() / 8 <= own.len() / 7 => own.freeze(),
        Ok(larger) => Bytes::copy_from_slice(&larger),
        Err(shared) => Bytes::copy_from_slice(&shared),
    }
}

/// opendal itself waits for ever. So would all callers, for a server that hung once.
const LONGEST_FIND: Duration = Duration::from_secs(10);
