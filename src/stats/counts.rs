//! Counts and durations by word.

use std::time::Duration;

use crate::counters::{BOUNDS, BUCKETS};

/// Counters of one kind, each with its word.
///
/// ```
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// # let stats = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle().stats();
/// for (word, count) in stats.requests.iter() {
///     println!("{word}: {count}");
/// }
/// assert_eq!(stats.requests.total(), 0);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(pub(super) Vec<(&'static str, u64)>);

impl Counts {
    /// The count of this word, or 0 for a word that is none of these.
    pub fn of(&self, word: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == word).map_or(0, |(_, count)| *count)
    }

    /// The sum of all.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Each word with its count, zeros among them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }
}

/// Durations of one kind, each with its word.
///
/// ```
/// # use tower_video_cache::{MokaStore, VideoCacheLayer};
/// # let stats = VideoCacheLayer::new(MokaStore::new(1 << 30)?).handle().stats();
/// for (outcome, latency) in stats.first_byte.iter() {
///     println!("{outcome}: {} answers, 99 of 100 within {:?}", latency.count(), latency.percentile(99));
/// }
/// assert_eq!(stats.first_byte.all().count(), 0);
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies(Vec<(&'static str, Latency)>);

impl Latencies {
    pub(super) fn of_all(read: Vec<(&'static str, [u64; BUCKETS], u64)>) -> Self {
        let latency = |(word, buckets, micros)| (word, Latency { buckets, micros });
        Self(read.into_iter().map(latency).collect())
    }

    /// The durations of this word; none for a word that is none of these.
    pub fn of(&self, word: &str) -> Latency {
        self.0.iter().find(|(known, _)| *known == word).map(|(_, latency)| *latency).unwrap_or_default()
    }

    /// The durations of all words together.
    pub fn all(&self) -> Latency {
        self.0.iter().fold(Latency::default(), |sum, (_, latency)| sum.and(*latency))
    }

    /// Each word with its durations, those without any among them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Latency)> + '_ {
        self.0.iter().copied()
    }
}

/// Durations of one kind, counted in buckets.
///
/// ```
/// # use std::time::Duration;
/// use tower_video_cache::Latency;
///
/// let none = Latency::default();
/// assert_eq!((none.count(), none.mean(), none.percentile(50)), (0, None, None));
/// assert_eq!(none.buckets().map(|(bound, _)| bound).next(), Some(Duration::from_micros(100)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    buckets: [u64; BUCKETS],
    micros: u64,
}

impl Latency {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The sum of all.
    pub fn total(&self) -> Duration {
        Duration::from_micros(self.micros)
    }

    /// The average; `None` if there are none.
    pub fn mean(&self) -> Option<Duration> {
        Some(Duration::from_micros(self.micros.checked_div(self.count())?))
    }

    /// The bound of the bucket that the one at this percentile is in, so that it took no longer: `percentile(50)` is about
    /// the median. `None` if there are none, [`Duration::MAX`] for more than 30 seconds.
    pub fn percentile(&self, percent: u8) -> Option<Duration> {
        let count = u128::from(self.count());
        let is_beyond = |so_far: u64| u128::from(so_far) * 100 >= count * u128::from(percent.min(100));
        let mut buckets = self.buckets().filter(|(_, so_far)| *so_far > 0);
        buckets.find(|(_, so_far)| is_beyond(*so_far)).map(|(bound, _)| bound)
    }

    /// The upper bound of each bucket, inclusive, and how many took no longer. The last bound is [`Duration::MAX`].
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + use<> {
        let bounds = BOUNDS.into_iter().map(Duration::from_micros).chain([Duration::MAX]);
        let mut so_far = 0_u64;
        bounds.zip(self.buckets).map(move |(bound, count)| {
            so_far = so_far.saturating_add(count);
            (bound, so_far)
        })
    }

    fn and(self, other: Self) -> Self {
        let mut buckets = self.buckets;
        for (sum, count) in buckets.iter_mut().zip(other.buckets) {
            *sum = sum.saturating_add(count);
        }
        Self { buckets, micros: self.micros.saturating_add(other.micros) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_bound_of_a_bucket() {
        let mut buckets = [0; BUCKETS];
        (buckets[0], buckets[4], buckets[BUCKETS - 1]) = (90, 9, 1);
        let latency = Latency { buckets, micros: 200 };
        let within = |percent| latency.percentile(percent).unwrap();
        assert_eq!([0, 50, 90].map(within), [Duration::from_micros(100); 3]);
        assert_eq!([91, 99].map(within), [Duration::from_millis(10); 2]);
        assert_eq!(within(100), Duration::MAX);
        assert_eq!((latency.count(), latency.mean()), (100, Some(Duration::from_micros(2))));
        let twice = Latencies(vec![("a", latency), ("b", latency)]);
        assert_eq!((twice.all().count(), twice.of("b"), twice.of("c").count()), (200, latency, 0));
        assert_eq!(twice.all().buckets().last(), Some((Duration::MAX, 200)));
    }
}
