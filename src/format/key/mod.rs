//! The cache key, and the names that its records have in a store.
//!
//! RFC 9111 §2: the key is the target URI; the method is not part of it, since a stored GET answers a HEAD too.

use std::{
    fmt::{self, Write},
    sync::OnceLock,
};

use http::header::{HeaderMap, HeaderName};
use xxhash_rust::xxh3::xxh3_128;

use crate::semantics::{
    multipart::Boundary,
    short::{MOST_DIGITS, Short},
    vary::selecting_value,
};

/// The boundary between the parts of an answer from this generation: the same in each of its answers.
///
/// A video holds the boundary by a chance of 1 in 2^128 at each byte. Its maker cannot know the boundary: a generation is
/// drawn at random when its fill begins and is shown to nobody, and the boundary first appears when the bytes of the
/// generation are settled. A secret of this process hides the generation in the boundary, and keeps the boundary from
/// those who can read the store.
pub(crate) fn boundary(generation: Generation) -> Boundary {
    static SECRET: OnceLock<[u8; 16]> = OnceLock::new();
    let secret = SECRET.get_or_init(|| {
        let mut secret = [0; 16];
        // Without a secret, the generation is still unknown to clients.
        let _ = getrandom::fill(&mut secret);
        secret
    });
    Boundary(xxh3_128(&[*secret, generation.0.to_be_bytes()].concat()))
}

/// Identifies a stored response: requests with equal keys share one.
///
/// The key of a request is [`CacheKey::of`] unless a function is set with
/// [`VideoCacheLayer::key`](crate::VideoCacheLayer::key). A store sees only a hash of the key. The record found by that
/// hash must hold the key itself, so that two keys never share an answer.
///
/// A key function decides which requests share. Leave out only parts that the inner service's answer does not depend
/// on.
///
/// ```
/// use tower_video_cache::{CacheKey, MokaStore, VideoCacheLayer};
///
/// // An inner service that answers by the path alone, on any host.
/// let layer =
///     VideoCacheLayer::new(MokaStore::new(1 << 30)?).key(|request| CacheKey::from(request.uri.path()));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CacheKey(Vec<u8>);

impl CacheKey {
    /// A key made of the caller's own bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes of the key.
    ///
    /// ```
    /// # use tower_video_cache::CacheKey;
    /// # let request = http::Request::get("http://example.com/a.mp4").body(()).unwrap().into_parts().0;
    /// // With another version, nothing is found that was stored before.
    /// let versioned = CacheKey::new([b"v2 ", CacheKey::of(&request).as_bytes()].concat());
    /// assert!(versioned.as_bytes().starts_with(b"v2 "));
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for CacheKey {
    fn from(key: &str) -> Self {
        Self::new(key)
    }
}

impl From<String> for CacheKey {
    fn from(key: String) -> Self {
        Self::new(key)
    }
}

impl From<Vec<u8>> for CacheKey {
    fn from(key: Vec<u8>) -> Self {
        Self(key)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({})", self.0.escape_ascii())
    }
}

/// 128 random bits that name the chunks of one fill, or one set of variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Generation(pub(crate) u128);

impl Generation {
    /// A generation that no fill had before, or `None` if the system gives no random bytes.
    pub(crate) fn random() -> Option<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).ok()?;
        Some(Self(u128::from_be_bytes(bytes)))
    }
}

/// The place in the store of a key's record, or of the record of one of its variants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot(String);

impl Slot {
    /// The slot that every request of `key` reads first.
    pub(crate) fn primary(key: &CacheKey) -> Self {
        Self(with_hexadecimal("m/", xxh3_128(key.as_bytes())))
    }

    /// The slot of the variant that `values` select, among the variants marked `mark`.
    pub(crate) fn variant(key: &CacheKey, mark: Generation, values: &[SelectingField]) -> Self {
        let mut bytes = mark.0.to_be_bytes().to_vec();
        for field in values {
            for part in [Some(field.name.as_str().as_bytes()), field.value.as_deref()] {
                bytes.push(u8::from(part.is_some()));
                bytes.extend_from_slice(&part.map_or(0, <[u8]>::len).to_be_bytes());
                bytes.extend_from_slice(part.unwrap_or_default());
            }
        }
        bytes.extend_from_slice(key.as_bytes());
        Self(with_hexadecimal("v/", xxh3_128(&bytes)))
    }

