//! Executors on a simulated host, as a careful author writes them: processes that outlive the agent's, subscribe again when
//! their session ends, name what they run and keep what they have said until it is acknowledged. They run several tasks
//! each, echo messages, and end when they are told to, or now and then not before SIGKILL.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proffer_agent_core::event::{Event, RunId, SessionId};
use proffer_model::executor::{ExecutorEvent, ExecutorStatus, Subscription};
use proffer_model::{ExecutorSpec, Exit, Incarnation, TaskId, TaskSpec, TaskState};

use super::agent::cpus;
use super::breakage::Breakage;
use super::coverage::Seen;
use super::process::Who;
use super::story::tell;
use super::world::{Happening, Input, MS, Outcome, World};

/// How long an executor without a session waits before it looks for its agent again.
const RECONNECT: u64 = 200 * MS;

/// One start of an executor.
pub(super) struct Executor {
    pub(super) spec: Arc<ExecutorSpec>,
    pub(super) exit: Option<Exit>,
    /// It went with its host, and nobody knows how.
    pub(super) is_gone: bool,
    session: Option<u64>,
    /// When the last of what was said in each direction arrives.
    forth: u64,
    back: u64,
    works: BTreeMap<(TaskId, Incarnation), Work>,
}

/// A task of an executor, until its end is acknowledged.
struct Work {
    spec: TaskSpec,
    is_over: bool,
    number: u64,
    unacknowledged: Vec<ExecutorStatus>,
}

/// What an executor meets.
pub(super) enum ExecutorInput {
    /// It looks for its agent.
    Connects,
    Hears {
        session: u64,
        event: ExecutorEvent,
    },
    /// Its session is no more.
    Left {
        session: u64,
    },
    /// A task comes to its end by itself, or was told to.
    Ends {
        task: TaskId,
        incarnation: Incarnation,
        state: TaskState,
    },
    Exits(Exit),
}

/// What an executor says.
pub(super) enum Word {
    Subscribed(Subscription),
    Said(ExecutorStatus),
    Message(Vec<u8>),
    Left,
}

impl Executor {
    pub(super) fn new(spec: Arc<ExecutorSpec>) -> Self {
        Self {
            spec,
            exit: None,
            is_gone: false,
            session: None,
            forth: 0,
            back: 0,
            works: BTreeMap::new(),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.exit.is_none() && !self.is_gone
    }

    /// Tasks that run in it.
    pub(super) fn live(&self) -> impl Iterator<Item = &TaskSpec> {
        let works = self.works.values().filter(|_| self.is_live());
        works.filter(|work| !work.is_over).map(|work| &work.spec)
    }

    pub(super) fn session(&self) -> Option<u64> {
        self.session
    }

    /// Its process is no more: so is all that it ran.
    fn ends(&mut self) -> Vec<TaskId> {
        let live = self.live().map(|spec| spec.id.clone()).collect();
        self.works.clear();
        live
    }

    fn subscription(&self) -> Subscription {
        let works = self.works.iter();
        let named = works.filter(|(_, work)| !work.is_over || !work.unacknowledged.is_empty());
        Subscription {
            tasks: named.map(|(key, _)| key.clone()).collect(),
            unacknowledged: self
                .works
                .values()
                .flat_map(|work| work.unacknowledged.clone())
                .collect(),
        }
    }
}

impl World {
    fn executor(&mut self, n: usize, run: RunId) -> Option<&mut Executor> {
        let executor = self.hosts[n].crews.get_mut(&run);
        executor.filter(|executor| executor.is_live())
    }

    fn executor_after(&mut self, wait: u64, n: usize, run: RunId, input: ExecutorInput) {
        let input = Box::new(input);
        self.after(
            wait,
            Happening::AtExecutor {
                host: n,
                run,
                input,
            },
        );
    }

    /// Its process was made, by the agent that runs now.
    pub(super) fn executor_starts(&mut self, n: usize, run: RunId) -> Outcome {
        let Some(kept) = self.hosts[n].executors.get(&run) else {
            return Err(format!(
                "agent {n} starts an executor before its checkpoint is durable"
            ));
        };
        let spec = Arc::new(kept.spec.clone());
        tell!(self, "{}executor {} runs", Who::Agent(n), spec.id);
        self.seen.count(Seen::ExecutorStarted);
        if let Some(before) = self.hosts[n].crews.insert(run, Executor::new(spec)) {
            return Err(format!("executor {} is started twice", before.spec.id));
        }
        let wait = MS + self.random.below(50 * MS);
        self.executor_after(wait, n, run, ExecutorInput::Connects);
        self.step_agent(n, Event::ContainerStarted { run, pid: 1 })
    }

