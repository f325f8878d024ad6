//! The tags of an HLS playlist that say how it goes on.
//!
//! RFC 8216 §4.1 (lines), §4.3.3 (media playlists), §4.3.4 (lists of playlists).

use std::{mem, time::Duration};

use super::{life::Playlist, period::seconds};

/// The lines of a playlist.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a tag that has come or has not")]
pub(super) struct Lines {
    /// The first bytes of the line under way.
    line: Vec<u8>,
    has_begun: bool,
    /// The first line says that this is a playlist.
    is_playlist: bool,
    target: Option<Duration>,
    has_ended: bool,
    has_segments: bool,
    names_playlists: bool,
}

impl Lines {
    pub(super) fn read(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                b'\n' | b'\r' => self.end_line(),
                byte if self.line.len() < LONGEST_LINE => self.line.push(*byte),
                _ => {}
            }
        }
    }

    /// What the playlist says. Its last line may lack an end.
    pub(super) fn found(mut self) -> Playlist {
        self.end_line();
        match self.target {
            _ if !self.is_playlist => Playlist::Unknown,
            _ if self.has_ended => Playlist::Ended,
            None if self.names_playlists && !self.has_segments => Playlist::Multivariant,
            target => Playlist::Live(target),
        }
    }

    fn end_line(&mut self) {
        let mut line = mem::take(&mut self.line);
        let (name, value) = tag(line.trim_ascii());
        if !self.has_begun {
            (self.has_begun, self.is_playlist) = (true, name.starts_with(b"#EXTM3U"));
        }
        match name {
            // A playlist has one. If it has more, the shortest counts: none of them may be exceeded.
            b"#EXT-X-TARGETDURATION" => {
                self.target = [self.target, seconds(value)].into_iter().flatten().min();
            }
            b"#EXT-X-ENDLIST" => self.has_ended = true,
            b"#EXT-X-PLAYLIST-TYPE" => self.has_ended |= value == b"VOD",
            b"#EXTINF" => self.has_segments = true,
            b"#EXT-X-STREAM-INF" | b"#EXT-X-I-FRAME-STREAM-INF" => self.names_playlists = true,
            _ => {}
        }
        // The room stays.
        line.clear();
        self.line = line;
    }
}

/// The name and the value of a tag.
fn tag(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
    let (name, value) = line.split_at_checked(end).unwrap_or((line, &[]));
    (name, value.get(1..).unwrap_or_default().trim_ascii())
}

/// As much of a line as tells its tag, and a number after it.
const LONGEST_LINE: usize = 64;
