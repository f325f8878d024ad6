//! [`Gate`]: the checks that every request passes on its way to the cache.
//!
//! The gate refuses requests, and changes their fields, outside of the cache. So the cache finds and selects
//! responses only by what the origin sees.

use std::hash::{BuildHasher, Hasher, RandomState};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, Request, header,
    uri::{PathAndQuery, Uri},
};
use http_body::Body;

use super::{
    answers::OwnAnswer,
    fields::{CDN_LOOP, X_FORWARDED_HOST, make_inbound, may_forward},
    host::{Allowed, Host},
};

/// The checks and changes that are the same for all clients of one proxy.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The hosts that are answered; all if `None`.
    hosts: Option<Vec<Allowed>>,
    /// Fields that pass although they tell an origin of another target or client.
    passed: Vec<HeaderName>,
    /// The name of this process in `CDN-Loop`.
    pseudonym: HeaderValue,
}

impl Gate {
    pub(crate) fn new(hosts: Option<Vec<Allowed>>, passed: Vec<HeaderName>) -> Self {
        // Each `RandomState` has its own keys, so no two processes get the same number.
        let random = RandomState::new().build_hasher().finish();
        let pseudonym = HeaderValue::try_from(format!("tower-video-cache-{random:016x}"));
        // Letters, digits and hyphens are always a valid field value.
        let pseudonym = pseudonym.unwrap_or(HeaderValue::from_static("tower-video-cache"));
        Self { hosts, passed, pseudonym }
    }

    /// Turns a client's request into the one that the origin will see, except for `Host`.
    ///
    /// `Host` stays the client's, in its normal form, because it is part of the key. `client` is the client's address.
    pub(crate) fn admit<B: Body<Data = Bytes>>(
        &self,
        request: Request<B>,
        client: &HeaderValue,
    ) -> Result<Request<B>, OwnAnswer> {
        let (mut parts, body) = request.into_parts();
        // A reverse proxy is no tunnel.
        if parts.method == Method::CONNECT {
            return Err(OwnAnswer::NoTunnel);
        }
        if self.has_passed_here(&parts.headers) {
            return Err(OwnAnswer::Loop);
        }
        let host = Host::of(&parts)?;
        self.is_allowed(host.as_ref())?;
        if !may_forward(&mut parts) {
            return Err(match parts.method {
                Method::OPTIONS => OwnAnswer::LastHop,
                _ => OwnAnswer::LastHopOfTrace,
            });
        }
        make_inbound(&mut parts, client, &self.passed);
        parts.headers.append(CDN_LOOP, self.pseudonym.clone());
        if let Some(host) = host.and_then(|host| host.into_field(parts.headers.get(header::HOST))) {
            parts.headers.entry(X_FORWARDED_HOST).or_insert_with(|| host.clone());
            parts.headers.insert(header::HOST, host);
        }
        // All versions of HTTP get one form of target. The scheme is present in only some of them.
        let target = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
        // The length of the content is stated anew: a chunked coding is for one connection, and HTTP/2 has none.
        if body.size_hint().exact().is_none() && !body.is_end_stream() {
            parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Ok(Request::from_parts(parts, body))
    }

    /// RFC 8586 §2: the process finds its own name among those that forwarded the request.
    fn has_passed_here(&self, headers: &http::HeaderMap) -> bool {
        let own = self.pseudonym.as_bytes();
        headers.get_all(CDN_LOOP).iter().any(|line| {
            line.as_bytes().split(|byte| matches!(byte, b',' | b';')).any(|name| name.trim_ascii() == own)
        })
    }

    fn is_allowed(&self, host: Option<&Host>) -> Result<(), OwnAnswer> {
        match (&self.hosts, host) {
            (None, _) => Ok(()),
            (Some(_), None) => Err(OwnAnswer::NoHost),
            (Some(hosts), Some(host)) if hosts.iter().any(|allowed| allowed.matches(host)) => Ok(()),
            (Some(_), Some(_)) => Err(OwnAnswer::OtherHost),
        }
    }
}
