//! Answers a request that the store did not answer.
//!
//! The request leads a fill or follows another one, then looks again. After the last look, the request goes to the
//! inner service alone.

pub(crate) mod answer;
pub(crate) mod heal;
pub(crate) mod pass;
pub(crate) mod read_along;
pub(crate) mod request;
pub(crate) mod viewer;
pub(crate) mod wait;