    pub(super) fn at_executor(&mut self, n: usize, run: RunId, input: ExecutorInput) -> Outcome {
        match input {
            ExecutorInput::Connects => self.executor_connects(n, run),
            ExecutorInput::Hears { session, event } => {
                let executor = self.executor(n, run);
                if executor.is_some_and(|executor| executor.session == Some(session)) {
                    return self.executor_hears(n, run, event);
                }
            }
            ExecutorInput::Left { session } => {
                if let Some(executor) = self.executor(n, run)
                    && executor.session == Some(session)
                {
                    executor.session = None;
                    self.executor_after(MS, n, run, ExecutorInput::Connects);
                }
            }
            ExecutorInput::Ends {
                task,
                incarnation,
                state,
            } => self.work_ends(n, run, &(task, incarnation), state),
            ExecutorInput::Exits(exit) => self.executor_exits(n, run, exit),
        }
        Ok(())
    }

    fn executor_connects(&mut self, n: usize, run: RunId) {
        let is_open = self.hosts[n].doors.contains(&run);
        let forgets = self.is_broken(Breakage::ExecutorForgets);
        let session = self.requests + 1;
        let Some(executor) = self.executor(n, run).filter(|it| it.session.is_none()) else {
            return;
        };
        if !is_open {
            self.executor_after(RECONNECT, n, run, ExecutorInput::Connects);
            return;
        }
        executor.session = Some(session);
        let subscription = match forgets {
            true => Subscription::default(),
            false => executor.subscription(),
        };
        if !subscription.tasks.is_empty() {
            self.seen.count(Seen::ExecutorReturned);
        }
        self.requests = session;
        self.executor_says(n, run, session, Word::Subscribed(subscription));
    }

    /// What an executor says comes in its order, if the agent is still the same then.
    fn executor_says(&mut self, n: usize, run: RunId, session: u64, word: Word) {
        let wait = MS / 20 + self.random.below(2 * MS);
        let now = self.now;
        let Some(executor) = self.hosts[n].crews.get_mut(&run) else {
            return;
        };
        executor.forth = (now + wait).max(executor.forth + 1);
        let when = executor.forth;
        let session = SessionId(session);
        let input = Input::ExecutorSays { run, session, word };
        self.input_at(when, Who::Agent(n), input);
    }

    /// The agent says something to an executor, or ends its session.
    pub(super) fn agent_says(&mut self, n: usize, session: u64, event: Option<ExecutorEvent>) {
        let wait = MS / 20 + self.random.below(2 * MS);
        let now = self.now;
        let mut crews = self.hosts[n].crews.iter_mut();
        let found = crews.find(|(_, executor)| executor.session == Some(session));
        let Some((run, executor)) = found else {
            return;
        };
        executor.back = (now + wait).max(executor.back + 1);
        let (run, host, when) = (*run, n, executor.back);
        let is_launch = matches!(event, Some(ExecutorEvent::Launch(_)));
        if is_launch && !self.is_over() && self.random.one_in(self.faults.executor_kill_at_launch) {
            // Before it has heard of it, or with all that it was to launch.
            self.seen.count(Seen::ExecutorDiedAtLaunch);
            let input = Box::new(ExecutorInput::Exits(Exit::Signal(9)));
            let when = (when + self.random.below(2)).saturating_sub(1);
            self.at(when, Happening::AtExecutor { host, run, input });
        }
        let input = Box::new(match event {
            Some(event) => ExecutorInput::Hears { session, event },
            None => ExecutorInput::Left { session },
        });
        self.at(when, Happening::AtExecutor { host, run, input });
    }

