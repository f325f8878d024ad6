//! Real servers on loopback, each the child of the test that needs it, and ended with it.

#![expect(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test that panics has failed, and says where"
)]

pub(crate) mod memcached;
pub(crate) mod s3;

use std::{env, net::TcpListener, path::PathBuf, time::Duration};

use tokio::{net::TcpStream, time};

/// Where the program is, if it is installed.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|program| program.is_file())
}

/// A port that nobody listened at a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens at the port.
pub(crate) async fn answers(port: u16) {
    for _ in 0..1000 {
        if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            return;
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody listens at port {port}");
}

/// Says that the test was left out, for want of the program.
pub(crate) fn left_out(test: &str, program: &str) {
    assert!(env::var_os("CI").is_none(), "{test} needs {program}, which is not installed");
    eprintln!("LEFT OUT: {test}, for {program} is not installed");
}
