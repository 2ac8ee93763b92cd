//! The core's behaviour as sentences, each a short script against [`world::World`], which checks the invariants after
//! every step.

mod agents;
mod drains;
mod frameworks;
mod input;
mod offers;
mod operators;
mod random;
mod random_making;
mod silence;
mod state;
mod sweeps;
mod tasks;
mod volumes;
mod windows;
mod world;
