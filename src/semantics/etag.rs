//! Validators: entity tags and modification dates, and how they compare.
//!
//! RFC 9110 §8.8.1 (weak and strong), §8.8.2 (`Last-Modified`), §8.8.3 (`ETag`).

use std::time::{Duration, SystemTime};

use http::header::{self, HeaderMap, HeaderName};

use super::fields::{agreed, date, single_bytes};

/// An entity tag: whether it is weak, and its opaque part with the quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads `W/"..."` or `"..."`, else gives `None`. The `W` counts only in upper case. A backslash is an ordinary
    /// character (RFC 9110 §8.8.3).
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        let (weak, opaque) = match text.strip_prefix(b"W/") {
            Some(opaque) => (true, opaque),
            None => (false, text),
        };
        let inside = opaque.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        let is_tag_character = |byte: &u8| *byte > b' ' && *byte != b'"' && *byte != 0x7f;
        inside.iter().all(is_tag_character).then_some(Self { weak, opaque })
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

/// A member of a condition: any representation, or one with this tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named<'a> {
    Any,
    /// Text that is no entity tag by the grammar.
    Other(&'a [u8]),
    Tag(EntityTag<'a>),
}

/// The names in a list of tags, over all its lines (RFC 9110 §13.1.1, §13.1.2).
pub(crate) fn named<'a>(headers: &'a HeaderMap, field: &HeaderName) -> impl Iterator<Item = Named<'a>> {
    let lines = headers.get_all(field).iter();
    let members = lines.flat_map(|line| {
        // A tag may contain a comma, and a quote only at its ends.
        let mut quoted = false;
        line.as_bytes().split(move |byte| {
            quoted ^= *byte == b'"';
            *byte == b',' && !quoted
        })
    });
    members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()).map(|member| match member {
        b"*" => Named::Any,
        member => EntityTag::parse(member).map_or(Named::Other(member), Named::Tag),
    })
}

/// The validators of a stored response. Each is read from its fields when a condition asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a>(&'a HeaderMap);

impl<'a> Validators<'a> {
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        Self(headers)
    }

    pub(crate) fn entity_tag(self) -> Option<EntityTag<'a>> {
        agreed(self.0, &header::ETAG).and_then(EntityTag::parse)
    }

    /// An `ETag` that is no tag by the grammar. Some servers send it without quotes, or with a space within.
    pub(crate) fn malformed_tag(self) -> Option<&'a [u8]> {
        agreed(self.0, &header::ETAG).filter(|text| !text.is_empty() && EntityTag::parse(text).is_none())
    }

    pub(crate) fn last_modified(self) -> Option<SystemTime> {
        date(self.0, &header::LAST_MODIFIED)
    }

    /// The date to compare with `If-Modified-Since`. RFC 9111 §4.3.2 takes `Date` if there is no `Last-Modified`.
    pub(crate) fn modified_or_sent(self) -> Option<SystemTime> {
        self.last_modified().or_else(|| date(self.0, &header::DATE))
    }

    /// The modification date if it is strong: so long before `Date` that no second change can hide behind it.
    ///
    /// RFC 9110 §8.8.2.2 asks for one second between the two dates, and for more if two clocks may have set them. The
    /// cache cannot know who set them, so it takes a minute, as RFC 7232 asked.
    pub(crate) fn strong_last_modified(self) -> Option<SystemTime> {
        let modified = self.last_modified()?;
        let since = date(self.0, &header::DATE)?.duration_since(modified).ok()?;
        (since >= Duration::from_secs(60)).then_some(modified)
    }
}

/// Whether the response has a validator.
pub(crate) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

/// Whether the response has exactly one entity tag, and a strong one: every answer with that tag has the same bytes.
pub(crate) fn has_strong_tag(headers: &HeaderMap) -> bool {
    single_bytes(headers, &header::ETAG).and_then(EntityTag::parse).is_some_and(|tag| !tag.is_weak())
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
            assert_eq!(EntityTag::parse(text.as_bytes()).is_some(), is_tag, "{text}");
        }
    }

    #[test]
    fn a_list_gives_its_tags_and_the_members_that_are_none() {
        let tag = |text: &'static str| Named::Tag(EntityTag::parse(text.as_bytes()).unwrap());
        let mut list = HeaderMap::new();
        for line in ["\"a,b\" , W/\"c\",,d,\"e", "*", "\"back\\\", \"slash\"", "\"caf\u{e9}\""] {
            let line = http::HeaderValue::from_bytes(line.as_bytes()).unwrap();
            list.append(header::IF_NONE_MATCH, line);
        }
        let named: Vec<_> = named(&list, &header::IF_NONE_MATCH).collect();
        let expected = [
            tag("\"a,b\""),
            tag("W/\"c\""),
            Named::Other(b"d"),
            Named::Other(b"\"e"),
            Named::Any,
            tag("\"back\\\""),
            tag("\"slash\""),
            tag("\"caf\u{e9}\""),
        ];
        assert_eq!(named, expected);
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
            let [one, other] = [one, other].map(|tag| EntityTag::parse(tag.as_bytes()).unwrap());
            assert_eq!(one.strongly_equals(other), strong, "{one:?} {other:?}");
            assert_eq!(one.weakly_equals(other), weak, "{one:?} {other:?}");
        }
    }
}
