//! What the operator chooses: which responses are stored, how long they are fresh where they do not say, and how many
//! parts of one a request gets.

use std::time::Duration;

use http::{HeaderName, StatusCode};

use crate::semantics::media::by_ending;

/// Which responses may be stored, for how long one that does not say is fresh, and how many parts one request gets.
///
/// Plain data; each setter takes and returns it.
///
/// ```
/// # use std::time::Duration;
/// use tower_video_cache::Policy;
///
/// let policy = Policy::default()
///     .default_ttl(Duration::from_secs(3600))
///     .max_size(8 << 30)
///     .media(["video/*", "audio/*", "image/webp"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setter's, called or not")]
pub struct Policy {
    default_ttl: Duration,
    heuristics: Heuristics,
    heeds_requests: bool,
    invalidate: Invalidate,
    max_ranges: usize,
    max_size: u64,
    media: Vec<String>,
    media_by_ending: bool,
    shares_with_the_authorized: bool,
    stale_if_error: Duration,
    stale_on_request: Duration,
    stale_while_revalidate: Duration,
    statuses: Statuses,
    stores_set_cookie: bool,
    targeted: Vec<HeaderName>,
}

impl Policy {
    /// How long a response is fresh that carries neither `max-age` nor `s-maxage` nor `Expires`, and of which
    /// [`heuristics`](Self::heuristics) tell nothing either. Zero makes it stale from the beginning: it is then stored
    /// only if the inner service gave it a validator, to be validated before each use, or if it may be used stale.
    /// Default: 5 minutes.
    ///
    /// RFC 9111 §4.2.2 allows it for the statuses that are heuristically cacheable, and for what says `public`.
    ///
    /// HLS and DASH manifests, by their type or [ending](Self::media_by_ending), have none: a live one changes every few seconds, and a viewer of an old one stands
    /// still. They are as fresh as the inner service says.
    ///
    /// The answer to a request with a `Cookie` has none either, nor a guess by [`heuristics`](Self::heuristics), nor a
    /// window of [`stale_while_revalidate`](Self::stale_while_revalidate) or [`stale_if_error`](Self::stale_if_error): it may
    /// be its owner's alone. It is stored if it has a strong `ETag`, to be validated before each use; a 304 to a request
    /// without a `Cookie` then shows that it is everybody's. An answer that says how long it is fresh, or says `public` or
    /// `Vary: Cookie`, is like others. Where cookies are known to change nothing, take them off before the layer.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Whether the `Cache-Control` (and, without one, the `Pragma`) of requests is heeded: `no-cache`, `no-store`,
    /// `max-age`, `max-stale`, `min-fresh`, `only-if-cached`, `stale-if-error` (RFC 9111 §5.2.1). Default: true.
    ///
    /// Requests may want less than a response allows. They get more, by `max-stale` or by a `stale-if-error` longer than the
    /// response's, only as far as [`stale_on_request`](Self::stale_on_request) lets them.
    ///
    /// Any viewer can then make the inner service work. With `no-cache` or `max-age=0`, as browsers send them with a
    /// reload, that is a validation, shared by all who wait for it; but where the inner service gives no validators, it
    /// is the whole response, stored anew (an `ETag` made here says nothing to it). With `no-store`, it is the answer to each such request by itself. Where viewers
    /// are not to be trusted with that, turn it off: RFC 9111 has these directives as wishes.
    #[must_use]
    pub fn heed_requests(mut self, heed: bool) -> Self {
        self.heeds_requests = heed;
        self
    }

    /// When an unsafe request, such as a POST, takes out what is stored for its URI, and for those that its answer names.
    /// Default: [`Invalidate::OnSuccess`].
    ///
    /// With [`Invalidate::Never`], no client can take out what others get: for where anybody may send unsafe requests, and
    /// their success says nothing of the videos.
    #[must_use]
    pub fn invalidate(mut self, invalidate: Invalidate) -> Self {
        self.invalidate = invalidate;
        self
    }

