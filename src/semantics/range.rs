//! `Range`: parsing it, and resolving it against a length.
//!
//! RFC 9110 §14.1.2 (byte ranges), §14.2 (`Range`). Inside the crate ranges are half-open; only the header
//! fields are inclusive.

use http::header::{self, HeaderMap};

use super::fields::is_whitespace;

/// A part of a representation, `start..end`, certainly inside it and never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl ByteRange {
    pub(crate) fn length(self) -> u64 {
        self.end - self.start
    }
}

/// What the `Range` of a request comes to for a representation of a given length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// No `Range`, or one that is to be ignored: the answer is the whole.
    Whole,
    One(ByteRange),
    NotSatisfiable,
}

/// Reads the `Range` fields against a representation of `length` bytes.
///
/// RFC 9110 §14.2: an unknown unit is ignored, and an invalid set of ranges may be. `Range` is not a list field,
/// so two of them contradict each other, and both are ignored. A set of several ranges is answered whole.
pub(crate) fn resolve(headers: &HeaderMap, length: u64) -> Ranges {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Ranges::Whole;
    };
    line.to_str().map_or(Ranges::Whole, |line| resolve_line(line, length))
}

/// The same for the text of one `Range` field.
pub(crate) fn resolve_line(line: &str, length: u64) -> Ranges {
    let Some((unit, set)) = line.trim_matches(is_whitespace).split_once('=') else {
        return Ranges::Whole;
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Ranges::Whole;
    }
    // RFC 9110 §5.6.1.2: empty list members are ignored.
    let mut members =
        set.split(',').map(|member| member.trim_matches(is_whitespace)).filter(|m| !m.is_empty());
    let (Some(member), None) = (members.next(), members.next()) else {
        return Ranges::Whole;
    };
    RangeSpec::parse(member).map_or(Ranges::Whole, |spec| spec.resolve(length))
}

/// One range as it was asked for, inclusive as in the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeSpec {
    From(u64),
    Between(u64, u64),
    Last(u64),
}

impl RangeSpec {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('-')? {
            ("", suffix) => number(suffix).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                // RFC 9110 §14.1.1: a last position before the first makes the range invalid.
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    fn resolve(self, length: u64) -> Ranges {
        let (start, end) = match self {
            Self::From(first) => (first, length),
            // RFC 9110 §14.1.2: a last position at or past the end means "to the end".
            Self::Between(first, last) => (first, last.saturating_add(1).min(length)),
            // §14.1.2: a suffix of no bytes cannot be satisfied.
            Self::Last(0) => return Ranges::NotSatisfiable,
            // A suffix of an empty representation is satisfiable, and has no `Content-Range` that could say so.
            Self::Last(_) if length == 0 => return Ranges::Whole,
            Self::Last(suffix) => (length.saturating_sub(suffix), length),
        };
        if start < end {
            Ranges::One(ByteRange { start, end })
        } else {
            Ranges::NotSatisfiable
        }
    }
}

/// Digits only; a number too large for 64 bits is the largest: it lies past any end.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fields::tests::headers, *};

    fn one(start: u64, end: u64) -> Ranges {
        Ranges::One(ByteRange { start, end })
    }

