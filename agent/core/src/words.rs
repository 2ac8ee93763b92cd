//! What executors say of their tasks: which of it is news, and when it is acknowledged.
//!
//! The agent numbers and keeps these statuses as its own. Each is acknowledged when it is on disk. What leads backwards
//! (the task is being killed, or has ended, by now) is acknowledged and goes no further. While too many statuses of a task
//! wait for its framework, only the newest of those that are no change of state is kept, and acknowledged when it is said; what it
//! has replaced counts for nothing any more, and is acknowledged at once. What says more of the same state and nothing of the
//! task's health leaves that as it was said.

use proffer_model::executor::{ExecutorEvent, ExecutorStatus};
use proffer_model::{ExecutorApi, Incarnation, Problem, Reason, TaskId, TaskState, Time, code};

use crate::core::Core;
use crate::effect::{After, Effect, Effects};
use crate::event::{RunId, SessionId};
use crate::task::{Kill, Task};
use crate::tasks::Phase;

/// What a status of an executor is to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// It leads on.
    Step,
    /// It says more of the same state.
    Same,
    /// It is not how the task stands any more.
    Old,
}

impl Core {
    pub(crate) fn on_executor_said(
        &mut self,
        now: Time,
        run: RunId,
        session: SessionId,
        status: ExecutorStatus,
        effects: &mut Effects,
    ) {
        if self.is_session(run, session)
            && let Err(problem) = self.hear_executor(now, run, status, effects)
        {
            self.refuse_executor(now, run, problem.within("update"), effects);
        }
    }

    /// Takes in a status of an executor, perhaps again.
    pub(crate) fn hear_executor(
        &mut self,
        now: Time,
        run: RunId,
        status: ExecutorStatus,
        effects: &mut Effects,
    ) -> Result<(), Problem> {
        let Some(executor) = self.executors.get(&run) else {
            return Ok(());
        };
        let framework = executor.framework.clone();
        let (id, incarnation) = (status.task.clone(), status.incarnation);
        let task_run = self.run_of(&framework, &id, incarnation);
        let of_executor = |task_run: &RunId| {
            let task = self.tasks.get(task_run);
            task.is_some_and(|task| task.executor == Some(run) && task.phase != Phase::Recording)
        };
        let Some(task_run) = task_run.filter(of_executor) else {
            if !self.is_known(&framework, &id, incarnation) || task_run.is_some() {
                let message = format!("launch {incarnation} of task {id} was not given to it");
                let mut own = self
                    .tasks
                    .values()
                    .filter(|task| task.executor == Some(run));
                let field = match own.any(|task| task.spec.id == id) {
                    true => "incarnation",
                    false => "task_id",
                };
                return Err(Problem::new(code::TASK_UNKNOWN, message)
                    .field(field)
                    .hint("say only of tasks what became of them that the agent has launched"));
            }
            // All of it was acknowledged before it was forgotten.
            self.acknowledge_executor(run, id, incarnation, status.number, effects);
            return Ok(());
        };
        let heard = self.tasks.get(&task_run).map(|task| task.word.heard());
        if heard.is_some_and(|heard| status.number > heard) {
            self.take_word(now, task_run, status, effects);
        }
        if let Some(task) = self.tasks.get(&task_run) {
            let heard = task.word.heard();
            self.acknowledge_executor(run, id, incarnation, heard, effects);
        }
        Ok(())
    }

    /// Says what was kept back for want of room, once there is some.
    pub(crate) fn say_waiting(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let Some(executor) = task.executor.filter(|_| task.updates.has_room()) else {
            return;
        };
        if let Some(status) = task.word.waiting.take() {
            let (id, incarnation) = (status.task.clone(), status.incarnation);
            let number = status.number;
            self.take_word(now, run, status, effects);
            self.acknowledge_executor(executor, id, incarnation, number, effects);
        }
    }

    /// Makes a status of what an executor has said, if it is news.
    fn take_word(
        &mut self,
        now: Time,
        run: RunId,
        mut status: ExecutorStatus,
        effects: &mut Effects,
    ) {
        let is_cut = self.cut_data(&mut status);
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let executor = task.executor.and_then(|run| self.executors.get(&run));
        // What those of Mesos leave out they take back, as they do there.
        let is_of_mesos = executor.is_some_and(|it| it.spec.api == ExecutorApi::MesosV1);
        let news = news(task, status.state);
        if news == News::Same && !is_of_mesos {
            status.healthy = status.healthy.or(task.word.healthy_last());
        }
        if news == News::Same && !task.updates.has_room() {
            task.word.waiting = Some(status);
            return self.count_said(run);
        }
        task.word.waiting = None;
        task.word.taken = status.number;
        if news == News::Old {
            return self.count_said(run);
        }
        task.word.data = status.data;
        let was_healthy = task.word.healthy;
        task.word.healthy = status.healthy;
        let (state, message, exit) = (status.state, &*status.message, status.exit);
        let mut reason = Reason::None;
        match state {
            TaskState::Running if task.phase == Phase::Starting => {
                task.phase = Phase::Running;
                task.running_since = Some(now);
                self.await_completion(now, run, effects);
            }
            TaskState::Running if was_healthy != status.healthy => reason = Reason::HealthChanged,
            TaskState::Killing if task.phase != Phase::Killing => {
                task.phase = Phase::Killing;
                task.kill = Some(Kill {
                    grace: task.spec.kill_grace,
                    reason: Reason::KillRequested,
                    deadline: None,
                    is_given: false,
                    is_asked: false,
                });
            }
            state if state.is_terminal() => {
                let wish = task.kill.as_ref().map(|kill| kill.reason);
                let reason = match (state, exit) {
                    (TaskState::Failed, _) if is_cut => Reason::TooLong,
                    (TaskState::Killed, _) => wish.unwrap_or(Reason::None),
                    (_, Some(_)) => Reason::Exited,
                    (_, None) => Reason::None,
                };
                return self.end(now, run, state, reason, message, exit, effects);
            }
            _ => {}
        }
        self.report(now, run, state, reason, message, exit, effects);
    }

    /// Tells an executor what is on disk, when it is.
    fn acknowledge_executor(
        &self,
        run: RunId,
        task: TaskId,
        incarnation: Incarnation,
        number: u64,
        effects: &mut Effects,
    ) {
        let executor = self.executors.get(&run);
        if let Some(session) = executor.and_then(|executor| executor.told_in())
            && number > 0
        {
            effects.push(Effect::SendExecutor {
                session,
                event: ExecutorEvent::Acknowledged {
                    task,
                    incarnation,
                    number,
                },
                after: After::Seq(self.seq),
            });
        }
    }
}

fn news(task: &Task, state: TaskState) -> News {
    let stands = match task.phase {
        Phase::Recording | Phase::Starting => TaskState::Starting,
        Phase::Running => TaskState::Running,
        Phase::Killing => TaskState::Killing,
        Phase::Ended => return News::Old,
    };
    match state.cmp(&stands) {
        std::cmp::Ordering::Less => News::Old,
        std::cmp::Ordering::Equal => News::Same,
        std::cmp::Ordering::Greater => News::Step,
    }
}
