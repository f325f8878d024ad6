//! What the layer does, as its users see it: one file for each behaviour.

mod composing;
mod faults;
mod filling;
mod flights;
mod house;
mod invalidating;
mod readiness;
mod rig;
mod serving;
mod stores;
mod storing;
