//! From a stored response to the answer of one request; the only file that builds one.
//!
//! RFC 9110 §14 (ranges), §15.3.7 (206), §15.4.5 (304), §15.5.13 (412), §15.5.17 (416); RFC 9111 §4, §5.1 (`Age`).

use std::{borrow::Cow, ops::Range, sync::Arc, time::SystemTime};

use http::{
    header::{self, HeaderMap, HeaderName, HeaderValue},
    request, Method, Response, StatusCode,
};

use super::{
    content::Content,
    early::Early,
    fill::Salvage,
    lookup::Entry,
    message::settled,
    parts::{boundary, Parts},
    reader::{Reader, Source},
    records::Waited,
    supply::{Line, Upstream},
    Engine,
};
use crate::{
    body::ResponseBody,
    format::{chunk::ChunkName, manifest::Manifest},
    policy::Policy,
    semantics::{
        cache_status::{Generated, Outcome, Refusal, Signature},
        etag::Validators,
        fields::{media_type, only, settle_length, without_content},
        multipart::Multipart,
        range::ByteRange,
        select::{select, Selection},
    },
};

/// How a stored response is served to one viewer.
#[derive(Default)]
pub(crate) struct Service {
    pub(crate) outcome: Outcome,
    /// By which chunks are had that the store does not have, if it is known by now that some are missing.
    pub(crate) line: Option<Arc<Line>>,
    /// The chunk that it begins with, if it is on its way.
    pub(crate) early: Option<Early>,
}

/// With nothing known to be missing.
pub(crate) fn served(outcome: Outcome) -> Service {
    Service { outcome, line: None, early: None }
}

/// Answers `request` from `entry`, with what turns out to be missing by way of `upstream`; `None` if its first byte is.
pub(crate) async fn supplied<B>(
    engine: &Engine,
    entry: &Arc<Entry>,
    request: &request::Parts,
    outcome: Outcome,
    upstream: &Arc<dyn Upstream>,
) -> Option<Response<ResponseBody<B>>> {
    let mut response = serve(engine, entry, request, served(outcome)).await.ok()?;
    response.body_mut().supply(|| Arc::clone(upstream));
    Some(response)
}

/// The chunk that an answer would begin with is not there.
pub(crate) struct Gone {
    pub(crate) first: u64,
    /// The chunk after the last that the answer would be made of.
    pub(crate) until: u64,
    /// The store knows that it does not have it, or has something else.
    pub(crate) is_lost: bool,
    /// How long the store that did not give it was waited for.
    pub(crate) waited: Waited,
}

/// Answers `request` from `entry`.
///
/// # Errors
///
/// Its first byte is not to be had.
pub(crate) async fn serve<B>(
    engine: &Engine,
    entry: &Arc<Entry>,
    request: &request::Parts,
    service: Service,
) -> Result<Response<ResponseBody<B>>, Gone> {
    let Service { mut outcome, line, early } = service;
    let now = engine.config.clock.now();
    let manifest = &entry.manifest;
    let layout = entry.layout();
    let (status, content) = content(engine, entry, request);
    let mut headers = fields(entry, status, &content, now);
    if outcome.stored && !content.is_all_stored(entry, line.is_some()) {
        (outcome.stored, outcome.storing) = (false, true);
    }
    let body = if content.length() == Some(0) || request.method == Method::HEAD {
        ResponseBody::stored(Reader::empty())
    } else {
        let records = Arc::clone(&engine.records);
        let (first, _) = layout.locate(content.start());
        let until = content.until(layout);
        if let Some(line) = &line {
            line.is_asked_until(until);
        }
        let source = Source { records, layout, entry: Some(Arc::clone(entry)), line, is_open: false };
        let opened = match content {
            Content::Part(range) => Reader::open(source, range, early).await.map(ResponseBody::stored),
            Content::Open => Reader::open_all(source).await.map(ResponseBody::stored),
            // In a box of its own, so that a hit of one part has a small one.
            Content::Parts(multipart) => {
                Box::pin(Parts::open(source, *multipart, early)).await.map(ResponseBody::parts)
            }
        };
        opened.map_err(|error| Gone { first, until, is_lost: error.is_lost(), waited: Waited::of(&error) })?
    };
    outcome.ttl = Some(entry.freshness.ttl(now));
    outcome.append_to(&mut headers, status, engine.config.signature(Some(&manifest.key)));
    Ok(response(status, headers, body))
}

/// The chunk that the answer to a GET from `entry` begins with; none if it has no content.
pub(super) fn begins_with(engine: &Engine, entry: &Entry, request: &request::Parts) -> Option<ChunkName> {
    let (_, content) = content(engine, entry, request);
    let layout = entry.layout();
    let (first, _) = layout.locate(content.start());
    (content.length() != Some(0)).then(|| layout.chunk(first))
}

