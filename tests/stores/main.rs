//! Stores of others, over their real servers and disks: what they do to a store's contract and to a viewer's bytes.
//!
//! A test whose server is not installed is left out, and says so; where `CI` is set, it fails.

#[cfg(feature = "opendal")]
mod disk;
#[cfg(feature = "opendal")]
mod film;
#[cfg(feature = "opendal")]
mod folder;
#[cfg(feature = "opendal")]
mod kv;
#[cfg(feature = "opendal")]
mod memcached;
#[cfg(feature = "opendal")]
mod relay;
#[cfg(feature = "opendal")]
mod s3;
#[cfg(feature = "opendal")]
mod servers;
