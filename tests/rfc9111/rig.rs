//! The rig: the proxy between a raw client and an origin that answers by a script, under a clock that stands still.

use std::{
    collections::HashMap,
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use clap::Parser;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};
use tower_video_cache::{BoxError, ManualClock};

use super::{args::Args, server};

/// The lines of a header.
pub(crate) type Fields<'a> = &'a [(&'a str, &'a str)];

/// The proxy, the origin behind it, and the clock. All end with the test's runtime.
pub(crate) struct Rig {
    proxy: SocketAddr,
    origin: Arc<Origin>,
    clock: ManualClock,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// Starts the rig with more flags on the proxy's command line.
    pub(crate) async fn with(flags: &[&str]) -> Self {
        let origin = Arc::new(Origin::default());
        let (listener, address) = listener().await;
        tokio::spawn(Arc::clone(&origin).serve(listener));
        let origin_url = format!("http://{address}");
        let line = ["proxy", "--rfc9111", "--listen", "127.0.0.1:0", "--origin", &origin_url];
        let args = Args::try_parse_from(line.iter().chain(flags)).unwrap();
        let clock = ManualClock::starting_at(start());
        let (opened, layer) = args.open().await.unwrap();
        let layer = layer.clock(clock.clone());
        let (listener, proxy) = self::listener().await;
        tokio::spawn(async move {
            server::serve(listener, layer, args.gate(), args.origin(), args.limits(), pending()).await;
            opened.close().await
        });
        Self { proxy, origin, clock }
    }

    /// Sets the origin's answers to the requests for `path`, one after the other. The last one is for all requests
    /// that follow.
    pub(crate) fn script(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let answers = answers.into_iter().collect();
        self.origin.scripts.lock().unwrap().insert(path.to_owned(), answers);
    }

    pub(crate) async fn get(&self, path: &str) -> Got {
        self.ask("GET", path, &[]).await
    }

    pub(crate) async fn get_with(&self, path: &str, fields: Fields<'_>) -> Got {
        self.ask("GET", path, fields).await
    }

    /// Asks on a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, fields: Fields<'_>) -> Got {
        let stream = TcpStream::connect(self.proxy).await.unwrap();
        let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "a.example");
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes);
        Got { status: parts.status.as_u16(), fields: parts.headers, body: body.map_err(|e| e.to_string()) }
    }

    /// The requests for `path` that reached the origin.
    pub(crate) fn seen(&self, path: &str) -> Vec<Seen> {
        self.origin.log.borrow().iter().filter(|seen| seen.path() == path).cloned().collect()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        self.seen(path).len()
    }

    /// Returns once this many requests for `path` have reached the origin.
    pub(crate) async fn arrived(&self, path: &str, count: usize) {
        let mut log = self.origin.log.subscribe();
        let all_there = log.wait_for(|log| log.iter().filter(|seen| seen.path() == path).count() >= count);
        assert!(timeout(PATIENCE, all_there).await.is_ok(), "{} of {count} arrived", self.count(path));
    }

    /// Asks until the answer's body is `text`. The end of a background request cannot be seen in another way.
    pub(crate) async fn until(&self, path: &str, text: &str) -> Got {
        let asking = async {
            loop {
                let got = self.get(path).await;
                if got.text() == text {
                    return got;
                }
            }
        };
        timeout(PATIENCE, asking).await.unwrap()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Resets the clock to the start, for another row, whose path was never asked for.
    pub(crate) fn restart_clock(&self) {
        self.clock.set(start());
    }
}

/// The response that the client got.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Result<Bytes, String>,
}

impl Got {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_ref().unwrap()).unwrap()
    }

    /// All lines of a field, joined into one; empty if there is none.
    pub(crate) fn field(&self, name: &str) -> String {
        joined(&self.fields, name)
    }

    /// Whether the cache answered without waiting for the origin.
    pub(crate) fn is_hit(&self) -> bool {
        self.says("; hit")
    }

    /// Whether the cache's own member, the last, contains this.
    pub(crate) fn says(&self, part: &str) -> bool {
        let member = self.fields.get_all("cache-status").iter().next_back();
        member.is_some_and(|member| member.to_str().unwrap().contains(part))
    }
}

/// A request as it reached the origin.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: HeaderMap,
}

