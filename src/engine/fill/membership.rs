//! Finds the sets by which a purge can name a response: its origin, and its groups.
//!
//! RFC 9875 §2 (`Cache-Groups`).

use http::{HeaderMap, StatusCode};

use super::task::FillTask;
use crate::{
    format::manifest::Manifest,
    policy::GroupField,
    semantics::{
        groups::{MOST_GROUPS, groups_of, is_group_name},
        place::Place,
        purge::Membership,
        reference::origin,
    },
};

impl FillTask {
    /// The sets of a response with this status and these fields, as they came from the inner service.
    pub(super) fn membership(&self, status: StatusCode, response: &HeaderMap) -> Membership {
        let place = Place::of(&self.asked);
        let mut membership = self.named(response, &place.host);
        if let Some(rule) = self.engine.config.policy.rule_for(status, response, &place) {
            let groups = rule.effects().groups.iter().map(String::as_bytes);
            membership.add(Membership::of(&place.host, groups), MOST_GROUPS);
        }
        membership
    }

    /// The sets that the response or the application names.
    fn named(&self, response: &HeaderMap, origin: &str) -> Membership {
        let config = &self.engine.config;
        let by_fields = groups_of(response, config.policy.grouping().fields()).names;
        let mut membership = Membership::of(origin, by_fields.iter().map(Vec::as_slice));
        if let Some(own) = &config.groups {
            let own = own(&self.asked, response);
            let own = own.iter().filter(|name| is_group_name(name)).map(String::as_bytes);
            membership.add(Membership::of(origin, own), MOST_GROUPS);
        }
        membership
    }

    /// The sets of a stored response after an `answer` about it. `updated` are its fields by now, without the hidden ones.
    ///
    /// RFC 9111 §3.2: a field that the answer does not have stays as it was. The record keeps the groups of a hidden field,
    /// but not the field, so all its groups stay then.
    pub(super) fn membership_after(
        &self,
        stored: &Manifest,
        updated: &HeaderMap,
        answer: &HeaderMap,
    ) -> Membership {
        let fields = self.engine.config.policy.grouping().fields();
        let mut membership = self.named(answer, &origin(&self.asked));
        membership.add(self.membership(stored.status, updated), MOST_GROUPS);
        let is_missing = |field: &&GroupField| !answer.contains_key(field.name());
        if fields.iter().filter(is_missing).any(|field| *field != GroupField::CacheGroups) {
            membership.add(stored.membership.clone(), MOST_GROUPS);
        }
        membership
    }
}
