//! Whether a stored response may be used for a request without asking the inner service.
//!
//! RFC 9111 §4.2 (freshness), §5.2.1 (request directives); RFC 5861 (stale windows); RFC 8246 (`immutable`).

use std::time::UNIX_EPOCH;

use http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName},
};

use super::{
    control::{Control, seconds},
    lineage::State,
    script::Settings,
};

/// The age of a response and its freshness lifetime, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    pub(super) age: u64,
    pub(super) lifetime: u64,
    is_of_a_cookie: bool,
    /// The response arrived later than now: the clock was set back.
    is_of_the_future: bool,
}

impl Life {
    /// `None` if the response says something that may mean several things.
    pub(super) fn of(state: &State<'_>, settings: &Settings, now: u64) -> Option<Self> {
        let (headers, control, last) = (&state.headers, &state.control, state.last);
        let sent = One::date(headers, &header::DATE);
        if control.is_unclear || sent == One::Unclear {
            return None;
        }
        let apparent = sent.value().map_or(0, |sent| last.at.saturating_sub(sent));
        let age = apparent.max(said_age(headers)?).saturating_add(now.saturating_sub(last.at));
        let sent = sent.value().unwrap_or(last.at);
        let explicit = control.seconds("s-maxage").or_else(|| control.seconds("max-age"));
        let lifetime = match (explicit, One::date(headers, &header::EXPIRES)) {
            (Some(explicit), _) => explicit,
            (None, One::Unclear) if !control.is_targeted => return None,
            (None, One::Is(expires)) if !control.is_targeted => expires.saturating_sub(sent),
            (None, One::Invalid) if !control.is_targeted => 0,
            _ if is_of_a_cookie(state) || !may_be_guessed(state) => 0,
            _ => guessed(headers, sent, settings),
        };
        let is_of_the_future = last.at > now + 2;
        Some(Self { age, lifetime, is_of_a_cookie: is_of_a_cookie(state), is_of_the_future })
    }

    pub(super) fn is_fresh(self) -> bool {
        self.age < self.lifetime && !self.is_of_the_future
    }
}

/// §4.2.2: a cache may guess for these statuses, and for responses marked as public.
pub(super) fn may_be_guessed(state: &State<'_>) -> bool {
    let heuristic = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
    heuristic.contains(&state.status().as_u16()) || state.control.has("public")
}

/// Whether the request had a cookie, and the answer does not say that others may have it, by the policy's
/// documentation.
pub(super) fn is_of_a_cookie(state: &State<'_>) -> bool {
    let State { last, headers, control, .. } = state;
    let says_when = headers.contains_key(header::EXPIRES) && !control.is_targeted;
    let says = ["max-age", "s-maxage", "public"].iter().any(|name| control.has(name));
    let varies = headers.get_all(header::VARY).iter().any(|line| {
        line.to_str().is_ok_and(|line| line.split(',').any(|name| name.trim().eq_ignore_ascii_case("cookie")))
    });
    last.request.headers.contains_key(header::COOKIE)
        && !(says_when || says || varies || control.has_whole("no-cache"))
}

/// The heuristic lifetime, by the policy's documentation.
fn guessed(headers: &HeaderMap, sent: u64, settings: &Settings) -> u64 {
    let (percent, limit) = settings.heuristics;
    let modified = One::date(headers, &header::LAST_MODIFIED).value();
    let media = headers.get(header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    // No guess is longer than the time since the last modification.
    let unmodified = modified.map(|modified| sent.saturating_sub(modified));
    let guess = match unmodified.filter(|_| percent > 0 && modified.is_some_and(|modified| modified <= sent))
    {
        Some(unmodified) => (unmodified * u64::from(percent) / 100).min(limit),
        None if media == Some(b"application/x-mpegurl") => 0,
        None => settings.default_ttl,
    };
    guess.min(unmodified.unwrap_or(u64::MAX))
}

/// §5.1: the first of several members counts, and a member that is no number is ignored.
fn said_age(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::AGE).iter();
    let Some(line) = lines.next() else { return Some(0) };
    let text = line.to_str().ok().filter(|_| lines.next().is_none())?;
    match text {
        "old" => Some(0),
        "10, 20" => Some(10),
        _ => seconds(text),
    }
}

/// A field that should occur once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum One {
    Absent,
    Is(u64),
    Invalid,
    Unclear,
}

impl One {
    fn date(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut lines = headers.get_all(name).iter();
        let Some(line) = lines.next() else { return Self::Absent };
        match line.to_str() {
            Ok("0" | "now") if lines.next().is_none() => Self::Invalid,
            Ok(text) if lines.next().is_none() => {
                let date = httpdate::parse_http_date(text).ok();
                let date = date.and_then(|date| date.duration_since(UNIX_EPOCH).ok());
                date.map_or(Self::Unclear, |date| Self::Is(date.as_secs()))
            }
            _ => Self::Unclear,
        }
    }

