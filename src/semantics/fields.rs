//! Header fields: reading lists and single values, and removing fields.
//!
//! RFC 9110 §5 (fields), §7.6.1 (`Connection`); RFC 9111 §3.1 (storing header fields).

use std::time::{SystemTime, UNIX_EPOCH};

use http::{
    HeaderValue,
    header::{self, HeaderMap, HeaderName},
};

/// The one value of a field that may occur only once; `None` if it is absent, repeated or not visible ASCII.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then(|| value.trim_matches(is_whitespace))
}

/// Like [`single`], but in bytes that need not be ASCII: an entity tag may have others (RFC 9110 §8.8.3).
pub(crate) fn single_bytes<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.as_bytes();
    values.next().is_none().then(|| value.trim_ascii())
}

/// The value of a field that may occur only once; `None` if it is absent, or if its lines differ.
///
/// Equal lines count as one: a server and the gateway before it may each write the field.
pub(crate) fn agreed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter().map(|value| value.as_bytes().trim_ascii());
    let value = values.next()?;
    values.all(|other| other == value).then_some(value)
}

/// The members of a list field, over all its lines, without the empty ones (RFC 9110 §5.6.1).
///
/// Commas inside quoted strings do not split; a line that is not visible ASCII gives no members.
pub(crate) fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| split_outside_quotes(line, ','))
        .map(|member| member.trim_matches(is_whitespace))
        .filter(|member| !member.is_empty())
}

/// Whether every quoted string of the text is closed.
pub(crate) fn quotes_end(text: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for character in text.chars() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
    }
    !quoted
}

/// Splits at `separator`, but not inside a quoted string (RFC 9110 §5.6.4).
pub(crate) fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |character: char| {
        if escaped {
            escaped = false;
            return false;
        }
        match character {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return !quoted && character == separator,
        }
        false
    })
}

/// OWS: spaces and horizontal tabs (RFC 9110 §5.6.3).
pub(crate) fn is_whitespace(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

/// Reads a date in any of the three forms of RFC 9110 §5.6.7, in any case (RFC 9111 §4.2), and in GMT alone.
pub(crate) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let text = std::str::from_utf8(agreed(headers, name)?).ok()?;
    httpdate::parse_http_date(text).or_else(|_| httpdate::parse_http_date(&in_date_case(text))).ok()
}

/// Writes a time as a field value (RFC 9110 §5.6.7). Gives `None` for a time before 1970 or after 9999, which no field
/// can hold. RFC 9110 §6.6.1: a server without a clock sends no `Date`.
pub(crate) fn http_date(time: SystemTime) -> Option<HeaderValue> {
    let since = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
    let text = (since < YEAR_10000).then(|| httpdate::fmt_http_date(time))?;
    HeaderValue::try_from(text).ok()
}

/// Writes the names of days and months with one capital letter, as dates have them, and `GMT`.
fn in_date_case(text: &str) -> String {
    let lower = text.to_ascii_lowercase().replace("gmt", "GMT");
    let mut after_letter = false;
    let case = |character: char| {
        let first = !std::mem::replace(&mut after_letter, character.is_ascii_alphabetic());
        if first { character.to_ascii_uppercase() } else { character }
    };
    lower.chars().map(case).collect()
}

/// `type/subtype` of the `Content-Type`, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<&str> {
    let essence = headers.get(header::CONTENT_TYPE)?.to_str().ok()?.split(';').next()?;
    Some(essence.trim_matches(is_whitespace)).filter(|essence| !essence.is_empty())
}

/// The declared `Content-Length`: none, a number, or nonsense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeclaredLength {
    Unsaid,
    Bytes(u64),
    Invalid,
}

/// RFC 9110 §8.6: a list of one repeated number may be taken for that number; anything else is invalid.
pub(crate) fn declared_length(headers: &HeaderMap) -> DeclaredLength {
    let mut said = DeclaredLength::Unsaid;
    for line in headers.get_all(header::CONTENT_LENGTH) {
        for member in line.to_str().unwrap_or("?").split(',') {
            let member = member.trim_matches(is_whitespace);
            let number = match member.parse::<u64>() {
                Ok(number) if member.bytes().all(|byte| byte.is_ascii_digit()) => number,
                _ => return DeclaredLength::Invalid,
            };
            match said {
                DeclaredLength::Bytes(before) if before != number => return DeclaredLength::Invalid,
                _ => said = DeclaredLength::Bytes(number),
            }
        }
    }
    said
}

