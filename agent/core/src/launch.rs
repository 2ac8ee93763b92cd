//! Launches, of one task or of a group: what is new, what fits, and what is answered to the rest.
//!
//! A launch is its framework, task id and incarnation. What is known, or older than what is known, is ignored: it was
//! answered by statuses already. What does not fit is answered with ERROR, kept and sent again like every status; of a
//! group, every task is then. A group is one checkpoint, so a crash leaves all of it or nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use proffer_model::link::{Payer, ToMaster};
use proffer_model::{
    Command, ExecutorApi, ExecutorSpec, FrameworkId, Incarnation, Reason, Resources, Status,
    TaskId, TaskSpec, TaskState, Time,
};

use crate::core::Core;
use crate::effect::{After, Change, Effect, Effects, Fact, NewRun};
use crate::event::RunId;
use crate::limits::{LAUNCHES_REMEMBERED_MAX, TASKS_MAX};
use crate::task::{Mounting, Task, Word};
use crate::tasks::Phase;
use crate::updates::{Updates, mix};

/// A launch as the leader wants it.
#[derive(Debug)]
pub(crate) struct LaunchOrder {
    pub(crate) framework: FrameworkId,
    pub(crate) payer: Option<Payer>,
    /// The first task, when all are to be launched or none.
    pub(crate) group: Option<(TaskId, Incarnation)>,
    /// At least one.
    pub(crate) tasks: Vec<(Incarnation, TaskSpec)>,
}

/// Why nothing is launched.
#[derive(Debug)]
struct Refusal {
    /// Because of which task.
    place: usize,
    state: TaskState,
    reason: Reason,
    message: String,
}

impl Refusal {
    fn error(place: usize, message: impl Into<String>) -> Self {
        Self {
            place,
            state: TaskState::Error,
            reason: Reason::LaunchFailed,
            message: message.into(),
        }
    }
}

impl Core {
    pub(crate) fn on_launch(&mut self, now: Time, mut order: LaunchOrder, effects: &mut Effects) {
        let framework = order.framework.clone();
        let all = order.tasks.len();
        order.tasks.retain(|(incarnation, spec)| {
            let is_known = self.is_known(&framework, &spec.id, *incarnation);
            if is_known {
                effects.push(Effect::Record(Fact::LaunchRepeated {
                    framework: framework.clone(),
                    task: spec.id.clone(),
                    incarnation: *incarnation,
                }));
            }
            !is_known
        });
        if order.tasks.is_empty() {
            return;
        }
        let refusal = if order.tasks.len() < all {
            Some(Refusal::error(0, "other tasks of its group are known"))
        } else {
            self.refusal(&order)
        };
        match refusal {
            Some(refusal) => self.refuse_launch(now, order, &refusal, effects),
            None => self.record(now, order, effects),
        }
    }

    /// Keeps launches with their first status; their containers are made when that is durable.
    fn record(&mut self, now: Time, order: LaunchOrder, effects: &mut Effects) {
        let (framework, payer) = (order.framework, order.payer);
        let first = order.tasks.first();
        let executor = first.and_then(|(_, spec)| spec.executor.clone());
        let executor =
            executor.map(|spec| self.executor_for(&framework, &spec, payer.as_ref(), effects));
        let mut runs = Vec::with_capacity(order.tasks.len());
        for (incarnation, spec) in order.tasks {
            let status = self.first_status(now, incarnation, &spec);
            let made = NewRun {
                run: self.draw_run(),
                framework: framework.clone(),
                incarnation,
                spec: Arc::new(self.with_shared_executor(executor, spec)),
                payer: payer.clone(),
                group: order.group.clone(),
                executor,
                status,
            };
            self.insert_task(made.run, new_task(&made));
            runs.push(made);
        }
        let seq = match order.group {
            Some(_) => self.persist(Change::Group(runs.clone()), effects),
            None => {
                let changes = runs.iter().cloned().map(Change::Run);
                changes.fold(self.seq, |_, change| self.persist(change, effects))
            }
        };
        for made in runs {
            self.recording.push_back((seq, made.run));
            self.tell_first(now, &made, seq, effects);
        }
    }

    /// Answers every task of a launch, and starts none.
    fn refuse_launch(
        &mut self,
        now: Time,
        order: LaunchOrder,
        refusal: &Refusal,
        effects: &mut Effects,
    ) {
        let framework = order.framework;
        let is_full = self.tasks.len() + order.tasks.len() > TASKS_MAX;
        for (place, (incarnation, mut spec)) in order.tasks.into_iter().enumerate() {
            if let Command::Data(data) = &mut spec.command {
                // Nobody will read it.
                *data = Vec::new();
            }
            let mut message = refusal.message.clone();
            if place != refusal.place {
                message = format!("another task of its group cannot be launched: {message}");
            }
            effects.push(Effect::Record(Fact::LaunchRefused {
                framework: framework.clone(),
                task: spec.id.clone(),
                message: message.clone(),
            }));
            let status = Status {
                state: refusal.state,
                reason: refusal.reason,
                message,
                ..self.first_status(now, incarnation, &spec)
            };
            self.deny_executor(&framework, spec.executor.as_deref(), effects);
            if is_full {
                self.send_unkept(framework.clone(), status, effects);
                continue;
            }
            let made = NewRun {
                run: self.draw_run(),
                framework: framework.clone(),
                incarnation,
                spec: Arc::new(spec),
                payer: order.payer.clone(),
                group: None,
                executor: None,
                status,
            };
            self.insert_task(made.run, new_task(&made));
            let seq = self.persist(Change::Run(made.clone()), effects);
            self.tell_first(now, &made, seq, effects);
        }
    }