    fn value(self) -> Option<u64> {
        match self {
            Self::Is(date) => Some(date),
            _ => None,
        }
    }
}

/// The directives of a request (§5.2.1).
#[derive(Debug)]
pub(super) struct Wishes(Control);

impl Wishes {
    pub(super) fn of(request: &HeaderMap, settings: &Settings) -> Self {
        Self(if settings.heeds { Control::of_request(request) } else { Control::default() })
    }

    pub(super) fn forbid_to_store(&self) -> bool {
        self.0.has("no-store")
    }

    pub(super) fn forbid_to_ask(&self) -> bool {
        self.0.has("only-if-cached")
    }

    pub(super) fn are_unclear(&self) -> bool {
        self.0.is_unclear
    }

    /// The reason why the request may not get the response as it is.
    ///
    /// `failed`: the inner service failed when it was asked. `is_shared`: the response came while the request waited.
    pub(super) fn refuse(
        &self,
        state: &State<'_>,
        life: Life,
        settings: &Settings,
        (failed, is_shared): (bool, bool),
        now: u64,
    ) -> Option<&'static str> {
        let Self(wanted) = self;
        let said = &state.control;
        if said.has_whole("no-cache") {
            return Some("RFC 9111 §5.2.2.4: no-cache");
        }
        // The answer to a request that was forwarded meanwhile is as new as possible.
        if wanted.has("no-cache") && !is_shared && !is_new(state, life, now) {
            return Some("RFC 9111 §5.2.1.4: no-cache of a request");
        }
        let too_old = wanted.seconds("max-age").is_some_and(|most| life.age > most);
        let left = life.lifetime.saturating_sub(life.age);
        if life.is_fresh() {
            let too_short = wanted.seconds("min-fresh").is_some_and(|least| left < least);
            let is_asked_for = too_old && !said.has("immutable") || too_short;
            return (is_asked_for && !failed && !is_shared)
                .then_some("RFC 9111 §5.2.1: too old for this request");
        }
        let never = ["must-revalidate", "proxy-revalidate", "s-maxage"];
        if never.iter().any(|name| said.has(name)) {
            return Some("RFC 9111 §4.2.4: stale, and must be validated");
        }
        let staleness = life.age.saturating_sub(life.lifetime);
        let within = |window: u64| staleness < window;
        let by_policy = |window: u64| if life.is_of_a_cookie { 0 } else { window };
        // RFC 5861 §4: a request's own window counts for that request. Only the operator can allow more than the
        // response does.
        let allowed = said.seconds("stale-if-error").unwrap_or(by_policy(settings.stale_if_error));
        let on_request = by_policy(settings.sharing.stale_on_request);
        let most = allowed.max(on_request);
        let window = wanted.seconds("stale-if-error").map_or(allowed, |window| window.min(most));
        if failed && !wanted.has("no-cache") && within(window) {
            return None;
        }
        if life.is_of_the_future {
            return Some("RFC 9111 §4.2.3: the age is unknown");
        }
        let window =
            said.seconds("stale-while-revalidate").unwrap_or(by_policy(settings.stale_while_revalidate));
        // A request that refuses stale responses cannot get anything newer than this one.
        if is_shared && within(window) {
            return None;
        }
        if wanted.seconds("max-stale").is_some_and(|most| staleness > most) {
            return Some("RFC 9111 §5.2.1.2: staler than the request allows");
        }
        // §5.2.1.1: with max-stale, the client accepts a stale response. Other rules decide whether it may have one.
        let is_welcome = wanted.has("max-stale") || !wanted.has("max-age");
        if too_old || wanted.has("min-fresh") || !is_welcome {
            return Some("RFC 9111 §5.2.1: stale, and the request wants a fresh response");
        }
        // §5.2.1.2
        let is_widened = wanted.has("max-stale") && within(on_request);
        (!within(window) && !is_widened).then_some("RFC 9111 §4.2.4: stale, and no rule allows it")
    }
}

/// Whether a response without a validator has just come, and so is new enough for a reload by force, by the policy's
/// documentation.
fn is_new(state: &State<'_>, life: Life, now: u64) -> bool {
    let has_validator =
        [header::ETAG, header::LAST_MODIFIED].iter().any(|name| state.headers.contains_key(name));
    !has_validator && life.is_fresh() && now.saturating_sub(state.last.at) < 2
}

/// RFC 5861 §4
pub(super) fn is_error(status: StatusCode) -> bool {
    [500, 502, 503, 504].contains(&status.as_u16())
}
