//! Whether a signature covers the fields of a request that the cache would change to ask for more or for less.
//!
//! RFC 9421 (HTTP Message Signatures) and the draft before it; the signatures of S3 (version 4) and of Azure Storage
//! (Shared Key).

use http::{
    header::{self, HeaderName, HeaderValue},
    request,
};

/// Whether the request is refused if the cache changes, removes or adds one of the fields in [`CHANGED`]. Such a request
/// can only be forwarded as it is.
pub(crate) fn is_sealed(request: &request::Parts) -> bool {
    let lines = |name: HeaderName| request.headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    lines(header::AUTHORIZATION).any(is_sealed_by)
        || lines(SIGNATURE_INPUT).any(|line| is_any(line, |byte| byte == b'"'))
        || request.uri.query().is_some_and(is_presigned)
}

/// Whether the credentials have a signature of such a field.
fn is_sealed_by(credentials: &[u8]) -> bool {
    let scheme = credentials.split(|byte| *byte == b' ').next().unwrap_or_default();
    // The string to sign has these fields even if they are empty.
    if scheme.eq_ignore_ascii_case(b"SharedKey") {
        return true;
    }
    let is_s3 = scheme.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"AWS4-"));
    let list = if is_s3 {
        after(credentials, b"SignedHeaders=")
    } else if scheme.eq_ignore_ascii_case(b"Signature") {
        after(credentials, b"headers=\"")
    } else {
        None
    };
    list.is_some_and(|list| is_any(list, |byte| matches!(byte, b';' | b' ' | b',' | b'"')))
}

/// Whether the query has a signature of such a field.
fn is_presigned(query: &str) -> bool {
    query.split('&').any(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else {
            return false;
        };
        let is_list = name.eq_ignore_ascii_case("X-Amz-SignedHeaders");
        is_list
            && value
                .split("%3B")
                .flat_map(|part| part.split("%3b"))
                .any(|part| is_any(part.as_bytes(), |byte| byte == b';'))
    })
}

/// Whether one of the names in the list, divided by such bytes, is that of a field in [`CHANGED`].
fn is_any(list: &[u8], divides: impl Fn(u8) -> bool) -> bool {
    list.split(|byte| divides(*byte))
        .any(|name| CHANGED.iter().any(|changed| name.eq_ignore_ascii_case(changed.as_str().as_bytes())))
}

fn after<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(mark.len()).position(|window| window.eq_ignore_ascii_case(mark))?;
    text.get(at + mark.len()..)
}

/// The fields that the cache changes, removes or adds when it asks on behalf of a client.
const CHANGED: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::PRAGMA,
    header::RANGE,
];

const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn a_request_is_sealed_if_its_signature_covers_a_field_that_the_cache_changes() {
        let s3 = |fields: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=A/20261130/eu/s3/aws4_request, SignedHeaders={fields}, Signature=0a"
            )
        };
        for (uri, field, value, expected) in [
            ("/a", "authorization", s3("host;range;x-amz-date"), true),
            ("/a", "authorization", s3("host;if-none-match"), true),
            ("/a", "authorization", s3("host;x-amz-date"), false),
            ("/a", "authorization", s3("host;x-range"), false),
            ("/a", "authorization", "SharedKey account:c2ln".to_owned(), true),
            ("/a", "authorization", "SharedKeyLite account:c2ln".to_owned(), false),
            ("/a", "authorization", "Bearer range".to_owned(), false),
            (
                "/a",
                "authorization",
                r#"Signature keyId="k",headers="(request-target) range",signature="s""#.to_owned(),
                true,
            ),
            ("/a", "authorization", r#"Signature keyId="range",headers="host date""#.to_owned(), false),
            ("/a", "signature-input", r#"sig1=("@method" "range");created=1;keyid="k""#.to_owned(), true),
            ("/a", "signature-input", r#"sig1=("@method" "@path");created=1;keyid="k""#.to_owned(), false),
            ("/a?X-Amz-SignedHeaders=host%3Brange&X-Amz-Signature=0", "x-a", String::new(), true),
            ("/a?X-Amz-SignedHeaders=host;if-range", "x-a", String::new(), true),
            ("/a?X-Amz-SignedHeaders=host&X-Amz-Signature=0", "x-a", String::new(), false),
            ("/a?range=1", "x-a", String::new(), false),
        ] {
            let request = Request::get(uri).header(field, &value).body(()).unwrap().into_parts().0;
            assert_eq!(is_sealed(&request), expected, "{uri} {value}");
        }
    }
}
