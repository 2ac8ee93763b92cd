//! One framework calls as often as it can be imagined to, while others go on: what their calls take beside it.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use proffer_model::limits::ITEMS_PER_CALL_MAX;
use proffer_model::session::{Answer, Call, Event};
use proffer_model::{Demand, DemandEntry, DemandId, Generation, Problem, Resources, TaskId, code};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::child::{Master, Store, own_processor_time};
use super::cluster::{role, within};
use super::figures::{Figure, Figures, Times, ms};
use super::frameworks::call_for;
use super::sessions::{Door, Session, small_call};
use crate::exit::Outcome;
use crate::output::{OutputArgs, Progress};
use crate::units::per_second;

mod lists;

use lists::Lister;

/// Between two bursts of the flood: short enough to be a stream to the master.
const BURST_INTERVAL: Duration = Duration::from_millis(1);

/// `proffer bench flood`.
#[derive(Debug, clap::Args)]
pub(crate) struct FloodArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How many calls in a second the one framework makes; a row for each number [default: 10000 50000; of long calls: 10 40]
    #[arg(value_name = "CALLS")]
    calls: Vec<u64>,
    /// What it calls.
    #[arg(long, value_name = "CALL", default_value = "small")]
    call: FloodCall,
    /// How much each long call names, tasks or entries, or how many keys it lists.
    #[arg(long, value_name = "N", default_value_t = ITEMS_PER_CALL_MAX)]
    named: usize,
    /// How many other frameworks call now and then.
    #[arg(long, value_name = "N", default_value_t = 10)]
    others: u32,
    /// For how long, without the flood and again with it.
    #[arg(long, value_name = "D", default_value = "10s")]
    measure_for: proffer_server::config::DurationText,
}

/// What the one framework calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FloodCall {
    /// An offer that does not stand is given back.
    Small,
    /// How many tasks stand that nobody knows.
    Reconcile,
    /// A demand of many entries, each time of other sizes, that no agent could meet.
    Demand,
    /// What its state holds.
    List,
}

impl FloodCall {
    /// How much each call names.
    fn named(self, args: &FloodArgs) -> usize {
        match self {
            Self::Small => 1,
            Self::Reconcile | Self::Demand | Self::List => args.named,
        }
    }

    /// The call that is made as this one in a row.
    fn make(self, number: u64, named: usize) -> Result<Call, Problem> {
        Ok(match self {
            // Lists are no calls of a session (`lists.rs`).
            Self::Small | Self::List => small_call()?,
            Self::Reconcile => {
                let tasks = (0..named).map(|task| TaskId::new(&format!("task-{task}")));
                let tasks = tasks.collect::<Result<_, _>>()?;
                Call::Reconcile { tasks }
            }
            Self::Demand => {
                let cpus: Resources = format!("cpus:{}", 1_000_000 + number % 2).parse()?;
                let entry = |entry| -> Result<DemandEntry, Problem> {
                    let id = DemandId::new(&format!("entry-{entry}"))?;
                    Ok(DemandEntry::new(id, 1, cpus.clone()))
                };
                Call::SetDemand(Demand {
                    role: role()?,
                    generation: Generation(number),
                    entries: (0..named).map(entry).collect::<Result<_, _>>()?,
                })
            }
        })
    }
}

/// Measures.
pub(super) async fn run(args: &FloodArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    let calls: &[u64] = match (args.calls.as_slice(), args.call) {
        ([], FloodCall::Small) => &[10_000, 50_000],
        ([], FloodCall::Reconcile | FloodCall::Demand | FloodCall::List) => &[10, 40],
        (calls, _) => calls,
    };
    for calls in calls.iter().copied() {
        let row = of(args, calls, progress).await?;
        figures.push_and_say(row, progress);
    }
    Ok(figures)
}

