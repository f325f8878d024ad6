//! [`Rule`]: the responses that a rule is for, and what it does with them.

use std::time::Duration;

use http::{
    StatusCode,
    header::{HeaderMap, HeaderName},
};

use super::{
    effects::Effects,
    glob::{Glob, segments},
};
use crate::{
    error::Error,
    semantics::{
        groups::{MOST_GROUPS, is_group_name},
        media::{by_ending, is_in_range, is_manifest},
        place::Place,
        reference::origin_of,
    },
    settings::Fill,
};

/// A rule of a [`Policy`](crate::Policy::rule): the responses that it is for, and what it does with them.
///
/// A response must fit all matchers: [`path`](Self::path), [`host`](Self::host), [`status`](Self::status),
/// [`media_type`](Self::media_type) and [`field`](Self::field). The other methods are effects.
///
/// All lifetimes count as those of `Cache-Control` do: from the time when the origin made the response, so its `Age` is
/// taken off (RFC 9111 §4.2). A 304 begins them anew, and a hit does not.
///
/// No rule lifts `no-store`, `private`, `no-cache`, `Set-Cookie`, `Vary: *`, the rules for requests with `Authorization`,
/// or the end of a signed URL. None lets a response be used stale that says `must-revalidate`, `proxy-revalidate` or
/// `s-maxage`, and none gives a lifetime to an answer that has none because of a [`Cookie`](crate::Policy::default_ttl) or
/// its [status](crate::Policy::statuses).
///
/// ```
/// # use std::time::Duration;
/// use tower_video_cache::{Policy, Rule};
///
/// let second = Duration::from_secs(1);
/// let policy = Policy::default()
///     .rule(Rule::path("/live/**").media_type("application/vnd.apple.mpegurl").at_most(second))?
///     .rule(Rule::path("/live/**").stale_if_error(10 * second))?
///     .rule(Rule::path("/vod/*/*.m4s").immutable())?
///     .rule(Rule::any().host("*.staging.example").never())?;
/// # Ok::<(), tower_video_cache::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    path: Option<Glob>,
    host: Option<String>,
    status: Option<u16>,
    media_type: Option<String>,
    fields: Vec<(HeaderName, String)>,
    effects: Effects,
}

impl Rule {
    /// A rule for all responses.
    #[must_use]
    pub fn any() -> Self {
        let (path, host, status, media_type) = (None, None, None, None);
        Self { path, host, status, media_type, fields: Vec::new(), effects: Effects::default() }
    }

    /// A rule for the responses to requests whose path fits this pattern. The pattern begins with a slash.
    ///
    /// The pattern fits by whole segments. `*` is any text within a segment, even none. A segment `**` is any number of
    /// segments, even none. Everything else is itself, byte by byte: the cache decodes no percent-encoding, upper and lower
    /// case differ, and the query does not count. There are no regular expressions, and the time is linear in the pattern
    /// and the path.
    ///
    /// | pattern | fits | does not fit |
    /// |---|---|---|
    /// | `/live/*` | `/live/a` | `/live`, `/live/a/b` |
    /// | `/live/**` | `/live`, `/live/a`, `/live/a/b` | `/lives` |
    /// | `/**/*.m3u8` | `/a.m3u8`, `/x/y/a.m3u8` | `/a.m3u8/x` |
    /// | `/*/720p/seg-*.ts` | `/show/720p/seg-7.ts` | `/720p/seg-7.ts` |
    ///
    /// It is the path of the request that brought the response, or confirmed it last. A [key
    /// function](crate::VideoCacheLayer::key) may let other paths find the same response.
    #[must_use]
    pub fn path(pattern: &str) -> Self {
        Self { path: Some(Glob::new(pattern)), ..Self::any() }
    }

