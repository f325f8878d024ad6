//! The cache key, and the names that its records have in a store.
//!
//! RFC 9111 §2: the key is the target URI; the method is not part of it, since a stored GET answers a HEAD too.

use std::{
    fmt::{self, Write},
    sync::OnceLock,
};

use http::header::{HeaderMap, HeaderName};
use xxhash_rust::xxh3::xxh3_128;

use crate::semantics::{multipart::Boundary, vary::selecting_value};

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

    pub(crate) fn as_bytes(&self) -> &[u8] {
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
    // Writing to a String does not fail.
    let _ = write!(key, "/{index}");
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
    let mut text = String::with_capacity(prefix.len() + 32 + CHUNK_DIGITS);
    text.push_str(prefix);
    for byte in number.to_be_bytes() {
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from(digit + if digit < 10 { b'0' } else { b'a' - 10 }));
        }
    }
    text
}

/// Room for a slash and the chunk number, for most chunks.
const CHUNK_DIGITS: usize = 8;

#[cfg(test)]
mod tests {
    use http::{header, Request, Version};

    use super::*;

    fn key(target: &str, host: Option<&str>) -> CacheKey {
        let mut request = Request::get(target);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        CacheKey::of(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn targets_that_differ_have_keys_that_differ() {
        let targets = [
            "/a/b",
            "/a%2Fb",
            "/a%2fb",
            "//a/b",
            "/A/b",
            "/a/b/",
            "/a/./b",
            "/c/../a/b",
            "/a//b",
            "/a/%62",
            "/a;/b",
            "/a/b;",
            "/a/b?",
            "/a/b??",
            "/a/b?x",
            "/a/b?X",
            "/a/b?x=",
            "/a/b?x&y",
            "/a/b?y&x",
            "/a/b?x&y&",
            "*",
            "/a/b%0A",
            "/a/b%00",
            "/a/\u{fc}",
            "/a/%C3%BC",
        ];
        for (index, one) in targets.iter().enumerate() {
            for other in &targets[index + 1..] {
                assert_ne!(key(one, None), key(other, None), "{one} {other}");
            }
        }
    }

    #[test]
    fn hosts_are_kept_apart_whatever_their_case() {
        assert_ne!(key("/a", Some("one.example")), key("/a", Some("two.example")));
        assert_eq!(key("/a", Some("ONE.example")), key("/a", Some("one.example")));
        assert_eq!(key("http://one.example/a", None), key("http://ONE.example/a", Some("One.example")));
        assert_ne!(key("http://one.example/a", None), key("https://one.example/a", None));
        assert_ne!(key("/a", Some("one.example:443")), key("/a", Some("one.example:80")));
        assert_ne!(key("/a", Some("one.example")), key("/a", Some("one.example.")));
        assert_ne!(key("/a", Some("")), key("/a", Some("one.example")));
    }

    #[test]
    fn a_default_port_is_left_out() {
        for (why, target, host, other, other_host, same) in [
            ("the port of http", "/a", "h:80", "/a", "h", true),
            ("no port", "/a", "h:", "/a", "h", true),
            ("whatever the case", "/a", "H:80", "/a", "h:", true),
            ("the default port of an IPv6 address", "/a", "[::1]:80", "/a", "[::1]", true),
            ("the default port of an IPv4 address", "/a", "127.0.0.1:80", "/a", "127.0.0.1", true),
            ("the default port in a target", "http://h:80/a", "", "http://h/a", "", true),
            ("the default port in a target and in Host", "http://h/a", "h:80", "http://h:/a", "h", true),
            ("the port of https", "https://h:443/a", "h", "https://h/a", "h:443", true),
            ("the port of http is not left out for https", "https://h:80/a", "", "https://h/a", "", false),
            ("the port of https is not left out for http", "http://h:443/a", "", "http://h/a", "", false),
            ("the port of https is not left out if the scheme is unknown", "/a", "h:443", "/a", "h", false),
            ("another port", "/a", "h:8080", "/a", "h", false),
            ("another port in Host", "http://h/a", "h:8080", "http://h/a", "h", false),
            ("the end of another port", "/a", "h:180", "/a", "h", false),
            ("the end of an address", "/a", "[::80]", "/a", "[:]", false),
            ("an address without brackets is no host", "/a", "::80", "/a", ":", false),
            ("a port and no host", "/a", ":80", "/a", "", false),
            ("a name with a dot at its end", "/a", "h.:80", "/a", "h.", true),
            ("a name with a dot at its end is another host", "/a", "h.:80", "/a", "h", false),
            ("one of two hosts", "/a", "h:80, i", "/a", "h, i", false),
        ] {
            let said = |host: &'static str| Some(host).filter(|host| !host.is_empty());
            let (one, other) = (key(target, said(host)), key(other, said(other_host)));
            assert_eq!(one == other, same, "{why}: {one:?} {other:?}");
        }
    }

    #[test]
    fn user_information_is_case_sensitive() {
        assert_ne!(key("http://me@one.example/a", None), key("http://ME@one.example/a", None));
        assert_eq!(key("http://me@one.example/a", None), key("http://me@ONE.example/a", None));
        assert_ne!(key("http://me@one.example/a", None), key("http://one.example/a", None));
        assert_ne!(key("/a", Some("me@one.example")), key("/a", Some("ME@one.example")));
    }

    #[test]
    fn requests_that_name_two_hosts_never_share_a_key() {
        let sayings: [(&str, &[&[u8]]); 15] = [
            ("/a", &[]),
            ("/a", &[b""]),
            ("/a", &[b"one"]),
            ("/a", &[b"two"]),
            ("/a", &[b"one", b"two"]),
            ("/a", &[b"two", b"one"]),
            ("/a", &[b"one, two"]),
            ("/a", &[b"one", b"two", b"one"]),
            ("/a", &[b"one", b""]),
            ("/a", &[b"one\xff"]),
            ("/a", &[b"one\xfe"]),
            ("http://one/a", &[]),
            ("http://one/a", &[b"two"]),
            ("http://one/a", &[b"one", b"two"]),
            ("http://two/a", &[b"one"]),
        ];
        let keys: Vec<_> = sayings
            .iter()
            .map(|(target, hosts)| {
                let ask = hosts.iter().fold(Request::get(*target), |ask, host| ask.header("host", *host));
                CacheKey::of(&ask.body(()).unwrap().into_parts().0)
            })
            .collect();
        for (index, one) in keys.iter().enumerate() {
            for other in &keys[index + 1..] {
                assert_ne!(one, other);
            }
        }
    }

    #[test]
    fn a_second_host_makes_another_key_over_http_2_too() {
        let over_http_2 = |host: Option<&str>| {
            let ask = Request::get("https://one/a").version(Version::HTTP_2);
            let ask = host.into_iter().fold(ask, |ask, host| ask.header("host", host));
            CacheKey::of(&ask.body(()).unwrap().into_parts().0)
        };
        let two_fields = Request::get("/a").header("host", "one").header("host", "two").body(()).unwrap();
        assert_eq!(over_http_2(Some("one")), over_http_2(None));
        assert_ne!(over_http_2(Some("two")), over_http_2(None));
        assert_ne!(over_http_2(Some("two")), CacheKey::of(&two_fields.into_parts().0));
    }

    #[test]
    fn http_2_and_http_1_find_the_same() {
        let mut over_http_2 = Request::get("https://one.example/a").body(()).unwrap().into_parts().0;
        over_http_2.version = Version::HTTP_2;
        assert_eq!(CacheKey::of(&over_http_2), key("/a", Some("one.example")));
    }

    #[test]
    fn store_keys_are_short_and_use_only_allowed_characters() {
        let key = key("/ü?\u{7f}".replace(['ü', '\u{7f}'], "%C3").as_str(), Some("h"));
        let field = SelectingField { name: header::ACCEPT, value: Some(b"x".to_vec()) };
        for name in [
            Slot::primary(&key).0,
            Slot::variant(&key, Generation(u128::MAX), &[field]).0,
            chunk_key(Generation(u128::MAX), u64::MAX),
            lease_key(&Slot::primary(&key)),
            passed_key(&lease_key(&Slot::primary(&key))),
            commit_key(&Slot::primary(&key)),
            holder(Generation(u128::MAX)),
        ] {
            assert!(name.len() <= 128, "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase() || b"/._-".contains(&b)),
                "{name}"
            );
        }
    }

    #[test]
    fn names_have_all_their_digits() {
        for number in [0, 1, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, u128::MAX] {
            assert_eq!(chunk_key(Generation(number), 42), format!("c/{number:032x}/42"));
        }
    }

    #[test]
    fn a_lease_has_the_digits_of_its_slot() {
        let key = key("/a", None);
        for slot in [Slot::primary(&key), Slot::variant(&key, Generation(1), &[])] {
            assert_eq!(lease_key(&slot), format!("l/{}", &slot.0[2..]));
            assert_eq!(lease_key(&slot).len(), 34);
            assert_eq!(passed_key(&lease_key(&slot)), format!("l/{}/passed", &slot.0[2..]));
        }
        assert_eq!(holder(Generation(0xabc)), format!("{:032x}", 0xabc));
    }

    #[test]
    fn an_absent_field_is_not_an_empty_one() {
        let key = key("/a", None);
        let slot = |value: Option<&[u8]>| {
            let value = value.map(<[u8]>::to_vec);
            Slot::variant(&key, Generation(1), &[SelectingField { name: header::ACCEPT, value }])
        };
        assert_ne!(slot(None), slot(Some(b"")));
        assert_ne!(slot(Some(b"a")), slot(Some(b"b")));
    }
}
