//! The target URI as a cache key, with or without the parts that a video does not depend on.
//!
//! RFC 9110 §7.1 (target URI), §7.2 (`Host`), §4.2.3 (the case of URIs); RFC 9112 §3.2, §3.3.

use http::{
    Version,
    header::{self, HeaderName},
    request, uri,
};

use super::{key::CacheKey, signed_url::scheme};

/// Ready-made key functions: the target URI without the parts that the video does not depend on.
///
/// [`TargetUri::new`] alone makes the keys of [`CacheKey::of`]. Each setter lets more requests share one stored
/// response, or tells their hosts apart by other fields. Two URIs that differ in a remaining part never share.
///
/// ```
/// use tower_video_cache::{MokaStore, TargetUri, VideoCacheLayer};
///
/// let uri = TargetUri::new().without_parameters(["token", "utm_*"]).sorted_parameters();
/// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).key(uri.into_fn());
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
///
/// The inner service must not look at a part that is left out. If a parameter proves who may see the video (a signed
/// URL), the check must stand **outside** of the cache: inside, it is asked once, and everybody gets its answer.
///
/// ```
/// # use axum::{extract::Request, http::StatusCode, middleware, routing::get, Router};
/// # use tower_video_cache::{MokaStore, TargetUri, VideoCacheLayer};
/// # let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?);
/// # async fn check(request: Request, next: middleware::Next) -> axum::response::Response { next.run(request).await }
/// # async fn video() {}
/// let app: Router = Router::new()
///     .route("/video.mp4", get(video))
///     .layer(layer.key(TargetUri::new().without_parameters(["token"]).into_fn()))
///     // In axum the later layer is the outer one: no request comes to the cache unchecked.
///     .layer(middleware::from_fn(check));
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
///
/// # Parameters
///
/// A parameter is the text between two `&`, and its name the text before its first `=`, byte for byte: `token` does not
/// name `to%6ben` or `Token`. If a service could read a query in another way, the query stays in the key as it is. Then
/// fewer requests share, and none gets an answer made for another. A query that has a `;` is such a case, since some
/// services take it for a `&`.
///
/// The parameter `CMCD` is left out unless [`with_cmcd`](Self::with_cmcd) says otherwise. Players report their state in
/// it, so that no two of their requests have the same URI (CTA-5004).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setter's, called or not")]
pub struct TargetUri {
    query: Query,
    cmcd: bool,
    sorted: bool,
    forwarded: bool,
    unsigned: bool,
    fields: Vec<HeaderName>,
}

impl CacheKey {
    /// The target URI of a request: scheme and authority if known (from the target itself, else the `Host` field), then
    /// path and query, byte for byte. Only the query parameter `CMCD` is left out, in which players report their state.
    /// A client can make up any host and query.
    ///
    /// A default port is left out (RFC 9110 §4.2.3). With the scheme `http` or an unknown scheme, `example.org:80`,
    /// `example.org:` and `example.org` are the same. `example.org:443` is the same as these if the scheme is known to
    /// be `https`.
    ///
    /// An HTTP/2 request tells its scheme, and a plain HTTP/1.1 request does not. Both must find the same response, and
    /// invalidate it, so the scheme counts only in the absolute form of an HTTP/1.1 target. A server that answers
    /// differently by the scheme needs a key function, or one layer for each scheme.
    ///
    /// A request that names two hosts (several `Host` fields, or one that differs from the target's authority) has a
    /// key of its own: the cache cannot know which host the inner service believes.
    ///
    /// A router that strips a prefix before this layer (as axum's `nest` does) hides it from the key. Two nests that
    /// share one layer must put the prefix back with a key function.
    ///
    /// [`TargetUri`] makes keys that leave out parts of the target URI.
    pub fn of(request: &request::Parts) -> Self {
        TargetUri::new().key(request)
    }
}

impl TargetUri {
    /// The whole target URI except `CMCD`, as in [`CacheKey::of`].
    pub const fn new() -> Self {
        Self {
            query: Query::Whole,
            cmcd: false,
            sorted: false,
            forwarded: false,
            unsigned: false,
            fields: Vec::new(),
        }
    }

