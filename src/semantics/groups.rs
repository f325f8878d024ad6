//! Cache groups: the groups that a response belongs to, and those that an answer invalidates.
//!
//! RFC 9875 §2 (`Cache-Groups`), §2.1 (when two responses are in the same group), §3 (`Cache-Group-Invalidation`). A
//! policy may choose the fields of other caches beside `Cache-Groups`. All chosen fields name the same groups: a group
//! that `Surrogate-Key` names is purged as if `Cache-Groups` had named it.
//!
//! §2 requires a cache to read at least 32 groups of at least 32 characters. This cache reads 64 groups of 128
//! characters, and no more, because a record keeps them and each purge is compared with them.

use std::collections::BTreeSet;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::structured::{Item, list};
use crate::policy::GroupField;

/// Group names, each once. RFC 9875 §2: their order is not significant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    pub(crate) names: BTreeSet<Vec<u8>>,
    /// How many members were ignored: they are too many, too long, empty, or not printable ASCII. A field that cannot
    /// be read counts as one.
    pub(crate) ignored: usize,
}

impl Groups {
    /// Adds a group, unless no group can have this name, or there are enough groups.
    fn add(&mut self, name: &[u8]) {
        if self.names.contains(name) {
            return;
        }
        if is_name(name) && self.names.len() < MOST_GROUPS {
            self.names.insert(name.to_vec());
        } else {
            self.ignored += 1;
        }
    }

    /// Adds the members of a list of Strings (RFC 9651 §3.1). RFC 9875 §2: parameters are ignored.
    fn add_strings(&mut self, headers: &HeaderMap, name: &HeaderName) {
        let as_string = |item| match item {
            Item::String(string) => Some(string),
            _ => None,
        };
        let strings = list(headers, name)
            .and_then(|members| members.into_iter().map(as_string).collect::<Option<Vec<_>>>());
        match strings {
            Some(strings) => {
                for string in strings {
                    self.add(string.as_bytes());
                }
            }
            None => self.ignored += 1,
        }
    }

    /// Adds the members between such bytes. There are no empty members.
    fn add_separated(&mut self, headers: &HeaderMap, name: &HeaderName, is_separator: fn(u8) -> bool) {
        let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let members =
            lines.flat_map(|line| line.split(move |byte| is_separator(*byte))).map(<[u8]>::trim_ascii);
        for member in members.filter(|member| !member.is_empty()) {
            self.add(member);
        }
    }
}

/// The groups that a response names in these fields. If there are too many, the first ones count.
pub(crate) fn groups_of(response: &HeaderMap, fields: &[GroupField]) -> Groups {
    let mut groups = Groups::default();
    for field in fields {
        let name = field.name();
        match field {
            GroupField::CacheGroups => groups.add_strings(response, &name),
            GroupField::SurrogateKey => groups.add_separated(response, &name, is_blank),
            GroupField::CacheTag => groups.add_separated(response, &name, is_comma),
            GroupField::Xkey => groups.add_separated(response, &name, is_blank_or_comma),
        }
    }
    groups
}

/// The groups that the answer to an unsafe request invalidates.
///
/// RFC 9875 §3: the field must be ignored in the answer to a safe request. The caller sees to that, and to the origin.
pub(crate) fn invalidated(answer: &HeaderMap) -> Groups {
    let mut groups = Groups::default();
    groups.add_strings(answer, &CACHE_GROUP_INVALIDATION);
    groups
}

/// Whether a group can have this name: 1 to 128 characters of printable ASCII.
pub(crate) fn is_group_name(name: &str) -> bool {
    is_name(name.as_bytes())
}

