//! The layer as a shared cache of RFC 9111, in the proxy of `examples/proxy`, over real sockets.
//!
//! `docs/conformance.md` says which test here is about which sentence of which RFC.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../examples/proxy/answers.rs"]
mod answers;
#[path = "../../examples/proxy/args.rs"]
mod args;
#[path = "../../examples/proxy/body.rs"]
mod body;
#[path = "../../examples/proxy/connections.rs"]
mod connections;
#[path = "../../examples/proxy/crowd.rs"]
mod crowd;
#[path = "../../examples/proxy/fields.rs"]
mod fields;
#[path = "../../examples/proxy/gate.rs"]
mod gate;
#[path = "../../examples/proxy/host.rs"]
mod host;
#[path = "../../examples/proxy/origin.rs"]
mod origin;
#[path = "../../examples/proxy/server.rs"]
mod server;
#[path = "../../examples/proxy/store.rs"]
mod store;
#[path = "../../examples/proxy/unread.rs"]
mod unread;
#[path = "../../examples/proxy/values.rs"]
mod values;
#[path = "../../examples/proxy/wire.rs"]
mod wire;

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
