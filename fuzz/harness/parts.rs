//! Whether a partial answer, or one that refuses a range, fits the request.
//!
//! RFC 9110 §14, §15.3.7 (206), §15.5.17 (416).

use std::ops::Range;

use http::{HeaderValue, Method, header};

use super::{
    asked::Asked,
    conditions::{Judged, holds_if_range},
    lineage::State,
    multipart::{content_range, number, parts, slice},
    verdict::{Case, length},
};

impl Case<'_> {
    /// RFC 9110 §15.3.7.
    pub(super) fn partial(&self, source: &State<'_>) {
        self.rule("§14.2: a range of a 200", source.status() == 200);
        self.rule("§14.2: a range for a GET", self.request.method == Method::GET);
        self.must_be(source, Judged::Holds);
        let tag = self.viewed.headers.get(header::ETAG);
        let held = holds_if_range(&self.request.headers, tag, source.headers.get(header::LAST_MODIFIED));
        self.rule("§13.1.5: If-Range holds", held);
        let (whole, total) = (&source.born.whole, source.born.total());
        let asked = self.have("§14.2: a valid Range", self.asked());
        let (mut places, mut type_is_of_parts) = (Vec::new(), false);
        if let Some(place) = self.viewed.headers.get(header::CONTENT_RANGE) {
            let is_known = |line: &&str| !line.ends_with("/*") || self.comes_without_length(source);
            let line = place.to_str().ok().filter(is_known);
            // §14.4: an asterisk stands for a length that is not known yet.
            let place = line.and_then(|line| content_range(&line.replace('*', &total.to_string())));
            let place = place.filter(|_| self.one(&header::CONTENT_RANGE));
            let (place, said) = self.have("§14.4: one Content-Range, inside", place);
            self.rule("§14.4: the complete length", said == total);
            self.content_is(whole, place.clone());
            places.push(place);
        } else {
            type_is_of_parts = true;
        }
        if type_is_of_parts && !self.viewed.failed {
            let media = self.viewed.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
            self.content_is(&self.viewed.body, 0..length(&self.viewed.body));
            match parts(media.unwrap_or_default(), &self.viewed.body) {
                Err(wrong) => self.rule(wrong, false),
                Ok(parts) => {
                    self.rule("§15.3.7.2: parts are of several ranges", asked.len() > 1 && !parts.is_empty());
                    for part in parts {
                        self.rule("§14.6: the complete length", part.total == total);
                        self.rule("§14.6: the part's bytes", part.data == slice(whole, &part.place));
                        let media = source.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
                        let said = part.fields.iter().find(|(name, _)| name == "content-type");
                        self.rule("§14.6: the part's type", media == said.map(|(_, media)| media.as_bytes()));
                        places.push(part.place);
                    }
                }
            }
        }
        self.rule("the policy's most ranges", asked.len() <= self.judge.settings.max_ranges.max(1));
        let names = self.viewed.headers.keys().chain(source.headers.keys()).cloned();
        // RFC 9530 §2: a content digest covers the content of one message.
        let names = names.filter(|name| name != "content-digest");
        let names: Vec<_> = names.filter(|name| !type_is_of_parts || name != header::CONTENT_TYPE).collect();
        self.shows(source, Some(&names));
        if !self.viewed.failed {
            self.places_are(&places, &asked, total);
        }
    }

    /// Whether the response is read while it arrives, and its length is unknown.
    fn comes_without_length(&self, source: &State<'_>) -> bool {
        let born = source.born;
        self.judge.settings.modes.serves_unfinished() && born.serial >= self.first && !born.tells_length()
    }

    /// Checks that every requested byte is there, and that a single range brings no other byte.
    fn places_are(&self, places: &[Range<u64>], asked: &[Asked], whole: u64) {
        for position in 0..whole {
            let holds = |asked: &Asked| holds(asked, position, whole);
            let (is_asked, is_there) =
                (asked.iter().any(holds), places.iter().any(|place| place.contains(&position)));
            self.rule("§14.2: the bytes that were asked for", is_there || !is_asked);
            self.rule("§14.2: no more than was asked for", is_asked || !is_there || asked.len() > 1);
        }
    }

    /// RFC 9110 §15.5.17.
    pub(super) fn not_satisfiable(&self, source: &State<'_>) {
        self.rule("§14.2: a range for a GET", self.request.method == Method::GET);
        let asked = self.have("§14.2: a valid Range", self.asked());
        let line =
            self.viewed.headers.get(header::CONTENT_RANGE).filter(|_| self.one(&header::CONTENT_RANGE));
        let whole = line.and_then(|line| number(line.to_str().ok()?.strip_prefix("bytes */")?));
        self.rule("§15.5.17: Content-Range", whole == Some(source.born.total()));
        let whole = source.born.total();
        let satisfied = |position: u64| asked.iter().any(|range| holds(range, position, whole));
        self.rule("§15.5.17: no requested byte exists", !(0..whole).any(satisfied));
        self.must_be(source, Judged::Holds);
        self.rule("an error has no content here", self.viewed.body.is_empty() && !self.viewed.failed);
    }

    /// The requested ranges, or `None` if the set is invalid, or in two fields.
    fn asked(&self) -> Option<Vec<Asked>> {
        let mut lines = self.request.headers.get_all(header::RANGE).iter().map(HeaderValue::as_bytes);
        let (line, None) = (lines.next()?, lines.next()) else { return None };
        Asked::read(line)
    }
}

/// Whether the range includes the byte at `position` of `length` bytes.
fn holds(asked: &Asked, position: u64, length: u64) -> bool {
    asked.span(length.into()).is_some_and(|(start, end)| (start..end).contains(&position.into()))
}
