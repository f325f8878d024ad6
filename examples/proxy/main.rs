//! A caching reverse proxy for video: one origin, and a store of your choice.
//!
//! `cargo run --release --example proxy -- --listen 127.0.0.1:8080 --origin http://127.0.0.1:9000`
//!
//! It speaks HTTP/1.1 and HTTP/2 (with prior knowledge) to clients and HTTP/1.1 to the origin, both without TLS. If
//! clients come over the Internet, put the proxy behind a server that terminates TLS. The memory store loses its
//! responses when the proxy stops. Other stores than memory need `--features all-stores`.

mod admin;
mod answers;
mod args;
mod body;
mod connections;
mod crowd;
mod fields;
mod gate;
mod host;
mod origin;
mod server;
mod store;
mod unread;
mod values;
mod wire;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use tokio::net::TcpListener;
use tower_video_cache::BoxError;

use self::{admin::Admin, args::Args, server::Stopped};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(Stopped::Finished) => ExitCode::SUCCESS,
        Ok(Stopped::CutOff) => {
            eprintln!("proxy: stopped before all requests were answered");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<Stopped, BoxError> {
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let (opened, layer) = args.open().await?;
    let stop = stop_signal()?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    if let Some(address) = args.admin {
        let admin = Admin::listen(address, layer.handle()).await;
        let admin = admin.map_err(|error| format!("cannot listen on {address}: {error}"))?;
        writeln!(stdout, "figures on http://{}", admin.address()?)?;
        tokio::spawn(admin.serve());
    }
    stdout.flush()?;
    let stopped = server::serve(listener, layer, args.gate(), args.origin(), args.limits(), stop).await;
    opened.close().await?;
    Ok(stopped)
}

/// Resolves when the process is asked to end. After this call, the signals no longer end the process by themselves.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};

    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without a handler for it, Ctrl-C ends the process at once, which is a stop as well.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
