//! [`OpendalStore`]: whatever an `opendal` operator speaks to.

use std::{fmt, future::Future};

use bytes::Bytes;
use opendal::{Buffer, Error, ErrorKind, Operator};

use super::Store;
use crate::error::BoxError;

/// Keeps values wherever an [`opendal::Operator`] does.
pub struct OpendalStore {
    operator: Operator,
    largest_value: Option<u64>,
    pools_connections: bool,
}

impl OpendalStore {
    /// A store of all that lies under the root of `operator`.
    pub fn new(operator: Operator) -> Self {
        let largest = operator.info().capability().write_total_max_size;
        let largest_value = largest.and_then(|bytes| u64::try_from(bytes).ok());
        let pools_connections = operator.info().scheme() == "memcached";
        Self { operator, largest_value, pools_connections }
    }

    /// The largest value, in bytes, that the service takes; chunks are cut to fit.
    /// Default: what `operator` says of its service (25 MiB for Cloudflare KV), else no limit.
    #[must_use]
    pub fn largest_value(mut self, bytes: u64) -> Self {
        self.largest_value = Some(bytes);
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
            Ok(value) => Ok(Some(in_one_piece(&value))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn put(&self, key: &str, value: Bytes) -> Result<(), BoxError> {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        if self.largest_value.is_some_and(|largest| length > largest) {
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

    fn largest_value(&self) -> Option<u64> {
        self.largest_value
    }
}

impl fmt::Debug for OpendalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpendalStore")
            .field("scheme", &self.operator.info().scheme())
            .field("largest_value", &self.largest_value)
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

fn in_one_piece(value: &Buffer) -> Bytes {
    value.to_bytes()
}
