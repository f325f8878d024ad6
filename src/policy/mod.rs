//! [`Policy`]: which responses are stored, and for how long they are fresh.

mod grouping;
mod invalidate;
mod rules;
mod statuses;

use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, request};

pub(crate) use self::grouping::Grouping;
use self::rules::{Facts, Fit, segments};
pub use self::{grouping::GroupField, invalidate::Invalidate, rules::Rule, statuses::Statuses};
use crate::{
    error::Error,
    semantics::{
        fields::media_type,
        media::{by_ending, is_in_range, is_manifest},
        place::Place,
    },
    settings::Fill,
};

/// The rules for storing: which responses, how long they are fresh if they do not say, and how many ranges a request
/// gets.
///
/// ```
/// # use std::time::Duration;
/// use tower_video_cache::Policy;
///
/// let policy = Policy::default()
///     .default_ttl(Duration::from_secs(3600))
///     .max_size(8 << 30)
///     .also_media_types(["image/webp"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each has its own setter")]
pub struct Policy {
    default_ttl: Duration,
    grouping: Grouping,
    heuristics: Heuristics,
    heeds_requests: bool,
    invalidate: Invalidate,
    max_ranges: usize,
    max_size: u64,
    media_types: Vec<String>,
    media_by_ending: bool,
    reload_grace: Duration,
    rules: Vec<Rule>,
    shares_with_the_authorized: bool,
    stale_if_error: Duration,
    stale_on_request: Duration,
    stale_while_revalidate: Duration,
    statuses: Statuses,
    stores_set_cookie: bool,
    streams: bool,
    targeted_fields: Vec<HeaderName>,
    uncacheable_ttl: Duration,
}

