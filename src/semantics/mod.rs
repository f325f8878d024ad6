//! The rules of HTTP as pure functions: fields, numbers and `now` go in, a verdict comes out.
//!
//! RFC 9110 (semantics), RFC 9111 (caching) and its extensions (RFC 5861, 8246, 9213, 9875), RFC 9211 (Cache-Status). Each
//! file answers one question.

pub(crate) mod cache_control;
pub(crate) mod cache_status;
pub(crate) mod etag;
pub(crate) mod fields;
pub(crate) mod freshness;
pub(crate) mod groups;
pub(crate) mod media;
pub(crate) mod multipart;
pub(crate) mod partial;
pub(crate) mod place;
pub(crate) mod playlist;
pub(crate) mod purge;
pub(crate) mod range;
pub(crate) mod reference;
pub(crate) mod reload;
pub(crate) mod select;
pub(crate) mod short;
pub(crate) mod signature;
pub(crate) mod storable;
pub(crate) mod structured;
pub(crate) mod targeted;
pub(crate) mod text;
pub(crate) mod validation;
pub(crate) mod vary;

#[cfg(test)]
mod tests;