    /// The slot of a variant whose name was read from a record.
    pub(crate) fn named(name: &[u8]) -> Option<Self> {
        let digits = name.strip_prefix(b"v/")?;
        let is_digit = |digit: &u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        let is_place = digits.len() == 32 && digits.iter().all(is_digit);
        is_place.then(|| String::from_utf8(name.to_vec()).ok()).flatten().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A request field that a response was selected by, and its value in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SelectingField {
    pub(crate) name: HeaderName,
    pub(crate) value: Option<Vec<u8>>,
}

impl SelectingField {
    pub(crate) fn all(names: &[HeaderName], request: &HeaderMap) -> Vec<Self> {
        names.iter().map(|name| Self { name: name.clone(), value: selecting_value(request, name) }).collect()
    }
}

/// The store's key of one chunk.
pub(crate) fn chunk_key(generation: Generation, index: u64) -> String {
    let mut key = with_hexadecimal("c/", generation.0);
    key.push_str(Short::<{ MOST_DIGITS + 1 }>::new().text("/").number(index).as_str());
    key
}

/// The store's key of one piece of a chunk.
pub(crate) fn piece_key(generation: Generation, index: u64, number: u16) -> String {
    let mut key = chunk_key(generation, index);
    // Writing to a String does not fail.
    let _ = write!(key, ".{number}");
    key
}

/// The store's key of the lease for the record at `slot`, whether it exists already or not.
pub(crate) fn lease_key(slot: &Slot) -> String {
    // Keys and variants hash different bytes, so their hashes collide no more often than any two do.
    let (_, digits) = slot.0.split_once('/').unwrap_or_default();
    format!("l/{digits}")
}

/// The store's key of the lease for a commit that changes the set of variants at `primary`, or ends it.
pub(crate) fn commit_key(primary: &Slot) -> String {
    lease_key(primary) + "/commit"
}

/// The store's key of the mark left by the last invalidation of the record at `primary`.
pub(crate) fn invalidation_key(primary: &Slot) -> String {
    let (_, digits) = primary.0.split_once('/').unwrap_or_default();
    format!("i/{digits}")
}

/// The store's key of the note that the holder of a lease got an answer that is not stored.
pub(crate) fn passed_key(lease: &str) -> String {
    lease.to_owned() + "/passed"
}

/// The holder's name in a store's lease.
pub(crate) fn holder(name: Generation) -> String {
    with_hexadecimal("", name.0)
}

/// The prefix, then all 32 digits. Every lookup makes some of these names, and `{:032x}` takes several times as long.
fn with_hexadecimal(prefix: &str, number: u128) -> String {
    let mut digits = [0; 32];
    for (eight, four) in digits.chunks_exact_mut(8).zip(number.to_be_bytes().chunks_exact(4)) {
        let four = <[u8; 4]>::try_from(four).unwrap_or_default();
        eight.copy_from_slice(&hexadecimal(u32::from_be_bytes(four)).to_be_bytes());
    }
    let mut text = String::with_capacity(prefix.len() + digits.len() + CHUNK_DIGITS);
    text.push_str(prefix);
    // Digits are ASCII.
    text.push_str(std::str::from_utf8(&digits).unwrap_or_default());
    text
}

/// The eight digits of a number, the first one in the highest byte. All are made at once, each in a byte of its own.
fn hexadecimal(number: u32) -> u64 {
    let mut halves = u64::from(number);
    for (shift, mask) in [(16, 0x0000_ffff_0000_ffff), (8, 0x00ff_00ff_00ff_00ff), (4, 0x0f0f_0f0f_0f0f_0f0f)]
    {
        halves = (halves | halves << shift) & mask;
    }
    // A half byte above 9 gets a carry out of its four bits, and its digit is a letter.
    let is_letter = (halves.wrapping_add(0x0606_0606_0606_0606) >> 4) & EACH;
    let letters = is_letter.wrapping_mul(u64::from(b'a' - b'0' - 10));
    (halves | EACH.wrapping_mul(u64::from(b'0'))).wrapping_add(letters)
}

/// A one in each byte.
const EACH: u64 = 0x0101_0101_0101_0101;

/// Room for a slash and the chunk number, for most chunks.
const CHUNK_DIGITS: usize = 8;

#[cfg(test)]
mod tests;
