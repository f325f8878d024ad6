//! Parts of stored responses on their way from the inner service into the store.

pub(crate) mod demand;
pub(crate) mod fetcher;
pub(crate) mod pour;
pub(crate) mod slice;
