//! `Range`: parsing it, and resolving it against a length.
//!
//! RFC 9110 §14.1.2 (byte ranges), §14.2 (`Range`), §15.3.7.2 (ranges that are joined). Inside the crate ranges
//! are half-open; only the header fields are inclusive.

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

    /// Its value of `Content-Range`, in a representation of `complete` bytes.
    pub(crate) fn within(self, complete: u64) -> String {
        format!("bytes {}-{}/{complete}", self.start, self.end.saturating_sub(1))
    }

    /// Its value of `Content-Range`, in a representation whose length is not known yet (RFC 9110 §14.4).
    pub(crate) fn within_unknown(self) -> String {
        format!("bytes {}-{}/*", self.start, self.end.saturating_sub(1))
    }
}

/// The `Range` of a request, resolved against the length of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// No `Range`, or one that is ignored: the answer is the whole representation.
    Whole,
    One(ByteRange),
    /// Two or more ranges, apart from each other, in the order in which they were asked for.
    Several(Vec<ByteRange>),
    NotSatisfiable,
}

/// Reads the `Range` fields against a representation of `length` bytes.
///
/// RFC 9110 §14.2: an unknown unit is ignored. An invalid set of ranges may be ignored, and so may a set of more than
/// `most` members. `Range` is not a list field, so two `Range` fields contradict each other, and both are ignored.
pub(crate) fn resolve(headers: &HeaderMap, length: u64, most: usize) -> Ranges {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Ranges::Whole;
    };
    line.to_str().map_or(Ranges::Whole, |line| resolve_line(line, length, most))
}

/// Resolves the text of one `Range` field.
fn resolve_line(line: &str, length: u64, most: usize) -> Ranges {
    let Some((unit, set)) = line.trim_matches(is_whitespace).split_once('=') else {
        return Ranges::Whole;
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Ranges::Whole;
    }
    // RFC 9110 §5.6.1.2: empty list members are ignored.
    let members = set.split(',').map(|member| member.trim_matches(is_whitespace)).filter(|m| !m.is_empty());
    let mut resolved = None;
    for (before, member) in members.enumerate() {
        // A single range counts, whatever the limit of sets.
        if before >= most.max(1) {
            return Ranges::Whole;
        }
        let Some(spec) = RangeSpec::parse(member) else {
            return Ranges::Whole;
        };
        let one = spec.resolve(length);
        resolved = Some(match resolved {
            None => one,
            Some(others) => one.after(others),
        });
    }
    match resolved {
        None => Ranges::Whole,
        Some(Ranges::Several(ranges)) => joined(ranges),
        Some(few) => few,
    }
}

/// The first bytes that a request wants of a representation of unknown length: their start, and their end if the
/// request names one. They begin at 0 if no `Range` counts, or if the request wants the last bytes.
pub(crate) fn wanted(headers: &HeaderMap) -> (u64, Option<u64>) {
    match specs(headers).map(|mut specs| specs.next()) {
        Some(Some(Some(RangeSpec::From(first)))) => (first, None),
        Some(Some(Some(RangeSpec::Between(first, last)))) => (first, Some(last.saturating_add(1))),
        // One byte from the start is enough to learn the length.
        Some(Some(Some(RangeSpec::Last(_)))) => (0, Some(1)),
        Some(Some(None) | None) | None => (0, None),
    }
}

/// The end of the one part that a request wants, if it wants one part and names its end. With that many bytes stored
/// the part is certain, whatever the length turns out to be.
pub(crate) fn certain_from(headers: &HeaderMap) -> Option<u64> {
    let mut specs = specs(headers)?;
    match (specs.next(), specs.next()) {
        (Some(Some(RangeSpec::Between(_, last))), None) => last.checked_add(1),
        _ => None,
    }
}

