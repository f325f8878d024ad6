//! The parsed `Cache-Control` of a response and of a request.
//!
//! RFC 9111 §5.2: directives are case-insensitive, unknown ones are ignored, arguments may be quoted. RFC 5861
//! (`stale-while-revalidate`, `stale-if-error`), RFC 8246 (`immutable`), RFC 9213 (targeted fields).

use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName};

use super::{
    fields::{is_indispensable, is_whitespace, members, quotes_end, split_outside_quotes},
    structured::Item,
    targeted::targeted,
};

/// The directives of a response about its storage and its use (RFC 9111 §5.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive, present or not")]
pub(crate) struct ResponseDirectives {
    pub(crate) immutable: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) must_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) private: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) public: bool,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    /// The directives come from a targeted field, so `Expires` no longer counts (RFC 9213 §2.2).
    pub(crate) is_targeted: bool,
    /// A part of the field cannot be read, and may forbid anything.
    pub(crate) is_unreadable: bool,
    /// The fields that `no-cache="…"` and `private="…"` name. None of them may be stored for other clients.
    pub(crate) withheld: Vec<HeaderName>,
}

impl ResponseDirectives {
    /// The directives that count: those of the first of these targeted fields that is present and readable (RFC 9213
    /// §2.2), else those of `Cache-Control`.
    pub(crate) fn heeded(headers: &HeaderMap, fields: &[HeaderName]) -> Self {
        match targeted(headers, fields) {
            None => Self::of(headers),
            Some(directives) => {
                let mut parsed = Self { is_targeted: true, ..Self::default() };
                for (name, value) in &directives {
                    parsed.read_item(name, value);
                }
                parsed.named_once()
            }
        }
    }

    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut parsed = Self::default();
        for line in headers.get_all(header::CACHE_CONTROL) {
            let line = String::from_utf8_lossy(line.as_bytes());
            // RFC 9111 §4.2.1 encourages a cache to give conflicting or invalid directives their most restrictive
            // meaning. Text after a quote that does not end cannot be read, and may forbid to store.
            parsed.is_unreadable |= !quotes_end(&line);
            for (name, argument) in directives(&line) {
                parsed.read(&name, argument);
                if !is_directive(&name, argument) {
                    // No directive has a quoted name. If a name begins with a quote, somebody has put the whole value
                    // into quotes, so the words inside count.
                    let name_words = words(&name, name.starts_with('"'));
                    name_words.chain(words(argument, false)).for_each(|word| parsed.read_stray(word));
                }
            }
        }
        parsed.named_once()
    }

    /// Leaves each withheld field once, since the client that asked gets the lines of each field in the list. This runs
    /// once for the whole list, because an answer may name tens of thousands.
    fn named_once(mut self) -> Self {
        self.withheld.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        self.withheld.dedup();
        self
    }

    fn read(&mut self, name: &str, argument: &str) {
        match name {
            "immutable" => self.immutable = true,
            // RFC 9111 §4.2.1: of two values of one directive, the first is used.
            "max-age" => self.max_age = self.max_age.or(Some(delta_seconds(argument))),
            "must-revalidate" => self.must_revalidate = true,
            "must-understand" => self.must_understand = true,
            "no-cache" => self.no_cache |= !self.withhold(argument),
            "no-store" => self.no_store = true,
            "private" => self.private |= !self.withhold(argument),
            "proxy-revalidate" => self.proxy_revalidate = true,
            "public" => self.public = true,
            "s-maxage" => self.s_maxage = self.s_maxage.or(Some(delta_seconds(argument))),
            "stale-if-error" => self.stale_if_error = self.stale_if_error.or(Some(delta_seconds(argument))),
            "stale-while-revalidate" => {
                self.stale_while_revalidate = self.stale_while_revalidate.or(Some(delta_seconds(argument)));
            }
            _ => {}
        }
    }

    /// Reads a word of a member that is no directive by the grammar (`private;max-age=60`, `no-store;`, `private
    /// max-age=0`). The separator is wrong and the intent is plain, so the word may forbid, but it allows nothing (RFC
    /// 9111 §4.2.1). A freshness that cannot be read is zero.
    fn read_stray(&mut self, word: &str) {
        let is = |name: &str| word.eq_ignore_ascii_case(name);
        if is("no-store") {
            // Only a well-formed `no-store` gives way to `must-understand`.
            self.is_unreadable = true;
        } else if is("private") {
            self.private = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("must-revalidate") || is("proxy-revalidate") {
            // Both forbid the same, but `must-revalidate` would also allow sharing (RFC 9111 §3.5).
            self.proxy_revalidate = true;
        } else if is("max-age") || is("s-maxage") {
            self.max_age.get_or_insert_default();
        }
    }

    /// RFC 9213 §2.1: the cache does not guess the meaning of a value whose type is not the directive's own. A
    /// freshness without a number is zero.
    fn read_item(&mut self, name: &str, value: &Item) {
        let takes_seconds =
            matches!(name, "max-age" | "s-maxage" | "stale-if-error" | "stale-while-revalidate");
        match (takes_seconds, name, value) {
            (true, _, Item::Integer(seconds)) => self.read(name, &seconds.to_string()),
            (false, "no-cache" | "private", Item::String(names) | Item::Token(names)) => {
                self.read(name, names);
            }
            (true, ..) | (false, _, Item::Boolean(true)) => self.read(name, ""),
            _ => {}
        }
    }

    /// Reads field names. With names, the directive is about these fields alone (RFC 9111 §5.2.2.4, §5.2.2.7). Returns
    /// false if the argument is no list of names, or names a field that a cache needs to use the rest. The directive is
    /// then about the whole response, as both sections allow.
    fn withhold(&mut self, argument: &str) -> bool {
        let names = argument.trim_matches(is_whitespace).trim_matches('"').split(',');
        let names = names.map(|name| name.trim_matches(is_whitespace)).filter(|name| !name.is_empty());
        match names.map(str::parse).collect::<Result<Vec<HeaderName>, _>>() {
            Ok(names) if !names.is_empty() && !names.iter().any(is_indispensable) => {
                self.withheld.extend(names);
                true
            }
            _ => false,
        }
    }

    /// §3.5: whether a directive allows the cache to share an answer to a request with credentials.
    pub(crate) fn share_with_the_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// §4.2.4, §5.2.2.2, §5.2.2.8, §5.2.2.10: whether the response must not be used stale, whatever else allows it.
    pub(crate) fn forbid_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some() || self.no_cache
    }
}

