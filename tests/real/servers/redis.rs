//! `redis-server`: alone, three in a cluster, or two and a sentinel.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tower_video_cache::RedisStore;

use super::{Process, Server, free_port, says, soon, up};
use crate::{
    folder::Folder,
    trials::{Programs, program, tests},
};

tests! {
    Redis::PROGRAMS => on_one_thread:
        another_program_at_the_port_is_not_taken_for_the_server;
}

/// One server on loopback, without persistence.
pub(crate) struct Redis {
    pub(crate) port: u16,
    program: PathBuf,
    arguments: Vec<String>,
    process: Process,
    folder: Folder,
}

impl Redis {
    /// Starts a server. Each argument [`A_PORT`] stands for a further port.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        // All ports are chosen anew, because another program may have any of them.
        let port = |argument: &&str| {
            if *argument == A_PORT { free_port().to_string() } else { argument.to_string() }
        };
        soon("redis-server starts", || Self::at(free_port(), arguments.iter().map(port).collect())).await
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The path of its socket, if it was started with `--unixsocket socket`.
    pub(crate) fn socket(&self) -> String {
        self.folder.as_ref().join("socket").display().to_string()
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again at the same port, empty.
    pub(crate) async fn start_again(&mut self) {
        self.kill();
        let (program, port, arguments, folder) = (&self.program, self.port, &self.arguments, &self.folder);
        self.process = soon("it has its port again", || run(program, port, arguments, folder)).await;
    }

    /// Makes the server stop answering, though its connections stay.
    pub(crate) fn hang(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn go_on(&self) {
        self.process.signal("CONT");
    }

    /// The output of `redis-cli` for a command.
    pub(crate) fn says(&self, command: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        let said = client.args(["-p", &self.port.to_string()]).args(command).output().unwrap();
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }

    pub(crate) fn number(&self, command: &[&str]) -> i64 {
        let said = self.says(command);
        said.parse().unwrap_or_else(|_| panic!("{command:?} says {said}"))
    }

    /// The value of a setting, whether it was set or is a default.
    pub(crate) fn setting(&self, name: &str) -> String {
        self.says(&["config", "get", name]).lines().last().unwrap().to_owned()
    }

    /// The keys that match.
    pub(crate) fn keys(&self, pattern: &str) -> Vec<String> {
        self.says(&["--scan", "--pattern", pattern]).lines().map(ToOwned::to_owned).collect()
    }

    /// Returns `None` if it could not get the port.
    async fn at(port: u16, more: Vec<String>) -> Option<Self> {
        let program = program("redis-server").expect("each list names the programs that its tests need");
        let fixed = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let arguments: Vec<_> = fixed.map(ToOwned::to_owned).into_iter().chain(more).collect();
        let folder = Folder::new();
        let process = run(&program, port, &arguments, &folder).await?;
        Some(Self { port, program, arguments, process, folder })
    }
}

impl Server for Redis {
    type Store = RedisStore;

    const PROGRAMS: Programs = &["redis-server", "redis-cli"];

    async fn begin(_: bool) -> Self {
        Self::start(&[]).await
    }

    fn store(&self, relay: Option<u16>, limit: Duration) -> RedisStore {
        let url = format!("redis://127.0.0.1:{}", relay.unwrap_or(self.port));
        RedisStore::new(&url).unwrap().timeout(limit).pause(limit)
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn begin_again(&mut self) {
        self.start_again().await;
    }
}

/// Three masters, and no replica.
pub(crate) struct Cluster(pub(crate) Vec<Redis>);

impl Cluster {
    pub(crate) async fn start(more: &[&str]) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let mut arguments = vec!["--cluster-enabled", "yes", "--cluster-port", A_PORT];
            arguments.extend(["--cluster-node-timeout", "1000"]);
            arguments.extend(more);
            nodes.push(Redis::start(&arguments).await);
        }
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let mut client = Command::new("redis-cli");
        client.args(["--cluster", "create"]).args(addresses).args([
            "--cluster-replicas",
            "0",
            "--cluster-yes",
        ]);
        let made = client.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self(nodes);
        cluster.is_whole().await;
        cluster
    }

    pub(crate) async fn is_whole(&self) {
        soon("the cluster is whole", || {
            let whole =
                self.0.iter().all(|node| node.says(&["cluster", "info"]).contains("cluster_state:ok"));
            async move { whole.then_some(()) }
        })
        .await;
    }

    /// Starts one more node, which follows the first.
    pub(crate) async fn follow_the_first(&self) -> Redis {
        let arguments =
            ["--cluster-enabled", "yes", "--cluster-port", A_PORT, "--cluster-node-timeout", "1000"];
        let at_once = ["--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0"];
        let follower = Redis::start(&[&arguments[..], &at_once].concat()).await;
        let first = self.0[0].says(&["cluster", "myid"]);
        let bus_of_first = self.0[0].setting("cluster-port");
        follower.says(&["cluster", "meet", "127.0.0.1", &self.0[0].port.to_string(), &bus_of_first]);
        soon("it follows", || async {
            (follower.says(&["cluster", "replicate", &first]) == "OK").then_some(())
        })
        .await;
        soon("the replica has the values of the first", || async {
            follower.says(&["info", "replication"]).contains("master_link_status:up").then_some(())
        })
        .await;
        soon("all know it", || async {
            let id = follower.says(&["cluster", "myid"]);
            let known = |node: &Redis| {
                node.says(&["cluster", "nodes"])
                    .lines()
                    .any(|line| line.contains(&id) && line.contains("slave"))
            };
            self.0.iter().all(known).then_some(())
        })
        .await;
        follower
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.0.iter().map(Redis::url).collect()
    }
}

/// A master, its replica, and one sentinel, which decides alone.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinel: Redis,
}