/// From the first to the last chunk that the answer to a request from `entry` is made of.
pub(super) fn chunks(engine: &Engine, entry: &Entry, request: &request::Parts) -> Range<u64> {
    let (_, content) = content(engine, entry, request);
    let layout = entry.layout();
    if content.length() == Some(0) || request.method == Method::HEAD {
        return 0..0;
    }
    let (first, _) = layout.locate(content.start());
    let size = u64::from(layout.chunk_size.max(1));
    first..content.end().map_or_else(|| layout.chunks(), |end| end.div_ceil(size))
}

/// What of a stored response answers a request, and with which status.
fn content(engine: &Engine, entry: &Entry, request: &request::Parts) -> (StatusCode, Content) {
    let Manifest { status, headers, .. } = &entry.manifest;
    let validators = Validators::of(headers);
    let length = entry.layout().length;
    let most_ranges = engine.config.policy.most_ranges();
    let everything = match entry.length() {
        Some(length) => Content::Part(ByteRange { start: 0, end: length }),
        None => Content::Open,
    };
    match select(&request.method, &request.headers, *status, validators, length, most_ranges) {
        Selection::Full => (*status, everything),
        Selection::Partial(range) => (StatusCode::PARTIAL_CONTENT, Content::Part(range)),
        Selection::Several(ranges) => match multipart(entry, &ranges) {
            Some(multipart) => (StatusCode::PARTIAL_CONTENT, Content::Parts(Box::new(multipart))),
            None => (*status, everything),
        },
        Selection::NotModified => (StatusCode::NOT_MODIFIED, Content::NOTHING),
        Selection::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, Content::NOTHING),
        Selection::NotSatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, Content::NOTHING),
    }
}

/// These parts of a stored response in one content; `None` where the whole is answered instead: it is no longer, or
/// it is in a coding. RFC 9110 §15.3.7 has `Content-Encoding` in the header of the message, and a viewer would decode
/// the delimiters with the parts.
fn multipart(entry: &Entry, ranges: &[ByteRange]) -> Option<Multipart> {
    let Manifest { headers, layout, .. } = &entry.manifest;
    // Nor of what is still to be made: whoever makes it would see the boundary first.
    if headers.contains_key(header::CONTENT_ENCODING) || entry.pouring.is_some() {
        return None;
    }
    let mut ranges = Cow::Borrowed(ranges);
    // RFC 9110 §14.2: a request that goes to and fro in what is stored would have the same chunk read again and again.
    if layout.reads(ranges.iter().map(|range| range.start..range.end)) > layout.chunks() {
        ranges.to_mut().sort_unstable_by_key(|range| range.start);
    }
    Multipart::of(&ranges, headers.get(header::CONTENT_TYPE), layout.length, boundary(layout.generation))
}

