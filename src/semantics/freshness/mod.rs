//! How old a stored response is, how long it is fresh, and how it may be used once it is stale.
//!
//! RFC 9111 §4.2 (freshness), §4.2.1 (lifetime), §4.2.2 (heuristics), §4.2.3 (age), §4.2.4 (serving stale), §5.1
//! (`Age`), §5.2.1 (request directives); RFC 5861 (stale windows); RFC 8246 (`immutable`).

mod by_uri;
mod ruled;
mod streamed;

use std::time::{Duration, SystemTime};

use http::{
    StatusCode,
    header::{self, HeaderMap},
};

pub(crate) use self::by_uri::ByUri;
use super::{
    cache_control::{RequestDirectives, ResponseDirectives, seconds},
    cache_status::Forwarded,
    fields::{date, media_type, members},
    purge::Position,
    vary::Vary,
};
use crate::policy::Policy;

/// The times when a response was requested and when its header arrived, and whether the request had a `Cookie`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) requested: SystemTime,
    pub(crate) received: SystemTime,
    pub(crate) with_cookie: bool,
    /// The purges that were known when it was requested. A later one may be for it.
    pub(crate) purges: Position,
}

/// The part of freshness that does not change while a response is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own, said or not")]
pub(crate) struct Freshness {
    lifetime: Duration,
    given_by: GivenBy,
    initial_age: Duration,
    received: SystemTime,
    /// RFC 9111 §5.2.2.4: `no-cache`.
    always_validate: bool,
    immutable: bool,
    /// The response answers a request with a `Cookie`, and does not say that others may have it.
    is_of_a_cookie: bool,
    /// RFC 9111 §3.5: requests with `Authorization` may have it, too.
    is_for_the_authorized: bool,
    /// How long after its lifetime it may be served while it is validated, and how long instead of an error.
    while_revalidate: Duration,
    if_error: Duration,
    /// How long after its lifetime it may be served to a request that asks for stale responses.
    on_request: Duration,
    /// §4.2.4: it must not be used stale, whatever else allows it.
    never_stale: bool,
    /// How long after its arrival it is new enough for a reload by force.
    reload_grace: Duration,
}

/// The end of a freshness that an operator has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) at: SystemTime,
    /// The response must be validated before any use. Otherwise its stale windows begin at the end.
    pub(crate) must_be_validated: bool,
}

/// The origin of a lifetime (RFC 9111 §4.2.1, §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenBy {
    SMaxage,
    MaxAge,
    Expires,
    /// A guess by the time since the last modification.
    Heuristic,
    /// No guess is allowed: the status does not allow one, or the response answers a request with a cookie.
    Nothing,
    /// The policy's default: the response names no lifetime, and no heuristic applies.
    Default,
    /// A rule of the policy.
    Rule,
    /// The policy's preset for live streams.
    Streaming,
    /// The signed URL of the request expires earlier.
    Url,
    /// An operator has ended it.
    Purge,
}

impl GivenBy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "expires",
            Self::Heuristic => "heuristic",
            Self::Nothing => "nothing",
            Self::Default => "default",
            Self::Rule => "rule",
            Self::Streaming => "streaming",
            Self::Url => "url",
            Self::Purge => "purge",
        }
    }
}

/// How one request may use a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    AsItIs,
    /// Only after the inner service has been asked, for this reason.
    Validated(Forwarded),
    /// RFC 9111 §3.5: only if the inner service confirms it to this very request, for this reason.
    ValidatedForOne(Forwarded),
    /// RFC 5861 §3: at once, while the inner service is asked in the background.
    WhileRevalidated,
}

impl Reuse {
    /// Whether the response goes out at once.
    pub(crate) fn is_usable(self) -> bool {
        matches!(self, Self::AsItIs | Self::WhileRevalidated)
    }
}

