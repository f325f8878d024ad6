//! The mark that an invalidation leaves beside the record that it removes.
//!
//! ```text
//! "TVCI" │ version 1 │ random bits 16
//! ```
//! Marks are compared and never decoded. Every invalidation leaves a different one, so a fill can tell that an
//! invalidation came in between, whatever the clocks of the nodes say.

use bytes::{BufMut, Bytes, BytesMut};

use super::key::Generation;

/// The mark of one invalidation.
pub(crate) fn mark(of: Generation) -> Bytes {
    let mut out = BytesMut::with_capacity(MAGIC.len() + 1 + 16);
    out.put_slice(MAGIC);
    out.put_u8(VERSION);
    out.put_u128(of.0);
    out.freeze()
}

const MAGIC: &[u8] = b"TVCI";
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_keep_their_format_and_differ() {
        assert_eq!(mark(Generation(7)), [&b"TVCI\x01"[..], &[0; 15], &[7]].concat());
        assert_ne!(mark(Generation(7)), mark(Generation(8)));
    }
}
