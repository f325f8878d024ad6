//! `memcached`, with as much memory and as large items as a test says.

use std::process::{Child, Command, Stdio};

use super::{answers, free_port, left_out, program};

pub(crate) struct Memcached {
    pub(crate) port: u16,
    child: Child,
}

impl Memcached {
    /// An empty server with these options, unless the program is not installed.
    pub(crate) async fn start(test: &str, options: &[&str]) -> Option<Self> {
        let Some(program) = program("memcached") else {
            left_out(test, "memcached");
            return None;
        };
        let port = free_port();
        let child = Command::new(program)
            // It refuses to run as root unless it is told whose rights to take.
            .args(["-u", "nobody", "-l", "127.0.0.1", "-U", "0", "-p", &port.to_string()])
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let server = Self { port, child: child.unwrap() };
        answers(port).await;
        Some(server)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
