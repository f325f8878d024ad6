//! Whether a response may be stored.
//!
//! RFC 9111 §3 (storing), §3.1 (header fields), §3.5 (`Authorization`), §5.2.2.3 (`must-understand`), for a shared
//! cache, within the policy.

use http::{
    header::{self, HeaderMap},
    StatusCode,
};

use super::{
    cache_control::ResponseDirectives,
    cache_status::Refusal,
    etag::{has_strong_tag, has_validator},
    fields::{declared_length, media_type, DeclaredLength},
    freshness::{is_heuristically_cacheable, ByUri, Exchange, Freshness},
    vary::Vary,
};
use crate::policy::Policy;

/// Whether the response to a GET request for `path` may be stored. `body_length` is the length that the body itself
/// reports.
///
/// Returns the length that the body must prove to have, if one is known.
///
/// # Errors
///
/// The first rule that forbids to store the response.
pub(crate) fn storable(
    request: &HeaderMap,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
    body_length: Option<u64>,
    exchange: Exchange,
    policy: &Policy,
) -> Result<Option<u64>, Refusal> {
    // RFC 9110 §14.4: with Content-Range, it is a part, whatever the status says.
    if !policy.admits_status(status) || headers.contains_key(header::CONTENT_RANGE) {
        return Err(Refusal::Status);
    }
    let said = media_type(headers);
    if !policy.admits_media(said) && !policy.admits_media(policy.media_by_path(path, said)) {
        return Err(Refusal::Media);
    }
    may_be_shared(request, status, headers, policy)?;
    if !says_or_lets_guess(status, headers, policy) {
        return Err(Refusal::NeverFresh);
    }
    let by_uri = ByUri { is_manifest: policy.is_manifest_by_path(path, said), until: None };
    let freshness = Freshness::of(status, headers, exchange, policy).by(by_uri);
    // Only a strong tag can show that the answer to a cookie is also the answer for others: many answers have the same
    // date.
    if freshness.is_of_a_cookie() && !has_strong_tag(headers) {
        return Err(Refusal::Cookie);
    }
    if !freshness.is_of_use(has_validator(headers), exchange.received) {
        let no_cache = ResponseDirectives::heeded(headers, policy.targeted()).no_cache;
        return Err(if no_cache { Refusal::NoCache } else { Refusal::NeverFresh });
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

/// Whether a partial response, asked for with one client's ranges and conditions, shows that the whole may be stored by
/// now.
pub(crate) fn would_be_storable(
    request: &HeaderMap,
    path: &str,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: Exchange,
    policy: &Policy,
) -> bool {
    if status != StatusCode::PARTIAL_CONTENT {
        return storable(request, path, status, headers, None, exchange, policy).is_ok();
    }
    let mut whole = headers.clone();
    whole.remove(header::CONTENT_RANGE);
    whole.remove(header::CONTENT_LENGTH);
    storable(request, path, StatusCode::OK, &whole, None, exchange, policy).is_ok()
}

/// Whether the bytes of a further part may go to the clients that got the first one. The fields of the further part are
/// not kept, so a cookie in them reaches nobody.
pub(crate) fn may_go_on(request: &HeaderMap, part: &HeaderMap, policy: &Policy) -> bool {
    let mut fields = part.clone();
    fields.remove(header::SET_COOKIE);
    may_be_shared(request, StatusCode::OK, &fields, policy).is_ok()
}

/// Removes the credentials from a request for more of a stored response, as far as that response came without them. A
/// response for everybody can be fetched without credentials. An answer to credentials could not be shared if it is
/// said to be for one client alone.
pub(crate) fn remove_credentials(
    request: &mut HeaderMap,
    stored: &HeaderMap,
    exchange: Exchange,
    policy: &Policy,
) {
    // RFC 9111 §3.5: if credentials may fetch the response, the answer to them says whether it may be shared.
    if !ResponseDirectives::heeded(stored, policy.targeted()).share_with_the_authorized() {
        request.remove(header::AUTHORIZATION);
    }
    if !exchange.with_cookie {
        request.remove(header::COOKIE);
    }
}

/// Checks the conditions of RFC 9111 §3 for a shared cache, except freshness.
///
/// # Errors
///
/// The first rule that forbids to share the response.
pub(crate) fn may_be_shared(
    request: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
    policy: &Policy,
) -> Result<(), Refusal> {
    let directives = ResponseDirectives::heeded(headers, policy.targeted());
    if directives.must_understand && !is_understood(status) {
        return Err(Refusal::Status);
    }
    // §5.2.2.3: a cache that understands the status should disregard no-store beside must-understand.
    if directives.is_unreadable || directives.no_store && !directives.must_understand {
        return Err(Refusal::NoStore);
    }
    if directives.private {
        return Err(Refusal::Private);
    }
    let shows_cookie = !policy.stores_set_cookie() && !directives.withheld.contains(&header::SET_COOKIE);
    if shows_cookie && headers.contains_key(header::SET_COOKIE) {
        return Err(Refusal::SetCookie);
    }
    if Vary::of(headers) == Vary::Anything {
        return Err(Refusal::VaryAnything);
    }
    // RFC 9111 §3.5: an answer to a request with credentials is shared only if it says that it may be.
    if request.contains_key(header::AUTHORIZATION) && !directives.share_with_the_authorized() {
        return Err(Refusal::Authorization);
    }
    Ok(())
}

/// The last condition of RFC 9111 §3: the response says how long it is fresh, or that it is public, or its status lets
/// a cache guess.
fn says_or_lets_guess(status: StatusCode, headers: &HeaderMap, policy: &Policy) -> bool {
    let directives = ResponseDirectives::heeded(headers, policy.targeted());
    let says_when = !directives.is_targeted && headers.contains_key(header::EXPIRES);
    let says_how_long = directives.max_age.is_some() || directives.s_maxage.is_some();
    says_when || says_how_long || directives.public || is_heuristically_cacheable(status)
}

/// Whether RFC 9110 §15 defines this final status code, and so its meaning for a cache.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 305 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 500..=505
    )
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{super::fields::tests::headers, *};

    fn judge(
        status: u16,
        request: &[(&str, &str)],
        response: &[(&str, &str)],
        body_length: Option<u64>,
    ) -> Result<Option<u64>, Refusal> {
        let status = StatusCode::from_u16(status).unwrap();
        let mut response = headers(response);
        response.entry("content-type").or_insert("video/mp4".parse().unwrap());
        let exchange = Exchange { requested: UNIX_EPOCH, received: UNIX_EPOCH, with_cookie: false };
        let policy = Policy::default().max_size(1000);
        storable(&headers(request), "/a", status, &response, body_length, exchange, &policy)
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
            (
                "§4.2.1 an unreadable directive may forbid to store, whatever else is said",
                200,
                &[("cache-control", "max-age=5, must-understand, x=\"a, private")],
                Err(Refusal::NoStore),
            ),
            ("§5.2.2.7 private", 200, &[("cache-control", "private")], Err(Refusal::Private)),
            (
                "§5.2.2.3 no-store gives way to must-understand",
                200,
                &[("cache-control", "max-age=5, no-store, must-understand")],
                Ok(None),
            ),
            (
                "§5.2.2.4 no-cache, without a validator",
                200,
                &[("cache-control", "no-cache, max-age=60")],
                Err(Refusal::NoCache),
            ),
            (
                "§5.2.2.4 no-cache, with a validator",
                200,
                &[("cache-control", "no-cache"), ("etag", "\"a\"")],
                Ok(None),
            ),
            (
                "§5.2.2.4 no-cache of named fields",
                200,
                &[("cache-control", "no-cache=\"set-cookie\""), ("set-cookie", "a=b")],
                Ok(None),
            ),
            (
                "§5.2.2.7 private of named fields",
                200,
                &[("cache-control", "private=\"x-user\""), ("x-user", "a")],
                Ok(None),
            ),
            (
                "§5.2.2.7 private of other fields than the cookie",
                200,
                &[("cache-control", "private=\"x-user\""), ("set-cookie", "a=b")],
                Err(Refusal::SetCookie),
            ),
            ("§7.3 Set-Cookie", 200, &[("set-cookie", "a=b")], Err(Refusal::SetCookie)),
            ("§4.1 Vary *", 200, &[("vary", "*")], Err(Refusal::VaryAnything)),
            ("§4.1 named fields are kept apart", 200, &[("vary", "origin")], Ok(None)),
            ("§4.2 never fresh", 200, &[("cache-control", "max-age=0")], Err(Refusal::NeverFresh)),
            (
                "§4.3 never fresh, but can be validated",
                200,
                &[("cache-control", "max-age=0"), ("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT")],
                Ok(None),
            ),
            (
                "RFC 5861 never fresh, but of use stale",
                200,
                &[("cache-control", "max-age=0, stale-while-revalidate=60")],
                Ok(None),
            ),
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
    fn a_status_without_heuristics_needs_an_explicit_freshness() {
        // RFC 9111 §3: the last of the conditions; a validator does not help.
        let policy = Policy::default()
            .statuses(crate::policy::Statuses::Any)
            .media_types(["*/*"])
            .stale_if_error(Duration::from_secs(9));
        let exchange = Exchange { requested: UNIX_EPOCH, received: UNIX_EPOCH, with_cookie: false };
        let judge = |status, lines: &[(&str, &str)]| {
            let lines = headers(lines);
            storable(&HeaderMap::new(), "/a", status, &lines, None, exchange, &policy).is_ok()
        };
        let etag = ("etag", "\"a\"");
        assert!(!judge(StatusCode::FOUND, &[etag]));
        assert!(judge(StatusCode::FOUND, &[etag, ("cache-control", "public")]));
        assert!(judge(StatusCode::FOUND, &[("cache-control", "max-age=1")]));
        assert!(judge(StatusCode::FOUND, &[("expires", "Thu, 01 Jan 1970 00:00:09 GMT")]));
        assert!(judge(StatusCode::GONE, &[etag]));
    }

    #[test]
    fn the_ending_of_the_path_replaces_a_type_that_says_nothing() {
        let exchange = Exchange { requested: UNIX_EPOCH, received: UNIX_EPOCH, with_cookie: false };
        let judge = |policy: &Policy, path, kind: Option<&str>| {
            let lines: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
            let lines = headers(&lines);
            storable(&HeaderMap::new(), path, StatusCode::OK, &lines, None, exchange, policy).err()
        };
        let octets = Some("application/octet-stream");
        for (path, kind, refusal) in [
            ("/a.m4s", octets, None),
            ("/a.mkv", None, None),
            ("/a", None, Some(Refusal::Media)),
            ("/a.html", octets, Some(Refusal::Media)),
            ("/a.mp4", Some("text/html"), Some(Refusal::Media)),
            // A manifest has no default freshness, whatever its type tells.
            ("/a.m3u8", octets, Some(Refusal::NeverFresh)),
            ("/a.mpd", Some("text/xml"), Some(Refusal::NeverFresh)),
            ("/a.m3u8", Some("application/x-mpegurl"), Some(Refusal::NeverFresh)),
        ] {
            assert_eq!(judge(&Policy::default(), path, kind), refusal, "{path} {kind:?}");
        }
        let by_type = Policy::default().media_by_ending(false);
        assert_eq!(judge(&by_type, "/a.m4s", octets), Some(Refusal::Media));
        let named = Policy::default().media_types(["application/octet-stream"]);
        assert_eq!(judge(&named, "/a.m4s", octets), None, "a type named in the policy counts as it is sent");
        assert_eq!(judge(&named, "/a.m3u8", octets), Some(Refusal::NeverFresh));
        assert_eq!(judge(&named.media_by_ending(false), "/a.m3u8", octets), None);
    }

    #[test]
    fn a_body_that_knows_its_length_must_prove_it() {
        assert_eq!(judge(200, &[], &[], Some(7)), Ok(Some(7)));
        assert_eq!(judge(200, &[], &[], Some(1001)), Err(Refusal::TooLarge));
        assert_eq!(judge(200, &[], &[("content-length", "8")], Some(7)), Ok(Some(8)));
    }

    #[test]
    fn an_answer_to_a_cookie_is_stored_only_with_a_strong_tag() {
        let exchange = Exchange { requested: UNIX_EPOCH, received: UNIX_EPOCH, with_cookie: true };
        for (response, stored) in [
            (&[][..], false),
            (&[("last-modified", "Sun, 22 Nov 2026 09:00:00 GMT")], false),
            (&[("etag", "W/\"a\"")], false),
            (&[("etag", "\"a\""), ("etag", "\"b\"")], false),
            (&[("etag", "\"a\"")], true),
            (&[("cache-control", "max-age=60")], true),
            (&[("cache-control", "public")], true),
            (&[("vary", "cookie")], true),
        ] {
            let mut response = headers(response);
            response.insert("content-type", "video/mp4".parse().unwrap());
            let request = headers(&[("cookie", "a=b")]);
            let judged =
                storable(&request, "/a", StatusCode::OK, &response, None, exchange, &Policy::default());
            assert_eq!(judged, if stored { Ok(None) } else { Err(Refusal::Cookie) }, "{response:?}");
        }
    }

    #[test]
    fn an_answer_to_credentials_is_shared_only_if_it_says_so() {
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
