//! The proxy of `examples/proxy` over real sockets: clients on one side, a scripted origin on the other.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../examples/proxy/admin.rs"]
mod admin;
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

mod answering;
mod arguments;
mod crowding;
mod failing;
mod forwarding;
mod hosts;
mod keeping;
mod looping;
mod operating;
#[path = "../rfc9111/mod.rs"]
mod rfc9111;
mod rig;
mod selecting;
mod stopping;
mod unkeyed;
