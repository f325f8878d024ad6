//! The servers: what each needs, and where the layer is known to be worse than it.

use crate::{
    origins::{
        asking::Origin,
        bench::Bench,
        in_process::{file_stream, serve_dir},
        known::{
            BEYOND_TWICE, DATELESS_PART, EMPTY_TWICE, FORBIDDEN_FIRST_PART, Known, NO_END_BEYOND,
            ONE_RUN_MORE, ONE_TAG_FOR_EVER, SILENT_416, TORN_IF_RANGE, TYPE_OF_A_PART, WEAK_GZIP,
            WHOLE_FOR_A_PART,
        },
        programs::Kind,
        scenes,
        site::Site,
        traits::row,
    },
    trials::{self, Programs, Test},
};

struct Server {
    name: &'static str,
    needed: Programs,
    kind: Kind,
    known: &'static [Known],
}

/// A test for each server.
pub(crate) fn tests() -> Vec<Test> {
    SERVERS.iter().map(Server::test).collect()
}

impl Server {
    fn test(&'static self) -> Test {
        let path = format!("real::origins::{}::gives_no_client_a_worse_answer_behind_the_layer", self.name);
        trials::plain(&path, self.needed, || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(self.run());
        })
    }

    async fn run(&self) {
        let site = Site::new();
        let running = self.kind.start(&site).await;
        let mut bench = Bench::new(site, Origin::new(running.address));
        let row = row(self.name, &mut bench).await;
        scenes::play(&mut bench).await;
        row.keep(&bench);
        bench.is_no_worse(self.known);
    }
}

