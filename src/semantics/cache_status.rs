//! `Cache-Status`: what the cache did with a request, in one field.
//!
//! RFC 9211. Every reason of a cache for not storing or not answering has its name here.

use std::fmt::{self, Write};

use http::{
    header::{HeaderMap, HeaderName, HeaderValue},
    StatusCode,
};

use super::{
    fields::media_type,
    structured::{is_token, push_string},
};
use crate::{error::Error, policy::Policy};

/// The name of a cache in `Cache-Status`: a product, a host, or one of several caches in a row.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CacheName {
    written: Box<str>,
    // The complete members of requests that are never looked up: the name and one reason.
    bypass: HeaderValue,
    method: HeaderValue,
}

impl CacheName {
    /// A name of 1 to 128 characters of printable ASCII.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for any other name.
    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        let refused = || Error::config("a cache name is 1 to 128 characters of printable ASCII");
        let is_printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if name.is_empty() || name.len() > LONGEST_NAME || !is_printable {
            return Err(refused());
        }
        let mut written = String::new();
        if is_token(name) {
            written.push_str(name);
        } else {
            push_string(&mut written, name.bytes());
        }
        let member = |reason| {
            let outcome = Outcome { forwarded: Some(reason), ..Outcome::default() };
            let member = outcome.member(StatusCode::OK, Signature { name: &written, key: None }, None);
            HeaderValue::try_from(member).map_err(|_| refused())
        };
        let (bypass, method) = (member(Forwarded::Bypass)?, member(Forwarded::Method)?);
        Ok(Self { written: written.into(), bypass, method })
    }

    /// The name as it appears in the field.
    pub(crate) fn as_written(&self) -> &str {
        &self.written
    }

    /// The member for a request that bypasses this cache.
    pub(crate) fn bypass(&self) -> &HeaderValue {
        &self.bypass
    }

    /// The member for a request whose method no stored response answers.
    pub(crate) fn method(&self) -> &HeaderValue {
        &self.method
    }
}

impl Default for CacheName {
    /// `tower-video-cache`.
    fn default() -> Self {
        Self {
            written: env!("CARGO_PKG_NAME").into(),
            bypass: HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "; fwd=bypass")),
            method: HeaderValue::from_static(concat!(env!("CARGO_PKG_NAME"), "; fwd=method")),
        }
    }
}

impl fmt::Display for CacheName {
    /// Writes the name as it appears in the field: a token, or a string in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Debug for CacheName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheName({})", self.written)
    }
}

/// The reason why a response was not stored, or not served from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Abandoned,
    Authorization,
    ChangedLength,
    Cookie,
    InnerFailed,
    InnerStalled,
    Invalidated,
    InvalidLength,
    LeaseLost,
    Media,
    NeverFresh,
    NoCache,
    NoParts,
    NoRoom,
    NoStore,
    OnlyIfCached,
    Private,
    SetCookie,
    StaleIfError,
    StaleIfFailed,
    StaleIfSilent,
    Status,
    StoreFailed,
    StoreLost,
    TooLarge,
    TooManyFills,
    VaryAnything,
    WaitedTooLong,
}

impl Refusal {
    /// Whether the response itself forbids to store it, by its status or its fields.
    pub(crate) fn is_of_the_response(self) -> bool {
        matches!(
            self,
            Self::Authorization
                | Self::Cookie
                | Self::Media
                | Self::NeverFresh
                | Self::NoCache
                | Self::NoStore
                | Self::Private
                | Self::SetCookie
                | Self::Status
                | Self::VaryAnything
        )
    }

    /// Whether the response is for this client alone, so that another client may get another one.
    pub(crate) fn is_of_the_client(self) -> bool {
        matches!(self, Self::Authorization | Self::Cookie | Self::Private | Self::SetCookie)
    }

    /// The reason why a stored response stands in for an answer with this status, or for no answer.
    pub(crate) fn of_stand_in(answered: Option<StatusCode>) -> Self {
        answered.map_or(Self::StaleIfFailed, |_| Self::StaleIfError)
    }

