//! Stores over real servers, which each test starts for itself and ends: a file for each store.

#![cfg_attr(
    feature = "redis",
    expect(
        clippy::indexing_slicing,
        clippy::panic,
        clippy::print_stderr,
        clippy::unwrap_used,
        reason = "a test that panics has failed, and says where"
    )
)]

#[cfg(feature = "redis")]
mod player;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod relay;
#[cfg(feature = "redis")]
mod servers;