/// Leaves one line of `Content-Length` if the inner service repeats it. Returns false if the lines give no length.
///
/// RFC 9110 §8.6: a list of one repeated number is replaced by that number, or the message is rejected.
pub(crate) fn settle_length(headers: &mut HeaderMap) -> bool {
    match declared_length(headers) {
        DeclaredLength::Unsaid => true,
        DeclaredLength::Bytes(length) => {
            let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if !single(headers, &header::CONTENT_LENGTH).is_some_and(is_plain) {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
            true
        }
        DeclaredLength::Invalid => false,
    }
}

/// The values of these fields alone.
pub(crate) fn only(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let values =
        |name| headers.get_all(name).iter().map(move |value| (HeaderName::clone(name), value.clone()));
    names.iter().flat_map(values).collect()
}

/// These fields, and those that let a page of another origin see the answer at all.
pub(crate) fn without_content(stored: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut headers = only(stored, names);
    for (name, value) in stored {
        let is_cross_origin = ["access-control-", "cross-origin-", "timing-allow-origin"];
        if is_cross_origin.iter().any(|prefix| name.as_str().starts_with(prefix)) {
            headers.append(name, value.clone());
        }
    }
    headers
}

/// Removes the fields of one connection from a response: those that `Connection` lists, and those that always belong to
/// it.
///
/// RFC 9110 §7.6.1: a field for all recipients is never listed. If such a field is listed anyway, it stays: without it,
/// the stored response would be taken for something else.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let names = members(headers, &header::CONNECTION).filter_map(|name| name.parse().ok());
    let listed: Vec<HeaderName> = names.filter(|name| !is_indispensable(name)).collect();
    for name in listed.iter().chain(HOP_BY_HOP.iter()) {
        headers.remove(name);
    }
}

/// Whether a stored response needs the field. Without it, the bytes or the variants would be mistaken for others, or
/// the age for less.
pub(crate) fn is_indispensable(name: &HeaderName) -> bool {
    INDISPENSABLE.contains(name) || name.as_str().ends_with("cache-control")
}

/// Removes the fields that the `Connection` of a request lists, and the list itself. Such a field is for this hop: it
/// selects nothing and asks for nothing (RFC 9110 §7.6.1).
///
/// The whole list goes, with the members that cannot be read. The cache asks by fields of its own (`Range`,
/// `If-None-Match`), and no client may make the next hop remove them. A list that names no field stays.
pub(crate) fn remove_listed(request: &mut HeaderMap) {
    let lines = || request.get_all(header::CONNECTION).iter();
    if !has(request, &header::CONNECTION) || lines().all(names_no_field) {
        return;
    }
    let options = lines().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let listed: Vec<_> = options.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()).collect();
    for name in listed.iter().chain([&header::CONNECTION]) {
        request.remove(name);
    }
}

/// Whether the line says only how long the connection is to last, as nearly all clients do.
fn names_no_field(line: &HeaderValue) -> bool {
    ["keep-alive", "close"].iter().any(|option| line.as_bytes().eq_ignore_ascii_case(option.as_bytes()))
}

/// Removes the fields that could make the inner service answer with less than the whole representation.
///
/// RFC 9110 §13.1 and §14.2: conditions and ranges belong to one client; a stored response is for every client.
pub(crate) fn remove_conditions_and_ranges(headers: &mut HeaderMap) {
    for name in &CONDITIONS_AND_RANGES {
        headers.remove(name);
    }
}

/// Whether the request asks for less than the whole representation, or for none of it under some condition.
pub(crate) fn has_conditions_or_ranges(headers: &HeaderMap) -> bool {
    CONDITIONS_AND_RANGES.iter().any(|name| headers.contains_key(name))
}

/// Whether the request asks under some condition, its range aside.
pub(crate) fn has_conditions(headers: &HeaderMap) -> bool {
    CONDITIONS_AND_RANGES.iter().any(|name| *name != header::RANGE && headers.contains_key(name))
}

/// Whether the request has the field. This runs for each request. Requests have few fields, so comparing all of them
/// costs less than a hash.
pub(crate) fn has(request: &HeaderMap, name: &HeaderName) -> bool {
    request.keys().any(|named| named == name)
}

