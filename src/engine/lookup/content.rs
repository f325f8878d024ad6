//! Which bytes of a stored response an answer has.

use super::lookup::Entry;
use crate::{
    format::manifest::Layout,
    semantics::{multipart::Multipart, range::ByteRange},
};

/// What is sent of a stored response.
pub(super) enum Content {
    /// All of a body whose end is not known.
    Open,
    Part(ByteRange),
    Parts(Box<Multipart>),
}

impl Content {
    pub(super) const NOTHING: Self = Self::Part(ByteRange { start: 0, end: 0 });

    /// Whether all of it is known to be in the store before its first byte leaves.
    pub(super) fn is_all_stored(&self, entry: &Entry, some_is_missing: bool) -> bool {
        let layout = entry.layout();
        let (first, _) = layout.locate(self.start());
        // The first chunk is: it was waited for. Of what is poured, there is no record before the end.
        let is_one = matches!(self, Self::Part(_)) && self.until(layout).saturating_sub(first) <= 1;
        entry.pouring.is_none() && (is_one || !some_is_missing && !entry.manifest.sparse)
    }

    pub(super) fn length(&self) -> Option<u64> {
        match self {
            Self::Open => None,
            Self::Part(range) => Some(range.length()),
            Self::Parts(multipart) => Some(multipart.length()),
        }
    }

    /// The first byte of the body that is sent.
    pub(super) fn start(&self) -> u64 {
        match self {
            Self::Open => 0,
            Self::Part(range) => range.start,
            Self::Parts(multipart) => multipart.parts.first().map_or(0, |part| part.range.start),
        }
    }

    /// The chunk after the last that is sent.
    pub(super) fn until(&self, layout: Layout) -> u64 {
        let size = u64::from(layout.chunk_size.max(1));
        self.end().map_or(u64::MAX, |end| end.div_ceil(size))
    }

    /// The end of the last byte that is sent, if that is known.
    pub(super) fn end(&self) -> Option<u64> {
        match self {
            Self::Open => None,
            Self::Part(range) => Some(range.end),
            Self::Parts(multipart) => multipart.parts.iter().map(|part| part.range.end).max(),
        }
    }
}
