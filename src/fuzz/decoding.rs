//! What must hold for any bytes that are decoded: a `Range`, a manifest, a chunk.

use bytes::{Bytes, BytesMut};
use http::{
    header::{self, HeaderMap},
    HeaderValue,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    format::{
        chunk::{self, Checksum, ChunkName, TRAILER},
        key::Generation,
        manifest::Record,
    },
    semantics::range::{resolve, Ranges},
};

/// `data` is the length of a representation in 8 bytes, then the line of a `Range` field.
///
/// # Panics
///
/// If the range is not inside the representation, or is not the one that was asked for.
pub fn range(data: &[u8]) {
    let Some((length, line)) = data.split_first_chunk() else { return };
    let Ok(value) = HeaderValue::from_bytes(line) else { return };
    let length = u64::from_be_bytes(*length);
    let resolved = resolve(&HeaderMap::from_iter([(header::RANGE, value)]), length);
    let asked = Asked::read(line).unwrap_or_default();
    let holds = |position| asked.holds(position, u128::from(length));
    if let Ranges::One(range) = resolved {
        assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
        let (start, end) = (u128::from(range.start), u128::from(range.end));
        // What is asked for has no holes, so its edges tell all of it.
        assert!(holds(start) && holds(end - 1), "{range:?} of {length} is more than {asked:?}");
        let before = start.checked_sub(1);
        assert!(!holds(end) && !before.is_some_and(holds), "{range:?} of {length} is less than {asked:?}");
    } else {
        // If anything is asked for that is there, one of these is: the first position named, or the last there is.
        let edges = [asked.first.unwrap_or(0), u128::from(length.saturating_sub(1))];
        assert!(!edges.into_iter().any(holds), "{resolved:?} of {length}, asked for {asked:?}");
    }
}

/// `data` is a record, or what stands in one between the version and the sum.
///
/// # Panics
///
/// If what decodes is not what is encoded from it.
pub fn manifest(data: &[u8]) {
    let mut framed = [b"TVCM\x01", data].concat();
    framed.extend_from_slice(&xxh3_64(&framed).to_be_bytes());
    for record in [data, &framed] {
        let Some(decoded) = Record::decode(record) else { continue };
        let encoded = decoded.encode();
        // Not `encoded == record`: a name in upper case, the values of one field apart from each other, or a
        // flag that is neither 0 nor 1 decode as if this crate had written them.
        assert!(encoded.len() <= record.len(), "{decoded:?} grows");
        let again = Record::decode(&encoded);
        assert_eq!(again.as_ref(), Some(&decoded));
        assert_eq!(again.map(|again| again.encode()), Some(encoded), "what was encoded once stays as it is");
    }
}

/// `data` is a generation, an index, a payload length in 2 bytes, then a chunk record.
///
/// # Panics
///
/// If a record opens that was not sealed under the name it is opened by, or one that was does not.
pub fn chunk(data: &[u8]) {
    let Some((generation, rest)) = data.split_first_chunk() else { return };
    let Some((index, rest)) = rest.split_first_chunk() else { return };
    let Some((length, record)) = rest.split_first_chunk() else { return };
    let name = ChunkName {
        generation: Generation(u128::from_be_bytes(*generation)),
        index: u64::from_be_bytes(*index),
        length: usize::from(u16::from_be_bytes(*length)),
    };
    opens_only_as_sealed(record, name);
    if let Some(own) = own_name(record) {
        opens_only_as_sealed(record, own);
        // A guessed sum is never right, so that only a true one lets a wrong trailer be judged.
        let content = but_for_the_sum(record);
        let summed = [content, &xxh3_64(content).to_be_bytes()].concat();
        opens_only_as_sealed(&summed, own);
        opens_only_as_sealed(&summed, name);
    }
    opens_as_sealed(record, name);
}

fn opens_only_as_sealed(record: &[u8], name: ChunkName) {
    let record = Bytes::copy_from_slice(record);
    let seal = |payload: &Bytes, checksum| {
        chunk::seal(BytesMut::from(&payload[..]), name.generation, name.index, checksum)
    };
    if let Some(payload) = chunk::open(&record, name, Checksum::Required) {
        assert_eq!(payload.len(), name.length);
        assert_eq!(seal(&payload, Checksum::Required), record.clone());
        assert_eq!(chunk::open(&record, name, Checksum::Omitted), Some(payload));
    }
    if let Some(payload) = chunk::open(&record, name, Checksum::Omitted) {
        assert_eq!(payload.len(), name.length);
        let sealed = [Checksum::Required, Checksum::Omitted].map(|checksum| seal(&payload, checksum));
        assert!(sealed.iter().any(|sealed| but_for_the_sum(sealed) == but_for_the_sum(&record)));
    }
}

/// Takes the bytes of `payload` for a chunk, whatever the length in its name.
fn opens_as_sealed(payload: &[u8], name: ChunkName) {
    let name = ChunkName { length: payload.len(), ..name };
    for checksum in [Checksum::Required, Checksum::Omitted] {
        let record = chunk::seal(BytesMut::from(payload), name.generation, name.index, checksum);
        assert_eq!(chunk::open(&record, name, checksum).as_deref(), Some(payload));
        for other in [
            ChunkName { generation: Generation(name.generation.0 ^ 1), ..name },
            ChunkName { index: name.index ^ 1, ..name },
            ChunkName { length: name.length ^ 1, ..name },
        ] {
            assert_eq!(chunk::open(&record, other, checksum), None, "{name:?} opens as {other:?}");
        }
    }
}

fn but_for_the_sum(record: &[u8]) -> &[u8] {
    record.split_last_chunk::<8>().map_or(record, |(content, _)| content)
}

/// The name that a record gives itself, with the length that it has.
fn own_name(record: &[u8]) -> Option<ChunkName> {
    let (payload, trailer) = record.split_at_checked(record.len().checked_sub(TRAILER)?)?;
    let (generation, rest) = trailer.split_first_chunk()?;
    let index = rest.first_chunk()?;
    Some(ChunkName {
        generation: Generation(u128::from_be_bytes(*generation)),
        index: u64::from_be_bytes(*index),
        length: payload.len(),
    })
}

/// One range as it was asked for: a first position, a last one, or both; a last one alone is a suffix length.
#[derive(Debug, Default)]
pub(super) struct Asked {
    first: Option<u128>,
    last: Option<u128>,
}

impl Asked {
    /// Reads byte by byte, by the grammar of RFC 9110 §14.1.1; `None` if it is not one range of bytes.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        let (mut asked, mut unit, mut at) = (Self::default(), Vec::new(), At::Unit);
        for byte in line.trim_ascii() {
            at = match (at, byte) {
                (At::Unit, b'=') | (At::Before, b' ' | b'\t' | b',') => At::Before,
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
                (At::Last | At::After, b' ' | b'\t' | b',') => At::After,
                _ => return None,
            };
        }
        (unit == b"bytes" && matches!(at, At::Last | At::After)).then_some(asked)
    }

    /// Whether the byte at `position` of `length` bytes is asked for.
    pub(super) fn holds(&self, position: u128, length: u128) -> bool {
        let asked_for = match (self.first, self.last) {
            (None, None) => false,
            (None, Some(suffix)) => position.saturating_add(suffix) >= length,
            (Some(first), last) => first <= position && last.is_none_or(|last| position <= last),
        };
        asked_for && position < length
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
