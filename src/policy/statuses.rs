//! [`Statuses`]: which status codes are stored.

use http::StatusCode;

/// The status codes that [`Policy::statuses`](crate::Policy::statuses) stores. The cache never stores 206 and 304.
///
/// ```
/// # use http::StatusCode;
/// # use tower_video_cache::Statuses;
/// let only = Statuses::from([StatusCode::OK, StatusCode::NOT_FOUND]);
/// assert_eq!(only, Statuses::Only(vec![StatusCode::OK, StatusCode::NOT_FOUND]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Statuses {
    /// 200 alone.
    #[default]
    Default,
    /// Every final status code, as RFC 9111 §3 allows.
    Any,
    /// These status codes.
    Only(Vec<StatusCode>),
}

impl Statuses {
    /// Whether a response with this status may be stored.
    pub(super) fn admit(&self, status: StatusCode) -> bool {
        let is_a_whole = status != StatusCode::PARTIAL_CONTENT && status != StatusCode::NOT_MODIFIED;
        is_a_whole
            && match self {
                Self::Default => status == StatusCode::OK,
                Self::Any => !status.is_informational(),
                Self::Only(statuses) => statuses.contains(&status),
            }
    }
}

impl<const N: usize> From<[StatusCode; N]> for Statuses {
    fn from(statuses: [StatusCode; N]) -> Self {
        Self::Only(statuses.into())
    }
}

impl From<Vec<StatusCode>> for Statuses {
    fn from(statuses: Vec<StatusCode>) -> Self {
        Self::Only(statuses)
    }
}
