//! A Redis server that this example starts and ends.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tower_video_cache::BoxError;

/// A Redis server, which ends when this value is dropped.
pub(crate) struct RedisServer {
    child: Child,
    address: SocketAddr,
}

impl RedisServer {
    /// Starts it on a port that the system chose. Its data is gone when it ends.
    pub(crate) async fn start() -> Result<Self, BoxError> {
        // Redis chooses no port by itself. The port of a listener that was just closed is most likely still free.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--maxmemory", "512mb"])
            .args(["--maxmemory-policy", "allkeys-lru"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    "there is no redis-server: install Debian's package redis-server, or your system's like it"
                        .to_owned()
                }
                _ => format!("cannot start redis-server: {error}"),
            })?;
        let server = Self { child, address };
        for _ in 0..100 {
            if TcpStream::connect(address).await.is_ok() {
                return Ok(server);
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err("redis-server does not answer".into())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // The server is ours, and its data may be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
