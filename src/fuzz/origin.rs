//! The inner service of the `request` target: what it answers is a script's, and what it answered is remembered.
//!
//! Its content is a function of the path, of the fields it varies by and of a version, so that the truth is known.
//! It is honest unless a script has a body break its word: equal strong tags are equal bytes.

use std::{
    collections::VecDeque,
    future::{ready, Ready},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    header::{self, HeaderMap, HeaderName},
    request, HeaderValue, Method, Request, Response, StatusCode,
};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;
use xxhash_rust::xxh3::xxh3_64;

use super::script::{date, Answer, Length, Tag};

/// Everything outside of the layer. Clones are one.
#[derive(Clone, Debug)]
pub(super) struct Origin(Arc<Mutex<World>>);

#[derive(Debug)]
pub(super) struct World {
    pub(super) answer: Option<Answer>,
    pub(super) now: u64,
    /// What an answer before has had: the values that fields of a script take up.
    pub(super) seen: HeaderMap,
    pub(super) calls: Vec<Call>,
    version: u64,
    length: u8,
}

/// A call of the inner service, and its answer. Its place in the list is its `x-serial`.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: request::Parts,
    pub(super) at: u64,
    pub(super) answer: Answer,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The whole representation, whatever of it was sent.
    pub(super) whole: Vec<u8>,
    pub(super) sent: Vec<u8>,
    /// The values it was selected by.
    pub(super) selecting: Vec<(HeaderName, Option<Vec<u8>>)>,
}

impl Call {
    /// The body fails, or is not as long as its `Content-Length`.
    pub(super) fn is_broken(&self) -> bool {
        let wrong = matches!(self.answer.length, Length::Longer | Length::Shorter);
        wrong && self.headers.contains_key(header::CONTENT_LENGTH) || self.breaks()
    }

    /// The body ends with an error.
    pub(super) fn breaks(&self) -> bool {
        self.answer.breaks.is_some() && self.request.method != Method::HEAD && has_body(self.status)
    }

    pub(super) fn field(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.get(name)
    }
}

impl Origin {
    pub(super) fn new() -> Self {
        let world = World {
            answer: None,
            now: START,
            seen: HeaderMap::new(),
            calls: Vec::new(),
            version: 0,
            length: 40,
        };
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service<Request<String>> for Origin {
    type Response = Response<Frames>;
    type Error = Failed;
    type Future = Ready<Result<Self::Response, Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        ready(self.world().call(request.into_parts().0))
    }
}

impl World {
    /// Makes `answer` the one that is given from now on.
    pub(super) fn turn(&mut self, answer: Answer) {
        if let Some(length) = answer.advance {
            self.version += 1;
            self.length = length;
        }
        self.answer = Some(answer);
    }

    fn call(&mut self, request: request::Parts) -> Result<Response<Frames>, Failed> {
        let answer = self.answer.clone().filter(|answer| !answer.fails).ok_or(Failed)?;
        let selecting: Vec<_> = (answer.vary.split(',').map(str::trim).filter(|name| !name.is_empty()))
            .filter_map(|name| name.parse().ok())
            .map(|name| (HeaderName::clone(&name), selecting_value(&request.headers, &name)))
            .collect();
        let whole =
            if has_body(answer.status) { self.content(&request, &selecting, &answer) } else { Vec::new() };
        let mut headers = self.headers(&answer, &whole);
        let (status, part) = asked(&request, &answer, &headers, &whole);
        if status == StatusCode::PARTIAL_CONTENT && part.len() < whole.len() {
            let last = (part.end.max(1)) - 1;
            insert(
                &mut headers,
                header::CONTENT_RANGE,
                format!("bytes {}-{last}/{}", part.start, whole.len()),
            );
        }
        if has_body(status) {
            let length = if request.method == Method::HEAD { whole.len() } else { part.len() };
            let said = match answer.length {
                Length::Absent => None,
                Length::Longer => Some(format!("{}", length + 1)),
                Length::Shorter => length.checked_sub(1).map(|shorter| shorter.to_string()),
                Length::True => Some(format!("{length}")),
                Length::Twice => Some(format!("{length}, {length}")),
            };
            if let Some(said) = said {
                insert(&mut headers, header::CONTENT_LENGTH, said);
            }
        }
        let mut sent = whole.get(part).unwrap_or_default().to_vec();
        if request.method == Method::HEAD || !has_body(status) {
            sent.clear();
        }
        if let Some(breaks) = answer.breaks {
            sent.truncate(usize::from(breaks));
        }
        let call = Call { request, at: self.now, answer, status, headers, whole, sent, selecting };
        let body = Frames::of(&call);
        let mut response = Response::new(body);
        *response.status_mut() = call.status;
        *response.headers_mut() = call.headers.clone();
        self.calls.push(call);
        Ok(response)
    }