    /// The leader takes an executor for started that a refused launch would have started.
    fn deny_executor(
        &self,
        framework: &FrameworkId,
        spec: Option<&ExecutorSpec>,
        effects: &mut Effects,
    ) {
        let Some(spec) = spec else { return };
        let key = (framework.clone(), spec.id.clone());
        if !self.live_executors.contains_key(&key) {
            let message = ToMaster::ExecutorChanged {
                framework: key.0,
                executor: key.1,
                is_ended: true,
                message: "it was not started".to_owned(),
            };
            self.tell_master(message, After::Nothing, effects);
        }
    }

    fn tell_first(
        &mut self,
        now: Time,
        made: &NewRun,
        seq: crate::event::Seq,
        effects: &mut Effects,
    ) {
        if let Some(task) = self.tasks.get_mut(&made.run) {
            task.seq = seq;
        }
        self.send_status(made.run, made.status.clone(), effects);
        self.await_acknowledgement(now, made.run, effects);
        self.record_row(made.run, effects);
    }

    fn first_status(&self, now: Time, incarnation: Incarnation, spec: &TaskSpec) -> Status {
        Status {
            task: spec.id.clone(),
            incarnation,
            agent: self.identity.agent.clone(),
            number: 1,
            state: TaskState::Starting,
            reason: Reason::None,
            message: String::new(),
            exit: None,
            healthy: None,
            checks: Vec::new(),
            wall_ms: now.wall_ms,
            data: Vec::new(),
        }
    }

    /// Whether this launch, or a later one of the same task, has been seen.
    pub(crate) fn is_known(
        &self,
        framework: &FrameworkId,
        task: &TaskId,
        incarnation: Incarnation,
    ) -> bool {
        let key = (framework.clone(), task.clone());
        let live = self
            .index
            .get(&key)
            .and_then(|runs| runs.keys().next_back());
        let remembered = self.remembered.get(&key);
        live.max(remembered)
            .is_some_and(|known| *known >= incarnation)
    }

    /// Why a launch cannot be; nothing when it can.
    fn refusal(&self, order: &LaunchOrder) -> Option<Refusal> {
        if self.tasks.len() + order.tasks.len() > TASKS_MAX {
            let message = format!("the agent holds {TASKS_MAX} tasks at most");
            return Some(Refusal::error(0, message));
        }
        let first = order.tasks.first().map(|(_, spec)| spec.executor.as_ref());
        let mut seen = BTreeSet::new();
        for (place, (_, spec)) in order.tasks.iter().enumerate() {
            let key = (order.framework.clone(), spec.id.clone());
            let runs = self.index.get(&key).into_iter().flatten();
            let is_live = runs
                .filter_map(|(_, run)| self.tasks.get(run))
                .any(|task| task.phase != Phase::Ended);
            if is_live || !seen.insert(&spec.id) {
                let message = "an earlier launch of this task has not ended";
                return Some(Refusal::error(place, message));
            }
            if first != Some(spec.executor.as_ref()) {
                let message = "the tasks of its group name several executors";
                return Some(Refusal::error(place, message));
            }
        }
        let executor = first.flatten().map(|spec| &**spec);
        let of_executor = executor.and_then(|spec| self.refusal_of_executor(order, spec));
        of_executor
            .or_else(|| self.refusal_of_loads(order))
            .or_else(|| self.refusal_of_amounts(order, executor))
    }

    /// Why no task can be given to this executor.
    fn refusal_of_executor(&self, order: &LaunchOrder, spec: &ExecutorSpec) -> Option<Refusal> {
        let key = (order.framework.clone(), spec.id.clone());
        let live = self.executors.get(self.live_executors.get(&key)?)?;
        if !spec.means(&live.spec) {
            let message = format!("executor {} runs with another spec", spec.id);
            return Some(Refusal::error(0, message));
        }
        live.end.as_ref().map(|_| Refusal {
            state: never_launched(&live.spec),
            reason: Reason::ExecutorEnded,
            ..Refusal::error(0, format!("executor {} is about to end", spec.id))
        })
    }

