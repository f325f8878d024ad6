//! Bytes and what they mean, with no I/O: cache keys, manifests, chunks.

pub(crate) mod chunk;
pub(crate) mod invalidation;
pub(crate) mod key;
pub(crate) mod manifest;
pub(crate) mod signed_url;
pub(crate) mod target_uri;
