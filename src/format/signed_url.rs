//! Signed URLs: the parameters that prove a right to see the object, and the time until which they do.
//!
//! The schemes are those that the services document: Signature Versions 4 and 2 of S3, signed URLs of `CloudFront`,
//! Google Cloud Storage and Google Cloud CDN, and shared access signatures of Azure.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::request;

/// How one service signs URLs.
pub(super) struct Scheme {
    /// The parameters that identify the scheme. A signed URL has all of them.
    marks: &'static [&'static str],
    /// Further parameters of the signature, which change nothing in the answer.
    others: &'static [&'static str],
    until: Until,
}

/// How a URL tells until when it is valid.
enum Until {
    /// In seconds since 1970.
    Epoch(&'static str),
    /// In seconds since 1970, or in a policy.
    EpochOrPolicy(&'static str, &'static str),
    /// A date, and a number of seconds after it.
    After(&'static str, &'static str),
    /// The earliest of several dates. If the URL has none, the end is kept elsewhere. The first parameter is the
    /// version, which is a date as well: it proves that the other short names belong to this scheme.
    Dates(&'static str, &'static [&'static str]),
}

/// The time until which a request's URL is valid, if a scheme known here has signed it. A URL whose time cannot be read
/// is no longer valid.
pub(crate) fn expiry(request: &request::Parts) -> Option<SystemTime> {
    let query = request.uri.query()?;
    schemes(query).filter_map(|scheme| scheme.until(query)).min()
}

/// The scheme that has signed a query. `None` if several have: the query is valid under one of them, and the cache
/// cannot know which of its parameters change the answer.
pub(super) fn scheme(query: &str) -> Option<&'static Scheme> {
    let mut schemes = schemes(query);
    schemes.next().filter(|_| schemes.next().is_none())
}

/// The schemes that may have signed a query. A query that somebody takes for valid has one.
fn schemes(query: &str) -> impl Iterator<Item = &'static Scheme> + '_ {
    // Every scheme has one of these two parameters, perhaps percent-encoded, and most queries have neither.
    let is_spelled = |parameter: &str| parameter.split('=').next().is_some_and(|name| name.contains('%'));
    let is_marked = query.contains("ignature=") || query.contains("sig=");
    let may_be_signed = is_marked || query.split('&').any(is_spelled);
    SCHEMES.iter().filter(move |scheme| may_be_signed && scheme.signs(query))
}

impl Scheme {
    fn signs(&self, query: &str) -> bool {
        let is_versioned = match self.until {
            Until::Dates(version, _) => values(query, version).any(|version| date(&version).is_some()),
            Until::After(..) | Until::Epoch(_) | Until::EpochOrPolicy(..) => true,
        };
        is_versioned && self.marks.iter().all(|mark| values(query, mark).next().is_some())
    }

    /// Whether the parameter of this name is a part of the signature.
    pub(super) fn has(&self, name: &str) -> bool {
        self.marks.contains(&name) || self.others.contains(&name)
    }

    fn until(&self, query: &str) -> Option<SystemTime> {
        let all = |name, read: &dyn Fn(&str) -> Option<SystemTime>| {
            values(query, name).map(|value| read(&value).unwrap_or(UNIX_EPOCH)).min()
        };
        match self.until {
            Until::Epoch(name) => all(name, &epoch).or(Some(UNIX_EPOCH)),
            Until::EpochOrPolicy(name, policy) => {
                let said = [all(name, &epoch), all(policy, &policy_end)];
                said.into_iter().flatten().min().or(Some(UNIX_EPOCH))
            }
            Until::After(begin, seconds) => {
                let after = values(query, seconds).map(|value| value.parse().unwrap_or(0)).min().unwrap_or(0);
                all(begin, &date)
                    .and_then(|begin| begin.checked_add(Duration::from_secs(after)))
                    .or(Some(UNIX_EPOCH))
            }
            Until::Dates(_, names) => names.iter().filter_map(|name| all(name, &date)).min(),
        }
    }
}

/// The values of the parameters of this name. Services decode a percent-encoded name, so this does too.
fn values<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let parameters = query.split('&').filter_map(|parameter| parameter.split_once('='));
    parameters
        .filter(move |(named, _)| percent_decoded(named) == name)
        .map(|(_, value)| percent_decoded(value))
}

fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split('%');
    let mut decoded = String::from(parts.next().unwrap_or_default());
    for part in parts {
        // Only ASCII is read here. Anything else is as good as nonsense.
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.map_or('?', char::from));
        decoded.push_str(part.get(2..).unwrap_or_default());
    }
    Cow::Owned(decoded)
}

fn epoch(seconds: &str) -> Option<SystemTime> {
    let is_number = seconds.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = Duration::from_secs(seconds.parse().ok().filter(|_| is_number)?);
    UNIX_EPOCH.checked_add(seconds)
}

