//! Fetches what tasks need into their sandboxes, as a small binary of its own; `proffer fetch` is the same program.

use std::process::ExitCode;

fn main() -> ExitCode {
    proffer_agent::fetch(std::env::args_os().skip(1))
}
