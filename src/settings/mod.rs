//! The values that the layer's setters take.

mod abandon;
mod cache_status;
mod chunk_size;
mod fill;
mod limits;
mod retry;
mod timeouts;

pub(crate) use self::fill::Mode;
pub use self::{
    abandon::Abandon, cache_status::CacheStatus, chunk_size::ChunkSize, fill::Fill, limits::Limits,
    retry::Retry, timeouts::Timeouts,
};
