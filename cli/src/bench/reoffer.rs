//! From the end of a task to the next offer of what it held: the whole way through, agent to master to framework, over real
//! streams. Every agent is full, with one task that holds all of it; whenever a task ends, its agent is offered again.
//!
//! The time begins when the emulated task ends, before its agent has told anybody, and ends when the framework has the
//! offer in its hands.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proffer_agent::emulate::Span;
use proffer_model::session::Event;
use proffer_model::{AgentId, Offer, Problem, TaskId};
use proffer_sdk::{Events, Handle};
use tokio::task::JoinSet;

use super::child::{Master, Store};
use super::cluster::{
    Fleet, Journal, all_registered, connect, emulate, role, task, wanted, within,
};
use super::figures::{Figure, Figures, Times, ms};
use crate::exit::Outcome;
use crate::limits::BENCH_ENDLESS_DEMAND;
use crate::output::{OutputArgs, Progress};
use crate::units::per_second;

/// What an agent has, and every task holds.
const SHAPE: &str = "cpus:4;mem:8192";

/// `proffer bench reoffer`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReofferArgs {
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// How many agents; a row for each number.
    #[arg(value_name = "AGENTS", default_values_t = [1_000])]
    agents: Vec<u32>,
    /// How many times are taken for each row.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    samples: usize,
    /// How long tasks run: with A agents, A tasks end in this time.
    #[arg(long, value_name = "D", default_value = "5s-15s")]
    task_duration: Span,
    /// How many agents share a connection [default: 1, or at least 8 when the limit of open files does not allow that].
    #[arg(long, value_name = "K")]
    agents_per_connection: Option<u32>,
}

/// Measures.
pub(super) async fn run(args: &ReofferArgs, progress: &mut Progress) -> Outcome<Figures> {
    let mut figures = Figures::default();
    for count in args.agents.iter().copied() {
        progress.update(&format!("registering {count} agents"));
        let mut master = Master::start(Store::File).await?;
        let journal = Arc::new(Journal::default());
        let fleet = Fleet {
            count,
            resources: SHAPE,
            task_duration: Some(args.task_duration),
            agents_per_connection: args.agents_per_connection,
            witness: Some(journal.clone()),
            ..Fleet::default()
        };
        let emulation = emulate(&master, fleet)?;
        all_registered(&mut master, &emulation, count, Instant::now()).await?;
        progress.update(&format!("taking {} times on {count} agents", args.samples));
        let (handle, mut events) = connect(&master)?;
        let mut taker = Taker::new(handle, journal, count);
        let taking = taker.take(&mut events, args.samples);
        within(&mut master, "all times are taken", taking).await??;
        let times = &taker.times;
        let row = vec![
            ("agents", Figure::Count(u64::from(count))),
            (
                "agents_per_connection",
                Figure::Count(u64::from(emulation.agents_per_connection())),
            ),
            (
                "samples",
                Figure::Count(u64::try_from(times.len()).unwrap_or(u64::MAX)),
            ),
            (
                "ends_per_s",
                Figure::Count(per_second(taker.taken(), taker.took())),
            ),
            ("reoffer_p50_ms", ms(times.at(500))),
            ("reoffer_p90_ms", ms(times.at(900))),
            ("reoffer_p99_ms", ms(times.at(990))),
            ("reoffer_max_ms", ms(times.at(1_000))),
            ("launches_refused", Figure::Count(taker.refused)),
        ];
        figures.push_and_say(row, progress);
    }
    Ok(figures)
}

/// A framework that fills every agent and takes the times.
struct Taker {
    handle: Handle,
    journal: Arc<Journal>,
    agents: usize,
    /// What ran last on each agent.
    last: HashMap<AgentId, TaskId>,
    launched: u64,
    times: Times,
    /// Launches that came to nothing: their offers were taken back first.
    refused: u64,
    /// When all agents were full for the first time.
    full_at: Option<Instant>,
}

impl Taker {
    fn new(handle: Handle, journal: Arc<Journal>, agents: u32) -> Self {
        Self {
            handle,
            journal,
            agents: usize::try_from(agents).unwrap_or(usize::MAX),
            last: HashMap::new(),
            launched: 0,
            times: Times::default(),
            refused: 0,
            full_at: None,
        }
    }

    fn taken(&self) -> u64 {
        u64::try_from(self.times.len()).unwrap_or(u64::MAX)
    }

    fn took(&self) -> Duration {
        self.full_at.map(|at| at.elapsed()).unwrap_or_default()
    }

    async fn take(&mut self, events: &mut Events, samples: usize) -> Result<(), Problem> {
        // Nobody waits for an answer: that would be part of the next time.
        let mut launches = JoinSet::new();
        while self.times.len() < samples
            && let Some(received) = events.next().await
        {
            let now = Instant::now();
            match received.event {
                Event::Subscribed { .. } => {
                    let entries = wanted(BENCH_ENDLESS_DEMAND, SHAPE)?;
                    self.handle.set_demand(role()?, entries).await?;
                }
                Event::Offered(offers) => {
                    for offer in offers {
                        self.on_offer(now, offer, &mut launches)?;
                    }
                }
                _ => {}
            }
            self.handle.acknowledge(received.sequence);
            while let Some(result) = launches.try_join_next() {
                let is_launched = matches!(result, Ok(Ok(true)));
                self.refused += u64::from(!is_launched);
            }
        }
        Ok(())
    }

    fn on_offer(
        &mut self,
        now: Instant,
        offer: Offer,
        launches: &mut JoinSet<Result<bool, Problem>>,
    ) -> Result<(), Problem> {
        let spec = task(self.launched, SHAPE)?;
        self.launched += 1;
        let last = self.last.insert(offer.agent.clone(), spec.id.clone());
        let ended = last.and_then(|last| self.journal.take(&last));
        if let Some(ended) = ended
            && self.full_at.is_some()
        {
            self.times.push(now.saturating_duration_since(ended));
        }
        if self.full_at.is_none() && self.last.len() >= self.agents {
            self.full_at = Some(now);
        }
        let handle = self.handle.clone();
        launches.spawn(async move {
            let results = handle.launch(vec![offer.id], vec![spec]).await?;
            Ok(results.iter().all(|result| result.outcome.is_ok()))
        });
        Ok(())
    }
}
