//! The parts that a cache asks for on its own, and the validators that bind them.
//!
//! RFC 9110 §13.1.5 (`If-Range`), §14.4 (`Content-Range`), §15.3.7 (206); RFC 9111 §3.3, §3.4 (combining parts).

use std::{ops::Range, time::UNIX_EPOCH};

use http::{
    HeaderValue, Method, StatusCode,
    header::{self, HeaderMap, HeaderName},
};
use tower_video_cache::Fill;

use super::{
    asked::Asked,
    control::Control,
    keys::Target,
    lineage::end_to_end,
    multipart::number,
    origin::{Call, World},
    script::{Length, Settings, date},
    verdict::length,
};

impl Call {
    /// The bytes that a 206 says it holds, and the length of the whole, if the fields agree.
    pub(super) fn part(&self) -> Option<(Range<u64>, u64)> {
        let said = one(&self.headers, &header::CONTENT_RANGE)?;
        let (unit, said) = said.split_once(' ')?;
        let (positions, total) = said.split_once('/')?;
        let (first, last) = positions.split_once('-')?;
        let (first, last, total) = (digits(first)?, digits(last)?, digits(total)?);
        let is_valid = unit.eq_ignore_ascii_case("bytes") && first <= last && last < total;
        let place = first..last.checked_add(1)?;
        let mut lengths = self.headers.get_all(header::CONTENT_LENGTH).iter();
        let agrees =
            lengths.all(|said| said.to_str().is_ok_and(|said| agrees(said, place.end - place.start)));
        (self.status == StatusCode::PARTIAL_CONTENT && is_valid && agrees).then_some((place, total))
    }

    /// The length of the representation, by this answer.
    pub(super) fn total(&self) -> u64 {
        let is_wrong = matches!(self.answer.length, Length::Longer | Length::Shorter);
        let said = one(&self.headers, &header::CONTENT_LENGTH).filter(|_| is_wrong).and_then(number);
        let said = said.filter(|_| self.request.method == Method::GET);
        self.part().map(|(_, total)| total).or(said).unwrap_or_else(|| length(&self.whole))
    }

    /// Whether the cache knows the length of the representation before its end.
    pub(super) fn tells_length(&self) -> bool {
        self.answer.length != Length::Absent || self.answer.exact && !self.is_broken()
    }

    /// The validators that bind parts to each other, if there are such.
    pub(super) fn binding(&self) -> Option<Binding> {
        let is_whole = self.status == StatusCode::OK;
        if self.request.method != Method::GET || !is_whole && self.part().is_none() {
            return None;
        }
        let headers = end_to_end(&self.headers);
        let tag = headers.get(header::ETAG).cloned();
        if let Some(tag) = tag.as_ref().filter(|tag| tag.as_bytes().starts_with(b"\"")) {
            return Some(Binding { asked_by: header::IF_RANGE, validator: tag.clone(), weak_tag: None });
        }
        let is_weak = |tag: &HeaderValue| tag.as_bytes().starts_with(b"W/\"");
        if tag.as_ref().is_some_and(|tag| !is_weak(tag) || headers.contains_key(header::CONTENT_ENCODING)) {
            return None;
        }
        let asked_by = if tag.is_some() { header::IF_UNMODIFIED_SINCE } else { header::IF_RANGE };
        let modified = headers.get(header::LAST_MODIFIED)?;
        let received = date(self.at);
        let sent = match headers.get(header::DATE) {
            Some(sent) => sent.to_str().ok()?,
            None => &received,
        };
        let seconds = |date: &str| {
            let date = httpdate::parse_http_date(date).ok()?;
            date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
        };
        let is_strong = seconds(sent)?.checked_sub(seconds(modified.to_str().ok()?)?)? >= 60;
        is_strong.then(|| Binding { asked_by, validator: modified.clone(), weak_tag: tag })
    }

