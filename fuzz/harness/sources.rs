//! Finds the inner service's answers that an answer may come from, and checks the fields that it must show.
//!
//! RFC 9111 §3 (storing), §4 (reusing); RFC 9211 (`Cache-Status`).

use std::ops::Range;

use http::{
    HeaderValue, Method, StatusCode,
    header::{self, HeaderName},
};

use super::{
    bound::is_for_a_part,
    control::Control,
    keys::Target,
    lineage::{HOP_BY_HOP, State},
    multipart::number,
    origin::{Call, LAST, SERIAL},
    reuse::{Life, Wishes, is_error, is_of_a_cookie, may_be_guessed},
    verdict::Case,
};

/// The reason why an answer is not allowed.
type Refused = &'static str;

impl<'a> Case<'a> {
    /// The stored response that the answer is made of, which must be allowed. If there are several, the first that
    /// fits.
    pub(super) fn source(&self, fits: impl Fn(&State<'a>) -> bool) -> State<'a> {
        let mut states = match self.lineage() {
            Some(lineage) => {
                vec![self.have(lineage.as_ref().err().copied().unwrap_or_default(), lineage.ok())]
            }
            None => self.lineages(),
        };
        if let [state] = &states[..] {
            let refused = self.refused(state);
            self.rule(refused.unwrap_or_default(), refused.is_none());
            let wrong = self.wrong_age(state);
            self.rule(wrong.unwrap_or_default(), wrong.is_none());
        }
        states
            .retain(|state| self.refused(state).is_none() && self.wrong_age(state).is_none() && fits(state));
        self.have("a stored response that the answer can be made of", states.into_iter().next())
    }

    pub(super) fn is_own(&self, call: &Call) -> bool {
        call.viewer == self.viewer
    }

    /// The calls that the answer names, in order.
    fn named(&self) -> Vec<&'a Call> {
        let serials = self.viewed.headers.keys().filter_map(|name| name.as_str().strip_prefix(SERIAL));
        let mut serials: Vec<usize> = serials.filter_map(|serial| serial.parse().ok()).collect();
        serials.sort_unstable();
        serials.into_iter().filter_map(|serial| self.world.calls.get(serial)).collect()
    }

    fn last(&self) -> Option<&'a Call> {
        self.number(&LAST).and_then(|serial| self.world.calls.get(usize::try_from(serial).ok()?))
    }

