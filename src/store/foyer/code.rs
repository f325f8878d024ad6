//! The format of keys and values on the disk.
//!
//! The types and their [`Code`] are our own. If another crate in the build switches on foyer's feature `serde`, foyer
//! writes all types that it knows in another format.

use std::{
    borrow::Borrow,
    io::{self, Read, Write},
};

use bytes::Bytes;
use foyer::{Code, Error, ErrorKind, Result};

/// A key of the store.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(Box<str>);

impl Key {
    /// Returns `None` for a key that is longer than any key of the cache.
    pub(super) fn new(key: &str) -> Option<Self> {
        (key.len() <= usize::from(LONGEST_KEY)).then(|| Self(key.into()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Code for Key {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        let length = u16::try_from(self.0.len()).map_err(|_| malformed("a key is too long"))?;
        writer.write_all(&length.to_be_bytes()).map_err(Error::io_error)?;
        writer.write_all(self.0.as_bytes()).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let length = u16::from_be_bytes(read(reader)?);
        if length > LONGEST_KEY {
            return Err(malformed("a key is too long"));
        }
        let mut key = vec![0; usize::from(length)];
        reader.read_exact(&mut key).map_err(Error::io_error)?;
        expect_end(reader)?;
        let key = String::from_utf8(key).map_err(|_| malformed("a key is not text"))?;
        Ok(Self(key.into()))
    }

    fn estimated_size(&self) -> usize {
        self.0.len().saturating_add(2)
    }
}

/// The state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The value that was put.
    Put(Bytes),
    /// The key was removed. The removal is written like a value. The earlier value may stay on the disk until its block
    /// is written again, and foyer would find it there after a restart.
    Removed,
}

impl Value {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Put(bytes) => bytes.len(),
            Self::Removed => 0,
        }
    }

    pub(super) fn put(&self) -> Option<Bytes> {
        match self {
            Self::Put(bytes) => Some(bytes.clone()),
            Self::Removed => None,
        }
    }
}

impl Code for Value {
    fn encode(&self, writer: &mut impl Write) -> Result<()> {
        let (kind, bytes): (u8, &[u8]) = match self {
            Self::Put(bytes) => (KIND_PUT, bytes),
            Self::Removed => (KIND_REMOVED, &[]),
        };
        let length = u32::try_from(bytes.len()).map_err(|_| malformed("a value is too long"))?;
        writer.write_all(&[kind]).map_err(Error::io_error)?;
        writer.write_all(&length.to_be_bytes()).map_err(Error::io_error)?;
        writer.write_all(bytes).map_err(Error::io_error)
    }

    fn decode(reader: &mut impl Read) -> Result<Self> {
        let [kind] = read(reader)?;
        let length = u32::from_be_bytes(read(reader)?);
        if length > LARGEST_VALUE {
            return Err(malformed("a value is too long"));
        }
        let length = usize::try_from(length).map_err(|_| malformed("a value is too long"))?;
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes).map_err(Error::io_error)?;
        expect_end(reader)?;
        match kind {
            KIND_PUT => Ok(Self::Put(bytes.into())),
            KIND_REMOVED if length == 0 => Ok(Self::Removed),
            _ => Err(malformed("a value is of no known kind")),
        }
    }

    fn estimated_size(&self) -> usize {
        self.len().saturating_add(5)
    }
}

fn read<const N: usize>(reader: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).map_err(Error::io_error)?;
    Ok(bytes)
}

fn expect_end(reader: &mut impl Read) -> Result<()> {
    match io::copy(&mut reader.take(1), &mut io::sink()) {
        Ok(0) => Ok(()),
        Ok(_) => Err(malformed("bytes are left over")),
        Err(error) => Err(Error::io_error(error)),
    }
}

fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Parse, what)
}

/// Eight times the longest key of the cache.
pub(super) const LONGEST_KEY: u16 = 1024;

/// The largest chunk size, and room for a trailer.
pub(super) const LARGEST_VALUE: u32 = (64 << 20) + 4096;

/// The bytes written beside a key and a value: the header of foyer, and the lengths here.
pub(super) const OVERHEAD: u64 = 36 + 2 + 5;

const KIND_PUT: u8 = 1;
const KIND_REMOVED: u8 = 2;

/// A length as the stores count it.
pub(super) fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

pub(super) const TOO_LARGE: &str = "value is larger than the store takes";

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(code: &impl Code) -> Vec<u8> {
        let mut bytes = Vec::new();
        code.encode(&mut bytes).unwrap();
        assert_eq!(bytes.len(), code.estimated_size());
        bytes
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        for value in [Value::Removed, Value::Put(Bytes::new()), Value::Put(vec![7; 70_000].into())] {
            assert_eq!(Value::decode(&mut &encoded(&value)[..]).unwrap(), value);
        }
        for key in ["", "c/0123456789abcdef/17", &"k".repeat(1024)] {
            let key = Key::new(key).unwrap();
            assert_eq!(Key::decode(&mut &encoded(&key)[..]).unwrap(), key);
        }
        assert_eq!(Key::new(&"k".repeat(1025)), None);
    }

    #[test]
    fn the_format_is_that_of_the_disks_out_there() {
        assert_eq!(encoded(&Value::Put(Bytes::from_static(b"abc"))), b"\x01\0\0\0\x03abc");
        assert_eq!(encoded(&Value::Removed), b"\x02\0\0\0\0");
        assert_eq!(encoded(&Key::new("m/0").unwrap()), b"\0\x03m/0");
    }

    #[test]
    fn anything_else_is_an_error() {
        let values: [&[u8]; 9] = [
            b"",
            b"\x01",
            b"\x01\0\0\0",
            b"\x01\0\0\0\x03ab",
            b"\x01\0\0\0\x03abcd",
            b"\0\0\0\0\0",
            b"\x03\0\0\0\x01a",
            b"\x02\0\0\0\x01a",
            b"\x01\xff\xff\xff\xffabc",
        ];
        for bytes in values {
            assert!(Value::decode(&mut &*bytes).is_err(), "{bytes:?}");
        }
        let keys: [&[u8]; 5] = [b"", b"\0", b"\0\x03ab", b"\0\x03abcd", b"\0\x01\xff"];
        for bytes in keys {
            assert!(Key::decode(&mut &*bytes).is_err(), "{bytes:?}");
        }
        let long = [&[4, 1][..], &[b'k'; 1025]].concat();
        assert!(Key::decode(&mut &long[..]).is_err());
    }

    #[test]
    fn a_buffer_that_is_too_small_is_told_from_a_fault() {
        let mut small = [0; 16];
        let error = Value::Put(vec![7; 100].into()).encode(&mut &mut small[..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BufferSizeLimit);
    }
}
