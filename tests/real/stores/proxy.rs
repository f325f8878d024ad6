//! The proxy of `examples/proxy`, as a node.

#[path = "../../../examples/proxy/answers.rs"]
mod answers;
#[path = "../../../examples/proxy/args.rs"]
pub(crate) mod args;
#[path = "../../../examples/proxy/body.rs"]
mod body;
#[path = "../../../examples/proxy/connections.rs"]
mod connections;
#[path = "../../../examples/proxy/crowd.rs"]
mod crowd;
#[path = "../../../examples/proxy/fields.rs"]
mod fields;
#[path = "../../../examples/proxy/gate.rs"]
mod gate;
#[path = "../../../examples/proxy/host.rs"]
mod host;
#[path = "../../../examples/proxy/origin.rs"]
mod origin;
#[path = "../../../examples/proxy/server.rs"]
pub(crate) mod server;
#[path = "../../../examples/proxy/store.rs"]
mod store;
#[path = "../../../examples/proxy/unread.rs"]
mod unread;
#[path = "../../../examples/proxy/values.rs"]
mod values;
#[path = "../../../examples/proxy/wire.rs"]
mod wire;
