//! The log of purges: a number for each purge, and the selectors of what it purges.
//!
//! ```text
//! "TVCP" │ version 1 │ kind 1 │ … │ xxh3-64 8
//!   p/id        kind 0, the log:  its random number 8
//!   p/LOG/head  kind 1, its end:  number of the last purge 8 │ number of the last one that was taken out 8 │ the strongest
//!                                 fate among those 1
//!   p/LOG/N     kind 2, a purge:  random bits 8 │ fate 1 │ count 1, (selector) …
//!   a selector: all 0 │ one set 1, hash 8 │ the keys with a prefix 2, prefix
//! ```
//! A value of an unknown version, or one whose sum is wrong, does not decode: it is as if it were lost.

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Input, open, put_bytes, seal};
use crate::semantics::purge::Fate;

/// A part of a purge: the responses that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selector {
    All,
    /// A key, an origin or a group, by its hash.
    Set(u64),
    /// All keys that begin with these bytes.
    Prefix(Box<[u8]>),
}

/// A purge as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purge {
    /// Random bits, by which a node knows its own purge again.
    pub(crate) nonce: u64,
    pub(crate) fate: Fate,
    pub(crate) selectors: Vec<Selector>,
}

/// The end of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The number of the last purge.
    pub(crate) number: u64,
    /// The purges up to this number are in the log no more.
    pub(crate) floor: u64,
    /// The strongest fate among those.
    pub(crate) fate: Option<Fate>,
}

/// The store's key of the random number of the log.
pub(crate) const ID_KEY: &str = "p/id";

/// The store's key of the end of a log.
pub(crate) fn head_key(log: u64) -> String {
    format!("p/{log:016x}/head")
}

/// The store's key of one purge.
pub(crate) fn purge_key(log: u64, number: u64) -> String {
    format!("p/{log:016x}/{number}")
}

pub(crate) fn encode_id(log: u64) -> Bytes {
    encode(ID, |out| out.put_u64(log))
}

pub(crate) fn decode_id(value: &[u8]) -> Option<u64> {
    decode(value, ID, |input| {
        let log = input.number::<8>()?;
        (log > 0).then_some(log)
    })
}

impl Head {
    pub(crate) fn encode(&self) -> Bytes {
        encode(HEAD, |out| {
            out.put_u64(self.number);
            out.put_u64(self.floor);
            out.put_u8(self.fate.map_or(NO_FATE, fate_code));
        })
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        decode(value, HEAD, |input| {
            let (number, floor) = (input.number::<8>()?, input.number::<8>()?);
            let code = input.number::<1>()?;
            let fate = if code == u64::from(NO_FATE) { None } else { Some(fate(code)?) };
            // No log comes that far, and numbers are added to these.
            (floor <= number && number <= u64::MAX / 2).then_some(Self { number, floor, fate })
        })
    }
}

impl Purge {
    pub(crate) fn encode(&self) -> Bytes {
        encode(PURGE, |out| {
            out.put_u64(self.nonce);
            out.put_u8(fate_code(self.fate));
            out.put_u8(u8::try_from(self.selectors.len()).unwrap_or(u8::MAX));
            for selector in &self.selectors {
                match selector {
                    Selector::All => out.put_u8(ALL),
                    Selector::Set(hash) => {
                        out.put_u8(SET);
                        out.put_u64(*hash);
                    }
                    Selector::Prefix(prefix) => {
                        out.put_u8(PREFIX);
                        put_bytes(out, prefix);
                    }
                }
            }
        })
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        decode(value, PURGE, |input| {
            let (nonce, code) = (input.number::<8>()?, input.number::<1>()?);
            let mut selectors = Vec::new();
            for _ in 0..input.number::<1>()? {
                selectors.push(match input.array()? {
                    [ALL] => Selector::All,
                    [SET] => Selector::Set(input.number::<8>()?),
                    [PREFIX] => Selector::Prefix(input.bytes()?.into()),
                    _ => return None,
                });
            }
            Some(Self { nonce, fate: fate(code)?, selectors })
        })
    }
}