    fn executor_hears(&mut self, n: usize, run: RunId, event: ExecutorEvent) -> Outcome {
        match event {
            ExecutorEvent::Launch(mut tasks) => {
                if self.is_broken(Breakage::GroupSplitInExecutor) {
                    tasks.truncate(1);
                }
                let named: Vec<&TaskId> = tasks.iter().map(|(_, spec)| &spec.id).collect();
                if self.checks.on_group_at_executor(&named)? {
                    self.seen.count(Seen::GroupInExecutor);
                }
                for (incarnation, spec) in tasks {
                    self.work_starts(n, run, incarnation, spec.as_ref().clone())?;
                }
            }
            ExecutorEvent::Kill {
                task, incarnation, ..
            } => {
                let key = (task.clone(), incarnation);
                let work = self.executor(n, run).and_then(|it| it.works.get(&key));
                if work.is_some_and(|work| !work.is_over) {
                    self.checks.on_signalled(&task, n, self.now)?;
                    self.seen.count(Seen::TaskKilled);
                    let state = TaskState::Killed;
                    let wait = self.random.below(200 * MS);
                    let ends = ExecutorInput::Ends {
                        task,
                        incarnation,
                        state,
                    };
                    self.executor_after(wait, n, run, ends);
                }
            }
            ExecutorEvent::Acknowledged {
                task,
                incarnation,
                number,
            } => {
                let key = (task, incarnation);
                if let Some(executor) = self.executor(n, run)
                    && let Some(work) = executor.works.get_mut(&key)
                {
                    work.unacknowledged.retain(|status| status.number > number);
                    if work.is_over && work.unacknowledged.is_empty() {
                        executor.works.remove(&key);
                    }
                }
            }
            ExecutorEvent::Message(data) => {
                self.checks.on_message("an executor", &data)?;
                let session = self.executor(n, run).and_then(|it| it.session);
                let times = if self.is_broken(Breakage::MessageRepeated) {
                    2
                } else {
                    1
                };
                for session in session.into_iter().cycle().take(times) {
                    self.executor_says(n, run, session, Word::Message(data.clone()));
                }
            }
            ExecutorEvent::Shutdown { .. } => {
                self.judge_executor_end(n, run)?;
                self.executor_shuts_down(n, run);
            }
            ExecutorEvent::Subscribed { .. }
            | ExecutorEvent::Closed(_)
            | ExecutorEvent::Heartbeat => {}
        }
        Ok(())
    }

    /// Nothing ends an executor with tasks that its framework wants to run.
    fn judge_executor_end(&mut self, n: usize, run: RunId) -> Outcome {
        let Some(executor) = self.executor(n, run) else {
            return Ok(());
        };
        let live: Vec<TaskId> = executor.live().map(|spec| spec.id.clone()).collect();
        let id = executor.spec.id.clone();
        if self.checks.is_executor_to_end(n, &id) {
            return Ok(());
        }
        for task in live {
            self.checks.on_signalled(&task, n, self.now)?;
        }
        Ok(())
    }

    /// It says of every task that it has ended, and exits; now and then it does nothing of this.
    fn executor_shuts_down(&mut self, n: usize, run: RunId) {
        if self.random.one_in(4) {
            return;
        }
        let Some(executor) = self.executor(n, run) else {
            return;
        };
        let live = executor.works.iter().filter(|(_, work)| !work.is_over);
        let live: BTreeSet<(TaskId, Incarnation)> = live.map(|(key, _)| key.clone()).collect();
        for key in live {
            self.work_ends(n, run, &key, TaskState::Killed);
        }
        let wait = self.random.below(300 * MS);
        self.executor_after(wait, n, run, ExecutorInput::Exits(Exit::Code(0)));
    }

    fn work_starts(
        &mut self,
        n: usize,
        run: RunId,
        incarnation: Incarnation,
        spec: TaskSpec,
    ) -> Outcome {
        let key = (spec.id.clone(), incarnation);
        let Some(executor) = self.executor(n, run) else {
            return Ok(());
        };
        if executor.works.contains_key(&key) {
            return Ok(());
        }
        let work = Work {
            spec: spec.clone(),
            is_over: false,
            number: 0,
            unacknowledged: Vec::new(),
        };
        executor.works.insert(key.clone(), work);
        let held = self.hosts[n].held();
        self.checks
            .on_started(&spec.id, incarnation, n, cpus(self, n), &held)?;
        self.seen.count(Seen::TaskStarted);
        self.seen.count(Seen::TaskInExecutor);
        tell!(self, "{}{} runs in its executor", Who::Agent(n), spec.id);
        self.say_of_work(n, run, &key, TaskState::Running);
        if self.is_broken(Breakage::ExecutorEndedUnasked) && self.random.one_in(5) {
            self.signal_executor(n, run, true)?;
        }
        let (wait, exit) = self.fate(&spec);
        let state = match exit {
            Exit::Code(0) => TaskState::Finished,
            _ => TaskState::Failed,
        };
        let (task, incarnation) = key;
        let ends = ExecutorInput::Ends {
            task,
            incarnation,
            state,
        };
        self.executor_after(wait, n, run, ends);
        Ok(())
    }

    fn work_ends(&mut self, n: usize, run: RunId, key: &(TaskId, Incarnation), state: TaskState) {
        let executor = self.executor(n, run);
        let work = executor.and_then(|executor| executor.works.get_mut(key));
        let Some(work) = work.filter(|work| !work.is_over) else {
            return;
        };
        work.is_over = true;
        self.checks.on_ended(&key.0, state == TaskState::Finished);
        tell!(
            self,
            "{}{} ends in its executor: {state}",
            Who::Agent(n),
            key.0
        );
        self.say_of_work(n, run, key, state);
    }

