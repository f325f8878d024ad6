//! Fills the store from the inner service: one fill, in a task of its own.
//!
//! The pour puts the chunks first. The put of the manifest is the commit. No other room puts chunks or manifests,
//! except that `fetch` pours. If a response is stored already, the fill asks first whether it is still good (RFC 9111
//! §4.3). If a response is stored in part, the fill fetches the missing chunks (§3.4).

pub(crate) mod admission;
pub(crate) mod commit;
pub(crate) mod complete;
pub(crate) mod delivery;
pub(crate) mod draft;
pub(crate) mod election;
pub(crate) mod first_part;
pub(crate) mod head;
pub(crate) mod invalidated;
pub(crate) mod membership;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod task;
pub(crate) mod validate;
pub(crate) mod whole;
pub(crate) mod withdraw;
