//! Exchanges to judge, drawn by chance from tables, or written by hand.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName};
use proptest::{collection::vec, prelude::*, sample::select};

/// A response to a request, and another request that comes some seconds later.
#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    pub(super) asked: Message,
    /// Seconds that the answer took.
    pub(super) delay: u64,
    pub(super) status: u16,
    pub(super) answer: Message,
    pub(super) presented: Message,
    pub(super) after: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    pub(super) directives: Vec<&'static str>,
    pub(super) fields: Vec<(&'static str, &'static str)>,
}

impl Case {
    /// A 200 with these directives, and with a validator.
    pub(super) fn of(directives: &[&'static str]) -> Self {
        let answer = Message { directives: directives.to_vec(), fields: vec![("etag", "\"a\"")] };
        Self { status: 200, answer, ..Self::default() }
    }

    pub(super) fn asked(
        mut self,
        directives: &[&'static str],
        fields: &[(&'static str, &'static str)],
    ) -> Self {
        self.asked = Message { directives: directives.to_vec(), fields: fields.to_vec() };
        self
    }

    pub(super) fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.answer.fields.push((name, value));
        self
    }

    pub(super) fn presented(mut self, after: u64, directives: &[&'static str]) -> Self {
        self.presented.directives = directives.to_vec();
        self.after = after;
        self
    }

    pub(super) fn now(&self) -> SystemTime {
        received() + Duration::from_secs(self.after)
    }
}

impl Message {
    /// The first directive has a line of its own.
    pub(super) fn headers(&self) -> HeaderMap {
        let (first, rest) = self.directives.split_at(self.directives.len().min(1));
        let lines = [first, rest].map(|line| line.join(", "));
        let lines = lines.iter().filter(|line| !line.is_empty()).map(|line| ("cache-control", line.as_str()));
        let fields = self.fields.iter().copied();
        lines
            .chain(fields)
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    /// The arguments of a directive, one for each time it occurs. An argument is empty if the directive has none.
    pub(super) fn arguments<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'static str> + 'a {
        let parts =
            self.directives.iter().map(|directive| directive.split_once('=').unwrap_or((directive, "")));
        parts.filter(move |(said, _)| said.eq_ignore_ascii_case(name)).map(|(_, argument)| argument)
    }

    pub(super) fn says(&self, name: &str) -> bool {
        self.arguments(name).next().is_some()
    }

    /// Whether it has the directive without field names.
    pub(super) fn says_unqualified(&self, name: &str) -> bool {
        self.arguments(name).any(str::is_empty)
    }

    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'static str> + 'a {
        self.fields.iter().filter(move |(said, _)| *said == name).map(|(_, value)| *value)
    }

    /// Whether a response says itself that it may be stored, or for how long (RFC 9111 §3).
    pub(super) fn is_explicit(&self) -> bool {
        let names = ["max-age", "s-maxage", "public"];
        names.iter().any(|name| self.says(name)) || self.values("expires").next().is_some()
    }

    pub(super) fn has_upper_case(&self) -> bool {
        let name = |said: &str| said.split('=').next().map(|name| name.contains(char::is_uppercase));
        self.directives.iter().any(|said| name(said) == Some(true))
    }

    pub(super) fn has_quoted_comma(&self) -> bool {
        self.directives.iter().any(|said| said.contains(','))
    }

    pub(super) fn has_half_a_quote(&self) -> bool {
        self.directives.iter().any(|said| said.matches('"').count() == 1)
    }

    pub(super) fn has_plus(&self) -> bool {
        self.directives.iter().any(|said| said.contains("=+"))
    }

    /// RFC 850 dates have dashes, and asctime dates end with the year.
    pub(super) fn has_obsolete_date(&self) -> bool {
        let is_obsolete = |date: &str| date.contains("-Nov-") || date.ends_with("2026");
        DATES.iter().any(|name| self.values(name).any(is_obsolete))
    }

    /// Whether it has one directive twice with different arguments. Quoted arguments always differ for the other
    /// implementation.
    pub(super) fn contradicts_itself(&self) -> bool {
        let name = |directive: &str| directive.split('=').next().map(str::to_ascii_lowercase);
        self.directives.iter().enumerate().any(|(index, one)| {
            let before = self.directives.iter().take(index);
            before.filter(|two| name(one) == name(two)).any(|two| one != two || one.contains('"'))
        })
    }
}

/// The time at which every answer arrives: 10:00:00 on a day in 2026.
pub(super) fn received() -> SystemTime {
    httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap()
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let asked = (
        prop_oneof![9 => Just(vec![]), 1 => vec(select(ASKED), 1)],
        one_of("authorization", 4, &["Bearer x"]),
    )
        .prop_map(|(directives, mut fields)| {
            fields.push(("accept-language", "en"));
            Message { directives, fields }
        });
    let fields = (
        one_of("expires", 3, EXPIRES),
        prop_oneof![19 => Just(vec![]), 1 => Just(vec![("expires", EXPIRES[1])])],
        one_of("date", 2, DATE),
        one_of("age", 3, AGE),
        one_of("last-modified", 2, LAST_MODIFIED),
        one_of("etag", 1, &["\"a\"", "W/\"a\""]),
        one_of("vary", 6, &["accept-language", "origin", "*", "accept-language, *"]),
        one_of("set-cookie", 15, &["a=b"]),
        one_of("pragma", 15, &["no-cache"]),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, i)| [a, b, c, d, e, f, g, h, i].concat());
    let said = vec(prop_oneof![9 => select(ANSWERED), 1 => select(ANSWERED_ODDLY)], 0..=3);
    let presented = (
        vec(prop_oneof![12 => select(PRESENTED), 1 => select(PRESENTED_ODDLY)], 0..=2),
        one_of("pragma", 15, &["no-cache"]),
        prop_oneof![5 => Just("en"), 1 => Just("de")],
    )
        .prop_map(|(directives, mut fields, language)| {
            fields.push(("accept-language", language));
            Message { directives, fields }
        });
    let status = prop_oneof![5 => Just(200), 1 => select(STATUSES)];
    let delay = prop_oneof![9 => Just(0), 1 => Just(3)];
    (asked, delay, status, said, fields, presented, select(AFTER)).prop_map(
        |(asked, delay, status, directives, fields, presented, after)| Case {
            asked,
            delay,
            status,
            answer: Message { directives, fields },
            presented,
            after,
        },
    )
}

/// The field with one of these values, or without the field, which is `absent` times as likely.
fn one_of(
    name: &'static str,
    absent: u32,
    values: &'static [&'static str],
) -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop_oneof![absent => Just(vec![]), 1 => select(values).prop_map(move |value| vec![(name, value)])]
}