    /// Leaves the query out. This setter and the two for parameters replace each other: the last one called counts.
    /// Default: the query is part of the key.
    #[must_use]
    pub fn without_query(mut self) -> Self {
        self.query = Query::Nothing;
        self
    }

    /// Leaves out the parameters of these names. A name that ends in `*` stands for every name with that beginning.
    /// Default: all parameters are part of the key.
    ///
    /// A parameter whose name is spelled otherwise (`to%6ben`, `Token`, `token[]`) stays in the key. A URI whose
    /// parameters are all left out has the key of the URI without parameters.
    #[must_use]
    pub fn without_parameters<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.query = Query::Without(Names::of(names));
        self
    }

    /// Leaves out all parameters but those of these names. A name that ends in `*` stands for every name with that
    /// beginning. Default: all parameters are part of the key.
    ///
    /// The key also keeps a parameter that an inner service might take for one of these: one that differs only in case,
    /// or whose name has other bytes than letters, digits, `-` and `_` (many services read `%76` as `v`).
    #[must_use]
    pub fn only_parameters<I>(mut self, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.query = Query::Only(Names::of(names));
        self
    }

    /// Keeps the parameter `CMCD` in the key, if the query is in it, for an inner service that answers by it. Default:
    /// `CMCD` is left out of every key. `cmcd` and `%43MCD` are ordinary parameters.
    #[must_use]
    pub fn with_cmcd(mut self) -> Self {
        self.cmcd = true;
        self
    }

    /// Leaves out the parameters of a signature, so that all clients with a signed URL share a stored response. This
    /// covers URLs signed for S3 (Signature Versions 4 and 2), `CloudFront`, Google Cloud Storage, Google Cloud CDN and
    /// Azure (shared access signatures). It adds to the setters for parameters. Parameters that change the answer
    /// (`response-content-type`, `rsct`, `versionId`) stay. A URL that none of these schemes has signed, or more than
    /// one, keeps its parameters. Default: they are part of the key.
    ///
    /// **The check of the signature must stand outside of the cache.** If the inner service checks it, as those
    /// services themselves do, a client with a made-up signature gets the stored response. Without this setter no check
    /// is needed: only a client that has a URL finds the response to it.
    ///
    /// The cache heeds the end of a signed URL either way, by
    /// [`VideoCacheLayer::expiry`](crate::VideoCacheLayer::expiry).
    ///
    /// ```
    /// # use tower_video_cache::{MokaStore, TargetUri, VideoCacheLayer};
    /// let layer = VideoCacheLayer::new(MokaStore::new(1 << 30)?).key(TargetUri::new().without_signatures().into_fn());
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    #[must_use]
    pub fn without_signatures(mut self) -> Self {
        self.unsigned = true;
        self
    }

    /// Sorts parameters by name, so that `?b=1&a=2` is `?a=2&b=1`. Parameters of one name keep their order. Default:
    /// the order of the query.
    ///
    /// A query keeps its order if one of its names has other bytes than letters, digits, `-` and `_`: that name may be
    /// another spelling of the name beside it.
    #[must_use]
    pub fn sorted_parameters(mut self) -> Self {
        self.sorted = true;
        self
    }

    /// Takes the scheme from `X-Forwarded-Proto` and the authority from `X-Forwarded-Host`, if the request has them.
    /// Default: they are fields like any other.
    ///
    /// For a cache behind a proxy, and an inner service that looks at these fields and not at `Host`. The proxy must
    /// overwrite these fields in the requests that it gets: otherwise every client chooses the host of a key. A list is
    /// taken as a whole, so it does not matter which of its members the inner service believes.
    #[must_use]
    pub fn forwarded(mut self) -> Self {
        self.forwarded = true;
        self
    }

    /// Adds the request's values of these fields, line by line and byte for byte. Default: no field but `Host`.
    ///
    /// For fields by which the inner service finds another resource (`X-Original-URL`, `X-Forwarded-Prefix`), and that
    /// its responses do not name in `Vary`. Requests without such a field share one response. An unsafe request
    /// invalidates the response stored under its own values (RFC 9111 §4.4).
    #[must_use]
    pub fn with_fields(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.fields = names.into_iter().collect();
        self
    }

    /// The key of a request.
    pub fn key(&self, request: &request::Parts) -> CacheKey {
        let uri = &request.uri;
        let mut key = Vec::with_capacity(64 + uri.path_and_query().map_or(1, |whole| whole.as_str().len()));
        self.append_scheme(request, &mut key);
        self.append_authority(request, &mut key);
        self.append_fields(request, &mut key);
        key.extend_from_slice(uri.path().as_bytes());
        if let Some(query) = uri.query() {
            self.append_query(query, &mut key);
        }
        CacheKey::new(key)
    }

    /// The function for [`VideoCacheLayer::key`](crate::VideoCacheLayer::key).
    pub fn into_fn(self) -> impl Fn(&request::Parts) -> CacheKey + Clone + Send + Sync + 'static {
        move |request| self.key(request)
    }

    fn append_scheme(&self, request: &request::Parts, key: &mut Vec<u8>) {
        if self.forwarded && request.headers.contains_key(&FORWARDED_PROTO) {
            for line in request.headers.get_all(&FORWARDED_PROTO) {
                append_line(key, SCHEME, line.as_bytes());
            }
        } else if let Some(scheme) = request.uri.scheme().filter(|_| request.version <= Version::HTTP_11) {
            append_line(key, SCHEME, scheme.as_str().as_bytes());
        }
    }

    /// RFC 9112 §3.2 has a server refuse a request with several `Host` fields, and RFC 9113 §8.3.1 one whose `Host` is
    /// not its `:authority`; §3.2.2 lets the target count alone. Some servers do otherwise. The cache cannot know which
    /// of the hosts the inner service believes, so the key has all of them, and differs from the key of a request with
    /// one host.
    fn append_authority(&self, request: &request::Parts, key: &mut Vec<u8>) {
        let port = || self.default_port(request);
        let lines =
            |name| request.headers.get_all(name).iter().map(|line| without_port(line.as_bytes(), port));
        if self.forwarded && request.headers.contains_key(&FORWARDED_HOST) {
            lines(&FORWARDED_HOST).for_each(|host| append_line(key, AUTHORITY, host));
            return;
        }
        let hosts = || lines(&header::HOST);
        let Some(authority) = request.uri.authority().map(uri::Authority::as_str) else {
            hosts().for_each(|host| append_line(key, AUTHORITY, host));
            return;
        };
        let authority = without_port(authority.as_bytes(), port);
        append_line(key, AUTHORITY, authority);
        if hosts().any(|host| !host.eq_ignore_ascii_case(authority)) {
            hosts().for_each(|host| append_line(key, OTHER_HOST, host));
        }
    }

    /// The port that need not be written (RFC 9110 §4.2.1, §4.2.2). An unknown scheme counts as `http`, as in a plain
    /// request to this process.
    fn default_port(&self, request: &request::Parts) -> &'static [u8] {
        let forwarded = self.forwarded.then(|| request.headers.get(&FORWARDED_PROTO)).flatten();
        let scheme = match forwarded {
            Some(scheme) => scheme.as_bytes(),
            None => request.uri.scheme_str().unwrap_or("http").as_bytes(),
        };
        if scheme.eq_ignore_ascii_case(b"https") { b"443" } else { b"80" }
    }

    fn append_fields(&self, request: &request::Parts, key: &mut Vec<u8>) {
        for name in &self.fields {
            for line in request.headers.get_all(name) {
                key.push(FIELD);
                // A name has no colon, and neither part has a line feed (RFC 9110 §5.1, §5.5).
                key.extend_from_slice(name.as_str().as_bytes());
                key.push(b':');
                key.extend_from_slice(line.as_bytes());
                key.push(b'\n');
            }
        }
    }

    fn append_query(&self, query: &str, key: &mut Vec<u8>) {
        if self.query == Query::Nothing {
            return;
        }
        let has_all = self.query == Query::Whole && !self.unsigned && (self.cmcd || !query.contains(CMCD));
        let as_it_is = has_all && !self.sorted;
        if as_it_is || query.contains(';') {
            key.push(b'?');
            key.extend_from_slice(query.as_bytes());
            return;
        }
        let scheme = self.unsigned.then(|| scheme(query)).flatten();
        let signs = |name: &str| scheme.is_some_and(|scheme| scheme.has(name));
        let is_kept = |name: &str| self.query.has(name) && (self.cmcd || name != CMCD) && !signs(name);
        let kept = query.split('&').filter(|parameter| is_kept(name(parameter)));
        // Without a parameter there is no query; with one empty parameter there is an empty query.
        let mut separator = b'?';
        let append = |parameter: &str| {
            key.push(separator);
            key.extend_from_slice(parameter.as_bytes());
            separator = b'&';
        };
        if !self.sorted {
            return kept.for_each(append);
        }
        let mut parameters: Vec<&str> = kept.collect();
        if parameters.iter().all(|parameter| is_plain(name(parameter))) {
            // A service that ignores case takes `A` and `a` for the same name.
            parameters.sort_by_cached_key(|parameter| name(parameter).to_ascii_lowercase());
        }
        parameters.into_iter().for_each(append);
    }
}