impl Seen {
    pub(crate) fn field(&self, name: &str) -> String {
        joined(&self.fields, name)
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// One answer of the origin. If its body is not set, the first request gets `answer 1`, and so on.
#[derive(Clone)]
pub(crate) struct Answer {
    status: u16,
    fields: HeaderMap,
    body: Option<&'static str>,
    end: End,
    gate: Option<Gate>,
}

#[derive(Clone, Copy)]
enum End {
    /// The connection is closed in the midst of the body.
    Broken,
    /// The connection is closed before the answer.
    Closed,
    Whole,
}

/// A 200 with these fields.
pub(crate) fn ok(fields: Fields<'_>) -> Answer {
    answer(200, fields)
}

/// A 200 with this `Cache-Control`.
pub(crate) fn cached(cache_control: &str) -> Answer {
    ok(&[("cache-control", cache_control)])
}

pub(crate) fn answer(status: u16, fields: Fields<'_>) -> Answer {
    let line = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let fields = fields.iter().map(line).collect();
    Answer { status, fields, body: None, end: End::Whole, gate: None }
}

/// No answer: the connection is closed.
pub(crate) fn closed() -> Answer {
    Answer { end: End::Closed, ..ok(&[]) }
}

impl Answer {
    pub(crate) fn body(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    /// Adds one more field.
    pub(crate) fn field(mut self, name: &'static str, value: &str) -> Self {
        self.fields.append(name, value.parse().unwrap());
        self
    }

    /// Closes the connection within the body, before its end.
    pub(crate) fn broken(self) -> Self {
        Self { end: End::Broken, ..self }
    }

    /// Holds the answer until the gate is open.
    pub(crate) fn behind(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    fn response(self, count: usize) -> Result<Response<Content>, BoxError> {
        let bytes = self.body.map_or_else(|| format!("answer {count}").into(), Bytes::from);
        let body = match self.end {
            End::Closed => return Err("closed".into()),
            End::Whole => Full::from(bytes).map_err(Into::into).boxed_unsync(),
            End::Broken => {
                let sent = stream::once(async { Ok(Frame::data(bytes)) });
                let end = stream::once(async {
                    // The bytes that were sent leave first.
                    tokio::task::yield_now().await;
                    Err(BoxError::from("broken"))
                });
                StreamBody::new(sent.chain(end)).boxed_unsync()
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status)?;
        *response.headers_mut() = self.fields;
        Ok(response)
    }
}

/// Holds answers until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        self.0.subscribe().wait_for(|is_open| *is_open).await.unwrap();
    }
}

/// The time this many seconds after the start, or before it, as a field value.
pub(crate) fn date(seconds: i64) -> String {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    httpdate::fmt_http_date(if seconds < 0 { start() - distance } else { start() + distance })
}

type Content = UnsyncBoxBody<Bytes, BoxError>;

#[derive(Default)]
struct Origin {
    scripts: Mutex<HashMap<String, Vec<Answer>>>,
    log: watch::Sender<Vec<Seen>>,
}

impl Origin {
    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let origin = Arc::clone(&self);
            let service = service_fn(move |request: Request<Incoming>| {
                let origin = Arc::clone(&origin);
                async move { origin.answer(request).await }
            });
            let mut builder = http1::Builder::new();
            // The script has no real time of day in it. On a kept connection, a request without an answer is sent
            // again.
            builder.auto_date_header(false).keep_alive(false);
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Content>, BoxError> {
        let (parts, body) = request.into_parts();
        body.collect().await?;
        let (method, target) = (parts.method.to_string(), parts.uri.to_string());
        let seen = Seen { method, target, fields: parts.headers };
        let path = seen.path().to_owned();
        let mut count = 0;
        self.log.send_modify(|log| {
            log.push(seen);
            count = log.iter().filter(|seen| seen.path() == path).count();
        });
        let answer = {
            let scripts = self.scripts.lock().unwrap();
            let script = scripts.get(&path).ok_or("not in the script")?;
            script.get(count - 1).or(script.last()).ok_or("an empty script")?.clone()
        };
        if let Some(gate) = &answer.gate {
            gate.opened().await;
        }
        answer.response(count)
    }
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn joined(fields: &HeaderMap, name: &str) -> String {
    let lines: Vec<_> =
        fields.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    lines.join(", ")
}

fn start() -> SystemTime {
    httpdate::parse_http_date(START).unwrap()
}

/// When each test begins.
pub(crate) const START: &str = "Sun, 22 Nov 2026 10:00:00 GMT";

/// Longer than anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);
