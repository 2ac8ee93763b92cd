//! The core's behaviour as sentences, each a short script against [`world::World`], which checks the invariants after
//! every step.

mod absences;
mod agents;
mod asking;
mod awaited;
mod calls;
mod drains;
mod executors;
mod frameworks;
mod gone;
mod input;
mod kill_wishes;
mod kinds;
mod offers;
mod operators;
mod places;
mod questions;
mod random;
mod random_making;
mod reconciliation;
mod replacement;
mod sessions;
mod silence;
mod state;
mod sweeps;
mod task_table;
mod tasks;
mod telling;
mod together;
mod unheard;
mod volumes;
mod watches;
mod windows;
mod work;
mod world;
