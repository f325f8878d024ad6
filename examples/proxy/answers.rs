//! [`OwnAnswer`]: the answers that the proxy makes itself, and why.
//!
//! RFC 9209 (`Proxy-Status`) defines the words for the reasons.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// Why the proxy made an answer itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnAnswer {
    /// The origin closed the connection before its answer was complete.
    Closed,
    ConnectTimeout,
    HeadTooLarge,
    InvalidHost,
    /// An OPTIONS that may be forwarded no further.
    LastHop,
    LastHopOfTrace,
    Loop,
    NameTimeout,
    NoHost,
    /// The origin sent something other than HTTP.
    NotHttp,
    NoTunnel,
    /// The proxy does not answer for this host.
    OtherHost,
    Refused,
    ResponseTimeout,
    SeveralHosts,
    TwoHosts,
    UnknownName,
    Unreachable,
    Unroutable,
    UploadFailed,
    UploadTimeout,
}

impl OwnAnswer {
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let (status, error, text) = self.words();
        let reason = status.canonical_reason().unwrap_or_default();
        let text = format!("{} {reason}\n{text}\n", status.as_u16());
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(error) = error {
            headers.insert(PROXY_STATUS, HeaderValue::from_static(error));
        }
        response
    }

    /// The status, the member of `Proxy-Status`, and a plain explanation.
    ///
    /// No text names the origin: its name is not for clients.
    fn words(self) -> (StatusCode, Option<&'static str>, &'static str) {
        macro_rules! because {
            ($error:literal) => {
                Some(concat!("tower-video-cache; error=", $error))
            };
        }
        match self {
            Self::Closed => (
                StatusCode::BAD_GATEWAY,
                because!("connection_terminated"),
                "The origin closed the connection before it had answered.",
            ),
            Self::ConnectTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                because!("connection_timeout"),
                "The origin did not accept a connection in time.",
            ),
            Self::HeadTooLarge => (
                StatusCode::BAD_GATEWAY,
                because!("http_response_header_section_size"),
                "The header fields of the origin's answer are too large.",
            ),
            Self::InvalidHost => (
                StatusCode::BAD_REQUEST,
                because!("http_request_error"),
                "The request's host is not a host name or address, with or without a port.",
            ),
            Self::LastHop => (StatusCode::OK, None, "The request may go no further."),
            Self::LastHopOfTrace => (
                StatusCode::NOT_IMPLEMENTED,
                None,
                "The request may go no further, and is not answered here.",
            ),
            // RFC 5842 §7.2 defines this status. There is none for proxies.
            Self::Loop => (
                StatusCode::LOOP_DETECTED,
                because!("proxy_loop_detected"),
                "The request came back to this proxy: its origin leads to the proxy itself.",
            ),
            Self::NameTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                because!("dns_timeout"),
                "The origin's name was not resolved in time.",
            ),
            Self::NoHost => (
                StatusCode::BAD_REQUEST,
                because!("http_request_error"),
                "The request does not name its host.",
            ),
            Self::NotHttp => (
                StatusCode::BAD_GATEWAY,
                because!("http_protocol_error"),
                "The origin's answer is not one of HTTP/1.1 that this proxy understands.",
            ),
            Self::NoTunnel => (StatusCode::NOT_IMPLEMENTED, None, "This proxy opens no tunnels."),
            Self::OtherHost => (
                StatusCode::MISDIRECTED_REQUEST,
                because!("http_request_denied"),
                "This proxy does not answer for the request's host.",
            ),
            Self::Refused => (
                StatusCode::BAD_GATEWAY,
                because!("connection_refused"),
                "The origin refused the connection.",
            ),
            Self::ResponseTimeout => (
                StatusCode::GATEWAY_TIMEOUT,
                because!("http_response_timeout"),
                "The origin did not begin its answer in time.",
            ),
            Self::SeveralHosts | Self::TwoHosts => (
                StatusCode::BAD_REQUEST,
                because!("http_request_error"),
                "The request names its host more than once.",
            ),
            Self::UnknownName => {
                (StatusCode::BAD_GATEWAY, because!("dns_error"), "The origin's name could not be resolved.")
            }
            Self::Unreachable => (
                StatusCode::BAD_GATEWAY,
                because!("destination_unavailable"),
                "No connection to the origin could be made.",
            ),
            Self::Unroutable => (
                StatusCode::BAD_GATEWAY,
                because!("destination_ip_unroutable"),
                "No route leads to the origin's address.",
            ),
            Self::UploadFailed => {
                (StatusCode::BAD_REQUEST, because!("http_request_error"), "The request's content broke off.")
            }
            Self::UploadTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                because!("http_request_error"),
                "The request's content did not come in time.",
            ),
        }
    }
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
