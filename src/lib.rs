#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
mod clock;
mod engine;
mod error;
mod format;
mod future;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod handle;
mod layer;
mod policy;
mod semantics;
mod service;
mod settings;
mod store;
mod stripes;

#[cfg(feature = "opendal")]
pub use opendal;

#[cfg(feature = "moka")]
pub use self::store::MokaStore;
#[cfg(feature = "opendal")]
pub use self::store::OpendalStore;
#[cfg(feature = "redis")]
pub use self::store::RedisStore;
#[cfg(feature = "foyer")]
pub use self::store::{FoyerOptions, FoyerStore};
pub use self::{
    body::ResponseBody,
    clock::{Clock, SystemClock},
    error::{BoxError, Error},
    format::{key::CacheKey, target_uri::TargetUri},
    future::ResponseFuture,
    handle::{CacheHandle, Stats},
    layer::VideoCacheLayer,
    policy::{Invalidate, Policy, Statuses},
    service::VideoCache,
    settings::{Abandon, CacheStatus, ChunkSize, Fill, Limits, Retry, Timeouts},
    store::{BoxStore, Lease, Store, Tiered, Writes},
};
#[cfg(feature = "test-util")]
pub use self::{
    clock::ManualClock,
    store::{conformance, Fault, FaultStore, Operation},
};
