//! The rig: a scripted inner service under the layer, a store that fails on demand, and a clock that stands still.

use std::{
    collections::HashMap,
    future::{poll_fn, Future},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{header, request, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::{sync::watch, task::JoinHandle};
use tower::{Layer, Service, ServiceExt};
use tower_video_cache::{
    ChunkSize, Error, FaultStore, ManualClock, MokaStore, Operation, ResponseBody, VideoCache,
    VideoCacheLayer,
};

/// Small, so that a short movie has many chunks.
pub(crate) const CHUNK: u32 = 1000;

/// The layer around a scripted inner service.
pub(crate) struct Rig {
    pub(crate) inner: Inner,
    pub(crate) store: Arc<FaultStore<MokaStore>>,
    pub(crate) clock: ManualClock,
    pub(crate) layer: VideoCacheLayer,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_capacity(64 << 20)
    }

    pub(crate) fn with_capacity(capacity: u64) -> Self {
        let store = Arc::new(FaultStore::new(MokaStore::new(capacity)));
        let clock = ManualClock::starting_at(noon());
        let layer = VideoCacheLayer::new(Arc::clone(&store))
            .chunk_size(ChunkSize::new(CHUNK).unwrap())
            .clock(clock.clone());
        Self { inner: Inner::default(), store, clock, layer }
    }

    /// Changes the layer.
    pub(crate) fn layer(mut self, change: impl FnOnce(VideoCacheLayer) -> VideoCacheLayer) -> Self {
        self.layer = change(self.layer);
        self
    }

    /// Has the inner service answer `path` with a movie of `length` bytes.
    pub(crate) fn movie(self, path: &str, length: usize) -> Self {
        self.script(path, Script::movie(path, length))
    }

    pub(crate) fn script(self, path: &str, script: Script) -> Self {
        self.inner.answer(path, script);
        self
    }

    pub(crate) fn service(&self) -> VideoCache<Inner> {
        self.layer.layer(self.inner.clone())
    }

    pub(crate) fn get(&self, path: &str) -> Ask {
        self.ask(Method::GET, path)
    }

    pub(crate) fn head(&self, path: &str) -> Ask {
        self.ask(Method::HEAD, path)
    }

    pub(crate) fn ask(&self, method: Method, path: &str) -> Ask {
        let mut request = Request::new(Full::default());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        Ask { service: self.service(), request }
    }

    /// How many chunks and records were put so far.
    pub(crate) fn puts(&self) -> u64 {
        self.store.calls(Operation::Put)
    }
}

/// 12:00:00 on the day all rigs live in.
pub(crate) fn noon() -> SystemTime {
    httpdate::parse_http_date("Sun, 22 Nov 2026 12:00:00 GMT").unwrap()
}

/// The one truth: the bytes of the movie at `path`.
pub(crate) fn movie(path: &str, length: usize) -> Bytes {
    let seed = path.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let mut state = seed;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}

/// A request on its way.
pub(crate) struct Ask {
    service: VideoCache<Inner>,
    request: Request<Full<Bytes>>,
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.request
            .headers_mut()
            .append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub(crate) fn range(self, range: &str) -> Self {
        self.header("range", range)
    }

    pub(crate) fn body(mut self, body: &'static str) -> Self {
        *self.request.body_mut() = Full::from(body);
        self
    }

    pub(crate) fn extension<T: Clone + Send + Sync + 'static>(mut self, extension: T) -> Self {
        self.request.extensions_mut().insert(extension);
        self
    }

    /// The response, its body not read yet.
    pub(crate) async fn response(self) -> Result<Response<ResponseBody<ScriptBody>>, Refused> {
        self.service.oneshot(self.request).await
    }

    pub(crate) async fn send(self) -> Answer {
        Answer::of(self.response().await.expect("the inner service answers")).await
    }

    /// Sends from a task of its own.
    pub(crate) fn start(self) -> JoinHandle<Answer> {
        tokio::spawn(self.send())
    }
}

/// A response read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    /// How the body ended early, if it did.
    pub(crate) error: Option<Error>,
}