    /// Takes a response that does not say how long it is fresh for fresh during `percent` of the time since its
    /// `Last-Modified`, at most for `limit` (RFC 9111 §4.2.2, which calls 10 % typical). A response without the field
    /// is left to [`default_ttl`](Self::default_ttl), which is no least time: what was modified a minute ago is fresh for
    /// seconds. Default: 0 percent, which is off.
    #[must_use]
    pub fn heuristics(mut self, percent: u32, limit: Duration) -> Self {
        self.heuristics = Heuristics { percent, limit };
        self
    }

    /// The largest body that is stored, in bytes; a larger one passes through. Default: 8 GiB.
    ///
    /// Whatever is set here, fills under way never promise more than half of the store's capacity: a video larger than
    /// that passes through.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = bytes;
        self
    }

    /// How many ranges one `Range` field may ask for; one that asks for more is answered with the whole. With 1, that is
    /// every one that asks for several; a single range is always honoured. Default: 16.
    ///
    /// Whatever is set here, an answer of several parts is shorter than the whole, or the whole is the answer.
    #[must_use]
    pub fn max_ranges(mut self, ranges: usize) -> Self {
        self.max_ranges = ranges;
        self
    }

    /// The media types that are stored: `type/subtype`, `type/*` or `*/*`, in any case; parameters are not
    /// looked at. Where the type tells nothing, or what is known to be a mistake, the type of the path's
    /// [ending](Self::media_by_ending) counts, too.
    /// Default: `video/*`, `audio/*`, `application/mp4`, HLS and DASH manifests (`application/vnd.apple.mpegurl`,
    /// `application/x-mpegurl`, `application/mpegurl`, `application/dash+xml`), `text/vtt`.
    #[must_use]
    pub fn media<I>(mut self, types: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        self.media = types.into_iter().map(|media| media.as_ref().trim().to_ascii_lowercase()).collect();
        self
    }

    /// Whether the ending of the path, in any case of its letters, decides which type a response is taken for, where its
    /// `Content-Type` is missing, is one of any bytes (`application/octet-stream`, `binary/octet-stream`, `application/binary`,
    /// `unknown/unknown`, and those of downloads), or is known to be given to this ending in error. It decides whether the
    /// response is stored, and whether it is a manifest, which has no [`default_ttl`](Self::default_ttl). The
    /// `Content-Type` that viewers get is the inner service's (RFC 9110 §8.3). Default: true.
    ///
    /// | ending | is taken for | types in error |
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

    /// Whether a response with `Set-Cookie` is stored, cookie and all (RFC 9111 §7.3). Default: false.
    ///
    /// With it, the first viewer's cookie is everybody's. Where the inner service names the field in
    /// `private="set-cookie"` or `no-cache="set-cookie"`, the response is stored without it either way.
    #[must_use]
    pub fn set_cookie(mut self, store: bool) -> Self {
        self.stores_set_cookie = store;
        self
    }

    /// Whether a request with `Authorization` gets what others have stored, whatever that response says. Default: false.
    ///
    /// Without it, such a request gets what says `public`, `s-maxage` or `must-revalidate` (RFC 9111 §3.5). Of anything else
    /// the inner service is asked with the request's own credentials whether it is good for them, too; if its answer is a 304
    /// under a strong `ETag`, the stored bytes are served, and any other answer passes and is not stored. RFC 9111 would let a
    /// cache share what came without credentials; but where the inner service looks at them, a viewer who has paid would get
    /// what was made for those who have not. Set it where the inner service does not look at `Authorization`.
    #[must_use]
    pub fn share_with_authorized(mut self, share: bool) -> Self {
        self.shares_with_the_authorized = share;
        self
    }

    /// How long after it went stale a response may be used because a request says so, by `max-stale` (RFC 9111 §5.2.1.2)
    /// or by a `stale-if-error` longer than the response's (RFC 5861 §4). Default: zero, so that no request can bring back
    /// what the inner service has withdrawn.
    ///
    /// What says `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache` is never used stale, nor is what the inner
    /// service has refused since with 401, 403, 404, 410 or 451.
    #[must_use]
    pub fn stale_on_request(mut self, window: Duration) -> Self {
        self.stale_on_request = window;
        self
    }

    /// How long after it went stale a response may stand in where the inner service fails, is silent for longer than
    /// the layer's limits, or answers 500, 502, 503 or 504, if neither the response nor the request says (RFC 5861 §4);
    /// for a request with `no-cache`, nothing does. Default: zero, only where the response says so.
    ///
    /// What says `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache` is never used stale. Nor is what the inner
    /// service, asked whether it is still good, has refused with 401, 403, 404, 410 or 451, until it says that it is good; a
    /// 401 or 403 to a request with `Authorization` or `Cookie` is about that client, and ends nothing.
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = window;
        self
    }

    /// How long after it went stale a response is still served while it is validated behind the viewer's back, if it
    /// does not say itself (RFC 5861 §3). Default: zero, only where the response says so.
    ///
    /// What says `must-revalidate`, `proxy-revalidate`, `s-maxage` or `no-cache` is never used stale.
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = window;
        self
    }

    /// The status codes that are stored; 206 (Partial Content) and 304 (Not Modified) never are. Default: 200.
    ///
    /// Those that RFC 9110 §15.1 calls heuristically cacheable get a freshness of the policy's where they do not say;
    /// the others must say themselves. Ranges are served of a 200 alone.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = Statuses::Named(statuses.into_iter().collect());
        self
    }

    /// Stores every final status code, but 206 and 304, as RFC 9111 §3 allows. Default: [200](Self::statuses).
    #[must_use]
    pub fn any_status(mut self) -> Self {
        self.statuses = Statuses::Any;
        self
    }

    /// The targeted fields that are heeded, the first of them that is there and can be read, instead of `Cache-Control`
    /// and `Expires` (RFC 9213): `CDN-Cache-Control`, or one of your own. Default: none.
    ///
    /// ```
    /// # use http::HeaderName;
    /// # use tower_video_cache::Policy;
    /// let policy = Policy::default().targeted([
    ///     HeaderName::from_static("my-cdn-cache-control"),
    ///     HeaderName::from_static("cdn-cache-control"),
    /// ]);
    /// ```
    #[must_use]
    pub fn targeted(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.targeted = fields.into_iter().collect();
        self
    }

    /// `media_type` is the essence (`type/subtype`, no parameters), if there is one.
    pub(crate) fn ttl_by_default(&self, media_type: Option<&str>) -> Duration {
        if media_type.is_some_and(is_manifest) {
            Duration::ZERO
        } else {
            self.default_ttl
        }
    }

    /// The type that the path of a request tells, where `said` by the response tells none.
    pub(crate) fn media_by_path(&self, path: &str, said: Option<&str>) -> Option<&'static str> {
        by_ending(path, said).filter(|_| self.media_by_ending)
    }

    /// Whether a response is a manifest by the path of its request, and not by what it says.
    pub(crate) fn is_manifest_by_path(&self, path: &str, said: Option<&str>) -> bool {
        self.media_by_path(path, said).is_some_and(is_manifest)
    }

    pub(crate) fn most_ranges(&self) -> usize {
        self.max_ranges
    }

    pub(crate) fn largest_body(&self) -> u64 {
        self.max_size
    }

    pub(crate) fn admits_status(&self, status: StatusCode) -> bool {
        let is_a_whole = status != StatusCode::PARTIAL_CONTENT && status != StatusCode::NOT_MODIFIED;
        is_a_whole
            && match &self.statuses {
                Statuses::Any => !status.is_informational(),
                Statuses::Named(statuses) => statuses.contains(&status),
            }
    }

    /// How long what was modified so long before it was sent is taken for fresh.
    pub(crate) fn heuristic_ttl(&self, unmodified: Duration) -> Option<Duration> {
        let Heuristics { percent, limit } = self.heuristics;
        (percent > 0).then(|| (unmodified / 100).saturating_mul(percent).min(limit))
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
        match self.invalidate {
            Invalidate::Never => false,
            Invalidate::OnSuccess => status.is_success(),
            Invalidate::OnNonError => status.is_success() || status.is_redirection(),
        }
    }

    /// While it is validated, instead of an error, and because a request says so.
    pub(crate) fn stale_windows(&self) -> (Duration, Duration, Duration) {
        (self.stale_while_revalidate, self.stale_if_error, self.stale_on_request)
    }

    pub(crate) fn targeted_fields(&self) -> &[HeaderName] {
        &self.targeted
    }

    /// `media_type` is the essence (`type/subtype`, no parameters), if there is one.
    pub(crate) fn admits_media(&self, media_type: Option<&str>) -> bool {
        self.media.iter().any(|admitted| match (admitted.as_str(), media_type) {
            ("*/*", _) => true,
            (_, None) => false,
            (admitted, Some(media_type)) => match admitted.strip_suffix('*') {
                Some(prefix) => starts_with_ignoring_case(media_type, prefix),
                None => media_type.eq_ignore_ascii_case(admitted),
            },
        })
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            default_ttl: Duration::from_secs(300),
            heuristics: Heuristics { percent: 0, limit: Duration::ZERO },
            heeds_requests: true,
            invalidate: Invalidate::default(),
            max_ranges: 16,
            max_size: 8 << 30,
            media: VIDEO_MEDIA.iter().map(ToString::to_string).collect(),
            media_by_ending: true,
            shares_with_the_authorized: false,
            stale_if_error: Duration::ZERO,
            stale_on_request: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            statuses: Statuses::Named(vec![StatusCode::OK]),
            stores_set_cookie: false,
            targeted: Vec::new(),
        }
    }
}

