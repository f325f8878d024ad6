//! Puts the pieces of a chunk that is under way.

use bytes::Bytes;

use crate::{engine::state::records::Records, error::Error, format::layout::Layout};

/// Whether the chunk that begins at `offset` is stored, of a body of `complete` bytes. No, if none begins there.
pub(super) async fn is_stored(records: &Records, layout: Layout, complete: Option<u64>, offset: u64) -> bool {
    let layout = Layout { length: complete.unwrap_or(u64::MAX), ..layout };
    let (index, within) = layout.locate(offset);
    within == 0 && records.chunk(layout.chunk(index)).await.is_ok()
}

/// Puts `bytes`, which begin with a piece at `offset`, as pieces. A piece that was put before it was full is put anew.
pub(super) async fn put_pieces(
    records: &Records,
    layout: Layout,
    offset: u64,
    bytes: &Bytes,
) -> Result<(), Error> {
    let end = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    let within = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX).min(bytes.len());
    for piece in layout.pieces(offset..end) {
        let name = layout.piece(piece.start);
        records.put_piece(name, &bytes.slice(within(piece.start)..within(piece.end))).await?;
    }
    Ok(())
}
