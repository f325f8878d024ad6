//! Three caching nodes in front of one origin, with one Redis between them: a stampede on a video that none of them
//! has, then an unsafe request through one of them, then another stampede.
//!
//! `cargo run --release --example cluster --features all-stores`
//!
//! It starts a `redis-server` of its own on loopback, and ends it. Each node is the proxy of `examples/proxy`, as it
//! would run on a machine of its own: the nodes do not know each other, and share only the store.

#![expect(clippy::print_stdout, reason = "the example prints what the nodes did")]

#[path = "../proxy/admin.rs"]
mod admin;
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
use tower_video_cache::{BoxError, CacheHandle};

use self::{
    admin::Admin, args::Args, origin_server::OriginServer, redis_server::RedisServer, viewers::Stampede,
};

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
    let (mut nodes, mut caches, mut scraped) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=NODES {
        let (address, figures, cache) = node(&format!("node-{number}"), &redis, &origin).await?;
        println!("node-{number} on {address}, its figures on http://{figures}");
        nodes.push(address);
        caches.push(cache);
        scraped.push(format!("'{figures}'"));
    }
    println!("for Prometheus: static_configs: [{{ targets: [{}] }}]", scraped.join(", "));
    let stampede = Stampede { nodes: &nodes, origin: &origin, viewers: VIEWERS };

    stampede.run("a video that no node has").await?;
    stampede.run("the same once more").await?;

    // RFC 9111 §4.4: an unsafe request invalidates the stored response, wherever it is stored.
    let status = viewers::replace(*nodes.first().ok_or("no node")?).await?;
    println!("\nPUT {} through node-1: {status}; the origin has another video now", origin_server::PATH);
    stampede.run("the other video").await?;

    println!("\nthe figures of the nodes");
    for cache in &caches {
        let figures = cache.stats();
        let hits = figures.requests.of("hit");
        let misses = figures.requests.total() - hits;
        let (followers, calls) = (figures.followers, figures.inner_requests.total());
        println!(
            "{}: {hits} hits, {misses} others, {followers} waited for a fill; {calls} calls of the origin; {} of the \
             store, {} on average",
            cache.name(),
            figures.store_calls.total(),
            figures.store_latency.all().mean().map_or_else(String::new, |mean| format!("{mean:?}")),
        );
    }
    Ok(())
}

/// One node, as `proxy --store redis://… --admin …` would run it: its address, that of its figures, and its cache.
async fn node(
    name: &str,
    redis: &RedisServer,
    origin: &OriginServer,
) -> Result<(SocketAddr, SocketAddr, CacheHandle), BoxError> {
    let (origin, store) = (format!("http://{}", origin.address()), format!("redis://{}", redis.address()));
    let any = "127.0.0.1:0";
    let line =
        ["proxy", "--listen", any, "--admin", any, "--origin", &origin, "--store", &store, "--name", name];
    let args = Args::try_parse_from(line)?;
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    let (opened, layer) = args.open().await?;
    let cache = layer.handle();
    let admin = Admin::listen(args.admin.ok_or("no address")?, cache.clone()).await?;
    let figures = admin.address()?;
    tokio::spawn(admin.serve());
    tokio::spawn(async move {
        server::serve(listener, layer, args.gate(), args.origin(), args.limits(), pending()).await;
        opened.close().await
    });
    Ok((address, figures, cache))
}

const NODES: usize = 3;
/// Viewers of each node, all at once.
const VIEWERS: usize = 50;
