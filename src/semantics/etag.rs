//! Validators: entity tags and modification dates, and how they compare.
//!
//! RFC 9110 §8.8.1 (weak and strong), §8.8.2 (`Last-Modified`), §8.8.3 (`ETag`).

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap};

use super::fields::{date, single};

/// An entity tag: whether it is weak, and its opaque part with the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    weak: bool,
    opaque: &'a str,
}

impl<'a> EntityTag<'a> {
    /// `None` unless it is `W/"..."` or `"..."`; the `W` counts only in upper case.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (weak, opaque) = match text.strip_prefix("W/") {
            Some(opaque) => (true, opaque),
            None => (false, text),
        };
        let inside = opaque.strip_prefix('"')?.strip_suffix('"')?;
        inside
            .bytes()
            .all(|byte| byte > b' ' && byte != b'"' && byte != 0x7f)
            .then_some(Self { weak, opaque })
    }

    pub(crate) fn is_weak(self) -> bool {
        self.weak
    }

    /// RFC 9110 §8.8.3.2: equal, and neither is weak.
    pub(crate) fn strongly_equals(self, other: Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// RFC 9110 §8.8.3.2: equal, weak or not.
    pub(crate) fn weakly_equals(self, other: Self) -> bool {
        self.opaque == other.opaque
    }
}

/// What a stored response can be compared by; each is read from its fields when a condition asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a>(&'a HeaderMap);

impl<'a> Validators<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        Self(headers)
    }

    pub(crate) fn entity_tag(self) -> Option<EntityTag<'a>> {
        single(self.0, &header::ETAG).and_then(EntityTag::parse)
    }

    pub(crate) fn last_modified(self) -> Option<SystemTime> {
        date(self.0, &header::LAST_MODIFIED)
    }

    /// What `If-Modified-Since` is held against: RFC 9111 §4.3.2 takes `Date` where there is no `Last-Modified`.
    pub(crate) fn modified_or_sent(self) -> Option<SystemTime> {
        self.last_modified().or_else(|| date(self.0, &header::DATE))
    }

    /// The modification date where it is strong: so long before `Date` that no second change can hide behind it.
    ///
    /// RFC 9110 §8.8.2.2 asks for one second, and for more where two clocks may have set the two dates. A minute
    /// is what RFC 7232 asked for, and who set the dates cannot be told here.
    pub(crate) fn strong_last_modified(self) -> Option<SystemTime> {
        let modified = self.last_modified()?;
        let since = date(self.0, &header::DATE)?.duration_since(modified).ok()?;
        (since >= Duration::from_secs(60)).then_some(modified)
    }
}

/// Whether the response carries anything that it can be validated by.
pub(crate) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_quoted_tags_are_tags() {
        for (text, is_tag) in [
            ("\"a\"", true),
            ("\"\"", true),
            ("W/\"a\"", true),
            ("\"a,b\"", true),
            ("\"ä\"", true),
            ("a", false),
            ("\"a", false),
            ("\"", false),
            ("w/\"a\"", false),
            ("W/a", false),
            ("\"a\"b\"", false),
            ("\"a b\"", false),
        ] {
            assert_eq!(EntityTag::parse(text).is_some(), is_tag, "{text}");
        }
    }

    #[test]
    fn comparison_is_the_table_of_the_rfc() {
        // RFC 9110 §8.8.3.2: (one, other, strong, weak)
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let (one, other) = (EntityTag::parse(one).unwrap(), EntityTag::parse(other).unwrap());
            assert_eq!(one.strongly_equals(other), strong, "{one:?} {other:?}");
            assert_eq!(one.weakly_equals(other), weak, "{one:?} {other:?}");
        }
    }
}
