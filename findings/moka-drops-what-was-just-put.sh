#!/usr/bin/env bash
# moka, with its default policy, accepts new values into a full cache, returns them, and drops them at its next maintenance.
set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"; mkdir src
cat > Cargo.toml <<'TOML'
[package]
name = "see"
version = "0.1.0"
edition = "2021"
[dependencies]
moka = { version = "=0.12.16", features = ["future"] }
tokio = { version = "=1.54.1", features = ["macros", "rt"] }
TOML
cat > src/main.rs <<'RS'
use moka::{future::Cache, policy::EvictionPolicy};
async fn run(name: &str, policy: EvictionPolicy) -> (usize, usize) {
    let cache = Cache::builder().max_capacity(64 << 20).weigher(|_, value: &Vec<u8>| value.len() as u32)
        .eviction_policy(policy).build();
    for key in 0..64 { cache.insert(key, vec![0; 1 << 20]).await; } // full, of chunks of 1 MiB
    cache.run_pending_tasks().await;
    for key in 0..64 { cache.get(&key).await; } // each was read once
    cache.run_pending_tasks().await;
    let (mut at_once, mut later) = (0, 0);
    for key in 100..120 {
        cache.insert(key, vec![1; 1 << 20]).await;
        at_once += usize::from(cache.get(&key).await.is_some());
    }
    cache.run_pending_tasks().await; // moka does this by itself after 64 writes, or 300 ms
    for key in 100..120 { later += usize::from(cache.contains_key(&key)); }
    println!("{name}: of 20 chunks put, {at_once} came back at once, {later} are there after maintenance");
    (at_once, later)
}
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let default = run("TinyLFU, the default", EvictionPolicy::tiny_lfu()).await;
    let lru = run("LRU", EvictionPolicy::lru()).await;
    std::process::exit(i32::from(default != (20, 0) || lru != (20, 20)));
}
RS
cat <<'TEXT'
version: crates.io moka 0.12.16 (future::Cache with a weigher)
behaviour: A full cache whose chunks were read once takes 20 new chunks, returns each to a read right after its put, and
  has none of them after its next maintenance: TinyLFU admits a value only if it was asked for more often than the values
  it would replace. One expects what was put to outlive what nobody has asked for since. A cache for video that fills
  first and then serves from the store finds the new film gone while it plays; `EvictionPolicy::lru()` keeps it.
output seen:
TEXT
timeout 500 cargo run --quiet
