//! Whether an answer of the layer is one that a cache may give, judged by what the inner service has answered.
//!
//! Written from RFC 9110, 9111 and 9211, and not from the code that it judges.

use std::collections::HashMap;

use http::{
    header::{self, HeaderMap, HeaderName},
    request, HeaderValue, Method, StatusCode,
};

use super::{
    conditions::{judged, Judged},
    multipart::number,
    origin::{has_body, Call, World, SERIAL},
    sources::written,
};

/// An answer, and all of its body.
#[derive(Debug)]
pub(super) struct Viewed {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The length that the body told of itself.
    pub(super) promised: Option<u64>,
    pub(super) body: Vec<u8>,
    /// The body ended with an error.
    pub(super) failed: bool,
}

/// What is known of a run so far.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// The store has lost something: a body may end with an error.
    pub(super) evicted: bool,
    /// What each strong tag stood for.
    tags: HashMap<HeaderValue, Vec<u8>>,
    /// From which call on a target has what is true, after an unsafe request.
    pub(super) invalidated: Vec<(String, usize)>,
}

impl Judge {
    /// Judges the answer to `request`, which led to the calls from `first` on.
    ///
    /// # Panics
    ///
    /// If it is no answer that a cache may give.
    pub(super) fn judge(
        &mut self,
        world: &World,
        first: usize,
        request: &request::Parts,
        viewed: Option<&Viewed>,
    ) {
        let Some(viewed) = viewed else {
            let fails = world.answer.as_ref().is_some_and(|answer| answer.fails);
            assert!(fails, "an error that is not the inner service's: {request:?}");
            return;
        };
        let case = Case { judge: self, world, first, request, viewed };
        let source = case.check();
        if let (Some(tag), Some(source)) = (viewed.headers.get(header::ETAG), source) {
            let is_strong = tag.as_bytes().starts_with(b"\"");
            let whole = self.tags.get(tag);
            assert!(
                !is_strong || whole.is_none_or(|whole| *whole == source.whole),
                "{tag:?} is of two contents"
            );
            self.tags.insert(tag.clone(), source.whole.clone());
        }
        let is_safe = ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"].contains(&request.method.as_str());
        if !is_safe && (viewed.status.is_success() || viewed.status.is_redirection()) {
            self.invalidated.push((written(request), world.calls.len()));
        }
    }
}

/// One answer and all that it is judged by.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) request: &'a request::Parts,
    pub(super) viewed: &'a Viewed,
    pub(super) first: usize,
    pub(super) judge: &'a Judge,
    pub(super) world: &'a World,
}

impl<'a> Case<'a> {
    pub(super) fn rule(&self, rule: &str, holds: bool) {
        let calls = || -> Vec<_> {
            let numbered = self.world.calls.iter().enumerate();
            numbered.map(|(serial, call)| format!("{serial}: {call:?}")).collect()
        };
        assert!(
            holds,
            "{rule}\n{:?}\n{:?}\nat {}, its calls from {} of\n{}",
            self.request,
            self.viewed,
            self.world.now,
            self.first,
            calls().join("\n")
        );
    }

    pub(super) fn have<T>(&self, rule: &str, value: Option<T>) -> T {
        self.rule(rule, value.is_some());
        let Some(value) = value else { unreachable!("the rule would not hold") };
        value
    }

