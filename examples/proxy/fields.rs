//! The header fields that an intermediary takes off, adds and replaces.
//!
//! RFC 9110 §7.6 (forwarding); RFC 9113 §8.2.3 (`Cookie`).

use http::{
    HeaderMap, HeaderValue, Method, Version,
    header::{self, HeaderName},
    request,
};

/// Turns a client's header fields into those of a request to the origin, except for `Host`.
///
/// It appends the address of the `client` to `X-Forwarded-For`. It drops the fields of [`names_another_request`],
/// unless they are `passed`.
pub(crate) fn make_inbound(request: &mut request::Parts, client: &HeaderValue, passed: &[HeaderName]) {
    let headers = &mut request.headers;
    remove_hop_by_hop(headers, |_| true);
    let dropped: Vec<HeaderName> = headers
        .keys()
        .filter(|name| names_another_request(name) && !passed.contains(name))
        .cloned()
        .collect();
    for name in &dropped {
        headers.remove(name);
    }
    // Once for all fields that are added to a request.
    headers.reserve(ADDED);
    headers.append(header::VIA, via(request.version));
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    if headers.append(X_FORWARDED_FOR, client.clone()) {
        join(headers, X_FORWARDED_FOR, b", ");
    }
    // RFC 9113 §8.2.3: HTTP/2 may split this field, HTTP/1.1 may not.
    join(headers, header::COOKIE, b"; ");
}

/// Whether an operator may let this field pass. A field that the proxy or the connection needs for itself may not.
pub(crate) fn may_be_passed(name: &HeaderName) -> bool {
    !HOP_BY_HOP.contains(name) && !NEVER_LISTED.contains(name)
}

/// Whether an origin may take the request for one of another target or client because of this field, which is not
/// part of the key. Such a field would let one client choose what the cache gives to all others.
///
/// CGI and similar interfaces read `_` in a name as `-`. So `X_Original_URL` means `X-Original-URL`, and
/// `Accept_Language` selects a response that the key's `Accept-Language` does not. Therefore no name with a `_`
/// passes.
fn names_another_request(name: &HeaderName) -> bool {
    let name = name.as_str();
    let begins = |start: &&str| name.starts_with(*start);
    name.contains('_')
        || NAME_ANOTHER_REQUEST.binary_search(&name).is_ok()
        || BEGINNINGS.iter().any(begins) && name != X_FORWARDED_FOR.as_str()
}

/// Turns the origin's header fields into those of a response to a client. `version` is the origin's.
pub(crate) fn make_outbound(headers: &mut HeaderMap, version: Version) {
    remove_hop_by_hop(headers, |name| {
        !OF_THE_CONTENT.contains(name) && !name.as_str().ends_with("cache-control")
    });
    headers.append(header::VIA, via(version));
}

/// Counts this hop if the client limits the hops. Returns false if it was the last.
///
/// RFC 9110 §7.6.2: the field is for TRACE and OPTIONS. If it is not a number, it may be ignored.
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

/// Removes the fields that `Connection` lists, if they `may` be listed: they are for one connection. `Connection`
/// cannot list fields that every recipient needs.
fn remove_hop_by_hop(headers: &mut HeaderMap, may: fn(&HeaderName) -> bool) {
    let listed = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !NEVER_LISTED.contains(name) && may(name));
    let present = headers.keys().filter(|name| HOP_BY_HOP.contains(name)).cloned();
    let removed: Vec<HeaderName> = listed.chain(present).collect();
    for name in &removed {
        headers.remove(name);
    }
}

/// RFC 9110 §7.6.3: the version of the received message, then a pseudonym.
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 tower-video-cache",
        Version::HTTP_2 => "2 tower-video-cache",
        _ => "1.1 tower-video-cache",
    })
}

/// Joins the several lines of a field into one.
fn join(headers: &mut HeaderMap, name: HeaderName, separator: &[u8]) {
    let mut lines = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    if let (Some(first), Some(second)) = (lines.next(), lines.next()) {
        let lines: Vec<_> = [first, second].into_iter().chain(lines).collect();
        if let Ok(line) = HeaderValue::from_bytes(&lines.join(separator)) {
            headers.insert(name, line);
        }
    }
}

/// The number of fields that a request gets here and at the gate.
const ADDED: usize = 6;

/// RFC 9110 §7.6.1. And §11.7: this proxy asks for no credentials, and relays none that are for a proxy.
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

/// RFC 9110 §7.6.1: a field for all recipients is no connection option. Without these, a loop would go unseen, and
/// the content would have no length.
const NEVER_LISTED: [HeaderName; 4] = [CDN_LOOP, header::CONTENT_LENGTH, header::HOST, header::VIA];

/// RFC 9110 §7.6.1, for an answer: without these fields, the cache would mistake it for another answer and give it to
/// others.
const OF_THE_CONTENT: [HeaderName; 11] = [
    header::AGE,
    header::CONTENT_ENCODING,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::PRAGMA,
    header::SET_COOKIE,
    header::VARY,
];

/// The beginnings of field names by which a proxy describes a request before its own changes.
const BEGINNINGS: [&str; 5] = ["x-forwarded", "x-original-", "x-rewrite-", "x-envoy-", "x-ms-original-"];

/// Fields that name another target, host, scheme or client address than the request does, in the order of the alphabet.
pub(crate) const NAME_ANOTHER_REQUEST: [&str; 41] = [
    "base-url",
    "cf-connecting-ip",
    "cf-visitor",
    "client-ip",
    "cloudfront-forwarded-proto",
    "fastly-client-ip",
    "fastly-ssl",
    "forwarded",
    "forwarded-for",
    "forwarded-host",
    "forwarded-proto",
    "front-end-https",
    "proxy",
    "proxy-host",
    "request-uri",
    "script-name",
    "true-client-ip",
    "x-accel-mapping",
    "x-appengine-user-ip",
    "x-arr-ssl",
    "x-azure-clientip",
    "x-backend-host",
    "x-base-url",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-host-override",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-original",
    "x-originating-ip",
    "x-override-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-scheme",
    "x-script-name",
    "x-sendfile-type",
    "x-url-scheme",
    "x-wap-profile",
];

/// RFC 8586: the names of those that forwarded a request.
pub(crate) const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
