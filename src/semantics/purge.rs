//! The fates that a purge has for stored responses, and the sets by which it names them.
//!
//! RFC 9111 §4.4 (invalidation); RFC 9875 (groups).

use xxhash_rust::xxh3::Xxh3Default;

/// The fate that a purge has for a stored response, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Its freshness ends.
    Stale,
    /// Its freshness ends, and it is validated before any use.
    Invalid,
    /// It is as if it were not there. No answer of the inner service brings it back.
    Gone,
}

impl Fate {
    pub(crate) const ALL: [Self; 3] = [Self::Stale, Self::Invalid, Self::Gone];
}

/// A place in a log of purges: all purges up to it are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The random number of the log. Zero if no log is known.
    pub(crate) log: u64,
    /// The number of the last purge that is known. The first purge of a log has the number 1.
    pub(crate) number: u64,
}

/// The sets that a response belongs to, by which a purge can name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The hash of its origin. Zero if the origin is not known.
    pub(crate) origin: u64,
    /// The hashes of its groups at that origin.
    pub(crate) groups: Vec<u64>,
}

impl Membership {
    pub(crate) fn of<'a>(origin: &str, groups: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let groups = groups.into_iter().map(|group| group_hash(origin, group)).collect();
        Self { origin: origin_hash(origin), groups }
    }

    /// Adds the groups of `other`, as long as there are no more than `most`.
    pub(crate) fn add(&mut self, other: Self, most: usize) {
        for group in other.groups {
            if self.groups.len() < most && !self.groups.contains(&group) {
                self.groups.push(group);
            }
        }
    }
}

/// The hash by which a purge names an origin. Two origins with one hash are purged together, which removes too much and
/// never too little.
pub(crate) fn origin_hash(origin: &str) -> u64 {
    hash(&[b"origin", origin.as_bytes()])
}

/// The hash by which a purge names a group of an origin (RFC 9875 §2: groups of two origins are not the same).
pub(crate) fn group_hash(origin: &str, group: &[u8]) -> u64 {
    hash(&[b"group", origin.as_bytes(), group])
}

/// The hash by which a purge names a key.
pub(crate) fn key_hash(key: &[u8]) -> u64 {
    hash(&[b"key", key])
}

fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = Xxh3Default::new();
    for part in parts {
        hash.update(part);
        // No part of these has a line break, but the last.
        hash.update(b"\n");
    }
    // Zero stands for none.
    hash.digest().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_of_one_origin() {
        let one = Membership::of("a.example", [&b"news"[..], b"News"]);
        let other = Membership::of("b.example", [&b"news"[..]]);
        assert_ne!(one.origin, other.origin);
        assert_ne!(one.groups[0], other.groups[0]);
        assert_ne!(one.groups[0], one.groups[1]);
        assert_eq!(one.groups[0], group_hash("a.example", b"news"));
    }

    #[test]
    fn a_key_an_origin_and_a_group_of_one_name_differ() {
        assert_ne!(key_hash(b"a"), origin_hash("a"));
        assert_ne!(group_hash("a", b"b"), key_hash(b"a\nb"));
    }

    #[test]
    fn fates_are_in_the_order_of_their_strength() {
        assert!(Fate::Stale < Fate::Invalid && Fate::Invalid < Fate::Gone);
        assert!(Fate::ALL.is_sorted());
    }
}
