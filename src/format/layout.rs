//! How a body is cut into chunks, and a chunk into pieces.

use std::{iter::successors, ops::Range};

use super::{
    chunk::{ChunkName, PieceName},
    key::Generation,
};

/// How a body is cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) generation: Generation,
    /// The size of each chunk but the last; never zero.
    pub(crate) chunk_size: u32,
    /// The length of the whole body.
    pub(crate) length: u64,
}

impl Layout {
    /// The chunk that holds the byte at `offset`, and the position of that byte in the chunk.
    pub(crate) fn locate(&self, offset: u64) -> (u64, usize) {
        let size = u64::from(self.chunk_size.max(1));
        // A remainder of a 32-bit number fits.
        (offset / size, usize::try_from(offset % size).unwrap_or_default())
    }

    /// The number of chunks.
    pub(crate) fn chunks(&self) -> u64 {
        self.length.div_ceil(u64::from(self.chunk_size.max(1)))
    }

    /// The number of chunk reads for these parts, read one after the other. No part may be empty.
    pub(crate) fn reads(&self, parts: impl Iterator<Item = Range<u64>>) -> u64 {
        let mut at = None;
        parts.fold(0, |reads: u64, part| {
            let ((first, _), (last, _)) = (self.locate(part.start), self.locate(part.end.saturating_sub(1)));
            let again = at.replace(last) == Some(first);
            reads.saturating_add(last.saturating_sub(first)).saturating_add(u64::from(!again))
        })
    }

    /// The range of bytes of the chunk that holds the byte at `offset`.
    pub(crate) fn chunk_around(&self, offset: u64) -> Range<u64> {
        let (_, within) = self.locate(offset);
        let start = offset.saturating_sub(u64::try_from(within).unwrap_or_default());
        start..start.saturating_add(u64::from(self.chunk_size.max(1)))
    }

    /// The offset where the piece begins that holds the byte at `offset`.
    pub(crate) fn piece_start(&self, offset: u64) -> u64 {
        let chunk = self.chunk_around(offset);
        offset - (offset - chunk.start) % PIECE_SIZE
    }

    /// The offset where the piece ends that holds the byte before `offset`, if a body has that much.
    pub(crate) fn piece_end(&self, offset: u64) -> u64 {
        let Some(last) = offset.checked_sub(1) else {
            return 0;
        };
        let start = self.piece_start(last);
        start.saturating_add(PIECE_SIZE).min(self.chunk_around(last).end)
    }

    /// The pieces that hold these bytes, cut to them.
    pub(crate) fn pieces(self, bytes: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let cut = move |start: u64| {
            (start < bytes.end).then(|| start..self.piece_end(start.saturating_add(1)).min(bytes.end))
        };
        successors(cut(bytes.start), move |piece| cut(piece.end))
    }

    /// The name that the piece with the byte at `offset` must prove.
    pub(crate) fn piece(&self, offset: u64) -> PieceName {
        let (index, within) = self.locate(offset);
        let start = self.piece_start(offset);
        let end = start.saturating_add(PIECE_SIZE).min(self.chunk_around(offset).end);
        let number = u64::try_from(within).unwrap_or_default() / PIECE_SIZE;
        PieceName {
            generation: self.generation,
            index,
            // A chunk of 64 MiB has 1,024 pieces.
            number: u16::try_from(number).unwrap_or(u16::MAX - 1),
            longest: usize::try_from(end - start).unwrap_or_default(),
        }
    }

    /// The name that the chunk at `index` must prove.
    pub(crate) fn chunk(&self, index: u64) -> ChunkName {
        let start = index.saturating_mul(u64::from(self.chunk_size));
        let length = self.length.saturating_sub(start).min(u64::from(self.chunk_size));
        ChunkName { generation: self.generation, index, length: usize::try_from(length).unwrap_or_default() }
    }
}

/// The most bytes of a piece: a part of a chunk that is stored before the rest of the chunk has come. No first byte
/// waits for more bytes of the inner body than these.
pub(crate) const PIECE_SIZE: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_body_and_end_with_it() {
        let layout = Layout { generation: Generation(1), chunk_size: 10, length: 25 };
        assert_eq!(layout.locate(0), (0, 0));
        assert_eq!(layout.locate(19), (1, 9));
        assert_eq!(layout.locate(20), (2, 0));
        assert_eq!([0, 1, 2, 3].map(|index| layout.chunk(index).length), [10, 10, 5, 0]);
        assert_eq!(layout.chunk(u64::MAX).length, 0);
    }

    #[test]
    fn pieces_cover_each_chunk_and_end_with_it() {
        let (piece, chunk) = (PIECE_SIZE, 2 * PIECE_SIZE + 1000);
        let chunk_size = u32::try_from(chunk).unwrap();
        let layout = Layout { generation: Generation(1), chunk_size, length: u64::MAX };
        // An offset; where its piece begins; the number of the piece, and the most bytes of it.
        for (offset, start, number, longest) in [
            (0, 0, 0, piece),
            (piece - 1, 0, 0, piece),
            (piece, piece, 1, piece),
            (2 * piece, 2 * piece, 2, 1000),
            (chunk - 1, 2 * piece, 2, 1000),
            (chunk, chunk, 0, piece),
            (chunk + piece + 5, chunk + piece, 1, piece),
        ] {
            assert_eq!(layout.piece_start(offset), start, "{offset}");
            assert_eq!(layout.piece_end(offset + 1), start + longest, "{offset}");
            let name = layout.piece(offset);
            let expected = (offset / chunk, number, usize::try_from(longest).unwrap());
            assert_eq!((name.index, name.number, name.longest), expected, "{offset}");
        }
        let pieces: Vec<_> = layout.pieces(5..chunk + 1).collect();
        assert_eq!(pieces, [5..piece, piece..2 * piece, 2 * piece..chunk, chunk..chunk + 1]);
        assert_eq!(layout.pieces(7..7).count(), 0);
        assert_eq!(layout.piece_end(0), 0, "no byte, no piece");
        assert_eq!(layout.piece_end(piece), piece, "the end of a piece is its own");
    }

    #[test]
    fn a_small_chunk_is_one_piece() {
        let layout = Layout { generation: Generation(1), chunk_size: 1000, length: 2500 };
        assert_eq!([0, 999, 1000, 2499].map(|offset| layout.piece_start(offset)), [0, 0, 1000, 2000]);
        assert_eq!([1, 1000, 1001, 2500].map(|offset| layout.piece_end(offset)), [1000, 1000, 2000, 3000]);
    }
}
