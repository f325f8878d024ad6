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
    semantics::fields::{only, without_content},
};

/// The header fields of an answer with `status`, all but `Cache-Status`.
pub(crate) fn fields(entry: &Entry, status: StatusCode, content: &Content, now: SystemTime) -> HeaderMap {
    let stored = &entry.manifest.headers;
    let length = entry.layout().length;
    let stored_status = entry.manifest.status;
    // A stored 416 of the inner service is served as it came.
    let made = if status == stored_status { StatusCode::OK } else { status };
    let mut headers = match made {
        StatusCode::NOT_MODIFIED => without_content(stored, &NOT_MODIFIED_FIELDS),
        StatusCode::RANGE_NOT_SATISFIABLE => without_content(stored, &[header::DATE, header::VARY]),
        _ => stored.clone(),
    };
    // RFC 9110 §15.4.5: a 304 has `Last-Modified` only if there is no `ETag` to update by.
    if status == StatusCode::NOT_MODIFIED && !headers.contains_key(header::ETAG) {
        headers.extend(only(stored, &[header::LAST_MODIFIED]));
    }
    headers.insert(header::AGE, number(entry.freshness.age(now).as_secs()));
    match made {
        StatusCode::NOT_MODIFIED => return headers,
        StatusCode::PARTIAL_CONTENT => {
            // RFC 9530 §2: these fields describe the content of one message, and this message has other content.
            for name in &CONTENT_SUMS {
                headers.remove(name);
            }
            match content {
                Content::Part(range) if entry.length().is_some() => {
                    insert(&mut headers, header::CONTENT_RANGE, range.within(length));
                }
                // §14.4: an unknown complete length is an asterisk.
                Content::Part(range) => insert(&mut headers, header::CONTENT_RANGE, range.within_unknown()),
                Content::Open => {}
                // §15.3.7.2: each part has a `Content-Range`, and the message has none.
                Content::Multipart(multipart) => {
                    insert(&mut headers, header::CONTENT_TYPE, multipart.media_type());
                }
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            insert(&mut headers, header::CONTENT_RANGE, format!("bytes */{length}"));
        }
        _ => {}
    }
    // RFC 9110 §8.6: a 204 has no content, and so no `Content-Length`.
    if let (Some(length), true) = (content.length(), status != StatusCode::NO_CONTENT) {
        headers.insert(header::CONTENT_LENGTH, number(length));
    }
    // §14.2: ranges are defined only for a request that would get a 200 without them.
    if stored_status == StatusCode::OK {
        headers.insert(header::ACCEPT_RANGES, BYTES);
    }
    headers
}

/// Sets a field to a value of digits and ASCII punctuation, which is always valid.
pub(crate) fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// A number as a value. `HeaderValue::from` allocates twice, and each hit has two numbers.
fn number(number: u64) -> HeaderValue {
    let (mut digits, mut rest) = ([b'0'; LONGEST_NUMBER], number);
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(rest % 10).unwrap_or_default();
        (rest, length) = (rest / 10, length + 1);
        if rest == 0 {
            break;
        }
    }
    let written = digits.get(LONGEST_NUMBER - length..);
    // Digits are a valid value.
    written
        .and_then(|digits| HeaderValue::from_bytes(digits).ok())
        .unwrap_or_else(|| HeaderValue::from(number))
}

/// The digits of the largest `u64`.
const LONGEST_NUMBER: usize = 20;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_as_the_library_writes_it() {
        let tens = (0..20).map(|power| 10_u64.saturating_pow(power));
        for value in tens.flat_map(|ten| [ten - 1, ten, ten + 1]).chain([u64::MAX]) {
            assert_eq!(number(value), HeaderValue::from(value));
        }
    }
}