impl Freshness {
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap, exchange: Exchange, policy: &Policy) -> Self {
        let directives = ResponseDirectives::heeded(headers, policy.targeted());
        let is_of_a_cookie = is_of_a_cookie(headers, &directives, exchange);
        // The operator's windows for responses without directives cover only responses for everybody.
        let windows = || if is_of_a_cookie { NO_WINDOWS } else { policy.stale_windows() };
        let (while_revalidate, if_error, on_request) = windows();
        let guess = || {
            if is_of_a_cookie {
                Some((Duration::ZERO, GivenBy::Nothing))
            } else {
                guessed(status, headers, &directives, exchange, policy)
            }
        };
        let lifetime = explicit_lifetime(headers, &directives, exchange).or_else(guess);
        let by_default = || {
            let unmodified = unmodified(headers, exchange).unwrap_or(Duration::MAX);
            (policy.ttl_by_default(media_type(headers)).min(unmodified), GivenBy::Default)
        };
        let (lifetime, given_by) = lifetime.unwrap_or_else(by_default);
        Self {
            lifetime,
            given_by,
            initial_age: initial_age(headers, exchange),
            received: exchange.received,
            always_validate: directives.no_cache,
            immutable: directives.immutable,
            is_of_a_cookie,
            is_for_the_authorized: directives.share_with_the_authorized(),
            while_revalidate: directives.stale_while_revalidate.unwrap_or(while_revalidate),
            if_error: directives.stale_if_error.unwrap_or(if_error),
            on_request,
            never_stale: directives.forbid_stale(),
            reload_grace: Duration::ZERO,
        }
    }

    /// The freshness of a response that the inner service has refused since. It is used while it is fresh, and no
    /// longer.
    pub(crate) fn withdrawn(self) -> Self {
        Self { never_stale: true, ..self }
    }

    /// The freshness of a response that was fresh no longer from that time on.
    pub(crate) fn ended(self, Ended { at, must_be_validated }: Ended) -> Self {
        // The node that ended it may have another clock, so `given_by` says that it is over, whatever the times say.
        let age = self.initial_age.saturating_add(at.duration_since(self.received).unwrap_or_default());
        Self {
            lifetime: self.lifetime.min(age),
            given_by: GivenBy::Purge,
            always_validate: self.always_validate || must_be_validated,
            never_stale: self.never_stale || must_be_validated,
            immutable: false,
            ..self
        }
    }

    fn is_ended(&self) -> bool {
        self.given_by == GivenBy::Purge
    }

    /// The freshness of a response that the inner service cannot confirm, because it has no validator.
    pub(crate) fn without_validator(self, policy: &Policy) -> Self {
        Self { reload_grace: policy.grace_for_reloads(), ..self }
    }

    /// How long the response is fresh from its origin on, and what says so.
    pub(crate) fn lifetime(&self) -> (Duration, GivenBy) {
        (self.lifetime, self.given_by)
    }

    /// The current age (RFC 9111 §4.2.3). A clock that was set back counts as no time at all.
    pub(crate) fn age(&self, now: SystemTime) -> Duration {
        let resident = now.duration_since(self.received).unwrap_or_default();
        self.initial_age.saturating_add(resident)
    }

    /// RFC 9111 §4.2: fresh while the lifetime is greater than the age.
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        self.lifetime > self.age(now) && !self.is_ended() && !self.is_of_the_future(now)
    }

    /// Whether the node that stored the response received it clearly later than `now`. The clocks then differ, and the
    /// age of the response is unknown.
    fn is_of_the_future(&self, now: SystemTime) -> bool {
        // The exact difference is computed only if the first comparison holds, which is rare.
        self.received > now && self.received.duration_since(now).is_ok_and(|ahead| ahead > CLOCK_DIFFERENCE)
    }

    /// Seconds of freshness left; negative once stale (RFC 9211 §2.4).
    pub(crate) fn ttl(&self, now: SystemTime) -> i64 {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        let left = seconds(self.lifetime).saturating_sub(seconds(self.age(now)));
        // A purged response has just become stale, by the clock of whoever purged it.
        if self.is_ended() { left.min(-1) } else { left }
    }

    /// Whether the response is new enough for a reload by force.
    fn is_new(&self, now: SystemTime) -> bool {
        let resident = now.duration_since(self.received).unwrap_or_default();
        resident < self.reload_grace && self.is_fresh(now)
    }

    /// RFC 8246 §2: whether the response does not change while it is fresh.
    pub(crate) fn is_immutable(&self) -> bool {
        self.immutable
    }

    /// How a request may use the response now.
    pub(crate) fn reuse(&self, request: &RequestDirectives, now: SystemTime) -> Reuse {
        let is_fresh = || self.is_fresh(now) && !self.always_validate;
        if !self.is_for(request) {
            return Reuse::ValidatedForOne(if is_fresh() { Forwarded::Request } else { Forwarded::Stale });
        }
        if self.always_validate {
            return Reuse::Validated(Forwarded::Stale);
        }
        if request.no_cache && !self.is_new(now) {
            return Reuse::Validated(Forwarded::Request);
        }
        // RFC 9111 §4.2.3: an unknown age is within no limit.
        if self.is_of_the_future(now) {
            return Reuse::Validated(Forwarded::Stale);
        }
        let age = self.age(now);
        let left = self.lifetime.saturating_sub(age);
        if !left.is_zero() && !self.is_ended() {
            // RFC 8246 §2: it does not change within its lifetime, so asking would be in vain.
            let too_old = !self.immutable && request.max_age.is_some_and(|most| age > most);
            // §5.2.1.3: it must stay fresh for at least that long.
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
            // §5.2.1.2: the request limits the staleness, whatever the response allows.
            Some(most) if staleness > most => Reuse::Validated(Forwarded::Stale),
            Some(_) if staleness < self.on_request => Reuse::AsItIs,
            _ if staleness < self.while_revalidate => Reuse::WhileRevalidated,
            _ => Reuse::Validated(Forwarded::Stale),
        }
    }

    /// RFC 9111 §3.5: whether the response may answer a request that the inner service has not confirmed it for. The
    /// section is about answers to credentials. A response fetched without credentials may be less than they would
    /// bring.
    pub(crate) fn is_for(&self, request: &RequestDirectives) -> bool {
        !request.is_authorized || self.is_for_the_authorized
    }

    /// Whether it may be used stale at all.
    pub(crate) fn may_be_stale(&self) -> bool {
        let windows = [self.while_revalidate, self.if_error, self.on_request];
        !self.never_stale && windows.iter().any(|window| !window.is_zero())
    }

    /// Whether the response answers a request with a `Cookie`, and does not say that others may have it.
    pub(crate) fn is_of_a_cookie(&self) -> bool {
        self.is_of_a_cookie
    }

    /// Whether it may stand in for an error of the inner service (RFC 5861 §4; RFC 9111 §4.3.3).
    pub(crate) fn stands_in(&self, request: &RequestDirectives, now: SystemTime) -> bool {
        if self.always_validate || request.no_cache || !self.is_for(request) {
            return false;
        }
        if self.is_fresh(now) {
            return true;
        }
        let staleness = self.age(now).saturating_sub(self.lifetime);
        // A request may want less than the response allows, or more, within the operator's limit.
        let most = self.if_error.max(self.on_request);
        let window = request.stale_if_error.map_or(self.if_error, |window| window.min(most));
        !self.never_stale && staleness < window
    }

    /// Whether a response that arrives now is of use to a later request.
    pub(crate) fn is_of_use(&self, has_validator: bool, now: SystemTime) -> bool {
        let fresh = self.is_fresh(now) && !self.always_validate;
        let staleness = self.age(now).saturating_sub(self.lifetime);
        let has_window = staleness < self.while_revalidate.max(self.if_error);
        fresh || has_window && !self.never_stale || has_validator
    }

    /// Whether each request needs its own answer from the inner service. A response that was stale on arrival may
    /// answer only the request that fetched it (RFC 9111 §4, on collapsing requests).
    pub(crate) fn is_for_one(&self) -> bool {
        let stale_at_once = self.lifetime <= self.initial_age;
        let staleness = self.initial_age.saturating_sub(self.lifetime);
        self.always_validate || stale_at_once && (self.never_stale || staleness >= self.while_revalidate)
    }
}

