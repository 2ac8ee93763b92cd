//! What an operator who lists all tasks, page after page, all the time, takes from launches; and how long such a list takes.
//!
//! The same launches are made without and with the operator, in turn, against one master on which many tasks run all the time.

use std::time::Instant;

use proffer_agent::emulate::Emulation;
use proffer_model::session::Event;
use proffer_model::{Problem, code};
use proffer_proto::v1::operator_client::OperatorClient;
use proffer_proto::{problem_of, v1};
use proffer_sdk::Events;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::child::{Master, Store};
use super::cluster::{Fleet, all_registered, connect, emulate, role, within};
use super::figures::{Figure, Figures, Times, ms, us_per};
use super::launch::{Launcher, LoadArgs};
use super::memory::fill;
use super::sessions::Door;
use crate::exit::Outcome;
use crate::output::Progress;
use crate::units::per_second;

/// How many tasks run all the time on each agent that is there for them, which has room for no more.
const TASKS_PER_AGENT: u32 = 100;
/// Of those agents.
const STANDING_SEED: u64 = 1;

/// `proffer bench list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// How many tasks run all the time, on agents of their own.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    standing: u32,
    /// How often the launches are made without the operator, and with it.
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How many tasks a page holds at most.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    page_size: u32,
}

/// Measures.
pub(super) async fn run(args: &ListArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for count in args.load.agents.iter().copied() {
        let row = of(args, count, progress).await?;
        figures.push_and_say(row, progress);
    }
    Ok(figures)
}

async fn of(
    args: &ListArgs,
    count: u32,
    progress: &mut Progress,
) -> Outcome<Vec<(&'static str, Figure)>> {
    let mut master = Master::start(Store::File).await?;
    progress.update(&format!("launching {} tasks that stay", args.standing));
    let _standing = stand(args, &mut master).await?;
    let taken = take(args, count, &mut master, progress).await?;
    let Taken {
        alone,
        beside,
        lists,
        quiet,
    } = taken;
    let load = &args.load;
    let rate = |rates: &Rates| Figure::Count(per_second(load.tasks, rates.took.at(500)));
    let spent = |rates: &Rates| us_per(rates.spent.at(500), load.tasks);
    let tasks_min = lists.tasks_min.unwrap_or_default();
    Ok(vec![
        ("agents", Figure::Count(u64::from(count))),
        ("standing_tasks", Figure::Count(u64::from(args.standing))),
        ("launches", Figure::Count(load.tasks)),
        ("in_flight", Figure::Count(load.in_flight)),
        ("launches_per_s", rate(&alone)),
        ("listed_launches_per_s", rate(&beside)),
        ("master_us_per_launch", spent(&alone)),
        ("listed_master_us_per_launch", spent(&beside)),
        ("page_size", Figure::Count(u64::from(args.page_size))),
        ("lists", count_of(lists.times.len())),
        ("listed_min", Figure::Count(tasks_min)),
        ("list_p50_ms", ms(lists.times.at(500))),
        ("list_max_ms", ms(lists.times.at(1_000))),
        ("page_p50_ms", ms(lists.pages.at(500))),
        ("page_p99_ms", ms(lists.pages.at(990))),
        ("quiet_list_p50_ms", ms(quiet.times.at(500))),
    ])
}

/// Tasks that run as long as this lives.
struct Standing {
    _emulation: Emulation,
    _framework: JoinSet<()>,
}

async fn stand(args: &ListArgs, master: &mut Master) -> Result<Standing, Problem> {
    let agents = args.standing.div_ceil(TASKS_PER_AGENT);
    let fleet = Fleet {
        seed: STANDING_SEED,
        count: agents,
        resources: "cpus:10;mem:3200",
        agents_per_connection: args.load.agents_per_connection,
        ..Fleet::default()
    };
    let emulation = emulate(master, fleet)?;
    all_registered(master, &emulation, agents, Instant::now()).await?;
    let (handle, mut events) = connect(master)?;
    let filling = fill(&handle, &mut events, 0..u64::from(args.standing));
    within(master, "all tasks run", filling).await??;
    handle.set_demand(role()?, Vec::new()).await?;
    let mut framework = JoinSet::new();
    framework.spawn(async move { stay(&handle, &mut events).await });
    Ok(Standing {
        _emulation: emulation,
        _framework: framework,
    })
}

/// What was taken in all rounds.
#[derive(Default)]
struct Taken {
    /// Without the operator.
    alone: Rates,
    /// With it.
    beside: Rates,
    /// Its lists.
    lists: Lists,
    /// Lists with nothing else going on.
    quiet: Lists,
}

