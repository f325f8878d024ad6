//! Whether a response may be stored.
//!
//! RFC 9111 §3 (storing), §3.1 (header fields), §3.5 (`Authorization`), §5.2.2.3 (`must-understand`), for a shared
//! cache, within the policy.

use std::time::Duration;

use http::{
    StatusCode,
    header::{self, HeaderMap},
};

use super::{
    cache_control::ResponseDirectives,
    cache_status::Refusal,
    etag::{has_strong_tag, has_validator},
    fields::{DeclaredLength, declared_length, media_type},
    freshness::{ByUri, Exchange, Freshness, is_heuristically_cacheable},
    place::Place,
    playlist::Playlist,
    vary::Vary,
};
use crate::policy::Policy;

/// Whether the response to a GET request for `place` may be stored. `body_length` is the length that the body itself
/// reports.
///
/// Returns the length that the body must prove to have, if one is known.
///
/// # Errors
///
/// The first rule that forbids to store the response.
pub(crate) fn storable(
    request: &HeaderMap,
    place: &Place,
    status: StatusCode,
    headers: &HeaderMap,
    body_length: Option<u64>,
    exchange: Exchange,
    policy: &Policy,
) -> Result<Option<u64>, Refusal> {
    // RFC 9110 §14.4: with Content-Range, it is a part, whatever the status says.
    if !policy.admits_status(&place.path, status) || headers.contains_key(header::CONTENT_RANGE) {
        return Err(Refusal::Status);
    }
    let said = media_type(headers);
    // An origin says in HTML or JSON that a segment is not there yet.
    let is_media = policy.is_missing_media(&place.path, status) || policy.admits_media(said);
    if !is_media && !policy.admits_media(policy.media_by_path(&place.path, said)) {
        return Err(Refusal::Media);
    }
    may_be_shared(request, status, headers, policy)?;
    if policy.rule_for(status, headers, place).is_some_and(|rule| rule.effects().never) {
        return Err(Refusal::Rule);
    }
    if !says_or_lets_guess(status, headers, policy) {
        return Err(Refusal::NeverFresh);
    }
    let by_uri = by_place(place, said, policy);
    // No byte of a manifest has come, so this is the most that it may get in the end.
    let most = Playlist::Live(Some(Duration::MAX));
    let playlist = if policy.is_manifest(&place.path, said) { most } else { Playlist::Unknown };
    let freshness = Freshness::at(&by_uri, playlist, status, headers, exchange, policy);
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

/// Whether a manifest that says this of its own life, and has no validator, was so old when it came that no later
/// request may have it.
pub(crate) fn is_late(
    playlist: Playlist,
    place: &Place,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: Exchange,
    policy: &Policy,
) -> bool {
    let said = media_type(headers);
    if !policy.streams() || !policy.is_manifest(&place.path, said) {
        return false;
    }
    let by_uri = by_place(place, said, policy);
    let freshness = Freshness::at(&by_uri, playlist, status, headers, exchange, policy);
    !freshness.is_of_use(false, exchange.received)
}

/// The facts that a place tells about a response of this media type.
fn by_place(place: &Place, said: Option<&str>, policy: &Policy) -> ByUri {
    let is_manifest = policy.is_manifest_by_path(&place.path, said);
    ByUri { is_manifest, until: None, place: place.clone() }
}

/// Whether a partial response, asked for with one client's ranges and conditions, shows that the whole may be stored by
/// now.
pub(crate) fn would_be_storable(
    request: &HeaderMap,
    place: &Place,
    status: StatusCode,
    headers: &HeaderMap,
    exchange: Exchange,
    policy: &Policy,
) -> bool {
    if status != StatusCode::PARTIAL_CONTENT {
        return storable(request, place, status, headers, None, exchange, policy).is_ok()
            // Nobody reads the bytes of a passing answer. It counts as live without a target.
            && (has_validator(headers)
                || !is_late(Playlist::Unknown, place, status, headers, exchange, policy));
    }
    let mut whole = headers.clone();
    whole.remove(header::CONTENT_RANGE);
    whole.remove(header::CONTENT_LENGTH);
    storable(request, place, StatusCode::OK, &whole, None, exchange, policy).is_ok()
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
mod streaming;
#[cfg(test)]
mod tests;
