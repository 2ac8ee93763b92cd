//! The supervisor as a small binary of its own; `proffer supervise` is the same program.

use std::process::ExitCode;

fn main() -> ExitCode {
    proffer_agent::supervisor::main(std::env::args_os().skip(1))
}
