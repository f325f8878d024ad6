//! [`GroupField`]: which response fields name groups, and which of them clients see.
//!
//! RFC 9875.

use http::header::{HeaderMap, HeaderName};

/// A response field that names the groups of its response: see [`Policy::group_fields`](crate::Policy::group_fields).
///
/// ```
/// use tower_video_cache::{GroupField, Policy};
///
/// // An origin that was behind Fastly before, and names groups by the standard, too.
/// let policy = Policy::default().group_fields([GroupField::CacheGroups, GroupField::SurrogateKey]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupField {
    /// `Cache-Groups: "series-7", "trailers"`, a Structured Field (RFC 9875 §2).
    ///
    /// The cache ignores parameters. If the field does not parse, or has a member that is no String, the cache ignores
    /// the whole field.
    CacheGroups,
    /// `Surrogate-Key: series-7 trailers`, separated by spaces.
    SurrogateKey,
    /// `Cache-Tag: series-7, trailers`, separated by commas.
    CacheTag,
    /// `xkey: series-7 trailers`, separated by spaces or commas.
    Xkey,
}

impl GroupField {
    pub(crate) fn name(self) -> HeaderName {
        match self {
            Self::CacheGroups => HeaderName::from_static("cache-groups"),
            Self::SurrogateKey => HeaderName::from_static("surrogate-key"),
            Self::CacheTag => HeaderName::from_static("cache-tag"),
            Self::Xkey => HeaderName::from_static("xkey"),
        }
    }
}

/// What the policy says about groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grouping {
    pub(super) fields: Vec<GroupField>,
    pub(super) hides: bool,
    pub(super) heeds_invalidation: bool,
}

impl Grouping {
    /// Removes the fields that no client sees from a response.
    pub(crate) fn hide(&self, response: &mut HeaderMap) {
        for name in self.hidden() {
            response.remove(name);
        }
    }

    /// Whether no client sees the field.
    pub(crate) fn hides(&self, name: &HeaderName) -> bool {
        self.hidden().any(|hidden| hidden == *name)
    }

    /// The fields that name groups.
    pub(crate) fn fields(&self) -> &[GroupField] {
        &self.fields
    }

    /// Whether an answer to an unsafe request may invalidate groups.
    pub(crate) fn heeds_invalidation(&self) -> bool {
        self.heeds_invalidation
    }

    /// `Cache-Groups` is for every cache on the way, so clients see it.
    fn hidden(&self) -> impl Iterator<Item = HeaderName> {
        let hidden = self.fields.iter().filter(|field| self.hides && **field != GroupField::CacheGroups);
        hidden.map(|field| field.name())
    }
}

impl Default for Grouping {
    fn default() -> Self {
        Self { fields: vec![GroupField::CacheGroups], hides: true, heeds_invalidation: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chosen_field_but_the_standard_one_is_hidden() {
        use GroupField::{CacheGroups, CacheTag, SurrogateKey, Xkey};
        let all = ["cache-groups", "surrogate-key", "cache-tag", "xkey"].map(HeaderName::from_static);
        for (fields, hides, seen) in [
            (&[CacheGroups][..], true, &["cache-groups", "surrogate-key", "cache-tag", "xkey"][..]),
            (&[CacheGroups, SurrogateKey], true, &["cache-groups", "cache-tag", "xkey"]),
            (&[CacheTag, Xkey, CacheTag], true, &["cache-groups", "surrogate-key"]),
            (&[CacheTag, Xkey], false, &["cache-groups", "surrogate-key", "cache-tag", "xkey"]),
            (&[], true, &["cache-groups", "surrogate-key", "cache-tag", "xkey"]),
        ] {
            let grouping = Grouping { fields: fields.to_vec(), hides, ..Grouping::default() };
            let value = http::HeaderValue::from_static("a");
            let mut response: HeaderMap = all.iter().map(|name| (name.clone(), value.clone())).collect();
            grouping.hide(&mut response);
            let left: Vec<_> = all.iter().filter(|name| response.contains_key(*name)).collect();
            assert_eq!(left, seen, "{fields:?} {hides}");
            assert!(
                all.iter().all(|name| grouping.hides(name) != seen.contains(&name.as_str())),
                "{fields:?}"
            );
        }
    }
}
