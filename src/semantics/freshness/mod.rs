//! May it go out? How old a stored response is, how long it is fresh, and what may be done with it once it is not.
//!
//! RFC 9111 §4.2 (freshness), §4.2.1 (lifetime), §4.2.2 (heuristics), §4.2.3 (age), §4.2.4 (serving stale), §5.1
//! (`Age`), §5.2.1 (request directives); RFC 5861 (stale windows); RFC 8246 (`immutable`).

mod by_uri;

use std::time::{Duration, SystemTime};

use http::{
    header::{self, HeaderMap},
    StatusCode,
};

pub(crate) use self::by_uri::ByUri;
use super::{
    cache_control::{seconds, RequestDirectives, ResponseDirectives},
    cache_status::Forwarded,
    fields::{date, media_type, members},
};
use crate::policy::Policy;

/// When a response was asked for and when its header arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) requested: SystemTime,
    pub(crate) received: SystemTime,
}

/// What of freshness does not change while a response is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own, said or not")]
pub(crate) struct Freshness {
    lifetime: Duration,
    /// It is the policy's default: nothing said how long it is, and nothing lets it be guessed.
    by_default: bool,
    initial_age: Duration,
    received: SystemTime,
    /// RFC 9111 §5.2.2.4: `no-cache`.
    always_validate: bool,
    immutable: bool,
    /// For how long after its lifetime it may be served while it is validated, and instead of an error.
    while_revalidate: Duration,
    if_error: Duration,
    /// §4.2.4: nobody may allow it to be used stale.
    never_stale: bool,
}

/// What may be done with a stored response for one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    AsItIs,
    /// Only after the inner service has been asked; and why.
    Validated(Forwarded),
    /// RFC 5861 §3: at once, while the inner service is asked behind the viewer's back.
    WhileRevalidated,
}

impl Freshness {
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap, exchange: Exchange, policy: &Policy) -> Self {
        let directives = ResponseDirectives::heeded(headers, policy.targeted_fields());
        let (while_revalidate, if_error) = policy.stale_windows();
        let lifetime = lifetime(status, headers, &directives, exchange, policy);
        Self {
            lifetime: lifetime.unwrap_or_else(|| policy.ttl_by_default(media_type(headers))),
            by_default: lifetime.is_none(),
            initial_age: initial_age(headers, exchange),
            received: exchange.received,
            always_validate: directives.no_cache,
            immutable: directives.immutable,
            while_revalidate: directives.stale_while_revalidate.unwrap_or(while_revalidate),
            if_error: directives.stale_if_error.unwrap_or(if_error),
            never_stale: directives.forbid_stale(),
        }
    }

    /// The current age (RFC 9111 §4.2.3); a clock set back counts as no time at all.
    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        let resident = now.duration_since(self.received).unwrap_or_default();
        self.initial_age.saturating_add(resident)
    }

    /// RFC 9111 §4.2: fresh while the lifetime is greater than the age.
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        self.lifetime > self.age(now)
    }

    /// Seconds of freshness left; negative once stale (RFC 9211 §2.4).
    pub(crate) fn ttl(&self, now: SystemTime) -> i64 {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        seconds(self.lifetime).saturating_sub(seconds(self.age(now)))
    }

    /// What a request gets of it now.
    pub(crate) fn reuse(&self, request: &RequestDirectives, now: SystemTime) -> Reuse {
        if self.always_validate {
            return Reuse::Validated(Forwarded::Stale);
        }
        if request.no_cache {
            return Reuse::Validated(Forwarded::Request);
        }
        let age = self.age(now);
        let left = self.lifetime.saturating_sub(age);
        if !left.is_zero() {
            // RFC 8246 §2: within its lifetime it will not change, and asking whether it has is in vain.
            let too_old = !self.immutable && request.max_age.is_some_and(|most| age > most);
            // §5.2.1.3: fresh for at least so long.
            let too_short = request.min_fresh.is_some_and(|least| left < least);
            return if too_old || too_short { Reuse::Validated(Forwarded::Request) } else { Reuse::AsItIs };
        }
        if self.never_stale || request.min_fresh.is_some() {
            return Reuse::Validated(Forwarded::Stale);
        }
        let staleness = age.saturating_sub(self.lifetime);
        // §5.2.1.1: with max-age alone, the client does not wish to receive a stale response.
        if request.max_age.is_some_and(|most| age > most || request.max_stale.is_none()) {
            return Reuse::Validated(Forwarded::Stale);
        }
        match request.max_stale {
            // §5.2.1.2: so stale and no staler, whatever the response allows.
            Some(most) if staleness > most => Reuse::Validated(Forwarded::Stale),
            Some(_) => Reuse::AsItIs,
            None if staleness < self.while_revalidate => Reuse::WhileRevalidated,
            None => Reuse::Validated(Forwarded::Stale),
        }
    }

    /// Whether it may stand in for an error of the inner service (RFC 5861 §4; RFC 9111 §4.3.3).
    pub(crate) fn stands_in(&self, request: &RequestDirectives, now: SystemTime) -> bool {
        if self.always_validate || request.no_cache {
            return false;
        }
        if self.is_fresh(now) {
            return true;
        }
        let staleness = self.age(now).saturating_sub(self.lifetime);
        // What the request says of itself counts for it, be it more or less.
        let window = request.stale_if_error.unwrap_or(self.if_error);
        !self.never_stale && staleness < window
    }

    /// Whether a response that comes in now is of any use to a later request.
    pub(crate) fn is_of_use(&self, has_validator: bool, now: SystemTime) -> bool {
        let fresh = self.is_fresh(now) && !self.always_validate;
        let has_window = self.while_revalidate > Duration::ZERO || self.if_error > Duration::ZERO;
        fresh || has_window && !self.never_stale || has_validator
    }

    /// Whether each request needs an answer of the inner service for itself: what came stale for one of them, no other
    /// may have (RFC 9111 §4, on collapsing requests).
    pub(crate) fn is_for_one(&self) -> bool {
        let stale_at_once = self.lifetime <= self.initial_age;
        let staleness = self.initial_age.saturating_sub(self.lifetime);
        self.always_validate || stale_at_once && (self.never_stale || staleness >= self.while_revalidate)
    }
}

