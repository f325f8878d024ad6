//! Which of the inner service's answers an answer may be of, and what it must show if it is.
//!
//! RFC 9111 §3 (storing), §4 (reusing); RFC 9211 (`Cache-Status`).

use http::{
    header::{self, HeaderName},
    request, HeaderValue, Method, StatusCode, Version,
};

use super::{
    multipart::number,
    origin::{selecting_value, Call, SERIAL},
    script::Lifetime,
    verdict::Case,
};

impl<'a> Case<'a> {
    /// The call that the answer names, which must have been given leave to be its source.
    pub(super) fn source(&self) -> &'a Call {
        let serial = self.number(&SERIAL).and_then(|serial| usize::try_from(serial).ok());
        let named = serial.and_then(|serial| Some((serial, self.world.calls.get(serial)?)));
        let (serial, source) = self.have("an answer of the inner service", named);
        let refusal = self.refusal(serial, source);
        self.rule(refusal.unwrap_or_default(), refusal.is_none());
        let since = self.world.now.saturating_sub(source.at);
        self.rule("RFC 9111 §4.2.3: Age", self.number(&header::AGE).is_some_and(|age| age >= since));
        let status = self.viewed.headers.get_all("cache-status").iter().next_back();
        let is_hit = status.is_some_and(|line| line.as_bytes().windows(5).any(|window| window == b"; hit"));
        self.rule("RFC 9211 §2.1: a hit was there before", !is_hit || serial < self.first);
        source
    }

    /// Some call that the answer can be of, where it does not name one.
    pub(super) fn any_source(&self, holds: impl Fn(&Call) -> bool) -> &'a Call {
        let tag = self.viewed.headers.get(header::ETAG);
        let fits =
            |call: &Call| tag.is_none() || call.field(&header::ETAG).is_none_or(|own| Some(own) == tag);
        let calls = || self.world.calls.iter().enumerate().rev();
        let source = calls().find(|(serial, call)| {
            // A 304 to the cache's own question is news of what is stored.
            let is_of_content = call.status.is_success() || call.status == StatusCode::NOT_MODIFIED;
            is_of_content && self.refusal(*serial, call).is_none() && fits(call) && holds(call)
        });
        self.have("an answer to this request", source).1
    }

    /// Why the answer of this call may not be the source of an answer to this request; `None` if it may.
    fn refusal(&self, serial: usize, call: &Call) -> Option<&'static str> {
        let selects = |(name, value): &(HeaderName, Option<Vec<u8>>)| {
            selecting_value(&self.request.headers, name) == *value
        };
        let is_read = [Method::GET, Method::HEAD].contains(&call.request.method);
        if !is_read || target(&call.request) != target(self.request) {
            return Some("RFC 9111 §4: another target's answer");
        }
        if !call.selecting.iter().all(selects) {
            return Some("RFC 9111 §4.1: another variant");
        }
        if call.is_broken() {
            return Some("RFC 9111 §3.3: an incomplete answer");
        }
        if serial >= self.first {
            return None;
        }
        if call.answer.vary == "*" {
            return Some("RFC 9111 §4.1: Vary *");
        }
        let lines = &call.answer.cache_control;
        let narrower = ["cdn-cache-control", "surrogate-control"].map(|name| call.headers.get(name));
        let is_narrower = narrower.iter().flatten().next().is_some();
        let forbids = lines.iter().any(|line| line.forbids);
        if forbids && (!is_narrower || narrower.iter().flatten().all(|line| line.as_bytes() != b"max-age=60"))
        {
            return Some("RFC 9111 §5.2.2: no-store, private or no-cache");
        }
        if call.request.headers.get_all(header::CACHE_CONTROL).iter().any(|line| line == "no-store") {
            return Some("RFC 9111 §5.2.1.5: no-store of a request");
        }
        let is_shared = is_narrower || lines.iter().any(|line| line.shares);
        if call.request.headers.contains_key(header::AUTHORIZATION) && !is_shared {
            return Some("RFC 9111 §3.5: one viewer's answer");
        }
        if self.viewed.headers.contains_key(header::SET_COOKIE) {
            return Some("one viewer's cookie");
        }
        if let [line] = &lines[..] {
            let since = self.world.now.saturating_sub(call.at);
            let is_stale = matches!(line.lifetime, Lifetime::Seconds(lifetime) if lifetime <= since);
            if is_stale && !is_narrower {
                return Some("RFC 9111 §4.2: stale");
            }
        }
        let own = written(self.request);
        let is_untrue = self.judge.invalidated.iter().any(|(target, from)| *target == own && serial < *from);
        is_untrue.then_some("RFC 9111 §4.4: invalidated")
    }

    /// What every answer from the store has, and what none has.
    pub(super) fn fields_of_the_store(&self) {
        self.rule("RFC 9111 §5.1: Age is one number", self.number(&header::AGE).is_some());
        self.rule("RFC 9110 §6.6.1: Date", self.viewed.headers.contains_key(header::DATE));
        for name in [
            "connection",
            "keep-alive",
            "transfer-encoding",
            "trailer",
            "upgrade",
            "proxy-authenticate",
            "te",
        ] {
            self.rule("RFC 9111 §3.1: a field of one connection", !self.viewed.headers.contains_key(name));
        }
        let status = self.viewed.headers.get_all("cache-status").iter().next_back();
        let member = status.and_then(|line| line.to_str().ok()).and_then(|line| line.rsplit(", ").next());
        let mut parameters = self.have("RFC 9211 §2: Cache-Status", member).split(';').map(str::trim);
        let is_token =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        self.rule("RFC 9211 §2: a name", parameters.next().is_some_and(is_token));
        let (mut hit, mut forwarded, mut stored) = (false, false, false);
        for parameter in parameters {
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("hit", "") => hit = true,
                ("fwd", reason) => forwarded = is_token(reason),
                ("stored", "") => stored = true,
                ("collapsed", "") => {}
                ("ttl", seconds) => self.rule("RFC 9211 §2.4: ttl", seconds.parse::<i64>().is_ok()),
                ("fwd-status", status) => self.rule("RFC 9211 §2.3: fwd-status", number(status).is_some()),
                ("detail", detail) => self.rule("RFC 9211 §2.8: detail", is_token(detail)),
                _ => self.rule("RFC 9211 §2: a parameter", false),
            }
        }
        self.rule("RFC 9211 §2: either a hit or forwarded", hit != forwarded);
        self.rule("RFC 9211 §2.2: forwarded by a call", !forwarded || self.world.calls.len() > self.first);
        self.rule("RFC 9211 §2.5: stored of a call", !stored || forwarded);
    }
}

/// The target URI, but for its scheme: the authority, the path and the query.
fn target(request: &request::Parts) -> (Vec<u8>, &str) {
    let host = request.headers.get(header::HOST).map(HeaderValue::as_bytes);
    let authority = request.uri.authority().map(|authority| authority.as_str().as_bytes()).or(host);
    let path = request.uri.path_and_query().map_or("/", |path| path.as_str());
    (authority.unwrap_or_default().to_ascii_lowercase(), path)
}

/// The target as it was written: a scheme may or may not make another one of it.
pub(super) fn written(request: &request::Parts) -> String {
    let scheme = request.uri.scheme().filter(|_| request.version <= Version::HTTP_11);
    format!("{scheme:?} {:?}", target(request))
}
