//! Whether an answer that is a part, or says that there is none, is the one that was asked for.
//!
//! RFC 9110 §14, §15.3.7 (206), §15.5.17 (416).

use std::ops::Range;

use http::{header, HeaderValue, Method};

use super::{
    conditions::{holds_if_range, Judged},
    decoding::Asked,
    multipart::{content_range, number, parts},
    origin::Call,
    verdict::{length, Case},
};

impl<'a> Case<'a> {
    /// RFC 9110 §15.3.7.
    pub(super) fn partial(&self) -> &'a Call {
        let source = self.source();
        self.rule("§14.2: a range of a 200", [200, 304].contains(&source.status.as_u16()));
        self.rule("§14.2: a range for a GET", self.request.method == Method::GET);
        self.must_be(source, Judged::Holds);
        let tag = self.viewed.headers.get(header::ETAG);
        let held = holds_if_range(&self.request.headers, tag, source.field(&header::LAST_MODIFIED));
        self.rule("§13.1.5: If-Range holds", held);
        self.fields_are(source, &[header::CONTENT_ENCODING]);
        let whole = &source.whole;
        let asked = self.have("§14.2: a valid Range", self.asked());
        let (mut places, mut type_is_of_parts) = (Vec::new(), false);
        if let Some(place) = self.viewed.headers.get(header::CONTENT_RANGE) {
            let place = place.to_str().ok().and_then(content_range);
            let place = place.filter(|_| self.one(&header::CONTENT_RANGE));
            let (place, total) = self.have("§14.4: one Content-Range, inside", place);
            self.rule("§14.4: the complete length", total == length(whole));
            self.content_is(slice(whole, &place));
            places.push(place);
        } else if !self.viewed.failed {
            let media = self.viewed.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
            type_is_of_parts = true;
            self.content_is(&self.viewed.body);
            match parts(media.unwrap_or_default(), &self.viewed.body) {
                Err(wrong) => self.rule(wrong, false),
                Ok(parts) => {
                    self.rule("§15.3.7.2: parts are of several ranges", asked.len() > 1 && !parts.is_empty());
                    for part in parts {
                        self.rule("§14.6: the complete length", part.total == length(whole));
                        self.rule("§14.6: the part's bytes", part.data == slice(whole, &part.place));
                        let media = source.field(&header::CONTENT_TYPE).map(HeaderValue::as_bytes);
                        let said = part.fields.iter().find(|(name, _)| name == "content-type");
                        self.rule("§14.6: the part's type", media == said.map(|(_, media)| media.as_bytes()));
                        places.push(part.place);
                    }
                }
            }
        }
        if !type_is_of_parts {
            self.fields_are(source, &[header::CONTENT_TYPE]);
        }
        if !self.viewed.failed {
            self.places_are(&places, &asked, length(whole));
        }
        source
    }

    /// Every byte that was asked for is there; and where one range was asked for, no other.
    fn places_are(&self, places: &[Range<u64>], asked: &[Asked], whole: u64) {
        for position in 0..whole {
            let holds = |asked: &Asked| asked.holds(position.into(), whole.into());
            let (is_asked, is_there) =
                (asked.iter().any(holds), places.iter().any(|place| place.contains(&position)));
            self.rule("§14.2: what was asked for", is_there || !is_asked);
            self.rule("§14.2: no more than was asked for", is_asked || !is_there || asked.len() > 1);
        }
    }

    /// RFC 9110 §15.5.17.
    pub(super) fn not_satisfiable(&self) -> Option<&'a Call> {
        self.rule("§14.2: a range for a GET", self.request.method == Method::GET);
        let asked = self.have("§14.2: a valid Range", self.asked());
        let line =
            self.viewed.headers.get(header::CONTENT_RANGE).filter(|_| self.one(&header::CONTENT_RANGE));
        let whole = line.and_then(|line| number(line.to_str().ok()?.strip_prefix("bytes */")?));
        let whole = self.have("§15.5.17: Content-Range", whole);
        let satisfied = |position: u64| asked.iter().any(|range| range.holds(position.into(), whole.into()));
        self.rule("§15.5.17: nothing of it is there", !(0..whole).any(satisfied));
        self.any_source(|call| {
            length(&call.whole) == whole && self.judges(call).is_none_or(|judged| judged == Judged::Holds)
        });
        self.made_here(true)
    }

    /// The ranges asked for; `None` if the set of them is invalid, or in two fields.
    fn asked(&self) -> Option<Vec<Asked>> {
        let mut lines = self.request.headers.get_all(header::RANGE).iter().map(HeaderValue::as_bytes);
        let (line, None) = (lines.next()?, lines.next()) else { return None };
        Asked::read(line)
    }
}

fn slice<'a>(whole: &'a [u8], place: &Range<u64>) -> &'a [u8] {
    let within = |position| usize::try_from(position).unwrap_or(usize::MAX);
    whole.get(within(place.start)..within(place.end)).unwrap_or_default()
}
