//! What of a request's fields is for the layer, and what of them the inner service hears.
//!
//! RFC 9110 §7.6.1: what `Connection` lists is for one connection.

use http::{
    header::{self, HeaderName},
    request, Method,
};

use super::{conditions::CONDITIONS, origin::Call, verdict::View};

/// The request as the layer is to take it, without what its `Connection` lists. But for one that is not for the
/// layer.
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

/// Why the inner service may not have heard this on behalf of the request; `None` if it may.
pub(super) fn misheard(view: &View, call: &Call) -> Option<String> {
    let (said, heard) = (&view.request.headers, &call.request.headers);
    // What the layer asks by itself is judged elsewhere, and is never listed by what the inner service hears.
    let is_of_content = |name: &HeaderName| OF_CONTENT.contains(name) && !heard.contains_key(name);
    // RFC 9111 §3.5: a part that is to be stored is asked for without the credentials, and the cookie, that brought none of it.
    let is_kept_back = |name: &HeaderName| {
        [header::AUTHORIZATION, header::COOKIE].contains(name)
            && !heard.contains_key(name)
            && heard.contains_key(header::IF_RANGE)
    };
    let is_own = |name: &HeaderName| {
        CONDITIONS.contains(name) || name == header::CONNECTION || is_of_content(name) || is_kept_back(name)
    };
    let is_other = |name: &&HeaderName| !is_own(name) && !said.get_all(*name).iter().eq(heard.get_all(*name));
    if let Some(other) = heard.keys().chain(said.keys()).find(is_other) {
        return Some(format!("RFC 9110 §7.6.1: another {other} than the request's"));
    }
    let lines = heard.get_all(header::CONNECTION).iter();
    let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let is_plain = |option: &[u8]| {
        ["close", "keep-alive"].iter().any(|plain| option.trim_ascii().eq_ignore_ascii_case(plain.as_bytes()))
    };
    let is_listing = is_for_the_layer(&view.request) && !options.all(is_plain);
    is_listing.then(|| "RFC 9110 §7.6.1: the next hop takes off what the layer asks by".to_owned())
}

/// What a request of the layer's own has nothing to say of, for it has no content.
const OF_CONTENT: [HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn what_is_listed_in_any_way_is_taken_off() {
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
