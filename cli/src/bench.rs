//! `proffer bench`: figures with their conditions, by one command each.
//!
//! `allocator` calls the allocator alone; the others run a master as a child process of this same binary, in a directory
//! and on ports of its own, with emulated agents and a framework in this process. Whatever was measured says how: build,
//! machine, load, and that agents are emulated.

mod allocator;
mod child;
mod cluster;
mod conditions;
mod failover;
mod figures;
mod flood;
mod frameworks;
mod grid;
mod launch;
mod list;
mod memory;
mod mesos;
mod register;
mod reoffer;
mod sessions;
mod size;
mod world;
mod zookeeper;

use clap::Subcommand;
use proffer_model::{Problem, code};
use serde_json::json;

use crate::exit::Outcome;
use crate::output::{Format, OutputArgs, Progress};
use conditions::Conditions;
use figures::Figures;

/// `proffer bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// Full cycles, single events and storms of the allocator alone.
    #[command(after_help = crate::examples::BENCH_ALLOCATOR)]
    Allocator(allocator::AllocatorArgs),
    /// From the end of a task to the next offer of what it held, over real streams.
    Reoffer(reoffer::ReofferArgs),
    /// Launches end to end: accepted, running, acknowledged, finished, acknowledged.
    #[command(after_help = crate::examples::BENCH_LAUNCH)]
    Launch(launch::LaunchArgs),
    /// Launches with and without an operator who lists all tasks all the time, and how long such a list takes.
    #[command(after_help = crate::examples::BENCH_LIST)]
    List(list::ListArgs),
    /// How fast agents register.
    Register(register::RegisterArgs),
    /// From the kill of the leader to the next one serving everybody, with a ZooKeeper of its own.
    Failover(failover::FailoverArgs),
    /// Many frameworks subscribed at once: how fast, whether all stay, and what a call takes meanwhile.
    Frameworks(frameworks::FrameworksArgs),
    /// What the calls of others take while one framework calls all the time.
    Flood(flood::FloodArgs),
    /// The same as launch and reoffer through Mesos's v1 scheduler API, and what its pages take.
    #[command(after_help = crate::examples::BENCH_MESOS)]
    Mesos(mesos::MesosArgs),
    /// The master's private memory, for each agent and each running task.
    Memory(memory::MemoryArgs),
}

impl BenchVerb {
    fn output(&self) -> OutputArgs {
        match self {
            Self::Allocator(args) => args.output,
            Self::Reoffer(args) => args.output,
            Self::Launch(args) => args.load.output,
            Self::List(args) => args.load.output,
            Self::Register(args) => args.output,
            Self::Failover(args) => args.output,
            Self::Frameworks(args) => args.output,
            Self::Flood(args) => args.output,
            Self::Mesos(args) => args.load.output,
            Self::Memory(args) => args.output,
        }
    }

    /// How results and errors are written.
    pub(crate) fn format(&self) -> Format {
        self.output().output
    }
}

/// Measures and shows.
pub(crate) async fn run(verb: BenchVerb) -> Outcome {
    let format = verb.format();
    let mut progress = Progress::new();
    let conditions = Conditions::read();
    if let Some(warning) = conditions.warning() {
        progress.say(warning);
    }
    let (name, is_emulated, figures) = match verb {
        BenchVerb::Allocator(args) => {
            let figures;
            (figures, progress) =
                aside(move |progress| allocator::run(&args, progress), progress).await?;
            ("allocator", false, figures?)
        }
        BenchVerb::Reoffer(args) => ("reoffer", true, reoffer::run(&args, &mut progress).await?),
        BenchVerb::Launch(args) => ("launch", true, launch::run(&args, &mut progress).await?),
        BenchVerb::List(args) => ("list", true, list::run(&args, &mut progress).await?),
        BenchVerb::Register(args) => ("register", true, register::run(&args, &mut progress).await?),
        BenchVerb::Failover(args) => ("failover", true, failover::run(&args, &mut progress).await?),
        BenchVerb::Frameworks(args) => {
            let figures = frameworks::run(&args, &mut progress).await?;
            ("frameworks", true, figures)
        }
        BenchVerb::Flood(args) => ("flood", true, flood::run(&args, &mut progress).await?),
        BenchVerb::Mesos(args) => ("mesos", true, mesos::run(&args, &mut progress).await?),
        BenchVerb::Memory(args) => ("memory", true, memory::run(&args, &mut progress).await?),
    };
    progress.clear();
    show(
        format,
        name,
        is_emulated,
        &conditions,
        &figures,
        &mut progress,
    )
}

/// Computes on a thread of its own, so that Ctrl-C and SIGTERM end it.
async fn aside<T: Send + 'static>(
    compute: impl FnOnce(&mut Progress) -> T + Send + 'static,
    mut progress: Progress,
) -> Result<(T, Progress), Problem> {
    let computed = tokio::task::spawn_blocking(move || (compute(&mut progress), progress)).await;
    computed.map_err(|error| Problem::new(code::INTERNAL, format!("the benchmark ended: {error}")))
}

fn show(
    format: Format,
    name: &str,
    is_emulated: bool,
    conditions: &Conditions,
    figures: &Figures,
    progress: &mut Progress,
) -> Outcome {
    let value = json!({
        "benchmark": name,
        "conditions": conditions.json(is_emulated),
        "figures": figures.json(),
    });
    format.show(&value, || figures.rows())?;
    if format == Format::Table {
        progress.say(&conditions.line(is_emulated));
    }
    Ok(())
}
