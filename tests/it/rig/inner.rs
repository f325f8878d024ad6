//! The inner service: it answers each path by a script, and remembers its requests.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, header, request};
use http_body_util::Full;
use tower::Service;

use super::{playing::ScriptBody, script::Script};

/// The scripted inner service, which must be polled ready before each call.
#[derive(Default)]
pub(crate) struct Inner {
    state: Arc<State>,
    ready: bool,
}

#[derive(Default)]
struct State {
    /// The scripts of each path. The last one stays for all later calls.
    scripts: Mutex<BTreeMap<String, VecDeque<Script>>>,
    calls: Mutex<Vec<request::Parts>>,
    /// The number of body bytes that left, by path.
    handed_over: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl Inner {
    pub(crate) fn answer(&self, path: &str, script: Script) {
        self.answer_each(path, [script]);
    }

    /// Answers the first call of `path` from now on by the first script, the second by the second, and so on. All
    /// calls after the last script get the last. Calls count whatever their method.
    pub(crate) fn answer_each(&self, path: &str, scripts: impl IntoIterator<Item = Script>) {
        let scripts = scripts.into_iter().map(Script::armed).collect();
        self.state.scripts.lock().unwrap().insert(path.to_owned(), scripts);
    }

    /// The requests that the service got.
    pub(crate) fn calls(&self) -> Vec<request::Parts> {
        self.state.calls.lock().unwrap().clone()
    }

    #[track_caller]
    pub(crate) fn was_called(&self, times: usize) {
        assert_eq!(self.calls().len(), times, "calls of the inner service");
    }

    /// The `Range` fields of the requests for `path`, in order; empty where there was none.
    pub(crate) fn ranges(&self, path: &str) -> Vec<String> {
        let calls = self.state.calls.lock().unwrap();
        let calls = calls.iter().filter(|call| call.uri.path() == path);
        calls
            .map(|call| {
                call.headers.get(header::RANGE).map_or("", |range| range.to_str().unwrap()).to_owned()
            })
            .collect()
    }

    /// The number of body bytes for `path` that were taken.
    pub(crate) fn bytes_of(&self, path: &str) -> u64 {
        self.handed_over(path).load(Ordering::Relaxed)
    }

    fn handed_over(&self, path: &str) -> Arc<AtomicU64> {
        Arc::clone(self.state.handed_over.lock().unwrap().entry(path.to_owned()).or_default())
    }

    fn next(&self, path: &str) -> Script {
        let mut scripts = self.state.scripts.lock().unwrap();
        let Some(scripts) = scripts.get_mut(path) else { return Script::absent() };
        if scripts.len() > 1 {
            scripts.pop_front().unwrap()
        } else {
            scripts.front().cloned().unwrap_or_else(Script::absent)
        }
    }
}

impl Clone for Inner {
    /// A clone is not ready, even if the original is.
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
        let (script, count) = (self.next(parts.uri.path()), self.handed_over(parts.uri.path()));
        self.state.calls.lock().unwrap().push(parts.clone());
        Box::pin(async move { Ok(script.perform(parts).await?.map(|body| body.counted(count))) })
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