/// The part of a query that goes into the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Query {
    #[default]
    Whole,
    Nothing,
    Without(Names),
    Only(Names),
}

impl Query {
    /// Whether a parameter of this name is part of the key.
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Nothing => false,
            Self::Without(names) => !names.name(name),
            Self::Only(names) => names.may_name(name) || !is_plain(name),
        }
    }
}

/// Names of parameters. A `*` at the end stands for any end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names(Vec<String>);

impl Names {
    fn of<I>(names: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        Self(names.into_iter().map(|name| name.as_ref().to_owned()).collect())
    }

    fn name(&self, name: &str) -> bool {
        self.0.iter().any(|named| match named.strip_suffix('*') {
            Some(start) => name.starts_with(start) && is_plain(name),
            None => name == named,
        })
    }

    /// Like [`name`](Self::name), for a service that ignores case.
    fn may_name(&self, name: &str) -> bool {
        self.0.iter().any(|named| match named.strip_suffix('*') {
            Some(start) => name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start)),
            None => name.eq_ignore_ascii_case(named),
        })
    }
}

/// An authority without a default port (RFC 9110 §4.2.3).
///
/// A dot at the end stays. A server that compares names letter by letter takes it for another host.
fn without_port(authority: &[u8], default: impl FnOnce() -> &'static [u8]) -> &[u8] {
    // A port ends with a digit, or is empty. Most names end with neither, and the colon follows the digits in ASCII.
    let Some(b'0'..=b':') = authority.last() else {
        return authority;
    };
    let Some(host) = authority.strip_suffix(default()).unwrap_or(authority).strip_suffix(b":") else {
        return authority;
    };
    // Without a host before it, or inside an IPv6 address, it is no port.
    let is_host =
        !host.is_empty() && !host.ends_with(b"@") && (host.ends_with(b"]") || !host.contains(&b':'));
    if is_host { host } else { authority }
}

