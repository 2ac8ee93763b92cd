//! Makes containers and enters them, as a small binary of its own; `proffer contain` is the same program.

use std::process::ExitCode;

fn main() -> ExitCode {
    proffer_agent::contain(std::env::args_os().skip(1))
}
