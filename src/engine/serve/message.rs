//! An inner response as a message that may leave: with one `Content-Length` at most.
//!
//! RFC 9110 §8.6 (`Content-Length`); RFC 9112 §6.3 (what a gateway answers instead of an invalid one).

use http::{HeaderValue, Response, StatusCode};

use super::serve::own;
use crate::{
    body::ResponseBody,
    semantics::{
        cache_status::{self, Refusal},
        fields::settle_length,
    },
};

/// The response, with one length where it repeats that.
///
/// # Errors
///
/// Its lengths differ, or are no numbers: whoever reads it could not tell where it ends.
pub(super) fn settled<B>(response: Response<B>) -> Result<Response<ResponseBody<B>>, Refusal> {
    let mut response = response.map(ResponseBody::inner);
    settle_length(response.headers_mut()).then_some(response).ok_or(Refusal::InvalidLength)
}

/// Hands on the answer to an unsafe request; a 502 where it is no message.
pub(super) fn pass_unsafe<B>(response: Response<B>, member: HeaderValue) -> Response<ResponseBody<B>> {
    let mut response = settled(response).unwrap_or_else(|_| own(StatusCode::BAD_GATEWAY, ""));
    cache_status::append(response.headers_mut(), member);
    response
}
