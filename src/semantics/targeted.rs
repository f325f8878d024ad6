//! Targeted cache control: a response field meant for this cache, which comes before `Cache-Control`.
//!
//! RFC 9213. The operator names the fields, in order. The first one that is present, parses and is not empty counts
//! (§2.2), and then `Cache-Control` and `Expires` do not. Fields that the operator does not name change nothing.
//!
//! §2.1 makes a targeted field a dictionary (RFC 9651 §3.2). So a rule that is about one directive in `Cache-Control`
//! may be about the whole field here:
//!
//! - A field that does not parse, or is empty, counts as absent. `Max-Age=60` does not parse, because keys are in lower
//!   case; nor does `max-age = 60`, nor `max-age=60,`.
//! - A key that occurs twice has its last value. In `Cache-Control` the first one counts.
//! - Parameters are ignored.
//!
//! The type of a directive follows from how RFC 9111 §5.2 writes its value. No value is the Boolean true, a quoted
//! string is a String, and a token is a Token, an Integer or a Decimal, by its form. So `max-age` is an Integer,
//! `no-store` and `must-revalidate` are always true, and `no-cache` and `private` are true or a String of field names.
//!
//! Servers must not send a value of another type (`max-age=60.0`, `max-age="60"`, `no-store=?0`), and a cache should
//! not guess its meaning. §2.1 does not fail the field for it. The cache ignores such a directive (a freshness without
//! a number is zero), and the field still replaces `Cache-Control`. For an Integer below zero, RFC 9213 defers to RFC
//! 9111 §4.2.1, which encourages a cache to treat invalid freshness as none.
//!
//! A cache must heed `max-age`, `must-revalidate`, `no-cache`, `no-store` and `private`. It should heed the other
//! directives that it knows in `Cache-Control`. Unknown directives (`none`, of §3.1) are ignored.

use http::header::{HeaderMap, HeaderName};

use super::structured::{Item, dictionary};

/// The directives of the first of these fields that has any. `None` leaves the decision to `Cache-Control`.
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
                "§3.1 an unknown directive makes it not empty",
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