    /// The `detail` of RFC 9211 §2.8, a token.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Authorization => "authorization",
            Self::ChangedLength => "inner-length-mismatch",
            Self::Cookie => "cookie",
            Self::InnerFailed => "inner-body-failed",
            Self::InnerStalled => "inner-stalled",
            Self::Invalidated => "invalidated",
            Self::InvalidLength => "invalid-content-length",
            Self::LeaseLost => "lease-lost",
            Self::Media => "media-type",
            Self::NeverFresh => "never-fresh",
            Self::NoCache => "no-cache",
            Self::NoParts => "no-parts",
            Self::NoRoom => "no-room",
            Self::NoStore => "no-store",
            Self::OnlyIfCached => "only-if-cached",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::StaleIfError => "stale-if-error",
            Self::StaleIfFailed => "stale-if-failed",
            Self::StaleIfSilent => "stale-if-silent",
            Self::Status => "status",
            Self::StoreFailed => "store-failed",
            Self::StoreLost => "store-lost",
            Self::TooLarge => "too-large",
            Self::TooManyFills => "fills-limit",
            Self::VaryAnything => "vary-star",
            Self::WaitedTooLong => "waited-too-long",
        }
    }
}

/// The reason why a request was forwarded to the inner service (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// This cache was told to leave the request alone, or cannot tell its meaning.
    Bypass,
    /// Only the inner service may answer the method.
    Method,
    /// The store could not tell whether it has a response.
    Miss,
    /// The stored response lacks some of its bytes.
    Partial,
    /// The request demanded it.
    Request,
    Stale,
    UriMiss,
    VaryMiss,
}

impl Forwarded {
    fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::Miss => "miss",
            Self::Partial => "partial",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
        }
    }
}

/// The result of one request that a stored response or the inner service answered. It is the member that this cache
/// adds to `Cache-Status`. Any other answer is [`Generated`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// `None` is a hit. A hit ignores `forwarded_status`, `stored` and `collapsed`.
    pub(crate) forwarded: Option<Forwarded>,
    /// The status of the inner service's answer, if known.
    pub(crate) forwarded_status: Option<StatusCode>,
    pub(crate) stored: bool,
    /// The response is not fully stored yet, and may never be.
    pub(crate) storing: bool,
    pub(crate) collapsed: bool,
    /// Seconds of freshness left.
    pub(crate) ttl: Option<i64>,
    pub(crate) refusal: Option<Refusal>,
}

impl Outcome {
    /// Appends this cache's member after those of the caches nearer the origin (RFC 9211 §2). `status` is the status of
    /// the answer that has these fields.
    pub(crate) fn append_to(self, headers: &mut HeaderMap, status: StatusCode, by: Signature<'_>) {
        append_text(headers, self.member(status, by, None));
    }

    /// Like [`append_to`](Self::append_to), for an answer of the inner service that has these fields.
    pub(crate) fn append_to_passed(
        self,
        headers: &mut HeaderMap,
        status: StatusCode,
        by: Signature<'_>,
        policy: &Policy,
    ) {
        // A refusal that is remembered from an earlier answer may not be true of this one.
        let is_refused = |media: &&str| !policy.admits_media(Some(*media));
        let media = media_type(headers).filter(|_| self.refusal == Some(Refusal::Media)).filter(is_refused);
        let member = self.member(status, by, media);
        append_text(headers, member);
    }

    /// Writes the member. `media` is the refused type, if the type is the reason.
    fn member(self, status: StatusCode, by: Signature<'_>, media: Option<&str>) -> String {
        let mut member = by.begin();
        let was_forwarded = self.forwarded.is_some();
        match self.forwarded {
            None => member.push_str("; hit"),
            Some(reason) => {
                member.push_str("; fwd=");
                member.push_str(reason.name());
            }
        }
        // §2.3: without this parameter, it is the status of the answer.
        if let Some(forwarded) = self.forwarded_status.filter(|code| was_forwarded && *code != status) {
            member.push_str("; fwd-status=");
            member.push_str(forwarded.as_str());
        }
        if let Some(ttl) = self.ttl.map(|ttl| ttl.clamp(-MOST_SECONDS, MOST_SECONDS)) {
            // Writing to a String does not fail.
            let _ = write!(member, "; ttl={ttl}");
        }
        // §2.5, §2.6: these are defined only for a forwarded request.
        if was_forwarded && self.stored {
            member.push_str("; stored");
        }
        if was_forwarded && self.collapsed {
            member.push_str("; collapsed");
        }
        let storing = (was_forwarded && self.storing).then_some(STORING);
        by.end(&mut member, self.refusal.map(Refusal::name).or(storing));
        // A type that is no token, or is longer than any registered one, is not repeated.
        if let Some(media) = media.filter(|media| media.len() <= LONGEST_MEDIA && is_token(media)) {
            member.push(':');
            member.push_str(media);
        }
        member
    }
}