/// Whether a field of the request asks for another method.
///
/// HTTP knows no such fields, but some services heed them, on a GET too. The answer of such a service is not its answer
/// to a GET.
pub(crate) fn overrides_method(headers: &HeaderMap) -> bool {
    // This runs for each request. Requests have few fields, so looking at all of them costs less than looking for
    // three.
    headers.keys().any(|name| name.as_str().starts_with("x-") && METHOD_OVERRIDES.contains(name))
}

/// Whether the field is a condition or a range, which a fill leaves out.
pub(crate) fn is_condition_or_range(name: &HeaderName) -> bool {
    CONDITIONS_AND_RANGES.contains(name)
}

/// The fields of a response as they are stored: without hop-by-hop fields, without withheld fields, and without the
/// fields that every answer gets anew. A missing `Date` is added (RFC 9110 §6.6.1).
pub(crate) fn stored_fields(headers: &HeaderMap, withheld: &[HeaderName], received: SystemTime) -> HeaderMap {
    let mut stored = headers.clone();
    remove_hop_by_hop(&mut stored);
    for name in MADE_ANEW.iter().chain(withheld) {
        stored.remove(name);
    }
    if !stored.contains_key(header::DATE) {
        if let Some(date) = http_date(received) {
            stored.insert(header::DATE, date);
        }
    }
    stored
}

/// RFC 9110 §7.6.1, and the fields of a proxy (RFC 9111 §3.1).
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
];

const INDISPENSABLE: [HeaderName; 13] = [
    header::ACCEPT_RANGES,
    header::AGE,
    HeaderName::from_static("cache-status"),
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::TRANSFER_ENCODING,
    header::VARY,
];

const CONDITIONS_AND_RANGES: [HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

const METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
];

/// In seconds since 1970.
const YEAR_10000: u64 = 253_402_300_800;

