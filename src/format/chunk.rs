//! A chunk record: the payload, then a trailer that proves which chunk it is, or which piece of a chunk.
//!
//! ```text
//! payload │ generation 16 │ index 8 │ payload length 4 │ version 1 │ summed 1 │ piece 2 │ xxh3-64 8
//! ```
//! Numbers are big-endian. `piece` is 0 for a whole chunk, else the number of the piece plus 1. The sum covers every
//! byte before it. The trailer comes last, so the payload is a slice of the record and needs no copy.

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use super::key::Generation;

/// The identity that a chunk record must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkName {
    pub(crate) generation: Generation,
    pub(crate) index: u64,
    /// The payload's length in bytes.
    pub(crate) length: usize,
}

/// The identity that the record of a piece must prove. A piece is a part of a chunk that came before the rest of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PieceName {
    pub(crate) generation: Generation,
    /// The index of the chunk.
    pub(crate) index: u64,
    /// The number of the piece in its chunk.
    pub(crate) number: u16,
    /// The most bytes that the piece may have. A piece that is still coming has fewer.
    pub(crate) longest: usize,
}

/// Whether a record carries a checksum, and is refused without one.
///
/// A store in this process's own memory cannot alter a value. Hashing a megabyte to serve a part of it would cost more
/// than everything else together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checksum {
    Required,
    Omitted,
}

/// Appends the trailer to a buffer that holds the payload.
///
/// No chunk size allows a payload of 4 GiB or more. Such a payload would make a record that does not open.
pub(crate) fn seal(payload: BytesMut, generation: Generation, index: u64, checksum: Checksum) -> Bytes {
    seal_any(payload, generation, index, 0, checksum)
}

/// Appends the trailer to a buffer that holds the bytes of a piece.
pub(crate) fn seal_piece(payload: BytesMut, name: PieceName, checksum: Checksum) -> Bytes {
    seal_any(payload, name.generation, name.index, name.number.saturating_add(1), checksum)
}

fn seal_any(
    mut payload: BytesMut,
    generation: Generation,
    index: u64,
    piece: u16,
    checksum: Checksum,
) -> Bytes {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    payload.put_u128(generation.0);
    payload.put_u64(index);
    payload.put_u32(length);
    payload.put_u8(VERSION);
    payload.put_u8(u8::from(checksum == Checksum::Required));
    payload.put_u16(piece);
    let sum = match checksum {
        Checksum::Required => xxh3_64(&payload),
        Checksum::Omitted => 0,
    };
    payload.put_u64(sum);
    payload.freeze()
}

/// The payload of a record, or `None` if the record does not prove to be the named chunk.
pub(crate) fn open(record: &Bytes, name: ChunkName, checksum: Checksum) -> Option<Bytes> {
    let payload = open_any(record, name.generation, name.index, 0, checksum)?;
    (payload.len() == name.length).then_some(payload)
}

/// The bytes of a piece, one at least, or `None` if the record does not prove to be the named piece.
pub(crate) fn open_piece(record: &Bytes, name: PieceName, checksum: Checksum) -> Option<Bytes> {
    let number = name.number.checked_add(1)?;
    let payload = open_any(record, name.generation, name.index, number, checksum)?;
    (1..=name.longest).contains(&payload.len()).then_some(payload)
}

fn open_any(
    record: &Bytes,
    generation: Generation,
    index: u64,
    piece: u16,
    checksum: Checksum,
) -> Option<Bytes> {
    let (payload, trailer) = record.split_at_checked(record.len().checked_sub(TRAILER)?)?;
    let (summed, sum) = record.split_at_checked(record.len().checked_sub(SUM)?)?;
    let proof = Trailer::read(trailer)?;
    let named = Trailer { generation, index, piece, length: u32::try_from(payload.len()).ok()? };
    if proof.0 != named {
        return None;
    }
    match (checksum, proof.1) {
        (Checksum::Omitted, _) => {}
        (Checksum::Required, Checksum::Omitted) => return None,
        (Checksum::Required, Checksum::Required) => {
            if xxh3_64(summed).to_be_bytes() != sum {
                return None;
            }
        }
    }
    Some(record.slice(..payload.len()))
}

#[derive(PartialEq, Eq)]
struct Trailer {
    generation: Generation,
    index: u64,
    length: u32,
    piece: u16,
}

