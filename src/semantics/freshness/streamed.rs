//! How the preset for live streams changes the freshness of playlists, and of segments that are not there yet.
//!
//! RFC 9111 §4.2 (freshness), §4.2.2 (heuristics); RFC 5861 (stale windows); RFC 8216 §6.3.4 (reloading). The preset
//! makes lifetimes shorter, gives some to responses that name none, and lifts nothing that a response forbids.

use std::time::Duration;

use http::header::HeaderMap;

use super::{Exchange, Freshness, GivenBy, unmodified};
use crate::{
    policy::Policy,
    semantics::{cache_control::ResponseDirectives, playlist::Playlist},
};

impl Freshness {
    /// The same freshness, changed by the preset. `playlist` is what a manifest says of its own life.
    pub(super) fn streamed(
        self,
        playlist: Option<Playlist>,
        is_missing: bool,
        headers: &HeaderMap,
        exchange: Exchange,
        policy: &Policy,
    ) -> Self {
        match playlist {
            // The segment may be there in a moment, so no window lets the 404 last.
            _ if is_missing => Self { never_stale: true, ..self.guessed_for_a_stream(UNSAID).within(UNSAID) },
            Some(Playlist::Unknown | Playlist::Live(None)) => self.live(UNSAID, headers, policy),
            Some(Playlist::Live(Some(target))) => self.live(target / 2, headers, policy),
            // A player never loads it again, and keeps a wrong one for as long as it plays.
            Some(Playlist::Multivariant) => self.guessed_for_a_stream(UNSAID),
            Some(Playlist::Ended) if self.given_by == GivenBy::Default => {
                let unmodified = unmodified(headers, exchange).unwrap_or(Duration::MAX);
                Self { lifetime: policy.ttl_by_default(None).min(unmodified), ..self }
            }
            Some(Playlist::Ended) | None => self,
        }
    }

    /// The freshness of a live playlist, which nobody may get when it is older than `most`.
    fn live(self, most: Duration, headers: &HeaderMap, policy: &Policy) -> Self {
        let freshness = self.guessed_for_a_stream(most).within(most);
        let left = most.saturating_sub(freshness.lifetime);
        // The origin knows that its playlist is live, and still prefers it to an error. The operator's window is for
        // videos.
        let said = ResponseDirectives::heeded(headers, policy.targeted()).stale_if_error;
        Self {
            while_revalidate: freshness.while_revalidate.min(left),
            on_request: freshness.on_request.min(left),
            if_error: said.unwrap_or_else(|| freshness.if_error.min(left)),
            ..freshness
        }
    }

    /// The lifetime is `guess` if the response names none. A time since the last change is no limit: a live playlist
    /// has always just changed, and says itself when it changes next.
    fn guessed_for_a_stream(self, guess: Duration) -> Self {
        match self.given_by {
            GivenBy::Default | GivenBy::Heuristic => {
                Self { lifetime: guess, given_by: GivenBy::Streaming, ..self }
            }
            _ => self,
        }
    }

    fn within(self, most: Duration) -> Self {
        if self.lifetime <= most {
            return self;
        }
        Self { lifetime: most, given_by: GivenBy::Streaming, ..self }
    }
}

/// The lifetime where nothing says when the response changes.
const UNSAID: Duration = Duration::from_secs(1);
