//! Whether an answer is the inner service's own, unchanged, as if the layer were not there.

use http::{
    HeaderValue, StatusCode,
    header::{self, HeaderMap, HeaderName},
};

use super::{
    bound::{first_asked, is_further},
    calls::is_asked_by_credentials,
    conditions::CONDITIONS,
    origin::Call,
    verdict::{Case, Viewed},
};

impl Case<'_> {
    /// Whether this call got this very answer to this very request, as if the layer were not there.
    pub(super) fn passes(&self, call: &Call) -> bool {
        let added = [header::ACCEPT_RANGES, HeaderName::from_static("cache-status")];
        let but_for_added = |headers: &HeaderMap| {
            let mut headers = headers.clone();
            for name in &added {
                headers.remove(name);
            }
            // RFC 9110 §8.6: a list that repeats one length is that length.
            let said = headers.get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok());
            let is_twice = said.and_then(|said| said.split_once(", ")).filter(|(one, other)| one == other);
            if let Some(one) = is_twice.and_then(|(one, _)| HeaderValue::from_str(one).ok()) {
                headers.insert(header::CONTENT_LENGTH, one);
            }
            headers
        };
        let Viewed { status, headers, body, failed, .. } = self.viewed;
        let is_whole = *body == call.sent && *failed == call.breaks();
        let is_cut = (call.is_broken() || self.judge.evicted) && *failed && call.sent.starts_with(body);
        // A body may die, and go on with the rest, which the layer asks for.
        let mut own = self.calls().filter(|call| self.is_own(call));
        let is_resumed = call.is_broken() && own.any(|call| is_further(&call.request.headers));
        let is_of_it = if *failed { call.whole.starts_with(body) } else { call.whole == *body };
        let is_cut = is_cut || is_resumed && is_of_it;
        // A conditional status that the script gives unasked is an answer like any other.
        let asks: &[HeaderName] = match status.as_u16() {
            304 => &[header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE],
            412 => &[header::IF_MATCH, header::IF_UNMODIFIED_SINCE],
            _ => &[header::RANGE],
        };
        let was_asked = asks.iter().any(|name| call.request.headers.contains_key(name));
        let is_unasked = call.answer.status == *status && !was_asked;
        let is_conditional = [206, 304, 412, 416].contains(&status.as_u16()) && !is_unasked;
        call.request.method == self.request.method
            && call.status == *status
            && but_for_added(&call.headers) == but_for_added(headers)
            && (is_whole || is_cut)
            && (!is_conditional
                || CONDITIONS.iter().all(|name| self.same_lines(name, &call.request.headers))
                || self.is_past_the_end(call)
                || *status != StatusCode::NOT_MODIFIED && self.is_asked_with_ranges(call))
    }

    /// Whether the call asks for no less than the client, under no condition, and learns that the content ends before
    /// that.
    fn is_past_the_end(&self, call: &Call) -> bool {
        let has = |name: &HeaderName| self.request.headers.contains_key(name) && *name != header::RANGE;
        let said = call.headers.get(header::CONTENT_RANGE).and_then(|said| said.to_str().ok());
        let complete = said.and_then(|said| said.strip_prefix("bytes */")?.parse::<u64>().ok());
        let first = first_asked(&call.request.headers);
        call.status == StatusCode::RANGE_NOT_SATISFIABLE
            && !CONDITIONS.iter().any(has)
            && complete.is_some_and(|complete| first.is_some_and(|first| complete <= first))
    }

    /// Whether the call is the client's own request with a question about the stored response. The client then has no
    /// copy of its own.
    fn is_asked_with_ranges(&self, call: &Call) -> bool {
        let copies = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
        let has_copy = copies.iter().any(|name| self.request.headers.contains_key(name));
        !has_copy && is_asked_by_credentials(self.world, &self.request.headers, call)
    }
}
