//! The place that a request asked for: its host and its path.
//!
//! RFC 9110 §4.3.1 (origin); RFC 3986 §3.3 (path).

use http::request;

use super::reference::origin;

/// The host and the path of the request that brought a response, without the query. Both are empty if the record of the
/// response does not name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// In lower case, with the port unless it is a default one. Empty if the request named no host, or several.
    pub(crate) host: String,
    /// As the request wrote it.
    pub(crate) path: String,
}

impl Place {
    pub(crate) fn of(request: &request::Parts) -> Self {
        Self { host: origin(request), path: request.uri.path().to_owned() }
    }

    /// Whether the record of the response names it. No request has an empty path.
    pub(crate) fn is_known(&self) -> bool {
        !self.path.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn at(path: &str) -> Self {
        Self { host: String::new(), path: path.to_owned() }
    }
}