    /// Gives the call that the answer's content is of, where it has any that can be told.
    fn check(&self) -> Option<&'a Call> {
        let Viewed { status, body, failed, promised, .. } = self.viewed;
        let is_bare = self.request.method == Method::HEAD || !has_body(*status);
        self.rule("RFC 9110 §6.4.1: no content", !is_bare || body.is_empty() && !failed);
        let kept = promised.is_none_or(|promised| length(body) == promised || *failed);
        self.rule("a body is as long as it said", kept);
        if self.own_calls().any(|call| self.passes(call)) {
            return None;
        }
        if !self.viewed.headers.contains_key(SERIAL) {
            match status.as_u16() {
                502 => return self.made_here(self.own_calls().any(Call::is_broken)),
                504 => return self.made_here(self.asks_only_if_cached()),
                _ => {}
            }
        }
        self.fields_of_the_store();
        match status.as_u16() {
            206 => Some(self.partial()),
            304 => Some(self.not_modified()),
            412 => self.failed_precondition(),
            416 => self.not_satisfiable(),
            _ => Some(self.whole()),
        }
    }

    /// The answer of this call as it is, to this request as it is: as if the layer were not there.
    fn passes(&self, call: &Call) -> bool {
        let added = [header::ACCEPT_RANGES, HeaderName::from_static("cache-status")];
        let but_for_added = |headers: &HeaderMap| {
            let mut headers = headers.clone();
            for name in &added {
                headers.remove(name);
            }
            headers
        };
        let Viewed { status, headers, body, failed, .. } = self.viewed;
        let is_whole = *body == call.sent && *failed == call.breaks();
        let is_cut = call.is_broken() && *failed && call.sent.starts_with(body);
        let is_conditional = [206, 304, 412, 416].contains(&status.as_u16()) && call.answer.status != *status;
        call.request.method == self.request.method
            && call.status == *status
            && but_for_added(&call.headers) == but_for_added(headers)
            && (is_whole || is_cut)
            && (!is_conditional || CONDITIONS.iter().all(|name| self.same_lines(name, &call.request.headers)))
    }

    pub(super) fn made_here(&self, has_cause: bool) -> Option<&'a Call> {
        self.rule("an error has its cause", has_cause);
        self.rule("an error is whole", !self.viewed.failed);
        let said = self.number(&header::CONTENT_LENGTH);
        let is_head = self.request.method == Method::HEAD;
        self.rule(
            "§8.6: Content-Length",
            said.is_none_or(|said| is_head || said == length(&self.viewed.body)),
        );
        None
    }

    /// RFC 9110 §15.3.1, and any other status but those below.
    fn whole(&self) -> &'a Call {
        let source = self.source();
        let is_of = source.status == self.viewed.status || source.status == StatusCode::NOT_MODIFIED;
        self.rule("the status that was given", is_of);
        self.rule("§14.4: no Content-Range", !self.viewed.headers.contains_key(header::CONTENT_RANGE));
        self.content_is(&source.whole);
        if self.viewed.status == StatusCode::NO_CONTENT {
            let said = self.viewed.headers.contains_key(header::CONTENT_LENGTH);
            self.rule("RFC 9110 §8.6: no Content-Length in a 204", !said);
        }
        self.must_be(source, Judged::Holds);
        self.fields_are(source, &[header::CONTENT_TYPE, header::CONTENT_ENCODING, header::LOCATION]);
        source
    }

    /// RFC 9110 §15.4.5.
    fn not_modified(&self) -> &'a Call {
        let of_tags = self.request.headers.contains_key(header::IF_NONE_MATCH);
        let of_date = self.request.headers.contains_key(header::IF_MODIFIED_SINCE);
        self.rule("§15.4.5: a condition", of_tags || of_date);
        let source = self.any_source(|call| {
            let judged = self.judges(call);
            judged.is_none_or(|judged| judged == Judged::NotModified) && self.shows_fields_of(call, &[])
        });
        let said = self.viewed.headers.get(header::CONTENT_LENGTH);
        let said = said.is_none_or(|_| self.number(&header::CONTENT_LENGTH) == Some(length(&source.whole)));
        self.rule("§8.6: Content-Length is of the 200", said);
        source
    }

    /// RFC 9110 §15.5.13.
    fn failed_precondition(&self) -> Option<&'a Call> {
        let conditions = [header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
        let asked = conditions.iter().any(|name| self.request.headers.contains_key(name));
        self.rule("§15.5.13: a condition", asked);
        self.any_source(|call| self.judges(call).is_none_or(|judged| judged == Judged::Failed));
        self.made_here(true)
    }

    /// The conditions of the request, held against the answer of a call.
    pub(super) fn judges(&self, call: &Call) -> Option<Judged> {
        let shown = |name| self.viewed.headers.get(name);
        // Of two dates none is the one.
        let sent = shown(header::DATE).filter(|_| self.one(&header::DATE));
        let tag = call.field(&header::ETAG).or(shown(header::ETAG));
        judged(&self.request.headers, tag, call.field(&header::LAST_MODIFIED), sent)
    }

    pub(super) fn must_be(&self, source: &Call, expected: Judged) {
        if source.status.is_success() {
            let judged = self.judges(source);
            self.rule("RFC 9110 §13.2.2: its conditions", judged.is_none_or(|judged| judged == expected));
        }
    }

    /// The body is `content`, if it is one for a GET; and so is what is said of its length.
    pub(super) fn content_is(&self, content: &[u8]) {
        let Viewed { body, failed, headers, .. } = self.viewed;
        let is_head = self.request.method == Method::HEAD;
        let is_content = if *failed { content.starts_with(body) } else { content == body };
        self.rule("the true bytes", is_head || is_content);
        self.rule("a body fails for a reason", !failed || self.judge.evicted);
        let said = !headers.contains_key(header::CONTENT_LENGTH)
            || self.number(&header::CONTENT_LENGTH) == Some(length(content));
        self.rule("RFC 9110 §8.6: Content-Length", said);
    }

    /// These fields are those of the source, and so are those that a 206 or 304 shows of a 200, and its validators.
    pub(super) fn fields_are(&self, source: &Call, names: &[HeaderName]) {
        self.rule("RFC 9110 §15.3.7: the source's fields", self.shows_fields_of(source, names));
    }

    fn shows_fields_of(&self, source: &Call, names: &[HeaderName]) -> bool {
        let shown = &self.viewed.headers;
        let mut names = names.iter().chain(&SHOWN).filter(|name| source.headers.contains_key(*name));
        let modified = shown.get(header::LAST_MODIFIED);
        let tagged = shown.get(header::ETAG).and_then(|tag| self.judge.tags.get(tag));
        names.all(|name| shown.get_all(name).iter().eq(source.headers.get_all(name)))
            && modified.is_none_or(|modified| Some(modified) == source.field(&header::LAST_MODIFIED))
            && tagged.is_none_or(|whole| *whole == source.whole)
    }

    fn same_lines(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        self.request.headers.get_all(name).iter().eq(headers.get_all(name))
    }

    /// The field's value, if it has one line and that is a number.
    pub(super) fn number(&self, name: &HeaderName) -> Option<u64> {
        let value = self.viewed.headers.get(name).filter(|_| self.one(name));
        value.and_then(|value| number(value.to_str().ok()?))
    }

    pub(super) fn one(&self, name: &HeaderName) -> bool {
        self.viewed.headers.get_all(name).iter().count() == 1
    }

    fn own_calls(&self) -> impl Iterator<Item = &'a Call> {
        self.world.calls.iter().skip(self.first)
    }

    fn asks_only_if_cached(&self) -> bool {
        self.request.headers.get_all(header::CACHE_CONTROL).iter().any(|line| line == "only-if-cached")
    }
}

pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

const CONDITIONS: [HeaderName; 6] = [
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// RFC 9110 §15.4.5: what a 304 shows of the fields of a 200, and §15.3.7 a 206.
const SHOWN: [HeaderName; 5] =
    [header::CACHE_CONTROL, header::CONTENT_LOCATION, header::ETAG, header::EXPIRES, header::VARY];
