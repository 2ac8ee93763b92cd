//! The view's tables: agents, frameworks and tasks as the facts say, with their counts by state.
//!
//! Ended tasks stay for a while, up to [`ENDED_TASKS_MAX`] of each framework; so do those of frameworks that are over,
//! up to [`GONE_FRAMEWORKS_MAX`] of these; of more it is known what they were (see [`super::completed`]). What still
//! runs when its framework ends is nobody's, and was shown killed before.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use proffer_master_core::effect::{AgentRow, ExecutorRow, Fact, FrameworkRow, OfferRow, TaskRow};
use proffer_master_core::event::Seq;
use proffer_model::{
    AgentId, AgentState, ExecutorId, FrameworkId, Incarnation, OfferId, TaskId, TaskState,
};

use super::completed::{Completed, CompletedFramework};
use super::history::{Changed, Changes, History};
use super::pages::{Keyed, Rows, Table};
use crate::limits::{ENDED_TASKS_MAX, GONE_FRAMEWORKS_MAX};
use crate::metrics::{ClusterMetrics, State};

/// What readers get: everything at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// Agents.
    pub(crate) agents: Rows<AgentRow>,
    /// Frameworks.
    pub(crate) frameworks: Rows<FrameworkRow>,
    /// Tasks, by framework.
    pub(crate) tasks: Rows<TaskRow>,
    /// Offers that stand.
    pub(crate) offers: Rows<OfferRow>,
    /// Executors that live, by agent and framework.
    pub(crate) executors: Rows<ExecutorRow>,
    /// Agents that are marked gone.
    pub(crate) gone: Rows<GoneAgent>,
    /// Frameworks that are over.
    pub(crate) completed: Rows<CompletedFramework>,
    /// The number of the last change that is in it.
    pub(crate) sequence: u64,
    /// The last batch that something in it may rest on.
    pub(crate) written: Seq,
}

/// An agent that is marked gone.
#[derive(Clone, Debug)]
pub(crate) struct GoneAgent(AgentId);

type TaskKey = (FrameworkId, TaskId);

impl Keyed for GoneAgent {
    type Key = AgentId;

    fn key(&self) -> AgentId {
        self.0.clone()
    }

    fn compare(&self, key: &AgentId) -> Ordering {
        self.0.cmp(key)
    }
}

impl Keyed for AgentRow {
    type Key = AgentId;

    fn key(&self) -> AgentId {
        self.agent.clone()
    }

    fn compare(&self, key: &AgentId) -> Ordering {
        self.agent.cmp(key)
    }
}

impl Keyed for FrameworkRow {
    type Key = FrameworkId;

    fn key(&self) -> FrameworkId {
        self.framework.clone()
    }

    fn compare(&self, key: &FrameworkId) -> Ordering {
        self.framework.cmp(key)
    }
}

impl Keyed for TaskRow {
    type Key = TaskKey;

    fn key(&self) -> TaskKey {
        (self.framework.clone(), self.task.clone())
    }

    fn compare(&self, key: &TaskKey) -> Ordering {
        (&self.framework, &self.task).cmp(&(&key.0, &key.1))
    }
}

impl Keyed for OfferRow {
    type Key = OfferId;

    fn key(&self) -> OfferId {
        self.offer.clone()
    }

    fn compare(&self, key: &OfferId) -> Ordering {
        self.offer.cmp(key)
    }
}

impl Keyed for ExecutorRow {
    type Key = (AgentId, FrameworkId, ExecutorId);

    fn key(&self) -> Self::Key {
        let (agent, framework) = (self.agent.clone(), self.framework.clone());
        (agent, framework, self.executor.clone())
    }

    fn compare(&self, key: &Self::Key) -> Ordering {
        (&self.agent, &self.framework, &self.executor).cmp(&(&key.0, &key.1, &key.2))
    }
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    agents: Table<AgentRow>,
    frameworks: Table<FrameworkRow>,
    tasks: Table<TaskRow>,
    offers: Table<OfferRow>,
    executors: Table<ExecutorRow>,
    gone_agents: Table<GoneAgent>,
    history: History,
    /// Ended tasks, the longest ended first.
    ended: BTreeMap<FrameworkId, VecDeque<(TaskId, Incarnation)>>,
    /// Frameworks that are over, the longest first.
    gone: VecDeque<FrameworkId>,
    completed: Completed,
    counts: Counts,
    /// When what is taken in was told.
    pub(crate) now_wall_ms: u64,
    /// The last batch that something of it may rest on.
    pub(crate) written: Seq,
}

