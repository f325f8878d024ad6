//! The layer before real servers of files, which each test starts for itself and ends. A test is a server: see
//! [`servers`].
//!
//! Each server gives the same files. A client asks the server directly, and asks the same through the layer, in each
//! mode: see [`scenes`]. The layer's answer must be the direct one, or the one that the RFCs want: see [`verdict`]. A
//! server that is not installed is left out, and the end of the run says so. If `CI` is set, its test fails instead.
//!
//! Each test leaves a line about its server and its costs in `target/tmp/origins/*.md`, for docs/origins.md.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

mod asking;
mod bench;
#[expect(dead_code, reason = "the tests of stores use all of it")]
#[path = "../stores/folder.rs"]
mod folder;
mod in_process;
mod known;
#[expect(dead_code, reason = "the tests of stores use all of it")]
#[path = "../stores/servers/process.rs"]
mod process;
mod programs;
mod scenes;
mod servers;
mod site;
mod traits;
#[expect(dead_code, unused_imports, unused_macros, reason = "these tests are made from a list of servers")]
#[path = "../trials/mod.rs"]
mod trials;
mod verdict;

use std::process::ExitCode;

fn main() -> ExitCode {
    trials::run(servers::tests())
}
