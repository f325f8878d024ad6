//! How the servers are started.

use std::{
    env, fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use axum::Router;
use tokio::net::TcpListener;

use crate::{
    origins::site::{FILM, Site},
    servers::{Process, free_port, says, soon, up},
    trials::{packages, program},
};

/// A kind of server.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// A program with these arguments. In them, and in its configuration, these words are filled in: PORT, ROOT (of
    /// the files), FOLDER (for its own files), CONFIG (its configuration), SERVERS (the folder `servers`), NPM and
    /// PYPI (the folders of packages).
    Program(&'static str, &'static [&'static str]),
    /// As `Program`, with the name of a configuration in `servers`.
    Configured(&'static str, &'static str, &'static [&'static str]),
    InProcess(fn(PathBuf) -> Router),
}

/// A server that listens. A program is ended with it.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    _process: Option<Process>,
}

impl Kind {
    pub(crate) async fn start(self, site: &Site) -> Running {
        match self {
            Self::Program(name, arguments) => run(name, None, arguments, site).await,
            Self::Configured(name, config, arguments) => run(name, Some(config), arguments, site).await,
            Self::InProcess(router) => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                let address = listener.local_addr().unwrap();
                let router = router(site.root());
                tokio::spawn(async move { axum::serve(listener, router).await });
                Running { address, _process: None }
            }
        }
    }
}

async fn run(name: &str, config: Option<&str>, arguments: &[&str], site: &Site) -> Running {
    let program = program(name).expect("each list names the programs that its tests need");
    let servers = Path::new(env!("CARGO_MANIFEST_DIR")).join("real/origins/servers");
    let own = site.folder().as_ref();
    soon("the server starts", || async {
        let port = free_port();
        let fill = |word: &str| {
            word.replace("PORT", &port.to_string())
                .replace("ROOT", &site.root().display().to_string())
                .replace("FOLDER", &own.display().to_string())
                .replace("CONFIG", &own.join("config").display().to_string())
                .replace("SERVERS", &servers.display().to_string())
                .replace("NPM", &packages().join("npm/node_modules").display().to_string())
                .replace("PYPI", &packages().join("pypi").display().to_string())
        };
        if let Some(config) = config {
            fs::write(own.join("config"), fill(&fs::read_to_string(servers.join(config)).unwrap())).unwrap();
        }
        let process = Process::start(&program, arguments.iter().map(|word| fill(word)), site.folder());
        let question = format!("HEAD {FILM} HTTP/1.1\r\nHost: films.test\r\nConnection: close\r\n\r\n");
        let process = up(process, || says(port, &question, " 200 ")).await?;
        Some(Running { address: (Ipv4Addr::LOCALHOST, port).into(), _process: Some(process) })
    })
    .await
}
