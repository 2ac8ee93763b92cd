//! Frameworks of the benchmark at work: one that launches as `bench launch` does, and one that fills every agent and takes the
//! times until it is offered anew what a task held.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proffer_agent::emulate::Emulation;
use proffer_model::{Problem, TaskId, code};
use proffer_proto::mesos::v1::scheduler::{Event, event};
use proffer_proto::mesos::v1::{TaskState, TaskStatus, task_status};
use tokio::time::sleep;

use super::super::cluster::Journal;
use super::super::figures::Times;
use super::super::launch::LoadArgs;
use super::calls::{self, Shape, Standing};
use super::client::Client;
use crate::limits::BENCH_FORGOTTEN_INTERVAL;

/// Times that were taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// From the call to its 202, which says nothing.
    pub(super) answered: Times,
    /// From the call to TASK_RUNNING, of each task.
    pub(super) running: Times,
}

/// A framework that launches.
pub(super) struct Launcher {
    client: Client,
    shape: Shape,
    offers: Standing,
    /// When each task was accepted, by its number.
    accepted_at: Vec<Instant>,
    running: u64,
    ended: u64,
    /// Launches that came to nothing: their offers were taken back first.
    pub(super) refused: u64,
    running_times: Times,
}

impl Launcher {
    pub(super) fn new(client: Client, shape: Shape) -> Self {
        Self {
            client,
            shape,
            offers: Standing::default(),
            accepted_at: Vec::new(),
            running: 0,
            ended: 0,
            refused: 0,
            running_times: Times::default(),
        }
    }

    fn launched(&self) -> u64 {
        u64::try_from(self.accepted_at.len()).unwrap_or(u64::MAX)
    }

    fn taken(&mut self) -> Taken {
        Taken {
            answered: self.client.take_times(),
            running: std::mem::take(&mut self.running_times),
        }
    }

    /// Launches one task at a time; nothing else of this framework is going on meanwhile.
    pub(super) async fn one_by_one(&mut self, samples: usize) -> Result<Taken, Problem> {
        self.taken();
        for _ in 0..samples {
            while self.accept(1) == 0 {
                self.step().await?;
            }
            while self.running + self.refused < self.launched() {
                self.step().await?;
            }
        }
        while self.ended + self.refused < self.launched() {
            self.step().await?;
        }
        Ok(self.taken())
    }

    /// Launches so many, as many at a time as may be on their way, until the agents have forgotten them. Answers how long that
    /// took.
    pub(super) async fn flood(
        &mut self,
        emulation: &Emulation,
        tasks: u64,
        args: &LoadArgs,
    ) -> Result<(Duration, Taken), Problem> {
        let begun = Instant::now();
        self.taken();
        let goal = self.ended + tasks;
        let at_most = args.in_flight.max(args.tasks_per_accept);
        while self.ended < goal {
            loop {
                // What was refused is launched again, under another name.
                let good = self.launched() - self.refused;
                let next = (goal - good).min(args.tasks_per_accept);
                let is_full = good - self.ended + next > at_most;
                if next == 0 || is_full || self.accept(next) == 0 {
                    break;
                }
            }
            self.step().await?;
        }
        while emulation.counts().tasks_forgotten < self.ended {
            // The last acknowledgements may wait here still.
            tokio::select! {
                stepped = self.step() => stepped?,
                () = sleep(BENCH_FORGOTTEN_INTERVAL) => {}
            }
        }
        Ok((begun.elapsed(), self.taken()))
    }

    /// Launches as many as this on the agent whose offer stands longest, or as many as fit; 0 when there is none.
    fn accept(&mut self, tasks: u64) -> u64 {
        while let Some((taken, is_declined)) = self.offers.take(&self.shape) {
            if is_declined {
                let call = calls::decline(&self.client.id, taken.offers);
                self.client.call(&call, false);
                continue;
            }
            let first = self.launched();
            let count = tasks.min(taken.fits);
            let numbers = first..first + count;
            let call = calls::accept(&self.client.id, &taken, numbers.clone(), &self.shape);
            let now = Instant::now();
            self.accepted_at.extend(numbers.map(|_| now));
            self.client.call(&call, true);
            return count;
        }
        0
    }

    /// Waits for the next event, and takes it in.
    async fn step(&mut self) -> Result<(), Problem> {
        let event = self.client.next().await?;
        if let Some(status) = hear(&mut self.client, &mut self.offers, event) {
            self.on_status(&status)?;
        }
        Ok(())
    }

