//! How a rule of the policy changes the freshness of a response.
//!
//! RFC 9111 §4.2 (freshness), §4.2.2 (heuristics); RFC 5861 (stale windows); RFC 8246 (`immutable`). A rule stands in for
//! what the response says about its lifetime, and lifts nothing that the response forbids.

use std::time::Duration;

use http::header::HeaderMap;

use super::{Exchange, Freshness, GivenBy, unmodified};
use crate::{
    policy::{Policy, Rule},
    semantics::cache_control::ResponseDirectives,
};

impl Freshness {
    /// The same freshness, changed by a rule.
    pub(super) fn ruled(
        self,
        rule: &Rule,
        is_manifest: bool,
        headers: &HeaderMap,
        exchange: Exchange,
        policy: &Policy,
    ) -> Self {
        let effects = rule.effects();
        if effects.never {
            let (lifetime, given_by) = (Duration::ZERO, GivenBy::Rule);
            return Self { lifetime, given_by, always_validate: true, never_stale: true, ..self };
        }
        let (mut lifetime, mut given_by) = (self.lifetime, self.given_by);
        let may_be_guessed = !is_manifest || rule.names_manifests();
        let set = match given_by {
            // No lifetime may be guessed, so none may be set.
            GivenBy::Nothing => None,
            _ if effects.immutable => Some(LONGEST),
            GivenBy::Default | GivenBy::Heuristic if may_be_guessed => {
                let guess =
                    || Some(effects.default_ttl?.min(unmodified(headers, exchange).unwrap_or(Duration::MAX)));
                effects.ttl.or_else(guess)
            }
            _ => effects.ttl,
        };
        if let Some(set) = set {
            (lifetime, given_by) = (set, GivenBy::Rule);
        }
        let least = effects.at_least.filter(|_| given_by != GivenBy::Nothing).unwrap_or_default();
        let bounded = lifetime.max(least).min(effects.at_most.unwrap_or(Duration::MAX));
        if bounded != lifetime {
            (lifetime, given_by) = (bounded, GivenBy::Rule);
        }
        let mut freshness =
            Self { lifetime, given_by, immutable: self.immutable || effects.immutable, ..self };
        // The answer to a cookie that does not say more gets no window of the operator's.
        if !self.is_of_a_cookie {
            let said = ResponseDirectives::heeded(headers, policy.targeted());
            let windows = (effects.stale_while_revalidate, effects.stale_if_error);
            if let (Some(window), None) = (windows.0, said.stale_while_revalidate) {
                freshness.while_revalidate = window;
            }
            if let (Some(window), None) = (windows.1, said.stale_if_error) {
                freshness.if_error = window;
            }
        }
        freshness
    }
}

/// RFC 9111 §1.2.2: the number of seconds that counts as infinity.
const LONGEST: Duration = Duration::from_secs(1 << 31);