    /// Whether an earlier answer for this target has a validator that binds parts, and this answer has it, too, whatever its
    /// own `Date` says (RFC 9110 §8.8.2.2: a validator is strong by the answer that it is stored with).
    pub(super) fn is_bound_by_an_earlier(&self, world: &World) -> bool {
        let headers = end_to_end(&self.headers);
        let (tag, date) = (headers.get(header::ETAG), headers.get(header::LAST_MODIFIED));
        let has = |binding: &Binding| {
            let is_dated = tag == binding.weak_tag.as_ref() && date == Some(&binding.validator);
            is_dated || binding.weak_tag.is_none() && tag == Some(&binding.validator)
        };
        let mut before = world.calls.iter().take(self.serial);
        before.any(|before| {
            Target::of(&before.request) == Target::of(&self.request)
                && before.total() == self.total()
                && before.binding().is_some_and(|binding| has(&binding))
        })
    }

    /// Whether a further part was asked for and did not come.
    pub(super) fn denies_a_part(&self, world: &World) -> bool {
        let asked = positions(&self.request.headers);
        let came = self.part().map(|(place, _)| place);
        let as_asked = came.zip(asked).is_some_and(|(place, (first, last))| {
            place.start == first && last.is_none_or(|last| place.end == last.saturating_add(1))
        });
        let mut bound = world.calls.iter().take(self.serial).filter(|call| call.binding() == self.binding());
        let coding = |call: &Self| -> Vec<_> {
            call.headers.get_all(header::CONTENT_ENCODING).iter().cloned().collect()
        };
        let is_other = bound.any(|call| call.total() != self.total() || coding(call) != coding(self));
        let is_of_the_asked =
            self.binding().is_some_and(|binding| binding.is_asked_for(&self.request.headers));
        is_further(&self.request.headers) && (!as_asked || is_other || !is_of_the_asked)
    }

    /// Whether a further part came for one client alone, or must not be stored, so that nothing continues with it.
    pub(super) fn withholds_a_part(&self, settings: &Settings) -> bool {
        let control = Control::of_response(&self.headers, settings.targeted);
        let asked = &self.request.headers;
        let is_shared = ["public", "must-revalidate", "s-maxage"].iter().any(|name| control.has(name));
        let varies = self.headers.get_all(header::VARY).iter().any(|line| line.as_bytes().contains(&b'*'));
        is_further(asked)
            && (control.is_unclear
                || control.has("no-store")
                || control.has_whole("private")
                || varies
                || asked.contains_key(header::AUTHORIZATION) && !is_shared)
    }
}

/// The validators of an answer that bind further parts to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    /// The field by which the cache names the validator.
    asked_by: HeaderName,
    validator: HeaderValue,
    /// The tag that each part must have beside a date.
    weak_tag: Option<HeaderValue>,
}

impl Binding {
    fn is_asked_for(&self, request: &HeaderMap) -> bool {
        request.get(&self.asked_by) == Some(&self.validator)
    }
}

/// Whether the request is for a further part of a representation (RFC 9110 §13.1.4, §13.1.5).
pub(super) fn is_further(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_RANGE)
        || request.contains_key(header::RANGE) && request.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// Whether the call asks by a range alone after an earlier call asked by a validator, too, for bytes not behind these.
pub(super) fn repeats_a_question(world: &World, call: &Call) -> bool {
    let headers = &call.request.headers;
    let Some((first, _)) = positions(headers).filter(|_| !is_further(headers)) else { return false };
    let is_repeated = |before: &Call| {
        let asked = positions(&before.request.headers).filter(|_| is_further(&before.request.headers));
        Target::of(&before.request) == Target::of(&call.request)
            && asked.is_some_and(|(begun, _)| begun <= first)
    };
    world.calls.iter().take(call.serial).any(is_repeated)
}

