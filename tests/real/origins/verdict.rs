//! Whether an answer is no worse than the direct one.

use std::ops::Range;

use bytes::Bytes;
use http::{
    Method, StatusCode,
    header::{self, HeaderName},
};

use crate::origins::asking::{Answer, Ask};

/// The answer that the RFCs want.
#[derive(Clone, Debug)]
pub(crate) enum Want {
    Whole,
    Part(Range<usize>),
    Parts(Vec<Range<usize>>),
    Unmodified,
    Unsatisfiable,
    /// The whole, in a coding or without: a client that takes a coding takes none, too, and a server may say by a 304
    /// that the stored bytes will do.
    Coded,
    /// The server knows.
    AsDirect,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    AsDirect,
    /// The direct answer is not the one that the RFCs want, and this one is.
    Better,
}

/// All that an answer is judged by.
pub(crate) struct Case<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) file: &'a Bytes,
    pub(crate) want: &'a Want,
    /// The direct answer to this request, and to the one for the whole file.
    pub(crate) direct: &'a Result<Answer, String>,
    pub(crate) plain: &'a Answer,
    /// A fill under way answers several ranges by the whole if the cache gets no parts: see docs/limits.md.
    pub(crate) takes_sets_for_the_whole: bool,
}

impl Case<'_> {
    /// Returns the reason if the answer is worse.
    pub(crate) fn judge(&self, ours: &Answer) -> Result<Verdict, String> {
        let is_as_direct = self.is_as_direct(ours);
        if is_as_direct.is_ok() {
            return Ok(Verdict::AsDirect);
        }
        // An answer with the direct status has no excuse for other fields or bytes, if the direct one is right.
        if self.direct.as_ref().is_ok_and(|direct| direct.status == ours.status) && self.is_direct_wanted() {
            return is_as_direct.map(|()| Verdict::AsDirect);
        }
        // RFC 9110 §14.2: a server may ignore a Range.
        let may_ignore_ranges = self.takes_sets_for_the_whole || !self.is_direct_wanted();
        let is_whole = || Self { want: &Want::Whole, ..*self }.is_wanted(ours);
        let is_right = self.is_wanted(ours);
        let is_right = is_right.or_else(|reason| if may_ignore_ranges { is_whole() } else { Err(reason) });
        is_right.and_then(|()| self.describes_the_file(ours)).map(|()| Verdict::Better)
    }

    fn is_direct_wanted(&self) -> bool {
        self.direct.as_ref().is_ok_and(|direct| self.is_wanted(direct).is_ok())
    }

    fn is_as_direct(&self, ours: &Answer) -> Result<(), String> {
        let direct = self.direct.as_ref().map_err(Clone::clone)?;
        if ours.status != direct.status {
            return Err(format!("{} in place of {}", ours.status, direct.status));
        }
        if let (Ok(direct), Ok(ours)) = (parts(direct, self.file), parts(ours, self.file)) {
            return if direct == ours {
                Ok(())
            } else {
                Err(format!("the parts {ours:?} in place of {direct:?}"))
            };
        }
        // RFC 9110 §15.4.5 and §15.5.17 name these. Other fields of such answers say nothing of the file.
        let matters = |name: &&str| match ours.status {
            StatusCode::NOT_MODIFIED => {
                ["cache-control", "content-location", "etag", "expires", "vary"].contains(name)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => *name == "content-range",
            _ => !OWN_TO_A_MESSAGE.contains(name),
        };
        for name in direct.fields.keys().map(HeaderName::as_str).filter(matters) {
            // A server may mislabel a part.
            if name != "content-type" || ours.field(name) != self.plain.field(name) {
                same_field(name, direct, ours)?;
            }
        }
        if direct.body != ours.body && ours.status != StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(format!("{} in place of {}", about(&ours.body), about(&direct.body)));
        }
        Ok(())
    }

    fn is_wanted(&self, answer: &Answer) -> Result<(), String> {
        let length = self.file.len();
        let (status, range, content_range) = match self.want {
            Want::Whole => (StatusCode::OK, 0..length, None),
            Want::Part(range) => {
                let field = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                (StatusCode::PARTIAL_CONTENT, range.clone(), Some(field))
            }
            Want::Parts(ranges) => {
                let parts = parts(answer, self.file)?;
                return if parts == *ranges { Ok(()) } else { Err(format!("the parts {parts:?}")) };
            }
            Want::Unmodified => (StatusCode::NOT_MODIFIED, 0..0, None),
            Want::Unsatisfiable => {
                let field = answer.field(header::CONTENT_RANGE);
                let is_right = answer.status == StatusCode::RANGE_NOT_SATISFIABLE
                    && field.as_ref().is_none_or(|field| *field == format!("bytes */{length}"));
                return if is_right { Ok(()) } else { Err(format!("{} with {field:?}", answer.status)) };
            }
            Want::Coded if !answer.fields.contains_key(header::CONTENT_ENCODING) => {
                (StatusCode::OK, 0..length, None)
            }
            Want::AsDirect | Want::Coded => return Err(format!("{} and not as direct", answer.status)),
        };
        let content_length = answer.field(header::CONTENT_LENGTH);
        let body =
            if self.ask.method == Method::HEAD { Bytes::new() } else { self.file.slice(range.clone()) };
        if answer.status != status {
            return Err(format!("{} and not {status}", answer.status));
        }
        if answer.field(header::CONTENT_RANGE) != content_range {
            return Err(format!("Content-Range: {:?}", answer.field(header::CONTENT_RANGE)));
        }
        if answer.body != body {
            return Err(format!("{} that are not the file's", about(&answer.body)));
        }
        match content_length {
            Some(said) if status != StatusCode::NOT_MODIFIED && said != range.len().to_string() => {
                Err(format!("Content-Length: {said}"))
            }
            _ => Ok(()),
        }
    }

    /// Whether an answer with another status than the direct one has the fields of the file.
    fn describes_the_file(&self, ours: &Answer) -> Result<(), String> {
        let names: &[_] = match ours.status {
            StatusCode::OK if matches!(self.want, Want::Coded) => &["content-type", "last-modified"],
            StatusCode::OK => &["content-type", "content-encoding", "etag", "last-modified", "cache-control"],
            StatusCode::PARTIAL_CONTENT if matches!(self.want, Want::Parts(_)) => &["etag", "last-modified"],
            StatusCode::PARTIAL_CONTENT => &["content-type", "content-encoding", "etag", "last-modified"],
            StatusCode::NOT_MODIFIED => &["etag"],
            _ => &[],
        };
        names
            .iter()
            .filter(|name| self.plain.fields.contains_key(**name))
            .try_for_each(|name| same_field(name, self.plain, ours))
    }
}

