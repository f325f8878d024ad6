//! `memcached`, with the memory and the item size that a test sets.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use opendal::{Operator, services};
use tokio::net::UnixStream;
use tower_video_cache::OpendalStore;

use super::{Process, Server, answers, free_port, says, soon, up};
use crate::{
    folder::Folder,
    trials::{Programs, program},
};

pub(crate) struct Memcached {
    program: PathBuf,
    /// `None` if it listens at a socket.
    port: Option<u16>,
    options: Vec<String>,
    process: Process,
    folder: Folder,
}

impl Memcached {
    /// An empty server at a socket in the file system.
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::run(false, options).await
    }

    /// An empty server at a port.
    pub(crate) async fn start_at_a_port(options: &[&str]) -> Self {
        Self::run(true, options).await
    }

    /// The address for a client.
    pub(crate) fn endpoint(&self) -> String {
        match self.port {
            Some(port) => format!("tcp://127.0.0.1:{port}"),
            None => format!("unix://{}", self.socket().display()),
        }
    }

    async fn run(at_a_port: bool, options: &[&str]) -> Self {
        let program = program("memcached").expect("each list names the programs that its tests need");
        let options = options.iter().map(ToString::to_string).collect::<Vec<_>>();
        let folder = Folder::new();
        let (port, process) = soon("memcached starts", || async {
            let port = at_a_port.then(free_port);
            Some((port, process(&program, port, &options, &folder).await?))
        })
        .await;
        Self { program, port, options, process, folder }
    }

    fn socket(&self) -> PathBuf {
        socket(&self.folder)
    }
}

impl Server for Memcached {
    type Store = OpendalStore;

    const PROGRAMS: Programs = &["memcached"];

    async fn begin(at_a_port: bool) -> Self {
        if at_a_port {
            return Self::start_at_a_port(&[]).await;
        }
        Self::start(&[]).await
    }

    /// Only the layer limits the time of a call: see [`OpendalStore`].
    fn store(&self, relay: Option<u16>, _: Duration) -> OpendalStore {
        let endpoint = relay.map_or(self.endpoint(), |port| format!("tcp://127.0.0.1:{port}"));
        let service =
            services::Memcached::default().endpoint(&endpoint).default_ttl(Duration::from_secs(3600));
        OpendalStore::new(Operator::new(service).unwrap()).max_value_size((1 << 20) - 512)
    }

    fn port(&self) -> u16 {
        self.port.unwrap()
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn begin_again(&mut self) {
        self.process.kill();
        // An old socket file would make the server seem ready.
        let _ = fs::remove_file(self.socket());
        let (program, port, options, folder) = (&self.program, self.port, &self.options, &self.folder);
        self.process = soon("it has its place again", || process(program, port, options, folder)).await;
    }
}

/// Returns `None` if it could not get the port.
async fn process(program: &Path, port: Option<u16>, options: &[String], folder: &Folder) -> Option<Process> {
    let at = port.map(|port| port.to_string());
    let listening = match &at {
        Some(port) => vec!["-l", "127.0.0.1", "-U", "0", "-p", port],
        None => vec!["-s", SOCKET],
    };
    // Without it, the server does not run as root, which builders often are. For other users it has no effect.
    let always = ["-u", "root"].into_iter().chain(listening);
    let process = Process::start(program, always.chain(options.iter().map(String::as_str)), folder);
    let is_ours = format!("STAT pid {}\r", process.id());
    let is_up = || async {
        match port {
            Some(port) => says(port, "stats\r\n", &is_ours).await,
            None => match UnixStream::connect(socket(folder)).await {
                Ok(server) => answers(server, "stats\r\n", &is_ours).await,
                Err(_) => false,
            },
        }
    };
    up(process, is_up).await
}

fn socket(folder: &Folder) -> PathBuf {
    folder.as_ref().join(SOCKET)
}

const SOCKET: &str = "socket";
