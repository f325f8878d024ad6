//! The loop that joins the deeds: look up, serve; else fill or wait, and look again.
//!
//! A miss has no way to answer of its own. It can only make the next lookup succeed.

pub(crate) mod body;
pub(crate) mod config;
pub(crate) mod fetch;
pub(crate) mod fill;
pub(crate) mod hit;
pub(crate) mod inner;
pub(crate) mod invalidate;
pub(crate) mod lookup;
pub(crate) mod miss;
pub(crate) mod respond;
pub(crate) mod serve;
pub(crate) mod state;
