//! Stores over the real thing, be it a server or a disk: a file for each store.

#[cfg(feature = "foyer")]
mod foyer;
