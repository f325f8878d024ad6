//! [`Short`]: a short text of ASCII, written on the stack.
//!
//! Each hit writes some numbers. `format!` takes several times as long as the digits do, and allocates.

use http::HeaderValue;

/// A text of at most `N` bytes.
pub(crate) struct Short<const N: usize> {
    bytes: [u8; N],
    /// At most `N`.
    length: usize,
}

impl<const N: usize> Short<N> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; N], length: 0 }
    }

    /// Adds ASCII, as much as fits. So `N` has to be large enough for all that is written.
    pub(crate) fn text(mut self, text: &str) -> Self {
        debug_assert!(text.is_ascii(), "a value of a field has it");
        let end = self.length.saturating_add(text.len());
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(text.as_bytes());
            self.length = end;
        }
        self
    }

    /// Adds the digits of a number.
    pub(crate) fn number(self, number: u64) -> Self {
        self.text(itoa::Buffer::new().format(number))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    pub(crate) fn as_str(&self) -> &str {
        // It is ASCII.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// The text as the value of a field.
    pub(crate) fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(self.as_bytes()).ok()
    }
}

/// The digits of the largest `u64`.
pub(crate) const MOST_DIGITS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_digits_that_format_writes() {
        let powers = (0..20).map(|exponent| 10_u64.pow(exponent));
        let near = powers.flat_map(|power| [power - 1, power, power + 1]);
        for number in near.chain([7, 1_234_567, u64::MAX - 1, u64::MAX]) {
            let written = Short::<MOST_DIGITS>::new().number(number);
            assert_eq!(written.as_str(), number.to_string());
            assert_eq!(written.value().unwrap(), number.to_string());
        }
    }

    #[test]
    fn texts_and_numbers_follow_each_other() {
        let written = Short::<24>::new().text("bytes ").number(0).text("-").number(99).text("/").number(100);
        assert_eq!(written.as_str(), "bytes 0-99/100");
    }

    #[test]
    fn a_part_that_does_not_fit_is_left_out() {
        let written = Short::<4>::new().text("abc").number(12).text("de").number(3);
        assert_eq!(written.as_str(), "abc3");
    }
}
