//! The layer as a shared cache of RFC 9111, in the proxy of `examples/proxy`, over real sockets.
//!
//! `docs/conformance.md` lists the tests here for each sentence of each RFC.

mod asking;
mod freshness;
mod invalidating;
mod passing;
mod rig;
mod staleness;
mod status;
mod storing;
mod targeting;
mod validating;
mod varying;

use crate::{args, server};