impl Watched {
    pub(crate) async fn start() -> Self {
        let master = Redis::start(&[]).await;
        let of = format!("127.0.0.1 {}", master.port);
        let replica = Redis::start(&["--replicaof", &of, "--repl-diskless-sync-delay", "0"]).await;
        // A sentinel writes its state into its own file.
        let folder = Folder::new();
        let file = folder.as_ref().join("sentinel.conf");
        let watch = format!(
            "sentinel monitor films 127.0.0.1 {} 1\nsentinel down-after-milliseconds films 300\n",
            master.port
        );
        fs::write(&file, watch).unwrap();
        let sentinel = loop {
            let port = free_port();
            let program = program("redis-server").expect("each list names the programs that its tests need");
            let arguments: Vec<_> = [file.to_str().unwrap(), "--sentinel", "--port", &port.to_string()]
                .map(ToOwned::to_owned)
                .into();
            if let Some(process) = run(&program, port, &arguments, &folder).await {
                break Redis { port, program, arguments, process, folder };
            }
        };
        soon("the sentinel knows the replica", || {
            let known = sentinel.says(&["sentinel", "replicas", "films"]);
            let known = known.contains(&replica.port.to_string()) && known.contains("master-link-status\nok");
            async move { known.then_some(()) }
        })
        .await;
        Self { master, replica, sentinel }
    }
}

/// Returns `None` if it could not get the port.
async fn run(program: &Path, port: u16, arguments: &[String], folder: &Folder) -> Option<Process> {
    let process = Process::start(program, arguments, folder);
    let is_ours = format!("process_id:{}\r", process.id());
    up(process, || says(port, "INFO server\r\n", &is_ours)).await
}

async fn another_program_at_the_port_is_not_taken_for_the_server() {
    let other = Redis::start(&[]).await;
    assert!(Redis::at(other.port, Vec::new()).await.is_none());
}

/// Stands for a port among the arguments, which is chosen when the server starts.
pub(crate) const A_PORT: &str = "a port";
