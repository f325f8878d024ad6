//! Resolves a URI reference of a response: to the target's own origin, or elsewhere.
//!
//! RFC 3986 §5.2 (resolving a reference); RFC 9110 §4.3.1 (origin), §10.2.2 (`Location`), §8.7 (`Content-Location`).

use std::borrow::Cow;

use http::{
    HeaderValue, header, request,
    uri::{self, PathAndQuery, Uri},
};

use super::fields::is_whitespace;

/// The destination of a reference, seen from the target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    /// Another origin than the target's, or one that cannot be compared with it.
    AnotherOrigin,
    /// No URI that HTTP could ask for, or one that is too long.
    Nowhere,
    /// The target's origin. The URI has the form of the target, with scheme and authority if the target has them.
    SameOrigin(Uri),
}

/// Resolves a reference against the target URI of a request.
pub(crate) fn resolve(request: &request::Parts, reference: &HeaderValue) -> Destination {
    let Some(reference) = reference.to_str().ok().filter(|reference| reference.len() <= LONGEST) else {
        return Destination::Nowhere;
    };
    let base = Components::of(request);
    let reference = Components::parse(reference.trim_matches(is_whitespace));
    let is_relative = reference.scheme.is_none() && reference.authority.is_none();
    let resolved = base.resolve(&reference);
    if !is_relative && !base.is_same_origin(&resolved) {
        return Destination::AnotherOrigin;
    }
    let path = match &*resolved.path {
        // RFC 9110 §4.2.3: an empty path is `/`.
        "" => "/",
        path if path.starts_with('/') => path,
        _ => return Destination::Nowhere,
    };
    let path_and_query = match resolved.query {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    let mut parts = request.uri.clone().into_parts();
    parts.path_and_query = path_and_query.ok();
    if parts.path_and_query.is_none() {
        return Destination::Nowhere;
    }
    Uri::from_parts(parts).map_or(Destination::Nowhere, Destination::SameOrigin)
}

/// The origin of a request's target, for comparison with others: the host in lower case, and the port unless it is a
/// default one. A plain HTTP/1.1 target does not tell its scheme, so the origins of both schemes count as one. Empty if
/// the request names no host, or several.
pub(crate) fn origin(request: &request::Parts) -> String {
    authority(request).map(origin_of).unwrap_or_default()
}

/// The same of an authority.
pub(crate) fn origin_of(authority: &str) -> String {
    let is_default = |port: &u16| DEFAULT_PORTS.iter().any(|(_, default)| default == port);
    let Some((host, port)) = host_and_port(authority, None) else { return String::new() };
    let host = host.to_ascii_lowercase();
    match port.filter(|port| !is_default(port)) {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}

/// The parts of a URI or a reference. The fragment is left out, since no request has one.
#[derive(Clone, Debug)]
struct Components<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: Cow<'a, str>,
    query: Option<&'a str>,
}

impl<'a> Components<'a> {
    /// The target of a request, as far as it is known.
    fn of(request: &'a request::Parts) -> Self {
        let uri = &request.uri;
        Self {
            scheme: uri.scheme_str(),
            authority: authority(request),
            path: uri.path().into(),
            query: uri.query(),
        }
    }

    /// RFC 3986 Appendix B.
    fn parse(text: &'a str) -> Self {
        let text = text.split_once('#').map_or(text, |(before, _fragment)| before);
        let (text, query) = match text.split_once('?') {
            Some((before, query)) => (before, Some(query)),
            None => (text, None),
        };
        let (scheme, text) = match text.split_once(':') {
            Some((scheme, rest)) if !scheme.is_empty() && !scheme.contains('/') => (Some(scheme), rest),
            _ => (None, text),
        };
        let (authority, path) = match text.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
            None => (None, text),
        };
        Self { scheme, authority, path: path.into(), query }
    }

    /// RFC 3986 §5.2.2, for a strict parser.
    fn resolve(&self, reference: &Self) -> Self {
        let scheme = reference.scheme.or(self.scheme);
        if reference.scheme.is_some() || reference.authority.is_some() {
            let path = without_dot_segments(&reference.path).into();
            return Self { scheme, authority: reference.authority, path, query: reference.query };
        }
        let (path, query) = if reference.path.is_empty() {
            (self.path.clone(), reference.query.or(self.query))
        } else if reference.path.starts_with('/') {
            (without_dot_segments(&reference.path).into(), reference.query)
        } else {
            // §5.2.3; a target's path is never empty.
            let folder = self.path.rfind('/').and_then(|slash| self.path.get(..=slash)).unwrap_or_default();
            (without_dot_segments(&format!("{folder}{}", reference.path)).into(), reference.query)
        };
        Self { scheme, authority: self.authority, path, query }
    }

    /// RFC 9110 §4.3.1: scheme, host and port are the same. A plain HTTP/1.1 target does not tell its scheme, so the
    /// scheme of the other one is taken for it.
    fn is_same_origin(&self, other: &Self) -> bool {
        let Some(scheme) = other.scheme.or(self.scheme) else {
            return is_same_authority(self.authority, other.authority, Some(HTTP_PORT));
        };
        let default_port = DEFAULT_PORTS.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
        default_port.is_some_and(|(_, port)| {
            self.scheme.is_none_or(|own| own.eq_ignore_ascii_case(scheme))
                && is_same_authority(self.authority, other.authority, Some(*port))
        })
    }
}

