//! RFC 9110 §13.2.2 a second time, written step by step, on values whose meaning stands beside their text. This oracle
//! shares nothing with the code that it judges, and is compared with it in every combination.

use super::*;

/// Whether the tag is weak, and its opaque part.
type Tag = (bool, &'static str);

/// The meaning of a list of tags.
#[derive(Clone, Copy)]
enum Tags {
    Absent,
    Star,
    Of(&'static [Tag]),
}

/// The meaning of `If-Range`.
#[derive(Clone, Copy)]
enum Held {
    Absent,
    Nonsense,
    Tag(Tag),
    Date(Seconds),
}

/// Seconds since the stored response was modified.
type Seconds = i64;

/// A stored response: its fields, and their meaning.
struct Stored {
    lines: &'static [(&'static str, &'static str)],
    tag: Option<Tag>,
    modified: Option<Seconds>,
    sent: Option<Seconds>,
}

/// A request, as the meaning of its fields.
struct Asked {
    is_get: bool,
    if_match: Tags,
    if_none_match: Tags,
    if_modified_since: Option<Seconds>,
    if_unmodified_since: Option<Seconds>,
    if_range: Held,
    /// The selection by `Range` alone.
    range: Selection,
}

type Texts<T> = &'static [(Option<&'static str>, T)];

const LENGTH: u64 = 1000;
const SAME: &str = "Sun, 22 Nov 2026 09:00:00 GMT";
const BEFORE: &str = "Sun, 22 Nov 2026 08:59:59 GMT";
const AFTER: &str = "Sunday, 22-Nov-26 09:00:01 GMT";
const LATER: &str = "Sun Nov 22 10:00:00 2026";

const STORED: [Stored; 7] = [
    Stored { lines: &[], tag: None, modified: None, sent: None },
    Stored { lines: &[("date", LATER)], tag: None, modified: None, sent: Some(3600) },
    Stored {
        lines: &[("etag", "\"v1\""), ("date", LATER)],
        tag: Some((false, "v1")),
        modified: None,
        sent: Some(3600),
    },
    Stored {
        lines: &[("etag", "W/\"v1\""), ("date", LATER)],
        tag: Some((true, "v1")),
        modified: None,
        sent: Some(3600),
    },
    Stored {
        lines: &[("last-modified", SAME), ("date", AFTER)],
        tag: None,
        modified: Some(0),
        sent: Some(1),
    },
    Stored {
        lines: &[("last-modified", SAME), ("date", LATER)],
        tag: None,
        modified: Some(0),
        sent: Some(3600),
    },
    Stored {
        lines: &[("etag", "\"v1\""), ("last-modified", SAME), ("date", LATER)],
        tag: Some((false, "v1")),
        modified: Some(0),
        sent: Some(3600),
    },
];

const TAGS: Texts<Tags> = &[
    (None, Tags::Absent),
    (Some("\"v1\""), Tags::Of(&[(false, "v1")])),
    (Some("W/\"v1\""), Tags::Of(&[(true, "v1")])),
    (Some("\"v2\""), Tags::Of(&[(false, "v2")])),
    (Some("*"), Tags::Star),
    (Some("v1"), Tags::Of(&[])),
    (Some("W/\"v3\", \"v,2\" ,, \"v1\""), Tags::Of(&[(true, "v3"), (false, "v,2"), (false, "v1")])),
];

/// §13.1.3, §13.1.4: a value that is no date counts as absent.
const DATES: Texts<Option<Seconds>> = &[
    (None, None),
    (Some(SAME), Some(0)),
    (Some(BEFORE), Some(-1)),
    (Some(LATER), Some(3600)),
    (Some("0"), None),
];

const IF_RANGE: Texts<Held> = &[
    (None, Held::Absent),
    (Some("\"v1\""), Held::Tag((false, "v1"))),
    (Some("W/\"v1\""), Held::Tag((true, "v1"))),
    (Some("\"v2\""), Held::Tag((false, "v2"))),
    (Some(SAME), Held::Date(0)),
    (Some(AFTER), Held::Date(1)),
    (Some("*"), Held::Nonsense),
];

