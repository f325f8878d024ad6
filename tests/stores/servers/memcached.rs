//! `memcached`, with as much memory and as large items as a test says.

use std::path::{Path, PathBuf};

use tokio::net::UnixStream;

use super::{answers, free_port, left_out, program, soon, Process};
use crate::folder::Folder;

pub(crate) struct Memcached {
    /// How a client names it.
    pub(crate) endpoint: String,
    _process: Process,
    _folder: Folder,
}

impl Memcached {
    /// An empty server at a socket in the file system, unless the program is not installed.
    pub(crate) async fn start(test: &str, options: &[&str]) -> Option<Self> {
        let program = found(test)?;
        let folder = Folder::new();
        let socket = folder.as_ref().join("socket");
        let endpoint = format!("unix://{}", socket.display());
        let server = Self::run(&program, folder, endpoint, &["-s", socket.to_str().unwrap()], options);
        soon("memcached answers", || async { UnixStream::connect(&socket).await.ok() }).await;
        Some(server)
    }

    /// An empty server at a port.
    pub(crate) async fn start_at_a_port(test: &str, options: &[&str]) -> Option<Self> {
        let program = found(test)?;
        let port = free_port();
        let endpoint = format!("tcp://127.0.0.1:{port}");
        let listening = ["-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()];
        let server = Self::run(&program, Folder::new(), endpoint, &listening, options);
        answers(port).await;
        Some(server)
    }

    fn run(program: &Path, folder: Folder, endpoint: String, listening: &[&str], options: &[&str]) -> Self {
        // Without it, it does not run as root, which builders often are; to others it means nothing.
        let process = Process::start(program, [&["-u", "root"], listening, options].concat(), &folder);
        Self { endpoint, _process: process, _folder: folder }
    }
}

fn found(test: &str) -> Option<PathBuf> {
    let found = program("memcached");
    if found.is_none() {
        left_out(test, "memcached");
    }
    found
}