fn is_name(name: &[u8]) -> bool {
    (1..=LONGEST_NAME).contains(&name.len()) && name.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_comma(byte: u8) -> bool {
    byte == b','
}

fn is_blank_or_comma(byte: u8) -> bool {
    is_blank(byte) || is_comma(byte)
}

/// The most groups of one response.
pub(crate) const MOST_GROUPS: usize = 64;

/// In bytes.
const LONGEST_NAME: usize = 128;

const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fields::tests::headers, super::structured::push_string, *};
    use GroupField::{CacheGroups, CacheTag, SurrogateKey, Xkey};

    const ALL: [GroupField; 4] = [CacheGroups, SurrogateKey, CacheTag, Xkey];

    fn groups(names: &[&str], ignored: usize) -> Groups {
        Groups { names: names.iter().map(|name| name.as_bytes().to_vec()).collect(), ignored }
    }

    #[test]
    fn a_response_names_its_groups_in_a_list_of_strings() {
        let long = format!("\"{}\"", "x".repeat(128));
        let longest = "x".repeat(128);
        let too_long = format!("\"{}\", \"a\"", "x".repeat(129));
        for (rule, lines, expected) in [
            ("§2 the example", &[r#""scripts", "styles""#][..], groups(&["scripts", "styles"], 0)),
            ("§2 no field", &[], groups(&[], 0)),
            ("§2 an empty field", &[""], groups(&[], 0)),
            (
                "§2 unknown parameters are ignored",
                &[r#""a";revalidate, "b";x=1;y="z""#],
                groups(&["a", "b"], 0),
            ),
            ("§2 the order is not significant", &[r#""b", "a""#], groups(&["a", "b"], 0)),
            ("§2.1 a group twice is one", &[r#""a", "a";x"#], groups(&["a"], 0)),
            ("§2.1 names are compared character by character", &[r#""A", "a""#], groups(&["A", "a"], 0)),
            ("§2.1 spaces are characters", &[r#"" a", "a b""#], groups(&[" a", "a b"], 0)),
            ("RFC 9651 §4.2.5 escapes", &[r#""a\"b\\""#], groups(&[r#"a"b\"#], 0)),
            ("RFC 9651 §4.2 lines are one field", &[r#""a""#, r#""b", "c""#], groups(&["a", "b", "c"], 0)),
            ("RFC 9651 §4.2 it fails as a whole", &[r#""a", "b"#], groups(&[], 1)),
            ("RFC 9651 §4.2 on any line", &[r#""a""#, r#""b","#], groups(&[], 1)),
            ("§2 a token is no String", &[r#""a", b"#], groups(&[], 1)),
            ("§2 a number is no String", &[r#""a", 1"#], groups(&[], 1)),
            ("§2 an inner list is no String", &[r#""a", ("b")"#], groups(&[], 1)),
            ("§2 a display string is no String", &[r#"%"a""#], groups(&[], 1)),
            ("ours: the longest name", &[&*long], groups(&[&*longest], 0)),
            ("ours: a longer name is ignored", &[&*too_long], groups(&["a"], 1)),
            ("ours: an empty name is ignored", &[r#""", "a""#], groups(&["a"], 1)),
        ] {
            let of = |name| headers(&lines.iter().map(|line| (name, *line)).collect::<Vec<_>>());
            assert_eq!(groups_of(&of("cache-groups"), &[CacheGroups]), expected, "{rule}: {lines:?}");
            assert_eq!(invalidated(&of("cache-group-invalidation")), expected, "{rule}: {lines:?}");
        }
    }

    #[test]
    fn the_other_fields_have_their_own_separators() {
        for (field, lines, expected) in [
            (SurrogateKey, &["a  b\tc ", "d"][..], groups(&["a", "b", "c", "d"], 0)),
            (SurrogateKey, &["a,b"], groups(&["a,b"], 0)),
            (SurrogateKey, &["", " "], groups(&[], 0)),
            (CacheTag, &["a, b c ,,\td", "e"], groups(&["a", "b c", "d", "e"], 0)),
            (CacheTag, &[",", ""], groups(&[], 0)),
            (Xkey, &["a b,c, d", "e"], groups(&["a", "b", "c", "d", "e"], 0)),
            (Xkey, &["\"a\""], groups(&["\"a\""], 0)),
            (Xkey, &["caf\u{e9} a"], groups(&["a"], 1)),
        ] {
            let name = field.name();
            let lines: Vec<_> = lines.iter().map(|line| (name.as_str(), *line)).collect();
            assert_eq!(groups_of(&headers(&lines), &[field]), expected, "{lines:?}");
        }
    }

    #[test]
    fn all_chosen_fields_name_the_same_groups_and_others_name_none() {
        let response = headers(&[
            ("cache-groups", "\"a\", \"b\""),
            ("surrogate-key", "b c"),
            ("cache-tag", "c, d"),
            ("xkey", "e a"),
            ("cache-group-invalidation", "\"f\""),
        ]);
        for (fields, names) in [
            (&[][..], &[][..]),
            (&[CacheGroups], &["a", "b"]),
            (&[SurrogateKey, CacheGroups], &["a", "b", "c"]),
            (&ALL, &["a", "b", "c", "d", "e"]),
        ] {
            assert_eq!(groups_of(&response, fields), groups(names, 0), "{fields:?}");
        }
        assert_eq!(invalidated(&response), groups(&["f"], 0));
        // A field that cannot be read takes nothing from the others.
        let response = headers(&[("cache-groups", "a"), ("surrogate-key", "b")]);
        assert_eq!(groups_of(&response, &ALL), groups(&["b"], 1));
    }

    #[test]
    fn the_first_64_groups_count() {
        let name = |number: usize| format!("group-{number:026}");
        let quoted =
            |count| (0..count).map(|number| format!("\"{}\"", name(number))).collect::<Vec<_>>().join(",");
        for (count, ignored) in [(32, 0), (64, 0), (65, 1), (2000, 1936)] {
            let read = groups_of(&headers(&[("cache-groups", &quoted(count))]), &ALL);
            let kept: BTreeSet<_> = (0..count.min(64)).map(|number| name(number).into_bytes()).collect();
            assert_eq!(read, Groups { names: kept, ignored }, "§2: 32 groups of 32 characters are the least");
        }
        // A group that is there already is not one too many.
        let again = (0..64).map(name).collect::<Vec<_>>().join(" ");
        let read = groups_of(&headers(&[("cache-groups", &quoted(64)), ("surrogate-key", &again)]), &ALL);
        assert_eq!((read.names.len(), read.ignored), (64, 0));
    }

    #[test]
    fn a_group_name_is_printable_ascii_of_some_length() {
        for (name, is_name) in [
            ("a", true),
            (" ", true),
            ("series 7, \"b\"~", true),
            (&*"x".repeat(128), true),
            ("", false),
            (&*"x".repeat(129), false),
            ("caf\u{e9}", false),
            ("a\tb", false),
            ("a\0", false),
            ("\u{7f}", false),
        ] {
            assert_eq!(is_group_name(name), is_name, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn any_names_that_are_written_are_read_back(names in proptest::collection::vec("[ -~]{1,128}", 0..64)) {
            let mut text = String::new();
            for name in &names {
                text.push_str(if text.is_empty() { "" } else { ", " });
                push_string(&mut text, name.bytes());
            }
            let read = groups_of(&headers(&[("cache-groups", &text)]), &ALL);
            let names = names.into_iter().map(String::into_bytes).collect();
            prop_assert_eq!(read, Groups { names, ignored: 0 });
        }
    }
}
