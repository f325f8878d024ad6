//! What the operator chooses: which responses are stored, how long they are fresh where they do not say, and how many
//! parts of one a request gets.

use std::time::Duration;

use http::StatusCode;

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
pub struct Policy {
    default_ttl: Duration,
    max_ranges: usize,
    max_size: u64,
    media: Vec<String>,
    statuses: Vec<StatusCode>,
}

impl Policy {
    /// How long a response is fresh that carries neither `max-age` nor `s-maxage` nor `Expires`;
    /// zero leaves such responses unstored. Default: 5 minutes.
    ///
    /// HLS and DASH manifests have none: a live one changes every few seconds, and a viewer of an old one stands
    /// still. They are stored where the inner service says for how long.
    #[must_use]
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// The largest body that is stored, in bytes; a larger one passes through. Default: 8 GiB.
    ///
    /// Whatever is set here, fills under way never promise more than half of the store's capacity.
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
    /// looked at. A response without `Content-Type` is stored under `*/*` only.
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

    /// The status codes that are stored; 206 (Partial Content) never is. Default: 200.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// `media_type` is the essence (`type/subtype`, no parameters), if there is one.
    pub(crate) fn ttl_by_default(&self, media_type: Option<&str>) -> Duration {
        let is_manifest =
            |media_type: &str| MANIFESTS.iter().any(|name| media_type.eq_ignore_ascii_case(name));
        if media_type.is_some_and(is_manifest) {
            Duration::ZERO
        } else {
            self.default_ttl
        }
    }

    pub(crate) fn most_ranges(&self) -> usize {
        self.max_ranges
    }

    pub(crate) fn largest_body(&self) -> u64 {
        self.max_size
    }

    pub(crate) fn admits_status(&self, status: StatusCode) -> bool {
        status != StatusCode::PARTIAL_CONTENT && self.statuses.contains(&status)
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
            max_ranges: 16,
            max_size: 8 << 30,
            media: VIDEO_MEDIA.iter().map(ToString::to_string).collect(),
            statuses: vec![StatusCode::OK],
        }
    }
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
    fn a_partial_content_is_never_admitted_even_if_named() {
        let policy = Policy::default().statuses([StatusCode::PARTIAL_CONTENT, StatusCode::NOT_FOUND]);
        assert!(!policy.admits_status(StatusCode::PARTIAL_CONTENT));
        assert!(policy.admits_status(StatusCode::NOT_FOUND));
        assert!(!policy.admits_status(StatusCode::OK));
    }
}
