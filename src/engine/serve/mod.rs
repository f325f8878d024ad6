//! Answers one request from a stored response, or hands on an inner response.
//!
//! RFC 9110 §14 (ranges), §15.3.7 (206), §15.4.5 (304), §15.5.17 (416); RFC 9111 §4, §5.1 (`Age`).

pub(crate) mod fields;
pub(crate) mod message;

use std::{sync::Arc, time::SystemTime};

use http::{Method, Response, StatusCode, header, request};

use self::{
    fields::{BYTES, fields},
    message::{own, response, settled},
};
use super::{
    body::{
        ResponseBody,
        multipart::MultipartReader,
        reader::{Reader, Source},
        salvaged::Salvage,
    },
    fetch::{demand::Demand, fetcher::Fetch},
    lookup::{
        content::{Content, content},
        prefetch::Prefetched,
    },
    state::{Engine, entry::Entry, records::Waited},
};
use crate::{
    policy::Policy,
    semantics::{
        cache_status::{Generated, Outcome, Refusal, Signature},
        fields::{media_type, settle_length},
    },
};

/// How a stored response is served to one client.
#[derive(Default)]
pub(crate) struct Service {
    pub(crate) outcome: Outcome,
    /// Gets the chunks that the store does not have, if some are known to be missing.
    pub(crate) demand: Option<Arc<Demand>>,
    /// The chunk that the answer begins with, if it is being read already.
    pub(crate) prefetched: Option<Prefetched>,
    /// The time of day, if somebody has just looked.
    pub(crate) now: Option<SystemTime>,
}

/// How to serve a response of which no chunk is known to be missing.
pub(crate) fn served(outcome: Outcome) -> Service {
    Service { outcome, demand: None, prefetched: None, now: None }
}

/// Answers `request` from `entry`, and gets missing chunks through `fetcher`. Returns `None` if the first chunk is
/// missing.
pub(crate) async fn supplied<B>(
    engine: &Engine,
    entry: &Arc<Entry>,
    request: &request::Parts,
    outcome: Outcome,
    fetcher: &Arc<dyn Fetch>,
) -> Option<Response<ResponseBody<B>>> {
    let mut response = serve(engine, entry, request, served(outcome)).await.ok()?;
    response.body_mut().supply(|| Arc::clone(fetcher));
    Some(response)
}

/// The missing byte that an answer would begin with.
pub(crate) struct MissingByte {
    pub(crate) offset: u64,
    /// The offset after the last byte that the answer needs.
    pub(crate) until: u64,
    /// Whether the store knows that it does not have the byte, or has something else.
    pub(crate) is_lost: bool,
    /// How long the request waited for the store that did not give the byte.
    pub(crate) waited: Waited,
}

/// Answers `request` from `entry`.
///
/// # Errors
///
/// The first chunk cannot be had.
pub(crate) async fn serve<B>(
    engine: &Engine,
    entry: &Arc<Entry>,
    request: &request::Parts,
    service: Service,
) -> Result<Response<ResponseBody<B>>, MissingByte> {
    let Service { mut outcome, demand, prefetched, now } = service;
    let now = now.unwrap_or_else(|| engine.config.clock.now());
    let manifest = &entry.manifest;
    let layout = entry.layout();
    let (status, content) = content(engine, entry, request);
    let mut headers = fields(entry, status, &content, now);
    let has_content = content.length() != Some(0) && request.method != Method::HEAD;
    let length = content.length().filter(|_| has_content).unwrap_or_default();
    if outcome.stored && !content.is_all_stored(entry, demand.is_some()) {
        (outcome.stored, outcome.storing) = (false, true);
    }
    let mut body = if has_content {
        let records = Arc::clone(&engine.records);
        let (offset, until) = (content.start(), content.until());
        if let Some(demand) = &demand {
            demand.set_end(until);
        }
        let source = Source { records, layout, entry: Some(Arc::clone(entry)), demand };
        let opened = match content {
            Content::Part(range) => Reader::open(source, range, prefetched).await.map(ResponseBody::stored),
            Content::Open => Reader::open_all(source).await.map(ResponseBody::stored),
            // Boxed, so that the future of a hit of one part stays small.
            Content::Multipart(multipart) => Box::pin(MultipartReader::open(source, *multipart, prefetched))
                .await
                .map(ResponseBody::multipart),
        };
        opened.map_err(|error| MissingByte {
            offset,
            until,
            is_lost: error.is_lost(),
            waited: Waited::of(&error),
        })?
    } else {
        ResponseBody::stored(Reader::empty())
    };
    // A response that is being poured has no record to be remembered by.
    if entry.pouring.is_none() {
        entry.served.add(length);
    } else {
        engine.rankings.add_served(manifest.key.as_bytes(), 1, length);
    }
    outcome.ttl = Some(entry.freshness.ttl(now));
    outcome.put_into(&mut headers, status, engine.config.signature(Some(&manifest.key)));
    body.tell(outcome.told());
    Ok(response(status, headers, body))
}

