//! [`OpendalStore`]: whatever an `opendal` operator speaks to.

use std::{fmt, future::Future};

use bytes::Bytes;
use opendal::{Buffer, Error, ErrorKind, Operator};

use super::Store;
use crate::error::BoxError;

/// Keeps values wherever an [`opendal::Operator`] does: in an S3 bucket, on a disk, in memcached, in Cloudflare KV.
///
/// The application builds the operator, with the services and layers it wants, and `opendal` among its own dependencies.
/// The store takes all that lies under the operator's `root`; nodes whose operators lead to one place share what is in it,
/// and it survives them. Only the service itself or a sweeper evicts values:
/// [the guide to stores][operations] has the settings for each of the four.
///
/// # Layers
///
/// opendal neither retries nor gives up by itself. The cache gives up after
/// [`Timeouts::store`](crate::Timeouts::store), 2 seconds by default, so what is worth trying again is worth it
/// soon: see [S3](#s3) for the numbers. [`TimeoutLayer`] comes before [`RetryLayer`], for a retry that is cut off is not one.
/// A retry goes on with a read that broke off from where it did. If a record was put anew meanwhile, its halves
/// prove nothing, and it is a miss.
///
/// # S3
///
/// A chunk is one object, and one request; nothing is uploaded in parts.
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
/// // Only where opendal is without its default features; without its `http-transport-reqwest` it does nothing.
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
/// opendal's features `services-s3`, `layers-timeout`, `layers-retry` and `layers-concurrent-limit` bring these. With
/// `default-features = false` every call fails (`ConfigInvalid`) unless the feature `http-transport-reqwest` is on, by just
/// that name, *and* [`opendal::install_default`] was called.
///
/// # Disk
///
/// `atomic_write_dir` is a must, on the same file system: without it a reader may see half of a value, and a process that
/// dies leaves it. With it, a value is there when it is whole; what a dead process or a dropped call leaves lies in that
/// folder only.
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
/// Either the server takes larger items (`-I 8m`), or chunks are cut to what it takes. A socket in the file system
/// (`memcached -s`) is worth it: over TCP, opendal 0.59 takes about 90 ms for a call of whatever size, for it sends
/// a request in many pieces and does not turn off the delay of small ones.
///
/// Without `TimeoutLayer`: opendal puts a connection back into its pool when a call is given up, with an answer
/// still to come, and the next call takes that answer for its own. The store itself sees each of its calls to the end.
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
/// // A little below the default limit of 1 MiB, which counts the key and a header, too.
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
/// // Few large values: each is a call far away, and values of up to 25 MiB are taken.
/// let layer = VideoCacheLayer::new(OpendalStore::new(operator))
///     .chunk_size(ChunkSize::new(4 << 20).unwrap())
///     .timeouts(Timeouts::default().store(limit));
/// # Ok::<_, opendal::Error>(())
/// ```
///
/// # Cancel safety
///
/// A dropped call may still happen, or have happened; over memcached it does. Neither is done by half.
///
/// [operations]: crate::guide::stores
/// [`RetryLayer`]: https://docs.rs/opendal/0.59/opendal/layers/struct.RetryLayer.html
/// [`TimeoutLayer`]: https://docs.rs/opendal/0.59/opendal/layers/struct.TimeoutLayer.html
pub struct OpendalStore {
    operator: Operator,
    max_value_size: Option<u64>,
    pools_connections: bool,
}

impl OpendalStore {
    /// A store of all that lies under the root of `operator`.
    pub fn new(operator: Operator) -> Self {
        let largest = operator.info().capability().write_total_max_size;
        let max_value_size = largest.and_then(|bytes| u64::try_from(bytes).ok());
        let pools_connections = operator.info().scheme() == "memcached";
        Self { operator, max_value_size, pools_connections }
    }

    /// The largest value, in bytes, that the service takes; chunks are cut to fit, and a larger one is not put. Default: what `operator` says of its service (25 MiB for Cloudflare KV), else no limit.
    #[must_use]
    pub fn max_value_size(mut self, bytes: u64) -> Self {
        self.max_value_size = Some(bytes);
        self
    }

    /// The end of a call; over memcached a call comes to its end even if nobody waits for it any more.
    ///
    /// A dropped call would put its connection back into opendal's pool with half a value sent, or an answer still
    /// to come, and the next call on it would take that answer for its own.
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
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        if self.max_value_size.is_some_and(|largest| length > largest) {
            return Err("the value is larger than the service takes".into());
        }
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
}

impl fmt::Debug for OpendalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpendalStore")
            .field("scheme", &self.operator.info().scheme())
            .field("max_value_size", &self.max_value_size)
            .finish_non_exhaustive()
    }
}

/// The key's path.
///
/// `a` and `a/b` may both be keys, and a file cannot have the name of a folder: a path ends as no key does.
fn path(key: &str) -> Result<String, BoxError> {
    // Services, and URLs on the way to them, take `a//b` and `a/./b` for `a/b`.
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("the key is no path".into());
    }
    let mut path = String::with_capacity(key.len() + 1);
    path.push_str(key);
    path.push('~');
    Ok(path)
}

fn in_one_piece(value: Buffer) -> Bytes {
    let bytes = value.to_bytes();
    drop(value);
    // A file is read into a buffer of 2 MiB: whoever keeps the value, even of a few bytes, would keep all of that.
    match bytes.try_into_mut() {
        Ok(own) if own.capacity() / 8 <= own.len() / 7 => own.freeze(),
        Ok(larger) => Bytes::copy_from_slice(&larger),
        Err(shared) => Bytes::copy_from_slice(&shared),
    }
}
