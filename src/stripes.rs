//! [`Stripes`]: values shared by keys of equal hash, so that keys of different stripes do not wait for each other.

use std::hash::{BuildHasher, Hash, RandomState};

/// Holds `N` values and picks one for each key, by the key's hash. `N` is from 1 to 65,536.
pub(crate) struct Stripes<T, const N: usize> {
    others: Box<[T]>,
    /// A field of its own, so that every key has a stripe.
    last: T,
    hasher: RandomState,
}

impl<T, const N: usize> Stripes<T, N> {
    /// The stripe of `key`, always the same one.
    pub(crate) fn of<K: Hash + ?Sized>(&self, key: &K) -> &T {
        let place = usize::try_from(self.hasher.hash_one(key) & 0xffff).unwrap_or_default() % N;
        self.others.get(place).unwrap_or(&self.last)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.others.iter().chain([&self.last])
    }
}

impl<T: Default, const N: usize> Default for Stripes<T, N> {
    fn default() -> Self {
        let others = (1..N).map(|_| T::default()).collect();
        Self { others, last: T::default(), hasher: RandomState::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, ptr};

    use super::*;

    #[test]
    fn a_key_has_one_stripe_and_every_stripe_has_keys() {
        fn check<const N: usize>() {
            let stripes = Stripes::<Cell<usize>, N>::default();
            for key in 0..50 * N {
                let stripe = stripes.of(&key);
                assert!(ptr::eq(stripe, stripes.of(&key)));
                stripe.set(stripe.get() + 1);
            }
            let keys: Vec<_> = stripes.iter().map(Cell::get).collect();
            assert_eq!((keys.len(), keys.iter().sum()), (N, 50 * N));
            // A stripe stays without keys by chance in one run of 10 to the 18th.
            assert!(!keys.contains(&0), "{keys:?}");
        }
        check::<1>();
        check::<3>();
        check::<16>();
        check::<1024>();
    }
}