    #[test]
    fn single_ranges_resolve_as_the_rfc_says() {
        let none = Ranges::NotSatisfiable;
        for (rule, line, length, expected) in [
            ("§14.1.2 first and last are inclusive", "bytes=0-499", 1000, one(0, 500)),
            ("§14.1.2 one byte", "bytes=0-0", 1000, one(0, 1)),
            ("§14.1.2 the last byte", "bytes=999-999", 1000, one(999, 1000)),
            ("§14.1.2 open end", "bytes=500-", 1000, one(500, 1000)),
            ("§14.1.2 last past the end is the end", "bytes=500-2000", 1000, one(500, 1000)),
            ("§14.1.2 suffix", "bytes=-500", 1000, one(500, 1000)),
            ("§14.1.2 suffix longer than the whole", "bytes=-5000", 1000, one(0, 1000)),
            ("§14.1.2 suffix of no bytes", "bytes=-0", 1000, none),
            ("§14.1.2 first at the end", "bytes=1000-", 1000, none),
            ("§14.1.2 first past the end", "bytes=1000-2000", 1000, none),
            ("§14.1.2 nothing of an empty one", "bytes=0-", 0, none),
            ("§14.1.2 suffix of an empty one", "bytes=-1", 0, Ranges::Whole),
            ("numbers past 64 bits clamp", "bytes=0-99999999999999999999", 1000, one(0, 1000)),
            ("numbers past 64 bits clamp", "bytes=99999999999999999999-", 1000, none),
            ("numbers past 64 bits clamp", "bytes=-99999999999999999999", 1000, one(0, 1000)),
            ("u64::MAX as last does not overflow", "bytes=0-18446744073709551615", 1000, one(0, 1000)),
            ("§14.1 units are case-insensitive", "BYTES=0-15", 1000, one(0, 16)),
            ("§14.1 units are case-insensitive", "Bytes=0-15", 1000, one(0, 16)),
            ("leading zeros are digits", "bytes=00-015", 1000, one(0, 16)),
            ("§5.6.1 white space around members", "bytes= 0-15\t", 1000, one(0, 16)),
            ("§5.6.1.2 empty members", "bytes=,0-15,,", 1000, one(0, 16)),
            ("§14.1.1 no white space inside", "bytes=0 - 15", 1000, Ranges::Whole),
            ("§14.1.1 last before first is invalid", "bytes=15-0", 1000, Ranges::Whole),
            ("§14.2 unknown units are ignored", "seconds=0-15", 1000, Ranges::Whole),
            ("§14.2 unknown units are ignored", "bytesx=0-15", 1000, Ranges::Whole),
            ("nonsense is ignored", "bytes", 1000, Ranges::Whole),
            ("nonsense is ignored", "bytes=", 1000, Ranges::Whole),
            ("nonsense is ignored", "bytes=-", 1000, Ranges::Whole),
            ("nonsense is ignored", "bytes=a-b", 1000, Ranges::Whole),
            ("nonsense is ignored", "bytes=+1-2", 1000, Ranges::Whole),
            ("nonsense is ignored", "bytes=0-1-2", 1000, Ranges::Whole),
            ("nonsense is ignored", "bytes=--5", 1000, Ranges::Whole),
            ("several ranges are answered whole", "bytes=0-1,5-6", 1000, Ranges::Whole),
        ] {
            assert_eq!(resolve_line(line, length), expected, "{rule}: {line}");
        }
    }

    #[test]
    fn two_range_fields_are_ignored() {
        let twice = headers(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]);
        assert_eq!(resolve(&twice, 1000), Ranges::Whole);
        assert_eq!(resolve(&headers(&[("range", "bytes=0-1")]), 1000), one(0, 2));
        assert_eq!(resolve(&headers(&[]), 1000), Ranges::Whole);
    }

    proptest! {
        #[test]
        fn any_two_positions_give_their_slice(first in 0u64..2000, last in 0u64..2000, length in 0u64..2000) {
            let expected = match (first <= last, first < length) {
                (false, _) => Ranges::Whole,
                (true, false) => Ranges::NotSatisfiable,
                (true, true) => one(first, (last + 1).min(length)),
            };
            prop_assert_eq!(resolve_line(&format!("bytes={first}-{last}"), length), expected);
        }

        #[test]
        fn any_text_resolves_inside_the_representation(line in "\\PC*", length: u64) {
            if let Ranges::One(range) = resolve_line(&line, length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }

        #[test]
        fn any_likely_text_resolves_inside_the_representation(line in "bytes=[0-9,\\- ]{0,24}", length: u64) {
            if let Ranges::One(range) = resolve_line(&line, length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
