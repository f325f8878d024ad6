//! What an HLS or DASH manifest says of its own life: whether it goes on, and how soon the next version may come.
//!
//! RFC 8216 §4.3.3.1 (`EXT-X-TARGETDURATION`), §4.3.3.4 (`EXT-X-ENDLIST`), §4.3.3.5 (`EXT-X-PLAYLIST-TYPE`), §6.3.4
//! (reloading); ISO/IEC 23009-1 §5.3.1.2 (`MPD@type`, `MPD@minimumUpdatePeriod`).

mod dash;
mod hls;
mod life;
mod period;

use http::{
    StatusCode,
    header::{self, HeaderMap},
};

pub(crate) use self::life::Playlist;
use self::{dash::Root, hls::Lines};
use super::fields::media_type;
use crate::policy::Policy;

/// Reads a manifest piece by piece, in memory of a fixed size.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    bytes: u64,
    text: Text,
}

/// The text of a manifest, as far as its first byte tells it.
#[derive(Debug, Default)]
enum Text {
    /// No byte has come but a byte order mark and white space.
    #[default]
    Unbegun,
    Hls(Lines),
    Dash(Root),
    Neither,
}

impl Scanner {
    /// A scanner for the response to a request for `path`, if the response is a manifest that can be read.
    pub(crate) fn of(
        path: &str,
        status: StatusCode,
        headers: &HeaderMap,
        policy: &Policy,
    ) -> Option<Box<Self>> {
        let is_read = status == StatusCode::OK
            && policy.is_manifest(path, media_type(headers))
            && !headers.contains_key(header::CONTENT_ENCODING);
        is_read.then(Box::default)
    }

    /// Reads the next bytes.
    pub(crate) fn read(&mut self, piece: &[u8]) {
        self.bytes = self.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let mut piece = piece;
        if matches!(self.text, Text::Unbegun) {
            let is_before_the_text = |byte: &u8| BEFORE_THE_TEXT.contains(byte);
            let before = piece.iter().take_while(|byte| is_before_the_text(byte)).count();
            piece = piece.get(before..).unwrap_or_default();
            self.text = match piece.first() {
                None => Text::Unbegun,
                Some(b'#') => Text::Hls(Lines::default()),
                Some(b'<') => Text::Dash(Root::default()),
                Some(_) => Text::Neither,
            };
        }
        match &mut self.text {
            Text::Hls(lines) => lines.read(piece),
            Text::Dash(root) => root.read(piece),
            Text::Unbegun | Text::Neither => {}
        }
    }

    /// What the manifest says, if all of its `complete` bytes were read.
    pub(crate) fn found(self, complete: u64) -> Playlist {
        match self.text {
            _ if self.bytes != complete => Playlist::Unknown,
            Text::Hls(lines) => lines.found(),
            Text::Dash(root) => root.found(),
            Text::Unbegun | Text::Neither => Playlist::Unknown,
        }
    }
}

/// The bytes of a byte order mark, and white space.
const BEFORE_THE_TEXT: [u8; 7] = [0xef, 0xbb, 0xbf, b' ', b'\t', b'\r', b'\n'];

#[cfg(test)]
mod tests;
