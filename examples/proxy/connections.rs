//! [`Connections`] to the origin: those kept for the next request, and those opened for it.
//!
//! RFC 9112 §9.3 (persistence), §9.3.1 (retrying requests), §9.5 (closing in the midst of a request).

use std::{
    error::Error,
    io,
    iter::successors,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use http::{
    Request, Response, Uri,
    uri::{Authority, Scheme},
};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use tokio::time::{sleep, timeout};
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

use super::{
    answers::OwnAnswer,
    body::Flow,
    wire::{Socket, Wire},
};

/// All connections to one origin.
pub(crate) struct Connections {
    connector: BoxCloneSyncService<Uri, TokioIo<tokio::net::TcpStream>, OwnAnswer>,
    origin: Uri,
    /// The connection that was used last is at the end.
    kept: Mutex<Vec<Connection>>,
}

impl Connections {
    pub(crate) fn to(authority: Authority, limit: Duration) -> Self {
        let resolver = service_fn(move |name: Name| async move {
            let looked_up = timeout(limit, tokio::net::lookup_host((name.as_str().to_owned(), 0))).await;
            let addresses: Vec<_> = looked_up
                .map_err(|_| Unnamed(OwnAnswer::NameTimeout))?
                .map_err(|_| Unnamed(OwnAnswer::UnknownName))?
                .collect();
            Ok::<_, Unnamed>(addresses.into_iter())
        });
        let mut connector = HttpConnector::new_with_resolver(resolver);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(limit));
        let connector = BoxCloneSyncService::new(connector.map_err(|error| unconnected(&error)));
        let mut parts = http::uri::Parts::default();
        (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(authority));
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        // A scheme, an authority and a path make a URI.
        let origin = Uri::from_parts(parts).unwrap_or_default();
        Self { connector, origin, kept: Mutex::default() }
    }

    /// A connection of an earlier request, if one of them is still usable.
    pub(crate) fn kept(&self) -> Option<Connection> {
        let mut kept = self.lock();
        while let Some(connection) = kept.pop() {
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    pub(crate) async fn connect(&self) -> Result<Connection, OwnAnswer> {
        let stream = self.connector.clone().oneshot(self.origin.clone()).await?.into_inner();
        let wire = Wire::new(stream);
        let socket = Arc::downgrade(wire.socket());
        let handshake = http1::handshake(TokioIo::new(wire)).await;
        let (sender, connection) = handshake.map_err(|_| OwnAnswer::Unreachable)?;
        // The request that waits for the answer gets the connection's errors. Later errors concern nobody.
        tokio::spawn(connection);
        Ok(Connection { sender, socket })
    }

    /// Keeps a connection for a while once its answer has ended.
    pub(crate) fn keep(self: &Arc<Self>, mut connection: Connection) {
        let connections = Arc::clone(self);
        tokio::spawn(async move {
            // The connection is closed instead if the answer breaks off, forbids keeping it, or is followed by bytes
            // that belong to no answer.
            if connection.sender.ready().await.is_err() || !connection.is_usable() {
                return;
            }
            let socket = connection.socket.clone();
            {
                let mut kept = connections.lock();
                if kept.len() >= MOST_KEPT {
                    return;
                }
                kept.push(connection);
            }
            sleep(IDLE_LIMIT).await;
            // Another request may have taken the connection and given it back. In that case it started a task like
            // this one.
            connections.lock().retain(|kept| !kept.socket.ptr_eq(&socket) || !kept.is_idle_for(IDLE_LIMIT));
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection to the origin, which one request at a time uses.
pub(crate) struct Connection {
    sender: SendRequest<Flow>,
    /// hyper owns the socket as long as the connection is open.
    socket: Weak<Socket>,
}

impl Connection {
    /// Returns the answer, or the request's fate and the reason.
    pub(crate) async fn send(&mut self, request: Request<Flow>) -> Result<Response<Incoming>, Unanswered> {
        // hyper may be about to close it.
        let socket = self.socket.upgrade();
        if let Some(socket) = &socket {
            socket.listen();
        }
        self.sender.try_send_request(request).await.map_err(|mut failed| {
            let unsent = failed.take_message().map(Box::new);
            let error = failed.into_error();
            // Bytes that are not HTTP were sent after the end of the previous answer.
            let heard = socket.is_none_or(|socket| socket.has_heard()) && !error.is_parse();
            Unanswered { unsent, heard, why: unanswered(&error) }
        })
    }

    fn is_usable(&self) -> bool {
        self.sender.is_ready() && self.socket.upgrade().is_some_and(|socket| socket.is_quiet())
    }

    fn is_idle_for(&self, limit: Duration) -> bool {
        self.socket.upgrade().is_none_or(|socket| socket.moved().elapsed() >= limit)
    }
}

/// A request without an answer.
pub(crate) struct Unanswered {
    /// The request, if not a byte of it was sent.
    pub(crate) unsent: Option<Box<Request<Flow>>>,
    /// Whether the origin has begun to answer.
    pub(crate) heard: bool,
    pub(crate) why: OwnAnswer,
}

impl Unanswered {
    /// The origin has the request and is silent: it may be working on it.
    pub(crate) fn too_late() -> Self {
        Self { unsent: None, heard: true, why: OwnAnswer::ResponseTimeout }
    }
}

/// Why the name of the origin has no address.
#[derive(Debug)]
struct Unnamed(OwnAnswer);

impl std::fmt::Display for Unnamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name has no address")
    }
}

impl Error for Unnamed {}

fn unconnected(error: &(dyn Error + 'static)) -> OwnAnswer {
    if let Some(Unnamed(why)) = causes(error).find_map(|cause| cause.downcast_ref()) {
        return *why;
    }
    match causes(error).find_map(|cause| cause.downcast_ref()).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => OwnAnswer::Refused,
        Some(io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => OwnAnswer::Unroutable,
        Some(io::ErrorKind::TimedOut) => OwnAnswer::ConnectTimeout,
        _ => OwnAnswer::Unreachable,
    }
}

fn unanswered(error: &hyper::Error) -> OwnAnswer {
    let is_late = |cause: &io::Error| cause.kind() == io::ErrorKind::TimedOut;
    let late = causes(error).any(|cause| cause.downcast_ref().is_some_and(is_late));
    // hyper calls an error of the request's body a "user" error; that body is the client's.
    match (error.is_user(), late) {
        (true, true) => OwnAnswer::UploadTimeout,
        (true, false) => OwnAnswer::UploadFailed,
        (false, true) => OwnAnswer::ResponseTimeout,
        (false, false) if error.is_parse_too_large() => OwnAnswer::HeadTooLarge,
        (false, false) if error.is_parse() => OwnAnswer::NotHttp,
        (false, false) => OwnAnswer::Closed,
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// Apache httpd and Node.js close a connection that was idle for five seconds.
const IDLE_LIMIT: Duration = Duration::from_secs(4);

/// The most kept connections. A further one is closed.
const MOST_KEPT: usize = 128;
