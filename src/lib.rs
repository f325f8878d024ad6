#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clock;
mod engine;
mod error;
mod format;
mod future;
mod futures;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod layer;
mod policy;
mod semantics;
mod service;
mod store;
mod stripes;
mod sync;

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
    store::{conformance, Fault, FaultStore, Operation},
};
pub use self::{
    clock::{Clock, SystemClock},
    engine::body::ResponseBody,
    engine::{Abandon, ChunkSize, Fill},
    error::{BoxError, Error},
    format::{key::CacheKey, target_uri::TargetUri},
    future::ResponseFuture,
    layer::VideoCacheLayer,
    policy::{Invalidate, Policy},
    semantics::cache_status::CacheName,
    service::VideoCache,
    store::{Lease, Store, Tiered, Writes},
};