fn same_field(name: &str, direct: &Answer, ours: &Answer) -> Result<(), String> {
    let (direct, ours) = (direct.field(name), ours.field(name));
    // The layer says one set of `Vary` in one line.
    if direct == ours {
        return Ok(());
    }
    Err(format!("{name}: {ours:?} in place of {direct:?}"))
}

/// The places in the file of the parts of a multipart answer, if each of them is true.
pub(crate) fn parts(answer: &Answer, file: &Bytes) -> Result<Vec<Range<usize>>, String> {
    let kind = answer.field(header::CONTENT_TYPE).unwrap_or_default();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .ok_or(format!("{} with {kind}", answer.status))?;
    let boundary = boundary.trim_matches('"');
    let (mut rest, mut parts) = (&answer.body[..], Vec::new());
    loop {
        let line;
        (line, rest) = line_of(rest).ok_or("a multipart body that breaks off")?;
        if line.is_empty() {
            continue;
        }
        match line.strip_prefix("--").and_then(|line| line.strip_prefix(boundary)).map(str::trim_end) {
            Some("--") => return Ok(parts),
            Some("") => {}
            _ => return Err(format!("{line:?} in place of a boundary")),
        }
        let mut place = None;
        loop {
            let line;
            (line, rest) = line_of(rest).ok_or("a part that breaks off")?;
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ") {
                if name.eq_ignore_ascii_case("content-range") {
                    place = range_of(value, file.len());
                }
            }
        }
        let place = place.ok_or("a part without a Content-Range of the file")?;
        if !rest.starts_with(&file[place.clone()]) {
            return Err(format!("the part {place:?} is not the file's"));
        }
        rest = &rest[place.len()..];
        parts.push(place);
    }
}

/// The first line, and the bytes after it.
fn line_of(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 2..]))
}

fn range_of(value: &str, length: usize) -> Option<Range<usize>> {
    let (range, of) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = first.parse().ok()?..last.parse::<usize>().ok()? + 1;
    (of.parse() == Ok(length) && range.end <= length && range.start < range.end).then_some(range)
}

fn about(body: &Bytes) -> String {
    format!("{} bytes ({:02x?}…)", body.len(), &body[..body.len().min(4)])
}

/// Fields that are no part of what the file is.
const OWN_TO_A_MESSAGE: [&str; 9] = [
    "accept-ranges",
    "connection",
    "date",
    "host",
    "keep-alive",
    "server",
    "transfer-encoding",
    "x-amz-request-id",
    "x-amz-id-2",
];
