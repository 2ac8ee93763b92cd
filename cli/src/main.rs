//! `proffer`, the one binary: every role is a subcommand, every noun has its verbs.
//!
//! A supervisor, and what makes containers, are told apart before anything else happens: they must stay small and
//! single-threaded, so no command line is parsed and no runtime started for them. Everything else becomes an exit code here (see [`exit`]).
#![forbid(unsafe_code)]

mod app_file;
mod bench;
mod change;
mod command;
mod connection;
mod dev;
mod escape;
mod examples;
mod exit;
mod hello;
mod inventory;
mod limits;
mod master_client;
mod mesos_flags;
mod named;
mod output;
mod quantities;
mod role;
mod services_client;
mod simulate;
mod task;
mod units;
mod usage;
mod verbs;
mod wait;

use std::process::ExitCode;

use clap::FromArgMatches;
use proffer_model::{Problem, code};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::command::{Cli, Command};
use crate::exit::{Failure, Outcome};

/// A launch costs the master a sixth less of a processor than with the C library's (`docs/benchmarks.md`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|verb| verb == "supervise") {
        return proffer_agent::supervisor::main(arguments.into_iter().skip(2));
    }
    if arguments.get(1).is_some_and(|verb| verb == "contain") {
        return proffer_agent::contain(arguments.into_iter().skip(2));
    }
    if arguments.get(1).is_some_and(|verb| verb == "fetch") {
        return proffer_agent::fetch(arguments.into_iter().skip(2));
    }
    let parsed = command::tree()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage::report(error, &arguments),
    };
    let format = cli.command.format();
    let outcome = runtime(cli.command.is_server()).and_then(|runtime| {
        let outcome = runtime.block_on(Box::pin(run(cli.command, &matches)));
        // What a verb left behind (an open stream, a name being looked up) must not keep the process alive.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            format.report(&failure);
            failure.exit_code()
        }
    }
}

fn runtime(is_server: bool) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = match is_server {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build().map_err(|error| {
        Problem::new(code::INTERNAL, format!("the runtime cannot start: {error}")).into()
    })
}

async fn run(command: Command, matches: &clap::ArgMatches) -> Outcome {
    let shutdown = proffer_server::shutdown::signals()?;
    match command {
        Command::Dev(args) => dev::run(args, shutdown).await,
        Command::Master(args) => role::run(*args, matches, shutdown).await,
        Command::Agent(command) if command.verb.is_none() => {
            role::run(command.role, matches, shutdown).await
        }
        Command::Services(args) => role::run(*args, matches, shutdown).await,
        Command::Discovery(args) => role::run_discovery(*args, matches, shutdown).await,
        Command::Hello(args) => hello::run(args, shutdown).await,
        Command::Simulate(verb) => simulate::run(verb, shutdown).await,
        verb => interruptible(verb, shutdown).await,
    }
}

/// Ctrl-C ends a verb at once; what it has asked for goes on.
async fn interruptible(verb: Command, shutdown: CancellationToken) -> Outcome {
    let hint = if verb.changes() {
        "what was asked for goes on in the background; `proffer apps` shows how far it is"
    } else {
        ""
    };
    tokio::select! {
        outcome = Box::pin(run_verb(verb)) => outcome,
        () = shutdown.cancelled() => Err(Failure::Interrupted(hint)),
    }
}

async fn run_verb(verb: Command) -> Outcome {
    match verb {
        Command::Run(args) => verbs::run::run(args).await,
        Command::Apply(args) => verbs::apply::run(args).await,
        Command::Apps(args) => verbs::list::apps(args).await,
        Command::App(verb) => verbs::app::run(verb).await,
        Command::Logs(args) => verbs::logs::run(args).await,
        Command::Why(args) => verbs::why::run(args).await,
        Command::Tasks(args) => verbs::list::tasks(args).await,
        Command::Agents(args) => verbs::list::agents(args).await,
        Command::Frameworks(args) => verbs::list::frameworks(args).await,
        Command::Task(verb) => verbs::operate::task(verb).await,
        Command::Framework(verb) => verbs::operate::teardown(verb).await,
        Command::Offers(args) => verbs::offers::offers(args).await,
        Command::Executors(args) => verbs::offers::executors(args).await,
        Command::Masters(args) => verbs::masters::run(args).await,
        Command::Roles(args) => verbs::roles::roles(args).await,
        Command::Role(verb) => verbs::roles::role(verb).await,
        Command::Quota(verb) => verbs::roles::quota(verb).await,
        Command::Weight(verb) => verbs::roles::weight(verb).await,
        Command::Reserve(args) => verbs::reserve::reserve(args).await,
        Command::Unreserve(args) => verbs::reserve::unreserve(args).await,
        Command::Volume(verb) => verbs::reserve::volume(verb).await,
        Command::Backup(args) => verbs::backup::backup(args).await,
        Command::Restore(args) => verbs::backup::run_restore(args).await,
        Command::Agent(command) => match command.verb {
            Some(verb) => verbs::agent::run(verb).await,
            None => Ok(()),
        },
        Command::Bench(verb) => bench::run(verb).await,
        Command::Version(args) => {
            let version = env!("CARGO_PKG_VERSION");
            args.output.show_text(&json!({ "version": version }), || {
                format!("proffer {version}")
            })
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command::tree(), "proffer", &mut script);
            output::print_bytes(&script)
        }
        // Handled before: these never get here.
        Command::Dev(_)
        | Command::Master(_)
        | Command::Services(_)
        | Command::Discovery(_)
        | Command::Hello(_)
        | Command::Simulate(_)
        | Command::Supervise { .. } => Ok(()),
    }
}
