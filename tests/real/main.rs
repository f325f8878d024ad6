//! The layer between real programs: a browser before it, servers of files behind it, stores over real servers and disks,
//! and a Prometheus beside it. Each test starts the programs that it needs, and ends them.
//!
//! A test whose program is not installed is left out, and the end of the run says so. If `CI` is set, the test fails
//! instead. One binary: the tests of all three wait most of the time, and so can wait beside each other.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod browser;
mod folder;
mod live;
mod operators;
mod origins;
mod servers;
mod stores;
mod trials;

use std::process::ExitCode;

fn main() -> ExitCode {
    let tests = [browser::tests(), live::tests(), operators::tests(), origins::tests(), stores::tests()];
    trials::run(tests.into_iter().flatten().collect())
}
