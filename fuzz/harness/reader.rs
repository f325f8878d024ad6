//! The bytes of a script, as numbers, choices and fields.

use http::HeaderValue;

use super::{
    script::{Row, Value},
    words::{CACHE_CONTROL, MORE_CACHE_CONTROL},
};

/// The bytes of a script.
pub(super) struct Reader<'a> {
    /// The bytes that have not been read yet.
    data: &'a [u8],
    /// The script has the choices that the first scripts did not have.
    pub(super) more: bool,
    /// The script has the choices that came with parts.
    pub(super) parts: bool,
    /// The script has the choices that came with named clients.
    pub(super) clients: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn of(data: &'a [u8]) -> Self {
        Self { data, more: false, parts: false, clients: false }
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.data.split_first() else { return 0 };
        self.data = rest;
        *first
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(super) fn rarely(&mut self) -> bool {
        self.byte() % 32 == 31
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder is less than its divisor")]
    pub(super) fn pick<T: Clone, const N: usize>(&mut self, table: &[T; N]) -> T {
        table[usize::from(self.byte()) % N].clone()
    }

    /// Up to 31 raw bytes.
    pub(super) fn raw(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte() % 32).min(self.data.len());
        let (raw, rest) = self.data.split_at(length);
        self.data = rest;
        raw.to_vec()
    }

    /// Picks from both tables if the script has more, else from the first.
    #[expect(
        clippy::indexing_slicing,
        reason = "a remainder is less than its divisor, and no table is empty"
    )]
    fn pick_more<T: Copy>(&mut self, table: &[T], more: &[T]) -> T {
        let count = table.len() + if self.more { more.len() } else { 0 };
        let picked = usize::from(self.byte()) % count;
        table.get(picked).copied().unwrap_or_else(|| more[picked - table.len()])
    }

    /// Up to 4 fields. Each has a value of its row, or a raw one.
    pub(super) fn fields(&mut self, table: &[Row], more: &[Row]) -> Vec<(&'static str, Value)> {
        let count = self.byte() % 5;
        let mut fields = Vec::new();
        for _ in 0..count {
            let (name, values) = self.pick_more(table, more);
            let value = usize::from(self.byte());
            let fixed = values.get(value % (values.len() + 1)).cloned();
            fields.push((name, fixed.unwrap_or_else(|| Value::Raw(self.raw()))));
        }
        fields
    }

    pub(super) fn cache_control(&mut self) -> HeaderValue {
        let line = self.pick_more(&CACHE_CONTROL, &MORE_CACHE_CONTROL);
        let fixed = HeaderValue::from_static(line);
        if line.is_empty() {
            return HeaderValue::from_bytes(&self.raw()).unwrap_or(fixed);
        }
        fixed
    }
}