const SERVERS: &[Server] = &[
    Server {
        name: "nginx",
        needed: &["nginx"],
        kind: Kind::Configured("nginx", "nginx.conf", &["-e", "stderr", "-p", "FOLDER", "-c", "CONFIG"]),
        known: &[WHOLE_FOR_A_PART, WEAK_GZIP],
    },
    Server {
        name: "apache",
        needed: &["apache2"],
        kind: Kind::Configured("apache2", "apache.conf", &["-X", "-d", "FOLDER", "-f", "CONFIG"]),
        known: &[SILENT_416, WHOLE_FOR_A_PART],
    },
    Server {
        name: "lighttpd",
        needed: &["lighttpd"],
        kind: Kind::Configured("lighttpd", "lighttpd.conf", &["-D", "-f", "CONFIG"]),
        known: &[SILENT_416, WHOLE_FOR_A_PART],
    },
    Server {
        name: "caddy",
        needed: &["caddy"],
        kind: Kind::Configured("caddy", "caddy.json", &["run", "--config", "CONFIG"]),
        known: &[WHOLE_FOR_A_PART],
    },
    Server {
        name: "h2o",
        needed: &["h2o"],
        kind: Kind::Configured("h2o", "h2o.conf", &["-m", "worker", "-c", "CONFIG"]),
        known: &[WHOLE_FOR_A_PART, TORN_IF_RANGE],
    },
    Server {
        name: "busybox",
        needed: &["busybox"],
        kind: Kind::Program("busybox", &["httpd", "-f", "-p", "127.0.0.1:PORT", "-h", "ROOT"]),
        known: &[WHOLE_FOR_A_PART, TYPE_OF_A_PART],
    },
    Server {
        name: "webfs",
        needed: &["webfsd"],
        kind: Kind::Program(
            "webfsd",
            &["-F", "-p", "PORT", "-i", "127.0.0.1", "-r", "ROOT", "-m", "/etc/mime.types"],
        ),
        known: &[WHOLE_FOR_A_PART, FORBIDDEN_FIRST_PART, BEYOND_TWICE],
    },
    Server {
        name: "mini_httpd",
        needed: &["mini_httpd"],
        kind: Kind::Program("mini_httpd", &["-D", "-h", "127.0.0.1", "-p", "PORT", "-d", "ROOT"]),
        known: &[],
    },
    Server {
        name: "php",
        needed: &["php"],
        kind: Kind::Program("php", &["-S", "127.0.0.1:PORT", "-t", "ROOT"]),
        known: &[],
    },
    Server {
        name: "webrick",
        needed: &["ruby"],
        kind: Kind::Program("ruby", &["SERVERS/webrick.rb", "PORT", "ROOT"]),
        known: &[SILENT_416, DATELESS_PART],
    },
    Server {
        name: "puma",
        needed: &["puma"],
        kind: Kind::Program(
            "puma",
            &["-q", "-b", "tcp://127.0.0.1:PORT", "--dir", "ROOT", "SERVERS/puma.ru"],
        ),
        known: &[TORN_IF_RANGE],
    },
    Server {
        name: "s3s-fs",
        needed: &["s3s-fs"],
        kind: Kind::Program("s3s-fs", &["--host", "127.0.0.1", "--port", "PORT", "ROOT"]),
        known: &[SILENT_416, TORN_IF_RANGE, EMPTY_TWICE, BEYOND_TWICE],
    },
    Server {
        name: "node_http",
        needed: &["node"],
        kind: Kind::Program("node", &["SERVERS/node-http.cjs", "PORT", "ROOT"]),
        known: &[SILENT_416, NO_END_BEYOND],
    },
    Server {
        name: "http_server",
        needed: &["node", "npm:http-server"],
        kind: Kind::Program("node", &["SERVERS/http-server.cjs", "PORT", "ROOT", "NPM"]),
        known: &[TORN_IF_RANGE, BEYOND_TWICE, SILENT_416, EMPTY_TWICE],
    },
    Server {
        name: "serve_handler",
        needed: &["node", "npm:serve-handler"],
        kind: Kind::Program("node", &["SERVERS/serve-handler.cjs", "PORT", "ROOT", "NPM"]),
        known: &[WHOLE_FOR_A_PART, TORN_IF_RANGE],
    },
    Server {
        name: "express",
        needed: &["node", "npm:express"],
        kind: Kind::Program("node", &["SERVERS/express.cjs", "PORT", "ROOT", "NPM"]),
        known: &[],
    },
    Server {
        name: "fastify",
        needed: &["node", "npm:fastify"],
        kind: Kind::Program("node", &["SERVERS/fastify.cjs", "PORT", "ROOT", "NPM"]),
        known: &[],
    },
    Server {
        name: "sirv",
        needed: &["node", "npm:sirv"],
        kind: Kind::Program("node", &["SERVERS/sirv.cjs", "PORT", "ROOT", "NPM"]),
        known: &[TORN_IF_RANGE],
    },
    Server {
        name: "python",
        needed: &["python3"],
        kind: Kind::Program("python3", &["SERVERS/http_server_.py", "PORT", "ROOT"]),
        known: &[],
    },
    Server {
        name: "aiohttp",
        needed: &["python3", "pypi:aiohttp"],
        kind: Kind::Program("python3", &["SERVERS/aiohttp_.py", "PORT", "ROOT", "PYPI"]),
        known: &[WHOLE_FOR_A_PART, TORN_IF_RANGE],
    },
    Server {
        name: "starlette",
        needed: &["python3", "pypi:starlette"],
        kind: Kind::Program("python3", &["SERVERS/starlette_.py", "PORT", "ROOT", "PYPI"]),
        known: &[WHOLE_FOR_A_PART],
    },
    Server {
        name: "flask",
        needed: &["python3", "pypi:flask"],
        kind: Kind::Program("python3", &["SERVERS/flask_.py", "PORT", "ROOT", "PYPI"]),
        known: &[WHOLE_FOR_A_PART, ONE_RUN_MORE],
    },
    Server {
        name: "tornado",
        needed: &["python3", "pypi:tornado"],
        kind: Kind::Program("python3", &["SERVERS/tornado_.py", "PORT", "ROOT", "PYPI"]),
        known: &[TORN_IF_RANGE, ONE_TAG_FOR_EVER],
    },
    Server {
        name: "serve_dir",
        needed: &[],
        kind: Kind::InProcess(serve_dir),
        known: &[WHOLE_FOR_A_PART, TORN_IF_RANGE],
    },
    Server {
        name: "file_stream",
        needed: &[],
        kind: Kind::InProcess(file_stream),
        known: &[SILENT_416, NO_END_BEYOND],
    },
];
