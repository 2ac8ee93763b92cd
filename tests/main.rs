//! The one integration test binary: what holds for the whole repository, and whole clusters of real processes.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test says what it expected by failing"
)]

mod cases;
mod e2e;
mod faults;
mod harness;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the agent's own tests include this file too, and use the rest"
)]
mod images;
mod proxy;
mod sim;
mod tidy;
mod zookeeper;
