//! The inner service of the `request` target. A script decides its answers, and all of them are recorded.
//!
//! Its content depends on the path, on the fields that it varies by and on a version, so that the true bytes are known.
//! It is honest unless a script makes a body break its promise: equal strong tags are equal bytes.

use std::{
    collections::HashMap,
    future::Future,
    hash::{DefaultHasher, Hasher},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    task::{Context, Poll},
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{self, HeaderMap, HeaderName},
    request,
};
use tower::Service;

use super::{
    frames::{Failed, Frames},
    keys::Target,
    manner::asked,
    script::{Answer, Length, Tag, date},
};

/// Everything outside of the layer. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Origin(Arc<Mutex<World>>);

#[derive(Debug)]
pub(super) struct World {
    /// The answer to each client's requests, by the client's number.
    pub(super) answers: HashMap<u64, Answer>,
    /// How many polls an answer takes.
    pub(super) delay: u8,
    pub(super) now: u64,
    /// The values of an earlier answer, which fields of a script can repeat.
    pub(super) seen: HeaderMap,
    pub(super) calls: Vec<Call>,
    /// How many bytes of bodies the cache has taken.
    pub(super) taken: Arc<AtomicU64>,
    /// The clients whose requests failed, one entry for each failure.
    pub(super) failures: Vec<u64>,
    version: u64,
    length: u8,
    /// Each content that there was, once.
    contents: Vec<Vec<u8>>,
}

/// A call of the inner service, and its answer.
#[derive(Debug)]
pub(super) struct Call {
    /// The index of the call in the list.
    pub(super) serial: usize,
    pub(super) request: request::Parts,
    /// The client that the call was made for.
    pub(super) viewer: u64,
    pub(super) at: u64,
    pub(super) answer: Answer,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The whole representation, however much of it was sent.
    pub(super) whole: Vec<u8>,
    pub(super) sent: Vec<u8>,
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
}

