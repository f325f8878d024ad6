//! The fields of a request that are for the layer, and those that the inner service receives.
//!
//! RFC 9110 §7.6.1: fields that `Connection` lists are for one connection.

use http::{
    Method,
    header::{self, HeaderMap, HeaderName},
    request,
};

use super::{
    bound::is_further,
    conditions::CONDITIONS,
    control::Control,
    origin::{Call, World},
    verdict::View,
};

/// The request as the layer must read it: without the fields that its `Connection` lists. A request that is not for the
/// layer keeps them.
pub(super) fn judged(mut request: request::Parts) -> request::Parts {
    if !is_for_the_layer(&request) {
        return request;
    }
    let lines = request.headers.get_all(header::CONNECTION).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let listed: Vec<_> = members.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    for name in &listed {
        request.headers.remove(name);
    }
    request
}

pub(super) fn is_for_the_layer(request: &request::Parts) -> bool {
    let names = ["upgrade", "x-http-method", "x-http-method-override", "x-method-override"];
    let is_bypassed = names.iter().any(|name| request.headers.contains_key(*name));
    [Method::GET, Method::HEAD].contains(&request.method) && !is_bypassed
}

/// The reason why the inner service must not receive these fields for the request, or `None` if it may.
pub(super) fn misheard(world: &World, view: &View, call: &Call) -> Option<String> {
    let (said, heard) = (&view.request.headers, &call.request.headers);
    // Another check judges the fields that the layer asks by. The call's own `Connection` must not list them.
    let is_of_content = |name: &HeaderName| OF_CONTENT.contains(name) && !heard.contains_key(name);
    // RFC 9111 §3.5: credentials and a cookie that brought none of a response are left out of a call for more of it.
    // If there is no more of it, the response is fetched anew, for all of its clients.
    let is_hit = view.viewed().is_some_and(|viewed| {
        let mut said = viewed.headers.get_all("cache-status").iter();
        said.any(|said| said.to_str().is_ok_and(|said| said.contains("; hit")))
    });
    let follows_a_question = || {
        let mut before = world.calls.iter().take(call.serial);
        before.any(|before| before.viewer == call.viewer && is_further(&before.request.headers))
    };
    let is_kept_back = |name: &HeaderName| {
        [header::AUTHORIZATION, header::COOKIE].contains(name)
            && !heard.contains_key(name)
            && (is_hit || is_further(heard) || follows_a_question())
    };
    let is_reload = |name: &HeaderName| RELOADING.contains(name) && is_reload_by_age(said, heard);
    let is_own = |name: &HeaderName| {
        CONDITIONS.contains(name)
            || name == header::CONNECTION
            || is_of_content(name)
            || is_kept_back(name)
            || is_reload(name)
    };
    let is_other = |name: &&HeaderName| !is_own(name) && !said.get_all(*name).iter().eq(heard.get_all(*name));
    if let Some(other) = heard.keys().chain(said.keys()).find(is_other) {
        return Some(format!("RFC 9110 §7.6.1: {other} differs from the request's"));
    }
    let lines = heard.get_all(header::CONNECTION).iter();
    let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_plain = |option: &[u8]| {
        ["close", "keep-alive"].iter().any(|plain| option.trim_ascii().eq_ignore_ascii_case(plain.as_bytes()))
    };
    let is_listing = is_for_the_layer(&view.request) && !options.all(is_plain);
    is_listing.then(|| "RFC 9110 §7.6.1: the next hop would remove fields that the layer asks by".to_owned())
}

/// Whether the call says `max-age=0` where the request says `no-cache`, and no weaker directive of the request's (RFC
/// 9111 §5.2.1).
fn is_reload_by_age(said: &HeaderMap, heard: &HeaderMap) -> bool {
    let (wanted, asked) = (Control::of_request(said), Control::of_request(heard));
    let weaker = ["no-cache", "max-stale", "stale-if-error"];
    wanted.has("no-cache")
        && asked.seconds("max-age") == Some(0)
        && !weaker.iter().any(|name| asked.has(name))
        && !heard.contains_key(header::PRAGMA)
}

/// The fields that a reload is said by.
const RELOADING: [HeaderName; 2] = [header::CACHE_CONTROL, header::PRAGMA];

/// The fields that a request of the layer's own leaves out, since it has no content.
const OF_CONTENT: [HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn listed_fields_are_removed_however_they_are_written() {
        for line in ["range, cookie", "COOKIE,,\tRange ,close", "close, cookie, range"] {
            let request = Request::get("/a").header("range", "bytes=0-").header("cookie", "a");
            let request = request.header("host", "h").header("connection", line);
            let left = judged(request.body(()).unwrap().into_parts().0);
            let mut left: Vec<_> = left.headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, ["connection", "host"], "{line}");
        }
    }
}
