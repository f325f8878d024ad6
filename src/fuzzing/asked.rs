//! A second reading of `Range`, by another method than the one it judges.
//!
//! RFC 9110 §14.1.1, §14.2.

/// The first position, and the position after the last.
pub(super) type Span = (u128, u128);

/// One range as asked for: a first position, a last one, or both. A last one alone is the length of a suffix.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) first: Option<u128>,
    pub(super) last: Option<u128>,
}

impl Asked {
    /// Reads byte by byte, by the grammar of RFC 9110 §14.1.1. `None` if it is no set of ranges of bytes.
    pub(super) fn read(line: &[u8]) -> Option<Vec<Self>> {
        let (mut set, mut asked, mut unit, mut at) = (Vec::new(), Self::default(), Vec::new(), At::Unit);
        // The comma ends the last range like the others.
        for byte in line.trim_ascii().iter().chain(b",") {
            if let (At::Last, b' ' | b'\t' | b',') = (&at, byte) {
                let range = std::mem::take(&mut asked);
                if !range.is_valid() {
                    return None;
                }
                set.push(range);
            }
            at = match (at, byte) {
                (At::Unit, b'=') | (At::Before, b' ' | b'\t' | b',') | (At::Last | At::After, b',') => {
                    At::Before
                }
                (At::Unit, _) => {
                    unit.push(byte.to_ascii_lowercase());
                    At::Unit
                }
                (At::Before | At::First, digit @ b'0'..=b'9') => {
                    append(&mut asked.first, *digit);
                    At::First
                }
                (At::Before | At::First, b'-') => At::Last,
                (At::Last, digit @ b'0'..=b'9') => {
                    append(&mut asked.last, *digit);
                    At::Last
                }
                (At::Last | At::After, b' ' | b'\t') => At::After,
                _ => return None,
            };
        }
        (unit == b"bytes" && !set.is_empty()).then_some(set)
    }

    /// The crate treats all positions past 64 bits alike: they are past any end.
    fn is_valid(&self) -> bool {
        let clamped = |position: u128| position.min(u128::from(u64::MAX));
        match (self.first, self.last) {
            (None, None) => false,
            (Some(first), Some(last)) => clamped(first) <= clamped(last),
            _ => true,
        }
    }

    /// The bytes of the range that exist in `length` bytes, if there are any.
    pub(super) fn span(&self, length: u128) -> Option<Span> {
        let (start, end) = match (self.first, self.last) {
            (None, suffix) => (length.saturating_sub(suffix.unwrap_or(0)), length),
            (Some(first), last) => (first, last.map_or(length, |last| length.min(last.saturating_add(1)))),
        };
        (start < end).then_some((start, end))
    }
}

fn append(number: &mut Option<u128>, digit: u8) {
    let tens = number.unwrap_or(0).saturating_mul(10);
    *number = Some(tens.saturating_add(u128::from(digit - b'0')));
}

enum At {
    Unit,
    Before,
    First,
    Last,
    After,
}
