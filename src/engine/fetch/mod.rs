//! Fetches parts of stored responses from the inner service into the store.

pub(crate) mod audience;
pub(crate) mod demand;
pub(crate) mod fetcher;
pub(crate) mod missing;
mod pieces;
pub(crate) mod pour;
pub(crate) mod room;
pub(crate) mod subscription;
