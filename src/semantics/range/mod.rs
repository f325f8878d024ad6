//! `Range`: parsing it, and resolving it against a length.
//!
//! RFC 9110 §14.1.2 (byte ranges), §14.2 (`Range`), §15.3.7.2 (ranges that are joined). Inside the crate ranges
//! are half-open; only the header fields are inclusive.

use http::header::{self, HeaderMap};

use super::{
    fields::is_whitespace,
    short::{MOST_DIGITS, Short},
};

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
    pub(crate) fn within(self, complete: u64) -> ContentRange {
        self.positions().number(complete)
    }

    /// Its value of `Content-Range`, in a representation whose length is not known yet (RFC 9110 §14.4).
    pub(crate) fn within_unknown(self) -> ContentRange {
        self.positions().text("*")
    }

    fn positions(self) -> ContentRange {
        let last = self.end.saturating_sub(1);
        ContentRange::new().text("bytes ").number(self.start).text("-").number(last).text("/")
    }
}

/// A value of `Content-Range`.
pub(crate) type ContentRange = Short<{ "bytes -/".len() + 3 * MOST_DIGITS }>;

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
    if let Some(spec) = RangeSpec::plain(line.as_bytes()) {
        return spec.resolve(length);
    }
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

/// The first bytes that a request wants of a representation of unknown length. Positions are half-open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The bytes between the first number and the second.
    Between(u64, u64),
    /// The bytes from this one on: from 0 if no `Range` counts.
    From(u64),
    /// So many last bytes.
    Last(u64),
}

impl Wanted {
    /// The first range that a request asks for.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match specs(headers).and_then(|mut specs| specs.next()).flatten() {
            Some(RangeSpec::From(first)) => Self::From(first),
            Some(RangeSpec::Between(first, last)) => Self::Between(first, last.saturating_add(1)),
            Some(RangeSpec::Last(bytes)) => Self::Last(bytes),
            None => Self::From(0),
        }
    }
}

/// Whether the request has a `Range` that counts.
pub(crate) fn is_given(headers: &HeaderMap) -> bool {
    specs(headers).is_some_and(|mut specs| specs.any(|spec| spec.is_some()))
}

/// Whether the request asks for more than one range.
pub(crate) fn are_several(headers: &HeaderMap) -> bool {
    specs(headers).is_some_and(|specs| specs.count() > 1)
}

/// Whether the request wants the first byte. Then a 200 answers it as well as a part (RFC 9110 §14.2).
pub(crate) fn wants_the_start(headers: &HeaderMap) -> bool {
    matches!(Wanted::of(headers), Wanted::From(0) | Wanted::Between(0, _))
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
    /// Reads a line as nearly all players write it: `bytes=0-99` or `bytes=100-`. Any other line is read by the
    /// grammar, with the same result.
    fn plain(line: &[u8]) -> Option<Self> {
        let (first, rest) = plain_number(line.strip_prefix(b"bytes=")?)?;
        let rest = rest.strip_prefix(b"-")?;
        if rest.is_empty() {
            return Some(Self::From(first));
        }
        let (last, rest) = plain_number(rest)?;
        (rest.is_empty() && first <= last).then_some(Self::Between(first, last))
    }

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
        if start < end { Ranges::One(ByteRange { start, end }) } else { Ranges::NotSatisfiable }
    }
}

/// Reads digits only. A number too large for 64 bits becomes the largest one: it lies past any end.
fn number(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Reads the digits at the beginning, if they are so few that the number fits in 64 bits.
fn plain_number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(digits)?;
    let value = digits
        .iter()
        .fold(0_u64, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(digit.wrapping_sub(b'0'))));
    (1..MOST_DIGITS).contains(&digits.len()).then_some((value, rest))
}

/// RFC 9110 §15.3.7.2 puts the overhead between two parts at around 80 bytes.
const PART_OVERHEAD: u64 = 80;

#[cfg(test)]
mod tests;
