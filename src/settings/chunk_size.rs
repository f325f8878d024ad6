//! [`ChunkSize`]: the size of the pieces that a body is stored in.

use crate::error::Error;

/// The size of the chunks that a body is stored in, all but the last.
///
/// ```
/// use tower_video_cache::ChunkSize;
///
/// assert_eq!(ChunkSize::default().bytes(), 1 << 20);
/// assert_eq!(ChunkSize::new(256 << 10)?.bytes(), 256 << 10);
/// assert!(ChunkSize::try_from(0).unwrap_err().is_config());
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSize(u32);

impl ChunkSize {
    /// A chunk size from 1 byte to 64 MiB.
    ///
    /// Small chunks cost more calls of the store. Large chunks cost memory, and they cost time before a range is
    /// served, because a chunk's checksum is verified before any byte of the chunk leaves.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for zero or more than 64 MiB.
    pub fn new(bytes: u32) -> Result<Self, Error> {
        match bytes {
            1..=LARGEST_CHUNK => Ok(Self(bytes)),
            _ => Err(Error::config("a chunk size is from 1 byte to 64 MiB")),
        }
    }

    /// The size in bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for ChunkSize {
    /// 1 MiB.
    fn default() -> Self {
        Self(1 << 20)
    }
}

impl TryFrom<u32> for ChunkSize {
    type Error = Error;

    /// [`ChunkSize::new`].
    fn try_from(bytes: u32) -> Result<Self, Error> {
        Self::new(bytes)
    }
}

const LARGEST_CHUNK: u32 = 64 << 20;
