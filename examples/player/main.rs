//! One slow video service, a cache in each of the four modes of filling in front of it, and a page that shows what the
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

use std::{env, error::Error, net::Ipv4Addr, time::Duration};

use tokio::net::TcpListener;

use self::stage::Pace;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port()?)).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, app::router(FAR_AWAY)?).await?;
    Ok(())
}

/// The port of 127.0.0.1 to listen on, from the command line. 0 lets the system choose.
fn port() -> Result<u16, Box<dyn Error>> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Ok(3000),
        ["--port", port] => Ok(port.parse()?),
        _ => Err("usage: player [--port PORT]".into()),
    }
}

/// A third of a second away, and twice as fast as the samples play.
const FAR_AWAY: Pace = Pace { latency: Duration::from_millis(330), chunk: Duration::from_millis(250) };

const VIDEOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/videos");
