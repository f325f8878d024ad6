//! May it go out? How old a stored response is, and how long it is fresh.
//!
//! RFC 9111 §4.2 (freshness), §4.2.1 (lifetime), §4.2.3 (age), §5.1 (`Age`).

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap};

use super::{
    cache_control::{delta_seconds, CacheControl},
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
pub(crate) struct Freshness {
    lifetime: Duration,
    initial_age: Duration,
    received: SystemTime,
}

impl Freshness {
    pub(crate) fn of(headers: &HeaderMap, exchange: Exchange, policy: &Policy) -> Self {
        Self {
            lifetime: lifetime(headers, exchange, policy),
            initial_age: initial_age(headers, exchange),
            received: exchange.received,
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
}

/// RFC 9111 §4.2.1, as a shared cache: `s-maxage`, else `max-age`, else `Expires` less `Date`, else the policy's.
fn lifetime(headers: &HeaderMap, exchange: Exchange, policy: &Policy) -> Duration {
    let cache_control = CacheControl::of(headers);
    if let Some(explicit) = cache_control.s_maxage.or(cache_control.max_age) {
        return explicit;
    }
    if !headers.contains_key(header::EXPIRES) {
        return policy.ttl_by_default(media_type(headers));
    }
    let sent = date(headers, &header::DATE).unwrap_or(exchange.received);
    // RFC 9111 §5.3: an invalid date, "0" above all, is a time in the past.
    date(headers, &header::EXPIRES).and_then(|expires| expires.duration_since(sent).ok()).unwrap_or_default()
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
    members(headers, &header::AGE).next().map(delta_seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::{super::fields::tests::headers, *};

    /// 10:00:00 on a day in 2026.
    fn ten() -> SystemTime {
        httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn lifetime_and_age_follow_the_rfc() {
        type Row = (&'static str, &'static [(&'static str, &'static str)], u64, u64);
        let rows: &[Row] = &[
            ("nothing said: the policy's", &[], 300, 0),
            ("a manifest has no default", &[("content-type", "Application/x-mpegURL; charset=utf-8")], 0, 0),
            ("§4.2.1 max-age", &[("cache-control", "max-age=60")], 60, 0),
            ("§4.2.1 s-maxage over max-age", &[("cache-control", "max-age=60, s-maxage=10")], 10, 0),
            (
                "§5.3 max-age over Expires",
                &[("cache-control", "max-age=60"), ("expires", "Sun, 22 Nov 2026 09:00:00 GMT")],
                60,
                0,
            ),
            (
                "§4.2.1 Expires less Date",
                &[("expires", "Sun, 22 Nov 2026 10:01:00 GMT"), ("date", "Sun, 22 Nov 2026 09:59:30 GMT")],
                90,
                30,
            ),
            ("§4.2.1 Expires without Date", &[("expires", "Sun, 22 Nov 2026 10:01:00 GMT")], 60, 0),
            ("§5.6.7 Expires of RFC 850", &[("expires", "Sunday, 22-Nov-26 10:01:00 GMT")], 60, 0),
            ("§5.6.7 Expires of asctime", &[("expires", "Sun Nov 22 10:01:00 2026")], 60, 0),
            ("§5.3 Expires 0 is past", &[("expires", "0")], 0, 0),
            (
                "§5.3 Expires twice is invalid",
                &[("expires", "Sun, 22 Nov 2026 10:01:00 GMT"), ("expires", "0")],
                0,
                0,
            ),
            ("§5.1 Age", &[("age", "40")], 300, 40),
            ("§5.1 the first of a list", &[("age", "40, 50")], 300, 40),
            ("§5.1 garbage is ignored", &[("age", "old")], 300, 0),
            ("§1.2.2 a huge Age", &[("age", "99999999999999999999")], 300, 1 << 31),
            ("§4.2.3 apparent age", &[("date", "Sun, 22 Nov 2026 09:58:20 GMT")], 300, 100),
            (
                "§4.2.3 the greater counts",
                &[("date", "Sun, 22 Nov 2026 09:59:50 GMT"), ("age", "40")],
                300,
                40,
            ),
            ("§4.2.3 a Date ahead is no age", &[("date", "Sun, 22 Nov 2026 10:05:00 GMT")], 300, 0),
        ];
        let exchange = Exchange { requested: ten(), received: ten() };
        for (rule, lines, lifetime, age) in rows {
            let freshness = Freshness::of(&headers(lines), exchange, &Policy::default());
            assert_eq!(freshness.lifetime, seconds(*lifetime), "{rule}");
            assert_eq!(freshness.age(ten()), seconds(*age), "{rule}");
        }
    }

    #[test]
    fn the_time_that_the_answer_took_counts_as_age() {
        let exchange = Exchange { requested: ten(), received: ten() + seconds(3) };
        let freshness = Freshness::of(&headers(&[("age", "40")]), exchange, &Policy::default());
        assert_eq!(freshness.age(ten() + seconds(5)), seconds(45));
    }

    #[test]
    fn a_response_is_stale_in_the_second_its_lifetime_ends() {
        let exchange = Exchange { requested: ten(), received: ten() };
        let freshness =
            Freshness::of(&headers(&[("cache-control", "max-age=60")]), exchange, &Policy::default());
        assert!(freshness.is_fresh(ten() + seconds(59)));
        assert!(!freshness.is_fresh(ten() + seconds(60)));
        assert_eq!(freshness.ttl(ten() + seconds(75)), -15);
    }

    #[test]
    fn a_clock_set_back_makes_nothing_negative() {
        let exchange = Exchange { requested: ten(), received: ten() };
        let freshness = Freshness::of(&headers(&[]), exchange, &Policy::default());
        assert_eq!(freshness.age(UNIX_EPOCH), Duration::ZERO);
        assert_eq!(freshness.ttl(UNIX_EPOCH), 300);
    }
}
