//! [`CacheStatus`]: how the cache signs its member of `Cache-Status`.

use std::str::FromStr;

use crate::{error::Error, semantics::cache_status::CacheName};

/// The name of the cache in the response field `Cache-Status` (RFC 9211), and whether the field shows the key.
///
/// ```
/// # use tower_video_cache::{CacheStatus, MokaStore, VideoCacheLayer};
/// let layer =
///     VideoCacheLayer::new(MokaStore::new(1 << 30)?).cache_status(CacheStatus::named("edge-1")?.with_key());
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheStatus {
    pub(crate) name: CacheName,
    pub(crate) shows_key: bool,
}

impl CacheStatus {
    /// Signs with `name`, which has 1 to 128 characters of printable ASCII. [`CacheStatus::default`] signs with
    /// `tower-video-cache`.
    ///
    /// A name that is no token (RFC 9651 §3.3.4) is written as a string in quotes.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for any other name.
    ///
    /// ```
    /// # use tower_video_cache::CacheStatus;
    /// assert!(CacheStatus::named("edge-1").is_ok());
    /// assert!(CacheStatus::named("").unwrap_err().is_config());
    /// ```
    pub fn named(name: &str) -> Result<Self, Error> {
        Ok(Self { name: CacheName::new(name)?, shows_key: false })
    }

    /// Adds the looked-up [key](crate::CacheKey) as `key="…"`, to find out why two requests do not share a response.
    /// Default: the key is not shown.
    ///
    /// Every client and every log of response fields then sees the key. A key holds the URL, with the tokens in its
    /// query unless the [key function](crate::VideoCacheLayer::key) leaves them out. The key also tells an attacker
    /// which parts of a request count (RFC 9211 §6).
    ///
    /// Characters other than printable ASCII are escaped. The key of [`CacheKey::of`](crate::CacheKey::of) is `@` and
    /// the authority, a line feed, then path and query. `fwd=bypass` and `fwd=method` come without a key.
    #[must_use]
    pub fn with_key(mut self) -> Self {
        self.shows_key = true;
        self
    }
}

impl FromStr for CacheStatus {
    type Err = Error;

    /// [`CacheStatus::named`].
    fn from_str(name: &str) -> Result<Self, Error> {
        Self::named(name)
    }
}