fn encode(kind: u8, write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::from(&MAGIC[..]);
    out.put_u8(VERSION);
    out.put_u8(kind);
    write(&mut out);
    seal(&mut out);
    out.freeze()
}

fn decode<T>(value: &[u8], kind: u8, read: impl FnOnce(&mut Input<'_>) -> Option<T>) -> Option<T> {
    let mut input = open(value)?;
    if input.array()? != MAGIC || *input.array()? != [VERSION, kind] {
        return None;
    }
    let value = read(&mut input)?;
    input.0.is_empty().then_some(value)
}

fn fate_code(fate: Fate) -> u8 {
    match fate {
        Fate::Stale => 0,
        Fate::Invalid => 1,
        Fate::Gone => 2,
    }
}

fn fate(code: u64) -> Option<Fate> {
    Fate::ALL.into_iter().find(|fate| u64::from(fate_code(*fate)) == code)
}

/// The most selectors of one purge.
pub(crate) const MOST_SELECTORS: usize = 64;

const MAGIC: &[u8; 4] = b"TVCP";
const VERSION: u8 = 1;
const ID: u8 = 0;
const HEAD: u8 = 1;
const PURGE: u8 = 2;
const ALL: u8 = 0;
const SET: u8 = 1;
const PREFIX: u8 = 2;
const NO_FATE: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn purge() -> Purge {
        let prefix = Selector::Prefix(b"\nhost\n/a/".as_slice().into());
        Purge { nonce: 7, fate: Fate::Gone, selectors: vec![Selector::All, Selector::Set(9), prefix] }
    }

    #[test]
    fn the_values_of_a_log_come_back_as_they_went() {
        assert_eq!(Purge::decode(&purge().encode()), Some(purge()));
        for fate in [None, Some(Fate::Stale), Some(Fate::Invalid), Some(Fate::Gone)] {
            let head = Head { number: 300, floor: 44, fate };
            assert_eq!(Head::decode(&head.encode()), Some(head));
        }
        for (number, floor) in [(u64::MAX, 0), (u64::MAX / 2 + 1, 0), (5, 6), (0, u64::MAX)] {
            let head = Head { number, floor, fate: None };
            assert_eq!(Head::decode(&head.encode()), None, "no log has such an end: {head:?}");
        }
        assert_eq!(decode_id(&encode_id(5)), Some(5));
        assert_eq!(decode_id(&encode_id(0)), None, "zero stands for no log");
    }

    #[test]
    fn the_values_of_version_1_are_written_byte_for_byte_as_before() {
        let golden = include_bytes!("golden/purge-v1.bin");
        assert_eq!(purge().encode(), golden[..]);
        assert_eq!(encode_id(5)[..14], *b"TVCP\x01\x00\0\0\0\0\0\0\0\x05");
        let head = Head { number: 2, floor: 1, fate: Some(Fate::Invalid) }.encode();
        assert_eq!(head[..23], *b"TVCP\x01\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\x01");
        assert_eq!(purge_key(0xab, 12), "p/00000000000000ab/12");
        assert_eq!(head_key(0xab), "p/00000000000000ab/head");
    }

    #[test]
    fn a_damaged_value_is_lost() {
        let whole = purge().encode();
        for length in 0..whole.len() {
            assert_eq!(Purge::decode(&whole[..length]), None, "cut to {length}");
        }
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Purge::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(Head::decode(&whole), None);
    }

    proptest! {
        #[test]
        fn hostile_values_with_a_true_sum_neither_panic_nor_claim(kind in 0u8..4, noise: Vec<u8>) {
            let value = encode(kind, |out| out.put_slice(&noise));
            if let Some(purge) = Purge::decode(&value) {
                prop_assert_eq!(Purge::decode(&purge.encode()), Some(purge));
            }
            if let Some(head) = Head::decode(&value) {
                prop_assert_eq!(Head::decode(&head.encode()), Some(head));
            }
        }
    }
}
