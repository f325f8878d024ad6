//! Makes valid messages of inner responses, and answers of the cache's own. No other file builds a response.
//!
//! RFC 9110 §8.6 (`Content-Length`); RFC 9112 §6.3 (what a gateway answers instead of an invalid one).

use http::{
    Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};

use crate::{
    engine::body::{ResponseBody, reader::Reader},
    policy::Policy,
    semantics::{
        cache_status::{self, Forwarded, Outcome, Refusal},
        fields::settle_length,
    },
};

/// The response without the fields that the policy hides, and with one `Content-Length` if it repeats the same one.
///
/// # Errors
///
/// The lengths differ, or are no numbers, so a client could not tell where the response ends.
pub(super) fn settled<B>(
    response: Response<B>,
    policy: &Policy,
) -> Result<Response<ResponseBody<B>>, Refusal> {
    let mut response = response.map(ResponseBody::inner);
    policy.grouping().hide(response.headers_mut());
    settle_length(response.headers_mut()).then_some(response).ok_or(Refusal::InvalidLength)
}

/// Hands on the answer to an unsafe request, or a 502 if it is not a valid message.
pub(crate) fn pass_unsafe<B>(
    response: Response<B>,
    member: HeaderValue,
    policy: &Policy,
) -> Response<ResponseBody<B>> {
    let mut response = settled(response, policy).unwrap_or_else(|_| own(StatusCode::BAD_GATEWAY, ""));
    cache_status::append(response.headers_mut(), member);
    let outcome = Outcome { forwarded: Some(Forwarded::Method), ..Outcome::default() };
    response.body_mut().tell(outcome.told());
    response
}

/// An answer that the cache makes itself.
pub(super) fn own<B>(status: StatusCode, text: &'static str) -> Response<ResponseBody<B>> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response(status, headers, ResponseBody::stored(Reader::of(text.into())))
}

pub(crate) fn response<T>(status: StatusCode, headers: HeaderMap, body: T) -> Response<T> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
