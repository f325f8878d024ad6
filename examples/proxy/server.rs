//! The viewers' side: connections, their limits, and the graceful stop.

use std::{
    future::Future,
    io::ErrorKind,
    pin::pin,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto::Builder,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tower::{Layer, ServiceExt};
use tower_video_cache::{VideoCache, VideoCacheLayer};

use super::{body::Flow, origin::Origin};

/// How long viewers are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The header of a request, and the silence before it.
    pub(crate) header: Duration,
    /// Running requests, after the stop.
    pub(crate) grace: Duration,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The grace time ran out before all requests were answered.
    CutOff,
    /// All requests were answered.
    Finished,
}

/// Answers whoever connects to `listener` until `stop` resolves, then finishes what is running.
pub(crate) async fn serve(
    listener: TcpListener,
    layer: VideoCacheLayer,
    origin: Origin,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> Stopped {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header);
    // A viewer that vanished without a word does not answer a ping.
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(limits.header);
    let builder = Arc::new(builder);
    let running = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, viewer)) => {
                // One layer is one cache, however often it is applied.
                let cache = layer.layer(origin.on_behalf_of(viewer.ip()));
                tokio::spawn(connection(Arc::clone(&builder), stream, cache, limits, running.watcher()));
            }
            // The viewer left before it was greeted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => {
                eprintln!("proxy: cannot accept a connection: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    match timeout(limits.grace, running.shutdown()).await {
        Ok(()) => Stopped::Finished,
        Err(_) => Stopped::CutOff,
    }
}

async fn connection(
    builder: Arc<Builder<TokioExecutor>>,
    stream: TcpStream,
    cache: VideoCache<Origin>,
    limits: Limits,
    watcher: Watcher,
) {
    // Without it, the end of a response may wait for an acknowledgement; the response is right all the same.
    let _ = stream.set_nodelay(true);
    let began = AtomicBool::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        began.store(true, Ordering::Relaxed);
        cache.clone().oneshot(request.map(Flow::new))
    });
    let mut connection = pin!(watcher.watch(builder.serve_connection(TokioIo::new(stream), service)));
    // hyper's own limit begins once it knows the protocol, and HTTP/2 has none: a connection that brings no
    // request at all would be held for ever.
    let first = timeout(limits.header, connection.as_mut()).await;
    if first.is_err() && began.load(Ordering::Relaxed) {
        // A connection that breaks is the viewer's affair, and it has been told.
        let _ = connection.await;
    }
}

/// Out of file descriptors: until some are free, another try is in vain.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
