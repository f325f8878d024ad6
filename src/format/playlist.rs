//! Writes and reads what a manifest says of its own life.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::wire::Input;
use crate::semantics::playlist::Playlist;

/// Puts the life of a playlist. No record has an unknown one.
pub(super) fn put_playlist(out: &mut BytesMut, playlist: Playlist) {
    let target = playlist.target().map_or(0, |target| u64::try_from(target.as_millis()).unwrap_or(u64::MAX));
    out.put_u8(match playlist {
        Playlist::Unknown => 0,
        Playlist::Ended => 1,
        Playlist::Multivariant => 2,
        Playlist::Live(_) => 3,
    });
    out.put_u64(target);
}

/// Reads the life of a playlist. Returns `None` if only a later version knows it.
pub(super) fn playlist(input: &mut Input<'_>) -> Option<Playlist> {
    let (life, target) = (input.number::<1>()?, input.number::<8>()?);
    match (life, target) {
        (1, 0) => Some(Playlist::Ended),
        (2, 0) => Some(Playlist::Multivariant),
        (3, 0) => Some(Playlist::Live(None)),
        (3, target) => Some(Playlist::Live(Some(Duration::from_millis(target)))),
        _ => None,
    }
}