impl Origin {
    pub(super) fn new() -> Self {
        let world = World {
            answers: HashMap::new(),
            delay: 0,
            now: START,
            seen: HeaderMap::new(),
            calls: Vec::new(),
            taken: Arc::default(),
            failures: Vec::new(),
            version: 0,
            length: 40,
            contents: Vec::new(),
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
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let mut world = self.world();
        Answering { delay: world.delay, answer: Some(world.call(request.into_parts().0)) }
    }
}

/// An answer that comes after some polls.
#[derive(Debug)]
pub(super) struct Answering {
    delay: u8,
    answer: Option<Result<Response<Frames>, Failed>>,
}

impl Future for Answering {
    type Output = Result<Response<Frames>, Failed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.delay > 0 {
            self.delay -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.answer.take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl World {
    /// Gives the requests of this client this answer from now on.
    pub(super) fn turn(&mut self, viewer: u64, answer: Answer) {
        if let Some(length) = answer.advance {
            self.version += 1;
            self.length = length;
        }
        self.answers.insert(viewer, answer);
    }

    fn call(&mut self, request: request::Parts) -> Result<Response<Frames>, Failed> {
        let viewer = viewer(&request.headers);
        let mine = || self.calls.iter().filter(|call| call.viewer == viewer);
        let before = mine().count() + self.failures.iter().filter(|failed| **failed == viewer).count();
        let after = |calls: Option<u8>| calls.is_some_and(|calls| before >= usize::from(calls));
        let fails = |answer: &&Answer| answer.fails || after(answer.manner.fails_after);
        let Some(mut answer) = self.answers.get(&viewer).filter(|answer| !fails(answer)).cloned() else {
            self.failures.push(viewer);
            return Err(Failed);
        };
        answer.breaks = answer.breaks.filter(|_| !answer.manner.mends || !mine().any(Call::breaks));
        if answer.manner.changes_after.is_some_and(|calls| before == usize::from(calls)) {
            self.version += 1;
        }
        let selecting: Vec<_> = (answer.vary.split(',').map(str::trim).filter(|name| !name.is_empty()))
            .filter_map(|name| name.parse().ok())
            .map(|name| (HeaderName::clone(&name), selecting_value(&request.headers, &name)))
            .collect();
        let whole =
            if has_body(answer.status) { self.content(&request, &selecting, &answer) } else { Vec::new() };
        let mut headers = self.headers(&answer, &whole);
        let (status, part, place) = asked(&request, &answer, &headers, &whole);
        if let Some(place) = place {
            insert(&mut headers, header::CONTENT_RANGE, place);
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
        let (serial, at) = (self.calls.len(), self.now);
        let call = Call { serial, request, viewer, at, answer, status, headers, whole, sent };
        let body = Frames::of(&call, Arc::clone(&self.taken));
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
        let mut about = format!("{:?} {} {}", Target::of(request), self.version, answer.status);
        if !answer.same {
            about = format!("{about}{selecting:?}");
        }
        if answer.vary == "*" {
            about += &self.calls.len().to_string();
        }
        (0..self.length).map(|index| hash(format!("{about} {index}").as_bytes()).to_le_bytes()[0]).collect()
    }

    fn headers(&mut self, answer: &Answer, whole: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let serial = self.calls.len();
        insert(&mut headers, LAST, serial.to_string());
        if let Ok(name) = format!("{SERIAL}{serial}").parse() {
            insert(&mut headers, name, "1".to_owned());
        }
        let opaque = format!("{}-{:016x}", self.version, hash(whole));
        match answer.tag {
            Tag::Absent => {}
            Tag::Strong => insert(&mut headers, header::ETAG, format!("\"{opaque}\"")),
            Tag::Unquoted => insert(&mut headers, header::ETAG, opaque),
            Tag::Weak => insert(&mut headers, header::ETAG, format!("W/\"{opaque}\"")),
        }
        if answer.modified {
            // A smaller version number is older, and no version is of this minute.
            // A version may have several contents, each with its own second.
            let known = self.contents.iter().position(|content| content == whole);
            let number = known.unwrap_or(self.contents.len());
            if known.is_none() {
                self.contents.push(whole.to_vec());
            }
            let second = u64::try_from(number).unwrap_or_default() % 100;
            insert(&mut headers, header::LAST_MODIFIED, date(START - 100_000 + 100 * self.version + second));
        }
        for (name, text) in [(header::CONTENT_TYPE, answer.media), (header::VARY, answer.vary)] {
            if !text.is_empty() {
                insert(&mut headers, name, text.to_owned());
            }
        }
        for line in &answer.cache_control {
            headers.append(header::CACHE_CONTROL, line.clone());
        }
        for (name, value) in &answer.fields {
            if let Some(value) = value.render(self.now, &self.seen) {
                headers.append(HeaderName::from_static(name), value);
            }
        }
        headers
    }
}

/// RFC 9110 §6.4.1: statuses without content.
pub(super) fn has_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The number of the client that the request was made for.
pub(super) fn viewer(request: &HeaderMap) -> u64 {
    request.get(VIEWER).and_then(|viewer| viewer.to_str().ok()?.parse().ok()).unwrap_or(u64::MAX)
}

/// RFC 9111 §4.1: the lines of a field as one value, without meaningless differences. These are white space, and for
/// codings and languages case and empty members, and the order of codings (RFC 9110 §12.5.3, §12.5.4).
pub(super) fn selecting_value(request: &HeaderMap, name: &HeaderName) -> Option<Vec<u8>> {
    let lines: Vec<_> = request.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if name == header::COOKIE {
        // RFC 9113 §8.2.3: a cookie is no list.
        let lines: Vec<_> = lines.into_iter().map(<[u8]>::trim_ascii).collect();
        return (!lines.is_empty()).then(|| lines.join(&b"; "[..]));
    }
    let joined = lines.join(&b',');
    let members = joined.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut members: Vec<_> = members.map(<[u8]>::to_vec).collect();
    if name == header::ACCEPT_ENCODING || name == header::ACCEPT_LANGUAGE {
        members.retain(|member| !member.is_empty());
        for member in &mut members {
            member.make_ascii_lowercase();
        }
    }
    if name == header::ACCEPT_ENCODING {
        members.sort();
    }
    (!lines.is_empty()).then(|| members.join(&b','))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The number of the last call that had a part in an answer. Fields whose names begin like this are for pages of other
/// origins, and a 304 shows them too.
pub(super) const LAST: HeaderName = HeaderName::from_static("cross-origin-serial");

/// A field's name without the number of its call. Each call that had a part in an answer shows in such a field.
pub(super) const SERIAL: &str = "content-serial-";

/// The client's number, in a request.
pub(super) const VIEWER: HeaderName = HeaderName::from_static("x-viewer");

/// 14 November 2023, 22:13:20.
pub(super) const START: u64 = 1_700_000_000;
