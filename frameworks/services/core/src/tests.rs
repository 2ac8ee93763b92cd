//! Stories about whole apps, played against a small cluster in memory, and random ones that must keep the invariants.

mod containers;
mod crashes;
mod definitions;
mod drains;
mod large;
mod random;
mod stories;
mod world;