const MADE_ANEW: [HeaderName; 3] = [header::ACCEPT_RANGES, header::CONTENT_LENGTH, header::CONTENT_RANGE];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A header map of these lines.
    pub(crate) fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn content_length_is_a_number_or_invalid() {
        for (lines, expected) in [
            (vec![], DeclaredLength::Unsaid),
            (vec!["0"], DeclaredLength::Bytes(0)),
            (vec!["42"], DeclaredLength::Bytes(42)),
            (vec!["42, 42"], DeclaredLength::Bytes(42)),
            (vec!["42", "42"], DeclaredLength::Bytes(42)),
            (vec!["42", "43"], DeclaredLength::Invalid),
            (vec!["42, 43"], DeclaredLength::Invalid),
            (vec!["+42"], DeclaredLength::Invalid),
            (vec!["-1"], DeclaredLength::Invalid),
            (vec![""], DeclaredLength::Invalid),
            (vec!["18446744073709551616"], DeclaredLength::Invalid),
        ] {
            let lines: Vec<_> = lines.into_iter().map(|value| ("content-length", value)).collect();
            assert_eq!(declared_length(&headers(&lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_repeated_length_becomes_one_and_lengths_that_differ_none() {
        for (lines, settled) in [
            (&[][..], Some(None)),
            (&["5"], Some(Some("5"))),
            (&["5, 5"], Some(Some("5"))),
            (&["5", "5"], Some(Some("5"))),
            (&["5", "05 ,5"], Some(Some("5"))),
            (&["5", "6"], None),
            (&["5, 6"], None),
            (&["5,"], None),
            (&["five"], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|value| ("content-length", *value)).collect();
            let mut headers = headers(&lines);
            let is_settled = settle_length(&mut headers);
            assert_eq!(is_settled, settled.is_some(), "{lines:?}");
            if let Some(settled) = settled {
                let left: Vec<_> = headers.get_all("content-length").iter().collect();
                assert_eq!(left, settled.into_iter().collect::<Vec<_>>(), "{lines:?}");
            }
        }
    }

    #[test]
    fn equal_lines_count_as_one() {
        for (lines, one) in [
            (&["\"a\""][..], Some("\"a\"")),
            (&["\"a\"", " \"a\" "], Some("\"a\"")),
            (&["\"a\"", "\"a\"", "\"a\""], Some("\"a\"")),
            (&["\"a\"", "\"b\""], None),
            (&["\"a\"", ""], None),
            (&[], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|value| ("etag", *value)).collect();
            let headers = headers(&lines);
            assert_eq!(agreed(&headers, &header::ETAG), one.map(str::as_bytes), "{lines:?}");
        }
    }

    #[test]
    fn a_list_spans_lines_and_keeps_quoted_commas() {
        let headers = headers(&[("vary", "a, ,b"), ("vary", " \"x,\\\"y\" ,\tc")]);
        let members: Vec<_> = members(&headers, &header::VARY).collect();
        assert_eq!(members, ["a", "b", "\"x,\\\"y\"", "c"]);
    }

    #[test]
    fn fields_listed_in_connection_are_removed_from_a_response() {
        let mut headers =
            headers(&[("connection", "close, X-Hop"), ("x-hop", "1"), ("keep-alive", "5"), ("x-end", "2")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, self::headers(&[("x-end", "2")]));
        let for_all =
            [("vary", "x-a"), ("cache-control", "max-age=5"), ("cdn-cache-control", "private"), ("age", "1")];
        let mut headers = self::headers(&for_all);
        headers.insert("connection", "Vary, cache-control, CDN-Cache-Control, age".parse().unwrap());
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, self::headers(&for_all));
    }

    #[test]
    fn fields_listed_in_connection_are_removed_from_a_request() {
        // RFC 9110 §7.6.1
        let fields = [("range", "bytes=0-1"), ("x-q", "a"), ("host", "h")];
        for (lines, left) in [
            (&[][..], &["range", "x-q", "host"][..]),
            (&["keep-alive"], &["range", "x-q", "host", "connection"]),
            (&["Close", "Keep-Alive"], &["range", "x-q", "host", "connection"]),
            (&["close, X-Q"], &["range", "host"]),
            (&["keep-alive", ", Range ,,"], &["x-q", "host"]),
            (&["if-none-match"], &["range", "x-q", "host"]),
            (&["\"x, range, y\""], &["x-q", "host"]),
            (&["\u{e9}, range, host"], &["x-q"]),
            (&["a b"], &["range", "x-q", "host"]),
        ] {
            let mut request = headers(&fields);
            for line in lines {
                request.append("connection", HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            remove_listed(&mut request);
            assert_eq!(request.keys().collect::<Vec<_>>().len(), left.len(), "{lines:?}: {request:?}");
            assert!(left.iter().all(|name| request.contains_key(*name)), "{lines:?}: {request:?}");
        }
    }

    #[test]
    fn a_date_is_read_in_any_case() {
        // RFC 9111 §4.2: a cache should match dates case-insensitively, and no zone but GMT.
        let read = |text| date(&headers(&[("expires", text)]), &header::EXPIRES);
        let expected = httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").ok();
        for text in
            ["SUN, 22 nov 2026 10:00:00 gmt", "sunday, 22-NOV-26 10:00:00 Gmt", "sUN nOV 22 10:00:00 2026"]
        {
            assert_eq!(read(text), expected, "{text}");
        }
        for text in ["Sun, 22 Nov 2026 10:00:00 UTC", "Sun, 22 Nov 2026 10:00:00 CEST", "22 Nov", "0", ""] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_that_no_field_can_hold_is_not_written() {
        use std::time::Duration;
        let after = |seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap();
        for (time, expected) in [
            (UNIX_EPOCH, Some("Thu, 01 Jan 1970 00:00:00 GMT")),
            (UNIX_EPOCH - Duration::from_nanos(1), None),
            (UNIX_EPOCH - Duration::from_secs(1 << 40), None),
            (after(253_402_300_799), Some("Fri, 31 Dec 9999 23:59:59 GMT")),
            (after(253_402_300_800), None),
            (after(i64::MAX.unsigned_abs()), None),
        ] {
            assert_eq!(http_date(time), expected.map(HeaderValue::from_static), "{time:?}");
        }
    }

    #[test]
    fn a_media_type_is_without_its_parameters() {
        assert_eq!(
            media_type(&headers(&[("content-type", " video/mp4 ; codecs=\"avc1\"")])),
            Some("video/mp4")
        );
        assert_eq!(media_type(&headers(&[("content-type", ";q")])), None);
        assert_eq!(media_type(&headers(&[])), None);
    }
}
