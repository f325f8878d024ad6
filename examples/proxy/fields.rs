//! The header fields that an intermediary takes off, adds and replaces, and what a response is found by.
//!
//! RFC 9110 §7.6 (forwarding); RFC 9113 §8.2.3 (`Cookie`).

use std::net::IpAddr;

use http::{
    header::{self, HeaderName},
    request, HeaderMap, HeaderValue, Method, Uri, Version,
};
use tower_video_cache::CacheKey;

/// Authority, path and query, in whichever form and HTTP version the viewer gave them.
///
/// The origin is told the authority, so it may answer by it. The scheme is in HTTP/2 requests alone.
pub(crate) fn cache_key(request: &request::Parts) -> CacheKey {
    let host = host(&request.uri, &request.headers);
    let mut key = host.as_ref().map_or(&[][..], HeaderValue::as_bytes).to_ascii_lowercase();
    key.extend_from_slice(request.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    CacheKey::new(key)
}

/// Makes a viewer's header fields those of a request to the origin, which gets its own authority as `Host`.
///
/// `X-Forwarded-For` is appended to. What else would tell the origin where a request came from is replaced: an
/// origin that makes links of it would let one viewer choose what the cache gives to all others.
pub(crate) fn make_inbound(request: &mut request::Parts, viewer: IpAddr) {
    let host = host(&request.uri, &request.headers);
    let headers = &mut request.headers;
    remove_hop_by_hop(headers);
    headers.append(header::VIA, via(request.version));
    headers.remove(header::HOST);
    headers.remove(header::FORWARDED);
    headers.remove(X_FORWARDED_HOST);
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    // An address is visible ASCII.
    if let Ok(viewer) = HeaderValue::try_from(viewer.to_string()) {
        headers.append(X_FORWARDED_FOR, viewer);
    }
    join(headers, X_FORWARDED_FOR, b", ");
    // RFC 9113 §8.2.3: HTTP/2 may split this field, HTTP/1.1 may not.
    join(headers, header::COOKIE, b"; ");
}

/// Makes the origin's header fields those of a response to a viewer. `version` is the origin's.
pub(crate) fn make_outbound(headers: &mut HeaderMap, version: Version) {
    remove_hop_by_hop(headers);
    headers.append(header::VIA, via(version));
}

/// Counts this hop off, where the viewer limits them; false if it was the last.
///
/// RFC 9110 §7.6.2: the field is for TRACE and OPTIONS; where it is not a number, it may be ignored.
pub(crate) fn may_forward(request: &mut request::Parts) -> bool {
    if request.method != Method::TRACE && request.method != Method::OPTIONS {
        return true;
    }
    let limit = request.headers.get(header::MAX_FORWARDS).and_then(|value| value.to_str().ok()?.parse().ok());
    match limit {
        Some(0_u32) => return false,
        Some(hops) => _ = request.headers.insert(header::MAX_FORWARDS, HeaderValue::from(hops - 1)),
        None => {}
    }
    true
}

/// RFC 9112 §3.2.2: the target's own authority is the host, whatever `Host` says.
fn host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    match uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => headers.get(header::HOST).cloned(),
    }
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// RFC 9110 §7.6.3: the version in which the message came, then a pseudonym.
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 tower-video-cache",
        Version::HTTP_2 => "2 tower-video-cache",
        _ => "1.1 tower-video-cache",
    })
}

/// Makes one line of a field's several.
fn join(headers: &mut HeaderMap, name: HeaderName, separator: &[u8]) {
    let lines: Vec<_> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() > 1 {
        if let Ok(line) = HeaderValue::from_bytes(&lines.join(separator)) {
            headers.insert(name, line);
        }
    }
}

/// RFC 9110 §7.6.1; and §11.7: this proxy asks for no credentials, and relays none that are for a proxy.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
