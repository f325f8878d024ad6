//! `s3s-fs`: a bucket in a folder, which checks signatures.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use opendal::{services, Operator};

use super::{answers, free_port, left_out, program};
use crate::folder::Folder;

pub(crate) struct S3 {
    program: PathBuf,
    folder: Folder,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl S3 {
    /// A server with an empty bucket, unless the program is not installed.
    pub(crate) async fn start(test: &str) -> Option<Self> {
        let Some(program) = program("s3s-fs") else {
            left_out(test, "s3s-fs");
            return None;
        };
        opendal::install_default();
        let folder = Folder::new();
        fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let mut server = Self { program, folder, port: free_port(), child: None };
        server.restart().await;
        Some(server)
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again at its port, with all that it had.
    pub(crate) async fn restart(&mut self) {
        self.stop();
        let child = Command::new(&self.program)
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
        answers(self.port).await;
    }

    /// What speaks to the server, without any layer.
    pub(crate) fn operator(&self) -> Operator {
        Operator::new(at(self.port)).unwrap()
    }

    /// The files of the bucket, whose names have `part` in them.
    pub(crate) fn files(&self, part: &str) -> Vec<PathBuf> {
        self.folder.files().into_iter().filter(|path| path.to_string_lossy().contains(part)).collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How to reach the bucket through the port.
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

const BUCKET: &str = "films";
const ACCESS_KEY: &str = "projectionist";
const SECRET_KEY: &str = "not-much-of-a-secret";
