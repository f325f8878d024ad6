//! Tests of the rules together.

mod differential;