impl Policy {
    /// The [media types](Self::media_types) that are stored by default: video, audio, HLS and DASH manifests, and
    /// `text/vtt`.
    pub const DEFAULT_MEDIA_TYPES: &'static [&'static str] = &[
        "video/*",
        "audio/*",
        "application/mp4",
        // HLS playlists, under the registered name and the one that servers used before it.
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "application/mpegurl",
        "application/dash+xml",
        "text/vtt",
    ];

    /// The default policy, with a preset for live streams: no viewer gets an old playlist, whatever the origin says of
    /// it.
    ///
    /// The cache reads each HLS and DASH manifest on its way into the store, and finds out how it goes on. The target
    /// duration is the `EXT-X-TARGETDURATION` of a playlist (RFC 8216 §4.3.3.1), in seconds, or the
    /// `minimumUpdatePeriod` of a DASH manifest.
    ///
    /// | response | fresh for |
    /// |---|---|
    /// | a live playlist | what it says, but half of its target duration at most, and that half if it says nothing |
    /// | a live playlist without a target duration | as above, with 1 second in place of the half |
    /// | a playlist that has ended | what it says, else [`default_ttl`](Self::default_ttl) |
    /// | a list of playlists (`EXT-X-STREAM-INF`) | what it says, else 1 second |
    /// | a 404 for a path with the [ending](Self::media_by_ending) of a playlist, a segment or a subtitle file | what it says, but 1 second at most, and 1 second if it says nothing |
    /// | any other response | as without the preset |
    ///
    /// A playlist with `EXT-X-ENDLIST`, or of the type `VOD`, has ended, and so has a DASH manifest whose `type` is not
    /// `dynamic`. Every other playlist is live. No target duration is found in a playlist with a `Content-Encoding`, in
    /// one that was fetched in parts, and in one that an earlier version stored, so each of them counts as live. A
    /// period of zero counts as none.
    ///
    /// `Age` is taken off all lifetimes (RFC 9111 §4.2). The preset lifts nothing that a response forbids.
    ///
    /// A live playlist is used stale only until half of its target duration is over, whether the response, the request
    /// or [`stale_while_revalidate`](Self::stale_while_revalidate) allows more. Beyond that, it stands in for an error
    /// only if the response itself says `stale-if-error` (RFC 5861 §4); [`stale_if_error`](Self::stale_if_error) is not
    /// for it. A 404 of the preset is never used stale.
    ///
    /// The 404 is stored without a media type that the policy admits, and beside the statuses that are stored by
    /// default. It is not stored if [`statuses`](Self::statuses) names others, and does not replace a segment that is
    /// still fresh.
    ///
    /// All setters apply, and a [`rule`](Self::rule) goes before the preset if it sets or bounds the lifetime of a
    /// response. For a 404 it must also name the [status](Rule::status): what a rule gives to segments is not for one
    /// that is not there yet. Another rule leaves that to the preset: [`Rule::default_ttl`] is for responses that the
    /// preset leaves without a lifetime. The stale windows of a rule count for a live playlist, too.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use tower_video_cache::{Policy, Rule};
    ///
    /// let outage = Duration::from_secs(30);
    /// let policy = Policy::streaming()
    ///     .rule(Rule::path("/radio/**").at_most(Duration::from_secs(10)))?
    ///     .rule(Rule::path("/**/*.m3u8").stale_if_error(outage))?;
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    #[must_use]
    pub fn streaming() -> Self {
        Self { streams: true, ..Self::default() }
    }

    /// How long a response is fresh that has no `max-age`, `s-maxage` or `Expires` (RFC 9111 §4.2.2). Default: 5
    /// minutes.
    ///
    /// It applies to statuses that are heuristically cacheable, and to responses with `public`.
    /// [`heuristics`](Self::heuristics) go first. With zero, such a response is stale at once: it is stored only if it
    /// has a validator, or may be used stale.
    ///
    /// No guess is longer than the time since `Last-Modified`, where the response has one: a file that has just changed
    /// may be one that grows.
    ///
    /// Two kinds of responses never get it:
    ///
    /// - HLS and DASH manifests, by their type or [ending](Self::media_by_ending). A live manifest changes every few
    ///   seconds.
    /// - The answer to a request with a `Cookie`, which may be for that client alone. Such a response gets no
    ///   [`heuristics`](Self::heuristics) and no stale window of this policy, either. The cache stores it if it has a
    ///   strong `ETag`, and validates it before each use. A 304 to a request without a `Cookie` then shows that the
    ///   response is for all clients. A response that says how long it is fresh, or says `public` or `Vary: Cookie`, is
    ///   an ordinary response. If cookies change nothing, remove them before the cache.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Whether the cache obeys the `Cache-Control` of requests, and `Pragma` without one (RFC 9111 §5.2.1). Default:
    /// true.
    ///
    /// The directives are `no-cache`, `no-store`, `max-age`, `max-stale`, `min-fresh`, `only-if-cached` and
    /// `stale-if-error`. [`stale_on_request`](Self::stale_on_request) limits how stale a response a request gets.
    ///
    /// With this, any client can make the inner service work. A reload (`no-cache`, `max-age=0`) costs one validation,
    /// shared by all requests that wait for it. If the inner service gives no validators, a reload costs the whole
    /// response, unless [`reload_grace`](Self::reload_grace) spares it. `no-store` costs one whole response per
    /// request. Turn this off if you do not trust the clients; the RFC allows it.
    ///
    /// A question of the cache's own says `max-age=0` in the place of a client's `no-cache`. Many frameworks give no
    /// 304 to a request with `no-cache`.
    #[must_use]
    pub fn request_directives(mut self, obey: bool) -> Self {
        self.heeds_requests = obey;
        self
    }

    /// When an unsafe request, such as a POST, removes the stored response of its URI and of the URIs that its answer
    /// names. Default: [`Invalidate::OnSuccess`].
    ///
    /// Choose [`Invalidate::Never`] if any client may send unsafe requests, and their success says nothing about the
    /// videos.
    #[must_use]
    pub fn invalidate(mut self, invalidate: Invalidate) -> Self {
        self.invalidate = invalidate;
        self
    }

    /// The response fields that name the groups of a response (RFC 9875), in place of those before. Default:
    /// [`GroupField::CacheGroups`] alone.
    ///
    /// A purge takes out all responses of one origin that are in the same group. All chosen fields name the same groups:
    /// a group that `Surrogate-Key` names is purged by the same name as one that `Cache-Groups` names. A group has a name
    /// of 1 to 128 bytes of printable ASCII, and upper and lower case differ. A response has at most 64 groups. The cache
    /// ignores further groups, and names that are longer or have other bytes.
    ///
    /// Anybody who can write these fields can put a response into any group of its origin (RFC 9875, Security
    /// Considerations).
    /// A response that was stored before the choice has the groups that it got then, until it is stored or validated anew.
    ///
    /// ```
    /// # use tower_video_cache::{GroupField, Policy};
    /// let policy = Policy::default().group_fields([GroupField::CacheGroups, GroupField::CacheTag]);
    /// ```
    #[must_use]
    pub fn group_fields(mut self, fields: impl IntoIterator<Item = GroupField>) -> Self {
        self.grouping.fields = fields.into_iter().collect();
        self
    }

    /// Whether clients get no [`group_fields`](Self::group_fields) but `Cache-Groups`. Default: true.
    ///
    /// The cache removes these fields from each response that it stores, and from each other answer of the inner service
    /// that it passes on. `Cache-Groups` stays, because it is for every cache on the way. A request that
    /// [bypasses](crate::VideoCacheLayer::bypass) the cache gets the answer untouched, with these fields. The fields of
    /// requests stay, too.
    ///
    /// A response that was stored before the choice keeps its fields until it is stored or validated anew.
    #[must_use]
    pub fn hide_group_fields(mut self, hide: bool) -> Self {
        self.grouping.hides = hide;
        self
    }

    /// Whether the answer to an unsafe request may invalidate groups of its origin, by `Cache-Group-Invalidation` (RFC
    /// 9875 §3). Default: true.
    ///
    /// The answer must have a status that [`invalidate`](Self::invalidate) chooses. Turn this off if not everybody who
    /// writes answers of an origin may empty its groups. The RFC allows that.
    #[must_use]
    pub fn heed_group_invalidation(mut self, heed: bool) -> Self {
        self.grouping.heeds_invalidation = heed;
        self
    }

    /// Takes a response that does not say how long it is fresh for fresh during `percent` of the time since its
    /// `Last-Modified`, at most for `limit`. Default: 0 percent, which is off.
    ///
    /// RFC 9111 §4.2.2 calls 10 percent typical. [`default_ttl`](Self::default_ttl) applies to responses without
    /// `Last-Modified`. It is no minimum: a response that was modified a minute ago is fresh for seconds.
    #[must_use]
    pub fn heuristics(mut self, percent: u32, limit: Duration) -> Self {
        self.heuristics = Heuristics { percent, limit };
        self
    }

    /// The largest body that is stored, in bytes. A larger one passes through. Default: 8 GiB.
    ///
    /// Fills reserve no more than half of the store's capacity together, unless
    /// [`Limits::max_reserved`](crate::Limits::max_reserved) says otherwise. A larger video passes through, too.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// The most ranges in one `Range` field. A request for more gets the whole response. Default: 16.
    ///
    /// A single range is always served. An answer of several parts is always shorter than the whole; otherwise the
    /// whole is the answer.
    #[must_use]
    pub fn max_ranges(mut self, ranges: usize) -> Self {
        self.max_ranges = ranges;
        self
    }

    /// The media types that are stored, in place of those before. Default:
    /// [`DEFAULT_MEDIA_TYPES`](Self::DEFAULT_MEDIA_TYPES).
    ///
    /// Each is `type/subtype`, `type/*` or `*/*`, in any case. The cache ignores parameters. If a response has no
    /// usable type, the [ending](Self::media_by_ending) of the path decides.
    ///
    /// ```
    /// # use tower_video_cache::Policy;
    /// let only_mp4 = Policy::default().media_types(["video/mp4"]);
    /// ```
    #[must_use]
    pub fn media_types<I>(mut self, types: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.media_types.clear();
        self.also_media_types(types)
    }

    /// Media types that are stored beside the [others](Self::media_types).
    ///
    /// ```
    /// # use tower_video_cache::Policy;
    /// let with_posters = Policy::default().also_media_types(["image/jpeg", "image/webp"]);
    /// ```
    #[must_use]
    pub fn also_media_types<I>(mut self, types: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.media_types.extend(types.into_iter().map(|media| media.as_ref().trim().to_ascii_lowercase()));
        self
    }

    /// Whether the ending of the path decides the media type of a response without a usable type. Default: true.
    ///
    /// The type is unusable if `Content-Type` is missing or generic (`application/octet-stream`, `binary/octet-stream`,
    /// `application/binary`, `unknown/unknown`, and the types of downloads), or if servers are known to give this type
    /// to this ending in error. The result decides whether the response is stored, and whether it is a manifest, which
    /// has no [`default_ttl`](Self::default_ttl). Clients get the `Content-Type` of the inner service (RFC 9110 §8.3).
    /// The case of the ending does not matter.
    ///
    /// | ending | type | types in error |
    /// |---|---|---|
    /// | `mpd` | `application/dash+xml` | `application/xml`, `text/xml`, `text/plain`, `video/vnd.mpeg.dash.mpd` |
    /// | `m3u8`, `m3u` | `application/vnd.apple.mpegurl` | `text/plain`, `video/mpegurl`, `video/x-mpegurl` |
    /// | `vtt`, `webvtt` | `text/vtt` | `text/plain` |
    /// | `ts`, `m2t`, `m2ts`, `mts` | `video/mp2t` | `text/vnd.trolltech.linguist`, `text/vnd.qt.linguist`, `application/x-linguist`, `text/texmacs`, `video/vnd.dlna.mpeg-tts` |
    /// | `mp4`, `m4s`, `m4v`, `m4f`, `cmfv`, `cmfa`, `cmft` | `video/mp4` | `application/x-mp4` |
    /// | `mkv`, `mka` | `video/x-matroska` | `application/x-matroska` |
    /// | `ogv`, `ogg`, `oga`, `opus` | `video/ogg` | `application/ogg` |
    /// | `m4a`, `m4b`; `mp3`; `aac`, `ac3`, `ec3`, `flac`, `wav` | `audio/mp4`; `audio/mpeg`; `audio/aac` | |
    /// | `webm`, `weba`; `mov`, `qt`; `mpg`, `mpeg`; `avi`, `flv`, `wmv`, `3gp` | `video/webm`; `video/quicktime`; `video/mpeg`; `video/x-msvideo` | |
    #[must_use]
    pub fn media_by_ending(mut self, by_ending: bool) -> Self {
        self.media_by_ending = by_ending;
        self
    }

    /// How long after its arrival a response without a validator is new enough for a request with `no-cache`. Default: 2
    /// seconds.
    ///
    /// Some players say `no-cache` on every range, and browsers do with open developer tools. Without a validator, the
    /// inner service can confirm no stored response, so each such range would cost the whole response again. The
    /// response must be fresh, too.
    ///
    /// With this, the cache goes a little beside RFC 9111 §5.2.1.4, where a client that says `no-cache` prefers an
    /// answer that the origin server has just confirmed. With zero, the cache keeps to the section.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_video_cache::Policy;
    /// let by_the_letter = Policy::default().reload_grace(Duration::ZERO);
    /// ```
    #[must_use]
    pub fn reload_grace(mut self, grace: Duration) -> Self {
        self.reload_grace = grace;
        self
    }

    /// Adds a rule for some responses, after the rules before. Default: no rules.
    ///
    /// The first rule that is for a response counts, and no other. A rule acts on what is stored at once: the cache keeps
    /// the host and the path of each request that brought a response, and finds the rule again when it reads the record. So
    /// a response that is stored gets the lifetime that the rules of the running process give, whatever they were when it
    /// came. [`Rule::groups`] alone waits until the response is stored anew.
    ///
    /// Records of earlier versions do not name the host and the path. If the first rule that may be for such a response
    /// asks for them, no rule acts on it until it is stored or validated anew.
    ///
    /// # Errors
    ///
    /// [`is_config`](Error::is_config) for more than 256 rules, and for a rule:
    ///
    /// - without an effect, or with effects that contradict each other, such as [`Rule::never`] beside another one,
    /// - with a pattern of a path that does not begin with a slash, is longer than 1024 bytes, or has more than 8 segments
    ///   between two `**`,
    /// - with a [fill](Rule::fill) for a status, media type or field, which are not known yet,
    /// - with a host, status, media type, field or group that no response has.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_video_cache::{Policy, Rule};
    /// let policy = Policy::default()
    ///     .rule(Rule::path("/**/*.m3u8").at_most(Duration::from_secs(2)))?
    ///     .rule(Rule::any().media_type("video/*").default_ttl(Duration::from_secs(86_400)))?;
    /// assert!(policy.rule(Rule::path("no-slash").never()).unwrap_err().is_config());
    /// # Ok::<(), tower_video_cache::Error>(())
    /// ```
    pub fn rule(mut self, rule: Rule) -> Result<Self, Error> {
        rule.check()?;
        if self.rules.len() >= MOST_RULES {
            return Err(Error::config("a policy has at most 256 rules"));
        }
        self.rules.push(rule);
        Ok(self)
    }

    /// Whether a response with `Set-Cookie` is stored, with the cookie (RFC 9111 §7.3). Default: false.
    ///
    /// With this, every client gets the first client's cookie. If the inner service says `private="set-cookie"` or
    /// `no-cache="set-cookie"`, the response is stored without the cookie in either case.
    #[must_use]
    pub fn store_set_cookie(mut self, store: bool) -> Self {
        self.stores_set_cookie = store;
        self
    }

    /// Whether a request with `Authorization` gets every stored response. Default: false.
    ///
    /// Without this, such a request gets only a response with `public`, `s-maxage` or `must-revalidate` (RFC 9111
    /// §3.5). For any other response, the cache asks the inner service with the request's own credentials. If the inner
    /// service answers 304 under a strong `ETag`, the client gets the stored bytes. Any other answer passes through and
    /// is not stored. So a client that has paid never gets the response of one that has not.
    ///
    /// Set this if the inner service does not look at `Authorization`.
    #[must_use]
    pub fn share_with_authorized(mut self, share: bool) -> Self {
        self.shares_with_the_authorized = share;
        self
    }

    /// How long a stale response may be used because a request asks for it. Default: zero.
    ///
    /// A request asks by `max-stale` (RFC 9111 §5.2.1.2), or by a `stale-if-error` longer than the response's (RFC 5861
    /// §4). With zero, no request can bring back a response that the inner service has withdrawn.
    ///
    /// The cache never uses a response stale that says `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache`,
    /// nor one that the inner service has refused since with 401, 403, 404, 410 or 451.
    #[must_use]
    pub fn stale_on_request(mut self, window: Duration) -> Self {
        self.stale_on_request = window;
        self
    }

    /// How long a stale response stands in for an error of the inner service, if neither the response nor the request
    /// says (RFC 5861 §4). Default: zero.
    ///
    /// An error is a failure, a silence longer than the [timeouts](crate::Timeouts), or a 500, 502, 503 or 504. A
    /// request with `no-cache` always gets the error.
    ///
    /// The cache never uses a response stale that says `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache`.
    /// If the inner service refuses a validation with 401, 403, 404, 410 or 451, the response is not used stale until
    /// the inner service confirms it. A 401 or 403 to a request with `Authorization` or `Cookie` is about that client,
    /// and does not count.
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = window;
        self
    }

    /// How long clients get a stale response while the cache validates it in the background, if the response does not
    /// say (RFC 5861 §3). Default: zero.
    ///
    /// The cache never uses a response stale that says `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache`.
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = window;
        self
    }

    /// The status codes that are stored. Default: 200.
    ///
    /// The cache never stores 206 (Partial Content) and 304 (Not Modified), and serves ranges only of a 200. The
    /// statuses that RFC 9110 §15.1 calls heuristically cacheable get this policy's freshness if they do not say. Other
    /// statuses must say.
    ///
    /// ```
    /// # use http::StatusCode;
    /// # use tower_video_cache::{Policy, Statuses};
    /// let with_missing = Policy::default().statuses([StatusCode::OK, StatusCode::NOT_FOUND]);
    /// let any = Policy::default().statuses(Statuses::Any);
    /// ```
    #[must_use]
    pub fn statuses(mut self, statuses: impl Into<Statuses>) -> Self {
        self.statuses = statuses.into();
        self
    }

    /// The targeted fields that replace `Cache-Control` and `Expires` (RFC 9213), such as `CDN-Cache-Control`. Default:
    /// none.
    ///
    /// The first field counts that the response has and that can be read.
    ///
    /// ```
    /// # use http::HeaderName;
    /// # use tower_video_cache::Policy;
    /// let policy = Policy::default().targeted_fields([
    ///     HeaderName::from_static("my-cdn-cache-control"),
    ///     HeaderName::from_static("cdn-cache-control"),
    /// ]);
    /// ```
    #[must_use]
    pub fn targeted_fields(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.targeted_fields = fields.into_iter().collect();
        self
    }

    /// How long the cache remembers that a response may not be stored. Default: 10 seconds.
    ///
    /// Meanwhile, requests for it go to the inner service at once and unchanged, and none waits for another. A response
    /// that may be stored ends this.
    #[must_use]
    pub fn uncacheable_ttl(mut self, ttl: Duration) -> Self {
        self.uncacheable_ttl = ttl;
        self
    }

    /// `media_type` is the essence (`type/subtype`, no parameters), if there is one.
    pub(crate) fn ttl_by_default(&self, media_type: Option<&str>) -> Duration {
        if media_type.is_some_and(is_manifest) { Duration::ZERO } else { self.default_ttl }
    }

    /// The type by the path of a request, if the response's own type (`said`) is unusable.
    pub(crate) fn media_by_path(&self, path: &str, said: Option<&str>) -> Option<&'static str> {
        by_ending(path, said).filter(|_| self.media_by_ending)
    }

    /// Whether a response is a manifest by the path of its request, and not by its own type.
    pub(crate) fn is_manifest_by_path(&self, path: &str, said: Option<&str>) -> bool {
        self.media_by_path(path, said).is_some_and(is_manifest)
    }

    /// Whether a response is a manifest by its type, or by the path of its request.
    pub(crate) fn is_manifest(&self, path: &str, said: Option<&str>) -> bool {
        said.is_some_and(is_manifest) || self.is_manifest_by_path(path, said)
    }

    /// The rule for a response to a request for such a place.
    pub(crate) fn rule_for(&self, status: StatusCode, headers: &HeaderMap, place: &Place) -> Option<&Rule> {
        if self.rules.is_empty() {
            return None;
        }
        let (said, segments) = (media_type(headers), segments(&place.path).collect());
        let media = [said, self.media_by_path(&place.path, said)];
        let facts = Facts { status, headers, media, place, segments };
        let of_responses = self.rules.iter().filter(|rule| rule.is_of_responses());
        let mut fits = of_responses.map(|rule| (rule, rule.fits(&facts)));
        let (rule, fit) = fits.find(|(_, fit)| *fit != Fit::No)?;
        (fit == Fit::Yes).then_some(rule)
    }

    /// The fills that rules set.
    pub(crate) fn fills(&self) -> impl Iterator<Item = Fill> {
        self.rules.iter().filter_map(|rule| rule.effects().fill)
    }

    /// The fill that the rules set for a request.
    pub(crate) fn fill_for(&self, request: &request::Parts) -> Option<Fill> {
        let place = Place::of(request);
        self.rules.iter().find_map(|rule| rule.fill_at(&place))
    }

    pub(crate) fn most_ranges(&self) -> usize {
        self.max_ranges
    }

    pub(crate) fn largest_body(&self) -> u64 {
        self.max_size
    }

    /// Whether the preset for live streams acts.
    pub(crate) fn streams(&self) -> bool {
        self.streams
    }

    /// Whether a response says that a segment or a playlist is not there yet, for the preset for live streams.
    pub(crate) fn is_missing_media(&self, path: &str, status: StatusCode) -> bool {
        let is_media = || self.media_by_path(path, None).is_some_and(|media| self.admits_media(Some(media)));
        self.streams && status == StatusCode::NOT_FOUND && is_media()
    }

    /// Whether a response with this status is stored, to a request for `path`.
    pub(crate) fn admits_status(&self, path: &str, status: StatusCode) -> bool {
        let is_default = self.statuses == Statuses::Default;
        self.statuses.admit(status) || is_default && self.is_missing_media(path, status)
    }

    /// How long a response is fresh that was last modified this long before it was sent.
    pub(crate) fn heuristic_ttl(&self, unmodified: Duration) -> Option<Duration> {
        let Heuristics { percent, limit } = self.heuristics;
        (percent > 0).then(|| (unmodified / 100).saturating_mul(percent).min(limit))
    }

    pub(crate) fn grouping(&self) -> &Grouping {
        &self.grouping
    }

    pub(crate) fn heeds_requests(&self) -> bool {
        self.heeds_requests
    }

    pub(crate) fn stores_set_cookie(&self) -> bool {
        self.stores_set_cookie
    }

    pub(crate) fn shares_with_the_authorized(&self) -> bool {
        self.shares_with_the_authorized
    }

    pub(crate) fn invalidates_on(&self, status: StatusCode) -> bool {
        self.invalidate.is_on(status)
    }

    pub(crate) fn grace_for_reloads(&self) -> Duration {
        self.reload_grace
    }

    /// The stale windows: during a validation, instead of an error, and because a request asks.
    pub(crate) fn stale_windows(&self) -> (Duration, Duration, Duration) {
        (self.stale_while_revalidate, self.stale_if_error, self.stale_on_request)
    }

    /// The fields that [`targeted_fields`](Self::targeted_fields) sets.
    pub(crate) fn targeted(&self) -> &[HeaderName] {
        &self.targeted_fields
    }

    pub(crate) fn uncacheable_window(&self) -> Duration {
        self.uncacheable_ttl
    }

    /// `media_type` is the essence (`type/subtype`, no parameters), if there is one.
    pub(crate) fn admits_media(&self, media_type: Option<&str>) -> bool {
        self.media_types.iter().any(|admitted| match (admitted.as_str(), media_type) {
            ("*/*", _) => true,
            (_, None) => false,
            (range, Some(media_type)) => is_in_range(media_type, range),
        })
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_ttl: Duration::from_secs(300),
            grouping: Grouping::default(),
            heuristics: Heuristics { percent: 0, limit: Duration::ZERO },
            heeds_requests: true,
            invalidate: Invalidate::default(),
            max_ranges: 16,
            max_size: 8 << 30,
            media_types: Self::DEFAULT_MEDIA_TYPES.iter().map(ToString::to_string).collect(),
            media_by_ending: true,
            reload_grace: Duration::from_secs(2),
            rules: Vec::new(),
            shares_with_the_authorized: false,
            stale_if_error: Duration::ZERO,
            stale_on_request: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            statuses: Statuses::default(),
            stores_set_cookie: false,
            streams: false,
            targeted_fields: Vec::new(),
            uncacheable_ttl: Duration::from_secs(10),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heuristics {
    percent: u32,
    limit: Duration,
}

/// The most rules of one policy.
const MOST_RULES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_admits_what_players_fetch() {
        let policy = Policy::default();
        for media in
            ["video/mp4", "VIDEO/WebM", "audio/aac", "application/dash+xml", "text/vtt", "video/mp2t"]
        {
            assert!(policy.admits_media(Some(media)), "{media}");
        }
        for media in ["text/html", "application/json", "image/png", "videos/mp4", "text/vttx", ""] {
            assert!(!policy.admits_media(Some(media)), "{media}");
        }
        assert!(!policy.admits_media(None));
    }

    #[test]
    fn further_media_types_leave_the_default_ones_and_others_replace_them() {
        let more = Policy::default().also_media_types([" Image/WebP "]);
        assert!(more.admits_media(Some("image/webp")) && more.admits_media(Some("video/mp4")));
        let other = Policy::default().media_types(["image/webp"]);
        assert!(other.admits_media(Some("image/webp")) && !other.admits_media(Some("video/mp4")));
        assert_eq!(Policy::default().media_types(Policy::DEFAULT_MEDIA_TYPES), Policy::default());
    }

    #[test]
    fn a_star_admits_even_what_has_no_type() {
        assert!(Policy::default().media_types(["*/*"]).admits_media(None));
    }

    #[test]
    fn what_is_no_whole_response_is_never_admitted_even_if_named() {
        let named = [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::NOT_FOUND];
        let policy = Policy::default().statuses(named);
        assert!(!policy.admits_status("/", StatusCode::PARTIAL_CONTENT));
        assert!(!policy.admits_status("/", StatusCode::NOT_MODIFIED));
        assert!(policy.admits_status("/", StatusCode::NOT_FOUND));
        assert!(!policy.admits_status("/", StatusCode::OK));

        let any = Policy::default().statuses(Statuses::Any);
        let status = |code| StatusCode::from_u16(code).unwrap();
        assert!(
            [200, 299, 404, 503, 599].map(status).into_iter().all(|status| any.admits_status("/", status))
        );
        assert!(![100, 103, 206, 304].map(status).into_iter().any(|status| any.admits_status("/", status)));
    }

    #[test]
    fn the_preset_for_streams_admits_a_404_of_media_by_the_ending() {
        let (streaming, missing) = (Policy::streaming(), StatusCode::NOT_FOUND);
        for (path, is_stored) in [
            ("/1.ts", true),
            ("/a/1.M4S", true),
            ("/a.m3u8", true),
            ("/a.mpd", true),
            ("/a.vtt", true),
            ("/a.html", false),
            ("/a", false),
            ("/a.ts/", false),
        ] {
            assert_eq!(streaming.admits_status(path, missing), is_stored, "{path}");
            assert!(!streaming.admits_status(path, StatusCode::GONE), "{path}");
            assert!(!Policy::default().admits_status(path, missing), "{path}");
        }
        assert!(streaming.admits_status("/a", StatusCode::OK));
        assert!(!streaming.clone().media_types(["video/mp4"]).admits_status("/1.ts", missing));
        assert!(!streaming.clone().media_by_ending(false).admits_status("/1.ts", missing));
        assert!(!streaming.statuses([StatusCode::OK]).admits_status("/1.ts", missing));
    }

    #[test]
    fn heuristics_are_a_share_of_the_time_unmodified() {
        let hours = |count: u64| Duration::from_secs(3600 * count);
        assert_eq!(Policy::default().heuristic_ttl(hours(10)), None);
        let policy = Policy::default().heuristics(10, hours(24));
        assert_eq!(policy.heuristic_ttl(hours(10)), Some(hours(1)));
        assert_eq!(policy.heuristic_ttl(hours(1000)), Some(hours(24)));
        assert_eq!(
            Policy::default().heuristics(u32::MAX, hours(1)).heuristic_ttl(Duration::MAX),
            Some(hours(1))
        );
    }
}