/// An answer that this cache made by itself. It is no hit, since it contains nothing stored, and it was not forwarded.
///
/// RFC 9211 §2 would rather have no member there. This member says why there was no other answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generated(pub(crate) Refusal);

impl Generated {
    /// Appends this cache's member: the name and the reason.
    pub(crate) fn append_to(self, headers: &mut HeaderMap, by: Signature<'_>) {
        let mut member = by.begin();
        by.end(&mut member, Some(self.0.name()));
        append_text(headers, member);
    }
}

/// The name of the cache in a member, and the key, if it is to be shown.
#[derive(Clone, Copy)]
pub(crate) struct Signature<'a> {
    /// The name as it appears in the field.
    pub(crate) name: &'a str,
    pub(crate) key: Option<&'a [u8]>,
}

impl Signature<'_> {
    fn begin(self) -> String {
        let mut member = String::with_capacity(self.name.len() + PARAMETERS);
        member.push_str(self.name);
        member
    }

    fn end(self, member: &mut String, detail: Option<&str>) {
        if let Some(key) = self.key {
            member.push_str("; key=");
            // A key may have any bytes, but §2.7 allows only a string of printable ASCII.
            push_string(member, key.escape_ascii());
        }
        if let Some(detail) = detail {
            member.push_str("; detail=");
            member.push_str(detail);
        }
    }
}

/// Appends a whole member. If there is no room for one more field, the member is left out.
pub(crate) fn append(headers: &mut HeaderMap, member: HeaderValue) {
    let _ = headers.try_append(CACHE_STATUS, member);
}

fn append_text(headers: &mut HeaderMap, member: String) {
    // Printable ASCII is a valid field value, so this is never an error.
    if let Ok(member) = HeaderValue::try_from(member) {
        append(headers, member);
    }
}

/// The field's name.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

const LONGEST_NAME: usize = 128;

const LONGEST_MEDIA: usize = 100;

/// The `detail` of an answer that is sent while it is being stored.
const STORING: &str = "storing";

/// Room for the parameters of nearly every member without a key.
const PARAMETERS: usize = 64;

/// RFC 9651 §3.3.1: an integer has at most 15 digits.
const MOST_SECONDS: i64 = 999_999_999_999_999;

#[cfg(test)]
mod tests {
    use sfv::{BareItem, List, ListEntry, Parser};

    use super::*;

    const BY: Signature<'_> = Signature { name: "tower-video-cache", key: None };

    fn forwarded(reason: Forwarded) -> Outcome {
        Outcome { forwarded: Some(reason), ..Outcome::default() }
    }

    #[test]
    fn a_member_tells_the_outcome() {
        let (ok, partial) = (StatusCode::OK, StatusCode::PARTIAL_CONTENT);
        for (rule, outcome, status, expected) in [
            (
                "RFC 9651 §3.3.1 fifteen digits",
                Outcome { ttl: Some(i64::MIN), ..Outcome::default() },
                ok,
                "hit; ttl=-999999999999999",
            ),
            ("§2.1, §2.4", Outcome { ttl: Some(299), ..Outcome::default() }, ok, "hit; ttl=299"),
            (
                "§2.5",
                Outcome { stored: true, ttl: Some(300), ..forwarded(Forwarded::UriMiss) },
                ok,
                "fwd=uri-miss; ttl=300; stored",
            ),
            (
                "§2.4 negative, §2.6",
                Outcome { collapsed: true, ttl: Some(-1), ..forwarded(Forwarded::Stale) },
                ok,
                "fwd=stale; ttl=-1; collapsed",
            ),
            (
                "§2.8",
                Outcome { refusal: Some(Refusal::StoreFailed), ..forwarded(Forwarded::VaryMiss) },
                ok,
                "fwd=vary-miss; detail=store-failed",
            ),
            (
                "§2.5 not yet",
                Outcome { storing: true, ttl: Some(300), ..forwarded(Forwarded::UriMiss) },
                ok,
                "fwd=uri-miss; ttl=300; detail=storing",
            ),
            ("§2.8 a hit has no detail", Outcome { storing: true, ..Outcome::default() }, ok, "hit"),
            (
                "§2.3 another status than the answer's",
                Outcome {
                    forwarded_status: Some(StatusCode::NOT_MODIFIED),
                    stored: true,
                    ..forwarded(Forwarded::Stale)
                },
                ok,
                "fwd=stale; fwd-status=304; stored",
            ),
            (
                "§2.3 the same",
                Outcome { forwarded_status: Some(partial), ..forwarded(Forwarded::Partial) },
                partial,
                "fwd=partial",
            ),
            (
                "§2.3, §2.5, §2.6 a hit has none of these",
                Outcome { forwarded_status: Some(ok), stored: true, collapsed: true, ..Outcome::default() },
                partial,
                "hit",
            ),
        ] {
            assert_eq!(outcome.member(status, BY, None), format!("tower-video-cache; {expected}"), "{rule}");
        }
    }