impl Answer {
    pub(crate) async fn of(response: Response<ResponseBody<ScriptBody>>) -> Self {
        let (parts, body) = response.into_parts();
        is_well_formed(&parts.headers);
        let mut body = Box::pin(body);
        let (mut bytes, mut trailers, mut error) = (Vec::new(), None, None);
        loop {
            let promised = body.size_hint().exact();
            match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                None => break,
                Some(Err(failed)) => {
                    error = Some(failed);
                    break;
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let left = body.size_hint().exact();
                        assert_eq!(
                            promised.map(|promised| promised - data.len() as u64),
                            left,
                            "the size hint holds"
                        );
                        bytes.extend_from_slice(&data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        if error.is_none() {
            assert_eq!(body.size_hint().exact().unwrap_or(0), 0, "nothing is left at the end");
        }
        Self { status: parts.status, headers: parts.headers, bytes: bytes.into(), trailers, error }
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    pub(crate) fn cache_status(&self) -> &str {
        self.field("cache-status")
    }

    #[track_caller]
    pub(crate) fn is_hit(&self) -> &Self {
        assert!(self.cache_status().contains("; hit"), "{}", self.cache_status());
        self
    }

    /// A 200 with exactly these bytes.
    #[track_caller]
    pub(crate) fn whole(&self, bytes: &Bytes) -> &Self {
        assert!(self.error.is_none(), "{:?}", self.error);
        assert_eq!(self.status, StatusCode::OK);
        assert!(self.bytes == *bytes, "{} bytes, not the {} that are true", self.bytes.len(), bytes.len());
        self
    }

    /// A 206 with exactly this part of the bytes, and fields that say so.
    #[track_caller]
    pub(crate) fn partial(&self, bytes: &Bytes, range: std::ops::Range<usize>) -> &Self {
        assert!(self.error.is_none(), "{:?}", self.error);
        assert_eq!(self.status, StatusCode::PARTIAL_CONTENT);
        let said = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
        assert_eq!(self.field("content-range"), said);
        assert_eq!(self.field("content-length"), range.len().to_string());
        assert!(self.bytes == bytes.slice(range.clone()), "not the bytes of {range:?}");
        self
    }
}

/// Another implementation reads the `Cache-Status` of every answer (RFC 9211 §2).
#[track_caller]
fn is_well_formed(headers: &HeaderMap) {
    let lines: Vec<_> = headers.get_all("cache-status").iter().map(HeaderValue::as_bytes).collect();
    let members: sfv::List = sfv::Parser::new(&lines.join(&b", "[..])).parse().unwrap();
    let Some(sfv::ListEntry::Item(last)) = members.last() else {
        panic!("no member, or a list: {headers:?}")
    };
    assert!(last.bare_item.as_token().is_some() || last.bare_item.as_string().is_some());
    let [hit, forwarded, detail] = ["hit", "fwd", "detail"].map(|name| last.params.contains_key(name));
    assert!(hit != forwarded || (!hit && detail), "{headers:?}");
}

/// The scripted inner service. It insists on being polled ready before each call.
#[derive(Default)]
pub(crate) struct Inner {
    state: Arc<State>,
    ready: bool,
}

#[derive(Default)]
struct State {
    scripts: Mutex<HashMap<String, Script>>,
    calls: Mutex<Vec<request::Parts>>,
}

impl Inner {
    pub(crate) fn answer(&self, path: &str, script: Script) {
        self.state.scripts.lock().unwrap().insert(path.to_owned(), script);
    }

    /// The requests that it got.
    pub(crate) fn calls(&self) -> Vec<request::Parts> {
        self.state.calls.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn was_called(&self, times: usize) {
        assert_eq!(self.calls().len(), times, "calls of the inner service");
    }
}

impl Clone for Inner {
    /// A clone is not ready, whatever the original is.
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), ready: false }
    }
}

impl Service<Request<Full<Bytes>>> for Inner {
    type Response = Response<ScriptBody>;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without being polled ready");
        let (parts, _) = request.into_parts();
        let script =
            self.state.scripts.lock().unwrap().get(parts.uri.path()).cloned().unwrap_or_else(Script::absent);
        self.state.calls.lock().unwrap().push(parts.clone());
        Box::pin(script.perform(parts))
    }
}

/// The inner service's error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the inner service refuses, as scripted")
    }
}

impl std::error::Error for Refused {}

/// What the inner service answers to one path.
#[derive(Clone)]
pub(crate) struct Script {
    status: StatusCode,
    headers: HeaderMap,
    steps: Vec<Step>,
    gate: Option<Gate>,
    end: End,
    honours_conditions: bool,
    honours_ranges: bool,
}

/// A moment of a body.
#[derive(Clone)]
pub(crate) enum Step {
    Data(Bytes),
    Fail,
    Panic,
    Trailers(HeaderMap),
    Wait(Gate),
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Answer,
    Error,
    Panic,
}

impl Script {
    /// A 200 of `video/mp4` that declares its length and comes in frames that fit no chunk.
    pub(crate) fn movie(path: &str, length: usize) -> Self {
        Self::of(&movie(path, length)).header("content-length", &length.to_string())
    }

    /// The same bytes without a declared length.
    pub(crate) fn of(bytes: &Bytes) -> Self {
        let steps = bytes.chunks(617).map(|frame| Step::Data(bytes.slice_ref(frame))).collect();
        Self::absent().status(200).header("content-type", "video/mp4").steps(steps)
    }

    pub(crate) fn absent() -> Self {
        let (headers, steps) = (HeaderMap::new(), Vec::new());
        Self {
            status: StatusCode::NOT_FOUND,
            headers,
            steps,
            gate: None,
            end: End::Answer,
            honours_conditions: false,
            honours_ranges: false,
        }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = StatusCode::from_u16(status).unwrap();
        self
    }

