//! One slow video service, a cache in each of the three modes of filling in front of it, and a page that shows what the
//! caches hold while the videos play.
//!
//! ```sh
//! cargo run --example player              # then open the address that it prints
//! cargo run --example player -- --port 0  # on a port that the system chooses
//! ```

#![expect(clippy::print_stdout, reason = "the program prints its address")]

mod app;
mod chunk_map;
mod log;
mod stage;
mod watched_store;

use std::{error::Error, net::Ipv4Addr, time::Duration};

use clap::Parser;
use tokio::net::TcpListener;

use self::stage::Pace;

/// Serves a page with a video in three players, each behind a cache of its own.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port of 127.0.0.1 to listen on; 0 lets the system choose.
    #[arg(long, default_value_t = 3000)]
    port: u16,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, arguments.port)).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, app::router(FAR_AWAY)?).await?;
    Ok(())
}

/// A third of a second away, and twice as fast as the samples play.
const FAR_AWAY: Pace = Pace { latency: Duration::from_millis(330), chunk: Duration::from_millis(250) };

const VIDEOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/videos");