    /// Only responses to requests for this host, in any case.
    ///
    /// A port counts, unless it is a default one (80 or 443). `*.example.com` is any host
    /// below `example.com`. The cache takes the host from the URI, or from `Host`.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(origin_of(host));
        self
    }

    /// Only responses with this status code, from 200 to 599 without 206 and 304.
    ///
    /// The rule does not let the cache store the status: that is the choice of [`Policy::statuses`](crate::Policy::statuses).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use http::StatusCode;
    /// # use tower_video_cache::{Policy, Rule};
    /// // A segment that is not there yet comes soon.
    /// let policy = Policy::default()
    ///     .statuses([StatusCode::OK, StatusCode::NOT_FOUND])
    ///     .rule(Rule::any().status(404).ttl(Duration::from_secs(1)))?;
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Only responses of this media type: `type/subtype`, `type/*` or `*/*`, in any case.
    ///
    /// If a response has no usable type, the [ending](crate::Policy::media_by_ending) of the path decides, too.
    #[must_use]
    pub fn media_type(mut self, media_type: &str) -> Self {
        self.media_type = Some(media_type.trim().to_ascii_lowercase());
        self
    }

    /// Only responses that have this field with this value.
    ///
    /// One line of the field has to be the value, without the spaces around. Case counts. With several calls, a response
    /// must have all the fields. It must be a field that is stored: no hidden [group
    /// field](crate::Policy::hide_group_fields), and none that RFC 9111 §3.1 leaves out. The cache looks again when it reads
    /// the stored response.
    #[must_use]
    pub fn field(mut self, name: HeaderName, value: &str) -> Self {
        self.fields.push((name, value.trim().to_owned()));
        self
    }

    /// How long a response is fresh that does not say, in place of [`Policy::default_ttl`](crate::Policy::default_ttl) and
    /// of [heuristics](crate::Policy::heuristics).
    ///
    /// As there, no guess is longer than the time since `Last-Modified`. An HLS or DASH manifest gets it only from a rule
    /// that has a [media type](Self::media_type), or a path with such an ending (`/**/*.m3u8`).
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.effects.default_ttl = Some(ttl);
        self
    }

    /// How long a response is fresh, in place of what it says, even if it is a manifest.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.effects.ttl = Some(ttl);
        self
    }

    /// The longest time that a response is fresh, whatever it says.
    #[must_use]
    pub fn at_most(mut self, ttl: Duration) -> Self {
        self.effects.at_most = Some(ttl);
        self
    }

    /// The shortest time that a response is fresh, whatever it says, even if it is a manifest.
    #[must_use]
    pub fn at_least(mut self, ttl: Duration) -> Self {
        self.effects.at_least = Some(ttl);
        self
    }

    /// [`Policy::stale_while_revalidate`](crate::Policy::stale_while_revalidate) for these responses (RFC 5861 §3).
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.effects.stale_while_revalidate = Some(window);
        self
    }

    /// [`Policy::stale_if_error`](crate::Policy::stale_if_error) for these responses (RFC 5861 §4).
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.effects.stale_if_error = Some(window);
        self
    }

    /// The response never changes: it is fresh for 2^31 seconds, which RFC 9111 §1.2.2 takes for infinity, or for
    /// [`at_most`](Self::at_most). A reload with `max-age=0` does not have it validated (RFC 8246 §2).
    #[must_use]
    pub fn immutable(mut self) -> Self {
        self.effects.immutable = true;
        self
    }

    /// The response is not stored (`detail=rule`).
    ///
    /// One that is stored already is used no more. The next request for it removes it.
    #[must_use]
    pub fn never(mut self) -> Self {
        self.effects.never = true;
        self
    }

    /// Puts the response into these groups of its origin (RFC 9875), beside those that it names: at most 64, with names of
    /// 1 to 128 bytes of printable ASCII.
    ///
    /// This is the only effect that does not act on what is stored already: a response has the groups that it got when it
    /// was stored, or validated last.
    #[must_use]
    pub fn groups<I>(mut self, groups: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.effects.groups.extend(groups.into_iter().map(Into::into));
        self
    }

    /// How a missing response is fetched, in place of [`VideoCacheLayer::fill`](crate::VideoCacheLayer::fill).
    ///
    /// The cache chooses it before the answer is known. So such a rule has a path and a host at most, and of all rules
    /// that set a fill, the first one that fits counts. A rule that sets nothing else leaves the response to the rules
    /// after it.
    ///
    /// ```
    /// # use tower_video_cache::{Fill, Policy, Rule};
    /// // Some players of this catalogue cannot bear a body that breaks off.
    /// let policy = Policy::default().rule(Rule::path("/set-top-boxes/**").fill(Fill::whole()))?;
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    #[must_use]
    pub fn fill(mut self, fill: Fill) -> Self {
        self.effects.fill = Some(fill);
        self
    }

    /// # Errors
    ///
    /// The first setting that no rule can have.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if let Some(path) = &self.path {
            path.check()?;
        }
        let is_host = |host: &str| {
            let name = host.strip_prefix("*.").unwrap_or(host);
            !name.is_empty() && name.len() <= LONGEST && !name.contains(['*', '/'])
        };
        if self.host.as_deref().is_some_and(|host| !is_host(host)) {
            return Err(Error::config("the host of a rule is a name, or *. and a name"));
        }
        if self.status.is_some_and(|status| !(200..600).contains(&status) || matches!(status, 206 | 304)) {
            return Err(Error::config("a rule has a status from 200 to 599, and neither 206 nor 304"));
        }
        let is_type = |media: &str| {
            media.split_once('/').is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty())
        };
        if self.media_type.as_deref().is_some_and(|media| !is_type(media) || media.len() > LONGEST) {
            return Err(Error::config("the media type of a rule is type/subtype, type/* or */*"));
        }
        if self.fields.len() > MOST_FIELDS || self.fields.iter().any(|(_, value)| value.len() > LONGEST) {
            return Err(Error::config("a rule has at most 16 fields, with values of at most 1024 bytes"));
        }
        let asks_for_the_answer =
            self.status.is_some() || self.media_type.is_some() || !self.fields.is_empty();
        if self.effects.fill.is_some() && asks_for_the_answer {
            return Err(Error::config("a rule that sets the fill has only a path and a host"));
        }
        let groups = &self.effects.groups;
        if groups.len() > MOST_GROUPS || !groups.iter().all(|name| is_group_name(name)) {
            return Err(Error::config(
                "a rule has at most 64 groups, with names of 1 to 128 printable bytes",
            ));
        }
        self.effects.check()
    }

    pub(crate) fn effects(&self) -> &Effects {
        &self.effects
    }

    /// Whether the rule names manifests, and not merely everything at some place.
    pub(crate) fn names_manifests(&self) -> bool {
        let by_path = self.path.as_ref().and_then(|path| by_ending(path.pattern(), None));
        self.media_type.is_some() || by_path.is_some_and(is_manifest)
    }

    /// Whether the rule is for a status of its own.
    pub(crate) fn names_a_status(&self) -> bool {
        self.status.is_some()
    }

    /// Whether the rule says something of the response, and not merely of the request.
    pub(crate) fn is_of_responses(&self) -> bool {
        !self.effects.are_of_requests()
    }

    /// The fill for requests to such a place, if the rule sets it.
    pub(crate) fn fill_at(&self, place: &Place) -> Option<Fill> {
        self.effects.fill.filter(|_| self.is_at(place, &segments(&place.path).collect::<Vec<_>>()))
    }

    fn is_at(&self, place: &Place, segments: &[&str]) -> bool {
        self.host.as_deref().is_none_or(|pattern| is_host_of(pattern, &place.host))
            && self.path.as_ref().is_none_or(|path| path.fits(segments))
    }

    /// Whether the rule is for such a response.
    pub(crate) fn fits(&self, facts: &Facts<'_>) -> Fit {
        let has = |(name, value): &(HeaderName, String)| {
            facts.headers.get_all(name).iter().any(|line| line.as_bytes().trim_ascii() == value.as_bytes())
        };
        let is_of = |range: &str| facts.media.iter().flatten().any(|media| is_in_range(media, range));
        let fits_but_for_its_place = self.status.is_none_or(|status| facts.status.as_u16() == status)
            && self.media_type.as_deref().is_none_or(|range| range == "*/*" || is_of(range))
            && self.fields.iter().all(has);
        if !fits_but_for_its_place {
            return Fit::No;
        }
        if !facts.place.is_known() && (self.path.is_some() || self.host.is_some()) {
            return Fit::Unknown;
        }
        if self.is_at(facts.place, &facts.segments) { Fit::Yes } else { Fit::No }
    }
}

/// The facts that rules look at.
pub(crate) struct Facts<'a> {
    pub(crate) status: StatusCode,
    pub(crate) headers: &'a HeaderMap,
    /// The type that the response says, and the one by the ending of the path.
    pub(crate) media: [Option<&'a str>; 2],
    pub(crate) place: &'a Place,
    /// Those of the path.
    pub(crate) segments: Vec<&'a str>,
}

/// Whether a rule is for a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    No,
    /// The rule is for some places, and the record of the response does not name its own.
    Unknown,
}

fn is_host_of(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(end) => host.strip_suffix(end).is_some_and(|below| !below.is_empty()),
        None => host == pattern,
    }
}

/// The longest host, media type and value, in bytes.
const LONGEST: usize = 1 << 10;

const MOST_FIELDS: usize = 16;
