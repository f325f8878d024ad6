//! [`Purger`]: takes stored responses out, or ends their freshness.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Uri, header, request, uri::PathAndQuery};

use crate::{
    engine::{
        current::Current,
        purge::{effective_within, purge},
        state::entry::Target,
    },
    error::Error,
    format::{
        key::CacheKey,
        purges::{MOST_SELECTORS, Selector},
    },
    futures::to_its_end,
    semantics::{
        groups::is_group_name,
        purge::{Fate, group_hash, origin_hash},
        reference::origin_of,
    },
};

/// Takes stored responses out on behalf of an operator, or ends their freshness:
/// [`CacheHandle::purger`](crate::CacheHandle::purger). Clones are cheap.
///
/// When a purge has returned, no later request on this node gets as fresh what the inner service was asked for before the
/// purge, and no later request is answered from a fill that was begun before it. On other nodes that is true within
/// [`Purged::effective_within`]. A body that has begun is sent to its end.
///
/// - [`uri`](Self::uri), [`request`](Self::request) and [`key`](Self::key) change the record of one key, with all its
///   variants, and are in the log, too, if there is a [`purge_log`](crate::VideoCacheLayer::purge_log). Fills under way
///   commit nothing any more. Another node on the same store commits no fill that was begun
///   before, but requests there may join such a fill until it ends.
/// - [`uri_prefix`](Self::uri_prefix), [`prefix`](Self::prefix), [`groups`](Self::groups), [`origin`](Self::origin) and
///   [`all`](Self::all) add one entry to a log of purges, whatever the number of responses is that they name. Each
///   response is judged when a request would use it. No clock counts. The log lies in the store of the responses, or in
///   [`VideoCacheLayer::purge_log`](crate::VideoCacheLayer::purge_log).
///
/// A log that was evicted or flushed is noticed: the responses stored until then are validated before any use. What
/// such a log has lost is the difference between [`Mark::Invalid`] and [`Mark::Gone`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_video_cache::{Mark, MokaStore, VideoCacheLayer};
///
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?);
/// let purger = layer.handle().purger();
/// // The file was replaced: the next client has it validated.
/// let purged = purger.uri(&"http://example.com/videos/a.mp4".parse()?, Mark::Invalid).await?;
/// assert_eq!(purged.found, Some(false), "nothing was stored");
/// // The next client of each video that the answer called "season-2" has it validated, too.
/// purger.groups(&"http://example.com".parse()?, ["season-2"], Mark::Invalid).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A purge that has begun is finished, even if its future is dropped.
#[derive(Clone)]
pub struct Purger {
    current: Arc<Current>,
}

/// What becomes of the responses that a [`Purger`] finds.
///
/// If a key has variants, or a nearer store [lags](crate::Store::lag) behind the one that nodes share, the purge of a key
/// removes the responses with [`Stale`](Self::Stale) and [`Invalid`](Self::Invalid), as with [`Gone`](Self::Gone).
///
/// ```
/// use tower_video_cache::Mark;
///
/// assert_eq!(Mark::default(), Mark::Stale);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mark {
    /// The freshness ends now. The next request validates the response, or has it stale while it is validated, as far as
    /// `stale-while-revalidate` and `stale-if-error` allow (RFC 5861).
    #[default]
    Stale,
    /// The response is validated before any further use, and never served stale.
    Invalid,
    /// The bytes are wrong: the response is removed. The next request fetches it without conditions, so that no 304 brings
    /// it back.
    Gone,
}

/// The result of a purge.
///
/// ```
/// use tower_video_cache::Purged;
///
/// fn told(purged: &Purged) -> String {
///     let found = match purged.found {
///         Some(true) => "found",
///         Some(false) => "not found",
///         None => "nobody knows which responses",
///     };
///     format!("{found}; effective everywhere within {:?}", purged.effective_within)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// Whether a response was stored. Fills under way do not count. `None` for a purge by the log, because the cache has no
    /// index of its responses.
    pub found: Option<bool>,
    /// How long other nodes may still use what the purge names: for a key
    /// [`Tiered::record_age`](crate::Tiered::record_age), or no time if no store is in between; by the log, and for a key if
    /// there is a [`purge_log`](crate::VideoCacheLayer::purge_log),
    /// [`VideoCacheLayer::purge_age`](crate::VideoCacheLayer::purge_age). Nodes that share neither the store nor the log
    /// need purges of their own.
    pub effective_within: Duration,
}

impl Purger {
    pub(crate) fn new(current: Arc<Current>) -> Self {
        Self { current }
    }

    /// Purges the responses for a GET of `uri`.
    ///
    /// The layer's key function sees a GET of the path and query with the authority of `uri` in `Host`, as a server gets it.
    /// For a key function that reads other fields, use [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if the store did not confirm the purge. This node ignores the responses all the same,
    /// and tries again; other nodes may still use them. The call may be repeated. With a
    /// [`purge_log`](crate::VideoCacheLayer::purge_log), also as [`groups`](Self::groups).
    pub async fn uri(&self, uri: &Uri, mark: Mark) -> Result<Purged, Error> {
        self.request(&get(uri), mark).await
    }

    /// Purges the responses for a request as it arrives at the layer.
    ///
    /// # Errors
    ///
    /// As [`uri`](Self::uri).
    pub async fn request(&self, request: &request::Parts, mark: Mark) -> Result<Purged, Error> {
        let key = (self.current.engine().config.key)(request);
        self.key(&key, mark).await
    }

    /// Purges the responses for a key.
    ///
    /// # Errors
    ///
    /// As [`uri`](Self::uri).
    pub async fn key(&self, key: &CacheKey, mark: Mark) -> Result<Purged, Error> {
        let engine = self.current.engine();
        let purging = tokio::spawn(purge(Arc::clone(&engine), Target::new(key.clone()), mark.fate()));
        let purged = purging.await.map_err(|stopped| Error::store(stopped.into()))?;
        Ok(Purged { found: Some(purged?), effective_within: effective_within(&engine) })
    }