/// Which answers to unsafe requests invalidate what is stored (RFC 9111 §4.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidate {
    /// None.
    Never,
    /// Those with a 2xx status. A redirection to a page for logging in, to `https` or to another spelling of the path has
    /// changed nothing, and anybody gets one.
    #[default]
    OnSuccess,
    /// Those with a 2xx or 3xx status, which RFC 9111 §4.4 calls non-error: for an inner service that answers what it has
    /// done with 303 (See Other).
    OnNonError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heuristics {
    percent: u32,
    limit: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Statuses {
    Any,
    Named(Vec<StatusCode>),
}

fn is_manifest(media_type: &str) -> bool {
    MANIFESTS.iter().any(|name| media_type.eq_ignore_ascii_case(name))
}

fn starts_with_ignoring_case(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// HLS under all the names that servers give it, and DASH.
const MANIFESTS: [&str; 6] = [
    "application/vnd.apple.mpegurl",
    "application/x-mpegurl",
    "application/mpegurl",
    "audio/mpegurl",
    "audio/x-mpegurl",
    "application/dash+xml",
];

const VIDEO_MEDIA: [&str; 8] = [
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
    fn a_star_admits_even_what_has_no_type() {
        assert!(Policy::default().media(["*/*"]).admits_media(None));
    }

    #[test]
    fn what_is_no_whole_response_is_never_admitted_even_if_named() {
        let named = [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::NOT_FOUND];
        let policy = Policy::default().statuses(named);
        assert!(!policy.admits_status(StatusCode::PARTIAL_CONTENT));
        assert!(!policy.admits_status(StatusCode::NOT_MODIFIED));
        assert!(policy.admits_status(StatusCode::NOT_FOUND));
        assert!(!policy.admits_status(StatusCode::OK));

        let any = Policy::default().any_status();
        let status = |code| StatusCode::from_u16(code).unwrap();
        assert!([200, 299, 404, 503, 599].map(status).into_iter().all(|status| any.admits_status(status)));
        assert!(![100, 103, 206, 304].map(status).into_iter().any(|status| any.admits_status(status)));
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
