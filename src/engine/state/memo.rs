//! Remembers decoded records, so that a hit need not decode them again.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::sync::lock;

/// A bounded memory of decoded records, each kept with the bytes that it was decoded from.
///
/// The memo is never stale. The cache asks the store first, and uses a remembered record only if the store gives the
/// same bytes. Only [`last`](Self::last) is a guess. Keys that share a place replace each other. A record of more
/// than 16 KiB is decoded each time, because clients choose how long a URL and a selecting value are.
pub(crate) struct Memo<T> {
    places: Box<[Place<T>]>,
    /// Gets each record that is remembered no more.
    gone: Box<Gone<T>>,
}

type Gone<T> = dyn Fn(&T) + Send + Sync;

type Place<T> = Mutex<Option<Seen<T>>>;

/// The key seen last among those that share a place, by its hash; the bytes that were found under it, and the era of
/// their decoding; the record decoded from them.
type Seen<T> = (u64, (u64, Bytes), Arc<T>);

impl<T> Memo<T> {
    /// `gone` gets each record that is remembered no more.
    pub(crate) fn new(gone: impl Fn(&T) + Send + Sync + 'static) -> Self {
        Self { places: (0..PLACES).map(|_| Mutex::new(None)).collect(), gone: Box::new(gone) }
    }

    /// Returns the record decoded from `raw`, which was found under `key`. Equal bytes are decoded anew in another
    /// `era`, when they mean something else.
    pub(crate) fn decoded(
        &self,
        era: u64,
        key: &str,
        raw: &Bytes,
        decode: impl FnOnce() -> Option<T>,
    ) -> Option<Arc<T>> {
        let hash = xxh3_64(key.as_bytes());
        if let Some((_, (of, known), decoded)) = &*self.place(hash)? {
            // A store in memory gives the very bytes that it gave before.
            let is_same = known.as_ptr() == raw.as_ptr() && known.len() == raw.len();
            if *of == era && (is_same || known == raw) {
                return Some(Arc::clone(decoded));
            }
        }
        let decoded = Arc::new(decode()?);
        if raw.len() > MOST_BYTES {
            // An older record of this key is of no more use.
            self.leave(self.place(hash)?.take_if(|(seen, ..)| *seen == hash));
            return Some(decoded);
        }
        let before = self.place(hash)?.replace((hash, (era, raw.clone()), Arc::clone(&decoded)));
        self.leave(before);
        Some(decoded)
    }

    /// The record that was found last under `key`, if it is remembered.
    pub(crate) fn last(&self, key: &str) -> Option<Arc<T>> {
        let hash = xxh3_64(key.as_bytes());
        let place = self.place(hash)?;
        let (_, _, decoded) = place.as_ref().filter(|(seen, ..)| *seen == hash)?;
        Some(Arc::clone(decoded))
    }

    /// Forgets what was found under `key`, because the store has no record there.
    pub(crate) fn forget(&self, key: &str) {
        let hash = xxh3_64(key.as_bytes());
        let before = self.place(hash).and_then(|mut place| place.take_if(|(seen, ..)| *seen == hash));
        self.leave(before);
    }

    /// All records that are remembered.
    pub(crate) fn all(&self) -> impl Iterator<Item = Arc<T>> + '_ {
        self.places.iter().filter_map(|place| lock(place).as_ref().map(|(.., decoded)| Arc::clone(decoded)))
    }

    fn leave(&self, seen: Option<Seen<T>>) {
        if let Some((.., decoded)) = seen {
            (self.gone)(&decoded);
        }
    }

    fn place(&self, hash: u64) -> Option<MutexGuard<'_, Option<Seen<T>>>> {
        let place = self.places.get(usize::try_from(hash % PLACES).unwrap_or_default())?;
        Some(lock(place))
    }
}

const PLACES: u64 = 512;

/// The longest record that is kept. The memo holds at most 8 MiB of records; the decoded values take a few times as
/// much.
const MOST_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_decoded_once_and_others_anew() {
        let memo = Memo::new(|_| {});
        let first = memo.decoded(0, "m/1", &Bytes::from_static(b"a"), || Some(1)).unwrap();
        let again = memo.decoded(0, "m/1", &Bytes::from(b"a".to_vec()), || Some(2)).unwrap();
        let other = memo.decoded(0, "m/1", &Bytes::from_static(b"b"), || Some(3)).unwrap();
        assert_eq!((*first, *again, *other), (1, 1, 3));
        assert_eq!(memo.decoded(0, "m/1", &Bytes::from_static(b"c"), || None), None);
    }

    #[test]
    fn equal_bytes_of_another_era_are_decoded_anew() {
        let memo = Memo::new(|_| {});
        let raw = Bytes::from_static(b"a");
        for (era, decoded) in [(0, 1), (1, 2), (1, 2), (0, 3)] {
            assert_eq!(memo.decoded(era, "m/1", &raw, || Some(decoded)).as_deref(), Some(&decoded));
        }
    }

    #[test]
    fn a_record_of_more_than_16_kib_is_decoded_each_time_and_not_kept() {
        let memo = Memo::new(|_| {});
        memo.decoded(0, "m/1", &Bytes::from_static(b"a"), || Some(1));
        for (length, is_kept) in [(MOST_BYTES + 1, false), (400_000, false), (MOST_BYTES, true)] {
            let raw = Bytes::from(vec![0; length]);
            assert_eq!(memo.decoded(0, "m/1", &raw, || Some(2)).as_deref(), Some(&2));
            assert_eq!(memo.last("m/1").is_some(), is_kept, "{length}");
        }
    }

    #[test]
    fn a_record_that_is_replaced_or_forgotten_is_handed_over() {
        let gone = Arc::new(Mutex::new(Vec::new()));
        let memo = Memo::new({
            let gone = Arc::clone(&gone);
            move |decoded: &u32| lock(&gone).push(*decoded)
        });
        memo.decoded(0, "m/1", &Bytes::from_static(b"a"), || Some(1));
        memo.decoded(0, "m/1", &Bytes::from_static(b"a"), || Some(2));
        assert_eq!(memo.all().map(|decoded| *decoded).collect::<Vec<_>>(), [1]);
        memo.decoded(0, "m/1", &Bytes::from_static(b"b"), || Some(3));
        memo.forget("m/1");
        memo.forget("m/1");
        assert_eq!(*lock(&gone), [1, 3]);
        assert_eq!(memo.all().count(), 0);
    }

    #[test]
    fn the_last_find_is_told_until_nothing_is_found() {
        let memo = Memo::new(|_| {});
        assert_eq!(memo.last("m/1"), None);
        memo.decoded(0, "m/1", &Bytes::from_static(b"a"), || Some(1));
        memo.forget("m/2");
        assert_eq!((memo.last("m/1").as_deref(), memo.last("m/2")), (Some(&1), None));
        memo.forget("m/1");
        assert_eq!(memo.last("m/1"), None);
    }
}
