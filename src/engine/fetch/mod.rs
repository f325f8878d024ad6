//! Fetches parts of stored responses from the inner service into the store.

pub(crate) mod demand;
pub(crate) mod fetcher;
pub(crate) mod missing;
pub(crate) mod pour;
pub(crate) mod subscription;