/// The authority of a request's target, or `None` if the request names none or several.
fn authority(request: &request::Parts) -> Option<&str> {
    let mut hosts = request.headers.get_all(header::HOST).iter().map(|host| host.to_str().ok());
    let said = match request.uri.authority().map(uri::Authority::as_str) {
        Some(authority) => authority,
        None => hosts.next()??,
    };
    let scheme = request.uri.scheme_str();
    let default_port = match scheme {
        // Default ports count as in the cache keys.
        None => Some(HTTP_PORT),
        Some(scheme) => {
            let known = DEFAULT_PORTS.iter().find(|(name, _)| scheme.eq_ignore_ascii_case(name));
            known.map(|(_, port)| *port)
        }
    };
    let is_said = |host: &str| {
        host.eq_ignore_ascii_case(said) || is_same_authority(Some(host), Some(said), default_port)
    };
    hosts.all(|host| host.is_some_and(is_said)).then_some(said)
}

fn is_same_authority(one: Option<&str>, other: Option<&str>, default_port: Option<u16>) -> bool {
    let parts = |authority| host_and_port(authority, default_port);
    match (one.and_then(parts), other.and_then(parts)) {
        (Some((host, port)), Some((other_host, other_port))) => {
            host.eq_ignore_ascii_case(other_host) && port == other_port
        }
        _ => false,
    }
}

/// Returns `None` if an authority names no host, or an invalid port.
fn host_and_port(authority: &str, default_port: Option<u16>) -> Option<(&str, Option<u16>)> {
    let named = authority.rsplit_once('@').map_or(authority, |(_user, named)| named);
    let (host, port) = match named.rsplit_once(':') {
        // Inside brackets, a colon belongs to an IPv6 address.
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (named, ""),
    };
    let port = match port {
        "" => default_port,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => Some(digits.parse().ok()?),
        _ => return None,
    };
    (!host.is_empty()).then_some((host, port))
}

/// RFC 3986 §5.2.4.
fn without_dot_segments(path: &str) -> String {
    let mut output = String::with_capacity(path.len());
    let mut input = path;
    let ends_a_segment = |rest: &&str| rest.is_empty() || rest.starts_with('/');
    while !input.is_empty() {
        if let Some(rest) = input.strip_prefix("../").or_else(|| input.strip_prefix("./")) {
            input = rest;
        } else if matches!(input, "." | "..") {
            input = "";
        } else if let Some(rest) = input.strip_prefix("/..").filter(ends_a_segment) {
            output.truncate(output.rfind('/').unwrap_or(0));
            input = if rest.is_empty() { "/" } else { rest };
        } else if let Some(rest) = input.strip_prefix("/.").filter(ends_a_segment) {
            input = if rest.is_empty() { "/" } else { rest };
        } else {
            let begin = usize::from(input.starts_with('/'));
            let end =
                input.bytes().skip(begin).position(|byte| byte == b'/').map_or(input.len(), |at| begin + at);
            let (segment, rest) = input.split_at(end);
            output.push_str(segment);
            input = rest;
        }
    }
    output
}

