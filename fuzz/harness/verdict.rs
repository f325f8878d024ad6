//! Whether a cache may give the layer's answer, judged by the answers of the inner service.
//!
//! Written from RFC 9110, 9111 and 9211, and not from the code that it judges.

use std::{collections::HashMap, ops::Range};

use http::{
    HeaderValue, Method, StatusCode,
    header::{self, HeaderMap, HeaderName},
    request,
};
use tower_video_cache::Invalidate;

use super::{
    conditions::{Judged, SHOWN, judged},
    kept::{Fresh, Kept},
    keys::{Keys, Target, references},
    lineage::State,
    multipart::{number, slice},
    origin::{Call, LAST, World, has_body},
    reuse::{Life, Wishes},
    script::Settings,
};

/// An answer, and all of its body.
#[derive(Debug)]
pub(super) struct Viewed {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The length that the body announced.
    pub(super) promised: Option<u64>,
    pub(super) body: Vec<u8>,
    /// The body ended with an error.
    pub(super) failed: bool,
}

/// A request and its result.
#[derive(Debug)]
pub(super) struct View {
    pub(super) viewer: u64,
    pub(super) request: request::Parts,
    pub(super) end: End,
}

impl View {
    pub(super) fn viewed(&self) -> Option<&Viewed> {
        match &self.end {
            End::Viewed(viewed) => Some(viewed),
            End::Failed | End::Left => None,
        }
    }
}

/// The result of a request.
#[derive(Debug)]
pub(super) enum End {
    /// The inner service's error.
    Failed,
    /// The client left before the answer.
    Left,
    Viewed(Viewed),
}

/// The state of a run so far.
#[derive(Debug)]
pub(super) struct Judge<'s> {
    pub(super) settings: &'s Settings,
    /// The store has lost a value, so a body may end with an error.
    pub(super) evicted: bool,
    /// The content of each strong tag.
    pub(super) tags: HashMap<HeaderValue, Vec<u8>>,
    /// The first call whose answer is true, for each target of an unsafe request.
    pub(super) invalidated: Vec<(Target, usize)>,
    pub(super) keys: Keys,
    pub(super) kept: Kept,
}

impl<'s> Judge<'s> {
    pub(super) fn of(settings: &'s Settings) -> Self {
        let (tags, invalidated, keys, kept) = (HashMap::new(), Vec::new(), Keys::default(), Kept::default());
        Self { settings, evicted: false, tags, invalidated, keys, kept }
    }

    /// Judges the results of requests that were made at once. They led to the calls from `first` on, and to the
    /// failures from `failed` on.
    ///
    /// # Panics
    ///
    /// If a cache may not give one of the answers, or may not make one of the calls.
    pub(super) fn judge(&mut self, world: &World, first: usize, failed: usize, views: &[View]) {
        let mut fresh = None;
        for view in views {
            self.keys.judge(view);
            self.judge_calls(world, first, view);
            let viewed = match &view.end {
                End::Viewed(viewed) => viewed,
                End::Left => continue,
                End::Failed => {
                    let its_own = world.failures.iter().skip(failed).any(|viewer| *viewer == view.viewer);
                    assert!(its_own, "the error is not the inner service's: {view:?}");
                    continue;
                }
            };
            let View { viewer, request, .. } = view;
            let is_in_a_crowd = views.len() > 1;
            let case =
                Case { judge: self, world, first, failed, is_in_a_crowd, viewer: *viewer, request, viewed };
            let source = case.check();
            if let Some(state) = source.as_ref().filter(|_| world.calls.len() == first && !is_in_a_crowd) {
                let life = Life::of(state, self.settings, world.now);
                fresh = life.and_then(|life| Fresh::of(view, viewed, state, life, world.now));
            }
            if let (Some(tag), Some(source)) = (viewed.headers.get(header::ETAG), source) {
                let is_strong = tag.as_bytes().starts_with(b"\"");
                let whole = self.tags.get(tag);
                assert!(
                    !is_strong || whole.is_none_or(|whole| *whole == source.born.whole),
                    "{tag:?} has two contents"
                );
                self.tags.insert(tag.clone(), source.born.whole.clone());
            }
        }
        self.kept.heed(views, world.calls.get(first..).unwrap_or_default(), self.settings, world.now);
        if let Some(fresh) = fresh {
            self.kept.add(fresh);
        }
        for view in views {
            self.invalidate(world, view);
        }
    }

