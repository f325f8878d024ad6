//! The clients' side: connections, their limits, and the graceful stop.

use std::{
    future::Future,
    io::ErrorKind,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request};
use http_body_util::Either;
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

use super::{
    body::Flow,
    crowd::{Bounds, Crowd},
    gate::Gate,
    origin::Origin,
    unread::Outgoing,
    wire::Wire,
};

/// How long the proxy waits for clients, and the most that they may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Time for the header of a request, and for the silence before it.
    pub(crate) header: Duration,
    /// Time for running requests after the stop.
    pub(crate) grace: Duration,
    /// Limits for clients and for the bytes that wait for them.
    pub(crate) bounds: Bounds,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The grace time ran out before all requests were answered.
    CutOff,
    /// All requests were answered.
    Finished,
}

/// Answers every client of `listener` until `stop` resolves, then finishes the running requests.
pub(crate) async fn serve(
    listener: TcpListener,
    layer: VideoCacheLayer,
    gate: Gate,
    origin: Origin,
    limits: Limits,
    stop: impl Future<Output = ()>,
) -> Stopped {
    let door = Arc::new(Door {
        builder: builder(limits.header),
        cache: layer.layer(origin),
        gate,
        crowd: Arc::new(Crowd::new(limits.bounds)),
        header_limit: limits.header,
    });
    let running = GracefulShutdown::new();
    let mut watching = pin!(door.crowd.watch());
    {
        let mut stop = pin!(stop);
        let mut greeting = pin!(door.greet(&listener, &running));
        tokio::select! {
            () = &mut greeting => {}
            () = &mut watching => {}
            () = &mut stop => {}
        }
    }
    drop(listener);
    let finished = async {
        tokio::select! {
            () = running.shutdown() => Stopped::Finished,
            () = watching => Stopped::CutOff,
        }
    };
    timeout(limits.grace, finished).await.unwrap_or(Stopped::CutOff)
}

/// The state that all connections share.
struct Door {
    builder: Builder<TokioExecutor>,
    cache: VideoCache<Origin>,
    gate: Gate,
    crowd: Arc<Crowd>,
    header_limit: Duration,
}

impl Door {
    /// Accepts connections for ever.
    async fn greet(self: &Arc<Self>, listener: &TcpListener, running: &GracefulShutdown) {
        loop {
            match listener.accept().await {
                Ok((stream, client)) => {
                    let Some(seat) = self.crowd.seat().await else { return };
                    // On a socket for both families, an IPv4 address looks like an IPv6 one.
                    let address = client.ip().to_canonical();
                    let serving = Arc::clone(self).serve(stream, address, running.watcher());
                    tokio::spawn(async move {
                        serving.await;
                        drop(seat);
                    });
                }
                // The client left before its connection was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    eprintln!("proxy: cannot accept a connection: {error}");
                    // The process may be out of file descriptors.
                    self.crowd.make_room();
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, address: IpAddr, watcher: Watcher) {
        // Without it, the end of a response may wait for an acknowledgement, but the response is still right.
        let _ = stream.set_nodelay(true);
        let wire = Wire::new(stream);
        let client = self.crowd.enter(wire.socket());
        let began = AtomicBool::new(false);
        // An address is visible ASCII.
        let address = HeaderValue::try_from(address.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let service = service_fn(|request: Request<Incoming>| {
            began.store(true, Ordering::Relaxed);
            let (answer, crowd) = (client.asks(request.version()), Arc::clone(&self.crowd));
            let admitted = self.gate.admit(request.map(Flow::new), &address);
            let cache = self.cache.clone();
            async move {
                let response = match admitted {
                    Ok(request) => cache.oneshot(request).await?.map(Either::Left),
                    Err(own) => own.into_response().map(Either::Right),
                };
                Ok::<_, std::convert::Infallible>(response.map(|body| Outgoing::new(body, answer, crowd)))
            }
        });
        let mut connection = pin!(watcher.watch(self.builder.serve_connection(TokioIo::new(wire), service)));
        let served = async {
            // hyper's own limit begins once it knows the protocol, and HTTP/2 has none. So a connection that brings
            // no request at all would be held for ever.
            let first = timeout(self.header_limit, connection.as_mut()).await;
            if first.is_err() && began.load(Ordering::Relaxed) {
                // A broken connection concerns only its client, and the client knows.
                let _ = connection.await;
            }
        };
        tokio::select! {
            () = served => {}
            () = client.is_told_to_go() => {}
        }
    }
}

fn builder(header_limit: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let mut http1 = builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(header_limit).max_buf_size(MOST_BUFFERED);
    let mut http2 = builder.http2();
    // A client that vanished silently does not answer a ping.
    http2.timer(TokioTimer::new()).keep_alive_interval(header_limit);
    http2.max_send_buf_size(MOST_BUFFERED).max_concurrent_streams(MOST_STREAMS);
    builder
}

/// The most bytes that a connection may buffer for a request's header, and for its output.
const MOST_BUFFERED: usize = 64 << 10;

/// RFC 9113 §6.5.2 recommends at least this many.
const MOST_STREAMS: u32 = 100;

/// The process is out of file descriptors: a new try is in vain until some are free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
