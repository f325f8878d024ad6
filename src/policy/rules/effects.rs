//! The effects of a rule on the responses that it is for.

use std::time::Duration;

use crate::{error::Error, settings::Fill};

/// The effects of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    pub(crate) default_ttl: Option<Duration>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) at_most: Option<Duration>,
    pub(crate) at_least: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) immutable: bool,
    pub(crate) never: bool,
    pub(crate) groups: Vec<String>,
    pub(crate) fill: Option<Fill>,
}

impl Effects {
    /// Whether the rule changes nothing but the fill, so that it says nothing of the response.
    pub(super) fn are_of_requests(&self) -> bool {
        *self == Self { fill: self.fill, ..Self::default() }
    }

    /// Whether they say how long a response is fresh, whatever else says so.
    pub(crate) fn set_the_lifetime(&self) -> bool {
        let times = [self.ttl, self.at_most, self.at_least];
        self.immutable || self.never || times.iter().any(Option::is_some)
    }

    /// # Errors
    ///
    /// There is no effect, or two of them contradict each other.
    pub(super) fn check(&self) -> Result<(), Error> {
        if *self == Self::default() {
            return Err(Error::config("a rule has an effect"));
        }
        if self.never && *self != (Self { never: true, ..Self::default() }) {
            return Err(Error::config("a rule that stores nothing has no other effect"));
        }
        let gives = [self.ttl.is_some(), self.default_ttl.is_some(), self.immutable];
        if gives.iter().filter(|gives| **gives).count() > 1 {
            return Err(Error::config("a rule has only one of ttl, default_ttl and immutable"));
        }
        let is_bounded = self.at_most.is_some() || self.at_least.is_some();
        if self.ttl.is_some() && is_bounded || self.immutable && self.at_least.is_some() {
            return Err(Error::config("a rule that sets a lifetime does not bound it, too"));
        }
        if self.at_most.zip(self.at_least).is_some_and(|(most, least)| most < least) {
            return Err(Error::config("at_least is not longer than at_most"));
        }
        Ok(())
    }
}
