//! The engine answers requests: it looks a response up and serves it. Otherwise it fills, or waits for a fill, and
//! looks again.
//!
//! A miss cannot answer by itself: it can only make the next lookup succeed.

pub(crate) mod body;
pub(crate) mod config;
pub(crate) mod current;
pub(crate) mod fetch;
pub(crate) mod fill;
pub(crate) mod hit;
pub(crate) mod inner;
pub(crate) mod invalidate;
pub(crate) mod lookup;
pub(crate) mod miss;
pub(crate) mod purge;
pub(crate) mod respond;
pub(crate) mod serve;
pub(crate) mod state;
