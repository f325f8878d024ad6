//! A [Tower](https://docs.rs/tower) layer that caches video: it stores each response first, then serves it.
//!
//! Put [`VideoCacheLayer`] in front of a folder, an S3 proxy or a transcoder. The cache then answers ranges,
//! conditional requests and HEAD from its [`Store`]. The cache follows RFC 9110 and RFC 9111, and makes one call of the
//! inner service for any number of clients that miss the same video.
//!
//! ```no_run
//! use axum::Router;
//! use tower_http::services::ServeDir;
//! use tower_video_cache::{MokaStore, VideoCacheLayer};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cache = VideoCacheLayer::new(MokaStore::new(2 << 30)?); // 2 GiB of memory
//! let app = Router::new().nest_service("/videos", ServeDir::new("videos")).layer(cache);
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The field `Cache-Status` of each answer says what the cache did. If a response is not stored, its `detail` has the
//! reason: [`Cache-Status`](guide::cache_status).
//!
//! # How a miss is filled
//!
//! [`VideoCacheLayer::fill`] decides when the first byte of a miss leaves, and how much the cache fetches.
//!
//! | mode | first byte | for |
//! |---|---|---|
//! | [`Fill::auto`], the default | after 64 KiB at most are stored | everything: parts where the inner service gives them, else the whole |
//! | [`Fill::whole`] | after the whole response is stored | a 502 in place of a body that breaks |
//! | [`Fill::progressive`] | after 64 KiB at most are stored | one call for each video |
//! | [`Fill::sliced`] | after 64 KiB at most are stored; only requested parts are fetched | few bytes ahead of each client |
//!
//! [`Policy`] decides what is stored and for how long, [`TargetUri`] which requests share a response, and [`Abandon`]
//! what happens to a fill when its last client has gone.
//!
//! # The life of a request
//!
//! ```text
//! look: fresh, or stale as somebody allows ──► serve from the store
//!       stale-while-revalidate ──────────────► serve, and validate in the background
//!       nothing, or stale ───────────────────► join the fill of this response
//!           leader:   fill from the inner service, in a task of its own
//!                     stored, or still good (304) ──► look again
//!                     readable while it is filled ──► serve each byte once it is stored
//!                     not storable ─────────────────► the inner response, untouched
//!                     storing failed ───────────────► the inner response, from what was stored and the live rest
//!           follower: wait for the leader, at most for a limit ──► look again
//! ```
//!
//! A miss cannot answer by itself. It can only make the next look succeed. After at most three looks and one fill, the
//! inner service answers the request alone.
//!
//! # Features
//!
//! | feature | brings | Rust |
//! |---|---|---|
//! | `moka` (default) | [`MokaStore`] | 1.85 |
//! | `redis`, `redis-tls` | [`RedisStore`], with TLS | 1.88 |
//! | `opendal` | [`OpendalStore`]; its services are features of `opendal` | 1.91 |
//! | `foyer` | [`FoyerStore`] | 1.91 |
//! | `admin` | [`AdminService`]: a page with figures, rankings and events; [`PurgeService`] | 1.85 |
//! | `metrics` | [`MetricsObserver`], for the facade of that name | 1.85 |
//! | `tracing` | spans of fills, validations and slices, events of trouble and, at TRACE, of each answer | 1.85 |
//! | `test-util` | [`conformance`] for stores, [`FaultStore`], [`ManualClock`] | 1.85 |
//!
//! [`Tiered`] puts a near store before a far one, and [`Store`] is the contract for a store of your own.
//!
//! # Cancel safety
//!
//! A client may leave at any time. A response future or a body that is dropped takes no fill with it that others wait
//! for. A fill that nobody waits for goes on or stops as [`Abandon`] says. A response of which only a part is stored is
//! never taken for whole. An invalidation that has begun is finished. The layer needs a Tokio runtime with its timer
//! enabled.
//!
//! # Guides
//!
//! - Start: [getting started](guide::getting_started), [recipes](guide::recipes),
//!   [troubleshooting](guide::troubleshooting), [the reverse proxy](guide::reverse_proxy).
//! - Choose: [fill modes](guide::fill_modes), [stores](guide::stores), [many nodes](guide::many_nodes),
//!   [performance](guide::performance).
//! - Look up: [what is cached](guide::what_is_cached), [cache keys](guide::cache_keys),
//!   [`Cache-Status`](guide::cache_status), [guarantees](guide::guarantees), [limits](guide::limits),
//!   [conformance](guide::conformance), [origins](guide::origins).

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "admin")]
mod admin;
mod clock;
mod counters;
mod engine;
mod error;
mod explain;
mod format;
mod future;
mod futures;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(any(doc, doctest))]
pub mod guide;
mod handle;
mod layer;
#[cfg(feature = "metrics")]
mod metrics;
mod observer;
mod policy;
mod purger;
mod semantics;
mod service;
mod settings;
mod stats;
mod store;
mod stripes;
mod sync;
mod top;
mod trace;
mod transfers;
mod watchers;

#[cfg(feature = "opendal")]
pub use opendal;

#[cfg(feature = "admin")]
pub use self::admin::{AdminBody, AdminFuture, AdminService, PurgeFuture, PurgeService};
#[cfg(feature = "metrics")]
pub use self::metrics::MetricsObserver;
#[cfg(feature = "moka")]
pub use self::store::MokaStore;
#[cfg(feature = "opendal")]
pub use self::store::OpendalStore;
#[cfg(feature = "redis")]
pub use self::store::RedisStore;
#[cfg(feature = "foyer")]
pub use self::store::{FoyerOptions, FoyerStore};
#[cfg(feature = "test-util")]
pub use self::{
    clock::ManualClock,
    store::{Fault, FaultStore, Operation, conformance},
};
pub use self::{
    clock::{Clock, SystemClock},
    engine::body::ResponseBody,
    error::{BoxError, Error},
    explain::{Explanation, StoredResponse},
    format::{key::CacheKey, target_uri::TargetUri},
    future::ResponseFuture,
    handle::CacheHandle,
    layer::VideoCacheLayer,
    observer::{Event, Observer},
    policy::{GroupField, Invalidate, Policy, Rule, Statuses},
    purger::{Mark, Purged, Purger},
    service::VideoCache,
    settings::{Abandon, CacheStatus, ChunkSize, Fill, Limits, Retry, Timeouts},
    stats::{Counts, Latencies, Latency, Stats},
    store::{BoxStore, Lease, PutNew, Store, Tiered, Usage, Writes},
    top::{Ranked, Top},
    transfers::Transfer,
};
