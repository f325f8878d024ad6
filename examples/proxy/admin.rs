//! [`Admin`]: the figures of the cache, and purges, for an operator on this machine.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Method, Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tower::ServiceExt;
use tower_video_cache::{AdminService, CacheHandle, PurgeService};

/// A listener of its own, so that no client comes to it by mistake.
pub(crate) struct Admin {
    listener: TcpListener,
    figures: AdminService,
    purges: PurgeService,
}

impl Admin {
    pub(crate) async fn listen(address: SocketAddr, cache: CacheHandle) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let purges = PurgeService::new(cache.purger());
        Ok(Self { listener, figures: AdminService::new(cache), purges })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers operators for ever.
    pub(crate) async fn serve(self) {
        let seats = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        // The semaphore is never closed.
        while let Ok(seat) = Arc::clone(&seats).acquire_owned().await {
            let Ok((stream, _)) = self.listener.accept().await else {
                sleep(PAUSE).await;
                continue;
            };
            let (figures, purges) = (self.figures.clone(), self.purges.clone());
            tokio::spawn(async move {
                answer(stream, figures, purges).await;
                drop(seat);
            });
        }
    }
}

async fn answer(stream: TcpStream, figures: AdminService, purges: PurgeService) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (figures, purges) = (figures.clone(), purges.clone());
        async move {
            match *request.method() {
                Method::GET | Method::HEAD => figures.oneshot(request).await,
                _ => purges.oneshot(request).await,
            }
        }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    // A broken connection concerns only its operator.
    let _ = connection.await;
}

const MOST_CONNECTIONS: usize = 128;

/// Time for the header of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process is out of file descriptors: a new try is in vain until some are free.
const PAUSE: Duration = Duration::from_millis(100);
