//! [`Admin`]: the figures of the cache, for an operator on this machine.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tower_video_cache::{AdminService, CacheHandle};

/// A listener of its own, so that no client comes to it by mistake.
pub(crate) struct Admin {
    listener: TcpListener,
    service: AdminService,
}

impl Admin {
    pub(crate) async fn listen(address: SocketAddr, cache: CacheHandle) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener, service: AdminService::new(cache) })
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
            let service = self.service.clone();
            tokio::spawn(async move {
                answer(stream, service).await;
                drop(seat);
            });
        }
    }
}

async fn answer(stream: TcpStream, service: AdminService) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // A broken connection concerns only its operator.
    let _ = connection.await;
}

const MOST_CONNECTIONS: usize = 128;

/// Time for the header of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The process is out of file descriptors: a new try is in vain until some are free.
const PAUSE: Duration = Duration::from_millis(100);
