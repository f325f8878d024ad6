//! Writes and reads the parts of a record.
//!
//! Numbers are big-endian. A byte string has its length before it in 4 bytes. A time is seconds in 8 bytes and
//! nanoseconds in 4. Reading allocates nothing by a claimed length.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

/// Puts the sum of the record at its end.
pub(super) fn seal(record: &mut BytesMut) {
    let sum = xxh3_64(record);
    record.put_u64(sum);
}

/// Begins to read a record. Returns `None` if the sum is wrong.
pub(super) fn open(record: &[u8]) -> Option<Input<'_>> {
    let (content, sum) = record.split_last_chunk()?;
    (xxh3_64(content) == u64::from_be_bytes(*sum)).then_some(Input(content))
}

/// The part of a record that has not been read yet.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(array)
    }

    /// Reads a big-endian number of `N` bytes, 8 at most.
    pub(super) fn number<const N: usize>(&mut self) -> Option<u64> {
        let bytes: &[u8; N] = self.array()?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number::<4>()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn time(&mut self) -> Option<SystemTime> {
        let seconds = self.number::<8>()?;
        let nanoseconds = u32::try_from(self.number::<4>()?).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
    }
}

/// Every string here is a header field or a key, and servers limit both far below 4 GiB. A longer string would make a
/// record that does not decode, which is a miss.
pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

/// Writes a count in `N` bytes. A count that does not fit makes a record that does not decode.
pub(super) fn put_count<const N: usize>(out: &mut BytesMut, count: usize) {
    out.put_uint(u64::try_from(count).unwrap_or(u64::MAX).min(u64::MAX >> (64 - 8 * N)), N);
}

/// Writes a time. A time before 1970 is written as 1970, which is old enough to be stale either way.
pub(super) fn put_time(out: &mut BytesMut, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    out.put_u64(since.as_secs());
    out.put_u32(since.subsec_nanos());
}
