//! Requests to a server, directly and through the layer, and their cost.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::HeaderName};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{sync::watch, time::timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_video_cache::{BoxError, VideoCacheLayer};

/// A request without content.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) fields: Vec<(HeaderName, String)>,
}

impl Ask {
    pub(crate) fn get(path: &'static str) -> Self {
        Self { method: Method::GET, path, fields: Vec::new() }
    }

    pub(crate) fn head(path: &'static str) -> Self {
        Self { method: Method::HEAD, ..Self::get(path) }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub(crate) fn range(self, range: &str) -> Self {
        self.with(http::header::RANGE, range)
    }
}

/// A response that was read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// All lines of a field, joined into one.
    pub(crate) fn field(&self, name: impl AsRef<str>) -> Option<String> {
        let lines: Vec<_> =
            self.fields.get_all(name.as_ref()).iter().map(|line| line.to_str().unwrap()).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }
}

/// The cost of an answer for the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) calls: u64,
    pub(crate) bytes: u64,
}

/// A client of one server, which counts calls and bytes of content.
#[derive(Clone)]
pub(crate) struct Origin {
    address: SocketAddr,
    client: Client<HttpConnector, Empty<Bytes>>,
    count: Arc<Count>,
}

#[derive(Default)]
struct Count {
    calls: AtomicU64,
    bytes: AtomicU64,
    open: watch::Sender<u64>,
    /// The calls for the answer at hand: what the layer asked, and the status that it got.
    log: Mutex<Vec<String>>,
}

impl Origin {
    pub(crate) fn new(address: SocketAddr) -> Self {
        // A server may close a connection that a client is about to use again.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { address, client, count: Arc::default() }
    }

    /// The answer without a cache.
    pub(crate) async fn direct(&self, ask: &Ask) -> Result<Answer, String> {
        read(self.call(request(ask))).await
    }

    /// The answer through a layer, and its cost once all calls that it made have ended.
    pub(crate) async fn through(&self, layer: &VideoCacheLayer, ask: &Ask) -> (Result<Answer, String>, Cost) {
        let before = self.cost();
        self.count.log.lock().unwrap().clear();
        let inner = service_fn({
            let origin = self.clone();
            move |request| {
                let origin = origin.clone();
                async move { origin.call(request).await }
            }
        });
        let answer = read(layer.layer(inner).oneshot(request(ask))).await;
        let _ = timeout(LIMIT, self.count.open.subscribe().wait_for(|open| *open == 0)).await;
        let after = self.cost();
        let cost = Cost { calls: after.calls - before.calls, bytes: after.bytes - before.bytes };
        (answer, cost)
    }

    async fn call(
        &self,
        mut request: Request<Empty<Bytes>>,
    ) -> Result<Response<impl Body<Data = Bytes, Error = hyper::Error> + use<>>, BoxError> {
        let open = Open::new(Arc::clone(&self.count));
        *request.uri_mut() = format!("http://{}{}", self.address, request.uri()).parse().unwrap();
        let asked = asked(&request);
        let response = self.client.request(request).await?;
        self.count.log.lock().unwrap().push(format!("{asked}: {}", response.status()));
        Ok(response.map(|body| {
            body.map_frame(move |frame| {
                let length = frame.data_ref().map_or(0, Bytes::len);
                open.0.bytes.fetch_add(length.try_into().unwrap(), Ordering::SeqCst);
                frame
            })
        }))
    }

    /// The calls for the last answer through a layer.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.count.log.lock().unwrap().clone()
    }

    fn cost(&self) -> Cost {
        let of = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Cost { calls: of(&self.count.calls), bytes: of(&self.count.bytes) }
    }
}

/// A call that has not ended.
struct Open(Arc<Count>);

impl Open {
    fn new(count: Arc<Count>) -> Self {
        count.calls.fetch_add(1, Ordering::SeqCst);
        count.open.send_modify(|open| *open += 1);
        Self(count)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// The method, and the fields that choose the answer.
fn asked(request: &Request<Empty<Bytes>>) -> String {
    let matters =
        |name: &str| name.starts_with("if-") || ["range", "cache-control", "accept-encoding"].contains(&name);
    let fields = request.headers().iter().filter(|(name, _)| matters(name.as_str()));
    let fields: Vec<_> = fields.map(|(name, value)| format!("{name}: {value:?}")).collect();
    format!("{} [{}]", request.method(), fields.join(", "))
}

fn request(ask: &Ask) -> Request<Empty<Bytes>> {
    let mut request = Request::builder().method(&ask.method).uri(ask.path).header("host", "films.test");
    for (name, value) in &ask.fields {
        request = request.header(name, value);
    }
    request.body(Empty::new()).unwrap()
}

async fn read<B: Body<Data = Bytes>>(
    answer: impl Future<Output = Result<Response<B>, impl Into<BoxError>>>,
) -> Result<Answer, String>
where
    B::Error: Into<BoxError>,
{
    let read = async {
        let (head, body) = answer.await.map_err(said)?.into_parts();
        let body = body.collect().await.map_err(said)?.to_bytes();
        Ok(Answer { status: head.status, fields: head.headers, body })
    };
    timeout(LIMIT, read).await.unwrap_or_else(|_| Err("no end of the answer".to_owned()))
}

fn said(error: impl Into<BoxError>) -> String {
    format!("{:?}", error.into())
}

/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(20);
