//! [`Purger`]: takes stored responses out, or ends their freshness.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Uri, header, request, uri::PathAndQuery};

use crate::{
    engine::{
        purge::{Fate, effective_within, purge},
        state::{Engine, entry::Target},
    },
    error::Error,
    format::key::CacheKey,
};

/// Takes stored responses out on behalf of an operator, or ends their freshness:
/// [`CacheHandle::purger`](crate::CacheHandle::purger). Clones are cheap.
///
/// A purge is for one key, with all its variants. When it has returned, no request on this node gets as fresh what the
/// inner service was asked for before the purge: fills under way commit nothing any more, and later requests do not
/// join them. Other nodes on the same store find it no more, at once or after [`Purged::effective_within`], and commit
/// no fill that was begun before it. Until such a fill of theirs ends, requests there may still join it. A body that
/// has begun is sent to its end.
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
/// assert!(!purged.found, "nothing was stored");
/// # Ok(())
/// # }
/// ```
///
/// # Cancel safety
///
/// A purge that has begun is finished, even if its future is dropped.
#[derive(Clone)]
pub struct Purger {
    engine: Arc<Engine>,
}

/// What becomes of the responses that a [`Purger`] finds.
///
/// If a key has variants, or a nearer store [lags](crate::Store::lag) behind the one that nodes share,
/// [`Stale`](Self::Stale) and [`Invalid`](Self::Invalid) remove the responses, as [`Gone`](Self::Gone) does.
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
///     let found = if purged.found { "found" } else { "not found" };
///     format!("{found}; effective everywhere within {:?}", purged.effective_within)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// Whether a response was stored. Fills under way do not count.
    pub found: bool,
    /// How long other nodes on the same store may still use what they hold nearer:
    /// [`Tiered::record_age`](crate::Tiered::record_age). No time if no store is in between. Nodes with stores of their own
    /// need purges of their own.
    pub effective_within: Duration,
}

impl Purger {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    /// Purges the responses for a GET of `uri`.
    ///
    /// The layer's key function sees a GET of the path and query with the authority of `uri` in `Host`, as a server gets it.
    /// For a key function that reads other fields, use [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// [`is_store`](Error::is_store) if the store did not confirm the purge. This node ignores the responses all the same,
    /// and tries again; other nodes may still use them. The call may be repeated.
    pub async fn uri(&self, uri: &Uri, mark: Mark) -> Result<Purged, Error> {
        let mut request = Request::new(()).into_parts().0;
        request.method = Method::GET;
        if let Some(host) = uri.authority().and_then(|host| HeaderValue::try_from(host.as_str()).ok()) {
            request.headers.insert(header::HOST, host);
        }
        let target = uri.path_and_query().cloned();
        request.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
        self.request(&request, mark).await
    }

    /// Purges the responses for a request as it arrives at the layer.
    ///
    /// # Errors
    ///
    /// As [`uri`](Self::uri).
    pub async fn request(&self, request: &request::Parts, mark: Mark) -> Result<Purged, Error> {
        self.key(&(self.engine.config.key)(request), mark).await
    }

    /// Purges the responses for a key.
    ///
    /// # Errors
    ///
    /// As [`uri`](Self::uri).
    pub async fn key(&self, key: &CacheKey, mark: Mark) -> Result<Purged, Error> {
        let fate = match mark {
            Mark::Stale => Fate::Ended { must_be_validated: false },
            Mark::Invalid => Fate::Ended { must_be_validated: true },
            Mark::Gone => Fate::Gone,
        };
        let purging = tokio::spawn(purge(Arc::clone(&self.engine), Target::new(key.clone()), fate));
        let purged = purging.await.map_err(|stopped| Error::store(stopped.into()))?;
        Ok(Purged { found: purged?, effective_within: effective_within(&self.engine) })
    }
}

impl fmt::Debug for Purger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purger").finish_non_exhaustive()
    }
}
