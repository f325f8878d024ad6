//! What was decoded a moment ago, so that a hit need not decode it again.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// A bounded memory of decoded records, each held against the very bytes it was decoded from.
///
/// It can be wrong about nothing: the store is asked first, and only bytes equal to those remembered are taken as
/// decoded. Keys that fall on one place replace each other.
pub(crate) struct Memo<T> {
    places: Box<[Place<T>]>,
}

/// The bytes decoded last of the keys that fall here, and what they came to.
type Place<T> = Mutex<Option<(Bytes, Arc<T>)>>;

impl<T> Memo<T> {
    pub(crate) fn new() -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::new(None)).collect() }
    }

    /// What `raw`, found under `key`, decodes to.
    pub(crate) fn decoded(
        &self,
        key: &str,
        raw: &Bytes,
        decode: impl FnOnce() -> Option<T>,
    ) -> Option<Arc<T>> {
        let index = usize::try_from(xxh3_64(key.as_bytes()) % PLACES).unwrap_or_default();
        let place = self.places.get(index)?;
        if let Some((known, decoded)) = &*place.lock().unwrap_or_else(PoisonError::into_inner) {
            if known == raw {
                return Some(Arc::clone(decoded));
            }
        }
        let decoded = Arc::new(decode()?);
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some((raw.clone(), Arc::clone(&decoded)));
        Some(decoded)
    }
}

const PLACES: u64 = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_decoded_once_and_others_anew() {
        let memo = Memo::new();
        let first = memo.decoded("m/1", &Bytes::from_static(b"a"), || Some(1)).unwrap();
        let again = memo.decoded("m/1", &Bytes::from(b"a".to_vec()), || Some(2)).unwrap();
        let other = memo.decoded("m/1", &Bytes::from_static(b"b"), || Some(3)).unwrap();
        assert_eq!((*first, *again, *other), (1, 1, 3));
        assert_eq!(memo.decoded("m/1", &Bytes::from_static(b"c"), || None), None);
    }
}