    /// Why what a launch carries does not fit beside what is here.
    fn refusal_of_loads(&self, order: &LaunchOrder) -> Option<Refusal> {
        let specs = order.tasks.iter().map(|(_, spec)| spec);
        let executor = order
            .tasks
            .first()
            .and_then(|(_, spec)| spec.executor.as_deref())?;
        let key = (order.framework.clone(), executor.id.clone());
        let is_fresh = !self.live_executors.contains_key(&key);
        let message = self.loads.refusal(specs, is_fresh.then_some(executor))?;
        Some(Refusal {
            state: never_launched(executor),
            ..Refusal::error(0, message)
        })
    }

    /// Why there is not enough of something.
    fn refusal_of_amounts(
        &self,
        order: &LaunchOrder,
        executor: Option<&ExecutorSpec>,
    ) -> Option<Refusal> {
        // Reservations and volumes come and go after the agent has registered: only how much there is counts here.
        let all = self.settings.description.resources.flattened();
        let mut free = all.minus(&self.used.flattened());
        let fresh = executor.filter(|spec| {
            let key = (order.framework.clone(), spec.id.clone());
            !self.live_executors.contains_key(&key)
        });
        let needs = fresh.map(|spec| ("the executor", &spec.resources));
        let of_tasks = order.tasks.iter().map(|(_, spec)| &spec.resources);
        let missing = |free: &Resources, needs: &Resources| {
            let needs = needs.flattened();
            let missing = free.first_missing(&needs);
            missing.map(|(kind, _)| format!("the agent has not enough free {kind}"))
        };
        if let Some((who, needs)) = needs {
            if let Some(message) = missing(&free, needs) {
                return Some(Refusal::error(0, format!("{message} for {who}")));
            }
            free.subtract(&needs.flattened());
        }
        for (place, needs) in of_tasks.enumerate() {
            if let Some(message) = missing(&free, needs) {
                return Some(Refusal::error(place, message));
            }
            free.subtract(&needs.flattened());
        }
        None
    }

    pub(crate) fn insert_task(&mut self, run: RunId, task: Task) {
        if task.phase != Phase::Ended {
            self.used.add(&task.spec.resources);
        }
        if let Some(executor) = task.executor.and_then(|run| self.executors.get_mut(&run)) {
            executor.tasks.insert(run);
        }
        let key = (task.framework.clone(), task.spec.id.clone());
        self.index
            .entry(key)
            .or_default()
            .insert(task.incarnation, run);
        self.loads.task_came(&task.spec);
        self.tasks.insert(run, task);
        self.count_said(run);
    }

    /// Of a thousand tasks of an executor each came with all that it is: it is kept once.
    pub(crate) fn with_shared_executor(
        &self,
        executor: Option<RunId>,
        mut spec: TaskSpec,
    ) -> TaskSpec {
        let live = executor.and_then(|run| self.executors.get(&run));
        if let Some(live) = live
            && spec.executor.as_ref() == Some(&live.spec)
        {
            spec.executor = Some(live.spec.clone());
        }
        spec
    }

    /// Remembers a launch after its run is gone.
    pub(crate) fn remember(
        &mut self,
        framework: FrameworkId,
        task: TaskId,
        incarnation: Incarnation,
    ) {
        let key = (framework, task);
        let newest = self.remembered.entry(key.clone()).or_insert(incarnation);
        *newest = incarnation.max(*newest);
        self.remembered_order.push_back(key);
        if self.remembered_order.len() > LAUNCHES_REMEMBERED_MAX
            && let Some(oldest) = self.remembered_order.pop_front()
            && !self.remembered_order.contains(&oldest)
        {
            self.remembered.remove(&oldest);
        }
    }

    /// A name for a run that is not in use.
    pub(crate) fn draw_run(&mut self) -> RunId {
        loop {
            self.drawn += 1;
            let run = RunId(mix(self.settings.seed.wrapping_add(mix(self.drawn))));
            let is_taken = self.tasks.contains_key(&run)
                || self.executors.contains_key(&run)
                || self.garbage.iter().any(|g| g.run == run);
            // 0 says that there is none.
            if run.0 > 0 && !is_taken {
                return run;
            }
        }
    }
}

/// What a task is that is not given to its executor: Mesos's agents drop it.
fn never_launched(executor: &ExecutorSpec) -> TaskState {
    match executor.api {
        ExecutorApi::MesosV1 => TaskState::Dropped,
        ExecutorApi::Proffer => TaskState::Failed,
    }
}

fn new_task(made: &NewRun) -> Task {
    let is_refused = made.status.state.is_terminal();
    Task {
        framework: made.framework.clone(),
        incarnation: made.incarnation,
        spec: made.spec.clone(),
        payer: made.payer.clone(),
        phase: if is_refused {
            Phase::Ended
        } else {
            Phase::Recording
        },
        kill: None,
        updates: Updates::new(made.status.clone()),
        health: Default::default(),
        pid: None,
        running_since: None,
        group: made.group.clone(),
        executor: made.executor,
        word: Word::default(),
        mounting: Mounting::default(),
        seq: Default::default(),
    }
}
