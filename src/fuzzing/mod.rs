//! The rules that must hold for any bytes that are decoded: a `Range`, a manifest, a chunk.

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
    policy::Policy,
    semantics::{
        multipart::{Boundary, Multipart},
        range::{resolve, ByteRange, Ranges},
    },
};

/// `data` is the length of a representation in 8 bytes, then the line of a `Range` field.
///
/// # Panics
///
/// If a range is not inside the representation, or the ranges are not those that were asked for.
pub fn range(data: &[u8]) {
    let Some((length, line)) = data.split_first_chunk() else { return };
    let Ok(value) = HeaderValue::from_bytes(line) else { return };
    let length = u64::from_be_bytes(*length);
    let most = Policy::default().most_ranges();
    let resolved = resolve(&HeaderMap::from_iter([(header::RANGE, value)]), length, most);
    let Some(asked) = Asked::read(line).filter(|asked| asked.len() <= most) else {
        assert_eq!(resolved, Ranges::Whole, "of {length}: an invalid or too large set of ranges is ignored");
        return;
    };
    let mut spans: Vec<_> = asked.iter().filter_map(|asked| asked.span(u128::from(length))).collect();
    let ranges = match resolved {
        // A suffix of an empty representation is all of it, which no `Content-Range` can express.
        Ranges::Whole => {
            let is_suffix = |asked: &Asked| asked.first.is_none() && asked.last != Some(0);
            assert!(length == 0 && asked.iter().any(is_suffix), "all of {length}, asked for {asked:?}");
            return;
        }
        Ranges::NotSatisfiable => Vec::new(),
        Ranges::One(range) => vec![range],
        Ranges::Several(ranges) => {
            assert!(ranges.len() > 1, "several ranges are at least two: {ranges:?}");
            holds_as_content(&ranges, length);
            ranges
        }
    };
    let mut first_asked = None;
    for range in &ranges {
        assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
        let (start, end) = (u128::from(range.start), u128::from(range.end));
        // The ranges that it is made of, and the place of the first of them in the request.
        let of_it = |span: &Span| start <= span.0 && span.1 <= end;
        let place = spans.iter().position(of_it);
        assert!(place > first_asked, "{ranges:?} of {length} are not in the order of {asked:?}");
        first_asked = place;
        let mut made_of: Vec<_> = spans.iter().copied().filter(of_it).collect();
        made_of.sort_unstable();
        let mut reached = start;
        for (at, span) in made_of.iter().enumerate() {
            let hole = span.0.saturating_sub(reached);
            assert!(hole < if at == 0 { 1 } else { 80 }, "{range:?} of {length} is more than {asked:?}");
            reached = reached.max(span.1);
        }
        assert_eq!(reached, end, "{range:?} of {length} is more than {asked:?}");
    }
    for (at, one) in ranges.iter().enumerate() {
        for other in ranges.iter().skip(at + 1) {
            let (before, after) = if one.start < other.start { (one, other) } else { (other, one) };
            assert!(before.end.saturating_add(80) <= after.start, "{one:?} and {other:?} are too near");
        }
        spans.retain(|span| span.0 < u128::from(one.start) || u128::from(one.end) < span.1);
    }
    assert!(spans.is_empty(), "{ranges:?} of {length} are less than {asked:?}");
}

/// A content of several parts is shorter than the whole, and has the length that it reports.
fn holds_as_content(ranges: &[ByteRange], length: u64) {
    let media_type = HeaderValue::from_static("video/mp4");
    let Some(multipart) = Multipart::of(ranges, Some(&media_type), length, Boundary(7)) else { return };
    let of_parts: u128 = ranges.iter().map(|range| u128::from(range.length())).sum();
    let texts = multipart.parts.iter().map(|part| part.head.len()).sum::<usize>() + multipart.close.len();
    assert_eq!(u128::from(multipart.length()), of_parts + u128::try_from(texts).unwrap_or(u128::MAX));
    assert!(multipart.length() < length, "{ranges:?} of {length}");
}

/// `data` is a record, or the bytes between the version and the sum of one.
///
/// # Panics
///
/// If a decoded record changes when it is encoded and decoded again.
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
        assert_eq!(again.map(|again| again.encode()), Some(encoded), "encoding again changes nothing");
    }
}

/// `data` is a generation, an index, a payload length in 2 bytes, then a chunk record.
///
/// # Panics
///
/// If a record opens under another name than its own, or does not open under its own.
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
        // A guessed sum is never right. Only with a true sum can a wrong trailer be judged.
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

/// Takes the bytes of `payload` for a chunk, whatever length its name has.
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

/// The name that a record gives itself, with the length of its payload.
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

/// The first position, and the position after the last.
type Span = (u128, u128);

/// One range as asked for: a first position, a last one, or both. A last one alone is the length of a suffix.
#[derive(Debug, Default)]
pub(super) struct Asked {
    first: Option<u128>,
    last: Option<u128>,
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

    /// Whether the range includes the byte at `position` of `length` bytes.
    pub(super) fn holds(&self, position: u128, length: u128) -> bool {
        self.span(length).is_some_and(|(start, end)| (start..end).contains(&position))
    }

    /// Whether the range begins in the chunk of `size` bytes at `first`.
    pub(super) fn begins_in(&self, first: u64, size: u32) -> bool {
        let (first, size) = (u128::from(first), u128::from(size));
        self.first.is_some_and(|begin| (first..first.saturating_add(size)).contains(&begin))
    }

    /// The bytes of the range that exist in `length` bytes, if there are any.
    fn span(&self, length: u128) -> Option<Span> {
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