    #[test]
    fn an_answer_of_the_caches_own_is_neither_hit_nor_forwarded() {
        let mut headers = HeaderMap::new();
        Generated(Refusal::OnlyIfCached).append_to(&mut headers, BY);
        assert_eq!(headers[CACHE_STATUS], "tower-video-cache; detail=only-if-cached");
    }

    #[test]
    fn a_key_is_shown_as_a_string_between_the_others() {
        let by = Signature { name: "edge", key: Some(b"\nvideo.example\n/a\"b\\\xff") };
        let outcome = Outcome { refusal: Some(Refusal::Status), ttl: Some(1), ..Outcome::default() };
        assert_eq!(
            outcome.member(StatusCode::OK, by, None),
            r#"edge; hit; ttl=1; key="\\nvideo.example\\n/a\\\"b\\\\\\xff"; detail=status"#
        );
    }

    #[test]
    fn a_type_that_is_refused_is_named_if_it_can_be() {
        let refused = Outcome { refusal: Some(Refusal::Media), ..forwarded(Forwarded::UriMiss) };
        let long = format!("text/{}", "x".repeat(96));
        for (media, detail) in [
            (Some("text/html; charset=utf-8"), "media-type:text/html"),
            (Some("Application/X-Custom+xml"), "media-type:Application/X-Custom+xml"),
            (Some(&long[..100]), &format!("media-type:{}", &long[..100])[..]),
            (None, "media-type"),
            // A type that could end the member, is no token, or is long, is not repeated.
            (Some("text/html, x; hit"), "media-type"),
            (Some("\"text\"/html"), "media-type"),
            (Some("text/h\u{e9}"), "media-type"),
            (Some("text /html"), "media-type"),
            (Some(&long), "media-type"),
            // A type that is stored by now is not the reason.
            (Some("video/mp4"), "media-type"),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(media.map(|media| (http::header::CONTENT_TYPE, media.parse().unwrap())));
            refused.append_to_passed(&mut headers, StatusCode::OK, BY, &Policy::default());
            let said = headers[CACHE_STATUS].to_str().unwrap();
            assert_eq!(said, format!("tower-video-cache; fwd=uri-miss; detail={detail}"), "{media:?}");
            Parser::new(said).parse::<List>().unwrap();
        }
        let other = Outcome { refusal: Some(Refusal::NoStore), ..refused };
        let mut headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, "text/html".parse().unwrap())]);
        other.append_to_passed(&mut headers, StatusCode::OK, BY, &Policy::default());
        assert_eq!(headers[CACHE_STATUS], "tower-video-cache; fwd=uri-miss; detail=no-store");
    }

    #[test]
    fn a_name_is_a_token_or_a_string() {
        for (name, written) in [
            ("edge-1", "edge-1"),
            ("*", "*"),
            ("cache.example.com:8080/a", "cache.example.com:8080/a"),
            ("1-edge", "\"1-edge\""),
            (" ", "\" \""),
            ("a\"b\\c", r#""a\"b\\c""#),
        ] {
            let name = CacheName::new(name).unwrap();
            assert_eq!(name.as_written(), written);
            assert_eq!(name.bypass(), &format!("{written}; fwd=bypass"));
            assert_eq!(name.method(), &format!("{written}; fwd=method"));
        }
        let longest = "x".repeat(128);
        assert_eq!(CacheName::new(&longest).unwrap().as_written(), longest);
        for name in ["", "\n", "\t", "\u{7f}", "\u{fc}", &"x".repeat(129)] {
            assert!(CacheName::new(name).unwrap_err().is_config(), "{name:?}");
        }
        assert_eq!(CacheName::new(env!("CARGO_PKG_NAME")).unwrap(), CacheName::default());
    }

    #[test]
    fn an_upstream_caches_members_stay() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
        Outcome::default().append_to(&mut headers, StatusCode::OK, BY);
        append(&mut headers, CacheName::default().bypass().clone());
        let values: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(values, ["origin; hit", "tower-video-cache; hit", "tower-video-cache; fwd=bypass"]);
    }

    #[test]
    fn a_response_full_of_fields_has_one_less() {
        let mut headers = HeaderMap::new();
        let names = (0..1 << 16).map(|name| format!("x{name}").parse::<HeaderName>().unwrap());
        let full =
            names.map(|name| headers.try_append(name, HeaderValue::from_static(""))).find(Result::is_err);
        assert!(full.is_some());
        Outcome::default().append_to(&mut headers, StatusCode::OK, BY);
        assert!(!headers.contains_key(CACHE_STATUS));
    }

    /// Every reason once. A new reason does not compile until it has an arm in this match.
    fn reasons() -> Vec<Forwarded> {
        let next = |reason| match reason {
            Forwarded::Bypass => Some(Forwarded::Method),
            Forwarded::Method => Some(Forwarded::Miss),
            Forwarded::Miss => Some(Forwarded::Partial),
            Forwarded::Partial => Some(Forwarded::Request),
            Forwarded::Request => Some(Forwarded::Stale),
            Forwarded::Stale => Some(Forwarded::UriMiss),
            Forwarded::UriMiss => Some(Forwarded::VaryMiss),
            Forwarded::VaryMiss => None,
        };
        std::iter::successors(Some(Forwarded::Bypass), |reason| next(*reason)).collect()
    }

    /// Every refusal once, checked in the same way.
    fn refusals() -> Vec<Refusal> {
        let next = |refusal| match refusal {
            Refusal::Abandoned => Some(Refusal::Authorization),
            Refusal::Authorization => Some(Refusal::ChangedLength),
            Refusal::ChangedLength => Some(Refusal::Cookie),
            Refusal::Cookie => Some(Refusal::InnerFailed),
            Refusal::InnerFailed => Some(Refusal::InnerStalled),
            Refusal::InnerStalled => Some(Refusal::Invalidated),
            Refusal::Invalidated => Some(Refusal::InvalidLength),
            Refusal::InvalidLength => Some(Refusal::LeaseLost),
            Refusal::LeaseLost => Some(Refusal::Media),
            Refusal::Media => Some(Refusal::NeverFresh),
            Refusal::NeverFresh => Some(Refusal::NoCache),
            Refusal::NoCache => Some(Refusal::NoParts),
            Refusal::NoParts => Some(Refusal::NoRoom),
            Refusal::NoRoom => Some(Refusal::NoStore),
            Refusal::NoStore => Some(Refusal::OnlyIfCached),
            Refusal::OnlyIfCached => Some(Refusal::Private),
            Refusal::Private => Some(Refusal::SetCookie),
            Refusal::SetCookie => Some(Refusal::StaleIfError),
            Refusal::StaleIfError => Some(Refusal::StaleIfFailed),
            Refusal::StaleIfFailed => Some(Refusal::StaleIfSilent),
            Refusal::StaleIfSilent => Some(Refusal::Status),
            Refusal::Status => Some(Refusal::StoreFailed),
            Refusal::StoreFailed => Some(Refusal::StoreLost),
            Refusal::StoreLost => Some(Refusal::TooLarge),
            Refusal::TooLarge => Some(Refusal::TooManyFills),
            Refusal::TooManyFills => Some(Refusal::VaryAnything),
            Refusal::VaryAnything => Some(Refusal::WaitedTooLong),
            Refusal::WaitedTooLong => None,
        };
        std::iter::successors(Some(Refusal::Abandoned), |refusal| next(*refusal)).collect()
    }

    /// Every value of a kind, and `None`.
    fn or_none<T: Copy>(values: &[T]) -> Vec<Option<T>> {
        [None].into_iter().chain(values.iter().copied().map(Some)).collect()
    }

    /// Appends to fields that have two members already. Returns the parameters of the last member, as another
    /// implementation reads the whole field.
    fn appended(name: &CacheName, append: impl FnOnce(&mut HeaderMap)) -> Vec<(String, BareItem)> {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("origin; fwd=stale, \"middle one\"; hit"));
        append(&mut headers);
        let lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().map(HeaderValue::as_bytes).collect();
        let mut members: List = Parser::new(&lines.join(&b", "[..])).parse().unwrap();
        assert_eq!(members.len(), 3);
        let Some(ListEntry::Item(member)) = members.pop() else { panic!("an inner list") };
        let written = match member.bare_item {
            BareItem::Token(token) => token.as_str().to_owned(),
            BareItem::String(string) => format!("\"{}\"", string.as_str()),
            other => panic!("{other:?}"),
        };
        assert_eq!(written, name.as_written());
        member.params.into_iter().map(|(key, value)| (key.into(), value)).collect()
    }

    #[test]
    fn another_implementation_reads_every_member_as_it_is_meant() {
        let names = [CacheName::default(), CacheName::new("Edge 1").unwrap()];
        let keys = [&b"\nvideo.example\n/a.mp4?token=1"[..], b"", b"\"\\\x00\xff"];
        let (ok, not_modified) = (StatusCode::OK, StatusCode::NOT_MODIFIED);
        let mut members = 0;
        for (index, forwarded) in or_none(&reasons()).into_iter().enumerate() {
            for refusal in or_none(&refusals()) {
                for flags in 0_u8..16 {
                    let (stored, collapsed, storing) = (flags & 1 > 0, flags & 2 > 0, flags & 8 > 0);
                    let forwarded_status = (flags & 4 > 0).then_some(not_modified);
                    for ttl in or_none(&[0, -7, i64::from(u32::MAX)]) {
                        let key = or_none(&keys)[members % 4];
                        let name = &names[index % 2];
                        let by = Signature { name: name.as_written(), key };
                        let outcome =
                            Outcome { forwarded, forwarded_status, stored, storing, collapsed, ttl, refusal };
                        let mut expected = Vec::new();
                        let mut expect = |name: &str, value| expected.push((name.to_owned(), value));
                        match forwarded {
                            None => expect("hit", BareItem::Boolean(true)),
                            Some(reason) => expect("fwd", token(reason.name())),
                        }
                        if let Some(status) = forwarded_status.filter(|_| forwarded.is_some()) {
                            expect("fwd-status", BareItem::Integer(status.as_u16().into()));
                        }
                        if let Some(ttl) = ttl {
                            expect("ttl", BareItem::Integer(ttl.try_into().unwrap()));
                        }
                        for (name, flag) in [("stored", stored), ("collapsed", collapsed)] {
                            if flag && forwarded.is_some() {
                                expect(name, BareItem::Boolean(true));
                            }
                        }
                        if let Some(key) = key {
                            let escaped = key.escape_ascii().to_string();
                            expect("key", BareItem::String(escaped.try_into().unwrap()));
                        }
                        if let Some(refusal) = refusal {
                            expect("detail", token(refusal.name()));
                        } else if storing && forwarded.is_some() {
                            expect("detail", token("storing"));
                        }
                        assert_eq!(appended(name, |headers| outcome.append_to(headers, ok, by)), expected);
                        members += 1;
                    }
                }
            }
        }
        assert_eq!(members, 9 * 29 * 16 * 4);
        for name in &names {
            for (member, reason) in [(name.bypass(), "bypass"), (name.method(), "method")] {
                let read = appended(name, |headers| append(headers, member.clone()));
                assert_eq!(read, [("fwd".to_owned(), token(reason))]);
            }
            for refusal in refusals() {
                let by = Signature { name: name.as_written(), key: None };
                let read = appended(name, |headers| Generated(refusal).append_to(headers, by));
                assert_eq!(read, [("detail".to_owned(), token(refusal.name()))]);
            }
        }
    }

    fn token(name: &str) -> BareItem {
        BareItem::Token(name.to_owned().try_into().unwrap())
    }
}
