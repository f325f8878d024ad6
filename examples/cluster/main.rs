//! Three caching nodes in front of one origin, with one Redis between them: a stampede on a video that none of them
//! has, then an unsafe request through one of them, then another stampede.
//!
//! `cargo run --release --example cluster --features all-stores`
//!
//! It starts a `redis-server` of its own on loopback, and ends it. Each node is the proxy of `examples/proxy`, as it
//! would run on a machine of its own: the nodes do not know each other, and share only the store.

#![expect(clippy::print_stdout, reason = "the example prints what the nodes did")]

#[path = "../proxy/answers.rs"]
mod answers;
#[path = "../proxy/args.rs"]
mod args;
#[path = "../proxy/body.rs"]
mod body;
#[path = "../proxy/connections.rs"]
mod connections;
#[path = "../proxy/crowd.rs"]
mod crowd;
#[path = "../proxy/fields.rs"]
mod fields;
#[path = "../proxy/gate.rs"]
mod gate;
#[path = "../proxy/host.rs"]
mod host;
#[path = "../proxy/origin.rs"]
mod origin;
mod origin_server;
mod redis_server;
#[path = "../proxy/server.rs"]
mod server;
#[path = "../proxy/store.rs"]
mod store;
#[path = "../proxy/unread.rs"]
mod unread;
#[path = "../proxy/values.rs"]
mod values;
mod viewers;
#[path = "../proxy/wire.rs"]
mod wire;

use std::{future::pending, net::SocketAddr, process::ExitCode};

use clap::Parser;
use tokio::net::TcpListener;
use tower_video_cache::BoxError;

use self::{args::Args, origin_server::OriginServer, redis_server::RedisServer, viewers::Stampede};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), BoxError> {
    let redis = RedisServer::start().await?;
    let origin = OriginServer::start().await?;
    println!("redis-server on {}, the origin on {}", redis.address(), origin.address());
    let mut nodes = Vec::new();
    for number in 1..=NODES {
        let address = node(&format!("node-{number}"), &redis, &origin).await?;
        println!("node-{number} on {address}");
        nodes.push(address);
    }
    let stampede = Stampede { nodes: &nodes, origin: &origin, viewers: VIEWERS };

    stampede.run("a video that no node has").await?;
    stampede.run("the same once more").await?;

    // RFC 9111 §4.4: an unsafe request invalidates the stored response, wherever it is stored.
    let status = viewers::replace(*nodes.first().ok_or("no node")?).await?;
    println!("\nPUT {} through node-1: {status}; the origin has another video now", origin_server::PATH);
    stampede.run("the other video").await
}

/// One node, as `proxy --store redis://…` would run it.
async fn node(name: &str, redis: &RedisServer, origin: &OriginServer) -> Result<SocketAddr, BoxError> {
    let (origin, store) = (format!("http://{}", origin.address()), format!("redis://{}", redis.address()));
    let line = ["proxy", "--listen", "127.0.0.1:0", "--origin", &origin, "--store", &store, "--name", name];
    let args = Args::try_parse_from(line)?;
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    let opened = args.open().await?;
    tokio::spawn(async move {
        let layer = opened.layer.clone();
        server::serve(listener, layer, args.gate(), args.origin(), args.limits(), pending()).await;
        opened.close().await
    });
    Ok(address)
}

const NODES: usize = 3;
/// Viewers of each node, all at once.
const VIEWERS: usize = 50;
