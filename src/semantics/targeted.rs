//! Targeted cache control: a field of the response that is meant for this cache, before `Cache-Control`.
//!
//! RFC 9213. Of the fields that the operator names, in that order, the first that is there, parses and is not empty
//! counts (§2.2); then neither `Cache-Control` nor `Expires` does. Fields that it does not name change nothing.
//!
//! §2.1 has a targeted field be a dictionary (RFC 9651 §3.2), and so what is a matter of each directive in
//! `Cache-Control` is one of the whole field here:
//!
//! - Anything that does not parse, and nothing at all, is as if the field were not there. `Max-Age=60` does not
//!   parse, for keys are in lower case; nor does `max-age = 60`, nor `max-age=60,`.
//! - A key that comes twice has its last value, where `Cache-Control` has its first.
//! - Parameters say nothing.
//!
//! A directive's type follows from how RFC 9111 §5.2 writes its value: none is the Boolean true; a quoted string is a
//! String; a token is a Token, an Integer or a Decimal, as it looks. So `max-age` is an Integer, `no-store` and
//! `must-revalidate` are always true, and `no-cache` and `private` are true or a String of field names.
//! A value of another type (`max-age=60.0`, `max-age="60"`, `no-store=?0`) is not to be sent, and should not be
//! taken for what it may have meant: §2.1 does not fail the field for it. The directive is then as good as not said,
//! and the field still counts in the place of `Cache-Control`. What an Integer below zero is, the RFC leaves to RFC 9111
//! §4.2.1, which encourages to take invalid freshness for none.
//!
//! `max-age`, `must-revalidate`, `no-cache`, `no-store` and `private` must be heeded, the others that this cache
//! knows in `Cache-Control` should be, and unknown ones (`none`, of §3.1) are ignored.

use http::header::{HeaderMap, HeaderName};

use super::structured::{dictionary, Item};

/// The directives of the first of these fields that has any; `None` leaves it to `Cache-Control`.
pub(crate) fn targeted(headers: &HeaderMap, names: &[HeaderName]) -> Option<Vec<(String, Item)>> {
    names.iter().filter_map(|name| dictionary(headers, name)).find(|directives| !directives.is_empty())
}

#[cfg(test)]
mod tests {
    use super::{super::fields::tests::headers, *};

    #[test]
    fn the_first_field_that_says_anything_counts() {
        let names = [HeaderName::from_static("ours"), HeaderName::from_static("cdn-cache-control")];
        let age = |seconds| Some(vec![("max-age".to_owned(), Item::Integer(seconds))]);
        for (rule, lines, expected) in [
            ("none is there", &[("cache-control", "max-age=1")][..], None),
            (
                "§2.2 the order is the operator's",
                &[("cdn-cache-control", "max-age=2"), ("ours", "max-age=1")],
                age(1),
            ),
            ("§2.2 the next counts if the first is absent", &[("cdn-cache-control", "max-age=2")], age(2)),
            ("§2.1 an empty one is absent", &[("ours", " "), ("cdn-cache-control", "max-age=2")], age(2)),
            (
                "§2.1 one that does not parse is absent",
                &[("ours", "max-age=1,"), ("cdn-cache-control", "max-age=2")],
                age(2),
            ),
            ("§2.1 on any of its lines", &[("ours", "max-age=1"), ("ours", "No-Store")], None),
            ("§2.2 others are not looked at", &[("edge-cache-control", "max-age=3")], None),
            ("§2.1 all its lines are one field", &[("ours", "max-age=3"), ("ours", "max-age=1")], age(1)),
            (
                "§3.1 a directive that nobody knows makes it not empty",
                &[("ours", "none"), ("cdn-cache-control", "max-age=2")],
                Some(vec![("none".to_owned(), Item::Boolean(true))]),
            ),
            (
                "§2.1 values of the wrong type do not fail it",
                &[("ours", "max-age=1.0, no-store=?0")],
                Some(vec![
                    ("max-age".to_owned(), Item::Other),
                    ("no-store".to_owned(), Item::Boolean(false)),
                ]),
            ),
        ] {
            assert_eq!(targeted(&headers(lines), &names), expected, "{rule}: {lines:?}");
        }
        assert_eq!(targeted(&headers(&[("ours", "max-age=1")]), &[]), None);
    }
}
