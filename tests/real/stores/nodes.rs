//! Several nodes on one store: proxies in processes of their own, one Redis, one origin.

use std::{
    env,
    future::{Future, pending},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::{net::TcpListener, task::JoinSet};
use tower_video_cache::Mark;

use crate::{
    servers::{Process, Server, redis::Redis, soon},
    stores::{
        film::Film,
        origin::{LENGTH, Origin, PATH, video},
        proxy::{args::Args, server},
    },
    trials::tests,
};

tests! {
    Redis::PROGRAMS => on_one_thread:
        a_stampede_over_four_nodes_costs_one_call_of_the_origin,
        in_the_other_modes_nodes_never_mix_and_soon_need_no_origin,
        a_node_that_is_killed_while_it_fills_costs_the_others_one_lease_and_one_call,
        content_that_changes_under_the_nodes_is_never_mixed_and_never_old_once_a_put_is_answered,
        memory_before_the_store_is_no_older_than_its_bound,
        nodes_whose_store_is_gone_answer_from_the_origin_and_then_from_the_store_again,
        nodes_with_memory_of_their_own_share_purges_by_a_log;
    &[] => process:
        node;
}

async fn a_stampede_over_four_nodes_costs_one_call_of_the_origin() {
    let rig = Rig::of(4, &[]).await;
    let seen = rig.stampede(50).await;
    assert_eq!(rig.origin.calls(), 1);
    let said = |what: &str| seen.iter().filter(|status| status.contains(what)).count();
    assert_eq!(said("; stored") + said("detail=storing"), 1, "{seen:?}");
    assert_eq!(said("collapsed") + said("; hit"), 199, "{seen:?}");
    rig.stampede(5).await;
    assert_eq!(rig.origin.calls(), 1);
}

async fn in_the_other_modes_nodes_never_mix_and_soon_need_no_origin() {
    for mode in ["whole", "progressive", "sliced"] {
        let rig = Rig::of(3, &["--fill", mode]).await;
        rig.stampede(20).await;
        let calls = rig.origin.calls();
        rig.stampede(5).await;
        assert_eq!(rig.origin.calls(), calls, "{mode}");
    }
}

async fn a_node_that_is_killed_while_it_fills_costs_the_others_one_lease_and_one_call() {
    let mut rig = Rig::of(4, &["--lease-time", "1s"]).await;
    rig.origin.hold_midway();
    let first = tokio::spawn(rig.ask(0));
    rig.origin.is_midway().await;
    let others: Vec<_> = (1..4).map(|node| tokio::spawn(rig.ask(node))).collect();
    rig.nodes[0].kill();
    let killed = Instant::now();
    assert!(first.await.unwrap().is_err());
    rig.origin.go_on();
    for other in others {
        let (status, bytes) = other.await.unwrap().unwrap();
        assert!(bytes == video(0), "{status}");
    }
    assert_eq!(rig.origin.calls(), 2);
    // The time of one lease, and of an answer on a busy machine.
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
}

async fn content_that_changes_under_the_nodes_is_never_mixed_and_never_old_once_a_put_is_answered() {
    let rig = Rig::of(4, &[]).await;
    for version in 0..8_u8 {
        let before: Vec<_> = (0..4).map(|node| tokio::spawn(rig.ask(node))).collect();
        rig.put(usize::from(version) % 4).await;
        for viewer in before {
            let (status, bytes) = viewer.await.unwrap().unwrap();
            assert!(bytes == video(version) || bytes == video(version + 1), "{status}");
        }
        for node in 0..4 {
            let (status, bytes) = rig.ask(node).await.unwrap();
            assert!(bytes == video(version + 1), "version {version}, node {node}: {status}");
        }
    }
}

async fn memory_before_the_store_is_no_older_than_its_bound() {
    let rig = Rig::of(2, &["--near", "64MiB"]).await;
    for node in 0..2 {
        assert!(rig.ask(node).await.unwrap().1 == video(0));
    }
    rig.put(0).await;
    assert!(rig.ask(0).await.unwrap().1 == video(1), "the node that was told knows at once");
    let told = Instant::now();
    loop {
        let (status, bytes) = rig.ask(1).await.unwrap();
        if bytes == video(1) {
            break;
        }
        assert!(bytes == video(0), "{status}");
        assert!(told.elapsed() < Duration::from_secs(5), "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn nodes_whose_store_is_gone_answer_from_the_origin_and_then_from_the_store_again() {
    let mut rig = Rig::of(2, &[]).await;
    rig.stampede(5).await;
    rig.redis.kill();
    for _ in 0..3 {
        rig.stampede(5).await;
    }
    rig.redis.start_again().await;
    let back = Instant::now();
    loop {
        let (status, bytes) = rig.ask(1).await.unwrap();
        assert!(bytes == video(0), "{status}");
        if status.contains("; hit") {
            break;
        }
        assert!(back.elapsed() < Duration::from_secs(20), "{status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.stampede(5).await;
}

async fn nodes_with_memory_of_their_own_share_purges_by_a_log() {
    let redis = Redis::start(&[]).await;
    let line = format!(
        "proxy --listen 127.0.0.1:0 --origin http://a --memory 64MiB --purge-log {} --purge-age 0s",
        redis.url()
    );
    let args = Args::try_parse_from(line.split(' ')).unwrap();
    let [(_, one), (_, other)] = [args.open().await.unwrap(), args.open().await.unwrap()];
    let film = Film::of(LENGTH);
    let is_hit = async |layer| film.watch_if_it_can_be(layer).await.unwrap().contains("; hit");
    for layer in [&one, &other] {
        soon("a hit", async || is_hit(layer).await.then_some(())).await;
    }
    one.handle().purger().all(Mark::Gone).await.unwrap();
    for layer in [&one, &other] {
        assert!(!is_hit(layer).await);
        soon("a hit", async || is_hit(layer).await.then_some(())).await;
    }
    other.handle().purger().uri(&"/film".parse().unwrap(), Mark::Gone).await.unwrap();
    assert!(!is_hit(&one).await && !is_hit(&other).await);
}

/// Not a test: one node, which the tests here start as a process of its own.
async fn node() {
    let Ok(line) = env::var(LINE) else { return };
    let args = Args::try_parse_from(line.split(' ')).unwrap();
    let listener = TcpListener::bind(args.listen).await.unwrap();
    let (opened, layer) = args.open().await.unwrap();
    println!("{HERE}{}", listener.local_addr().unwrap());
    server::serve(listener, layer, args.gate(), args.origin(), args.limits(), pending()).await;
    opened.close().await.unwrap();
}

struct Rig {
    redis: Redis,
    origin: Origin,
    nodes: Vec<Node>,
}

impl Rig {
    async fn of(nodes: usize, settings: &[&str]) -> Self {
        let redis = Redis::start(&[]).await;
        let origin = Origin::start().await;
        let (url, address) = (redis.url(), format!("http://{}", origin.address()));
        let started: Vec<_> = (0..nodes)
            .map(|_| {
                let always = ["--origin", &address, "--store", &url, "--chunk-size", "256KiB"];
                Node::start(&[&always, settings].concat())
            })
            .collect();
        Self { redis, origin, nodes: started }
    }

    /// Starts this many clients of each node at once, and returns the `Cache-Status` of each answer.
    async fn stampede(&self, viewers: usize) -> Vec<String> {
        let mut all = JoinSet::new();
        for node in 0..self.nodes.len() {
            for _ in 0..viewers {
                all.spawn(self.ask(node));
            }
        }
        let mut seen = Vec::new();
        while let Some(viewer) = all.join_next().await {
            let (status, bytes) = viewer.unwrap().unwrap();
            assert!(bytes == video(0), "{status}");
            seen.push(status);
        }
        seen
    }

    /// A client's answer from a node: its `Cache-Status`, and its bytes.
    fn ask(
        &self,
        node: usize,
    ) -> impl Future<Output = Result<(String, Bytes), String>> + Send + 'static + use<> {
        let request =
            Request::get(self.nodes[node].uri()).header(header::HOST, SITE).body(Empty::new()).unwrap();
        async move {
            let response = send(request).await?;
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[header::CONTENT_LENGTH], LENGTH.to_string());
            let status = response.headers()["cache-status"].to_str().unwrap().to_owned();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
            Ok((status, body.to_bytes()))
        }
    }

    /// Makes the origin go on to its next video, through a node.
    async fn put(&self, node: usize) {
        let request =
            Request::put(self.nodes[node].uri()).header(header::HOST, SITE).body(Empty::new()).unwrap();
        assert_eq!(send(request).await.unwrap().status(), StatusCode::NO_CONTENT);
    }
}

async fn send(request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    client.request(request).await.map_err(|error| error.to_string())
}

/// A proxy in a process of its own, which ends with this value.
struct Node {
    process: Process,
    address: SocketAddr,
}

impl Node {
    fn start(settings: &[&str]) -> Self {
        let line = [&["proxy", "--listen", "127.0.0.1:0"], settings].concat().join(" ");
        let mut process = Process::of_test("stores::nodes::node", LINE, line);
        let address = process.lines().find_map(|line| line.split_once(HERE)?.1.parse().ok());
        Self { process, address: address.expect("a node says where it listens") }
    }

    fn uri(&self) -> String {
        assert_eq!(self.address.ip(), Ipv4Addr::LOCALHOST);
        format!("http://{}{PATH}", self.address)
    }

    fn kill(&mut self) {
        self.process.kill();
    }
}

/// Every node is asked for this site, because the authority is part of the cache key.
const SITE: &str = "movies.example";

/// The environment variable with a node's command line, and the word that the node prints before its address.
const LINE: &str = "NODE_COMMAND_LINE";
const HERE: &str = "this node is ";
