//! Whether the counters of the cache say what the answers say.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use tower_video_cache::Stats;

use super::{
    origin::World,
    verdict::{End, View, Viewed},
};

/// The sums of all answers so far.
#[derive(Default)]
pub(super) struct Ledger {
    outcomes: BTreeMap<String, u64>,
    bytes: u64,
    /// A client has left, and nobody has seen how its answer began.
    has_left: bool,
}

impl Ledger {
    pub(super) fn add(&mut self, views: &[View]) {
        for view in views {
            match &view.end {
                End::Left => self.has_left = true,
                End::Failed => *self.outcomes.entry("error".to_owned()).or_default() += 1,
                End::Viewed(viewed) => {
                    *self.outcomes.entry(outcome(viewed)).or_default() += 1;
                    self.bytes += u64::try_from(viewed.body.len()).unwrap_or(u64::MAX);
                }
            }
        }
    }

    /// # Panics
    ///
    /// If a counter is not the sum that it claims to be.
    pub(super) fn judge(&self, stats: &Stats, world: &World) {
        let calls = world.calls.len() + world.failures.len();
        assert_eq!(stats.inner_requests.total(), u64::try_from(calls).unwrap_or(u64::MAX), "{stats:?}");
        assert_eq!(stats.inner_bytes.total(), world.taken.load(Ordering::Relaxed), "{stats:?}");
        if self.has_left {
            return;
        }
        for (word, count) in stats.requests.iter() {
            assert_eq!(count, self.outcomes.get(word).copied().unwrap_or_default(), "{word}: {stats:?}");
        }
        assert_eq!(stats.response_bytes.total(), self.bytes, "{stats:?}");
        assert_eq!(stats.bodies_under_way(), 0, "{stats:?}");
    }
}

/// The outcome by the member of this cache.
fn outcome(viewed: &Viewed) -> String {
    let line = viewed.headers.get_all("cache-status").iter().next_back();
    let line = line.and_then(|line| line.to_str().ok()).unwrap_or_default();
    let mut parameters = line.rsplit(", ").next().unwrap_or_default().split(';').map(str::trim).skip(1);
    let is_stale = |parameter: &str| parameter.strip_prefix("ttl=").is_some_and(|ttl| ttl.starts_with('-'));
    let word = parameters.clone().find_map(|parameter| match parameter.split_once('=') {
        Some(("fwd", reason)) => Some(reason.to_owned()),
        None if parameter == "hit" => Some("hit".to_owned()),
        _ => None,
    });
    match word.as_deref() {
        Some("hit") if parameters.any(is_stale) => "hit-stale".to_owned(),
        Some(word) => word.to_owned(),
        None => "generated".to_owned(),
    }
}