fn ranges() -> [(Option<&'static str>, Selection); 5] {
    let (near, far) = (ByteRange { start: 0, end: 10 }, ByteRange { start: 500, end: 510 });
    [
        (None, Selection::Full),
        (Some("bytes=0-9"), Selection::Partial(near)),
        (Some("bytes=500-509,0-9"), Selection::Several(vec![far, near])),
        (Some("bytes=1000-"), Selection::NotSatisfiable),
        (Some("bytes=9-0"), Selection::Full),
    ]
}

fn answer(stored: &Stored, asked: &Asked) -> Selection {
    // "1. When recipient is the origin server and If-Match is present, evaluate the If-Match precondition": the
    // tags of a list are compared strongly, and "*" is true of any current representation.
    match asked.if_match {
        Tags::Star => {}
        Tags::Of(tags) => {
            let is_it = |tag: &Tag| stored.tag.is_some_and(|stored| !stored.0 && !tag.0 && stored.1 == tag.1);
            if !tags.iter().any(is_it) {
                return Selection::PreconditionFailed;
            }
        }
        // "2. When recipient is the origin server, If-Match is not present, and If-Unmodified-Since is present":
        // true if it was last modified then or earlier.
        Tags::Absent => {
            if let (Some(since), Some(modified)) = (asked.if_unmodified_since, stored.modified) {
                if modified > since {
                    return Selection::PreconditionFailed;
                }
            }
        }
    }
    // "3. When If-None-Match is present": false if one of the tags compares weakly, or of "*".
    match asked.if_none_match {
        Tags::Star => return Selection::NotModified,
        Tags::Of(tags) => {
            if tags.iter().any(|tag| stored.tag.is_some_and(|stored| stored.1 == tag.1)) {
                return Selection::NotModified;
            }
        }
        // "4. When the method is GET or HEAD, If-None-Match is not present, and If-Modified-Since is present".
        // RFC 9111 §4.3.2: a cache takes Date if there is no Last-Modified.
        Tags::Absent => {
            if let Some(since) = asked.if_modified_since {
                let modified = if stored.modified.is_some() { stored.modified } else { stored.sent };
                if modified.is_some_and(|modified| modified <= since) {
                    return Selection::NotModified;
                }
            }
        }
    }
    // §14.2: Range is ignored in a request with any other method.
    if !asked.is_get {
        return Selection::Full;
    }
    // "5. When the method is GET and both Range and If-Range are present": §13.1.5 allows strong validators only. A
    // date is strong here a minute before it was sent.
    let holds = match asked.if_range {
        Held::Absent => true,
        Held::Nonsense => false,
        Held::Tag(tag) => !tag.0 && stored.tag == Some(tag),
        Held::Date(date) => match (stored.modified, stored.sent) {
            (Some(modified), Some(sent)) => modified == date && sent - modified >= 60,
            _ => false,
        },
    };
    // Step 5 has no 416 if If-Range holds; §14.2 has one whenever "all of the preconditions are true".
    if holds { asked.range.clone() } else { Selection::Full }
}

#[test]
fn every_combination_is_judged_as_the_steps_of_the_rfc_do() {
    let mut combinations = 0;
    for stored in &STORED {
        let fields = super::super::fields::tests::headers(stored.lines);
        let mut request = HeaderMap::new();
        for (if_match, tags) in TAGS {
            set(&mut request, header::IF_MATCH, *if_match);
            for (if_none_match, other_tags) in TAGS {
                set(&mut request, header::IF_NONE_MATCH, *if_none_match);
                for (if_unmodified_since, unmodified) in DATES {
                    set(&mut request, header::IF_UNMODIFIED_SINCE, *if_unmodified_since);
                    for (if_modified_since, modified) in DATES {
                        set(&mut request, header::IF_MODIFIED_SINCE, *if_modified_since);
                        for (if_range, held) in IF_RANGE {
                            set(&mut request, header::IF_RANGE, *if_range);
                            for (range, alone) in ranges() {
                                set(&mut request, header::RANGE, range);
                                for method in [Method::GET, Method::HEAD] {
                                    let asked = Asked {
                                        is_get: method == Method::GET,
                                        if_match: *tags,
                                        if_none_match: *other_tags,
                                        if_modified_since: *modified,
                                        if_unmodified_since: *unmodified,
                                        if_range: *held,
                                        range: alone.clone(),
                                    };
                                    let validators = Validators::of(&fields);
                                    let selected =
                                        select(&method, &request, StatusCode::OK, validators, LENGTH, 16);
                                    assert_eq!(
                                        selected,
                                        answer(stored, &asked),
                                        "{method} {request:?} of {fields:?}"
                                    );
                                    combinations += 1;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert_eq!(combinations, 7 * 7 * 7 * 5 * 5 * 7 * 5 * 2);
}

fn set(request: &mut HeaderMap, name: HeaderName, text: Option<&'static str>) {
    match text {
        Some(text) => request.insert(name, HeaderValue::from_static(text)),
        None => request.remove(name),
    };
}
