//! [`Invalidate`]: which answers to unsafe requests invalidate.

use http::StatusCode;

/// The answers to unsafe requests that invalidate stored responses (RFC 9111 §4.4).
///
/// ```
/// # use tower_video_cache::{Invalidate, Policy};
/// // An inner service that answers a successful POST with a redirection to the result.
/// let policy = Policy::default().invalidate(Invalidate::OnNonError);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidate {
    /// None.
    Never,
    /// Answers with a 2xx status. A redirection to a login page, to `https` or to another spelling of the path has
    /// changed nothing, and any client can cause one.
    #[default]
    OnSuccess,
    /// Answers with a 2xx or 3xx status, which RFC 9111 §4.4 calls non-error. Use this if the inner service answers a
    /// successful change with 303 (See Other).
    OnNonError,
}

impl Invalidate {
    /// Whether an answer with this status invalidates.
    pub(super) fn is_on(self, status: StatusCode) -> bool {
        match self {
            Self::Never => false,
            Self::OnSuccess => status.is_success(),
            Self::OnNonError => status.is_success() || status.is_redirection(),
        }
    }
}