    /// RFC 9111 §4.4
    fn invalidate(&mut self, world: &World, view: &View) {
        let is_safe = ["GET", "HEAD", "OPTIONS", "TRACE", "CONNECT"].contains(&view.request.method.as_str());
        let Some(call) = world.calls.iter().rfind(|call| call.viewer == view.viewer) else { return };
        // A client that left may have done so before anything was removed.
        if is_safe || view.viewed().is_none() {
            return;
        }
        let is_success = match self.settings.sharing.invalidate {
            Invalidate::OnSuccess => call.status.is_success(),
            Invalidate::OnNonError => call.status.is_success() || call.status.is_redirection(),
            // A script has one other choice: never.
            _ => false,
        };
        if is_success {
            let own = [Target::of(&view.request)];
            let targets = own.into_iter().chain(references(call));
            self.invalidated.extend(targets.map(|target| (target, call.serial)));
        }
    }
}

/// One answer, with everything that it is judged by.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) viewer: u64,
    pub(super) request: &'a request::Parts,
    pub(super) viewed: &'a Viewed,
    /// The first call and the first failure while it was answered.
    pub(super) first: usize,
    pub(super) failed: usize,
    /// Other requests were answered meanwhile.
    pub(super) is_in_a_crowd: bool,
    pub(super) judge: &'a Judge<'a>,
    pub(super) world: &'a World,
}