/// The members of the one `Range` field in bytes. A member that is no range is `None`.
fn specs(headers: &HeaderMap) -> Option<impl Iterator<Item = Option<RangeSpec>> + '_> {
    let mut lines = headers.get_all(header::RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return None;
    };
    let (unit, set) = line.to_str().ok()?.trim_matches(is_whitespace).split_once('=')?;
    let members = set.split(',').map(|member| member.trim_matches(is_whitespace)).filter(|m| !m.is_empty());
    unit.eq_ignore_ascii_case("bytes").then(|| members.map(RangeSpec::parse))
}

impl Ranges {
    /// Adds `self`, the result of one member, to the result of the members before it. RFC 9110 §14.1.2: a set is
    /// satisfiable if any of its members is. No memory is taken before the second range.
    fn after(self, others: Self) -> Self {
        match (others, self) {
            (Self::Whole, _) | (_, Self::Whole) => Self::Whole,
            (Self::One(first), Self::One(second)) => Self::Several(vec![first, second]),
            (Self::Several(mut ranges), Self::One(next)) => {
                ranges.push(next);
                Self::Several(ranges)
            }
            (Self::NotSatisfiable, one) => one,
            (others, _) => others,
        }
    }
}

/// Joins ranges that overlap, touch, or have a gap that is smaller than the cost of another part (RFC 9110 §15.3.7.2).
/// A joined range takes the place of that member which was asked for first.
fn joined(asked: Vec<ByteRange>) -> Ranges {
    let mut ranges: Vec<_> = asked.into_iter().enumerate().collect();
    ranges.sort_unstable_by_key(|(_, range)| range.start);
    ranges.dedup_by(|(next_place, next), (place, range)| {
        let joins = next.start.saturating_sub(range.end) < PART_OVERHEAD;
        if joins {
            range.end = range.end.max(next.end);
            *place = *next_place.min(place);
        }
        joins
    });
    if let [(_, range)] = ranges[..] {
        return Ranges::One(range);
    }
    ranges.sort_unstable_by_key(|(place, _)| *place);
    Ranges::Several(ranges.into_iter().map(|(_, range)| range).collect())
}

/// One range as asked for, inclusive as in the field.
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
            // A suffix of an empty representation is satisfiable, but no `Content-Range` could express it.
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

