//! Responses that must stay in the store whatever one client was told, and those that must not be used stale any more.
//!
//! RFC 9111 §4.2.4 (stale responses), §4.3.3 (answers to a validation); the documentation of the policy.

use http::{
    Method, StatusCode,
    header::{self, HeaderMap},
};

use super::{
    conditions::CONDITIONS,
    control::Control,
    heard::is_for_the_layer,
    keys::Target,
    lineage::State,
    origin::Call,
    reuse::{Life, is_error},
    script::Settings,
    sources::is_shared,
    verdict::{View, Viewed, length},
};

/// A response that was a hit, and must be a hit for every plain request until it is stale.
#[derive(Debug)]
pub(super) struct Fresh {
    target: Target,
    since: u64,
    until: u64,
    /// RFC 9111 §3.5
    is_shared: bool,
}

impl Fresh {
    /// A hit with the whole body, if the response is for everybody.
    pub(super) fn of(view: &View, viewed: &Viewed, source: &State<'_>, life: Life, now: u64) -> Option<Self> {
        let State { born, headers, control, .. } = source;
        let is_whole =
            viewed.status == StatusCode::OK && !viewed.failed && born.total() == length(&viewed.body);
        let is_for_all = !headers.contains_key(header::VARY) && !control.has_whole("no-cache");
        let is_told = is_plain(view) && view.request.method == Method::GET;
        (is_whole && is_for_all && is_told && life.is_fresh()).then(|| {
            let until = now.saturating_add(life.lifetime - life.age);
            Self { target: Target::of(&view.request), since: now, until, is_shared: is_shared(control) }
        })
    }
}

/// The state of the store, as far as the answers so far show it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    fresh: Vec<Fresh>,
    /// The calls in which the inner service refused the response that it was asked about.
    refusals: Vec<usize>,
}

impl Kept {
    /// # Panics
    ///
    /// If a response that is still fresh is no longer used.
    pub(super) fn judge(&self, view: &View, calls: &[&Call], settings: &Settings, now: u64) {
        let target = Target::of(&view.request);
        let is_authorized = view.request.headers.contains_key(header::AUTHORIZATION);
        let mut fresh = self.fresh.iter().filter(|fresh| fresh.target == target);
        let is_there = fresh.any(|fresh| {
            let may_have = fresh.is_shared || settings.sharing.with_authorized || !is_authorized;
            (fresh.since..fresh.until).contains(&now) && may_have
        });
        let is_hit = view.viewed().is_none() || calls.is_empty();
        let why = "a refusal of one client took a fresh response from others";
        assert!(!is_there || !is_plain(view) || is_hit, "{why}\n{view:?}\n{calls:?}\n{settings:?}\n{self:?}");
    }

    pub(super) fn add(&mut self, fresh: Fresh) {
        self.fresh.retain(|other| other.target != fresh.target);
        self.fresh.push(fresh);
    }

    /// Takes into account the other effects of a step that led to `calls`.
    pub(super) fn heed(&mut self, views: &[View], calls: &[Call], settings: &Settings, now: u64) {
        // Once stale, a response may be removed. The clock may go back after that.
        self.fresh.retain(|fresh| now < fresh.until);
        let is_read = |view: &View| [Method::GET, Method::HEAD].contains(&view.request.method);
        if !views.iter().all(is_read) {
            self.fresh.clear();
        }
        for call in calls.iter().filter(|call| !says_nothing_of_others(call, settings)) {
            let target = Target::of(&call.request);
            self.fresh.retain(|fresh| fresh.target != target);
        }
        // With several clients, or one that has left, it is not known when the answer took effect, if at all.
        let [view] = views else { return };
        if view.viewed().is_some() {
            let refusals = calls.iter().filter(|call| is_refusal(view, call));
            self.refusals.extend(refusals.map(|call| call.serial));
        }
    }

    /// Whether the inner service was asked about this response since it was last good, and no longer gave it.
    pub(super) fn is_withdrawn(&self, state: &State<'_>, calls: &[Call]) -> bool {
        let refusals = self.refusals.iter().filter_map(|serial| calls.get(*serial));
        let mut later = refusals.filter(|call| call.serial > state.last.serial.max(state.born.serial));
        later.any(|call| is_about(call, state))
    }
}

/// Whether the request asks for the whole, without conditions or wishes.
fn is_plain(view: &View) -> bool {
    let wishes = [
        header::CACHE_CONTROL,
        header::PRAGMA,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::EXPECT,
    ];
    let asks = CONDITIONS.iter().chain(&wishes).any(|name| view.request.headers.contains_key(name));
    !asks && is_for_the_layer(&view.request)
}

/// Whether the answer cannot have replaced a stored response, and says nothing about one.
fn says_nothing_of_others(call: &Call, settings: &Settings) -> bool {
    let control = Control::of_response(&call.headers, settings.targeted);
    let forbids = !control.is_unclear && (control.has("no-store") || control.has_whole("private"));
    let is_stored = settings.any_status || settings.statuses.contains(&call.status.as_u16());
    let is_news = [StatusCode::NOT_MODIFIED, StatusCode::PARTIAL_CONTENT].contains(&call.status);
    call.request.method == Method::GET && !is_news && !is_error(call.status) && (forbids || !is_stored)
}

/// Whether the layer asked if its stored response is still good, and the refusal is not about one client's credentials.
fn is_refusal(view: &View, call: &Call) -> bool {
    let validators = [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE];
    let is_question = validators.iter().any(|name| {
        let (own, asked) = (view.request.headers.get_all(name), call.request.headers.get_all(name));
        asked.iter().next().is_some() && !own.iter().eq(asked)
    });
    let names = [header::AUTHORIZATION, header::COOKIE];
    let is_of_a_client = names.iter().any(|name| call.request.headers.contains_key(name));
    is_question
        && match call.status.as_u16() {
            401 | 403 => !is_of_a_client,
            404 | 410 | 451 => true,
            _ => false,
        }
}

/// Whether the question was about this response.
fn is_about(call: &Call, state: &State<'_>) -> bool {
    let same = |asked, stored: &HeaderMap, name| {
        let asked = call.request.headers.get(asked);
        asked.is_some() && asked == stored.get(name)
    };
    Target::of(&call.request) == Target::of(&state.born.request)
        && state.is_selected_by(&call.request.headers)
        && (same(header::IF_NONE_MATCH, &state.headers, header::ETAG)
            || !call.request.headers.contains_key(header::IF_NONE_MATCH)
                && same(header::IF_MODIFIED_SINCE, &state.headers, header::LAST_MODIFIED))
}
