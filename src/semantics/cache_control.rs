//! `Cache-Control` of a response or a request, parsed.
//!
//! RFC 9111 §5.2: directives are case-insensitive, unknown ones are ignored, arguments may be quoted.

use std::time::Duration;

use http::header::{self, HeaderMap};

use super::fields::{is_whitespace, quotes_end, split_outside_quotes};

/// The directives that this cache acts on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive, present or not")]
pub(crate) struct CacheControl {
    pub(crate) max_age: Option<Duration>,
    pub(crate) must_revalidate: bool,
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) s_maxage: Option<Duration>,
}

impl CacheControl {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut parsed = Self::default();
        let lines = headers.get_all(header::CACHE_CONTROL).iter();
        for line in lines.map(|line| String::from_utf8_lossy(line.as_bytes())) {
            parsed.read(&line);
        }
        parsed
    }

    fn read(&mut self, line: &str) {
        // RFC 9111 §4.2.1 encourages to take what is conflicting or invalid for the least that it may mean. What
        // follows a quote that does not end cannot be read, and may forbid to store.
        self.no_store |= !quotes_end(line);
        for directive in split_outside_quotes(line, ',') {
            let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
            match name.trim_matches(is_whitespace).to_ascii_lowercase().as_str() {
                // RFC 9111 §4.2.1: of two values of one directive, the first is used.
                "max-age" => self.max_age = self.max_age.or(Some(delta_seconds(argument))),
                "must-revalidate" => self.must_revalidate = true,
                // §5.2.2.4 and §5.2.2.7: the forms with field names may be treated as the plain ones.
                "no-cache" => self.no_cache = true,
                "no-store" => self.no_store = true,
                "private" => self.private = true,
                "public" => self.public = true,
                "s-maxage" => self.s_maxage = self.s_maxage.or(Some(delta_seconds(argument))),
                _ => {}
            }
        }
    }
}

/// RFC 9111 §1.2.2: too large a number is 2^31 seconds. §4.2.1: one that is none makes the response stale.
pub(crate) fn delta_seconds(argument: &str) -> Duration {
    let digits = argument.trim_matches(is_whitespace).trim_matches('"');
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Duration::ZERO;
    }
    Duration::from_secs(digits.parse::<u64>().map_or(LONGEST, |seconds| seconds.min(LONGEST)))
}

const LONGEST: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::{super::fields::tests::headers, *};

    #[test]
    fn ages_are_read_as_the_rfc_says() {
        for (rule, line, expected) in [
            ("§5.2 names are case-insensitive", "MAX-AGE=60", Some(60)),
            ("§5.2 quoted arguments are taken", "max-age=\"60\"", Some(60)),
            ("§1.2.2 overflow is 2^31", "max-age=99999999999999999999", Some(1 << 31)),
            ("§1.2.2 more than 2^31 is 2^31", "max-age=4294967296", Some(1 << 31)),
            ("§4.2.1 the first of two counts", "max-age=1, max-age=2", Some(1)),
            ("§4.2.1 nonsense is stale", "max-age=soon", Some(0)),
            ("§4.2.1 negative is stale", "max-age=-1", Some(0)),
            ("§4.2.1 a missing argument is stale", "max-age", Some(0)),
            ("§5.2.3 unknown directives are ignored", "x-max-age=5", None),
            ("§5.6.4 quoted commas do not split", "ext=\"a, max-age=5\"", None),
        ] {
            let parsed = CacheControl::of(&headers(&[("cache-control", line)]));
            assert_eq!(parsed.max_age, expected.map(Duration::from_secs), "{rule}: {line}");
        }
    }

    #[test]
    fn what_cannot_be_read_forbids_rather_than_allows() {
        for line in
            [&b"no-store, x=\xe9"[..], b"x=\"\xe9\", no-store", b"ext=\", no-store", b"max-age=60, x=\"a\\\""]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_bytes(line).unwrap());
            assert!(CacheControl::of(&headers).no_store, "{}", line.escape_ascii());
        }
        let readable = headers(&[("cache-control", "ext=\"a, \\\" no-store\", max-age=60")]);
        assert!(!CacheControl::of(&readable).no_store);
    }

    #[test]
    fn directives_of_all_lines_count() {
        let parsed = CacheControl::of(&headers(&[
            ("cache-control", "public, no-cache=\"set-cookie\""),
            ("cache-control", "Private, NO-STORE , s-maxage = 7,must-revalidate"),
        ]));
        assert_eq!(
            parsed,
            CacheControl {
                max_age: None,
                must_revalidate: true,
                no_cache: true,
                no_store: true,
                private: true,
                public: true,
                s_maxage: Some(Duration::from_secs(7)),
            }
        );
    }
}