impl Trailer {
    fn read(trailer: &[u8]) -> Option<(Self, Checksum)> {
        let (generation, rest) = trailer.split_first_chunk()?;
        let (index, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (checksum, piece) = match rest.first_chunk::<4>()? {
            [VERSION, 0, piece @ ..] => (Checksum::Omitted, piece),
            [VERSION, 1, piece @ ..] => (Checksum::Required, piece),
            _ => return None,
        };
        let trailer = Self {
            generation: Generation(u128::from_be_bytes(*generation)),
            index: u64::from_be_bytes(*index),
            length: u32::from_be_bytes(*length),
            piece: u16::from_be_bytes(*piece),
        };
        Some((trailer, checksum))
    }
}

/// Bytes that a record has beyond its payload.
pub(crate) const TRAILER: usize = 16 + 8 + 4 + 4 + SUM;

const SUM: usize = 8;
const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAME: ChunkName = ChunkName { generation: Generation(7), index: 3, length: 5 };

    fn sealed(checksum: Checksum) -> Bytes {
        seal(BytesMut::from(&b"video"[..]), NAME.generation, NAME.index, checksum)
    }

    #[test]
    fn a_chunk_opens_only_under_its_own_name() {
        let record = sealed(Checksum::Required);
        assert_eq!(record.len(), 5 + TRAILER);
        assert_eq!(open(&record, NAME, Checksum::Required).unwrap(), "video");
        for other in [
            ChunkName { generation: Generation(8), ..NAME },
            ChunkName { index: 4, ..NAME },
            ChunkName { length: 4, ..NAME },
            ChunkName { length: usize::MAX, ..NAME },
        ] {
            assert_eq!(open(&record, other, Checksum::Required), None, "{other:?}");
        }
    }

    #[test]
    fn a_piece_opens_only_under_its_own_name() {
        let piece = PieceName { generation: Generation(7), index: 3, number: 2, longest: 5 };
        let record = seal_piece(BytesMut::from(&b"video"[..]), piece, Checksum::Required);
        assert_eq!(record.len(), 5 + TRAILER);
        assert_eq!(open_piece(&record, piece, Checksum::Required).unwrap(), "video");
        let longer = PieceName { longest: 100, ..piece };
        assert_eq!(open_piece(&record, longer, Checksum::Required).unwrap(), "video", "still coming");
        for other in [
            PieceName { generation: Generation(8), ..piece },
            PieceName { index: 4, ..piece },
            PieceName { number: 1, ..piece },
            PieceName { number: u16::MAX, ..piece },
            PieceName { longest: 4, ..piece },
        ] {
            assert_eq!(open_piece(&record, other, Checksum::Required), None, "{other:?}");
        }
        assert_eq!(open(&record, NAME, Checksum::Required), None, "a piece is no chunk");
        assert_eq!(open_piece(&sealed(Checksum::Required), piece, Checksum::Required), None);
        let empty = seal_piece(BytesMut::new(), piece, Checksum::Required);
        assert_eq!(open_piece(&empty, piece, Checksum::Required), None, "a piece has bytes");
    }

    #[test]
    fn any_flipped_bit_is_seen() {
        let record = sealed(Checksum::Required);
        for bit in 0..record.len() * 8 {
            let mut damaged = record.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&damaged.into(), NAME, Checksum::Required), None, "bit {bit}");
        }
    }

    #[test]
    fn a_record_without_a_sum_is_good_only_where_none_is_required() {
        let record = sealed(Checksum::Omitted);
        assert_eq!(open(&record, NAME, Checksum::Omitted).unwrap(), "video");
        assert_eq!(open(&record, NAME, Checksum::Required), None);
    }

    #[test]
    fn the_record_of_version_1_opens_for_ever() {
        let golden = Bytes::from_static(include_bytes!("golden/chunk-v1.bin"));
        assert_eq!(
            golden,
            sealed(Checksum::Required),
            "records of version 1 are still written byte for byte as before"
        );
        assert_eq!(open(&golden, NAME, Checksum::Required).unwrap(), "video");
    }

    proptest! {
        #[test]
        fn a_sealed_chunk_opens(payload: Vec<u8>, generation: u128, index: u64) {
            let generation = Generation(generation);
            let name = ChunkName { generation, index, length: payload.len() };
            let record = seal(BytesMut::from(&payload[..]), generation, index, Checksum::Required);
            prop_assert_eq!(open(&record, name, Checksum::Required).unwrap(), payload);
        }

        #[test]
        fn hostile_records_do_not_open(record: Vec<u8>, length: usize) {
            let name = ChunkName { length, ..NAME };
            prop_assert_eq!(open(&record.into(), name, Checksum::Required), None);
        }
    }
}