/// Whether the response may be for the owner of the request's `Cookie` alone. It does not say how long it is fresh, nor
/// that it is public or must be validated each time, nor that it varies by the cookie. RFC 9111 §4.2.2 lets a cache
/// guess, and does not ask it to.
fn is_of_a_cookie(headers: &HeaderMap, directives: &ResponseDirectives, exchange: Exchange) -> bool {
    exchange.with_cookie
        && !directives.public
        && !directives.no_cache
        && explicit_lifetime(headers, directives, exchange).is_none()
        && !matches!(Vary::of(headers), Vary::Fields(names) if names.contains(&header::COOKIE))
}

/// RFC 9111 §4.2.1, for a shared cache: `s-maxage`, else `max-age`, else `Expires` less `Date`.
fn explicit_lifetime(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    exchange: Exchange,
) -> Option<(Duration, GivenBy)> {
    if let Some(explicit) = directives.s_maxage {
        return Some((explicit, GivenBy::SMaxage));
    }
    if let Some(explicit) = directives.max_age {
        return Some((explicit, GivenBy::MaxAge));
    }
    if directives.is_targeted || !headers.contains_key(header::EXPIRES) {
        return None;
    }
    // RFC 9111 §5.3: an invalid date, "0" above all, is a time in the past.
    let expires = date(headers, &header::EXPIRES);
    let left = expires.and_then(|expires| expires.duration_since(sent(headers, exchange)).ok());
    Some((left.unwrap_or_default(), GivenBy::Expires))
}