/// Whether the call asks for whole chunks, or for the rest of a body that died. The chunks may be the first ones, or
/// further ones of a representation that the inner service gave a strong validator.
pub(super) fn is_for_a_part(world: &World, call: &Call, settings: &Settings) -> bool {
    let headers = &call.request.headers;
    let has = |name: HeaderName| headers.contains_key(name);
    if call.request.method != Method::GET || has(header::IF_MATCH) {
        return false;
    }
    if let Some(bytes) = last_bytes(headers) {
        // `If-Range` may be the client's.
        return settings.modes.fill == Fill::auto() && !has(header::IF_UNMODIFIED_SINCE) && bytes > PIECE;
    }
    let Some((first, last)) = positions(headers) else { return false };
    let size = u64::from(settings.chunk_size);
    if repeats_a_question(world, call) {
        return true;
    }
    let before = || {
        let before = world.calls.iter().take(call.serial);
        before.filter(|before| Target::of(&before.request) == Target::of(&call.request))
    };
    let is_asked_for = |before: &Call| before.binding().is_some_and(|binding| binding.is_asked_for(headers));
    let most = settings.modes.read_ahead.div_ceil(size).max(1).saturating_mul(size);
    let bytes = last.and_then(|last| last.checked_add(1)?.checked_sub(first));
    let is_first = if settings.modes.fill == Fill::auto() {
        // All that the client wants, in whole chunks or to the end.
        first % size == 0 && bytes.is_none_or(|bytes| bytes % size == 0)
    } else {
        let is_aligned = |bytes: u64| first % size == 0 && bytes % size == 0 && bytes <= most;
        settings.modes.fill == Fill::sliced() && bytes.is_some_and(is_aligned)
    };
    // `If-Range` may be the client's, and the bytes the first ones.
    if is_first && !has(header::IF_UNMODIFIED_SINCE) || !is_further(headers) {
        return is_first;
    }
    let of_one = !has(header::IF_NONE_MATCH) && !has(header::IF_MODIFIED_SINCE);
    let is_aligned = |total: u64| {
        let end = last.map(|last| last.saturating_add(1));
        first % size == 0 && end.is_some_and(|end| end <= total && (end % size == 0 || end == total))
    };
    // Or the inner service gave less than it was asked for.
    let died_there = |before: &Call| {
        let part = before.part();
        let start = part.as_ref().map_or(0, |(place, _)| place.start);
        (before.is_broken() || part.is_some()) && start.checked_add(length(&before.sent)) == Some(first)
    };
    let mut bound = before().filter(|before| is_asked_for(before));
    of_one && bound.any(|bound| is_aligned(bound.total()) || before().any(died_there))
}

/// Whether the first bytes that the call asks for are in the first chunk that the client wants, or at the start.
pub(super) fn is_wanted(world: &World, request: &HeaderMap, call: &Call, settings: &Settings) -> bool {
    let asked = || Asked::read(one(request, &header::RANGE)?.as_bytes());
    let size = settings.chunk_size;
    let begins =
        |first: u64| asked().is_some_and(|set| set.iter().any(|asked| begins_in(asked, first, size)));
    is_further(&call.request.headers)
        || repeats_a_question(world, call)
        || positions(&call.request.headers).is_some_and(|(first, _)| first == 0 || begins(first))
        || last_bytes(&call.request.headers).is_some_and(|bytes| {
            let is_asked = |asked: &Asked| {
                asked.first.is_none() && asked.last == bytes.checked_sub(PIECE).map(u128::from)
            };
            asked().is_some_and(|set| set.iter().any(is_asked))
        })
}

/// Whether the range begins in the chunk of `size` bytes at `first`.
fn begins_in(asked: &Asked, first: u64, size: u32) -> bool {
    let (first, size) = (u128::from(first), u128::from(size));
    asked.first.is_some_and(|begin| (first..first.saturating_add(size)).contains(&begin))
}

/// The first byte that a request of the cache asks for; 0 if it asks for last bytes.
pub(super) fn first_asked(headers: &HeaderMap) -> Option<u64> {
    last_bytes(headers).map(|_| 0).or_else(|| positions(headers).map(|(first, _)| first))
}

/// The number of last bytes, of a range that asks for so many.
fn last_bytes(headers: &HeaderMap) -> Option<u64> {
    number(one(headers, &header::RANGE)?.strip_prefix("bytes=-")?)
}

/// The size of a piece in bytes.
const PIECE: u64 = 64 << 10;

/// The first and the last byte of one range. The last byte is `None` if the range does not name it.
fn positions(headers: &HeaderMap) -> Option<(u64, Option<u64>)> {
    let (first, last) = one(headers, &header::RANGE)?.strip_prefix("bytes=")?.split_once('-')?;
    let last = if last.is_empty() { None } else { Some(number(last)?) };
    Some((number(first)?, last))
}

fn agrees(said: &str, length: u64) -> bool {
    said.split(',').all(|said| digits(said.trim()) == Some(length))
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// The value of a field that has one line.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?.to_str().ok()?;
    lines.next().is_none().then_some(line)
}