/// The directives of a request about the response that it wants (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a directive, present or not, but for one field that counts"
)]
pub(crate) struct RequestDirectives {
    /// Not a directive, but it decides as they do: the request has an `Authorization` that counts (§3.5).
    pub(crate) is_authorized: bool,
    pub(crate) max_age: Option<Duration>,
    /// How stale the response may be, or [`Duration::MAX`] if any staleness is welcome.
    pub(crate) max_stale: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    pub(crate) no_cache: bool,
    pub(crate) no_store: bool,
    pub(crate) only_if_cached: bool,
    /// RFC 5861 §4.
    pub(crate) stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut parsed = Self::default();
        let mut lines = headers.get_all(header::CACHE_CONTROL).iter().peekable();
        // §5.4: HTTP/1.0 clients send `Pragma: no-cache`, which counts only if there is no `Cache-Control`.
        if lines.peek().is_none() && headers.contains_key(header::PRAGMA) {
            parsed.no_cache =
                members(headers, &header::PRAGMA).any(|member| member.eq_ignore_ascii_case("no-cache"));
        }
        for line in lines.map(|line| String::from_utf8_lossy(line.as_bytes())) {
            for (name, argument) in directives(&line) {
                parsed.read(&name, argument);
            }
        }
        parsed
    }

    fn read(&mut self, name: &str, argument: &str) {
        match name {
            // An argument that cannot be read asks for nothing.
            "max-age" => self.max_age = self.max_age.or(seconds(argument)),
            "max-stale" if argument.is_empty() => self.max_stale = Some(Duration::MAX),
            "max-stale" => self.max_stale = self.max_stale.or(seconds(argument)),
            "min-fresh" => self.min_fresh = self.min_fresh.or(seconds(argument)),
            "no-cache" => self.no_cache = true,
            "no-store" => self.no_store = true,
            "only-if-cached" => self.only_if_cached = true,
            "stale-if-error" => self.stale_if_error = self.stale_if_error.or(seconds(argument)),
            _ => {}
        }
    }
}