    /// The stored response that the named calls make. Each of them must be storable, except the request's own call at
    /// the end. `None` if no call is named, as in a 304.
    fn lineage(&self) -> Option<Result<State<'a>, Refused>> {
        let named = self.named();
        let (born, updates) = named.split_first()?;
        let mut state = self.born(born);
        for update in updates {
            state = state.and_then(|state| self.updated(&state, update));
        }
        Some(state.and_then(|state| self.ended(state)))
    }

    /// All stored responses that the last call may have been about.
    fn lineages(&self) -> Vec<State<'a>> {
        let last = self.have("an answer of the inner service", self.last());
        let states = self.states(last).into_iter();
        states.filter_map(|state| self.ended(state).ok()).collect()
    }

    fn states(&self, last: &'a Call) -> Vec<State<'a>> {
        let mut states: Vec<_> = self.born(last).into_iter().collect();
        if states.is_empty() {
            for before in self.world.calls.iter().take(last.serial) {
                let earlier = self.states(before);
                states.extend(earlier.iter().filter_map(|state| self.updated(state, last).ok()));
                states.truncate(MOST_STATES);
            }
        }
        states
    }

    fn born(&self, call: &'a Call) -> Result<State<'a>, Refused> {
        if call.is_broken() && !self.may_be_in_part(call) {
            return Err("RFC 9111 §3.3: an incomplete answer");
        }
        if call.request.method != Method::GET || call.status == StatusCode::NOT_MODIFIED {
            return Err("RFC 9111 §3: no answer to a GET");
        }
        Ok(State::born(call, self.judge.settings.targeted))
    }

    /// Whether an incomplete answer may be used: while it arrives, or because its parts can be completed by a
    /// validator.
    fn may_be_in_part(&self, call: &Call) -> bool {
        let is_read = self.judge.settings.modes.serves_unfinished() && call.serial >= self.first;
        is_read || call.binding().is_some()
    }

    fn updated(&self, state: &State<'a>, update: &'a Call) -> Result<State<'a>, Refused> {
        self.may_be_kept(state)?;
        state.updated(update, self.judge.settings.targeted)
    }

    fn ended(&self, state: State<'a>) -> Result<State<'a>, Refused> {
        let named = [state.born, state.last];
        if named.iter().any(|call| Target::of(&call.request) != Target::of(self.request)) {
            return Err("RFC 9111 §4: another target's answer");
        }
        if !self.is_own(state.last) {
            self.may_be_kept(&state)?;
        }
        Ok(state)
    }

    /// Whether the response could be stored for other clients than the one that asked, and so updated.
    fn may_be_kept(&self, state: &State<'_>) -> Result<(), Refused> {
        let State { born, last, headers, control, withheld, .. } = state;
        let settings = self.judge.settings;
        let status = state.status().as_u16();
        let asked = |name: &HeaderName| last.request.headers.contains_key(name);
        let wants = Wishes::of(&last.request.headers, settings);
        if !wants.are_unclear() && wants.forbid_to_store() {
            return Err("RFC 9111 §5.2.1.5: no-store of a request");
        }
        let of_a_part = [header::RANGE, header::IF_RANGE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE];
        let is_own = || is_for_a_part(self.world, last, settings);
        if last.request.method == Method::GET && of_a_part.iter().any(asked) && !is_own() {
            return Err("RFC 9110 §13.1, §14.2: stored from one client's conditions");
        }
        if !(settings.any_status || settings.statuses.contains(&status)) || [206, 304].contains(&status) {
            return Err("RFC 9111 §3: a status that is not stored");
        }
        if born.headers.contains_key(header::CONTENT_RANGE) {
            let is_all = |(place, total): &(Range<u64>, u64)| *place == (0..*total);
            let is_bound = born.binding().is_some() || born.is_bound_by_an_earlier(self.world);
            if !born.part().is_some_and(|part| is_bound || is_all(&part)) {
                return Err("RFC 9111 §3.3: a part");
            }
            if !born.request.headers.contains_key(header::RANGE) {
                return Err("RFC 9110 §15.3.7: a part that no range asked for");
            }
        }
        let is_read = settings.modes.serves_unfinished() && born.serial >= self.first && !born.tells_length();
        if born.total() > settings.max_size && !is_read {
            return Err("the policy's largest size");
        }
        let media = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        if !settings.any_media && media.is_none_or(|media| media == b"text/html") {
            return Err("the policy's media types");
        }
        let varies = headers.get_all(header::VARY).iter().any(|line| line.as_bytes().contains(&b'*'));
        if varies {
            return Err("RFC 9111 §4.1: Vary *");
        }
        if control.is_unclear {
            return Ok(());
        }
        if control.has("no-store") || control.has_whole("private") {
            return Err("RFC 9111 §5.2.2: no-store or private");
        }
        if asked(&header::AUTHORIZATION) && !is_shared(control) {
            return Err("RFC 9111 §3.5: one client's answer");
        }
        let tag = headers.get(header::ETAG).map(HeaderValue::as_bytes);
        if is_of_a_cookie(state) && !tag.is_some_and(|tag| tag.starts_with(b"\"")) {
            return Err("RFC 9111 §4.2.2: an answer to a cookie that others may not have");
        }
        let keeps_cookie = settings.set_cookie || withheld.contains(&header::SET_COOKIE);
        if headers.contains_key(header::SET_COOKIE) && !keeps_cookie {
            return Err("RFC 9111 §7.3: one client's cookie");
        }
        let expires = headers.contains_key(header::EXPIRES) && !control.is_targeted;
        let is_explicit = expires || control.has("max-age") || control.has("s-maxage");
        if !is_explicit && !may_be_guessed(state) {
            return Err("RFC 9111 §3: neither the status nor a directive lets it be stored");
        }
        Ok(())
    }

    /// The reason why the response may not be used for this request, or `None` if it may.
    fn refused(&self, state: &State<'_>) -> Option<Refused> {
        if !state.is_selected_by(&self.request.headers) {
            return Some("RFC 9111 §4.1: another variant");
        }
        let State { born, last, .. } = state;
        let own = Target::of(self.request);
        // A response from before an unsafe request is out of date.
        let mut untrue = self.judge.invalidated.iter().filter(|(target, _)| *target == own);
        if untrue.any(|(_, from)| born.serial < *from) {
            return Some("RFC 9111 §4.4: invalidated");
        }
        let was_asked = self.is_own(last);
        let is_authorized = self.request.headers.contains_key(header::AUTHORIZATION);
        let sharing = self.judge.settings.sharing.with_authorized;
        let is_shared = sharing || is_shared(&state.control) || state.control.is_unclear || state.was_shared;
        if is_authorized && !is_shared && !self.is_own(born) {
            if !was_asked {
                return Some("RFC 9111 §3.5: not for clients with credentials");
            }
            if !state.is_told_by_a_strong_tag() {
                return Some("RFC 9111 §3.5: credentials that may get other bytes");
            }
        }
        let wishes = Wishes::of(&self.request.headers, self.judge.settings);
        if was_asked || wishes.are_unclear() {
            return None;
        }
        let life = Life::of(state, self.judge.settings, self.world.now)?;
        if !life.is_fresh() && !self.judge.evicted && self.judge.kept.is_withdrawn(state, &self.world.calls) {
            return Some("RFC 9111 §4.2.4: stale, and withdrawn by the inner service");
        }
        let is_shared = last.serial >= self.first;
        let heard = (self.saw_failure(), is_shared);
        wishes.refuse(state, life, self.judge.settings, heard, self.world.now)
    }

    /// Whether the inner service failed while this request was answered.
    fn saw_failure(&self) -> bool {
        let own = Target::of(self.request);
        let mut calls = self.calls().filter(|call| Target::of(&call.request) == own);
        calls.any(|call| is_error(call.status) || call.is_broken()) || self.world.failures.len() > self.failed
    }

    /// RFC 9111 §4.2.3; RFC 9211 §2.4.
    fn wrong_age(&self, state: &State<'_>) -> Option<Refused> {
        let age = self.number(&header::AGE);
        let since = self.world.now.saturating_sub(state.last.at);
        if age.is_none_or(|age| age < since) {
            return Some("RFC 9111 §4.2.3: Age");
        }
        let life = Life::of(state, self.judge.settings, self.world.now)?;
        if age != Some(life.age) {
            return Some("RFC 9111 §4.2.3: Age, as it is calculated");
        }
        let left = i128::from(life.lifetime) - i128::from(life.age);
        let said = self.parameter("ttl").and_then(|said| said.parse::<i128>().ok());
        said.is_some_and(|said| said != left).then_some("RFC 9211 §2.4: ttl")
    }

    /// The first of these fields, or of all, that differs from the stored response's.
    pub(super) fn other_field(&self, state: &State<'_>, names: Option<&[HeaderName]>) -> Option<HeaderName> {
        let shown = &self.viewed.headers;
        let names = names.map_or_else(
            || shown.keys().chain(state.headers.keys()).cloned().collect(),
            <[HeaderName]>::to_vec,
        );
        let is_other = |name: &&HeaderName| {
            let lines: Vec<_> = shown.get_all(*name).iter().collect();
            let stored: Vec<_> = state.headers.get_all(*name).iter().collect();
            let own = &state.last.headers;
            // A field that is for one client alone may go to that client.
            let is_for_own = self.is_own(state.last) && lines.iter().copied().eq(own.get_all(*name));
            let is_withheld = state.withheld.contains(name) || state.may_lack;
            let is_for_own = is_withheld && (lines.is_empty() || is_for_own);
            let is_made = *name == header::ETAG && stored.is_empty();
            lines != stored && !is_for_own && !is_made
        };
        names.iter().filter(|name| !MADE_ANEW.contains(name)).find(is_other).cloned()
    }

    pub(super) fn shows(&self, state: &State<'_>, names: Option<&[HeaderName]>) {
        let other = self.other_field(state, names);
        self.rule(&format!("RFC 9111 §3.2, §4: the stored response's fields: {other:?}"), other.is_none());
    }

    /// Checks the fields that every answer from the store has, and those that no such answer has.
    pub(super) fn fields_of_the_store(&self) {
        self.rule("RFC 9111 §5.1: Age is one number", self.number(&header::AGE).is_some());
        self.rule("RFC 9110 §6.6.1: Date", self.viewed.headers.contains_key(header::DATE));
        for name in HOP_BY_HOP {
            self.rule("RFC 9111 §3.1: a field of one connection", !self.viewed.headers.contains_key(name));
        }
        let member = self.have("RFC 9211 §2: Cache-Status", self.member());
        let mut parameters = member.split(';').map(str::trim);
        let is_token =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        self.rule("RFC 9211 §2: a name", parameters.next().is_some_and(is_token));
        let [mut hit, mut forwarded, mut stored, mut storing, mut collapsed] = [false; 5];
        for parameter in parameters {
            match parameter.split_once('=').unwrap_or((parameter, "")) {
                ("hit", "") => hit = true,
                ("fwd", reason) => forwarded = is_token(reason),
                ("stored", "") => stored = true,
                ("collapsed", "") => collapsed = true,
                ("ttl", seconds) => self.rule("RFC 9211 §2.4: ttl", seconds.parse::<i64>().is_ok()),
                ("fwd-status", status) => {
                    let is_of = |call: &Call| Some(u64::from(call.status.as_u16())) == number(status);
                    self.rule("RFC 9211 §2.3: fwd-status", self.calls().any(is_of));
                }
                ("detail", detail) => {
                    // RFC 9651 §3.3.4.
                    let is_of_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&b);
                    let is_detail = detail.starts_with(|c: char| c.is_ascii_alphabetic());
                    self.rule("RFC 9211 §2.8: detail", is_detail && detail.bytes().all(is_of_token));
                    storing = detail == "storing";
                }
                _ => self.rule("RFC 9211 §2: a parameter", false),
            }
        }
        let is_own = |call: &Call| self.is_own(call);
        let mut failures = self.world.failures.iter().skip(self.failed);
        self.rule("RFC 9211 §2: either a hit or forwarded", hit != forwarded);
        let was_forwarded = self.calls().next().is_some() || failures.len() > 0;
        self.rule("RFC 9211 §2.6: collapsed with another's call", !collapsed || was_forwarded);
        let was_forwarded =
            collapsed || self.calls().any(is_own) || failures.any(|viewer| *viewer == self.viewer);
        self.rule("RFC 9211 §2.2: forwarded by a call", !forwarded || was_forwarded || self.is_in_a_crowd);
        self.rule("RFC 9211 §2.5: stored of a call", !stored && !storing || self.calls().any(is_own));
        self.rule("RFC 9211 §2.5: stored, or not yet", !(stored && storing));
        let is_of_own = self.last().is_some_and(|call| self.is_own(call));
        self.rule("RFC 9211 §2.1: a hit was there before", !hit || !is_of_own);
    }

    /// This cache's member of `Cache-Status`.
    fn member(&self) -> Option<&'a str> {
        let line = self.viewed.headers.get_all("cache-status").iter().next_back()?;
        line.to_str().ok()?.rsplit(", ").next()
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut parameters = self.member()?.split(';').map(str::trim);
        parameters.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))
    }
}

/// RFC 9111 §3.5
pub(super) fn is_shared(control: &Control) -> bool {
    ["public", "must-revalidate", "s-maxage"].iter().any(|name| control.has(name))
}

/// The fields that every answer gets anew.
const MADE_ANEW: [HeaderName; 5] = [
    header::ACCEPT_RANGES,
    header::AGE,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    HeaderName::from_static("cache-status"),
];

/// The most stored responses to consider for an answer without content.
const MOST_STATES: usize = 32;
