//! The circuit breakers: one for a server, several for a cluster, so that a node that is down does not silence the
//! others.

use std::{num::NonZeroU32, time::Duration};

use crc16::{State, XMODEM};

use crate::store::breaker::Breaker;

/// One breaker for each part of the keys that is likely to be on one node.
pub(super) struct Breakers(Box<[Breaker]>);

impl Breakers {
    pub(super) fn new(is_cluster: bool, pause: Duration) -> Self {
        let parts = if is_cluster { PARTS } else { 1 };
        Self((0..parts).map(|_| Breaker::new(FAILURES, pause)).collect())
    }

    /// The breaker of the key that these pieces make.
    pub(super) fn of(&self, pieces: [&str; 2]) -> Option<&Breaker> {
        match &*self.0 {
            [only] => Some(only),
            parts => parts.get(usize::from(slot(pieces) / SLOTS_OF_A_PART)),
        }
    }
}

/// The slot of a key without braces in a cluster: 14 bits of its CRC-16/XMODEM. A node has consecutive slots, unless an
/// operator moves them.
fn slot(pieces: [&str; 2]) -> u16 {
    let mut sum = State::<XMODEM>::new();
    for piece in pieces {
        sum.update(piece.as_bytes());
    }
    sum.get() % SLOTS
}

const FAILURES: NonZeroU32 = NonZeroU32::new(3).unwrap();

const SLOTS: u16 = 16_384;
const PARTS: u16 = 16;
const SLOTS_OF_A_PART: u16 = SLOTS / PARTS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_what_redis_says_it_is() {
        // `CLUSTER KEYSLOT` says so. The first is the check value of the specification of the CRC.
        for (key, expected) in [("123456789", 0x31c3), ("", 0), ("tvc:m/a", 3571), ("tvc:c/a/0", 7579)] {
            for split in 0..=key.len() {
                assert_eq!(slot([&key[..split], &key[split..]]), expected, "{key}");
            }
        }
    }

    #[test]
    fn every_key_has_a_breaker() {
        let (one, cluster) = (Breakers::new(false, Duration::ZERO), Breakers::new(true, Duration::ZERO));
        for index in 0..1000 {
            assert!(one.of(["tvc:", &format!("c/{index}")]).is_some());
            assert!(cluster.of(["tvc:", &format!("c/{index}")]).is_some());
        }
    }
}
