//! Makes the header fields of an answer from the store.
//!
//! RFC 9110 §8.6, §14.2, §14.4, §15.3.7, §15.4.5; RFC 9530 §2.

use std::time::SystemTime;

use http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    engine::{lookup::content::Content, state::entry::Entry},
    semantics::{
        cache_status::make_room,
        fields::{only, without_content},
        range::ContentRange,
        short::{MOST_DIGITS, Short},
    },
};

/// The header fields of an answer with `status`, and room for this cache's `Cache-Status`.
pub(crate) fn fields(entry: &Entry, status: StatusCode, content: &Content, now: SystemTime) -> HeaderMap {
    let length = entry.layout().length;
    let stored_status = entry.manifest.status;
    // A stored 416 of the inner service is served as it came.
    let made = if status == stored_status { StatusCode::OK } else { status };
    let mut headers = prepared(entry, made);
    write(&mut headers, header::AGE, &Number::new().number(entry.freshness.age(now).as_secs()));
    match made {
        StatusCode::NOT_MODIFIED => return headers,
        StatusCode::PARTIAL_CONTENT => match content {
            Content::Part(range) if entry.length().is_some() => {
                write(&mut headers, header::CONTENT_RANGE, &range.within(length));
            }
            // §14.4: an unknown complete length is an asterisk.
            Content::Part(range) => write(&mut headers, header::CONTENT_RANGE, &range.within_unknown()),
            Content::Open => {}
            // §15.3.7.2: each part has a `Content-Range`, and the message has none.
            Content::Multipart(multipart) => {
                headers.remove(header::CONTENT_RANGE);
                insert(&mut headers, header::CONTENT_TYPE, multipart.media_type());
            }
        },
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let range = ContentRange::new().text("bytes */").number(length);
            write(&mut headers, header::CONTENT_RANGE, &range);
        }
        _ => {}
    }
    // RFC 9110 §8.6: a 204 has no content, and so no `Content-Length`.
    if let (Some(length), true) = (content.length(), status != StatusCode::NO_CONTENT) {
        write(&mut headers, header::CONTENT_LENGTH, &Number::new().number(length));
    }
    headers
}

/// The fields that all answers of this kind from the entry have in common, and room for the others: each field that is
/// added would else move the whole map.
fn prepared(entry: &Entry, made: StatusCode) -> HeaderMap {
    let kept = match made {
        StatusCode::NOT_MODIFIED => &entry.prepared.not_modified,
        StatusCode::PARTIAL_CONTENT => &entry.prepared.part,
        StatusCode::RANGE_NOT_SATISFIABLE => return in_common(entry, made),
        _ => &entry.prepared.whole,
    };
    // The memo keeps the entry, and so many fields would take too much memory beside it.
    if entry.manifest.headers.len() > MOST_KEPT {
        return in_common(entry, made);
    }
    kept.get_or_init(|| in_common(entry, made)).clone()
}

fn in_common(entry: &Entry, made: StatusCode) -> HeaderMap {
    let stored = &entry.manifest.headers;
    let mut headers = match made {
        StatusCode::NOT_MODIFIED => without_content(stored, &NOT_MODIFIED_FIELDS),
        StatusCode::RANGE_NOT_SATISFIABLE => without_content(stored, &[header::DATE, header::VARY]),
        _ => stored.clone(),
    };
    headers.insert(header::AGE, ROOM);
    make_room(&mut headers);
    if made == StatusCode::NOT_MODIFIED {
        // RFC 9110 §15.4.5: a 304 has `Last-Modified` only if there is no `ETag` to update by.
        if !headers.contains_key(header::ETAG) {
            headers.extend(only(stored, &[header::LAST_MODIFIED]));
        }
        return headers;
    }
    // §14.2: ranges are defined only for a request that would get a 200 without them.
    if entry.manifest.status == StatusCode::OK {
        headers.insert(header::ACCEPT_RANGES, BYTES);
        // A body that is still coming may have no known length.
        if entry.pouring.is_none() {
            headers.insert(header::CONTENT_LENGTH, ROOM);
        }
    }
    if made == StatusCode::PARTIAL_CONTENT {
        // RFC 9530 §2: these fields describe the content of one message, and this message has other content.
        for name in &CONTENT_SUMS {
            headers.remove(name);
        }
        headers.insert(header::CONTENT_RANGE, ROOM);
    }
    headers
}

/// Sets a field to a value of digits and ASCII punctuation, which is always valid.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// Sets a field to a value of digits and ASCII punctuation, which is always valid.
fn write<const N: usize>(headers: &mut HeaderMap, name: HeaderName, value: &Short<N>) {
    if let Some(value) = value.value() {
        headers.insert(name, value);
    }
}

type Number = Short<MOST_DIGITS>;

/// The place of a value that each answer has and that is not the same in all.
const ROOM: HeaderValue = HeaderValue::from_static("");

/// The most fields of a response whose answers' common fields are kept.
const MOST_KEPT: usize = 64;

pub(crate) const BYTES: HeaderValue = HeaderValue::from_static("bytes");

const CONTENT_SUMS: [HeaderName; 2] =
    [HeaderName::from_static("content-digest"), HeaderName::from_static("content-md5")];

/// RFC 9110 §15.4.5: the fields of a 200 that a 304 must carry.
const NOT_MODIFIED_FIELDS: [HeaderName; 6] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::VARY,
];