/// Answers with an inner response whose storing stopped midway: the stored chunks, the chunk in hand, and the rest as
/// it comes. Returns `None` if the stored chunks cannot all be read back.
pub(crate) async fn salvage<B>(
    engine: &Engine,
    salvage: Salvage<B>,
    outcome: Outcome,
    by: Signature<'_>,
) -> Option<Response<ResponseBody<B>>> {
    let Salvage { mut parts, stored, in_hand, rest, refusal: _, waited } = salvage;
    let reader = Reader::open_proved(&engine.records, stored, waited).await?;
    engine.config.policy.grouping().hide(&mut parts.headers);
    settle_length(&mut parts.headers);
    outcome.append_to(&mut parts.headers, parts.status, by);
    let mut body = ResponseBody::salvaged(reader, in_hand, rest);
    body.tell(outcome.told());
    Some(Response::from_parts(parts, body))
}

/// Hands on an inner response that was not stored, with added fields that are true of the response.
pub(crate) fn pass<B>(
    response: Response<B>,
    mut outcome: Outcome,
    by: Signature<'_>,
    policy: &Policy,
) -> Response<ResponseBody<B>> {
    let came = response.status();
    let mut response = match settled(response, policy) {
        Ok(response) => response,
        Err(refusal) => {
            (outcome.refusal, outcome.forwarded_status) = (Some(refusal), Some(came));
            return bad_gateway(refusal, outcome, by);
        }
    };
    let status = response.status();
    let headers = response.headers_mut();
    let is_video = media_type(headers).is_some_and(|media| media.to_ascii_lowercase().starts_with("video/"));
    // A 206 shows that the inner service serves ranges. A 200 shows neither that nor the contrary.
    if status == StatusCode::PARTIAL_CONTENT && is_video && !headers.contains_key(header::ACCEPT_RANGES) {
        headers.insert(header::ACCEPT_RANGES, BYTES);
    }
    // This response has the inner service's own status, even if a fill got another one before.
    outcome.forwarded_status = None;
    outcome.append_to_passed(headers, status, by, policy);
    response.body_mut().tell(outcome.told());
    response
}

/// A 502 (Bad Gateway) with the reason, for an inner body that broke before any byte left.
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
    response.body_mut().tell(outcome.told());
    response
}

/// A 504 (Gateway Timeout) for a request that wants only a stored response, when none may be used: RFC 9111 §5.2.1.7.
pub(crate) fn gateway_timeout<B>(method: &Method, by: Signature<'_>) -> Response<ResponseBody<B>> {
    let mut response = own(StatusCode::GATEWAY_TIMEOUT, "Nothing is stored that may be used.\n");
    if *method == Method::HEAD {
        *response.body_mut() = ResponseBody::stored(Reader::empty());
    }
    let generated = Generated(Refusal::OnlyIfCached);
    generated.append_to(response.headers_mut(), by);
    response.body_mut().tell(generated.told());
    response
}
