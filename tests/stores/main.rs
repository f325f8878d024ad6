//! The stores that keep bytes outside this process's memory, each over the real thing.

#[cfg(feature = "foyer")]
mod foyer;