const DATES: [&str; 3] = ["date", "expires", "last-modified"];

const ASKED: &[&str] =
    &["no-store", "NO-STORE", "no-cache", "max-age=0", "only-if-cached", "x=\"a, no-store, b\""];

const ANSWERED: &[&str] = &[
    "max-age=0",
    "max-age=60",
    "max-age=60",
    "max-age=\"60\"",
    "max-age=600",
    "s-maxage=0",
    "s-maxage=30",
    "s-maxage=600",
    "public",
    "private",
    "no-store",
    "no-cache",
    "must-revalidate",
    "immutable",
    "x-max-age=5",
    "community=\"UCI\"",
];

const ANSWERED_ODDLY: &[&str] = &[
    "MAX-AGE=60",
    "Private",
    "Public",
    "No-Store",
    "NO-CACHE",
    "max-age=99999999999999999999",
    "max-age=4294967296",
    "max-age=soon",
    "max-age=-1",
    "max-age=+60",
    "max-age",
    "max-age=\"60",
    "s-maxage=x",
    "s-maxage",
    "proxy-revalidate",
    "must-understand",
    "private=\"x-user\"",
    "no-cache=\"x-user\"",
    "stale-while-revalidate=60",
    "stale-if-error=60",
    "x=\"a, no-store, b\"",
    "x=\"a, max-age=5\"",
    "x=\"a",
];

const PRESENTED: &[&str] = &[
    "max-age=0",
    "max-age=30",
    "max-age=600",
    "max-age=soon",
    "max-age=\"30\"",
    "max-stale",
    "max-stale=30",
    "max-stale=100000",
    "min-fresh=0",
    "min-fresh=30",
    "min-fresh=600",
    "min-fresh=x",
    "no-cache",
    "no-transform",
    "only-if-cached",
    "stale-if-error=60",
];

const PRESENTED_ODDLY: &[&str] =
    &["MAX-AGE=30", "Max-Stale", "No-Cache", "max-age=+30", "max-stale=x", "x=\"a, no-cache, b\""];

const STATUSES: &[u16] = &[203, 204, 206, 299, 300, 301, 302, 304, 307, 404, 410, 418, 500, 501, 503];

const AFTER: &[u64] = &[0, 1, 29, 30, 31, 59, 60, 61, 90, 120, 1000, 100_000];

// All dates are whole tens of seconds apart, so a tenth of the time between them is the same in nanoseconds and in
// seconds.

const EXPIRES: &[&str] = &[
    "Sun, 22 Nov 2026 10:01:30 GMT",
    "Sun, 22 Nov 2026 10:10:00 GMT",
    "Sun, 22 Nov 2026 09:00:00 GMT",
    "Sunday, 22-Nov-26 10:01:30 GMT",
    "Sun Nov 22 10:01:30 2026",
    "Sun, 22 Nov 2026 10:01:30 +0000",
    "0",
    "soon",
];

const DATE: &[&str] = &[
    "Sun, 22 Nov 2026 10:00:00 GMT",
    "Sun, 22 Nov 2026 10:00:00 GMT",
    "Sun, 22 Nov 2026 10:05:00 GMT",
    "Sun, 22 Nov 2026 09:59:20 GMT",
    "Sunday, 22-Nov-26 09:59:20 GMT",
    "Sun Nov 22 10:05:00 2026",
    "today",
];

const AGE: &[&str] = &["0", "20", "100", "old", "-1", "40, 50", "\"40\"", "99999999999999999999"];

const LAST_MODIFIED: &[&str] = &[
    "Sun, 22 Nov 2026 09:00:00 GMT",
    "Sun, 22 Nov 2026 09:50:00 GMT",
    "Fri, 01 Jan 2021 00:00:00 GMT",
    "Sun, 22 Nov 2026 11:00:00 GMT",
    "Sunday, 22-Nov-26 09:00:00 GMT",
    "never",
];
