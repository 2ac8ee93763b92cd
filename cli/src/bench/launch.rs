//! Launches end to end: accepted, running, acknowledged, finished, acknowledged; over real streams, by one framework.
//!
//! Three figures of one cluster, one after the other: the time from an accept to RUNNING with nothing else going on, the time to
//! the answer of large accepts, and then how many launches a second come to their end. A launch counts when its agent has forgotten
//! it, which it does only when the framework has acknowledged the last status and the master has passed that on.

use std::time::{Duration, Instant};

use proffer_agent::emulate::{Emulation, Span};
use proffer_model::session::{Answer, Call, Event, Operation};
use proffer_model::{Problem, Status, TaskState, code};
use proffer_sdk::{Events, Handle};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::child::{Master, Store, own_processor_time};
use super::cluster::{
    Fleet, Standing, all_registered, connect, emulate, number_of, role, task, wanted, within,
};
use super::figures::{Figure, Figures, Times, ms, us_per};
use crate::exit::Outcome;
use crate::limits::{BENCH_ENDLESS_DEMAND, BENCH_FORGOTTEN_INTERVAL};
use crate::output::{OutputArgs, Progress};
use crate::units::per_second;

/// What every task holds.
const SHAPE: &str = "cpus:0.1;mem:32";

/// `proffer bench launch`.
#[derive(Debug, clap::Args)]
pub(crate) struct LaunchArgs {
    #[command(flatten)]
    pub(crate) load: LoadArgs,
    /// How many times are taken of single launches, and of large accepts, with nothing else going on.
    #[arg(long, value_name = "N", default_value_t = 500)]
    samples: usize,
}

/// Many launches on agents: of every benchmark that makes them.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How many agents; a row for each number.
    #[arg(value_name = "AGENTS", default_values_t = [1_000])]
    pub(super) agents: Vec<u32>,
    /// How many tasks are launched for the rate.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(super) tasks: u64,
    /// How many of them may be on their way, from their accept to the acknowledgement of their end.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(super) in_flight: u64,
    /// How many of them are launched with one accept.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) tasks_per_accept: u64,
    /// How long tasks run.
    #[arg(long, value_name = "D", default_value = "100ms")]
    pub(super) task_duration: Span,
    /// How many agents share a connection [default: 1, or at least 8 when the limit of open files does not allow that].
    #[arg(long, value_name = "K")]
    pub(super) agents_per_connection: Option<u32>,
}

/// Measures.
pub(super) async fn run(args: &LaunchArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for count in args.load.agents.iter().copied() {
        let row = of(args, count, progress).await?;
        figures.push_and_say(row, progress);
    }
    Ok(figures)
}

async fn of(
    args: &LaunchArgs,
    count: u32,
    progress: &mut Progress,
) -> Outcome<Vec<(&'static str, Figure)>> {
    let load = &args.load;
    progress.update(&format!("registering {count} agents"));
    let mut master = Master::start(Store::File).await?;
    let fleet = Fleet {
        count,
        resources: "cpus:64;mem:65536",
        task_duration: Some(load.task_duration),
        agents_per_connection: load.agents_per_connection,
        ..Fleet::default()
    };
    let emulation = emulate(&master, fleet)?;
    all_registered(&mut master, &emulation, count, Instant::now()).await?;
    let (handle, mut events) = connect(&master)?;
    let mut launcher = Launcher::new(handle);
    let offered = launcher.hear_offers(&mut events, u64::from(count));
    within(&mut master, "all agents are offered", offered).await??;
    progress.update("launching one by one");
    let single = launcher.one_by_one(&mut events, args.samples, 1);
    let single = within(&mut master, "single launches run", single).await??;
    progress.update("accepting many at once");
    let samples = args.samples.div_ceil(5);
    let large = launcher.one_by_one(&mut events, samples, load.tasks_per_accept);
    let large = within(&mut master, "large accepts are answered", large).await??;
    progress.update(&format!("launching {} tasks", load.tasks));
    let before = (master.processor_time()?, own_processor_time()?);
    let flood = launcher.flood(&mut events, &emulation, load);
    let (took, busy) = within(&mut master, "all tasks have ended", flood).await??;
    let after = (master.processor_time()?, own_processor_time()?);
    let per_launch =
        |before: Duration, after: Duration| us_per(after.saturating_sub(before), load.tasks);
    Ok(vec![
        ("agents", Figure::Count(u64::from(count))),
        (
            "agents_per_connection",
            Figure::Count(u64::from(emulation.agents_per_connection())),
        ),
        ("launches", Figure::Count(load.tasks)),
        (
            "launches_per_s",
            Figure::Count(per_second(load.tasks, took)),
        ),
        ("running_p50_ms", ms(single.running.at(500))),
        ("running_p99_ms", ms(single.running.at(990))),
        ("tasks_per_accept", Figure::Count(load.tasks_per_accept)),
        ("accept_p50_ms", ms(large.answered.at(500))),
        ("accept_p99_ms", ms(large.answered.at(990))),
        ("in_flight", Figure::Count(load.in_flight)),
        ("busy_accept_p99_ms", ms(busy.answered.at(990))),
        ("busy_running_p99_ms", ms(busy.running.at(990))),
        ("master_us_per_launch", per_launch(before.0, after.0)),
        ("bench_us_per_launch", per_launch(before.1, after.1)),
        ("launches_refused", Figure::Count(launcher.refused)),
    ])
}

