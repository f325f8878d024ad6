//! Periods as manifests write them.
//!
//! RFC 8216 §4.2 (decimal numbers); XML Schema Part 2 §3.2.6 (`xs:duration`).

use std::time::Duration;

/// The period of so many seconds, such as `6` or `6.006`. The text may go on after the number. Returns `None` if there
/// is no number, or if the period is shorter than a millisecond.
pub(super) fn seconds(text: &[u8]) -> Option<Duration> {
    let (milliseconds, _) = number(text)?;
    period(milliseconds)
}

/// The period that an `xs:duration` names, such as `PT2S` or `P0DT0H0M0.5S`. A year has 365 days, and a month 30.
/// Returns `None` if it is none, or is shorter than a millisecond.
pub(super) fn duration(text: &[u8]) -> Option<Duration> {
    let mut rest = text.trim_ascii().strip_prefix(b"P")?;
    let (mut milliseconds, mut is_of_a_day) = (0_u64, false);
    while !rest.is_empty() {
        if let (Some(time), false) = (rest.strip_prefix(b"T"), is_of_a_day) {
            (rest, is_of_a_day) = (time, true);
            continue;
        }
        let (count, after) = number(rest)?;
        let (unit, after) = after.split_first()?;
        let unit = match (unit, is_of_a_day) {
            (b'Y', false) => 365 * DAY,
            (b'M', false) => 30 * DAY,
            (b'D', false) => DAY,
            (b'H', true) => 3600,
            (b'M', true) => 60,
            (b'S', true) => 1,
            _ => return None,
        };
        milliseconds = milliseconds.saturating_add(count.saturating_mul(unit));
        rest = after;
    }
    period(milliseconds)
}

/// The number that the text begins with, in thousandths, and the rest of the text.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let (whole, rest) = digits(text);
    let (part, rest) = match rest.strip_prefix(b".") {
        Some(part) => digits(part),
        None => (&[][..], rest),
    };
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let of = |digits: &mut dyn Iterator<Item = u8>| {
        digits.fold(0_u64, |number, digit| {
            number.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0')))
        })
    };
    let thousandths = of(&mut part.iter().copied().chain(*b"000").take(3));
    Some((of(&mut whole.iter().copied()).saturating_mul(1000).saturating_add(thousandths), rest))
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at_checked(count).unwrap_or((text, &[]))
}

fn period(milliseconds: u64) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds.min(LONGEST)))
}

/// The seconds of a day.
const DAY: u64 = 86_400;

/// RFC 9111 §1.2.2: the seconds that count as infinity, in milliseconds.
const LONGEST: u64 = (1 << 31) * 1000;
