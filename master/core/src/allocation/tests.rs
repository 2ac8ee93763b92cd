//! Tests of the allocator as others see it.

mod cases;
mod convergence;
mod domains;
mod events;
mod explained;
mod gangs;
mod guarantees;
mod histories;
mod serving;
mod steps;
mod windows;
mod world;
