//! How long nobody is served after the leader was killed: three masters on a ZooKeeper, agents with tasks, one framework.
//!
//! The time begins with SIGKILL, so it holds the time in which nobody can know yet that the leader is dead: its session.

use std::time::{Duration, Instant};

use proffer_agent::emulate::Emulation;
use proffer_leader::Masters;
use proffer_model::session::Event;
use proffer_model::{Problem, code};
use proffer_sdk::Events;

use super::child::{Master, directory};
use super::cluster::{Fleet, all_registered, connect_with, emulate_with, role, wanted, within};
use super::figures::{Figure, Figures, ms};
use super::memory::{SHAPE, fill};
use super::zookeeper::ZooKeeper;
use crate::exit::Outcome;
use crate::limits::{BENCH_ENDLESS_DEMAND, BENCH_WAIT_TIMEOUT};
use crate::output::{OutputArgs, Progress};

/// Masters of the cluster.
const MASTERS: usize = 3;

/// `proffer bench failover`.
#[derive(Debug, clap::Args)]
pub(crate) struct FailoverArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How many agents; a row for each number.
    #[arg(value_name = "AGENTS", default_values_t = [1_000, 10_000])]
    agents: Vec<u32>,
    /// How many tasks run, by number of agents: so many on each.
    #[arg(long, value_name = "N", default_value_t = 10)]
    tasks_per_agent: u32,
    /// How long ZooKeeper keeps the session of a master that says nothing.
    #[arg(long, value_name = "D", default_value = "4s")]
    session_timeout: proffer_server::config::DurationText,
    /// How many agents share a connection [default: 1, or at least 8 when the limit of open files does not allow that].
    #[arg(long, value_name = "K")]
    agents_per_connection: Option<u32>,
}

/// Measures.
pub(super) async fn run(args: &FailoverArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for count in args.agents.iter().copied() {
        let row = of(args, count, progress).await?;
        figures.push_and_say(row, progress);
    }
    Ok(figures)
}

async fn of(
    args: &FailoverArgs,
    count: u32,
    progress: &mut Progress,
) -> Outcome<Vec<(&'static str, Figure)>> {
    progress.update("starting ZooKeeper and three masters");
    let zookeeper = ZooKeeper::start().await?;
    let mut masters = masters(&zookeeper, args.session_timeout.0).await?;
    let [first, ..] = masters.as_mut_slice() else {
        return Ok(Vec::new());
    };
    let token = first.token.clone();
    progress.update(&format!("registering {count} agents"));
    let places: Vec<String> = masters.iter().map(|one| one.cluster.clone()).collect();
    let fleet = Fleet {
        count,
        resources: "cpus:64;mem:65536",
        agents_per_connection: args.agents_per_connection,
        ..Fleet::default()
    };
    let emulation = emulate_with(Masters::parse(&places)?, token.clone(), fleet)?;
    let apis: Vec<String> = masters.iter().map(|one| one.api.clone()).collect();
    let (handle, mut events) = connect_with(apis, &token)?;
    let leader = handle.subscribed().await?.master;
    let Some(leader) = masters.iter_mut().find(|one| one.api == leader) else {
        let message = format!("{leader} leads, which is none of the masters");
        return Err(Problem::new(code::INTERNAL, message).into());
    };
    all_registered(leader, &emulation, count, Instant::now()).await?;
    let tasks = count.saturating_mul(args.tasks_per_agent);
    progress.update(&format!("launching {tasks} tasks"));
    within(
        leader,
        "all tasks run",
        fill(&handle, &mut events, 0..u64::from(tasks)),
    )
    .await??;
    handle
        .set_demand(role()?, wanted(BENCH_ENDLESS_DEMAND, SHAPE)?)
        .await?;
    progress.update("killing the leader");
    let begun = Instant::now();
    leader.kill()?;
    let again = async {
        tokio::join!(
            registered_again(&emulation, count, begun),
            served_again(&handle, &mut events, begun)
        )
    };
    let again = tokio::time::timeout(BENCH_WAIT_TIMEOUT, again).await;
    let (registered, served) = again.map_err(|_| {
        let message = "nobody serves everybody again after the leader was killed";
        Problem::new(code::WAIT_TIMED_OUT, message)
    })?;
    let (subscribed, offered) = served?;
    Ok(vec![
        ("agents", Figure::Count(u64::from(count))),
        (
            "agents_per_connection",
            Figure::Count(u64::from(emulation.agents_per_connection())),
        ),
        ("tasks", Figure::Count(u64::from(tasks))),
        ("session_timeout_ms", ms(args.session_timeout.0)),
        ("subscribed_ms", ms(subscribed)),
        ("registered_ms", ms(registered)),
        ("offered_ms", ms(offered)),
        ("outage_ms", ms(registered.max(offered))),
    ])
}

async fn masters(zookeeper: &ZooKeeper, session: Duration) -> Result<Vec<Master>, Problem> {
    let (store, session) = (zookeeper.store(), format!("{}ms", session.as_millis()));
    let arguments = ["--store", &store, "--session-timeout", &session];
    let mut masters: Vec<Master> = Vec::with_capacity(MASTERS);
    for _ in 0..MASTERS {
        let dir = directory()?;
        let first = masters.first().map(Master::token_file);
        let token_file = first.unwrap_or_else(|| dir.path().join("token"));
        masters.push(Master::start_in(dir, &token_file, &arguments).await?);
    }
    Ok(masters)
}

/// When all agents are registered with the next leader.
async fn registered_again(emulation: &Emulation, count: u32, begun: Instant) -> Duration {
    emulation.fewer_registered(count).await;
    emulation.registered(count).await;
    begun.elapsed()
}

/// When the framework is subscribed with the next leader, and when it has its first offer.
async fn served_again(
    handle: &proffer_sdk::Handle,
    events: &mut Events,
    begun: Instant,
) -> Result<(Duration, Duration), Problem> {
    let mut subscribed = None;
    while let Some(received) = events.next().await {
        match (&received.event, subscribed) {
            (Event::Subscribed { .. }, _) => subscribed = Some(begun.elapsed()),
            (Event::Offered(_), Some(subscribed)) => return Ok((subscribed, begun.elapsed())),
            _ => {}
        }
        handle.acknowledge(received.sequence);
    }
    Err(Problem::new(
        code::PEER_UNREACHABLE,
        "the framework's session is over for good",
    ))
}
