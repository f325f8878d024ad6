//! How long a response is fresh, by the URI of its request.
//!
//! RFC 9111 §4.2.2: a heuristic is the cache's own choice, so it may be shorter.

use std::time::{Duration, SystemTime};

use http::{StatusCode, header::HeaderMap};

use super::{Exchange, Freshness, GivenBy};
use crate::{
    policy::Policy,
    semantics::{fields::media_type, place::Place, playlist::Playlist},
};

/// Facts about a response that are known from the URI of its request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ByUri {
    /// The response is an HLS or DASH manifest, though its `Content-Type` does not say so.
    pub(crate) is_manifest: bool,
    /// The time at which a signed URI expires.
    pub(crate) until: Option<SystemTime>,
    /// The place by which a rule finds it.
    pub(crate) place: Place,
}

impl Freshness {
    /// The freshness of the response to a request for such a URI: as the response and the policy say, then as a rule of the
    /// policy or its preset for live streams changes it, and never longer than the URI holds.
    pub(crate) fn at(
        uri: &ByUri,
        playlist: Playlist,
        status: StatusCode,
        headers: &HeaderMap,
        exchange: Exchange,
        policy: &Policy,
    ) -> Self {
        let mut freshness = Self::of(status, headers, exchange, policy);
        if uri.is_manifest && freshness.given_by == GivenBy::Default {
            freshness.lifetime = Duration::ZERO;
        }
        let said = media_type(headers);
        let is_manifest = policy.is_manifest(&uri.place.path, said);
        let streamed = |freshness: Self| {
            // The bytes of a manifest stay what they are, whatever path or type an answer about them has.
            let is_manifest = uri.is_manifest || is_manifest || playlist != Playlist::Unknown;
            let playlist = (is_manifest && status.is_success()).then_some(playlist);
            let is_missing = policy.is_missing_media(&uri.place.path, status);
            freshness.streamed(playlist, is_missing, headers, exchange, policy)
        };
        let rule = policy.rule_for(status, headers, &uri.place);
        let goes_first = rule.is_some_and(|rule| rule.effects().set_the_lifetime());
        if policy.streams() && !goes_first {
            freshness = streamed(freshness);
        }
        if let Some(rule) = rule {
            freshness = freshness.ruled(rule, is_manifest, headers, exchange, policy);
            // A rule for segments does not mean one that is not there yet.
            if goes_first && !rule.names_a_status() && policy.is_missing_media(&uri.place.path, status) {
                freshness = streamed(freshness);
            }
        }
        uri.until.map_or(freshness, |until| freshness.until(until))
    }

    /// The same freshness, which ends with a signed URI at the latest.
    fn until(mut self, until: SystemTime) -> Self {
        let left = until.duration_since(self.received).unwrap_or_default();
        let of_the_url = self.initial_age.saturating_add(left);
        if of_the_url < self.lifetime {
            (self.lifetime, self.given_by) = (of_the_url, GivenBy::Url);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::{super::super::fields::tests::headers, *};

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn the_uri_of_its_request_may_shorten_a_lifetime() {
        let ten = httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap();
        let (exchange, policy) = (
            Exchange {
                requested: ten,
                received: ten,
                with_cookie: false,
                purges: crate::semantics::purge::Position::default(),
            },
            Policy::default().heuristics(10, seconds(3600)),
        );
        let at = |uri: &ByUri, lines: &[(&str, &str)]| {
            Freshness::at(uri, Playlist::Unknown, StatusCode::OK, &headers(lines), exchange, &policy)
        };
        let manifest = |is_manifest| ByUri { is_manifest, ..ByUri::default() };
        let until = |second| ByUri { until: Some(ten + seconds(second)), ..ByUri::default() };
        let aged = [("age", "40"), ("cache-control", "max-age=600")];
        for (rule, lines, uri, lifetime) in [
            ("nothing told", &[][..], ByUri::default(), 300),
            ("a manifest has no default", &[], manifest(true), 0),
            ("a manifest with a lifetime of its own", &[("cache-control", "max-age=5")], manifest(true), 5),
            (
                "a manifest with a heuristic lifetime",
                &[("last-modified", "Sun, 22 Nov 2026 09:50:00 GMT")],
                manifest(true),
                60,
            ),
            ("a URI that holds for longer", &[], until(301), 300),
            ("a URI that holds for less", &[], until(299), 299),
            ("a URI's end counts from the arrival", &aged, until(10), 50),
            ("a URI that has expired", &aged, ByUri { until: Some(UNIX_EPOCH), ..manifest(false) }, 40),
        ] {
            assert_eq!(at(&uri, lines).lifetime, seconds(lifetime), "{rule}");
        }
        let freshness = at(&until(10), &aged);
        assert!(freshness.is_fresh(ten + seconds(9)) && !freshness.is_fresh(ten + seconds(10)));
    }
}
