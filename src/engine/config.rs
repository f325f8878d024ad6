//! What the layer's setters set.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{request, HeaderMap};

use crate::{
    clock::Clock,
    error::Error,
    format::{key::CacheKey, signed_url},
    policy::Policy,
    semantics::{
        cache_status::{CacheName, Signature},
        fields::media_type,
        freshness::ByUri,
    },
};

/// Everything about an engine that a setter can change.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) policy: Policy,
    pub(crate) key: Arc<OfRequest<CacheKey>>,
    pub(crate) bypass: Option<Arc<OfRequest<bool>>>,
    pub(crate) expiry: Arc<OfRequest<Option<SystemTime>>>,
    pub(crate) name: CacheName,
    pub(crate) show_key: bool,
    pub(crate) chunk_size: ChunkSize,
    pub(crate) fill: Fill,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) follower_limit: Duration,
    pub(crate) idle_limit: Duration,
    pub(crate) refusal_ttl: Duration,
    pub(crate) store_limit: Duration,
    pub(crate) lease_time: Duration,
    pub(crate) abandon: Abandon,
    pub(crate) read_ahead: u64,
    pub(crate) fill_ahead: u64,
    pub(crate) most_fills: usize,
    pub(crate) most_promised: Option<u64>,
    pub(crate) most_slices: usize,
    pub(crate) resumes: u32,
    pub(crate) resume_pause: Duration,
}

/// What an application decides for each request.
type OfRequest<T> = dyn Fn(&request::Parts) -> T + Send + Sync;

impl Config {
    pub(crate) fn new(clock: impl Clock) -> Self {
        Self {
            policy: Policy::default(),
            key: Arc::new(CacheKey::of),
            bypass: None,
            expiry: Arc::new(signed_url::expiry),
            name: CacheName::default(),
            show_key: false,
            chunk_size: ChunkSize::default(),
            fill: Fill::default(),
            clock: Arc::new(clock),
            follower_limit: Duration::from_secs(30),
            idle_limit: Duration::from_secs(60),
            refusal_ttl: Duration::from_secs(10),
            store_limit: Duration::from_secs(2),
            lease_time: Duration::from_secs(10),
            abandon: Abandon::default(),
            read_ahead: 8 << 20,
            fill_ahead: 32,
            most_fills: 256,
            most_promised: None,
            most_slices: 32,
            resumes: 3,
            resume_pause: Duration::from_millis(100),
        }
    }

    /// Whether the request's own URI holds no more: what is stored is not for it.
    pub(crate) fn is_expired(&self, request: &request::Parts) -> bool {
        (self.expiry)(request).is_some_and(|until| until <= self.clock.now())
    }

    /// The facts about the response with these fields that the URI of its request tells.
    pub(crate) fn by_uri(&self, request: &request::Parts, response: &HeaderMap) -> ByUri {
        let is_manifest = self.policy.is_manifest_by_path(request.uri.path(), media_type(response));
        ByUri { is_manifest, until: (self.expiry)(request) }
    }

    /// How `Cache-Status` names this cache, and the key that it looked for, if it did.
    pub(crate) fn signature<'a>(&'a self, key: Option<&'a CacheKey>) -> Signature<'a> {
        let key = key.filter(|_| self.show_key).map(CacheKey::as_bytes);
        Signature { name: self.name.as_written(), key }
    }
}

/// When the first byte of a response that is being stored leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fill {
    /// Once all of it is stored. Nothing half good is ever served.
    #[default]
    Whole,
    /// Once its first chunk is stored; each further chunk once it is stored and read back. One call of the inner service
    /// brings all of it.
    Progressive,
    /// As `Progressive`, but of a response that can be had in parts only the chunks that somebody asks for are fetched, by
    /// `Range` requests bound to one strong validator. An inner service that answers without parts, without a strong
    /// validator or without a complete length is asked as in `Progressive`.
    Sliced,
}

/// What becomes of a fill when the last viewer who waits for it has gone.
///
/// Whatever is set, a fill that nobody waits for gives its place ([`most_fills`](crate::VideoCacheLayer::most_fills)) and
/// its room ([`most_promised`](crate::VideoCacheLayer::most_promised)) to one that somebody waits for and that finds none:
/// the oldest first, and no more of them than it takes. That stops it.
///
/// A fill that is stopped leaves its chunks for later viewers where a strong validator binds them to what is fetched
/// then; else they are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Abandon {
    /// It is finished, for the viewers to come. So a client that asks for a byte of a large object and leaves makes the
    /// inner service send all of it; for origins whose clients are trusted.
    Finish,
    /// It is stopped at once.
    Stop,
    /// It is finished if at least so many percent are stored, of a length that is known; else stopped.
    FinishFromPercent(u8),
    /// It is finished if at most so many bytes are missing, else stopped. Where the length is not known, it goes on for so
    /// many bytes, rounded up to chunks, and is stopped if it has not ended by then.
    FinishWithin(u64),
}

impl Default for Abandon {
    /// `FinishWithin` 8 MiB: what is small, or nearly stored, is finished. A client who leaves costs the inner service no
    /// more than that; and what is stopped of a large object is gone on with where a strong validator allows it.
    fn default() -> Self {
        Self::FinishWithin(8 << 20)
    }
}

impl Abandon {
    /// Whether a fill that nobody waits for is stopped, with so many bytes `stored` of `length`, and so many `since` the
    /// last viewer left.
    pub(crate) fn stops(self, stored: u64, length: Option<u64>, since: u64) -> bool {
        match (self, length) {
            (Self::Finish, _) => false,
            (Self::Stop, _) | (Self::FinishFromPercent(_), None) => true,
            (Self::FinishWithin(bytes), None) => since >= bytes,
            (Self::FinishFromPercent(percent), Some(length)) => {
                u128::from(stored) * 100 < u128::from(length) * u128::from(percent)
            }
            (Self::FinishWithin(bytes), Some(length)) => length.saturating_sub(stored) > bytes,
        }
    }
}

/// The bytes of each chunk that a body is cut into, all but the last.
///
/// ```
/// use tower_video_cache::ChunkSize;
///
/// assert_eq!(ChunkSize::default().bytes(), 1 << 20);
/// assert_eq!(ChunkSize::new(256 << 10)?.bytes(), 256 << 10);
/// assert!(ChunkSize::new(0).is_err());
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSize(u32);

impl ChunkSize {
    /// A chunk size from 1 byte to 64 MiB. Small chunks cost calls of the store; large ones cost memory, and
    /// time before a range can be served from a store that must prove them.
    ///
    /// # Errors
    ///
    /// [`is_setting`](Error::is_setting) for zero or more than 64 MiB.
    pub fn new(bytes: u32) -> Result<Self, Error> {
        match bytes {
            1..=LARGEST_CHUNK => Ok(Self(bytes)),
            _ => Err(Error::setting("a chunk size is from 1 byte to 64 MiB")),
        }
    }

    /// The size in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for ChunkSize {
    /// 1 MiB.
    fn default() -> Self {
        Self(1 << 20)
    }
}

const LARGEST_CHUNK: u32 = 64 << 20;