async fn take(
    args: &ListArgs,
    count: u32,
    master: &mut Master,
    progress: &mut Progress,
) -> Result<Taken, Problem> {
    let load = &args.load;
    let fleet = Fleet {
        count,
        resources: "cpus:64;mem:65536",
        task_duration: Some(load.task_duration),
        agents_per_connection: load.agents_per_connection,
        ..Fleet::default()
    };
    let emulation = emulate(master, fleet)?;
    all_registered(master, &emulation, count, Instant::now()).await?;
    let (handle, mut events) = connect(master)?;
    let mut launcher = Launcher::new(handle);
    let operator = Operator::connect(master).await?;
    let mut taken = Taken::default();
    for round in 1..=args.rounds {
        for is_listed in [false, true] {
            progress.update(&format!("round {round}, with lists: {is_listed}"));
            let (mut lister, is_over) = (JoinSet::new(), CancellationToken::new());
            if is_listed {
                let (operator, is_over) = (operator.clone(), is_over.clone());
                let page_size = args.page_size;
                lister.spawn(async move { operator.lists(page_size, &is_over).await });
            }
            let before = master.processor_time()?;
            let flood = launcher.flood(&mut events, &emulation, load);
            let (took, _) = within(master, "all tasks have ended", flood).await??;
            let spent = master.processor_time()?.saturating_sub(before);
            is_over.cancel();
            let rates = match is_listed {
                true => &mut taken.beside,
                false => &mut taken.alone,
            };
            rates.took.push(took);
            rates.spent.push(spent);
            while let Some(lists) = lister.join_next().await {
                taken.lists.extend(lists.map_err(|_| lost())??);
            }
        }
        taken.quiet.extend(operator.list(args.page_size).await?);
    }
    Ok(taken)
}

/// How long floods took, and what the master took of the processors.
#[derive(Default)]
struct Rates {
    took: Times,
    spent: Times,
}

/// Lists from the first to the last page.
#[derive(Default)]
struct Lists {
    times: Times,
    pages: Times,
    /// Tasks in the shortest.
    tasks_min: Option<u64>,
}

impl Lists {
    fn extend(&mut self, other: Self) {
        self.times.extend(other.times);
        self.pages.extend(other.pages);
        let both = self.tasks_min.into_iter().chain(other.tasks_min);
        self.tasks_min = both.min();
    }
}

/// Who lists.
#[derive(Clone)]
struct Operator {
    door: Door,
    client: OperatorClient<Channel>,
}

impl Operator {
    async fn connect(master: &Master) -> Result<Self, Problem> {
        let door = Door::open(master).await?;
        let client = OperatorClient::new(door.channel());
        Ok(Self { door, client })
    }

    /// One list after the other, until it is over; those that were finished by then.
    async fn lists(&self, page_size: u32, is_over: &CancellationToken) -> Result<Lists, Problem> {
        let mut lists = Lists::default();
        while let Some(list) = is_over.run_until_cancelled(self.list(page_size)).await {
            lists.extend(list?);
        }
        Ok(lists)
    }

    /// One list of all tasks.
    async fn list(&self, page_size: u32) -> Result<Lists, Problem> {
        let (begun, mut list, mut tasks) = (Instant::now(), Lists::default(), 0);
        let mut page_token = String::new();
        loop {
            let asked_at = Instant::now();
            let request = self.door.request(v1::ListTasksRequest {
                page_size,
                page_token,
                ..v1::ListTasksRequest::default()
            });
            let page = self.client.clone().list_tasks(request).await;
            let page = page.map_err(|status| problem_of(&status))?.into_inner();
            list.pages.push(asked_at.elapsed());
            tasks += u64::try_from(page.tasks.len()).unwrap_or(u64::MAX);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        list.times.push(begun.elapsed());
        list.tasks_min = Some(tasks);
        Ok(list)
    }
}

/// Hears whatever comes, so that the framework's tasks go on.
async fn stay(handle: &proffer_sdk::Handle, events: &mut Events) {
    while let Some(received) = events.next().await {
        if matches!(received.event, Event::Closed(_)) {
            return;
        }
        handle.acknowledge(received.sequence);
    }
}

fn count_of(len: usize) -> Figure {
    Figure::Count(u64::try_from(len).unwrap_or(u64::MAX))
}

fn lost() -> Problem {
    Problem::new(code::INTERNAL, "the operator has ended unexpectedly")
}