fn name(parameter: &str) -> &str {
    parameter.split_once('=').map_or(parameter, |(name, _)| name)
}

/// Whether every service reads the name alike. Many read `%76` as `v`, some read `v[]` as `v` or `v.x` as `v_x`.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Appends one line of a key: its kind, its value, and a line feed, which no part of a URI or field contains. The path
/// and the query come last and have none either, so no two targets run together.
fn append_line(key: &mut Vec<u8>, tells: u8, value: &[u8]) {
    key.push(tells);
    // RFC 9110 §4.2.3: scheme and host are case-insensitive; user information before an `@` is not.
    let user = || value.iter().rposition(|byte| *byte == b'@').map_or(0, |at| at + 1);
    // Nearly no authority has one, and each hit looks.
    let host = key.len() + if value.contains(&b'@') { user() } else { 0 };
    key.extend_from_slice(value);
    if let Some(host) = key.get_mut(host..) {
        host.make_ascii_lowercase();
    }
    key.push(b'\n');
}

/// Common Media Client Data: one parameter, in upper case.
const CMCD: &str = "CMCD";

const SCHEME: u8 = b':';
const AUTHORITY: u8 = b'@';
/// A `Host` beside an authority in the target, if the two differ.
const OTHER_HOST: u8 = b'!';
const FIELD: u8 = b'+';

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    /// The key of a target without a host.
    fn key(uri: &TargetUri, target: &str) -> CacheKey {
        uri.key(&Request::get(target).body(()).unwrap().into_parts().0)
    }

    fn forwarded(fields: &[(&str, &str)]) -> CacheKey {
        let ask = fields.iter().fold(Request::get("/a"), |ask, (name, value)| ask.header(*name, *value));
        TargetUri::new().forwarded().key(&ask.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn each_setter_leaves_out_its_parts_and_no_others() {
        let whole = TargetUri::new();
        let bare = TargetUri::new().without_query();
        let without = TargetUri::new().without_parameters(["token", "utm_*"]);
        let only = TargetUri::new().only_parameters(["v", "q_*"]);
        let sorted = TargetUri::new().sorted_parameters();
        let sorted_without = without.clone().sorted_parameters();
        let cmcd = TargetUri::new().with_cmcd();
        let unsigned = TargetUri::new().without_signatures();
        let unsigned_without = without.clone().without_signatures();
        for (why, uri, one, other, same) in [
            ("byte for byte", &whole, "/a?b=1&a=2", "/a?a=2&b=1", false),
            ("no query", &bare, "/a?b=1", "/a", true),
            ("an empty query is left out too", &bare, "/a?", "/a", true),
            ("the path stays", &bare, "/a?b", "/b?b", false),
            ("the path stays as it is", &bare, "/a%2Fb?b", "/a/b?b", false),
            ("a parameter is left out", &without, "/a?token=1&v=2", "/a?v=2", true),
            ("each of that name", &without, "/a?token=1&v=2&token&token=", "/a?v=2", true),
            ("by its start", &without, "/a?utm_source=1&v=2&utm_=", "/a?v=2", true),
            ("the last one gone is no query", &without, "/a?token=1", "/a", true),
            ("an empty query stays", &without, "/a?", "/a", false),
            ("the remaining parameters stay", &without, "/a?token=1&v=2", "/a?token=1&v=3", false),
            ("in its order", &without, "/a?v=1&w=2", "/a?w=2&v=1", false),
            ("a name, not a start", &without, "/a?tokens=1", "/a", false),
            ("a name, not a value", &without, "/a?v=token", "/a?v=utm_", false),
            ("another spelling stays", &without, "/a?to%6ben=1", "/a", false),
            ("another case stays", &without, "/a?Token=1", "/a", false),
            ("an array stays", &without, "/a?token[]=1", "/a", false),
            ("an odd name with that beginning stays", &without, "/a?utm_[v]=1", "/a", false),
            ("some split at a semicolon", &without, "/a?token=1;v=2", "/a", false),
            ("an empty parameter is one", &without, "/a?v&", "/a?v", false),
            ("a value is its own", &without, "/a?v=", "/a?v", false),
            ("all but these", &only, "/a?v=1&x=2&q_a=3&y", "/a?v=1&q_a=3", true),
            ("nothing is left", &only, "/a?x=2", "/a", true),
            ("a named parameter stays", &only, "/a?v=1", "/a?v=2", false),
            ("a parameter that may be taken for it stays", &only, "/a?%76=1", "/a?%76=2", false),
            ("in any case", &only, "/a?V=1", "/a", false),
            ("as an array", &only, "/a?v[]=1", "/a", false),
            ("in any case by its start", &only, "/a?Q_a=1", "/a", false),
            ("some split at a semicolon", &only, "/a?x=1;v=2", "/a", false),
            ("by name", &sorted, "/a?b=1&a=2", "/a?a=2&b=1", true),
            ("parameters of one name keep their order", &sorted, "/a?a=2&b=1&a=1", "/a?a=2&a=1&b=1", true),
            ("parameters of one name keep their order", &sorted, "/a?a=1&a=2", "/a?a=2&a=1", false),
            ("a case may be no other name", &sorted, "/a?a=1&A=2", "/a?A=2&a=1", false),
            ("a spelling may be no other name", &sorted, "/a?a=1&%61=2", "/a?%61=2&a=1", false),
            ("some split at a semicolon", &sorted, "/a?b=1;a=2&a=1", "/a?a=1&b=1;a=2", false),
            ("a sorted query is not another", &sorted, "/a?a=1&b=2", "/a?a=1%26b=2", false),
            ("no query", &sorted, "/a?", "/a", false),
            ("both", &sorted_without, "/a?b=1&token=x&a=2", "/a?utm_x&a=2&b=1", true),
            ("a player's CMCD is left out", &whole, "/a?v=1&CMCD=br%3D1", "/a?CMCD=br%3D2&v=1", true),
            ("CMCD alone is left out too", &whole, "/a?CMCD=br%3D1", "/a", true),
            ("CMCD without a value is left out too", &whole, "/a?CMCD", "/a", true),
            ("the rest stays byte for byte", &whole, "/a?b&&a&CMCD=x", "/a?b&&a", true),
            ("the rest stays", &whole, "/a?b=1&CMCD=x", "/a?b=2&CMCD=x", false),
            ("in another case it is another", &whole, "/a?cmcd=1", "/a", false),
            ("in another spelling it is another", &whole, "/a?%43MCD=1", "/a", false),
            ("a longer name is another", &whole, "/a?CMCDv2=1", "/a", false),
            ("as a value it is another thing", &whole, "/a?v=CMCD", "/a", false),
            ("some split at a semicolon", &whole, "/a?CMCD=1;v=2", "/a", false),
            ("CMCD is left out with other setters too", &without, "/a?CMCD=1&token=x&v=2", "/a?v=2", true),
            ("CMCD is left out if others are named", &only, "/a?CMCD=1&v=2", "/a?v=2", true),
            ("CMCD is left out of a sorted query", &sorted, "/a?b=1&CMCD=1&a=2", "/a?a=2&b=1", true),
            ("CMCD is kept if asked for", &cmcd, "/a?CMCD=1", "/a?CMCD=2", false),
            (
                "a signature",
                &unsigned,
                "/a?v=1&X-Amz-Signature=a&X-Amz-Date=b&X-Amz-Expires=3",
                "/a?v=1",
                true,
            ),
            ("another kind", &unsigned, "/a?sv=2022-11-02&sig=a&se=b&sp=r&v=1", "/a?v=1", true),
            (
                "a parameter that changes the answer stays",
                &unsigned,
                "/a?sv=2022-11-02&sig=a&rsct=x",
                "/a",
                false,
            ),
            ("names that sign nothing", &unsigned, "/a?se=1&sp=2", "/a", false),
            ("names that only look like a signature stay", &unsigned, "/a?sv=1&sig=2&se=3", "/a", false),
            ("names of another kind", &unsigned, "/a?X-Amz-Signature=a&se=1", "/a", false),
            ("a signature is part of the key by default", &whole, "/a?X-Amz-Signature=a", "/a", false),
            ("a signature and others", &unsigned_without, "/a?X-Amz-Signature=a&token=1&v=1", "/a?v=1", true),
        ] {
            assert_eq!(key(uri, one) == key(uri, other), same, "{why}: {one} {other}");
        }
    }

    #[test]
    fn the_last_word_on_the_query_counts() {
        let uri = TargetUri::new().without_query().without_parameters(["a"]).without_parameters(["b"]);
        assert_eq!(key(&uri, "/a?b=1"), key(&uri, "/a"));
        assert_ne!(key(&uri, "/a?a=1"), key(&uri, "/a"));
    }

    #[test]
    fn fields_that_were_added_tell_requests_apart_and_others_do_not() {
        let names = ["x-one", "x-two"].map(HeaderName::from_static);
        let key = |target: &str, fields: &[(&str, &str)]| {
            let ask =
                fields.iter().fold(Request::get(target), |ask, (name, value)| ask.header(*name, *value));
            TargetUri::new().with_fields(names.clone()).key(&ask.body(()).unwrap().into_parts().0)
        };
        let sayings: [&[(&str, &str)]; 9] = [
            &[],
            &[("x-one", "")],
            &[("x-one", "a")],
            &[("x-one", "A")],
            &[("x-two", "a")],
            &[("x-one", "a"), ("x-two", "a")],
            &[("x-one", "a"), ("x-one", "a")],
            &[("x-one", "a, a")],
            &[("x-one", "a+x-two:a")],
        ];
        for (index, one) in sayings.iter().enumerate() {
            for other in &sayings[index + 1..] {
                assert_ne!(key("/a", one), key("/a", other), "{one:?} {other:?}");
            }
        }
        assert_eq!(key("/a", &[("x-three", "a")]), key("/a", &[]));
        assert_eq!(
            key("/a", &[]),
            TargetUri::new().key(&Request::get("/a").body(()).unwrap().into_parts().0)
        );
        assert_ne!(key("/a", &[("host", "x-one:a")]), key("/a", &[("x-one", "a")]));
    }

    #[test]
    fn forwarded_fields_count_as_a_whole_and_only_if_asked_for() {
        let (host, proto, inside) =
            (("x-forwarded-host", "one.example"), ("x-forwarded-proto", "https"), ("host", "inside"));
        assert_eq!(
            forwarded(&[host, proto, inside]),
            forwarded(&[("x-forwarded-host", "ONE.example"), proto])
        );
        let sayings: [&[(&str, &str)]; 9] = [
            &[host, proto, inside],
            &[("x-forwarded-host", "two.example"), proto],
            &[host, ("x-forwarded-proto", "http")],
            &[("x-forwarded-host", "evil, one.example"), proto],
            &[host, ("x-forwarded-host", "evil"), proto],
            &[host],
            &[proto, inside],
            &[("x-forwarded-proto", "inside")],
            &[inside],
        ];
        for (index, one) in sayings.iter().enumerate() {
            for other in &sayings[index + 1..] {
                assert_ne!(forwarded(one), forwarded(other), "{one:?} {other:?}");
            }
        }
        let ask = Request::get("/a").header("x-forwarded-host", "evil").header("host", "inside");
        let by_itself = TargetUri::new().key(&ask.body(()).unwrap().into_parts().0);
        assert_eq!(by_itself, forwarded(&[inside]));
    }

    proptest! {
        #[test]
        fn the_kept_parameters_decide_the_key(
            kept in proptest::collection::vec("[vw]=[0-9]{0,2}", 0..4),
            others in proptest::collection::vec("[vw]=[0-9]{0,2}", 0..4),
            dropped in proptest::collection::vec("token=[0-9]{0,2}", 0..4),
        ) {
            let uri = TargetUri::new().without_parameters(["token"]);
            let target = |parameters: &[String]| match parameters {
                [] => "/a".to_owned(),
                some => format!("/a?{}", some.join("&")),
            };
            let mixed: Vec<_> = dropped.iter().chain(&kept).cloned().collect();
            prop_assert_eq!(key(&uri, &target(&mixed)), key(&uri, &target(&kept)));
            prop_assert_eq!(key(&uri, &target(&mixed)) == key(&uri, &target(&others)), kept == others);
        }

        #[test]
        fn no_query_is_too_odd(query in "[a-zA-Z0-9&=;%+?/_*.-]{0,40}") {
            let uri = TargetUri::new().only_parameters(["a*"]).sorted_parameters();
            let target = format!("/a?{query}");
            prop_assert_eq!(key(&uri, &target), key(&uri, &target));
        }
    }
}