/// The directives of one line: names in lower case, arguments unchanged.
fn directives(line: &str) -> impl Iterator<Item = (String, &str)> {
    split_outside_quotes(line, ',').map(|directive| {
        let (name, argument) = directive.split_once('=').unwrap_or((directive, ""));
        (name.trim_matches(is_whitespace).to_ascii_lowercase(), argument)
    })
}

/// Whether the directive is written as in §5.2: a token, and after an `=` a token or a quoted string. No directive has
/// an apostrophe, though a token may.
fn is_directive(name: &str, argument: &str) -> bool {
    let is_token = |text: &str| !text.is_empty() && text.bytes().all(is_token_character);
    let argument = argument.trim_matches(is_whitespace);
    let inside = argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let is_quoted = inside.is_some_and(|inside| !inside.contains('"'));
    is_token(name) && !name.contains('\'') && (argument.is_empty() || is_token(argument) || is_quoted)
}

/// The tokens of a text outside of quotes, and with `within` those inside quotes, too.
fn words(text: &str, within: bool) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character: char| {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '\'' => {}
            _ => {
                let is_character = u8::try_from(character).is_ok_and(is_token_character);
                return quoted && !within || !is_character;
            }
        }
        true
    })
}

/// RFC 9110 §5.6.2.
fn is_token_character(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// §4.2.1: an unreadable number of seconds makes the response stale.
fn delta_seconds(argument: &str) -> Duration {
    seconds(argument).unwrap_or_default()
}

/// RFC 9111 §1.2.2: a number that is too large counts as 2^31 seconds.
pub(crate) fn seconds(argument: &str) -> Option<Duration> {
    let argument = argument.trim_matches(is_whitespace);
    let unquoted = argument.strip_prefix('"').and_then(|argument| argument.strip_suffix('"'));
    let digits = unquoted.unwrap_or(argument);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(digits.parse::<u64>().map_or(LONGEST, |seconds| seconds.min(LONGEST))))
}