/// Times that were taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// From the call to its answer.
    answered: Times,
    /// From the call to RUNNING, of each task.
    running: Times,
}

/// The answer to an accept: when it came, and how many of its tasks were refused.
type Answered = Result<(Duration, u64), Problem>;

/// A framework that launches and takes the times.
pub(super) struct Launcher {
    handle: Handle,
    offers: Standing,
    /// How many came.
    offered: u64,
    /// When each task was accepted, by its number.
    accepted_at: Vec<Instant>,
    accepts: JoinSet<Answered>,
    running: u64,
    ended: u64,
    /// Launches that came to nothing: their offers were taken back first.
    refused: u64,
    taken: Taken,
}

impl Launcher {
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            offers: Standing::default(),
            offered: 0,
            accepted_at: Vec::new(),
            accepts: JoinSet::new(),
            running: 0,
            ended: 0,
            refused: 0,
            taken: Taken::default(),
        }
    }

    fn launched(&self) -> u64 {
        u64::try_from(self.accepted_at.len()).unwrap_or(u64::MAX)
    }

    /// Waits until so many offers have come: what is made together at the beginning is no part of what is measured.
    async fn hear_offers(&mut self, events: &mut Events, count: u64) -> Result<(), Problem> {
        while self.offered < count {
            self.step(events).await?;
        }
        Ok(())
    }

    /// Accepts so many tasks at a time; nothing else is going on until all of them run. As soon as one has ended the others
    /// are waited for, or their ends would be going on.
    async fn one_by_one(
        &mut self,
        events: &mut Events,
        samples: usize,
        tasks: u64,
    ) -> Result<Taken, Problem> {
        self.taken = Taken::default();
        let mut quiet_at = self.ended;
        for _ in 0..samples {
            if self.ended > quiet_at {
                self.all_ended(events).await?;
                quiet_at = self.ended;
            }
            while !self.accept(tasks).await? {
                self.step(events).await?;
            }
            while self.running + self.refused < self.launched() || !self.accepts.is_empty() {
                self.step(events).await?;
            }
        }
        self.all_ended(events).await?;
        Ok(std::mem::take(&mut self.taken))
    }

    async fn all_ended(&mut self, events: &mut Events) -> Result<(), Problem> {
        while self.ended + self.refused < self.launched() {
            self.step(events).await?;
        }
        Ok(())
    }

    /// Launches them all, as many at a time as may be on their way, until the agents have forgotten them. Answers how long that
    /// took.
    pub(super) async fn flood(
        &mut self,
        events: &mut Events,
        emulation: &Emulation,
        args: &LoadArgs,
    ) -> Result<(Duration, Taken), Problem> {
        let begun = Instant::now();
        let goal = self.ended + args.tasks;
        let at_most = args.in_flight.max(args.tasks_per_accept);
        self.taken = Taken::default();
        while self.ended < goal {
            loop {
                // What was refused is launched again, under another name.
                let good = self.launched() - self.refused;
                let next = (goal - good).min(args.tasks_per_accept);
                let is_full = good - self.ended + next > at_most;
                if next == 0 || is_full || !self.accept(next).await? {
                    break;
                }
            }
            self.step(events).await?;
        }
        while emulation.counts().tasks_forgotten < self.ended {
            sleep(BENCH_FORGOTTEN_INTERVAL).await;
        }
        Ok((begun.elapsed(), std::mem::take(&mut self.taken)))
    }

    /// Launches as many as this with the offer that stands longest, or as many as fit; answers false when there is none.
    async fn accept(&mut self, tasks: u64) -> Result<bool, Problem> {
        let Some(offer) = self.offers.take() else {
            return Ok(false);
        };
        let fits: u32 = offer.fits.iter().map(|fit| fit.count).sum();
        let first = self.launched();
        let next = first + tasks.min(u64::from(fits));
        let specs = (first..next).map(|number| task(number, SHAPE));
        let specs = specs.collect::<Result<Vec<_>, _>>()?;
        let now = Instant::now();
        self.accepted_at.extend(specs.iter().map(|_| now));
        let call = Call::Accept {
            offers: vec![offer.id],
            operations: specs.into_iter().map(Operation::launch).collect(),
        };
        let answer = self.handle.send(call).await?;
        self.accepts.spawn(async move {
            let refused = match answer.await {
                Ok(Answer::Accepted(results)) => {
                    let launches = results.iter().flat_map(|result| result.launches());
                    let refused = launches.filter(|launch| launch.outcome.is_err());
                    u64::try_from(refused.count()).unwrap_or(u64::MAX)
                }
                Err(problem) if problem.is(code::OFFER_GONE) => next - first,
                Ok(_) => next - first,
                Err(problem) => return Err(problem),
            };
            Ok((now.elapsed(), refused))
        });
        Ok(true)
    }

    /// Waits for the next thing that happens, and takes it in.
    async fn step(&mut self, events: &mut Events) -> Result<(), Problem> {
        tokio::select! {
            Some(answered) = self.accepts.join_next() => {
                let answered = answered.map_err(|error| {
                    Problem::new(code::INTERNAL, format!("waiting for an answer failed: {error}"))
                })?;
                let (time, refused) = answered?;
                self.taken.answered.push(time);
                self.refused += refused;
            }
            received = events.next() => {
                let Some(received) = received else {
                    let message = "the session has ended";
                    return Err(Problem::new(code::PEER_UNREACHABLE, message));
                };
                self.hear(received.event).await?;
                self.handle.acknowledge(received.sequence);
            }
        }
        Ok(())
    }

    async fn hear(&mut self, event: Event) -> Result<(), Problem> {
        match event {
            Event::Subscribed { .. } => {
                let entries = wanted(BENCH_ENDLESS_DEMAND, SHAPE)?;
                self.handle.set_demand(role()?, entries).await
            }
            Event::Updated(status) => self.on_updated(&status),
            Event::Closed(problem) => Err(problem),
            other => {
                if let Event::Offered(offers) = &other {
                    self.offered += u64::try_from(offers.len()).unwrap_or(u64::MAX);
                }
                self.offers.hear(other);
                Ok(())
            }
        }
    }

    fn on_updated(&mut self, status: &Status) -> Result<(), Problem> {
        let number = number_of(&status.task);
        let accepted_at = number.and_then(|number| self.accepted_at.get(number));
        match (status.state, accepted_at) {
            (TaskState::Running, Some(at)) => {
                self.taken.running.push(at.elapsed());
                self.running += 1;
            }
            (TaskState::Finished, _) => self.ended += 1,
            (state, _) if state.is_terminal() => {
                let message = format!("{} is {state}: {}", status.task, status.message);
                return Err(Problem::new(code::INTERNAL, message));
            }
            _ => {}
        }
        Ok(())
    }
}
