//! The sources of an answer: an answer of the inner service, and later ones that updated its fields.
//!
//! RFC 9111 §3.1 (storing fields), §3.2 (updating them), §4.3.4 (by a 304), §4.3.5 (by the answer to a HEAD).

use http::{
    HeaderValue, Method, StatusCode,
    header::{self, HeaderMap, HeaderName},
};

use super::{
    control::Control,
    origin::{Call, selecting_value},
    script::date,
    sources::is_shared,
};

/// A stored response as it was at one time.
#[derive(Clone, Debug)]
pub(super) struct State<'a> {
    /// The answer that brought the bytes.
    pub(super) born: &'a Call,
    /// The last answer that stored or updated the response.
    pub(super) last: &'a Call,
    pub(super) headers: HeaderMap,
    pub(super) control: Control,
    /// The fields that were left out because `private="…"` or `no-cache="…"` names them.
    pub(super) withheld: Vec<HeaderName>,
    /// Whether any field may have been left out at some time.
    pub(super) may_lack: bool,
    /// Whether the response once was for clients with credentials, too (§3.5), or may have been.
    pub(super) was_shared: bool,
}

impl<'a> State<'a> {
    pub(super) fn born(call: &'a Call, targeted: &[&'static str]) -> Self {
        let mut headers = end_to_end(&call.headers);
        if call.part().is_some() {
            // RFC 9111 §3.4: fields about the one message alone.
            for name in ["content-range", "content-digest", "content-md5"] {
                headers.remove(name);
            }
        }
        Self::of(call, call, headers, targeted, false)
    }

    /// The response with the fields of this answer, or the reason why the answer does not update it.
    pub(super) fn updated(&self, call: &'a Call, targeted: &[&'static str]) -> Result<Self, &'static str> {
        let news = end_to_end(&call.headers);
        if call.request.method == Method::HEAD && call.status == StatusCode::OK {
            self.is_confirmed_by_head(call)?;
        } else if call.status == StatusCode::NOT_MODIFIED {
            self.is_confirmed_by(call)?;
        } else {
            return Err("RFC 9111 §3.2: updated by neither a 304 nor a HEAD");
        }
        let mut headers = self.headers.clone();
        for name in news.keys().filter(|name| !KEPT.contains(name)) {
            headers.remove(name);
        }
        headers.remove(header::AGE);
        headers.remove(header::DATE);
        for (name, value) in news.iter().filter(|(name, _)| !KEPT.contains(name)) {
            headers.append(name, value.clone());
        }
        let was_shared = self.was_shared || is_shared(&self.control) || self.control.is_unclear;
        Ok(Self { was_shared, ..Self::of(self.born, call, headers, targeted, self.may_lack) })
    }

    /// The status of an answer with the whole body.
    pub(super) fn status(&self) -> StatusCode {
        if self.born.part().is_some() { StatusCode::OK } else { self.born.status }
    }

    fn of(
        born: &'a Call,
        last: &'a Call,
        mut headers: HeaderMap,
        targeted: &[&'static str],
        may_lack: bool,
    ) -> Self {
        // RFC 9110 §6.6.1
        if let (false, Ok(date)) = (headers.contains_key(header::DATE), HeaderValue::try_from(date(last.at)))
        {
            headers.insert(header::DATE, date);
        }
        let control = Control::of_response(&headers, targeted);
        let withheld = control.withheld();
        for name in &withheld {
            headers.remove(name);
        }
        let may_lack = may_lack || control.is_unclear;
        Self { born, last, headers, control, withheld, may_lack, was_shared: false }
    }

    /// §4.3.4: the question was about this response, and so is the answer.
    fn is_confirmed_by(&self, call: &Call) -> Result<(), &'static str> {
        let of =
            |headers: &HeaderMap, name: HeaderName| headers.get(name).map(|value| value.as_bytes().to_vec());
        let (tag, modified) = (of(&self.headers, header::ETAG), of(&self.headers, header::LAST_MODIFIED));
        let named = of(&call.request.headers, header::IF_NONE_MATCH);
        let since = of(&call.request.headers, header::IF_MODIFIED_SINCE);
        let named: Vec<_> = named.iter().flat_map(|named| named.split(|byte| *byte == b',')).collect();
        let is_named = tag.as_ref().is_some_and(|tag| named.iter().any(|one| one.trim_ascii() == tag));
        if !is_named && (modified.is_none() || modified != since) {
            return Err("RFC 9111 §4.3.1: updated by an answer to another question");
        }
        let answered = of(&call.headers, header::ETAG);
        let is_other = match &answered {
            Some(answered) => tag.as_ref().is_none_or(|tag| {
                let weak = answered.strip_prefix(b"W/");
                answered != tag && weak.is_none_or(|opaque| opaque != tag.strip_prefix(b"W/").unwrap_or(tag))
            }),
            None => of(&call.headers, header::LAST_MODIFIED).is_some_and(|date| Some(date) != modified),
        };
        if is_other {
            return Err("RFC 9111 §4.3.4: updated by an answer about another response");
        }
        if named.len() > 1 && answered.is_none() {
            return Err("RFC 9111 §4.3.4: updated by an answer that names none of several responses");
        }
        if !self.is_selected_by(&call.request.headers) && answered.is_none_or(|tag| !tag.starts_with(b"\"")) {
            return Err("RFC 9111 §4.3.4: a variant of other bytes");
        }
        Ok(())
    }

    /// Whether the last answer is a 304 to the question whether these credentials get this strong tag.
    pub(super) fn is_told_by_a_strong_tag(&self) -> bool {
        let asked = self.last.request.headers.get(header::IF_NONE_MATCH);
        let is_strong = asked.is_some_and(|tag| tag.as_bytes().starts_with(b"\""));
        let answered = self.last.headers.get(header::ETAG);
        is_strong
            && self.last.status == StatusCode::NOT_MODIFIED
            && asked == self.headers.get(header::ETAG)
            && answered.is_none_or(|answered| Some(answered) == asked)
    }

    /// §4.3.5
    fn is_confirmed_by_head(&self, call: &Call) -> Result<(), &'static str> {
        for name in [header::ETAG, header::LAST_MODIFIED] {
            if call.headers.get(&name).is_some_and(|value| self.headers.get(name) != Some(value)) {
                return Err("RFC 9111 §4.3.5: updated by a HEAD with another validator");
            }
        }
        let said = call.headers.get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok()?.parse().ok());
        if said.is_some_and(|said: u64| said != self.born.total()) {
            return Err("RFC 9111 §4.3.5: updated by a HEAD of another length");
        }
        Ok(())
    }

    /// §4.1: whether the request has the same selecting values as the last request of this response.
    pub(super) fn is_selected_by(&self, request: &HeaderMap) -> bool {
        let lines = self.headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
        let mut names = lines.flat_map(|line| line.split(',')).filter_map(|name| name.trim().parse().ok());
        names.all(|name: HeaderName| {
            selecting_value(request, &name) == selecting_value(&self.last.request.headers, &name)
        })
    }
}

/// §3.1: the fields that are not for one connection.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut kept = headers.clone();
    let lines = headers.get_all(header::CONNECTION).iter().filter_map(|line| line.to_str().ok());
    let listed = lines.flat_map(|line| line.split(',')).map(str::trim);
    for name in listed.chain(HOP_BY_HOP) {
        kept.remove(name);
    }
    kept
}

pub(super) const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// §3.2: fields that tell how to read the stored bytes stay with them.
const KEPT: [HeaderName; 10] = [
    header::ACCEPT_RANGES,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];