/// Reads digits only. A number too large for 64 bits becomes the largest one: it lies past any end.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// RFC 9110 §15.3.7.2 puts the overhead between two parts at around 80 bytes.
const PART_OVERHEAD: u64 = 80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::fields::tests::headers, *};

    const NONE: Ranges = Ranges::NotSatisfiable;

    fn one(start: u64, end: u64) -> Ranges {
        Ranges::One(ByteRange { start, end })
    }

    fn several(ranges: &[(u64, u64)]) -> Ranges {
        Ranges::Several(ranges.iter().map(|(start, end)| ByteRange { start: *start, end: *end }).collect())
    }

    #[test]
    fn single_ranges_resolve_as_the_rfc_says() {
        for (rule, line, length, expected) in [
            ("§14.1.2 first and last are inclusive", "bytes=0-499", 1000, one(0, 500)),
            ("§14.1.2 one byte", "bytes=0-0", 1000, one(0, 1)),
            ("§14.1.2 the last byte", "bytes=999-999", 1000, one(999, 1000)),
            ("§14.1.2 open end", "bytes=500-", 1000, one(500, 1000)),
            ("§14.1.2 last past the end is the end", "bytes=500-2000", 1000, one(500, 1000)),
            ("§14.1.2 suffix", "bytes=-500", 1000, one(500, 1000)),
            ("§14.1.2 suffix longer than the whole", "bytes=-5000", 1000, one(0, 1000)),
            ("§14.1.2 suffix of no bytes", "bytes=-0", 1000, NONE),
            ("§14.1.2 first at the end", "bytes=1000-", 1000, NONE),
            ("§14.1.2 first past the end", "bytes=1000-2000", 1000, NONE),
            ("§14.1.2 an empty body has no range", "bytes=0-", 0, NONE),
            ("§14.1.2 suffix of an empty one", "bytes=-1", 0, Ranges::Whole),
            ("numbers past 64 bits clamp", "bytes=0-99999999999999999999", 1000, one(0, 1000)),
            ("numbers past 64 bits clamp", "bytes=99999999999999999999-", 1000, NONE),
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
        ] {
            for most in [0, 1, 16] {
                assert_eq!(resolve_line(line, length, most), expected, "{rule}: {line}");
            }
        }
    }

    #[test]
    fn sets_of_ranges_resolve_as_the_rfc_says() {
        for (rule, line, length, expected) in [
            ("§14.1.1 two", "bytes=0-9,500-509", 1000, several(&[(0, 10), (500, 510)])),
            (
                "§14.1.2 first, middle and last",
                "bytes= 0-0, 500-599 ,-1",
                1000,
                several(&[(0, 1), (500, 600), (999, 1000)]),
            ),
            (
                "§15.3.7.2 in the order asked",
                "bytes=-1,500-599,0-0",
                1000,
                several(&[(999, 1000), (500, 600), (0, 1)]),
            ),
            (
                "§14.1.2 any that can be satisfied",
                "bytes=1000-,0-9,-0,500-509",
                1000,
                several(&[(0, 10), (500, 510)]),
            ),
            ("§14.1.2 only one can be satisfied", "bytes=1000-,5-9", 1000, one(5, 10)),
            ("§14.1.2 only one can be satisfied", "bytes=5-9,-0", 1000, one(5, 10)),
            ("§14.1.2 none can be satisfied", "bytes=1000-,-0,2000-2001", 1000, NONE),
            ("§14.1.2 suffix of an empty one", "bytes=0-,-1", 0, Ranges::Whole),
            ("§14.1.2 suffix of an empty one", "bytes=-1,0-", 0, Ranges::Whole),
            ("§14.1.1 one invalid", "bytes=0-9,15-0", 1000, Ranges::Whole),
            ("§14.1.1 one invalid", "bytes=x,0-9,500-509", 1000, Ranges::Whole),
            ("§14.1.1 one invalid", "bytes=0-9,500-509,-", 1000, Ranges::Whole),
            ("§14.1.1 one invalid after none", "bytes=1000-,2-1", 1000, Ranges::Whole),
            ("§5.6.1.2 empty members", "bytes=, ,0-9,,\t,500-509,", 1000, several(&[(0, 10), (500, 510)])),
            ("§15.3.7.2 overlapping", "bytes=0-99,50-149", 1000, one(0, 150)),
            ("§15.3.7.2 one in another", "bytes=0-99,10-19", 1000, one(0, 100)),
            ("§15.3.7.2 one in another", "bytes=10-19,0-99", 1000, one(0, 100)),
            ("§15.3.7.2 the same", "bytes=5-9,5-9", 1000, one(5, 10)),
            ("§15.3.7.2 adjacent", "bytes=100-199,0-99", 1000, one(0, 200)),
            ("§15.3.7.2 79 bytes between", "bytes=0-0,80-80", 1000, one(0, 81)),
            ("§15.3.7.2 80 bytes between", "bytes=0-0,81-81", 1000, several(&[(0, 1), (81, 82)])),
            ("§15.3.7.2 all of it", "bytes=500-,0-499", 1000, one(0, 1000)),
            (
                "a joined range takes the place of its first member",
                "bytes=900-909,0-9,500-509,890-905,10-20",
                1000,
                several(&[(890, 910), (0, 21), (500, 510)]),
            ),
            ("a third joins two that are apart", "bytes=300-309,0-9,5-299", 1000, one(0, 310)),
            (
                "u64::MAX does not overflow",
                "bytes=18446744073709551614-,0-0",
                u64::MAX,
                several(&[(u64::MAX - 1, u64::MAX), (0, 1)]),
            ),
        ] {
            assert_eq!(resolve_line(line, length, 16), expected, "{rule}: {line}");
        }
    }

    #[test]
    fn a_set_of_more_members_than_the_limit_is_ignored() {
        let three = "bytes=0-0,,5000-,900-900";
        assert_eq!(resolve_line(three, 1000, 3), several(&[(0, 1), (900, 901)]));
        for most in [0, 1, 2] {
            assert_eq!(resolve_line(three, 1000, most), Ranges::Whole, "{most}");
        }
        let hostile = format!("bytes={}", "0-,".repeat(20_000));
        assert_eq!(resolve_line(&hostile, 1000, 16), Ranges::Whole);
        assert_eq!(resolve_line(&hostile, 1000, usize::MAX), one(0, 1000));
    }

    #[test]
    fn two_range_fields_are_ignored() {
        let twice = headers(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]);
        assert_eq!(resolve(&twice, 1000, 16), Ranges::Whole);
        assert_eq!(resolve(&headers(&[("range", "bytes=0-1")]), 1000, 16), one(0, 2));
        assert_eq!(resolve(&headers(&[]), 1000, 16), Ranges::Whole);
    }

    proptest! {
        #[test]
        fn any_two_positions_give_their_slice(first in 0u64..2000, last in 0u64..2000, length in 0u64..2000) {
            let expected = match (first <= last, first < length) {
                (false, _) => Ranges::Whole,
                (true, false) => Ranges::NotSatisfiable,
                (true, true) => one(first, (last + 1).min(length)),
            };
            prop_assert_eq!(resolve_line(&format!("bytes={first}-{last}"), length, 16), expected);
        }

        #[test]
        fn any_text_resolves_inside_the_representation(line in "\\PC*", length: u64) {
            prop_assert!(is_inside(&resolve_line(&line, length, 16), length));
        }

        #[test]
        fn any_likely_text_resolves_inside_the_representation(line in "bytes=[0-9,\\- ]{0,24}", length: u64) {
            prop_assert!(is_inside(&resolve_line(&line, length, 16), length));
        }

        #[test]
        fn any_set_is_answered_with_all_that_it_asks_for_and_little_else(
            asked in proptest::collection::vec((0u64..2000, 0u64..400), 1..20),
            length in 0u64..2000,
        ) {
            let set: Vec<_> =
                asked.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
            let resolved = resolve_line(&format!("bytes={}", set.join(",")), length, 16);
            prop_assert!(is_inside(&resolved, length));
            let is_asked_for = |position: u64| {
                asked.iter().any(|(first, more)| (*first..=first + more).contains(&position))
            };
            let answered = match resolved {
                Ranges::Whole => {
                    prop_assert!(asked.len() > 16);
                    return Ok(());
                }
                Ranges::NotSatisfiable => Vec::new(),
                Ranges::One(range) => vec![range],
                Ranges::Several(ranges) => ranges,
            };
            prop_assert!(asked.len() <= 16 && answered.len() <= asked.len());
            for position in 0..length {
                let times =
                    answered.iter().filter(|range| (range.start..range.end).contains(&position)).count();
                let is_near = || {
                    (position.saturating_sub(79)..position).any(is_asked_for)
                        && (position..position + 80).any(is_asked_for)
                };
                if is_asked_for(position) {
                    prop_assert_eq!(times, 1, "{} is asked for", position);
                } else {
                    prop_assert!(times == 0 || (times == 1 && is_near()), "{}", position);
                }
            }
        }
    }

    fn is_inside(resolved: &Ranges, length: u64) -> bool {
        let holds = |range: &ByteRange| range.start < range.end && range.end <= length;
        match resolved {
            Ranges::Whole | Ranges::NotSatisfiable => true,
            Ranges::One(range) => holds(range),
            Ranges::Several(ranges) => (2..=16).contains(&ranges.len()) && ranges.iter().all(holds),
        }
    }
}