    /// Purges the responses for all URIs that begin with `uri`, such as `http://example.com/videos/`.
    ///
    /// The key of `uri`, by the layer's key function, must be the beginning of those keys. The key functions of this
    /// crate make such keys.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) if the keys do not begin so. Otherwise as [`groups`](Self::groups).
    pub async fn uri_prefix(&self, uri: &Uri, mark: Mark) -> Result<Purged, Error> {
        let engine = self.current.engine();
        let key = |uri: &Uri| (engine.config.key)(&get(uri));
        let prefix = key(uri);
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let longer = PathAndQuery::try_from(format!("{path}0")).ok().and_then(|longer| {
            let mut parts = uri.clone().into_parts();
            parts.path_and_query = Some(longer);
            Uri::from_parts(parts).ok()
        });
        if !longer.is_some_and(|longer| key(&longer).as_bytes().starts_with(prefix.as_bytes())) {
            return Err(Error::config("the keys of these URIs do not begin with the key of their prefix"));
        }
        self.prefix(prefix.as_bytes(), mark).await
    }

    /// Purges the responses whose [`CacheKey`] begins with these bytes, at least 1 and at most 1,024.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for another length. Otherwise as [`groups`](Self::groups).
    pub async fn prefix(&self, prefix: &[u8], mark: Mark) -> Result<Purged, Error> {
        if !(1..=LONGEST_PREFIX).contains(&prefix.len()) {
            return Err(Error::config("a prefix has 1 to 1,024 bytes"));
        }
        self.by_log(vec![Selector::Prefix(prefix.into())], mark).await
    }

    /// Purges the responses of an origin that are in one of these groups (RFC 9875): those that named the group in
    /// `Cache-Groups`, or in another field of [`Policy::group_fields`](crate::Policy::group_fields).
    ///
    /// The origin is that of a URI such as `https://example.com`. Its scheme does not count, because a cache behind a
    /// TLS proxy does not see the scheme. Names are case-sensitive.
    ///
    /// # Errors
    ///
    /// - [`is_config`](Error::is_config) without an origin, and unless there are 1 to 64 groups with names of 1 to 128
    ///   printable ASCII characters.
    /// - [`is_not_offered`](Error::is_not_offered) if the store keeps no log:
    ///   [`Store::put_new`](crate::Store::put_new).
    /// - [`is_store`](Error::is_store) if the store did not confirm the purge. Then the purge may count or not, and the
    ///   call may be repeated.
    pub async fn groups<I>(&self, origin: &Uri, groups: I, mark: Mark) -> Result<Purged, Error>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let origin = named(origin)?;
        let mut selectors = Vec::new();
        let refused = || Error::config("a purge names 1 to 64 groups of 1 to 128 printable ASCII characters");
        for group in groups {
            let group = group.as_ref();
            if !is_group_name(group) || selectors.len() == MOST_SELECTORS {
                return Err(refused());
            }
            selectors.push(Selector::Set(group_hash(&origin, group.as_bytes())));
        }
        if selectors.is_empty() {
            return Err(refused());
        }
        self.by_log(selectors, mark).await
    }

    /// Purges all responses of an origin, named as for [`groups`](Self::groups).
    ///
    /// # Errors
    ///
    /// As [`groups`](Self::groups).
    pub async fn origin(&self, origin: &Uri, mark: Mark) -> Result<Purged, Error> {
        self.by_log(vec![Selector::Set(origin_hash(&named(origin)?))], mark).await
    }

    /// Purges all responses.
    ///
    /// # Errors
    ///
    /// As [`groups`](Self::groups).
    pub async fn all(&self, mark: Mark) -> Result<Purged, Error> {
        self.by_log(vec![Selector::All], mark).await
    }

    /// Whether purges of a key go into the log, too.
    #[cfg(feature = "admin")]
    pub(crate) fn logs_keys(&self) -> bool {
        self.current.engine().config.purge_log.is_some()
    }

    async fn by_log(&self, selectors: Vec<Selector>, mark: Mark) -> Result<Purged, Error> {
        let engine = self.current.engine();
        let purges = Arc::clone(&engine.purges);
        let appended = to_its_end(async move { purges.append(mark.fate(), selectors).await }).await;
        appended.map_err(|stopped| Error::store(stopped.into()))??;
        Ok(Purged { found: None, effective_within: engine.purges.age() })
    }
}

impl Mark {
    fn fate(self) -> Fate {
        match self {
            Self::Stale => Fate::Stale,
            Self::Invalid => Fate::Invalid,
            Self::Gone => Fate::Gone,
        }
    }
}

/// A GET of the path and query with the authority of `uri` in `Host`, as a server gets it.
fn get(uri: &Uri) -> request::Parts {
    let mut request = Request::new(()).into_parts().0;
    request.method = Method::GET;
    if let Some(host) = uri.authority().and_then(|host| HeaderValue::try_from(host.as_str()).ok()) {
        request.headers.insert(header::HOST, host);
    }
    let target = uri.path_and_query().cloned();
    request.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    request
}

/// The name of the origin of a URI.
fn named(origin: &Uri) -> Result<String, Error> {
    let name = origin.authority().map(|authority| origin_of(authority.as_str())).unwrap_or_default();
    if name.is_empty() { Err(Error::config("the URI names no origin")) } else { Ok(name) }
}

/// The longest prefix in bytes. The log keeps prefixes as they are.
const LONGEST_PREFIX: usize = 1024;

impl fmt::Debug for Purger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purger").finish_non_exhaustive()
    }
}
