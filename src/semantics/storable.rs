//! May it come in? Whether a response may be stored.
//!
//! RFC 9111 §3 (storing), §3.5 (`Authorization`), as a shared cache, within the policy.

use http::{
    header::{self, HeaderMap},
    response,
};

use super::{
    cache_control::CacheControl,
    cache_status::Refusal,
    fields::{declared_length, media_type, DeclaredLength},
    freshness::{Exchange, Freshness},
    vary::Vary,
};
use crate::policy::Policy;

/// Whether the response to a GET request may be stored; `body_length` is what the body itself knows of its length.
///
/// Gives the length that the body must prove to have, where one is known.
///
/// # Errors
///
/// The first rule that forbids it.
pub(crate) fn storable(
    request: &HeaderMap,
    response: &response::Parts,
    body_length: Option<u64>,
    exchange: Exchange,
    policy: &Policy,
) -> Result<Option<u64>, Refusal> {
    let headers = &response.headers;
    if !policy.admits_status(response.status) || headers.contains_key(header::CONTENT_RANGE) {
        return Err(Refusal::Status);
    }
    if !policy.admits_media(media_type(headers)) {
        return Err(Refusal::Media);
    }
    let cache_control = CacheControl::of(headers);
    if cache_control.no_store {
        return Err(Refusal::NoStore);
    }
    if cache_control.private {
        return Err(Refusal::Private);
    }
    if cache_control.no_cache {
        return Err(Refusal::NoCache);
    }
    if headers.contains_key(header::SET_COOKIE) {
        return Err(Refusal::SetCookie);
    }
    if Vary::of(headers) == Vary::Anything {
        return Err(Refusal::VaryAnything);
    }
    // RFC 9111 §3.5: what was asked for with credentials is shared only if the response says that it may be.
    let shared = cache_control.public || cache_control.must_revalidate || cache_control.s_maxage.is_some();
    if request.contains_key(header::AUTHORIZATION) && !shared {
        return Err(Refusal::Authorization);
    }
    if !Freshness::of(headers, exchange, policy).is_fresh(exchange.received) {
        return Err(Refusal::NeverFresh);
    }
    let length = match (declared_length(headers), body_length) {
        (DeclaredLength::Invalid, _) => return Err(Refusal::InvalidLength),
        (DeclaredLength::Unsaid, known) => known,
        (DeclaredLength::Bytes(declared), _) => Some(declared),
    };
    if length.is_some_and(|length| length > policy.largest_body()) {
        return Err(Refusal::TooLarge);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http::{Response, StatusCode};

    use super::{super::fields::tests::headers, *};

    fn judge(
        status: u16,
        request: &[(&str, &str)],
        response: &[(&str, &str)],
        body_length: Option<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(status).unwrap();
        parts.headers = headers(response);
        parts.headers.entry("content-type").or_insert("video/mp4".parse().unwrap());
        let exchange = Exchange { requested: UNIX_EPOCH, received: UNIX_EPOCH };
        storable(&headers(request), &parts, body_length, exchange, &Policy::default().max_size(1000))
    }

    #[test]
    fn each_rule_refuses_by_its_name() {
        type Row = (&'static str, u16, &'static [(&'static str, &'static str)], Result<Option<u64>, Refusal>);
        let rows: &[Row] = &[
            ("a plain 200", 200, &[], Ok(None)),
            ("§3 a status not understood", 404, &[], Err(Refusal::Status)),
            ("§3.3 a part is not the whole", 206, &[], Err(Refusal::Status)),
            (
                "§14.4 a 200 with Content-Range",
                200,
                &[("content-range", "bytes 0-1/2")],
                Err(Refusal::Status),
            ),
            ("another type", 200, &[("content-type", "text/html")], Err(Refusal::Media)),
            ("§5.2.2.5 no-store", 200, &[("cache-control", "max-age=5, no-store")], Err(Refusal::NoStore)),
            ("§5.2.2.7 private", 200, &[("cache-control", "private")], Err(Refusal::Private)),
            ("§5.2.2.4 no-cache", 200, &[("cache-control", "no-cache")], Err(Refusal::NoCache)),
            ("§7.3 Set-Cookie", 200, &[("set-cookie", "a=b")], Err(Refusal::SetCookie)),
            ("§4.1 Vary *", 200, &[("vary", "*")], Err(Refusal::VaryAnything)),
            ("§4.1 named fields are kept apart", 200, &[("vary", "origin")], Ok(None)),
            ("§4.2 never fresh", 200, &[("cache-control", "max-age=0")], Err(Refusal::NeverFresh)),
            ("§4.2 too old", 200, &[("cache-control", "max-age=9"), ("age", "9")], Err(Refusal::NeverFresh)),
            ("a length to prove", 200, &[("content-length", "1000")], Ok(Some(1000))),
            ("past the policy's size", 200, &[("content-length", "1001")], Err(Refusal::TooLarge)),
            ("§8.6 two lengths", 200, &[("content-length", "1, 2")], Err(Refusal::InvalidLength)),
        ];
        for (rule, status, response, expected) in rows {
            assert_eq!(judge(*status, &[], response, None), *expected, "{rule}");
        }
    }

    #[test]
    fn a_body_that_knows_its_length_must_prove_it() {
        assert_eq!(judge(200, &[], &[], Some(7)), Ok(Some(7)));
        assert_eq!(judge(200, &[], &[], Some(1001)), Err(Refusal::TooLarge));
        assert_eq!(judge(200, &[], &[("content-length", "8")], Some(7)), Ok(Some(8)));
    }

    #[test]
    fn what_credentials_fetched_is_shared_only_by_leave() {
        // RFC 9111 §3.5
        let request = [("authorization", "Bearer x")];
        let with = |cache_control| judge(200, &request, &[("cache-control", cache_control)], None);
        assert_eq!(judge(200, &request, &[], None), Err(Refusal::Authorization));
        assert_eq!(with("max-age=60"), Err(Refusal::Authorization));
        assert_eq!(with("max-age=60, public"), Ok(None));
        assert_eq!(with("max-age=60, must-revalidate"), Ok(None));
        assert_eq!(with("s-maxage=60"), Ok(None));
    }
}
