//! An authority that signs the certificate of one server, with `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    folder::Folder,
    trials::{Programs, program},
};

pub(crate) struct Authority {
    program: PathBuf,
    folder: Folder,
}

impl Authority {
    pub(crate) const PROGRAMS: Programs = &["openssl"];

    pub(crate) fn new() -> Self {
        let program = program("openssl").expect("each list names the programs that its tests need");
        let authority = Self { program, folder: Folder::new() };
        authority
            .run(&["req", "-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"], &KEY);
        authority.run(&["req", "-subj", "/CN=films", "-keyout", "key.pem", "-out", "request.pem"], &KEY);
        fs::write(authority.at("names"), "subjectAltName = IP:127.0.0.1, DNS:localhost").unwrap();
        let signed = ["x509", "-req", "-in", "request.pem", "-out", "certificate.pem", "-extfile", "names"];
        authority.run(&signed, &["-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]);
        authority
    }

    /// The certificate that a client must trust.
    pub(crate) fn pem(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    pub(crate) fn path(&self) -> String {
        self.at("ca.pem")
    }

    pub(crate) fn certificate(&self) -> String {
        self.at("certificate.pem")
    }

    pub(crate) fn key(&self) -> String {
        self.at("key.pem")
    }

    fn at(&self, name: &str) -> String {
        AsRef::<Path>::as_ref(&self.folder).join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str], more: &[&str]) {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(more).current_dir(&self.folder).stdin(Stdio::null());
        let ended = command.output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }
}

/// A new key, without encryption.
const KEY: [&str; 6] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-batch"];
