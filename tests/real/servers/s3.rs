//! `s3s-fs`: a bucket in a folder, which checks signatures.

use std::{
    ffi::OsStr,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use opendal::{
    Operator,
    layers::{RetryLayer, TimeoutLayer},
    services,
};
use tokio::net::TcpStream;
use tower_video_cache::OpendalStore;

use super::{Process, Server, free_port, soon, up};
use crate::{
    folder::Folder,
    trials::{Programs, program},
};

pub(crate) struct S3 {
    program: PathBuf,
    pub(crate) port: u16,
    process: Process,
    folder: Folder,
}

impl S3 {
    /// A server with an empty bucket.
    pub(crate) async fn start() -> Self {
        let program = program("s3s-fs").expect("each list names the programs that its tests need");
        opendal::install_default();
        let folder = Folder::new();
        fs::create_dir(folder.as_ref().join(BUCKET)).unwrap();
        let (port, process) = soon("s3s-fs starts", || async {
            let port = free_port();
            Some((port, run(&program, port, &folder).await?))
        })
        .await;
        Self { program, port, process, folder }
    }

    pub(crate) fn stop(&mut self) {
        self.process.kill();
    }

    /// Starts it again at its port, with all of its files.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        let (program, port, folder) = (&self.program, self.port, &self.folder);
        self.process = soon("it has its port again", || run(program, port, folder)).await;
    }

    /// A client of the server, without any layer.
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(at(self.port)).unwrap()
    }

    /// The files of the bucket whose names contain `part`.
    pub(crate) fn files(&self, part: &str) -> Vec<PathBuf> {
        self.folder.files(part)
    }
}

impl Server for S3 {
    type Store = OpendalStore;

    const PROGRAMS: Programs = &["s3s-fs"];

    async fn begin(_: bool) -> Self {
        Self::start().await
    }

    fn store(&self, relay: Option<u16>, limit: Duration) -> OpendalStore {
        let operator = Operator::new(at(relay.unwrap_or(self.port))).unwrap();
        OpendalStore::new(
            operator
                .layer(TimeoutLayer::new().with_timeout(limit).with_io_timeout(limit))
                .layer(RetryLayer::new().with_max_times(1).with_min_delay(Duration::from_millis(50))),
        )
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn begin_again(&mut self) {
        self.restart().await;
    }
}

/// The settings to reach the bucket through the port.
pub(crate) fn at(port: u16) -> services::S3 {
    services::S3::default()
        .bucket(BUCKET)
        .endpoint(&format!("http://127.0.0.1:{port}"))
        .region("us-east-1")
        .access_key_id(ACCESS_KEY)
        .secret_access_key(SECRET_KEY)
        .disable_config_load()
        .disable_ec2_metadata()
}

/// Returns `None` if it could not get the port.
async fn run(program: &Path, port: u16, folder: &Folder) -> Option<Process> {
    let at = port.to_string();
    let listening = ["--host", "127.0.0.1", "--port", &at];
    let keys = ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY];
    let arguments = listening.into_iter().chain(keys).map(OsStr::new);
    let process = Process::start(program, arguments.chain([folder.as_ref().as_os_str()]), folder);
    up(process, || async move { TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() }).await
}

const BUCKET: &str = "films";
const ACCESS_KEY: &str = "projectionist";
const SECRET_KEY: &str = "not-much-of-a-secret";
