//! The master's private memory for each connected agent and each running task, out of the growth of a child process.
//!
//! What a task takes is what the second half of the tasks adds: with the first ones the buffers of each agent's connection
//! become as large as they will be, and that is the agent's.

use std::ops::Range;
use std::time::Instant;

use proffer_model::session::Event;
use proffer_model::{Offer, Problem, TaskState, code};
use proffer_sdk::{Events, Handle};
use tokio::task::JoinSet;

use super::child::{Master, Store, own_private_bytes, settled};
use super::cluster::{
    Fleet, Standing, all_registered, connect, emulate, role, task, wanted, within,
};
use super::figures::{Figure, Figures};
use crate::exit::Outcome;
use crate::limits::{BENCH_SETTLE_INTERVAL, BENCH_SETTLE_TIMEOUT, BENCH_STARTING_MAX};
use crate::output::{OutputArgs, Progress};

/// What every task holds.
pub(super) const SHAPE: &str = "cpus:0.1;mem:32";
/// Tasks that are launched with one call.
const LAUNCHES_MAX: u32 = 1_000;

/// `proffer bench memory`.
#[derive(Debug, clap::Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How many agents; a row for each number.
    #[arg(value_name = "AGENTS", default_values_t = [1_000, 20_000])]
    agents: Vec<u32>,
    /// How many tasks run in the end, launched in two halves.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    tasks: u32,
    /// How long the agents do nothing but heartbeat before their memory is taken.
    #[arg(long, value_name = "D", default_value = "5s")]
    heartbeat_for: proffer_server::config::DurationText,
    /// How many agents share a connection [default: 1, or at least 8 when the limit of open files does not allow that].
    #[arg(long, value_name = "K")]
    agents_per_connection: Option<u32>,
}

/// Measures.
pub(super) async fn run(args: &MemoryArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for count in args.agents.iter().copied() {
        let row = of(args, count, progress).await?;
        figures.push_and_say(row, progress);
    }
    Ok(figures)
}

async fn of(
    args: &MemoryArgs,
    count: u32,
    progress: &mut Progress,
) -> Outcome<Vec<(&'static str, Figure)>> {
    progress.update(&format!("registering {count} agents"));
    let mut master = Master::start(Store::File).await?;
    let empty = memory(&master).await?;
    let fleet = Fleet {
        count,
        resources: "cpus:64;mem:65536",
        agents_per_connection: args.agents_per_connection,
        ..Fleet::default()
    };
    let own_before = own_private_bytes()?;
    let emulation = emulate(&master, fleet)?;
    all_registered(&mut master, &emulation, count, Instant::now()).await?;
    tokio::time::sleep(args.heartbeat_for.0).await;
    let (idle, own_idle) = (memory(&master).await?, own_private_bytes()?);
    let idle_counts = emulation.counts();
    let tasks = u64::from(args.tasks);
    let half = tasks / 2;
    progress.update(&format!("launching {tasks} tasks"));
    let (handle, mut events) = connect(&master)?;
    let filling = fill(&handle, &mut events, 0..half);
    within(&mut master, "the first half of the tasks runs", filling).await??;
    let busy = memory(&master).await?;
    let filling = fill(&handle, &mut events, half..tasks);
    within(&mut master, "all tasks run", filling).await??;
    let full = memory(&master).await?;
    let agents = u64::from(count).max(1);
    let of_half = full.saturating_sub(busy);
    Ok(vec![
        ("agents", Figure::Count(u64::from(count))),
        (
            "agents_per_connection",
            Figure::Count(u64::from(emulation.agents_per_connection())),
        ),
        (
            "registered",
            Figure::Count(u64::from(idle_counts.registered)),
        ),
        ("links_ended", Figure::Count(idle_counts.links_ended)),
        ("tasks", Figure::Count(tasks)),
        ("empty_bytes", Figure::Count(empty)),
        ("agents_bytes", Figure::Count(idle)),
        ("half_bytes", Figure::Count(busy)),
        ("tasks_bytes", Figure::Count(full)),
        (
            "bytes_per_agent",
            Figure::Count(idle.saturating_sub(empty) / agents),
        ),
        (
            "busy_bytes_per_agent",
            Figure::Count(busy.saturating_sub(of_half).saturating_sub(empty) / agents),
        ),
        (
            "bytes_per_task",
            Figure::Count(of_half / (tasks - half).max(1)),
        ),
        (
            "emulator_bytes_per_agent",
            Figure::Count(own_idle.saturating_sub(own_before) / agents),
        ),
    ])
}

/// The master's private memory once it no longer changes.
async fn memory(master: &Master) -> Result<u64, Problem> {
    let look = || master.private_bytes();
    settled(look, BENCH_SETTLE_INTERVAL, BENCH_SETTLE_TIMEOUT).await
}

/// Launches tasks of these numbers and returns when each has said that it runs. The first tasks of a session have the number
/// 0. Offers are not taken one after the other: a large cluster has more of them than would be taken before they expire.
pub(super) async fn fill(
    handle: &Handle,
    events: &mut Events,
    numbers: Range<u64>,
) -> Result<(), Problem> {
    let tasks = u32::try_from(numbers.end - numbers.start).unwrap_or(u32::MAX);
    let (mut named, mut open, mut running) = (numbers.start, 0, 0);
    let mut offers = Standing::default();
    let mut launches = JoinSet::new();
    if numbers.start > 0 {
        handle.set_demand(role()?, wanted(tasks, SHAPE)?).await?;
    }
    while running < tasks
        && let Some(received) = events.next().await
    {
        match received.event {
            Event::Subscribed { .. } => {
                handle.set_demand(role()?, wanted(tasks, SHAPE)?).await?;
            }
            Event::Updated(status) if status.state == TaskState::Running => running += 1,
            Event::Closed(problem) => return Err(problem),
            other => offers.hear(other),
        }
        handle.acknowledge(received.sequence);
        while let Some(Ok(refused)) = launches.try_join_next() {
            open -= refused?;
        }
        while open < tasks
            && open - running < BENCH_STARTING_MAX
            && let Some(offer) = offers.take()
        {
            let fits: u32 = offer.fits.iter().map(|fit| fit.count).sum();
            let count = fits.min(tasks - open).min(LAUNCHES_MAX);
            launches.spawn(launch(handle.clone(), offer, named, count));
            named += u64::from(count);
            open += count;
        }
    }
    if running < tasks {
        let message = format!("the session ended when {running} of {tasks} tasks ran");
        return Err(Problem::new(code::PEER_UNREACHABLE, message));
    }
    Ok(())
}

/// Launches so many tasks; answers how many were refused, since their offer was gone.
async fn launch(handle: Handle, offer: Offer, first: u64, count: u32) -> Result<u32, Problem> {
    let specs = (first..first.saturating_add(u64::from(count))).map(|number| task(number, SHAPE));
    let specs = specs.collect::<Result<_, _>>()?;
    let results = match handle.launch(vec![offer.id], specs).await {
        Err(problem) if problem.is(code::OFFER_GONE) => return Ok(count),
        answered => answered?,
    };
    let refused = results.iter().filter(|result| result.outcome.is_err());
    Ok(u32::try_from(refused.count()).unwrap_or(u32::MAX))
}