    /// Appends a field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    pub(crate) fn steps(mut self, steps: Vec<Step>) -> Self {
        self.steps = steps;
        self
    }

    /// Puts a step before the `index`th frame.
    pub(crate) fn step(mut self, index: usize, step: Step) -> Self {
        self.steps.insert(index.min(self.steps.len()), step);
        self
    }

    /// Ends the body cleanly before its `index`th frame.
    pub(crate) fn cut(mut self, index: usize) -> Self {
        self.steps.truncate(index);
        self
    }

    /// Answers only once the gate is open.
    pub(crate) fn held_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    pub(crate) fn fails(mut self) -> Self {
        self.end = End::Error;
        self
    }

    pub(crate) fn panics(mut self) -> Self {
        self.end = End::Panic;
        self
    }

    /// Answers a condition that names its `ETag`, or else its `Last-Modified`, with a 304.
    pub(crate) fn honours_conditions(mut self) -> Self {
        self.honours_conditions = true;
        self
    }

    /// Answers `bytes=a-b` with a 206 of that part.
    pub(crate) fn honours_ranges(mut self) -> Self {
        self.honours_ranges = true;
        self
    }

    async fn perform(self, request: request::Parts) -> Result<Response<ScriptBody>, Refused> {
        if let Some(gate) = &self.gate {
            gate.opened().await;
        }
        match self.end {
            End::Answer => {}
            End::Error => return Err(Refused),
            End::Panic => panic!("the inner service panics, as scripted"),
        }
        let mut response = Response::new(ScriptBody::new(self.steps.clone()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers.clone();
        let meets = |condition, validator| {
            let condition = request.headers.get(condition);
            condition.is_some() && condition == self.headers.get(validator)
        };
        let unmodified = meets(header::IF_NONE_MATCH, header::ETAG)
            || !request.headers.contains_key(header::IF_NONE_MATCH)
                && meets(header::IF_MODIFIED_SINCE, header::LAST_MODIFIED);
        if self.honours_conditions && unmodified {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response.headers_mut().remove(header::CONTENT_LENGTH);
            *response.body_mut() = ScriptBody::new(Vec::new());
        } else if request.method == Method::HEAD {
            *response.body_mut() = ScriptBody::new(Vec::new());
        } else if let (true, Some(range)) = (self.honours_ranges, request.headers.get(header::RANGE)) {
            let (first, last) =
                range.to_str().unwrap().strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            let (first, last) = (first.parse::<usize>().unwrap(), last.parse::<usize>().unwrap());
            let whole: Vec<u8> = self.steps.iter().flat_map(Step::data).copied().collect();
            let part = Bytes::copy_from_slice(&whole[first..=last]);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let said = format!("bytes {first}-{last}/{}", whole.len());
            response.headers_mut().insert(header::CONTENT_RANGE, said.parse().unwrap());
            response.headers_mut().insert(header::CONTENT_LENGTH, part.len().into());
            *response.body_mut() = ScriptBody::new(vec![Step::Data(part)]);
        }
        Ok(response)
    }
}

impl Step {
    fn data(&self) -> &[u8] {
        match self {
            Self::Data(data) => data,
            _ => &[],
        }
    }
}

/// A body that does what its script says.
pub(crate) struct ScriptBody {
    steps: std::vec::IntoIter<Step>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl ScriptBody {
    fn new(steps: Vec<Step>) -> Self {
        Self { steps: steps.into_iter(), waiting: None }
    }
}

impl Body for ScriptBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                std::task::ready!(waiting.as_mut().poll(cx));
                self.waiting = None;
            }
            return Poll::Ready(match self.steps.next() {
                None => None,
                Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
                Some(Step::Fail) => Some(Err(std::io::Error::other("the inner body fails, as scripted"))),
                Some(Step::Panic) => panic!("the inner body panics, as scripted"),
                Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
                Some(Step::Wait(gate)) => {
                    self.waiting = Some(Box::pin(async move { gate.opened().await }));
                    continue;
                }
            });
        }
    }

    /// It knows nothing of its length, as a body from a network does not.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Holds whoever comes to it until it is opened, and tells whether anybody came.
#[derive(Clone)]
pub(crate) struct Gate {
    open: Arc<watch::Sender<bool>>,
    reached: Arc<watch::Sender<usize>>,
}

impl Gate {
    pub(crate) fn shut() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), reached: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Until `count` have come to the gate.
    pub(crate) async fn reached_by(&self, count: usize) {
        self.reached.subscribe().wait_for(|reached| *reached >= count).await.unwrap();
    }

    async fn opened(&self) {
        self.reached.send_modify(|reached| *reached += 1);
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// Lets every task run until all wait for something else: for use on a single-threaded runtime.
pub(crate) async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// `offset` seconds after noon, as a date field.
pub(crate) fn date(offset: i64) -> String {
    let noon = i64::try_from(noon().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    httpdate::fmt_http_date(UNIX_EPOCH + seconds(u64::try_from(noon + offset).unwrap()))
}
