//! Cache keys, manifests and chunks as bytes, without I/O.

pub(crate) mod chunk;
pub(crate) mod invalidation;
pub(crate) mod key;
pub(crate) mod layout;
pub(crate) mod manifest;
mod playlist;
pub(crate) mod purges;
pub(crate) mod signed_url;
pub(crate) mod target_uri;
mod wire;