const LONGEST: u64 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::{super::fields::tests::headers, *};

    fn of(line: &str) -> ResponseDirectives {
        ResponseDirectives::of(&headers(&[("cache-control", line)]))
    }

    #[test]
    fn ages_are_read_as_the_rfc_says() {
        for (rule, line, expected) in [
            ("§5.2 names are case-insensitive", "MAX-AGE=60", Some(60)),
            ("§5.2 quoted arguments are taken", "max-age=\"60\"", Some(60)),
            ("§5.2 half a quote is no quote", "max-age=60\"", Some(0)),
            ("§1.2.2 overflow is 2^31", "max-age=99999999999999999999", Some(1 << 31)),
            ("§1.2.2 more than 2^31 is 2^31", "max-age=4294967296", Some(1 << 31)),
            ("§4.2.1 the first of two counts", "max-age=1, max-age=2", Some(1)),
            ("§4.2.1 nonsense is stale", "max-age=soon", Some(0)),
            ("§4.2.1 negative is stale", "max-age=-1", Some(0)),
            ("§4.2.1 a missing argument is stale", "max-age", Some(0)),
            ("§5.2.3 unknown directives are ignored", "x-max-age=5", None),
            ("§5.6.4 quoted commas do not split", "ext=\"a, max-age=5\"", None),
        ] {
            assert_eq!(of(line).max_age, expected.map(Duration::from_secs), "{rule}: {line}");
        }
    }

    #[test]
    fn an_unreadable_field_may_forbid_anything() {
        let of = |line: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_bytes(line).unwrap());
            ResponseDirectives::of(&headers)
        };
        for line in [&b"no-store, x=\xe9"[..], b"x=\"\xe9\", no-store"] {
            assert!(of(line).no_store, "{}", line.escape_ascii());
        }
        for line in [&b"ext=\", no-store"[..], b"max-age=60, x=\"a\\\""] {
            assert!(of(line).is_unreadable, "{}", line.escape_ascii());
        }
        let readable = of(b"ext=\"a, \\\" no-store\", max-age=60");
        assert!(!readable.no_store && !readable.is_unreadable);
    }

    #[test]
    fn a_member_that_is_no_directive_may_forbid_and_allows_nothing() {
        let nothing = ResponseDirectives::default();
        let unreadable = ResponseDirectives { is_unreadable: true, ..nothing.clone() };
        let private = ResponseDirectives { private: true, ..nothing.clone() };
        let stale = ResponseDirectives { max_age: Some(Duration::ZERO), ..nothing.clone() };
        for (line, expected) in [
            ("private;max-age=600", ResponseDirectives { private: true, ..stale.clone() }),
            ("Private max-age=0", ResponseDirectives { private: true, ..stale.clone() }),
            ("private;", private.clone()),
            ("x=\"a\" private", private.clone()),
            ("x=\"a\\\", \" private", private.clone()),
            ("private: x", private.clone()),
            ("{private}", private.clone()),
            ("no-store;", unreadable.clone()),
            ("NO-STORE; public", unreadable.clone()),
            ("no-cache; no-store", ResponseDirectives { no_cache: true, ..unreadable.clone() }),
            ("\"private, max-age=0\"", ResponseDirectives { private: true, ..stale.clone() }),
            ("\"no-store\"", unreadable.clone()),
            ("'private, max-age=5'", ResponseDirectives { private: true, ..stale.clone() }),
            ("\"x\" no-cache", ResponseDirectives { no_cache: true, ..nothing.clone() }),
            ("must-revalidate;", ResponseDirectives { proxy_revalidate: true, ..nothing.clone() }),
            ("public;max-age=600", stale.clone()),
            ("public s-maxage=600", stale.clone()),
            ("max-age=600;", stale.clone()),
            ("max-age=600; private", ResponseDirectives { private: true, ..stale.clone() }),
            ("public;", nothing.clone()),
            ("must-understand;", nothing.clone()),
            ("x=\"private; no-store\"", nothing.clone()),
            ("y \"private; no-store\" x", nothing.clone()),
            ("x=private", nothing.clone()),
            ("xprivate;", nothing.clone()),
            ("private-x;", nothing.clone()),
            (", ,", nothing.clone()),
        ] {
            assert_eq!(of(line), expected, "{line}");
        }
        let aged = of("max-age=60, public;max-age=600");
        assert_eq!(aged.max_age, Some(Duration::from_secs(60)), "§4.2.1 the first of two counts");
    }

    #[test]
    fn directives_of_all_lines_count() {
        let parsed = ResponseDirectives::of(&headers(&[
            ("cache-control", "public, must-understand"),
            ("cache-control", "Private, NO-STORE , s-maxage = 7,must-revalidate, proxy-revalidate, no-cache"),
            ("cache-control", "immutable, stale-while-revalidate=8, stale-if-error=\"9\""),
        ]));
        assert_eq!(
            parsed,
            ResponseDirectives {
                immutable: true,
                is_targeted: false,
                is_unreadable: false,
                max_age: None,
                must_revalidate: true,
                must_understand: true,
                no_cache: true,
                no_store: true,
                private: true,
                proxy_revalidate: true,
                public: true,
                s_maxage: Some(Duration::from_secs(7)),
                stale_if_error: Some(Duration::from_secs(9)),
                stale_while_revalidate: Some(Duration::from_secs(8)),
                withheld: Vec::new(),
            }
        );
    }

    #[test]
    fn with_field_names_a_directive_is_about_these_fields_alone() {
        // RFC 9111 §5.2.2.4, §5.2.2.7
        let names = |names: &[&'static str]| -> Vec<HeaderName> {
            names.iter().copied().map(HeaderName::from_static).collect()
        };
        for (line, no_cache, private, withheld) in [
            ("no-cache=\"set-cookie\"", false, false, names(&["set-cookie"])),
            (
                "no-cache=\"Set-Cookie, X-A\", private=\"x-b\"",
                false,
                false,
                names(&["set-cookie", "x-a", "x-b"]),
            ),
            ("private=x-a", false, false, names(&["x-a"])),
            ("private=\"\"", false, true, names(&[])),
            ("no-cache=\" , \"", true, false, names(&[])),
            ("no-cache=\"not a name\"", true, false, names(&[])),
            ("no-cache=\"x-a\", no-cache", true, false, names(&["x-a"])),
            ("no-cache=\"x-a, ETag\", private=\"x-b, Vary\"", true, true, names(&[])),
            ("private=\"cdn-cache-control\"", false, true, names(&[])),
        ] {
            let parsed = of(line);
            assert_eq!((parsed.no_cache, parsed.private), (no_cache, private), "{line}");
            assert_eq!(parsed.withheld, withheld, "{line}");
        }
    }

    #[test]
    fn a_targeted_field_counts_instead_of_the_others() {
        // RFC 9213 §2.1, §2.2
        let fields = [HeaderName::from_static("cdn-cache-control")];
        let of = |targeted: &str| {
            let lines = [("cdn-cache-control", targeted), ("cache-control", "no-store, max-age=5")];
            ResponseDirectives::heeded(&headers(&lines), &fields)
        };
        let ours = |directives| ResponseDirectives { is_targeted: true, ..directives };
        let age = |seconds| ResponseDirectives {
            max_age: Some(Duration::from_secs(seconds)),
            ..ResponseDirectives::default()
        };
        assert_eq!(of("max-age=60"), ours(age(60)));
        assert_eq!(of("max-age=99999999999"), ours(age(1 << 31)));
        assert_eq!(of("max-age=-1"), ours(age(0)));
        assert_eq!(of("max-age=60, no-store"), ours(ResponseDirectives { no_store: true, ..age(60) }));
        assert_eq!(of("max-age=60, private=\"x-a\"").withheld, [HeaderName::from_static("x-a")]);
        for another_type in ["max-age=\"60\"", "max-age=60.0", "max-age"] {
            assert_eq!(of(another_type), ours(age(0)), "{another_type}");
        }
        for another_type in ["no-store=?0", "private=1, x"] {
            assert_eq!(of(another_type), ours(ResponseDirectives::default()), "{another_type}");
        }
        for unreadable in ["", "max-age=60,", "Max-Age=60", "max-age=60, &&"] {
            assert_eq!(of(unreadable), self::of("no-store, max-age=5"), "{unreadable}");
        }
        let nobody = ResponseDirectives::heeded(&headers(&[("cdn-cache-control", "max-age=60")]), &[]);
        assert_eq!(nobody, ResponseDirectives::default());
    }

    #[test]
    fn some_directives_forbid_stale_use() {
        // RFC 9111 §4.2.4
        for (line, forbidden) in [
            ("max-age=1", false),
            ("max-age=1, must-revalidate", true),
            ("max-age=1, proxy-revalidate", true),
            ("s-maxage=1", true),
            ("no-cache", true),
            ("no-cache=\"x-a\"", false),
        ] {
            assert_eq!(of(line).forbid_stale(), forbidden, "{line}");
        }
    }

    #[test]
    fn the_directives_of_a_request_are_read() {
        // RFC 9111 §5.2.1, §5.4
        let of = |lines: &[(&str, &str)]| RequestDirectives::of(&headers(lines));
        let seconds = |count| Some(Duration::from_secs(count));
        let nothing = RequestDirectives::default();
        assert_eq!(
            of(&[("cache-control", "max-age=1, MAX-STALE=2, min-fresh=3, stale-if-error=4")]),
            RequestDirectives {
                max_age: seconds(1),
                max_stale: seconds(2),
                min_fresh: seconds(3),
                stale_if_error: seconds(4),
                ..nothing
            }
        );
        assert_eq!(
            of(&[("cache-control", "no-cache"), ("cache-control", "No-Store, only-if-cached")]),
            RequestDirectives { no_cache: true, no_store: true, only_if_cached: true, ..nothing }
        );
        assert_eq!(of(&[("cache-control", "max-stale")]).max_stale, Some(Duration::MAX));
        assert_eq!(of(&[("cache-control", "max-age=soon, min-fresh=-1, max-stale=x")]), nothing);
        assert_eq!(of(&[("cache-control", "x=\"no-cache\"")]), nothing);
        assert!(of(&[("pragma", "x, No-Cache")]).no_cache);
        assert_eq!(of(&[("pragma", "no-cache"), ("cache-control", "max-age=5")]).max_age, seconds(5));
        assert!(!of(&[("pragma", "no-cache"), ("cache-control", "max-age=5")]).no_cache);
        assert_eq!(of(&[("pragma", "cache")]), nothing);
    }
}