impl<'a> Case<'a> {
    pub(super) fn rule(&self, rule: &str, holds: bool) {
        let calls = || -> Vec<_> { self.world.calls.iter().map(|call| format!("{call:?}")).collect() };
        assert!(
            holds,
            "{rule}\n{}: {:?}\n{:?}\n{:?}\nat {}, its calls from {} of\n{}",
            self.viewer,
            self.request,
            self.viewed,
            self.judge.settings,
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

    /// Returns the source of the answer's content, if it is known.
    fn check(&self) -> Option<State<'a>> {
        let Viewed { status, body, failed, promised, headers } = self.viewed;
        let is_bare = self.request.method == Method::HEAD || !has_body(*status);
        self.rule("RFC 9110 §6.4.1: no content", !is_bare || body.is_empty() && !failed);
        let kept = promised.is_none_or(|promised| length(body) == promised || *failed);
        self.rule("a body has the length that it announced", kept);
        let mut own = self.calls().filter(|call| self.is_own(call));
        if own.any(|call| self.passes(call)) {
            return None;
        }
        if !headers.contains_key(LAST) {
            let wishes = Wishes::of(&self.request.headers, self.judge.settings);
            self.made_here(match status.as_u16() {
                502 => self.calls().any(|call| self.is_own(call) && call.is_broken()),
                504 => wishes.forbid_to_ask() || wishes.are_unclear(),
                _ => false,
            });
            return None;
        }
        self.fields_of_the_store();
        let source = self.source(|state| {
            let mut shown: Vec<_> = headers.keys().cloned().collect();
            let is_bare = [304, 416].contains(&status.as_u16());
            if *status == StatusCode::NOT_MODIFIED {
                shown.extend(SHOWN);
            }
            let expected = match status.as_u16() {
                304 => Judged::NotModified,
                _ => Judged::Holds,
            };
            !is_bare || self.other_field(state, Some(&shown)).is_none() && self.judges(state, expected)
        });
        match status.as_u16() {
            // If any status may be stored, the source itself may have one of the statuses below.
            status if source.status() == status => self.whole(&source),
            206 => self.partial(&source),
            304 => self.not_modified(&source),
            412 => self
                .rule("RFC 9111 §4.3.2: If-Match and If-Unmodified-Since are for the origin server", false),
            416 => self.not_satisfiable(&source),
            _ => self.whole(&source),
        }
        Some(source)
    }

    fn made_here(&self, has_cause: bool) {
        self.rule("an error has its cause", has_cause);
        self.rule("an error is whole", !self.viewed.failed);
        self.content_length_is_own();
    }

    fn content_length_is_own(&self) {
        let said = self.number(&header::CONTENT_LENGTH);
        let is_head = self.request.method == Method::HEAD;
        self.rule(
            "§8.6: Content-Length",
            said.is_none_or(|said| is_head || said == length(&self.viewed.body)),
        );
    }

    /// RFC 9110 §15.3.1, and every status except those below.
    fn whole(&self, source: &State<'_>) {
        self.rule("the status is the source's", source.status() == self.viewed.status);
        self.rule("§14.4: no Content-Range", !self.viewed.headers.contains_key(header::CONTENT_RANGE));
        self.content_is(&source.born.whole, 0..source.born.total());
        if self.viewed.status == StatusCode::NO_CONTENT {
            let said = self.viewed.headers.contains_key(header::CONTENT_LENGTH);
            self.rule("RFC 9110 §8.6: no Content-Length in a 204", !said);
        }
        self.must_be(source, Judged::Holds);
        self.shows(source, None);
    }

    /// RFC 9110 §15.4.5.
    fn not_modified(&self, source: &State<'_>) {
        let of_tags = self.request.headers.contains_key(header::IF_NONE_MATCH);
        let of_date = self.request.headers.contains_key(header::IF_MODIFIED_SINCE);
        self.rule("§15.4.5: a condition", of_tags || of_date);
        self.rule("§15.4.5: of a 200", source.status().is_success());
        let said = self.viewed.headers.get(header::CONTENT_LENGTH);
        let whole = source.born.total();
        let said = said.is_none_or(|_| self.number(&header::CONTENT_LENGTH) == Some(whole));
        self.rule("§8.6: Content-Length is of the 200", said);
    }

    /// Whether the request's conditions have the expected result for the response, or may mean anything.
    fn judges(&self, source: &State<'_>, expected: Judged) -> bool {
        let stored = |name| source.headers.get(name);
        let one = |name| source.headers.get_all(name).iter().count() == 1;
        // If there are two dates, neither counts.
        let sent = stored(header::DATE).filter(|_| one(header::DATE));
        let tag = stored(header::ETAG).or(self.viewed.headers.get(header::ETAG));
        let judged = judged(&self.request.headers, tag, stored(header::LAST_MODIFIED), sent);
        // A 416 does not show the response's tag.
        let is_unknown = !source.status().is_success() || tag.is_none() && self.viewed.status == 416;
        is_unknown || judged.is_none_or(|judged| judged == expected)
    }

    pub(super) fn must_be(&self, source: &State<'_>, expected: Judged) {
        self.rule("RFC 9110 §13.2.2: its conditions", self.judges(source, expected));
    }

    /// Checks that the answer to a GET has this part of `whole` as its body, and that its length is true.
    pub(super) fn content_is(&self, whole: &[u8], place: Range<u64>) {
        let content = slice(whole, &place);
        let promised = place.end.saturating_sub(place.start);
        let Viewed { body, failed, headers, .. } = self.viewed;
        let is_head = self.request.method == Method::HEAD;
        let is_content =
            if *failed { content.starts_with(body) } else { content == body && length(body) == promised };
        self.rule("the true bytes", is_head || is_content);
        self.rule("a body fails for a reason", !failed || self.judge.evicted || self.has_trouble(promised));
        let said = !headers.contains_key(header::CONTENT_LENGTH)
            || self.number(&header::CONTENT_LENGTH) == Some(promised);
        self.rule("RFC 9110 §8.6: Content-Length", said);
    }

    /// Whether the inner service had a failure while it was answered, or there was no room for so many bytes.
    fn has_trouble(&self, promised: u64) -> bool {
        let settings = self.judge.settings;
        let no_room = promised > settings.max_size || settings.capacity.is_some();
        self.world.failures.len() > self.failed
            || self.calls().any(|call| {
                call.is_broken() || call.denies_a_part(self.world) || call.withholds_a_part(settings)
            })
            || settings.modes.serves_unfinished() && no_room
    }

    pub(super) fn same_lines(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        self.request.headers.get_all(name).iter().eq(headers.get_all(name))
    }

    /// The value of a field that has one line with a number.
    pub(super) fn number(&self, name: &HeaderName) -> Option<u64> {
        let value = self.viewed.headers.get(name).filter(|_| self.one(name));
        value.and_then(|value| number(value.to_str().ok()?))
    }

    pub(super) fn one(&self, name: &HeaderName) -> bool {
        self.viewed.headers.get_all(name).iter().count() == 1
    }

    /// The calls that were made meanwhile.
    pub(super) fn calls(&self) -> impl Iterator<Item = &'a Call> {
        self.world.calls.iter().skip(self.first)
    }
}

pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