const DEFAULT_PORTS: [(&str, u16); 2] = [("http", HTTP_PORT), ("https", 443)];

const HTTP_PORT: u16 = 80;

/// The most bytes of a reference. RFC 9110 §4.1 recommends to take at least 8000.
const LONGEST: usize = 8192;

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    /// Resolves the reference against a request with this target and these `Host` fields.
    fn lead(target: &str, hosts: &[&str], reference: &str) -> Destination {
        let ask = hosts.iter().fold(Request::put(target), |ask, host| ask.header("host", *host));
        let reference = HeaderValue::from_bytes(reference.as_bytes()).unwrap();
        resolve(&ask.body(()).unwrap().into_parts().0, &reference)
    }

    fn same(target: &str) -> Destination {
        Destination::SameOrigin(target.parse().unwrap())
    }

    #[test]
    fn references_resolve_as_the_rfc_has_them() {
        let base = Components::parse("http://a/b/c/d;p?q");
        // RFC 3986 §5.4.1 and §5.4.2, less the fragments.
        for (reference, expected) in [
            ("g:h", "g:h"),
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            ("g?y#s", "http://a/b/c/g?y"),
            (";x", "http://a/b/c/;x"),
            ("g;x", "http://a/b/c/g;x"),
            ("g;x?y#s", "http://a/b/c/g;x?y"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("./", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../", "http://a/"),
            ("../../g", "http://a/g"),
            ("../../../g", "http://a/g"),
            ("../../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("/../g", "http://a/g"),
            ("g.", "http://a/b/c/g."),
            (".g", "http://a/b/c/.g"),
            ("g..", "http://a/b/c/g.."),
            ("..g", "http://a/b/c/..g"),
            ("./../g", "http://a/b/g"),
            ("./g/.", "http://a/b/c/g/"),
            ("g/./h", "http://a/b/c/g/h"),
            ("g/../h", "http://a/b/c/h"),
            ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("g?y/../x", "http://a/b/c/g?y/../x"),
            ("g#s/./x", "http://a/b/c/g"),
            ("g#s/../x", "http://a/b/c/g"),
            ("http:g", "http:g"),
        ] {
            let Components { scheme, authority, path, query } = base.resolve(&Components::parse(reference));
            let scheme = scheme.map_or(String::new(), |scheme| format!("{scheme}:"));
            let authority = authority.map_or(String::new(), |authority| format!("//{authority}"));
            let query = query.map_or(String::new(), |query| format!("?{query}"));
            assert_eq!(format!("{scheme}{authority}{path}{query}"), expected, "{reference}");
        }
    }

    #[test]
    fn a_reference_to_the_same_origin_keeps_the_form_of_the_target() {
        let host = ["one.example"].as_slice();
        for (target, hosts, reference, expected) in [
            ("/v/a.mp4?x", host, "b.mp4", "/v/b.mp4"),
            ("/v/a.mp4?x", host, "", "/v/a.mp4?x"),
            ("/v/a.mp4", host, " \tb.mp4 ", "/v/b.mp4"),
            ("/v/a.mp4", &[], "/b.mp4?y#t=10", "/b.mp4?y"),
            ("/v/a.mp4", &["one", "two"], "b.mp4", "/v/b.mp4"),
            ("/v/a.mp4", host, "http://one.example/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "https://one.example/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "HTTP://ONE.example:80/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "https://one.example:443/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "http://one.example:/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "http://me@one.example/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "//one.example/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "//one.example:80/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "http://one.example", "/"),
            ("/v/a.mp4", host, "http://one.example?y", "/?y"),
            ("/v/a.mp4", &["one.example:8080"], "http://one.example:8080/b.mp4", "/b.mp4"),
            ("/v/a.mp4", &["one.example:80"], "http://one.example/b.mp4", "/b.mp4"),
            ("/v/a.mp4", &["[::1]"], "http://[::1]:80/b.mp4", "/b.mp4"),
            ("/v/a.mp4", host, "/%62%2F.mp4;x", "/%62%2F.mp4;x"),
            ("/v/a.mp4", host, "/x/..//b.mp4", "//b.mp4"),
            ("/v/./a.mp4", host, "?y", "/v/./a.mp4?y"),
            ("http://one.example/v/a.mp4", &[], "b.mp4", "http://one.example/v/b.mp4"),
            ("http://one.example/a.mp4", host, "http://ONE.example:80/b.mp4", "http://one.example/b.mp4"),
            (
                "http://one.example/a.mp4",
                &["one.example:80"],
                "//one.example/b.mp4",
                "http://one.example/b.mp4",
            ),
            (
                "https://one.example/a.mp4",
                &["one.example:"],
                "//one.example/b.mp4",
                "https://one.example/b.mp4",
            ),
            ("https://one.example:443/a.mp4", &[], "//one.example/b.mp4", "https://one.example:443/b.mp4"),
        ] {
            assert_eq!(lead(target, hosts, reference), same(expected), "{target} {hosts:?} {reference}");
        }
    }

    #[test]
    fn another_origin_is_another_and_garbage_leads_nowhere() {
        let host = ["one.example"].as_slice();
        let long = "b".repeat(9000);
        for (target, hosts, reference, expected) in [
            ("/a", host, "http://two.example/b", Destination::AnotherOrigin),
            ("/a", host, "//two.example/b", Destination::AnotherOrigin),
            ("/a", host, "http://one.example:8080/b", Destination::AnotherOrigin),
            ("/a", host, "https://one.example:80/b", Destination::AnotherOrigin),
            ("/a", host, "//one.example:443/b", Destination::AnotherOrigin),
            ("/a", host, "http://one.example:x/b", Destination::AnotherOrigin),
            ("/a", host, "http://one.example:99999/b", Destination::AnotherOrigin),
            ("/a", host, "http://one.example@two.example/b", Destination::AnotherOrigin),
            ("/a", host, "http://one.example.two.example/b", Destination::AnotherOrigin),
            ("/a", host, "ftp://one.example/b", Destination::AnotherOrigin),
            ("/a", host, "http:b", Destination::AnotherOrigin),
            ("/a", host, "data:video/mp4,b", Destination::AnotherOrigin),
            ("/a", host, "http:///b", Destination::AnotherOrigin),
            ("/a", &[""], "http:///b", Destination::AnotherOrigin),
            ("/a", &[], "http://one.example/b", Destination::AnotherOrigin),
            ("/a", &["one.example", "two.example"], "http://one.example/b", Destination::AnotherOrigin),
            ("/a", &["one.example", "two.example"], "http://two.example/b", Destination::AnotherOrigin),
            ("http://one.example/a", &[], "https://one.example/b", Destination::AnotherOrigin),
            (
                "https://one.example/a",
                &["one.example:80"],
                "https://one.example/b",
                Destination::AnotherOrigin,
            ),
            ("http://one.example/a", &["two.example"], "http://two.example/b", Destination::AnotherOrigin),
            ("http://one.example/a", &["two.example"], "http://one.example/b", Destination::AnotherOrigin),
            ("/a", host, "/b c", Destination::Nowhere),
            ("/a", host, "/\u{fc}", Destination::Nowhere),
            ("/a", host, long.as_str(), Destination::Nowhere),
            ("*", host, "b", Destination::Nowhere),
        ] {
            assert_eq!(lead(target, hosts, reference), expected, "{target} {hosts:?} {reference}");
        }
    }

    proptest! {
        #[test]
        fn any_reference_leads_somewhere_or_nowhere(reference in "[ -~]{0,60}") {
            if let Destination::SameOrigin(uri) = lead("/v/a.mp4", &["one.example"], &reference) {
                prop_assert!(uri.path().starts_with('/') && uri.authority().is_none(), "{uri}");
            }
        }

        #[test]
        fn any_likely_reference_has_no_dot_segments_left(reference in "(/|[.]|[.][.]|a|b){1,12}") {
            if let Destination::SameOrigin(uri) = lead("/v/w/a.mp4", &["one.example"], &reference) {
                prop_assert!(uri.path().split('/').all(|segment| segment != "." && segment != ".."), "{uri}");
            }
        }
    }
}