    fn say_of_work(&mut self, n: usize, run: RunId, key: &(TaskId, Incarnation), state: TaskState) {
        let Some(executor) = self.executor(n, run) else {
            return;
        };
        let session = executor.session;
        let Some(work) = executor.works.get_mut(key) else {
            return;
        };
        work.number += 1;
        let status = ExecutorStatus {
            task: key.0.clone(),
            incarnation: key.1,
            number: work.number,
            state,
            message: String::new(),
            healthy: None,
            exit: None,
            data: Vec::new(),
        };
        work.unacknowledged.push(status.clone());
        if let Some(session) = session {
            self.executor_says(n, run, session, Word::Said(status));
        }
    }

    /// Its process ends, and its tasks with it; its agent learns of it, or finds it at recovery.
    pub(super) fn executor_exits(&mut self, n: usize, run: RunId, exit: Exit) {
        let Some(executor) = self.executor(n, run) else {
            return;
        };
        let live = executor.ends();
        let session = executor.session.take();
        executor.exit = Some(exit);
        tell!(
            self,
            "{}executor {} ends with {exit:?} and {} tasks",
            Who::Agent(n),
            self.hosts[n].crews[&run].spec.id,
            live.len()
        );
        for task in live {
            self.checks.on_ended(&task, false);
        }
        if let Some(session) = session {
            self.executor_says(n, run, session, Word::Left);
        }
        let wait = self.random.below(5 * MS);
        self.input_after(wait, Who::Agent(n), Input::ContainerExited(run, exit));
    }

    /// The whole host goes.
    pub(super) fn executors_go(&mut self, n: usize) {
        for executor in self.hosts[n].crews.values_mut() {
            if !executor.is_live() {
                continue;
            }
            // Those too whose end was not heard.
            let tasks = executor.works.keys().map(|(task, _)| task.clone());
            let tasks: Vec<TaskId> = tasks.collect();
            executor.works.clear();
            tasks.iter().for_each(|task| self.checks.on_gone(task));
            executor.session = None;
            executor.is_gone = true;
        }
    }

    /// The agent's process is no more, and all sessions with it.
    pub(super) fn executors_lose_agent(&mut self, n: usize) {
        self.hosts[n].doors.clear();
        let crews = self.hosts[n].crews.iter_mut();
        let mut lost = Vec::new();
        for (run, executor) in crews {
            if executor.session.take().is_some() {
                lost.push(*run);
            }
        }
        for run in lost {
            self.executor_after(RECONNECT, n, run, ExecutorInput::Connects);
        }
    }

    /// SIGTERM and SIGKILL to an executor.
    pub(super) fn signal_executor(&mut self, n: usize, run: RunId, is_kill: bool) -> Outcome {
        self.judge_executor_end(n, run)?;
        let number = if is_kill { 9 } else { 15 };
        let wait = self.random.below(200 * MS);
        self.executor_after(wait, n, run, ExecutorInput::Exits(Exit::Signal(number)));
        Ok(())
    }

    pub(super) fn agent_hears_executor(
        &mut self,
        n: usize,
        run: RunId,
        session: SessionId,
        word: Word,
    ) -> Outcome {
        let event = match word {
            Word::Subscribed(_) if !self.hosts[n].doors.contains(&run) => return Ok(()),
            Word::Subscribed(subscription) => Event::ExecutorSubscribed {
                run,
                session,
                subscription,
            },
            Word::Said(status) => Event::ExecutorSaid {
                run,
                session,
                status,
            },
            Word::Message(data) => Event::ExecutorMessage { run, session, data },
            Word::Left => Event::ExecutorLeft { run, session },
        };
        self.step_agent(n, event)
    }

    /// An executor crashes, or its session breaks.
    pub(super) fn draw_executor_faults(&mut self) {
        let (kills, breaks) = (self.faults.executor_kill, self.faults.executor_break);
        let (kills, breaks) = (self.random.one_in(kills), self.random.one_in(breaks));
        if !kills && !breaks {
            return;
        }
        let n = self.random.index(self.hosts.len());
        let live = self.hosts[n].crews.iter();
        let mut live = live.filter(|(_, executor)| executor.is_live());
        let Some((run, session)) = live.next().map(|(run, it)| (*run, it.session)) else {
            return;
        };
        if kills {
            self.seen.count(Seen::ExecutorKilled);
            tell!(self, "fault: an executor of agent {n} crashes");
            self.executor_exits(n, run, Exit::Signal(9));
        } else if let Some(session) = session {
            self.seen.count(Seen::ExecutorBroken);
            tell!(self, "fault: an executor of agent {n} loses its session");
            self.executor_says(n, run, session, Word::Left);
            self.executor_after(MS, n, run, ExecutorInput::Left { session });
        }
    }
}