/// The header fields that an answer with `status` has, all but `Cache-Status`.
fn fields(entry: &Entry, status: StatusCode, content: &Content, now: SystemTime) -> HeaderMap {
    let stored = &entry.manifest.headers;
    let length = entry.layout().length;
    let stored_status = entry.manifest.status;
    // A 412 or 416 of the inner service's own, where the policy stores such, is served as it came.
    let made = if status == stored_status { StatusCode::OK } else { status };
    let mut headers = match made {
        StatusCode::NOT_MODIFIED => without_content(stored, &NOT_MODIFIED_FIELDS),
        StatusCode::PRECONDITION_FAILED => {
            without_content(stored, &[header::DATE, header::ETAG, header::VARY])
        }
        StatusCode::RANGE_NOT_SATISFIABLE => without_content(stored, &[header::DATE, header::VARY]),
        _ => stored.clone(),
    };
    // RFC 9110 §15.4.5: a 304 has Last-Modified only where there is no ETag to update by.
    if status == StatusCode::NOT_MODIFIED && !headers.contains_key(header::ETAG) {
        headers.extend(only(stored, &[header::LAST_MODIFIED]));
    }
    headers.insert(header::AGE, HeaderValue::from(entry.freshness.age(now).as_secs()));
    match made {
        StatusCode::NOT_MODIFIED => return headers,
        StatusCode::PARTIAL_CONTENT => {
            // RFC 9530 §2: these are of the content of one message, and this one has another content.
            for name in &CONTENT_SUMS {
                headers.remove(name);
            }
            match content {
                Content::Part(range) if entry.length().is_some() => {
                    insert(&mut headers, header::CONTENT_RANGE, range.within(length));
                }
                // §14.4: the complete length, where it is unknown, is an asterisk.
                Content::Part(range) => insert(&mut headers, header::CONTENT_RANGE, range.within_unknown()),
                Content::Open => {}
                // §15.3.7.2: `Content-Range` is said of each part, and never of the message.
                Content::Parts(multipart) => {
                    insert(&mut headers, header::CONTENT_TYPE, multipart.media_type());
                }
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            insert(&mut headers, header::CONTENT_RANGE, format!("bytes */{length}"));
        }
        _ => {}
    }
    // RFC 9110 §8.6: a 204 has no content, and no length of it.
    if let (Some(length), true) = (content.length(), status != StatusCode::NO_CONTENT) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    // §14.2: ranges are defined for what is a 200 without them.
    if stored_status == StatusCode::OK {
        headers.insert(header::ACCEPT_RANGES, BYTES);
    }
    headers
}

/// Answers with an inner response whose storing stopped midway: what is in the store, what is in hand, and the
/// rest as it comes. `None` if what is in the store cannot all be read back.
pub(crate) async fn salvage<B>(
    engine: &Engine,
    salvage: Salvage<B>,
    outcome: Outcome,
    by: Signature<'_>,
) -> Option<Response<ResponseBody<B>>> {
    let Salvage { mut parts, stored, in_hand, rest, refusal: _, waited } = salvage;
    let reader = Reader::open_proved(&engine.records, stored, waited).await?;
    settle_length(&mut parts.headers);
    outcome.append_to(&mut parts.headers, parts.status, by);
    Some(Response::from_parts(parts, ResponseBody::salvaged(reader, in_hand, rest)))
}

/// Hands on an inner response that was not stored: as it is, but for what is true of it to add.
pub(crate) fn pass<B>(
    response: Response<B>,
    mut outcome: Outcome,
    by: Signature<'_>,
    policy: &Policy,
) -> Response<ResponseBody<B>> {
    let came = response.status();
    let mut response = match settled(response) {
        Ok(response) => response,
        Err(refusal) => {
            (outcome.refusal, outcome.forwarded_status) = (Some(refusal), Some(came));
            return bad_gateway(refusal, outcome, by);
        }
    };
    let status = response.status();
    let headers = response.headers_mut();
    let is_video = media_type(headers).is_some_and(|media| media.to_ascii_lowercase().starts_with("video/"));
    // A 206 shows that ranges are served; a 200 shows nothing either way.
    if status == StatusCode::PARTIAL_CONTENT && is_video && !headers.contains_key(header::ACCEPT_RANGES) {
        headers.insert(header::ACCEPT_RANGES, BYTES);
    }
    // This is what the inner service answered with, whatever it said to a fill before.
    outcome.forwarded_status = None;
    outcome.append_to_passed(headers, status, by, policy);
    response
}

/// The inner body broke its word before anything left: 502 (Bad Gateway), with the reason.
pub(crate) fn bad_gateway<B>(
    refusal: Refusal,
    outcome: Outcome,
    by: Signature<'_>,
) -> Response<ResponseBody<B>> {
    let text = match refusal {
        Refusal::ChangedLength => "The body of the inner response is not as long as its Content-Length.\n",
        // The request may have been a HEAD.
        Refusal::InvalidLength => "",
        _ => "The body of the inner response ended with an error.\n",
    };
    let mut response = own(StatusCode::BAD_GATEWAY, text);
    outcome.append_to(response.headers_mut(), StatusCode::BAD_GATEWAY, by);
    response
}

/// The viewer wants nothing but what is stored, and nothing is: 504 (Gateway Timeout), RFC 9111 §5.2.1.7.
pub(crate) fn gateway_timeout<B>(method: &Method, by: Signature<'_>) -> Response<ResponseBody<B>> {
    let mut response = own(StatusCode::GATEWAY_TIMEOUT, "Nothing is stored that may be used.\n");
    if *method == Method::HEAD {
        *response.body_mut() = ResponseBody::stored(Reader::empty());
    }
    Generated(Refusal::OnlyIfCached).append_to(response.headers_mut(), by);
    response
}

/// An answer of the cache's own.
pub(super) fn own<B>(status: StatusCode, text: &'static str) -> Response<ResponseBody<B>> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response(status, headers, ResponseBody::stored(Reader::of(text.into())))
}

fn response<T>(status: StatusCode, headers: HeaderMap, body: T) -> Response<T> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Digits and ASCII punctuation are a valid field value.
fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

const BYTES: HeaderValue = HeaderValue::from_static("bytes");

const CONTENT_SUMS: [HeaderName; 2] =
    [HeaderName::from_static("content-digest"), HeaderName::from_static("content-md5")];

/// RFC 9110 §15.4.5: what a 304 must carry of the fields that a 200 would have had.
const NOT_MODIFIED_FIELDS: [HeaderName; 6] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::VARY,
];
