//! The one integration test binary: what holds for the whole repository, and whole clusters of real processes.

mod e2e;
mod harness;
mod proxy;
mod sim;
mod tidy;