    fn on_status(&mut self, status: &TaskStatus) -> Result<(), Problem> {
        let number = calls::number_of(status);
        let accepted_at = number.and_then(|number| self.accepted_at.get(number));
        match (status.state(), accepted_at) {
            (TaskState::TaskRunning, Some(at)) => {
                self.running_times.push(at.elapsed());
                self.running += 1;
            }
            (TaskState::TaskFinished, _) => self.ended += 1,
            (TaskState::TaskStaging | TaskState::TaskStarting, _) => {}
            _ if status.reason() == task_status::Reason::InvalidOffers => self.refused += 1,
            _ => return Err(unexpected(status)),
        }
        Ok(())
    }
}

/// A framework that fills every agent and takes the times.
pub(super) struct Taker {
    client: Client,
    shape: Shape,
    journal: Arc<Journal>,
    agents: usize,
    offers: Standing,
    /// What runs, or ran last, on each agent.
    last: HashMap<String, TaskId>,
    running: HashSet<String>,
    launched: u64,
    pub(super) times: Times,
    pub(super) refused: u64,
}

impl Taker {
    pub(super) fn new(client: Client, shape: Shape, journal: Arc<Journal>, agents: u32) -> Self {
        Self {
            client,
            shape,
            journal,
            agents: usize::try_from(agents).unwrap_or(usize::MAX),
            offers: Standing::default(),
            last: HashMap::new(),
            running: HashSet::new(),
            launched: 0,
            times: Times::default(),
            refused: 0,
        }
    }

    /// Until every agent was full at least once.
    pub(super) async fn fill(&mut self) -> Result<(), Problem> {
        while self.last.len() < self.agents || self.running.len() < self.agents.div_ceil(2) {
            self.step().await?;
        }
        self.times = Times::default();
        Ok(())
    }

    pub(super) async fn take(&mut self, samples: usize) -> Result<(), Problem> {
        while self.times.len() < samples {
            self.step().await?;
        }
        Ok(())
    }

    /// How many tasks run.
    pub(super) fn running(&self) -> u64 {
        u64::try_from(self.running.len()).unwrap_or(u64::MAX)
    }

    /// Goes on like this until something else is over.
    pub(super) async fn until<T>(
        &mut self,
        over: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let mut over = std::pin::pin!(over);
        loop {
            tokio::select! {
                done = &mut over => return done,
                stepped = self.step() => stepped?,
            }
        }
    }

    async fn step(&mut self) -> Result<(), Problem> {
        let event = self.client.next().await?;
        let now = Instant::now();
        if let Some(status) = hear(&mut self.client, &mut self.offers, event) {
            let task = status.task_id.value.clone();
            match status.state() {
                TaskState::TaskRunning => {
                    self.running.insert(task);
                }
                TaskState::TaskStaging | TaskState::TaskStarting => {}
                TaskState::TaskFinished => {
                    self.running.remove(&task);
                }
                _ if status.reason() == task_status::Reason::InvalidOffers => self.refused += 1,
                _ => return Err(unexpected(&status)),
            }
        }
        while let Some((taken, is_declined)) = self.offers.take(&self.shape) {
            if is_declined {
                let call = calls::decline(&self.client.id, taken.offers);
                self.client.call(&call, false);
                continue;
            }
            let numbers = self.launched..self.launched + 1;
            self.launched += 1;
            let id = TaskId::new(&format!("bench-{}", numbers.start))?;
            let last = self.last.insert(taken.agent.value.clone(), id);
            if let Some(ended) = last.and_then(|last| self.journal.take(&last)) {
                self.times.push(now.saturating_duration_since(ended));
            }
            let call = calls::accept(&self.client.id, &taken, numbers, &self.shape);
            self.client.call(&call, false);
        }
        Ok(())
    }
}

/// Takes in what every framework does: offers are kept, statuses acknowledged. Answers a status.
fn hear(client: &mut Client, offers: &mut Standing, event: Event) -> Option<TaskStatus> {
    match event.r#type() {
        event::Type::Offers => offers.come(event.offers.unwrap_or_default().offers),
        event::Type::Rescind => {
            if let Some(rescind) = event.rescind {
                offers.rescinded(&rescind.offer_id);
            }
        }
        event::Type::Update => {
            let status = event.update?.status;
            if let Some(call) = calls::acknowledge(&client.id, &status) {
                client.call(&call, false);
            }
            return Some(status);
        }
        _ => {}
    }
    None
}

fn unexpected(status: &TaskStatus) -> Problem {
    let message = format!(
        "{} is {}: {}",
        status.task_id.value,
        status.state().as_str_name(),
        status.message()
    );
    Problem::new(code::INTERNAL, message)
}