#[derive(Debug, Default)]
struct Counts {
    agents: BTreeMap<AgentState, u64>,
    tasks: BTreeMap<TaskState, u64>,
    connected: u64,
    offers: u64,
}

impl Tables {
    /// Takes a fact in; those that are no rows change nothing.
    pub(crate) fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Agent(row) => self.put_agent(*row),
            Fact::Framework(row) => self.put_framework(row),
            Fact::FrameworkGone { framework } => self.on_framework_gone(framework),
            Fact::Task(row) => self.put_task(row),
            Fact::Offer(row) => {
                self.history.push(Changed::Offer(row.offer.clone()));
                self.offers.put(row);
            }
            Fact::OfferGone { offer } => {
                if let Some(old) = self.offers.remove(&offer) {
                    let (framework, agent) = (old.framework.clone(), old.agent.clone());
                    self.history
                        .push(Changed::OfferGone(offer, framework, agent));
                }
            }
            Fact::Executor(row) => {
                let (agent, framework, executor) = row.key();
                self.history
                    .push(Changed::Executor(agent, framework, executor));
                self.executors.put(row);
            }
            Fact::ExecutorGone {
                agent,
                framework,
                executor,
            } => {
                let key = (agent, framework, executor);
                self.executors.remove(&key);
                self.history.push(Changed::Executor(key.0, key.1, key.2));
            }
            Fact::AgentGone { agent, .. } => {
                self.gone_agents.put(GoneAgent(agent.clone()));
                self.on_agent_gone(agent);
            }
            Fact::AgentForgotten { agent } => self.on_agent_gone(agent),
            Fact::AgentsWereGone { agents } => {
                for agent in agents {
                    self.gone_agents.put(GoneAgent(agent));
                }
            }
            Fact::GoneForgotten { agent } => drop(self.gone_agents.remove(&agent)),
            Fact::AgentRegistered { .. }
            | Fact::AgentSuspected { .. }
            | Fact::AgentReturned { .. }
            | Fact::AgentUnreachable { .. }
            | Fact::AgentDrained { .. }
            | Fact::Reclaimed { .. }
            | Fact::LossHeld { .. }
            | Fact::AgentRefused { .. }
            | Fact::FrameworkSubscribed { .. }
            | Fact::FrameworkDisconnected { .. }
            | Fact::OffersSent { .. }
            | Fact::OffersEnded { .. }
            | Fact::TasksLaunched { .. }
            | Fact::CallRefused { .. } => {}
        }
    }

    /// Copies of all tables.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            agents: self.agents.rows(),
            frameworks: self.frameworks.rows(),
            tasks: self.tasks.rows(),
            offers: self.offers.rows(),
            executors: self.executors.rows(),
            gone: self.gone_agents.rows(),
            completed: self.completed.rows(),
            sequence: self.history.last(),
            written: self.written,
        }
    }

    /// Whether a snapshot would say the same as this one.
    pub(crate) fn is_as_in(&self, snapshot: &Snapshot) -> bool {
        snapshot.sequence == self.history.last()
    }

    /// The number of the last change.
    pub(crate) fn sequence(&self) -> u64 {
        self.history.last()
    }

    /// The last changes.
    pub(crate) fn changes(&self) -> Changes {
        self.history.changes()
    }

    /// Sets the metrics to what the tables hold.
    pub(crate) fn measure(&self, metrics: &ClusterMetrics) {
        for (state, count) in &self.counts.agents {
            let state = state.to_string();
            metrics
                .agents
                .get_or_create(&State { state })
                .set(gauge(*count));
        }
        for (state, count) in &self.counts.tasks {
            let state = state.to_string();
            metrics
                .tasks
                .get_or_create(&State { state })
                .set(gauge(*count));
        }
        let all = u64::try_from(self.frameworks.len()).unwrap_or(u64::MAX);
        let disconnected = all.saturating_sub(self.counts.connected);
        for (state, count) in [
            ("connected", self.counts.connected),
            ("disconnected", disconnected),
        ] {
            let state = state.to_owned();
            metrics
                .frameworks
                .get_or_create(&State { state })
                .set(gauge(count));
        }
        metrics.offers_outstanding.set(gauge(self.counts.offers));
    }

    fn put_agent(&mut self, row: AgentRow) {
        *self.counts.agents.entry(row.state).or_default() += 1;
        self.history.push(Changed::Agent(row.agent.clone()));
        if let Some(old) = self.agents.put(row) {
            decrease(self.counts.agents.get_mut(&old.state));
        }
    }

    fn put_framework(&mut self, row: FrameworkRow) {
        self.counts.connected += u64::from(row.is_connected);
        self.counts.offers += row.offers;
        self.history.push(Changed::Framework(row.framework.clone()));
        let id = row.framework.clone();
        let old = self.frameworks.put(row);
        if old.is_none() {
            self.completed.on_came(&id, self.now_wall_ms);
        }
        self.uncount_framework(old);
    }

    fn uncount_framework(&mut self, old: Option<Arc<FrameworkRow>>) {
        if let Some(old) = old {
            self.counts.connected = self
                .counts
                .connected
                .saturating_sub(u64::from(old.is_connected));
            self.counts.offers = self.counts.offers.saturating_sub(old.offers);
        }
    }

    fn on_agent_gone(&mut self, agent: AgentId) {
        if let Some(old) = self.agents.remove(&agent) {
            decrease(self.counts.agents.get_mut(&old.state));
        }
        self.history.push(Changed::Agent(agent));
    }

    fn on_framework_gone(&mut self, framework: FrameworkId) {
        let old = self.frameworks.remove(&framework);
        self.history.push(Changed::Framework(framework.clone()));
        if let Some(row) = &old {
            self.completed.on_over(row.clone(), self.now_wall_ms);
        }
        self.uncount_framework(old);
        for key in self.live_tasks_of(&framework) {
            self.remove_task(&key);
        }
        if !self.gone.contains(&framework) {
            self.gone.push_back(framework);
        }
        if self.gone.len() > GONE_FRAMEWORKS_MAX
            && let Some(oldest) = self.gone.pop_front()
        {
            for (task, _) in self.ended.remove(&oldest).unwrap_or_default() {
                self.remove_ended((oldest.clone(), task));
            }
        }
    }

    fn put_task(&mut self, row: Arc<TaskRow>) {
        let (key, state) = ((row.framework.clone(), row.task.clone()), row.told.state);
        if !state.is_terminal() && self.frameworks.get(&key.0).is_none() {
            return;
        }
        let incarnation = row.told.incarnation;
        *self.counts.tasks.entry(state).or_default() += 1;
        self.history
            .push(Changed::Task(key.0.clone(), key.1.clone()));
        let agent = row.agent.clone();
        let old = self.tasks.put(row);
        if let Some(old) = &old {
            decrease(self.counts.tasks.get_mut(&old.told.state));
            if old.agent != agent {
                self.on_task_left(old);
            }
        }
        let was_ended = old
            .is_some_and(|old| old.told.state.is_terminal() && old.told.incarnation == incarnation);
        if state.is_terminal() && !was_ended {
            self.on_task_ended(key, incarnation);
        }
    }

    fn on_task_ended(&mut self, (framework, task): TaskKey, incarnation: Incarnation) {
        let is_known = self.frameworks.get(&framework).is_some() || self.gone.contains(&framework);
        if !is_known {
            // The last of a framework that was forgotten: nobody will clear it away later.
            self.remove_ended((framework, task));
            return;
        }
        let ended = self.ended.entry(framework.clone()).or_default();
        ended.push_back((task, incarnation));
        if ended.len() <= ENDED_TASKS_MAX {
            return;
        }
        if let Some((oldest, incarnation)) = ended.pop_front() {
            let key = (framework, oldest);
            let is_same = |row: &Arc<TaskRow>| row.told.incarnation == incarnation;
            if self.tasks.get(&key).is_some_and(is_same) {
                self.remove_ended(key);
            }
        }
    }

    /// Removes a task unless it lives (again).
    fn remove_ended(&mut self, key: TaskKey) {
        if self
            .tasks
            .get(&key)
            .is_some_and(|row| row.told.state.is_terminal())
        {
            self.remove_task(&key);
        }
    }

    fn remove_task(&mut self, key: &TaskKey) {
        if let Some(old) = self.tasks.remove(key) {
            self.on_task_left(&old);
            decrease(self.counts.tasks.get_mut(&old.told.state));
        }
    }

    fn on_task_left(&mut self, old: &TaskRow) {
        let (framework, task) = old.key();
        let agent = old.agent.clone();
        self.history.push(Changed::TaskLeft(framework, task, agent));
    }

    fn live_tasks_of(&self, framework: &FrameworkId) -> Vec<TaskKey> {
        let rows = self.tasks.from(|row| row.framework < *framework);
        let of = rows.take_while(|row| row.framework == *framework);
        of.filter(|row| !row.told.state.is_terminal())
            .map(|row| row.key())
            .collect()
    }
}

