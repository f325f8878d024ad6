//! Three videos from a slow service, a cache in front of it, and a page that shows what the cache does.
//!
//! ```sh
//! cargo run --example player              # then open the address that it prints
//! cargo run --example player -- --port 0  # on a port that the system chooses
//! ```

#![expect(clippy::print_stdout, reason = "the address is what this program has to say")]

mod app;

use std::{error::Error, net::Ipv4Addr};

use clap::Parser;
use tokio::net::TcpListener;

/// Serves a page with three videos, from behind a cache.
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
    axum::serve(listener, app::router()?).await?;
    Ok(())
}
