//! Every reason of a cache for not storing or not answering, with its name.
//!
//! RFC 9211 §2.8 (`detail`).

use http::StatusCode;

/// The reason why a response was not stored, or not served from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Abandoned,
    Authorization,
    ChangedLength,
    Cookie,
    Endless,
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
    PastTheEnd,
    Precondition,
    Private,
    Rule,
    SetCookie,
    Signed,
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
                | Self::Rule
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

    /// The place of the name in [`DETAILS`].
    pub(crate) fn place(self) -> usize {
        DETAILS.iter().position(|name| *name == self.name()).unwrap_or(usize::MAX)
    }

    /// The `detail` of RFC 9211 §2.8, a token.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Abandoned => "abandoned",
            Self::Authorization => "authorization",
            Self::ChangedLength => "inner-length-mismatch",
            Self::Cookie => "cookie",
            Self::Endless => "endless",
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
            Self::PastTheEnd => "past-the-end",
            Self::Precondition => "precondition",
            Self::Private => "private",
            Self::Rule => "rule",
            Self::SetCookie => "set-cookie",
            Self::Signed => "signed",
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

/// The names of all refusals.
pub(crate) const DETAILS: &[&str] = &[
    "abandoned",
    "authorization",
    "cookie",
    "endless",
    "fills-limit",
    "inner-body-failed",
    "inner-length-mismatch",
    "inner-stalled",
    "invalid-content-length",
    "invalidated",
    "lease-lost",
    "media-type",
    "never-fresh",
    "no-cache",
    "no-parts",
    "no-room",
    "no-store",
    "only-if-cached",
    "past-the-end",
    "precondition",
    "private",
    "rule",
    "set-cookie",
    "signed",
    "stale-if-error",
    "stale-if-failed",
    "stale-if-silent",
    "status",
    "store-failed",
    "store-lost",
    "too-large",
    "vary-star",
    "waited-too-long",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_their_order_and_each_has_a_place() {
        assert!(DETAILS.is_sorted());
        for refusal in
            [Refusal::Abandoned, Refusal::ChangedLength, Refusal::TooManyFills, Refusal::WaitedTooLong]
        {
            assert_eq!(DETAILS[refusal.place()], refusal.name());
        }
    }
}