/// RFC 9111 §4.2.1, as a shared cache: `s-maxage`, else `max-age`, else `Expires` less `Date`, else, where it is allowed
/// to guess, a guess; none where the policy's default is to be taken.
fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    exchange: Exchange,
    policy: &Policy,
) -> Option<Duration> {
    if let Some(explicit) = directives.s_maxage.or(directives.max_age) {
        return Some(explicit);
    }
    let sent = date(headers, &header::DATE).unwrap_or(exchange.received);
    if !directives.is_targeted && headers.contains_key(header::EXPIRES) {
        // RFC 9111 §5.3: an invalid date, "0" above all, is a time in the past.
        let expires = date(headers, &header::EXPIRES);
        return Some(expires.and_then(|expires| expires.duration_since(sent).ok()).unwrap_or_default());
    }
    // §4.2.2: guessing is for these statuses, and for what is marked as public.
    if !is_heuristically_cacheable(status) && !directives.public {
        return Some(Duration::ZERO);
    }
    let unmodified =
        date(headers, &header::LAST_MODIFIED).and_then(|modified| sent.duration_since(modified).ok());
    unmodified.and_then(|unmodified| policy.heuristic_ttl(unmodified))
}

/// RFC 9110 §15.1, but for 206, which is never stored.
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The corrected initial age of RFC 9111 §4.2.3.
fn initial_age(headers: &HeaderMap, exchange: Exchange) -> Duration {
    let apparent = date(headers, &header::DATE)
        .and_then(|sent| exchange.received.duration_since(sent).ok())
        .unwrap_or_default();
    let delay = exchange.received.duration_since(exchange.requested).unwrap_or_default();
    apparent.max(age_field(headers).saturating_add(delay))
}

/// RFC 9111 §5.1: of several members the first is used, and one that is no number is ignored.
fn age_field(headers: &HeaderMap) -> Duration {
    // A number in quotes is none here: only the arguments of directives may have them.
    let first = members(headers, &header::AGE).next().filter(|age| !age.starts_with('"'));
    first.and_then(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests;
