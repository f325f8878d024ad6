//! Whether a cache may make these calls of the inner service for a request.
//!
//! RFC 9111 §4.3.1 (the question), §5.2.1.7 (`only-if-cached`); RFC 9110 §9.2 (methods that may be repeated).

use http::{
    HeaderValue, Method,
    header::{self, HeaderMap, HeaderName},
};

use super::{
    bound::{is_for_a_part, is_further, is_wanted},
    conditions::CONDITIONS,
    heard::misheard,
    keys::Target,
    origin::{Call, World},
    reuse::Wishes,
    verdict::{Judge, View},
};

impl Judge<'_> {
    /// # Panics
    ///
    /// If one of the calls from `first` on was made for the request, and a cache may not make it.
    pub(super) fn judge_calls(&self, world: &World, first: usize, view: &View) {
        let request = &view.request;
        let calls = world.calls.iter().skip(first).filter(|call| call.viewer == view.viewer);
        let calls: Vec<_> = calls.collect();
        let rule =
            |rule: &str, holds: bool| assert!(holds, "{rule}\n{view:?}\n{:?}\n{calls:?}", self.settings);
        let is_read = [Method::GET, Method::HEAD].contains(&request.method);
        rule("RFC 9110 §9.2.2: an unsafe request is forwarded once", is_read || calls.len() <= 1);
        let wishes = Wishes::of(&request.headers, self.settings);
        if is_read && wishes.forbid_to_ask() && !wishes.are_unclear() && !overrides(&request.headers) {
            rule("RFC 9111 §5.2.1.7: only-if-cached", calls.is_empty());
        }
        let is_alone = world.failures.is_empty() && !self.evicted && self.settings.capacity.is_none();
        if is_alone {
            self.kept.judge(view, &calls, self.settings, world.now);
        }
        for call in &calls {
            let misheard = misheard(world, view, call);
            rule(misheard.as_deref().unwrap_or_default(), misheard.is_none());
            rule("the call has the target of the request", Target::of(&call.request) == Target::of(request));
            let is_method =
                call.request.method == request.method || is_read && call.request.method == Method::GET;
            rule("the call has the method of the request", is_method);
            rule(
                "RFC 9111 §4.3.1: its conditions",
                is_forwarded(&request.headers, call)
                    || is_asked_by_credentials(world, &request.headers, call)
                    || is_asked(world, call) && !is_ranged(call)
                    || (is_further(&call.request.headers) || is_asked(world, call))
                        && is_for_a_part(world, call, self.settings)
                        && is_wanted(world, &request.headers, call, self.settings),
            );
        }
    }
}

/// Whether the call has the client's conditions and ranges.
fn is_forwarded(request: &HeaderMap, call: &Call) -> bool {
    let same = |name: &HeaderName| request.get_all(name).iter().eq(call.request.headers.get_all(name));
    CONDITIONS.iter().all(same)
}

/// RFC 9111 §3.5: whether the call asks if these credentials get the stored response. It has one strong tag that the
/// inner service gave before, in the place of the client's validators.
pub(super) fn is_asked_by_credentials(world: &World, request: &HeaderMap, call: &Call) -> bool {
    let validators = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
    let headers = &call.request.headers;
    let same = |name: &HeaderName| request.get_all(name).iter().eq(headers.get_all(name));
    let others_stay = CONDITIONS.iter().filter(|name| !validators.contains(name)).all(same);
    let mut tags = lines(headers, &header::IF_NONE_MATCH);
    let (tag, other) = (tags.next(), tags.next());
    let gave = |tag: &[u8]| {
        let mut before = world.calls.iter().filter(|before| before.serial < call.serial);
        before.any(|before| before.headers.get(header::ETAG).is_some_and(|given| given.as_bytes() == tag))
    };
    request.contains_key(header::AUTHORIZATION)
        && others_stay
        && !headers.contains_key(header::IF_MODIFIED_SINCE)
        && other.is_none()
        && tag.is_some_and(|tag| tag.starts_with(b"\"") && gave(tag))
}

fn is_ranged(call: &Call) -> bool {
    [header::RANGE, header::IF_RANGE].iter().any(|name| call.request.headers.contains_key(name))
}

/// Whether the call has no conditions except `If-Range`, or validators that the inner service gave before for this
/// target.
fn is_asked(world: &World, call: &Call) -> bool {
    let headers = &call.request.headers;
    let viewers = [header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
    let before = || {
        let before = world.calls.iter().filter(|before| before.serial < call.serial);
        before.filter(|before| Target::of(&before.request) == Target::of(&call.request))
    };
    let gave = |name: HeaderName, value: &[u8]| {
        before().any(|before| before.headers.get(&name).is_some_and(|given| given.as_bytes() == value))
    };
    let mut tags = lines(headers, &header::IF_NONE_MATCH).flat_map(|line| line.split(|byte| *byte == b','));
    let mut dates = lines(headers, &header::IF_MODIFIED_SINCE);
    !viewers.iter().any(|name| headers.contains_key(name))
        && tags.all(|tag| gave(header::ETAG, tag.trim_ascii()))
        && dates.all(|date| gave(header::LAST_MODIFIED, date))
}

fn lines<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}

/// Whether the request is not for a cache to answer, whatever else it says.
fn overrides(request: &HeaderMap) -> bool {
    let fields = ["x-http-method-override", "x-method-override", "upgrade"];
    fields.iter().any(|name| request.contains_key(*name))
}
