//! A judge of whole requests: the rules that must hold for any bytes from a client, an inner service or a store.
//!
//! The judge uses the public API of the layer alone. The target `request` of `fuzz/` calls it with new scripts. The package
//! of the tests includes this file as a module, runs its tests, and replays `fuzz/corpus/request`.

#[path = "../../src/fuzzing/asked.rs"]
mod asked;
mod bound;
mod calls;
mod clients;
mod conditions;
mod control;
mod frames;
mod heard;
mod kept;
mod keys;
mod ledger;
mod lineage;
mod manner;
mod modes;
mod multipart;
mod origin;
mod parts;
mod passed;
mod reader;
mod request;
mod reuse;
mod script;
mod shelf;
mod sources;
mod verdict;
mod words;

pub use self::request::request;
