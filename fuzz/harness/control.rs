//! The directives of a message about its storage and its use, read byte by byte.
//!
//! RFC 9111 §5.2 (`Cache-Control`), §5.4 (`Pragma`); RFC 9213 (a targeted field in its place). Text that does not
//! follow the grammar may mean several things, and nothing is claimed of it.

use http::{
    HeaderValue,
    header::{self, HeaderMap, HeaderName},
};

use super::multipart::number;

/// The directives of one message.
#[derive(Clone, Debug, Default)]
pub(super) struct Control {
    said: Vec<(String, Argument)>,
    /// A part of the text may mean anything.
    pub(super) is_unclear: bool,
    /// The directives come from a field that targets this cache, before `Cache-Control` and `Expires` (RFC 9213 §2.2).
    pub(super) is_targeted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Argument {
    None,
    Token(String),
    Quoted(String),
}

impl Control {
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        let mut control = Self::read(headers, &header::CACHE_CONTROL);
        if !headers.contains_key(header::CACHE_CONTROL) {
            // RFC 9111 §5.4: only if there is no Cache-Control.
            let pragma = Self::read(headers, &header::PRAGMA);
            control.is_unclear = pragma.is_unclear;
            control.said.extend(pragma.said.into_iter().filter(|(name, _)| name == "no-cache"));
        }
        control
    }

    /// `targeted` are the fields that target this cache, in order.
    pub(super) fn of_response(headers: &HeaderMap, targeted: &[&'static str]) -> Self {
        for name in targeted {
            let mut control = Self::read(headers, &HeaderName::from_static(name));
            if !control.said.is_empty() || control.is_unclear {
                control.is_targeted = true;
                control.is_unclear |= !headers.get_all(*name).iter().all(is_plain_dictionary);
                return control;
            }
        }
        Self::read(headers, &header::CACHE_CONTROL)
    }

    fn read(headers: &HeaderMap, field: &HeaderName) -> Self {
        let mut control = Self::default();
        for member in headers.get_all(field).iter().flat_map(split) {
            match directive(&member) {
                Some((name, _)) if control.has(&name) => control.is_unclear = true,
                Some(directive) => control.said.push(directive),
                None => control.is_unclear |= !member.is_empty(),
            }
        }
        control
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.said.iter().any(|(said, _)| said == name)
    }

    /// Whether the directive is there and is about the whole message.
    pub(super) fn has_whole(&self, name: &str) -> bool {
        self.said.iter().any(|(said, argument)| said == name && *argument == Argument::None)
    }

    /// The fields that `private` and `no-cache` are about (§5.2.2.4, §5.2.2.7).
    pub(super) fn withheld(&self) -> Vec<HeaderName> {
        let listed = |(name, argument): &(String, Argument)| match argument {
            Argument::Quoted(names) | Argument::Token(names) if name == "private" || name == "no-cache" => {
                names.split(',').filter_map(|name| name.trim().parse().ok()).collect()
            }
            _ => Vec::new(),
        };
        self.said.iter().flat_map(listed).collect()
    }

    /// The directive's number of seconds, at most 2^31 (§1.2.2).
    pub(super) fn seconds(&self, name: &str) -> Option<u64> {
        match self.said.iter().find(|(said, _)| said == name) {
            Some((_, Argument::Token(digits) | Argument::Quoted(digits))) => seconds(digits),
            _ => None,
        }
    }
}

/// A number of seconds without leading zeros.
pub(super) fn seconds(digits: &str) -> Option<u64> {
    number(digits).map(|seconds| seconds.min(1 << 31))
}

/// The members of a line, split at its commas outside of quotes.
fn split(line: &HeaderValue) -> Vec<Vec<u8>> {
    let mut quoted = false;
    let members = line.as_bytes().split(|byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    members.map(|member| member.trim_ascii().to_vec()).collect()
}

/// Reads `token`, `token=token` or `token="…"`. A directive must have a number of seconds if it takes one, and no other
/// may.
fn directive(member: &[u8]) -> Option<(String, Argument)> {
    let text = std::str::from_utf8(member).ok().filter(|text| text.is_ascii() && !text.contains('\\'))?;
    let (name, argument) = match text.split_once('=') {
        None => (text, Argument::None),
        Some((name, quoted)) if quoted.starts_with('"') => {
            let inside = quoted.strip_prefix('"')?.strip_suffix('"')?;
            (name, Argument::Quoted(inside.to_owned()))
        }
        Some((name, token)) => (name, Argument::Token(token.to_owned())),
    };
    let is_token = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    let is_argument = match &argument {
        Argument::Token(token) => is_token(token),
        Argument::Quoted(inside) => !inside.contains('"'),
        Argument::None => true,
    };
    let name = name.to_ascii_lowercase();
    let number = match &argument {
        Argument::Token(digits) | Argument::Quoted(digits) => seconds(digits).is_some(),
        Argument::None => name == "max-stale",
    };
    let fits = match name.as_str() {
        "private" | "no-cache" => match &argument {
            Argument::Quoted(names) => names.split(',').all(|name| is_token(name.trim())),
            Argument::Token(_) => false,
            Argument::None => true,
        },
        flag if FLAGS.contains(&flag) => argument == Argument::None,
        takes if SECONDS.contains(&takes) => number,
        // Beside no-store, its effect depends on the statuses that a cache understands.
        "must-understand" => false,
        _ => true,
    };
    (is_token(&name) && is_argument && fits).then_some((name, argument))
}

/// RFC 9213 §2.1, RFC 9651 §3.2: a dictionary of known keys, each in lower case, with seconds as an Integer. A part of
/// any other dictionary may not parse, and then the next field may count.
fn is_plain_dictionary(line: &HeaderValue) -> bool {
    let is_known = |member: Vec<u8>| match directive(&member) {
        Some((name, Argument::None)) => FLAGS.contains(&name.as_str()),
        Some((name, Argument::Quoted(_))) => ["private", "no-cache"].contains(&name.as_str()),
        Some((name, Argument::Token(digits))) => SECONDS.contains(&name.as_str()) && digits.len() < 10,
        None => false,
    };
    !line.as_bytes().iter().any(u8::is_ascii_uppercase) && split(line).into_iter().all(is_known)
}

const FLAGS: [&str; 8] = [
    "immutable",
    "must-revalidate",
    "no-cache",
    "no-store",
    "only-if-cached",
    "private",
    "proxy-revalidate",
    "public",
];

const SECONDS: [&str; 6] =
    ["max-age", "max-stale", "min-fresh", "s-maxage", "stale-if-error", "stale-while-revalidate"];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &'static str) -> Control {
        let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static(line))]);
        Control::of_response(&headers, &[])
    }

    #[test]
    fn well_written_directives_are_read() {
        let control =
            of("Max-Age=60, x=\"no-store, private\", private=\"set-cookie, x-one\", s-maxage=\"7\"");
        assert!(!control.is_unclear && !control.has("no-store") && !control.has_whole("private"));
        assert_eq!((control.seconds("max-age"), control.seconds("s-maxage")), (Some(60), Some(7)));
        assert_eq!(control.withheld(), ["set-cookie", "x-one"]);
        assert!(of("no-cache").has_whole("no-cache"));
    }

    #[test]
    fn badly_written_directives_are_unclear() {
        for line in [
            "max-age=\"60",
            "max-age=soon",
            "max-age",
            "private=x",
            "max-age=1, max-age=2",
            "no-store=1",
            "a b",
        ] {
            assert!(of(line).is_unclear, "{line}");
        }
    }
}
