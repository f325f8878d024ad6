//! Whether two requests are for the same thing, by the documentation of the key.
//!
//! RFC 9110 §4.2.3 (the case of hosts, default ports), §7.2 (`Host`); RFC 9111 §2 (the key).

use http::{
    Version,
    header::{self, HeaderMap},
    request,
};
use tower_video_cache::CacheKey;

use super::{origin::Call, verdict::View};

/// The target URI of a request, and every other authority that the inner service may believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Only if the target was written with it. Every HTTP/2 target is.
    scheme: Option<String>,
    /// The authority of the target, else of the only `Host`.
    authority: Option<Vec<u8>>,
    /// All hosts, unless all of them are the authority.
    hosts: Vec<Vec<u8>>,
    path: String,
}

impl Target {
    pub(super) fn of(request: &request::Parts) -> Self {
        let (uri, scheme) = (&request.uri, request.uri.scheme_str().map(str::to_ascii_lowercase));
        let port: &[u8] = if scheme.as_deref() == Some("https") { b"443" } else { b"80" };
        let mut authority = uri.authority().map(|authority| plain(authority.as_str().as_bytes(), port));
        let hosts = request.headers.get_all(header::HOST).iter();
        let mut hosts: Vec<_> = hosts.map(|host| plain(host.as_bytes(), port)).collect();
        if let Some(authority) = &authority {
            if hosts.iter().all(|host| host == authority) {
                hosts.clear();
            }
        } else if hosts.len() == 1 {
            authority = hosts.pop();
        }
        let scheme = scheme.filter(|_| request.version <= Version::HTTP_11);
        let query = uri.query().and_then(without_what_players_tell);
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        Self { scheme, authority, hosts, path: format!("{}{query}", uri.path()) }
    }

    /// The target of `path` in the same origin.
    fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }
}

/// The authority in lower case, except user information before an `@`, and without a default port.
fn plain(authority: &[u8], default_port: &[u8]) -> Vec<u8> {
    let at = authority.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    let (user, host) = authority.split_at(at);
    let host = host.to_ascii_lowercase();
    let ports = [b":".to_vec(), [b":", default_port].concat()];
    let without = ports.iter().filter_map(|port| host.strip_suffix(&port[..]));
    // The rest must be a host, or the end was no port.
    let mut hosts =
        without.filter(|name| !name.is_empty() && (name.ends_with(b"]") || !name.contains(&b':')));
    [user, hosts.next().unwrap_or(&host)].concat()
}

/// CMCD has a parameter of its own, which nothing depends on.
fn without_what_players_tell(query: &str) -> Option<String> {
    let is_told = |parameter: &str| parameter == "CMCD" || parameter.starts_with("CMCD=");
    let kept: Vec<_> = query.split('&').filter(|parameter| !is_told(parameter)).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// RFC 9111 §4.4: the targets that the answer to an unsafe request refers to.
pub(super) fn references(call: &Call) -> Vec<Target> {
    let lines = |headers: &HeaderMap, name| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
    let mut references = lines(&call.headers, header::LOCATION);
    references.extend(lines(&call.headers, header::CONTENT_LOCATION));
    let paths = references.iter().filter_map(|line| line.to_str().ok());
    // All other references in scripts are to another origin, or raw.
    let paths = paths.filter(|path| ["/a", "/b"].contains(path));
    let own = Target::of(&call.request);
    paths.map(|path| own.at(path)).collect()
}

/// The keys of all requests so far.
#[derive(Debug, Default)]
pub(super) struct Keys(Vec<(Target, CacheKey)>);

impl Keys {
    /// # Panics
    ///
    /// If two requests for one thing have two keys, or two requests for different things have one key.
    pub(super) fn judge(&mut self, view: &View) {
        let (target, key) = (Target::of(&view.request), CacheKey::of(&view.request));
        for (other, its_key) in &self.0 {
            assert_eq!(target == *other, key == *its_key, "{key:?} of {target:?}, {its_key:?} of {other:?}");
        }
        self.0.push((target, key));
    }
}
