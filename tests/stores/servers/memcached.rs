//! `memcached`, with as much memory and as large items as a test says.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{net::UnixStream, time};

use super::{answers, free_port, left_out, program};
use crate::folder::Folder;

pub(crate) struct Memcached {
    /// How a client names it.
    pub(crate) endpoint: String,
    child: Child,
    _folder: Folder,
}

impl Memcached {
    /// An empty server at a socket in the file system, unless the program is not installed.
    pub(crate) async fn start(test: &str, options: &[&str]) -> Option<Self> {
        let folder = Folder::new();
        let socket = folder.path().join("socket");
        let listening = ["-s", socket.to_str().unwrap()];
        let program = found(test)?;
        let child = run(&program, &[&listening, options].concat());
        let server = Self { endpoint: format!("unix://{}", socket.display()), child, _folder: folder };
        for _ in 0..1000 {
            if UnixStream::connect(&socket).await.is_ok() {
                return Some(server);
            }
            time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nobody listens at {}", socket.display());
    }

    /// An empty server at a port.
    pub(crate) async fn start_at_a_port(test: &str, options: &[&str]) -> Option<Self> {
        let program = found(test)?;
        let port = free_port().to_string();
        let child = run(&program, &[&["-l", "127.0.0.1", "-U", "0", "-p", &port], options].concat());
        let server = Self { endpoint: format!("tcp://127.0.0.1:{port}"), child, _folder: Folder::new() };
        answers(port.parse().unwrap()).await;
        Some(server)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn found(test: &str) -> Option<PathBuf> {
    let found = program("memcached");
    if found.is_none() {
        left_out(test, "memcached");
    }
    found
}

fn run(program: &PathBuf, options: &[&str]) -> Child {
    Command::new(program)
        // Without it, it does not run as root, which builders often are; to others it means nothing.
        .args(["-u", "root"])
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
