//! `Cache-Status`: what the cache did with a request, in one field.
//!
//! RFC 9211.

mod refusal;

use std::fmt;

use http::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};

pub(crate) use self::refusal::{DETAILS, Refusal};
use super::{
    fields::media_type,
    short::{MOST_DIGITS, Short},
    structured::{is_token, push_string},
};
use crate::{error::Error, policy::Policy};

/// The name of a cache in `Cache-Status`: a product, a host, or one of several caches in a row.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CacheName {
    plain: Box<str>,
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
        Ok(Self { plain: name.into(), written: written.into(), bypass, method })
    }

    /// The name without quotes.
    pub(crate) fn as_plain(&self) -> &str {
        &self.plain
    }

    /// The name as it appears in the field.
    pub(crate) fn as_written(&self) -> &str {
        &self.written
    }

    /// The member for a request that is never looked up, because only the inner service may answer its method, or because it
    /// bypasses this cache.
    pub(crate) fn member(&self, reason: Forwarded) -> &HeaderValue {
        if reason == Forwarded::Method { &self.method } else { &self.bypass }
    }
}

impl Default for CacheName {
    /// `tower-video-cache`.
    fn default() -> Self {
        Self {
            plain: env!("CARGO_PKG_NAME").into(),
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
    /// The place among [`REQUESTS`](crate::counters::REQUESTS).
    fn place(self) -> u8 {
        match self {
            Self::Bypass => 2,
            Self::Method => 3,
            Self::Miss => 4,
            Self::Partial => 5,
            Self::Request => 6,
            Self::Stale => 7,
            Self::UriMiss => 8,
            Self::VaryMiss => 9,
        }
    }

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
    /// The facts of the outcome that are counted.
    pub(crate) fn told(self) -> Told {
        let place = match self.forwarded {
            None if self.ttl.is_some_and(|ttl| ttl < 0) => 1,
            None => 0,
            Some(reason) => reason.place(),
        };
        let was_forwarded = self.forwarded.is_some();
        Told {
            place,
            refusal: self.refusal,
            stored: was_forwarded && self.stored,
            collapsed: was_forwarded && self.collapsed,
        }
    }

    /// Appends this cache's member after those of the caches nearer the origin (RFC 9211 §2). `status` is the status of
    /// the answer that has these fields.
    pub(crate) fn append_to(self, headers: &mut HeaderMap, status: StatusCode, by: Signature<'_>) {
        append_text(headers, self.member(status, by, None));
    }

    /// Like [`append_to`](Self::append_to), for a header with [room](make_room) for the member.
    pub(crate) fn put_into(self, headers: &mut HeaderMap, status: StatusCode, by: Signature<'_>) {
        // Printable ASCII is a valid field value, so this is never an error.
        let Ok(member) = HeaderValue::try_from(self.member(status, by, None)) else { return };
        match headers.get_mut(CACHE_STATUS) {
            Some(room) if room.is_empty() => *room = member,
            _ => append(headers, member),
        }
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

    /// The bytes of the parameters: as many as those of a simple hit, so that its text needs no second allocation.
    fn room(self) -> usize {
        match (self.forwarded, self.refusal, self.ttl) {
            (None, None, Some(ttl)) => "; hit; ttl=".len() + width(ttl.clamp(-MOST_SECONDS, MOST_SECONDS)),
            _ => PARAMETERS,
        }
    }

    /// Writes the member. `media` is the refused type, if the type is the reason.
    fn member(self, status: StatusCode, by: Signature<'_>, media: Option<&str>) -> String {
        let mut member = by.begin(self.room());
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
            let sign = if ttl < 0 { "-" } else { "" };
            let number = Short::<{ MOST_DIGITS + 1 }>::new().text(sign).number(ttl.unsigned_abs());
            member.push_str("; ttl=");
            member.push_str(number.as_str());
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

/// The facts of an answer that are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The place among [`REQUESTS`](crate::counters::REQUESTS).
    pub(crate) place: u8,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
}

impl Told {
    /// No answer: the inner service failed.
    pub(crate) const FAILED: Self = Self { place: FAILED, refusal: None, stored: false, collapsed: false };
}

/// An answer that this cache made by itself. It is no hit, since it contains nothing stored, and it was not forwarded.
///
/// RFC 9211 §2 would rather have no member there. This member says why there was no other answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generated(pub(crate) Refusal);

impl Generated {
    /// The facts of the answer that are counted.
    pub(crate) fn told(self) -> Told {
        Told { place: GENERATED, refusal: Some(self.0), ..Told::default() }
    }

    /// Appends this cache's member: the name and the reason.
    pub(crate) fn append_to(self, headers: &mut HeaderMap, by: Signature<'_>) {
        let mut member = by.begin(PARAMETERS);
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
    /// The beginning of a member, with so much room for its parameters.
    fn begin(self, room: usize) -> String {
        let mut member = String::with_capacity(self.name.len() + room);
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

/// How many characters a number has.
fn width(number: i64) -> usize {
    let digits = number.unsigned_abs().checked_ilog10().unwrap_or_default() + 1;
    usize::try_from(digits).unwrap_or_default() + usize::from(number < 0)
}

/// Makes room for this cache's member, if no cache nearer the origin has one: an empty line. An empty line of another
/// cache would be taken for it, and says nothing.
pub(crate) fn make_room(headers: &mut HeaderMap) {
    let others = headers.get_all(CACHE_STATUS).iter().filter(|line| !line.is_empty());
    let others: Vec<_> = others.cloned().collect();
    if others.is_empty() {
        headers.insert(CACHE_STATUS, HeaderValue::from_static(""));
    } else {
        headers.remove(CACHE_STATUS);
        for line in others {
            append(headers, line);
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

/// The place of an error of the inner service among [`REQUESTS`](crate::counters::REQUESTS).
const FAILED: u8 = 11;

/// The place of such an answer among [`REQUESTS`](crate::counters::REQUESTS).
const GENERATED: u8 = 10;

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
mod tests;