async fn of(
    args: &FloodArgs,
    calls_per_second: u64,
    progress: &mut Progress,
) -> Outcome<Vec<(&'static str, Figure)>> {
    let mut master = Master::start(Store::File).await?;
    let mut others = Vec::new();
    for number in 0..args.others {
        // A connection each, as frameworks have.
        let door = Door::open(&master).await?;
        others.push(door.subscribe(&format!("other-{number}")).await?);
    }
    let flooder = Flooder::begin(Door::open(&master).await?, args).await?;
    let measure_for = args.measure_for.0;
    progress.update("calling without the flood");
    let calling = call_all(others, measure_for);
    let (others, alone) = within(&mut master, "calls are answered", calling).await??;
    progress.update(&format!("calling beside {calls_per_second} calls a second"));
    let (of_master, own) = (master.processor_time()?, own_processor_time()?);
    let begun = Instant::now();
    let both = async {
        tokio::join!(
            call_all(others, measure_for),
            flooder.flood(calls_per_second, args)
        )
    };
    let (called, flooded) = within(&mut master, "the flood is over", both).await?;
    let took = begun.elapsed();
    let ((_, beside), flooded) = (called?, flooded?);
    let of_master = master.processor_time()?.saturating_sub(of_master);
    let own = own_processor_time()?.saturating_sub(own);
    let answered = flooded.done + flooded.refused;
    let percent = |part: Duration| Figure::Count(share_percent(part, took));
    Ok(vec![
        ("call", Figure::Text(name_of(args.call))),
        ("named", count(args.call.named(args))),
        ("calls_per_s", Figure::Count(calls_per_second)),
        ("answered_per_s", Figure::Count(per_second(answered, took))),
        (
            "refused_per_s",
            Figure::Count(per_second(flooded.refused, took)),
        ),
        (
            "statuses_per_s",
            Figure::Count(per_second(flooded.statuses, took)),
        ),
        ("others", Figure::Count(u64::from(args.others))),
        ("alone_p50_ms", ms(alone.at(500))),
        ("alone_p99_ms", ms(alone.at(990))),
        ("beside_p50_ms", ms(beside.at(500))),
        ("beside_p99_ms", ms(beside.at(990))),
        (
            "p99_ratio",
            Figure::Milli(ratio_milli(beside.at(990), alone.at(990))),
        ),
        ("master_core_percent", percent(of_master)),
        ("bench_core_percent", percent(own)),
    ])
}

/// All of them call now and then.
async fn call_all(
    sessions: Vec<Session>,
    measure_for: Duration,
) -> Result<(Vec<Session>, Times), Problem> {
    let mut callers = JoinSet::new();
    for mut session in sessions {
        callers.spawn(async move {
            let times = call_for(&mut session, measure_for).await?;
            Ok::<_, Problem>((session, times))
        });
    }
    let (mut sessions, mut all) = (Vec::new(), Times::default());
    while let Some(called) = callers.join_next().await {
        let called = called.map_err(|error| Problem::new(code::INTERNAL, error.to_string()))?;
        let (session, times) = called?;
        sessions.push(session);
        all.extend(times);
    }
    Ok((sessions, all))
}

/// What became of the flood's calls.
#[derive(Debug, Default)]
struct Flooded {
    done: u64,
    refused: u64,
    statuses: u64,
}

impl Flooded {
    fn count(&mut self, event: &Event) {
        match event {
            Event::Answered { answer, .. } => match answer {
                Answer::Refused(_) => self.refused += 1,
                Answer::Done | Answer::Accepted(_) => self.done += 1,
            },
            Event::Updated(_) => self.statuses += 1,
            _ => {}
        }
    }
}

/// Who floods.
enum Flooder {
    /// With calls of its session.
    Caller(Box<Session>),
    /// With lists.
    Lister(Box<Lister>),
}

impl Flooder {
    async fn begin(door: Door, args: &FloodArgs) -> Result<Self, Problem> {
        let session = door.subscribe("flood").await?;
        Ok(match args.call {
            FloodCall::List => {
                let lister = Lister::fill(door, session, args.named).await?;
                Self::Lister(Box::new(lister))
            }
            FloodCall::Small | FloodCall::Reconcile | FloodCall::Demand => {
                Self::Caller(Box::new(session))
            }
        })
    }

    async fn flood(self, calls_per_second: u64, args: &FloodArgs) -> Result<Flooded, Problem> {
        match self {
            Self::Caller(session) => flood(*session, calls_per_second, args).await,
            Self::Lister(lister) => lister.flood(calls_per_second, args).await,
        }
    }
}

/// Calls so often in a second, whatever is answered, as long as the connection takes it.
async fn flood(
    mut session: Session,
    calls_per_second: u64,
    args: &FloodArgs,
) -> Result<Flooded, Problem> {
    let named = args.call.named(args);
    let (begun, mut sent, mut flooded) = (Instant::now(), 0_u64, Flooded::default());
    let mut bursts = interval(BURST_INTERVAL);
    bursts.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            event = session.event() => flooded.count(&event?),
            _ = bursts.tick() => {
                if begun.elapsed() >= args.measure_for.0 {
                    return Ok(flooded);
                }
                let since = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let due = since.saturating_mul(calls_per_second) / 1_000;
                while sent < due && session.has_room() {
                    sent += 1;
                    session.send(&args.call.make(sent, named)?).await?;
                }
            }
        }
    }
}

fn name_of(call: FloodCall) -> String {
    let value = call.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

fn count(count: usize) -> Figure {
    Figure::Count(u64::try_from(count).unwrap_or(u64::MAX))
}

fn ratio_milli(time: Duration, to: Duration) -> u64 {
    let ratio = time.as_nanos() * 1_000 / to.as_nanos().max(1);
    u64::try_from(ratio).unwrap_or(u64::MAX)
}

fn share_percent(part: Duration, of: Duration) -> u64 {
    let percent = part.as_nanos() * 100 / of.as_nanos().max(1);
    u64::try_from(percent).unwrap_or(u64::MAX)
}
