//! The proxy of `examples/proxy`, as a node.

#[path = "../../examples/proxy/args.rs"]
pub(crate) mod args;
#[path = "../../examples/proxy/body.rs"]
mod body;
#[path = "../../examples/proxy/fields.rs"]
mod fields;
#[path = "../../examples/proxy/origin.rs"]
mod origin;
#[path = "../../examples/proxy/server.rs"]
pub(crate) mod server;
#[path = "../../examples/proxy/store.rs"]
mod store;
#[path = "../../examples/proxy/values.rs"]
mod values;
