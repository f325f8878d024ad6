//! Reads the body of a `multipart/byteranges`, as strictly as the layer must write it.
//!
//! RFC 9110 §14.6, RFC 2046 §5.1.1.

use std::ops::Range;

/// One part: its position, and its bytes.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) fields: Vec<(String, &'a str)>,
    pub(super) place: Range<u64>,
    pub(super) total: u64,
    pub(super) data: &'a [u8],
}

/// The parts of `body`, or the fault in it.
pub(super) fn parts<'a>(content_type: &str, body: &'a [u8]) -> Result<Vec<Part<'a>>, &'static str> {
    let (essence, parameter) = content_type.split_once(';').ok_or("no boundary")?;
    let boundary = parameter.trim().strip_prefix("boundary=").ok_or("no boundary")?.trim_matches('"');
    if !essence.trim().eq_ignore_ascii_case("multipart/byteranges") {
        return Err("not multipart/byteranges");
    }
    if boundary.is_empty() || boundary.len() > 70 {
        return Err("a boundary has from 1 to 70 characters");
    }
    let delimiter = format!("--{boundary}");
    let mut rest = body.strip_prefix(b"\r\n").unwrap_or(body);
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(delimiter.as_bytes()).ok_or("a delimiter is missing")?;
        if let Some(epilogue) = rest.strip_prefix(b"--") {
            let ended = epilogue.is_empty() || epilogue == b"\r\n";
            return if ended { Ok(parts) } else { Err("bytes follow the end") };
        }
        rest = rest.strip_prefix(b"\r\n").ok_or("a delimiter line goes on")?;
        let (part, after) = part(rest)?;
        if part.data.windows(delimiter.len()).any(|window| window == delimiter.as_bytes()) {
            return Err("a part contains the boundary");
        }
        parts.push(part);
        rest = after.strip_prefix(b"\r\n").ok_or("a part is not as long as its Content-Range")?;
    }
}

fn part(mut rest: &[u8]) -> Result<(Part<'_>, &[u8]), &'static str> {
    let mut fields = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").ok_or("a field line does not end")?;
        let (line, after) = rest.split_at(end);
        rest = after.get(2..).unwrap_or_default();
        if line.is_empty() {
            break;
        }
        let line = std::str::from_utf8(line).map_err(|_| "a field line is not text")?;
        let (name, value) = line.split_once(':').ok_or("a field line has no colon")?;
        fields.push((name.to_ascii_lowercase(), value.trim()));
    }
    let mut ranges = fields.iter().filter(|(name, _)| name == "content-range");
    let (Some((_, range)), None) = (ranges.next(), ranges.next()) else {
        return Err("a part must have exactly one Content-Range");
    };
    let (place, total) = content_range(range).ok_or("a Content-Range is invalid")?;
    let length = usize::try_from(place.end - place.start).map_err(|_| "a part is too long")?;
    let (data, rest) = rest.split_at_checked(length).ok_or("a part is shorter than its Content-Range")?;
    Ok((Part { fields, place, total, data }, rest))
}

/// RFC 9110 §14.4: the bytes that a `Content-Range` names, and the complete length. `None` if it is invalid.
pub(super) fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (positions, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = positions.split_once('-')?;
    let [first, last, total] = [first, last, total].map(number);
    let (first, last, total) = (first?, last?, total?);
    (first <= last && last < total).then_some((first..last + 1, total))
}

/// The bytes at `place`, as far as they exist.
pub(super) fn slice<'a>(whole: &'a [u8], place: &Range<u64>) -> &'a [u8] {
    let within = |position| usize::try_from(position).unwrap_or(usize::MAX).min(whole.len());
    whole.get(within(place.start)..within(place.end)).unwrap_or_default()
}

/// Reads digits alone, without leading zeros.
pub(super) fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/byteranges; boundary=b";

    #[test]
    fn a_well_made_body_is_taken_apart() {
        let body = "--b\r\nContent-Type: video/mp4\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n\
                    --b\r\nContent-Range: bytes 8-8/9\r\n\r\ni\r\n--b--\r\n";
        let parts = parts(TYPE, body.as_bytes()).unwrap();
        let read: Vec<_> = parts.iter().map(|part| (part.place.clone(), part.total, part.data)).collect();
        assert_eq!(read, [(0..2, 9, &b"ab"[..]), (8..9, 9, &b"i"[..])]);
        assert_eq!(parts[0].fields[0], ("content-type".to_owned(), "video/mp4"));
    }

    #[test]
    fn an_ill_made_body_is_refused() {
        for body in [
            "",
            "--b\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n",
            "--b\r\nContent-Range: bytes 0-1/9\r\n\r\nabc\r\n--b--",
            "--b\r\nContent-Range: bytes 0-1/9\r\n\r\na\r\n--b--",
            "--b\r\nContent-Range: bytes 0-9/9\r\n\r\nabcdefghij\r\n--b--",
            "--b\r\nContent-Range: bytes 0-1/9\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n--b--",
            "--b\r\n\r\nab\r\n--b--",
            "--b\r\nContent-Range: bytes 0-2/9\r\n\r\n--b\r\n--b--",
            "--b\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n--b--more",
        ] {
            assert!(parts(TYPE, body.as_bytes()).is_err(), "{body}");
        }
    }
}
