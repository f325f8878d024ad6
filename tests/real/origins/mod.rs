//! The layer before real servers of files, which each test starts for itself and ends. A test is a server: see
//! [`servers`].
//!
//! Each server gives the same files. A client asks the server directly, and asks the same through the layer, in each
//! mode: see [`scenes`]. The layer's answer must be the direct one, or the one that the RFCs want: see [`verdict`]. A
//! server that is not installed is left out, and the end of the run says so. If `CI` is set, its test fails instead.
//!
//! Each test leaves a line about its server and its costs in `target/tmp/origins/*.md`, for docs/origins.md.

mod asking;
mod bench;
mod in_process;
mod known;
mod programs;
mod scenes;
mod servers;
mod site;
mod traits;
mod verdict;

pub(crate) use self::servers::tests;