fn decrease(count: Option<&mut u64>) {
    if let Some(count) = count {
        *count = count.saturating_sub(1);
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use proffer_master_core::effect::TaskOutline;
    use proffer_model::{FrameworkDescription, Reason, Resources, Status};

    use super::*;
    use crate::limits::COMPLETED_FRAMEWORKS_MAX;

    fn framework(id: &str) -> FrameworkId {
        id.parse().expect("id")
    }

    /// A framework, with so many offers.
    pub(crate) fn framework_row(id: &str, offers: u64) -> Fact {
        let description = FrameworkDescription {
            name: "web".into(),
            roles: vec!["*".parse().expect("role")],
            failover_timeout: std::time::Duration::ZERO,
            mesos: None,
        };
        Fact::Framework(FrameworkRow {
            framework: framework(id),
            description,
            principal: "local".parse().expect("principal"),
            is_connected: true,
            is_recovered: false,
            tasks: 0,
            offers,
            demand: 0,
            used: Resources::new(),
        })
    }

    fn task(id: &str, number: u64, incarnation: u64, state: TaskState) -> Fact {
        task_on("a", id, number, incarnation, state)
    }

    /// A task of a framework on an agent.
    pub(crate) fn task_on(
        agent: &str,
        id: &str,
        number: u64,
        incarnation: u64,
        state: TaskState,
    ) -> Fact {
        let task: TaskId = format!("t{number}").parse().expect("id");
        let status = Status {
            task: task.clone(),
            incarnation: Incarnation(incarnation),
            agent: None,
            number: 1,
            state,
            reason: Reason::None,
            message: String::new(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            wall_ms: 0,
            data: Vec::new(),
        };
        let outline = TaskOutline {
            name: None,
            resources: Arc::default(),
            labels: BTreeMap::new(),
            ports: Box::default(),
            discovery: None,
            role: "*".parse().expect("role"),
            executor: None,
            group_executor: None,
            group: None,
        };
        Fact::Task(Arc::new(TaskRow {
            framework: framework(id),
            task,
            agent: agent.parse().expect("id"),
            told: status.into(),
            outline: Arc::new(outline),
        }))
    }

    fn numbers(tables: &Tables) -> BTreeSet<String> {
        tables
            .snapshot()
            .tasks
            .iter()
            .map(|row| row.task.to_string())
            .collect()
    }

    #[test]
    fn a_framework_keeps_its_live_tasks_and_its_last_ended_ones() {
        let mut tables = Tables::default();
        tables.apply(framework_row("f", 0));
        tables.apply(task("f", 0, 1, TaskState::Running));
        let limit = u64::try_from(ENDED_TASKS_MAX).expect("small");
        for number in 1..=limit + 1 {
            tables.apply(task("f", number, 1, TaskState::Running));
            tables.apply(task("f", number, 1, TaskState::Failed));
            tables.apply(task("f", number, 1, TaskState::Failed));
        }
        let numbers = numbers(&tables);
        assert_eq!(numbers.len(), ENDED_TASKS_MAX + 1);
        assert!(numbers.contains("t0") && !numbers.contains("t1") && numbers.contains("t2"));
        assert_eq!(tables.counts.tasks[&TaskState::Failed], limit);
        assert_eq!(tables.counts.tasks[&TaskState::Running], 1);
    }

    #[test]
    fn a_task_that_was_launched_again_is_not_forgotten_for_its_earlier_end() {
        let mut tables = Tables::default();
        tables.apply(framework_row("f", 0));
        tables.apply(task("f", 0, 1, TaskState::Failed));
        tables.apply(task("f", 0, 2, TaskState::Running));
        for number in 1..=u64::try_from(ENDED_TASKS_MAX).expect("small") {
            tables.apply(task("f", number, 1, TaskState::Finished));
        }
        assert!(numbers(&tables).contains("t0"));
    }

    #[test]
    fn what_lives_when_its_framework_is_over_is_nobodys_and_not_shown() {
        let mut tables = Tables::default();
        for id in ["e", "f", "g"] {
            tables.apply(framework_row(id, 0));
            tables.apply(task(id, 1, 1, TaskState::Running));
            tables.apply(task(id, 2, 1, TaskState::Failed));
        }
        tables.apply(Fact::FrameworkGone {
            framework: framework("f"),
        });
        assert_eq!(tables.counts.tasks[&TaskState::Running], 2);
        assert_eq!(tables.counts.tasks[&TaskState::Failed], 3);
        assert_eq!(tables.tasks.len(), 5);
        // What its agent says of it later comes to nothing.
        tables.apply(task("f", 1, 1, TaskState::Running));
        assert_eq!(tables.tasks.len(), 5);
    }

    #[test]
    fn what_a_framework_was_is_known_when_it_is_over_up_to_a_limit() {
        let mut tables = Tables::default();
        let over = |tables: &mut Tables, id: &str, now| {
            tables.now_wall_ms = now;
            tables.apply(Fact::FrameworkGone {
                framework: framework(id),
            });
        };
        for number in 0..=u64::try_from(COMPLETED_FRAMEWORKS_MAX).expect("small") {
            tables.now_wall_ms = 10 * number;
            let id = format!("f{number}");
            tables.apply(framework_row(&id, 0));
            tables.apply(framework_row(&id, 1));
            over(&mut tables, &id, 10 * number + 5);
            // Again, as after a loss of the store's answer.
            over(&mut tables, &id, 10 * number + 6);
        }
        let rows = tables.snapshot().completed;
        assert_eq!(rows.len(), COMPLETED_FRAMEWORKS_MAX);
        assert!(rows.get(&framework("f0")).is_none(), "it was the first");
        let last = rows.get(&framework("f7")).expect("it is known");
        assert_eq!(last.row.description.name, "web");
        let times = (last.registered_wall_ms, last.unregistered_wall_ms);
        assert_eq!(times, (70, 75));
        // One that is there is not over, whatever it was.
        tables.apply(framework_row("f7", 0));
        let rows = tables.snapshot().completed;
        assert!(rows.get(&framework("f7")).is_none());
        over(&mut tables, "f7", 99_999);
        let rows = tables.snapshot().completed;
        assert_eq!(rows.len(), COMPLETED_FRAMEWORKS_MAX);
        let times = rows.get(&framework("f7")).map(|it| it.unregistered_wall_ms);
        assert_eq!(times, Some(99_999));
    }

    #[test]
    fn frameworks_that_are_over_are_forgotten_with_their_tasks() {
        let mut tables = Tables::default();
        for number in 0..=GONE_FRAMEWORKS_MAX {
            let id = format!("f{number}");
            tables.apply(framework_row(&id, 2));
            tables.apply(task(
                &id,
                u64::try_from(number).expect("small"),
                1,
                TaskState::Killed,
            ));
            tables.apply(Fact::FrameworkGone {
                framework: framework(&id),
            });
        }
        assert_eq!(tables.frameworks.len(), 0);
        assert_eq!((tables.counts.connected, tables.counts.offers), (0, 0));
        assert_eq!(numbers(&tables).len(), GONE_FRAMEWORKS_MAX);
        tables.apply(task("f0", 7_777, 1, TaskState::Killed));
        assert!(
            !numbers(&tables).contains("t7777"),
            "nobody would clear it away"
        );
    }
}