    fn content(
        &self,
        request: &request::Parts,
        selecting: &[(HeaderName, Option<Vec<u8>>)],
        answer: &Answer,
    ) -> Vec<u8> {
        let mut about = format!("{} {} {selecting:?} {}", request.uri.path(), self.version, answer.status);
        if answer.vary == "*" {
            about += &self.calls.len().to_string();
        }
        (0..self.length)
            .map(|index| xxh3_64(format!("{about} {index}").as_bytes()).to_le_bytes()[0])
            .collect()
    }

    fn headers(&self, answer: &Answer, whole: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        insert(&mut headers, SERIAL, self.calls.len().to_string());
        let opaque = format!("{}-{:016x}", self.version, xxh3_64(whole));
        match answer.tag {
            Tag::Absent => {}
            Tag::Strong => insert(&mut headers, header::ETAG, format!("\"{opaque}\"")),
            Tag::Unquoted => insert(&mut headers, header::ETAG, opaque),
            Tag::Weak => insert(&mut headers, header::ETAG, format!("W/\"{opaque}\"")),
        }
        if answer.modified {
            // A version is as old as its number is small, and none is of this minute.
            insert(&mut headers, header::LAST_MODIFIED, date(START - 100_000 + 100 * self.version));
        }
        for (name, text) in [(header::CONTENT_TYPE, answer.media), (header::VARY, answer.vary)] {
            if !text.is_empty() {
                insert(&mut headers, name, text.to_owned());
            }
        }
        for directives in &answer.cache_control {
            headers.append(header::CACHE_CONTROL, directives.line.clone());
        }
        for (name, value) in &answer.fields {
            if let Some(value) = value.render(self.now, &self.seen) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        headers
    }
}

/// The status of the answer to a request, and the part of the whole that goes with it.
///
/// Of the conditions only the tags are heeded, and of ranges only one with two positions: an origin need not do more.
fn asked(
    request: &request::Parts,
    answer: &Answer,
    headers: &HeaderMap,
    whole: &[u8],
) -> (StatusCode, std::ops::Range<usize>) {
    let all = (answer.status, 0..whole.len());
    let field = |name| request.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if !answer.heeds || answer.status != StatusCode::OK {
        return all;
    }
    if let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()) {
        if field(header::IF_NONE_MATCH).is_some_and(|named| opaque(named) == opaque(tag)) {
            return (StatusCode::NOT_MODIFIED, 0..0);
        }
        if field(header::IF_MATCH).is_some_and(|named| named != tag && named != "*") {
            return (StatusCode::PRECONDITION_FAILED, 0..0);
        }
    }
    let positions = || {
        let (first, last) = field(header::RANGE)?.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last) = (first.parse::<usize>().ok()?, last.parse::<usize>().ok()?);
        (first <= last && last < whole.len()).then(|| first..last + 1)
    };
    let is_partial = request.method == Method::GET && !request.headers.contains_key(header::IF_RANGE);
    match positions() {
        Some(part) if is_partial => (StatusCode::PARTIAL_CONTENT, part),
        _ => all,
    }
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// RFC 9110 §6.4.1: statuses without content.
pub(super) fn has_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// RFC 9111 §4.1: the lines of a field as one, without the white space that says nothing.
pub(super) fn selecting_value(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = request.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let joined = lines.join(&b',');
    let members: Vec<_> = joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    (!lines.is_empty()).then(|| members.join(&b','))
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// A body in frames as large as a script says.
#[derive(Debug)]
pub(super) struct Frames {
    left: VecDeque<Bytes>,
    breaks: bool,
    exact: bool,
}

impl Frames {
    fn of(call: &Call) -> Self {
        let sent = Bytes::copy_from_slice(&call.sent);
        let size = usize::from(call.answer.frame);
        let empty = call.answer.frame == 0;
        let mut frames: VecDeque<_> = sent.chunks(size.max(3)).map(|frame| sent.slice_ref(frame)).collect();
        if empty {
            frames.push_front(Bytes::new());
            frames.push_back(Bytes::new());
        }
        // A body that does not keep to what the fields say does not say it itself: hyper would not let it.
        Self { left: frames, breaks: call.breaks(), exact: call.answer.exact && !call.is_broken() }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Failed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let frame = self.left.pop_front().map(|frame| Ok(Frame::data(frame)));
        let broken = || std::mem::take(&mut self.breaks).then_some(Err(Failed));
        Poll::Ready(frame.or_else(broken))
    }

    fn size_hint(&self) -> SizeHint {
        if self.exact {
            let bytes: usize = self.left.iter().map(Bytes::len).sum();
            return SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        SizeHint::new()
    }
}

/// What the inner service and its bodies fail with.
#[derive(Debug)]
pub(super) struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the script says so")
    }
}

impl std::error::Error for Failed {}

pub(super) const SERIAL: HeaderName = HeaderName::from_static("x-serial");

/// 14 November 2023, 22:13:20.
pub(super) const START: u64 = 1_700_000_000;