/// Reads an ISO 8601 date in UTC, with or without separators, time of day, seconds and fractions of seconds.
fn date(text: &str) -> Option<SystemTime> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let text = text.split('.').next()?.replace(['-', ':'], "");
    let (day, time) = text.split_once('T').unwrap_or((&text, "000000"));
    let number = |text: &str, at: std::ops::Range<usize>| -> Option<u64> {
        let digits = text.get(at).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok()
    };
    let (year, month, day_of_month) = (number(day, 0..4)?, number(day, 4..6)?, number(day, 6..8)?);
    let (hour, minute) = (number(time, 0..2)?, number(time, 2..4)?);
    let second = if time.len() == 4 { 0 } else { number(time, 4..6)? };
    let is_whole = day.len() == 8 && matches!(time.len(), 4 | 6);
    let is_date = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day_of_month);
    if !is_whole || !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // If years begin in March, a leap day is the last day of its year.
    let (year, months) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * months + 2) / 5 + day_of_month;
    let days = days.checked_sub(DAYS_BEFORE_1970)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second))
}

/// The earliest `DateLessThan` of a `CloudFront` policy: JSON in Base64, with other signs for `+`, `=` and `/`.
fn policy_end(text: &str) -> Option<SystemTime> {
    let (mut policy, mut bits, mut filled) = (String::new(), 0_u32, 0);
    for sign in text.bytes().filter(|sign| !matches!(sign, b'_' | b'=')) {
        let value = match sign {
            b'A'..=b'Z' => sign - b'A',
            b'a'..=b'z' => sign - b'a' + 26,
            b'0'..=b'9' => sign - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'~' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        filled += 6;
        if filled >= 8 {
            filled -= 8;
            let [.., byte] = (bits >> filled).to_be_bytes();
            policy.push(char::from(byte));
        }
    }
    let ends = policy.split("\"DateLessThan\"").skip(1).map(|after| {
        let (_, after) = after.split_once("\"AWS:EpochTime\"")?;
        let after = after.trim_start().strip_prefix(':')?.trim_start();
        epoch(after.split(|sign: char| !sign.is_ascii_digit()).next()?)
    });
    ends.map(|end| end.unwrap_or(UNIX_EPOCH)).min()
}

/// No scheme lists parameters that change the answer (`response-content-type`, `rsct`, `versionId`, ...).
const SCHEMES: [Scheme; 7] = [
    Scheme {
        marks: &["X-Amz-Signature"],
        others: &[
            "X-Amz-Algorithm",
            "X-Amz-Credential",
            "X-Amz-Date",
            "X-Amz-Expires",
            "X-Amz-Security-Token",
            "X-Amz-SignedHeaders",
        ],
        until: Until::After("X-Amz-Date", "X-Amz-Expires"),
    },
    Scheme {
        marks: &["AWSAccessKeyId", "Signature"],
        others: &["Expires", "x-amz-security-token"],
        until: Until::Epoch("Expires"),
    },
    Scheme {
        marks: &["Key-Pair-Id", "Signature"],
        others: &["Expires", "Hash-Algorithm", "Policy"],
        until: Until::EpochOrPolicy("Expires", "Policy"),
    },
    Scheme {
        marks: &["X-Goog-Signature"],
        others: &[
            "X-Goog-Algorithm",
            "X-Goog-Credential",
            "X-Goog-Date",
            "X-Goog-Expires",
            "X-Goog-SignedHeaders",
        ],
        until: Until::After("X-Goog-Date", "X-Goog-Expires"),
    },
    Scheme { marks: &["GoogleAccessId", "Signature"], others: &["Expires"], until: Until::Epoch("Expires") },
    Scheme {
        marks: &["Expires", "KeyName", "Signature"],
        others: &["URLPrefix"],
        until: Until::Epoch("Expires"),
    },
    Scheme {
        marks: &["sig", "sv"],
        others: &[
            "saoid", "scid", "sdd", "se", "ses", "si", "sip", "ske", "skoid", "sks", "skt", "sktid", "skv",
            "sp", "spr", "sr", "srt", "ss", "st", "suoid",
        ],
        until: Until::Dates("sv", &["se", "ske"]),
    },
];

/// Days from year 0 to 1970, with years that begin in March as above, plus one because days of a month begin at 1.
const DAYS_BEFORE_1970: u64 = 719_469;

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    fn until(query: &str) -> Option<String> {
        let request = Request::get(format!("/a.mp4?{query}")).body(()).unwrap();
        expiry(&request.into_parts().0).map(httpdate::fmt_http_date)
    }

    const TEN: &str = "Sun, 22 Nov 2026 10:00:00 GMT";
    const PAST: &str = "Thu, 01 Jan 1970 00:00:00 GMT";
    /// `TEN` in seconds since 1970.
    const EPOCH: &str = "1795341600";

    #[test]
    fn a_signed_url_says_until_when_it_holds() {
        let v4 = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20261122&X-Amz-SignedHeaders=host";
        // {"Statement":[{"Resource":"*","Condition":{"DateLessThan":{"AWS:EpochTime":1795341600}}}]}
        let policy = "eyJTdGF0ZW1lbnQiOlt7IlJlc291cmNlIjoiKiIsIkNvbmRpdGlvbiI6eyJEYXRlTGVzc1RoYW4iOnsiQVdTOkVwb2NoVGltZSI6MTc5NTM0MTYwMH19fV19";
        for (why, query, expected) in [
            (
                "S3, version 4",
                format!("{v4}&X-Amz-Date=20261122T090000Z&X-Amz-Expires=3600&X-Amz-Signature=ab"),
                Some(TEN),
            ),
            ("S3, version 2", format!("AWSAccessKeyId=A&Expires={EPOCH}&Signature=a%2Bb%3D"), Some(TEN)),
            ("CloudFront", format!("v=1&Expires={EPOCH}&Signature=a~_&Key-Pair-Id=K"), Some(TEN)),
            ("CloudFront, by a policy", format!("Policy={policy}&Signature=a&Key-Pair-Id=K"), Some(TEN)),
            ("a policy with padding", format!("Policy={policy}__&Signature=a&Key-Pair-Id=K"), Some(TEN)),
            ("no policy", "Policy=eyJ9&Signature=a&Key-Pair-Id=K".into(), Some(PAST)),
            ("no Base64", "Policy=e(&Signature=a&Key-Pair-Id=K".into(), Some(PAST)),
            (
                "Google Cloud Storage, version 4",
                "X-Goog-Date=20261122T095900Z&X-Goog-Expires=60&X-Goog-Signature=ab".into(),
                Some(TEN),
            ),
            (
                "Google Cloud Storage, version 2",
                format!("GoogleAccessId=a%40b&Expires={EPOCH}&Signature=a"),
                Some(TEN),
            ),
            ("Google Cloud CDN", format!("Expires={EPOCH}&KeyName=k&Signature=a"), Some(TEN)),
            ("Azure", "sv=2022-11-02&sr=b&sp=r&se=2026-11-22T10%3A00%3A00Z&sig=a%3D".into(), Some(TEN)),
            (
                "Azure, with separators as they are",
                "sv=2022-11-02&se=2026-11-22T10:00:00Z&sig=a".into(),
                Some(TEN),
            ),
            ("Azure, to the minute", "sv=2022-11-02&se=2026-11-22T10:00Z&sig=a".into(), Some(TEN)),
            (
                "Azure, with fractions",
                "sv=2022-11-02&se=2026-11-22T10:00:00.1234567Z&sig=a".into(),
                Some(TEN),
            ),
            (
                "Azure, a day",
                "sv=2022-11-02&se=2026-11-22&sig=a".into(),
                Some("Sun, 22 Nov 2026 00:00:00 GMT"),
            ),
            (
                "Azure, a key that ends before",
                "sv=2022-11-02&se=2026-11-23&ske=2026-11-22T10:00:00Z&sig=a".into(),
                Some(TEN),
            ),
            ("Azure, by a policy kept there", "sv=2022-11-02&si=policy&sig=a".into(), None),
            (
                "said twice, it is the sooner",
                format!("AWSAccessKeyId=A&Expires=9999999999&Expires={EPOCH}&Signature=a"),
                Some(TEN),
            ),
            ("not said", "AWSAccessKeyId=A&Signature=a".into(), Some(PAST)),
            ("nonsense", "AWSAccessKeyId=A&Expires=soon&Signature=a".into(), Some(PAST)),
            ("signs", "AWSAccessKeyId=A&Expires=%2B1&Signature=a".into(), Some(PAST)),
            (
                "no date",
                "X-Amz-Date=20261322T090000Z&X-Amz-Expires=60&X-Amz-Signature=a".into(),
                Some("Thu, 01 Jan 1970 00:01:00 GMT"),
            ),
            ("no end", "X-Amz-Date=20261122T100000Z&X-Amz-Signature=a".into(), Some(TEN)),
            ("past all time", "AWSAccessKeyId=A&Expires=18446744073709551615&Signature=a".into(), Some(PAST)),
            ("a parameter of that name signs nothing", format!("Expires={EPOCH}"), None),
            ("nor do short names of another", "sv=3&sig=a&se=1&sp=2".into(), None),
            ("nor does half a signature", format!("Expires={EPOCH}&Signature=a"), None),
            ("nor another case", format!("expires={EPOCH}&signature=a&awsaccesskeyid=b"), None),
            ("no query to speak of", "v=1".into(), None),
        ] {
            assert_eq!(until(&query).as_deref(), expected, "{why}: {query}");
        }
    }

    proptest! {
        #[test]
        fn dates_are_those_of_another_reader(seconds in 0u64..253_402_300_799) {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            let text = httpdate::fmt_http_date(time);
            let (day, month, year, clock) = (&text[5..7], &text[8..11], &text[12..16], &text[17..25]);
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
            let month = 1 + months.iter().position(|name| *name == month).unwrap();
            prop_assert_eq!(date(&format!("{year}-{month:02}-{day}T{clock}Z")), Some(time));
        }

        #[test]
        fn no_query_is_too_odd(query in "((X-Amz-(Date|Expires|Signature)|sig|sv|se|Policy|Key-Pair-Id|Signature|Expires)=[0-9TZ%a-z:-]{0,20}&){0,6}") {
            let _ = until(&query);
        }
    }
}
