//! The result of a request's conditions, if all of them are well formed.
//!
//! RFC 9110 §13.1, §13.2.2.

use std::time::SystemTime;

use http::{
    HeaderValue,
    header::{self, HeaderMap, HeaderName},
};

/// The result of the conditions of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// 412 (Precondition Failed).
    Failed,
    Holds,
    NotModified,
}

/// Compares the conditions with a representation. `None` if one is not well formed, and may mean anything.
pub(super) fn judged(
    request: &HeaderMap,
    tag: Option<&HeaderValue>,
    modified: Option<&HeaderValue>,
    sent: Option<&HeaderValue>,
) -> Option<Judged> {
    let tag = tag.and_then(|tag| Tag::read(tag.to_str().ok()?));
    if request.contains_key(header::IF_MATCH) {
        let named = named(request, &header::IF_MATCH)?;
        if !named.iter().any(|one| one.is(tag, strongly_equal)) {
            return Some(Judged::Failed);
        }
    } else if request.contains_key(header::IF_UNMODIFIED_SINCE) {
        let since = only_date(request, &header::IF_UNMODIFIED_SINCE)?;
        if modified.is_some() && read_date(modified?)? > since {
            return Some(Judged::Failed);
        }
    }
    if request.contains_key(header::IF_NONE_MATCH) {
        let named = named(request, &header::IF_NONE_MATCH)?;
        let is_named = named.iter().any(|one| one.is(tag, weakly_equal));
        return Some(if is_named { Judged::NotModified } else { Judged::Holds });
    }
    if request.contains_key(header::IF_MODIFIED_SINCE) {
        let since = only_date(request, &header::IF_MODIFIED_SINCE)?;
        let is_modified = read_date(modified.or(sent)?)? > since;
        return Some(if is_modified { Judged::Holds } else { Judged::NotModified });
    }
    Some(Judged::Holds)
}

/// §13.1.5: whether a 206 may be the answer to this `If-Range`, if there is one.
pub(super) fn holds_if_range(
    request: &HeaderMap,
    tag: Option<&HeaderValue>,
    modified: Option<&HeaderValue>,
) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(_), Some(_)) => false,
        (Some(line), None) if line.as_bytes().ends_with(b"\"") => {
            Some(line) == tag && line.as_bytes().starts_with(b"\"")
        }
        (Some(line), None) => Some(line) == modified,
    }
}

/// A member of a list of tags.
#[derive(Clone, Copy)]
enum Named<'a> {
    Any,
    One(Tag<'a>),
}

impl Named<'_> {
    fn is(self, tag: Option<Tag<'_>>, equal: fn(Tag<'_>, Tag<'_>) -> bool) -> bool {
        match (self, tag) {
            (Self::Any, _) => true,
            (Self::One(one), Some(tag)) => equal(one, tag),
            (Self::One(_), None) => false,
        }
    }
}

#[derive(Clone, Copy)]
struct Tag<'a> {
    is_weak: bool,
    opaque: &'a str,
}

impl<'a> Tag<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (tag, rest) = Self::first(text)?;
        rest.is_empty().then_some(tag)
    }

    /// The tag that a text begins with, and the text after it.
    fn first(text: &'a str) -> Option<(Self, &'a str)> {
        let (is_weak, quoted) = text.strip_prefix("W/").map_or((false, text), |quoted| (true, quoted));
        let (opaque, rest) = quoted.strip_prefix('"')?.split_once('"')?;
        opaque.bytes().all(|byte| byte.is_ascii_graphic()).then_some((Self { is_weak, opaque }, rest))
    }
}

fn strongly_equal(one: Tag<'_>, other: Tag<'_>) -> bool {
    !one.is_weak && !other.is_weak && one.opaque == other.opaque
}

fn weakly_equal(one: Tag<'_>, other: Tag<'_>) -> bool {
    one.opaque == other.opaque
}

/// The tags that a field lists over all its lines, or `None` if it is not a list of tags.
fn named<'a>(request: &'a HeaderMap, name: &HeaderName) -> Option<Vec<Named<'a>>> {
    let mut named = Vec::new();
    for line in request.get_all(name) {
        let mut rest = line.to_str().ok()?;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (one, after) = match rest.strip_prefix('*') {
                Some(after) => (Named::Any, after),
                None => Tag::first(rest).map(|(tag, after)| (Named::One(tag), after))?,
            };
            named.push(one);
            rest = after.trim_start_matches([' ', '\t']);
            if !rest.is_empty() && !rest.starts_with(',') {
                return None;
            }
        }
    }
    Some(named)
}

fn only_date(request: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = request.get_all(name).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    read_date(line)
}

fn read_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}

/// The fields by which a request may get something else than the whole.
pub(super) const CONDITIONS: [HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// RFC 9110 §15.4.5: the fields of a 200 that a 304 shows.
pub(super) const SHOWN: [HeaderName; 6] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::VARY,
];
