//! From the inner service to the store: one fill, in a task of its own.
//!
//! The only room that puts chunks and manifests. Chunks go first; the manifest's put is the commit. A fill of what is
//! stored already begins with the question whether that is still good (RFC 9111 §4.3); one of what is stored in part
//! fetches what is missing (§3.4).

pub(crate) mod commit;
pub(crate) mod complete;
pub(crate) mod delivery;
pub(crate) mod election;
pub(crate) mod first_part;
pub(crate) mod head;
pub(crate) mod invalidated;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod task;
pub(crate) mod validate;
pub(crate) mod whole;
pub(crate) mod withdraw;
