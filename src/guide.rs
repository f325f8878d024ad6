//! The guides, one page each.
//!
//! - Start: [getting started](getting_started), [recipes], [troubleshooting], [the reverse proxy](reverse_proxy).
//! - Choose: [fill modes](fill_modes), [stores], [many nodes](many_nodes), [performance].
//! - Run: [operating].
//! - Look up: [what is cached](what_is_cached), [cache keys](cache_keys), [`Cache-Status`](cache_status), [guarantees],
//!   [limits], [conformance], [origins].
//!
//! The examples of [many nodes](many_nodes) with Redis need the feature `redis`, and those of [stores] the feature
//! `test-util`. All others need the default features alone.

// The pages are the files of docs/, so rustdoc checks their links and runs their examples.
//
// A link of a page has a label, and the page defines the label once, at its foot: `[fill-modes]: fill-modes.md`, or
// `[`Policy`]: ../src/policy/mod.rs`. So it works for a reader of the checkout. Here, `links!` defines the same labels
// *before* the text of the page, as paths of Rust. Markdown takes the first definition of a label, so on docs.rs the
// link leads to the module or the type, and rustdoc refuses one that leads nowhere. A label that `links!` does not
// have leads nowhere on docs.rs: add it here. `tests/it/house.rs` sees to the files.

macro_rules! links {
    () => {
        "
[`Abandon`]: crate::Abandon
[`AdminService`]: crate::AdminService
[`BoxStore`]: crate::BoxStore
[`CacheHandle`]: crate::CacheHandle
[`CacheKey`]: crate::CacheKey
[`CacheStatus`]: crate::CacheStatus
[`FaultStore`]: crate::FaultStore
[`Fill`]: crate::Fill
[`FoyerStore`]: crate::FoyerStore
[`GroupField`]: crate::GroupField
[`Invalidate`]: crate::Invalidate
[`Limits`]: crate::Limits
[`ManualClock`]: crate::ManualClock
[`MetricsObserver`]: crate::MetricsObserver
[`MokaStore`]: crate::MokaStore
[`Observer`]: crate::Observer
[`OpendalStore`]: crate::OpendalStore
[`Policy`]: crate::Policy
[`PurgeService`]: crate::PurgeService
[`RedisStore`]: crate::RedisStore
[`Retry`]: crate::Retry
[`Rule`]: crate::Rule
[`Stats`]: crate::Stats
[`Statuses`]: crate::Statuses
[`Store`]: crate::Store
[`TargetUri`]: crate::TargetUri
[`Tiered`]: crate::Tiered
[`Timeouts`]: crate::Timeouts
[`VideoCacheLayer`]: crate::VideoCacheLayer
[`VideoCacheLayer::groups`]: crate::VideoCacheLayer::groups
[`VideoCacheLayer::purge_age`]: crate::VideoCacheLayer::purge_age
[`VideoCacheLayer::purge_log`]: crate::VideoCacheLayer::purge_log
[cache-keys]: crate::guide::cache_keys
[cache-status]: crate::guide::cache_status
[conformance]: crate::guide::conformance
[fill-modes]: crate::guide::fill_modes
[getting-started]: crate::guide::getting_started
[guarantees]: crate::guide::guarantees
[limits]: crate::guide::limits
[many-nodes]: crate::guide::many_nodes
[operating]: crate::guide::operating
[origins]: crate::guide::origins
[performance]: crate::guide::performance
[recipes]: crate::guide::recipes
[reverse-proxy]: crate::guide::reverse_proxy
[stores]: crate::guide::stores
[troubleshooting]: crate::guide::troubleshooting
[what-is-cached]: crate::guide::what_is_cached

"
    };
}

macro_rules! pages {
    ($($name:ident $file:literal)*) => {
        $(
            #[doc = links!()]
            #[doc = include_str!(concat!("../docs/", $file))]
            pub mod $name {}
        )*
    };
}

pages! {
    cache_keys "cache-keys.md"
    cache_status "cache-status.md"
    conformance "conformance.md"
    fill_modes "fill-modes.md"
    getting_started "getting-started.md"
    guarantees "guarantees.md"
    limits "limits.md"
    many_nodes "many-nodes.md"
    operating "operating.md"
    origins "origins.md"
    performance "performance.md"
    recipes "recipes.md"
    reverse_proxy "reverse-proxy.md"
    stores "stores.md"
    troubleshooting "troubleshooting.md"
    what_is_cached "what-is-cached.md"
}

/// The examples of the README are tested, too; it is no page here.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub mod readme {}