/// The heuristic lifetime, or zero if guessing is not allowed. `None` means the policy's default.
fn guessed(
    status: StatusCode,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    exchange: Exchange,
    policy: &Policy,
) -> Option<(Duration, GivenBy)> {
    // §4.2.2: a cache may guess for these statuses, and for responses marked as public.
    if !is_heuristically_cacheable(status) && !directives.public {
        return Some((Duration::ZERO, GivenBy::Nothing));
    }
    let unmodified = unmodified(headers, exchange)?;
    Some((policy.heuristic_ttl(unmodified)?.min(unmodified), GivenBy::Heuristic))
}

/// The time since the last modification. No guessed lifetime is longer: a file that has just changed may be one that
/// grows. `None` if the response does not say when it was modified.
fn unmodified(headers: &HeaderMap, exchange: Exchange) -> Option<Duration> {
    let modified = date(headers, &header::LAST_MODIFIED)?;
    Some(sent(headers, exchange).duration_since(modified).unwrap_or_default())
}

fn sent(headers: &HeaderMap, exchange: Exchange) -> SystemTime {
    date(headers, &header::DATE).unwrap_or(exchange.received)
}

/// RFC 9110 §15.1, without 206, which is never stored.
pub(crate) fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// The corrected initial age of RFC 9111 §4.2.3.
fn initial_age(headers: &HeaderMap, exchange: Exchange) -> Duration {
    // RFC 9110 §5.6.7: a date has whole seconds, so a part of a second says nothing. It would take half of the lifetime
    // from a playlist that is fresh for a second.
    let apparent = date(headers, &header::DATE)
        .and_then(|sent| exchange.received.duration_since(sent).ok())
        .map_or(Duration::ZERO, |apparent| Duration::from_secs(apparent.as_secs()));
    let delay = exchange.received.duration_since(exchange.requested).unwrap_or_default();
    apparent.max(age_field(headers).saturating_add(delay))
}

/// RFC 9111 §5.1: the first of several members is used, and a member that is no number is ignored.
fn age_field(headers: &HeaderMap) -> Duration {
    // A quoted number does not count here: only arguments of directives may have quotes.
    let first = members(headers, &header::AGE).next().filter(|age| !age.starts_with('"'));
    first.and_then(seconds).unwrap_or_default()
}

/// How far the clocks of two nodes may differ without effect. Clocks that a time server sets differ by far less.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(2);

const NO_WINDOWS: (Duration, Duration, Duration) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);

#[cfg(test)]
mod allowing;
#[cfg(test)]
mod ruling;
#[cfg(test)]
mod streaming;
#[cfg(test)]
mod tests;
