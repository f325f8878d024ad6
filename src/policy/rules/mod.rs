//! [`Rule`]: which responses get another lifetime, other groups, or no place in the store.
//!
//! RFC 9111 §4.2 (freshness): a cache may be stricter than a response, and the operator of an origin may know more.

mod effects;
mod glob;
mod rule;

pub use self::rule::Rule;
pub(super) use self::{
    glob::segments,
    rule::{Facts, Fit},
};

#[cfg(test)]
mod tests;
