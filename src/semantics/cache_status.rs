//! `Cache-Status`: what the cache did with a request, in one field.
//!
//! RFC 9211. Every reason that a cache has for not storing or not answering has its name here.

use http::{
    header::{HeaderMap, HeaderName, HeaderValue},
    StatusCode,
};

/// Why a response was not stored, or not served from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Authorization,
    ChangedLength,
    InnerFailed,
    InnerStalled,
    Invalidated,
    InvalidLength,
    Media,
    NeverFresh,
    NoCache,
    NoRoom,
    NoStore,
    Private,
    SetCookie,
    StaleIfError,
    Status,
    StoreFailed,
    StoreLost,
    TooLarge,
    VaryAnything,
    WaitedTooLong,
}

impl Refusal {
    /// Whether the response's own fields forbid to store it.
    pub(crate) fn is_of_the_response(self) -> bool {
        matches!(
            self,
            Self::Authorization
                | Self::Media
                | Self::NeverFresh
                | Self::NoCache
                | Self::NoStore
                | Self::Private
                | Self::SetCookie
                | Self::VaryAnything
        )
    }

    /// The `detail` of RFC 9211 §2.8, a token.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::ChangedLength => "inner-length-mismatch",
            Self::InnerFailed => "inner-body-failed",
            Self::InnerStalled => "inner-stalled",
            Self::Invalidated => "invalidated",
            Self::InvalidLength => "invalid-content-length",
            Self::Media => "media-type",
            Self::NeverFresh => "never-fresh",
            Self::NoCache => "no-cache",
            Self::NoRoom => "no-room",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::StaleIfError => "stale-if-error",
            Self::Status => "status",
            Self::StoreFailed => "store-failed",
            Self::StoreLost => "store-lost",
            Self::TooLarge => "too-large",
            Self::VaryAnything => "vary-star",
            Self::WaitedTooLong => "waited-too-long",
        }
    }
}

/// Why a request went forward to the inner service (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// A stored response was found, and its bytes were not.
    Partial,
    /// The request asked for it.
    Request,
    Stale,
    UriMiss,
    VaryMiss,
}

impl Forwarded {
    fn name(self) -> &'static str {
        match self {
            Self::Partial => "partial",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
        }
    }
}

/// What became of one request: the member that this cache adds to `Cache-Status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// `None` is a hit.
    pub(crate) forwarded: Option<Forwarded>,
    /// The inner service's status, where it is not the answer's.
    pub(crate) forwarded_status: Option<StatusCode>,
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
    /// Seconds of freshness left.
    pub(crate) ttl: Option<i64>,
    pub(crate) refusal: Option<Refusal>,
}

impl Outcome {
    /// Appends this cache's member after those of the caches nearer the origin (RFC 9211 §2).
    pub(crate) fn append_to(self, headers: &mut HeaderMap) {
        // Tokens and numbers alone are a valid field value, so this is never an error.
        if let Ok(value) = HeaderValue::try_from(self.member()) {
            headers.append(CACHE_STATUS, value);
        }
    }

    fn member(self) -> String {
        use std::fmt::Write;

        let mut member = String::with_capacity(64);
        member.push_str(CACHE_NAME);
        match self.forwarded {
            None => member.push_str("; hit"),
            Some(reason) => {
                member.push_str("; fwd=");
                member.push_str(reason.name());
            }
        }
        if let Some(ttl) = self.ttl {
            // Writing to a String does not fail.
            let _ = write!(member, "; ttl={ttl}");
        }
        if self.stored {
            member.push_str("; stored");
        }
        if self.collapsed {
            member.push_str("; collapsed");
        }
        if let Some(refusal) = self.refusal {
            member.push_str("; detail=");
            member.push_str(refusal.name());
        }
        member
    }
}

/// The field's name.
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

const CACHE_NAME: &str = env!("CARGO_PKG_NAME");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_says_what_happened() {
        for (outcome, expected) in [
            (Outcome { ttl: Some(299), ..Outcome::default() }, "tower-video-cache; hit; ttl=299"),
            (
                Outcome {
                    forwarded: Some(Forwarded::UriMiss),
                    stored: true,
                    ttl: Some(300),
                    ..Outcome::default()
                },
                "tower-video-cache; fwd=uri-miss; ttl=300; stored",
            ),
            (
                Outcome {
                    forwarded: Some(Forwarded::Stale),
                    collapsed: true,
                    ttl: Some(-1),
                    ..Outcome::default()
                },
                "tower-video-cache; fwd=stale; ttl=-1; collapsed",
            ),
            (
                Outcome {
                    forwarded: Some(Forwarded::VaryMiss),
                    refusal: Some(Refusal::StoreFailed),
                    ..Outcome::default()
                },
                "tower-video-cache; fwd=vary-miss; detail=store-failed",
            ),
        ] {
            assert_eq!(outcome.member(), expected);
        }
    }

    #[test]
    fn an_upstream_caches_members_stay() {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_STATUS, HeaderValue::from_static("origin; hit"));
        Outcome::default().append_to(&mut headers);
        let values: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(values, ["origin; hit", "tower-video-cache; hit"]);
    }
}
