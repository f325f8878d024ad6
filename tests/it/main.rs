//! The behaviour of the layer, as its users see it: one file for each part.

#![expect(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod abandoning;
mod administering;
mod attacks;
mod auto;
mod budgets;
mod clocks;
#[cfg(feature = "stacks")]
mod composing;
mod connection;
mod counting;
mod crowds;
mod early;
mod explaining;
mod faults;
mod filling;
mod flights;
mod fuzz;
mod grouping;
mod growing;
mod hanging;
mod harm;
mod healing;
mod house;
mod invalidating;
mod keys;
mod kinds;
mod many;
mod matrix;
mod measuring;
mod nodes;
mod observing;
mod progressive;
mod purge_log;
mod purging;
mod questions;
mod ranges;
mod readiness;
mod reconfiguring;
mod reloading;
mod requests;
mod resuming;
mod rig;
mod ruling;
mod serving;
mod settings;
mod sharing;
mod signed;
mod sliced;
mod sparse;
#[cfg(feature = "stacks")]
mod stacks;
mod stale;
mod stores;
mod storing;
mod streaming;
mod stress;
mod texts;
mod tiered;
mod truth;
mod unbounded;
mod validating;
mod whose;
mod withdrawn;
