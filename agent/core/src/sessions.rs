//! Sessions of executors: what one that subscribes has, what it is told, and what its framework and it tell one another.
//!
//! An executor may lose its session at any time and come back. It then says all that it runs: what the agent believes to
//! run there and is not named is lost; what it was never heard of is launched (again), because what it does not name it
//! never got.
//!
//! One for which too much waits is told nothing any more in that session, and heard until it has read what waits.

use std::collections::{BTreeMap, BTreeSet};

use proffer_model::executor::{ExecutorEvent, Subscription};
use proffer_model::limits::{HEARTBEAT_INTERVAL, KILL_GRACE_DEFAULT};
use proffer_model::link::ToMaster;
use proffer_model::{
    ExecutorApi, ExecutorId, FrameworkId, Incarnation, Problem, Reason, TaskId, TaskState, Time,
    code,
};

use crate::core::Core;
use crate::effect::{After, Effect, Effects, ExecutorState, Fact, Signal};
use crate::event::{RunId, SessionId, TimerKey};
use crate::executor::{Executor, ExecutorPhase, Session};
use crate::tasks::Phase;

impl Core {
    pub(crate) fn on_executor_subscribed(
        &mut self,
        now: Time,
        run: RunId,
        session: SessionId,
        subscription: Subscription,
        effects: &mut Effects,
    ) {
        let executor = self.executors.get_mut(&run).filter(|executor| {
            matches!(
                executor.phase,
                ExecutorPhase::Starting | ExecutorPhase::Running
            )
        });
        let Some(executor) = executor else {
            let problem = Problem::new(code::EXECUTOR_UNKNOWN, "the executor has ended");
            let hint = "end the process: nothing that it says is taken any more";
            close(session, problem.hint(hint), effects);
            return;
        };
        let old = executor.told_in();
        executor.was_told |= !subscription.tasks.is_empty();
        executor.was_told |= !subscription.unacknowledged.is_empty();
        executor.session = Some(Session {
            id: session,
            is_overrun: false,
            is_refused: false,
        });
        if let Some(old) = old {
            let message = "another session of the executor has taken over";
            let problem = Problem::new(code::SESSION_FENCED, message);
            let hint = "let one process speak for the executor, in one session at a time";
            close(old, problem.hint(hint), effects);
        }
        effects.push(Effect::CancelTimer(TimerKey::Executor(run)));
        let event = ExecutorEvent::Subscribed {
            framework: executor.framework.clone(),
            executor: executor.spec.id.clone(),
            agent: self.identity.agent.clone(),
            host: self.settings.description.host.clone(),
            heartbeat_interval: HEARTBEAT_INTERVAL,
        };
        let after = After::Nothing;
        effects.push(Effect::SendExecutor {
            session,
            event,
            after,
        });
        self.record_executor(run, ExecutorState::Subscribed, "", effects);
        let mut named: BTreeSet<_> = subscription.tasks.into_iter().collect();
        let mut unknown = named.clone();
        for (i, status) in subscription.unacknowledged.into_iter().enumerate() {
            let key = (status.task.clone(), status.incarnation);
            // One that runs on, and that the agent has given up, is ended.
            if status.state.is_terminal() {
                unknown.remove(&key);
            }
            named.insert(key);
            if let Err(problem) = self.hear_executor(now, run, status, effects) {
                let place = format!("subscribe.unacknowledged[{i}]");
                self.refuse_executor(now, run, problem.within(place), effects);
                return;
            }
        }
        self.compare_tasks(now, run, &named, &mut unknown, effects);
        self.end_unknown(session, unknown, effects);
        self.deliver(run, effects);
        self.repeat_shutdown(now, run, effects);
        self.end_untold(now, run, effects);
    }

    /// Too much waits for an executor. What it was not told it is told when it comes back; that it is to end cannot wait.
    pub(crate) fn on_executor_untold(
        &mut self,
        session: SessionId,
        event: &ExecutorEvent,
        effects: &mut Effects,
    ) {
        let mut executors = self.executors.iter_mut();
        let of_session = executors.find_map(|(run, executor)| {
            let own = executor.session.as_mut().filter(|it| it.id == session)?;
            own.is_overrun = true;
            Some((*run, executor))
        });
        if let Some((run, executor)) = of_session
            && matches!(event, ExecutorEvent::Shutdown { .. })
            && executor.phase == ExecutorPhase::Running
        {
            effects.push(Effect::SignalContainer {
                run,
                signal: Signal::Terminate,
                after: After::Seq(executor.seq),
            });
        }
    }

    pub(crate) fn on_executor_left(
        &mut self,
        now: Time,
        run: RunId,
        session: SessionId,
        effects: &mut Effects,
    ) {
        let executor = self.executors.get_mut(&run);
        let of_session =
            |executor: &&mut Executor| executor.session.is_some_and(|own| own.id == session);
        let Some(executor) = executor.filter(of_session) else {
            return;
        };
        executor.session = None;
        if let ExecutorPhase::Exited(message) = &executor.phase {
            let message = message.clone();
            self.executor_over(now, run, &message, effects);
        } else if executor.end.is_none() {
            self.await_executor(now, run, effects);
            self.record_executor(run, ExecutorState::Running, "its session ended", effects);
        }
    }

    /// An executor has bytes for its framework; without a leader they are gone.
    pub(crate) fn on_executor_message(
        &mut self,
        run: RunId,
        session: SessionId,
        data: Vec<u8>,
        effects: &mut Effects,
    ) {
        if self.is_session(run, session)
            && let Some(executor) = self.executors.get(&run)
        {
            let message = ToMaster::Message {
                framework: executor.framework.clone(),
                executor: executor.spec.id.clone(),
                data,
            };
            self.tell_master(message, After::Nothing, effects);
        }
    }

    /// A framework has bytes for its executor; without a session they are gone.
    pub(crate) fn on_framework_message(
        &self,
        framework: FrameworkId,
        id: ExecutorId,
        data: Vec<u8>,
        effects: &mut Effects,
    ) {
        let key = (framework, id);
        let run = self.live_executors.get(&key);
        let executor = run.and_then(|run| self.executors.get(run));
        let Some(session) = executor.and_then(|executor| executor.told_in()) else {
            self.ignore(&key.0, key.1.as_str(), effects);
            return;
        };
        effects.push(Effect::SendExecutor {
            session,
            event: ExecutorEvent::Message(data),
            after: After::Nothing,
        });
    }

    /// Whether this is the session that counts, and it has broken no rule.
    pub(crate) fn is_session(&self, run: RunId, session: SessionId) -> bool {
        let executor = self.executors.get(&run);
        let own = executor.and_then(|executor| executor.session);
        own.is_some_and(|own| own.id == session && !own.is_refused)
    }

    /// Ends a session that has broken a rule. The executor may come back: one that still reads what waits has its time for that
    /// from when it has left.
    pub(crate) fn refuse_executor(
        &mut self,
        now: Time,
        run: RunId,
        problem: Problem,
        effects: &mut Effects,
    ) {
        let executor = self.executors.get_mut(&run);
        let session = executor.and_then(|executor| executor.session.take());
        if let Some(session) = session {
            close(session.id, problem.clone(), effects);
        }
        effects.push(Effect::Record(Fact::ExecutorRefused { run, problem }));
        let Some(executor) = self.executors.get_mut(&run) else {
            return;
        };
        if let ExecutorPhase::Exited(message) = &executor.phase {
            let message = message.clone();
            return self.executor_over(now, run, &message, effects);
        }
        executor.session = session.filter(|session| session.is_overrun);
        match &mut executor.session {
            Some(session) => session.is_refused = true,
            None => self.await_executor(now, run, effects),
        }
    }

    /// Tells an executor to launch what is for it and it was not told yet. What was launched together is told together.
    pub(crate) fn deliver(&mut self, run: RunId, effects: &mut Effects) {
        let Some(executor) = self.executors.get(&run) else {
            return;
        };
        let (Some(session), None) = (executor.told_in(), &executor.end) else {
            return;
        };
        let mut launches: BTreeMap<(Incarnation, TaskId), Vec<RunId>> = BTreeMap::new();
        for task_run in &executor.tasks {
            if let Some(task) = self.tasks.get(task_run)
                && task.phase == Phase::Starting
                && !task.word.is_sent
            {
                let group = task.group.clone().map(|(id, launch)| (launch, id));
                let first = group.unwrap_or_else(|| (task.incarnation, task.spec.id.clone()));
                launches.entry(first).or_default().push(*task_run);
            }
        }
        launches.retain(|_, runs| self.has_volumes(runs, effects));
        if let Some(executor) = self.executors.get_mut(&run) {
            executor.was_told |= !launches.is_empty();
        }
        for runs in launches.into_values() {
            let mut tasks = Vec::with_capacity(runs.len());
            let mut seq = Default::default();
            for run in runs {
                if let Some(task) = self.tasks.get_mut(&run) {
                    task.word.is_sent = true;
                    seq = task.seq.max(seq);
                    tasks.push((task.incarnation, task.spec.clone()));
                }
            }
            tasks.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
            effects.push(Effect::SendExecutor {
                session,
                event: ExecutorEvent::Launch(tasks),
                after: After::Seq(seq),
            });
        }
    }

    /// Makes one what the executor says to run and what the agent believes. What the agent knows to run is taken out of
    /// `unknown`.
    fn compare_tasks(
        &mut self,
        now: Time,
        run: RunId,
        named: &BTreeSet<(TaskId, Incarnation)>,
        unknown: &mut BTreeSet<(TaskId, Incarnation)>,
        effects: &mut Effects,
    ) {
        let executor = self.executors.get(&run);
        let mut own: Vec<RunId> = executor
            .into_iter()
            .flat_map(|it| it.tasks.clone())
            .collect();
        // What is found to have ended may end others of its group, by whether they were told.
        own.sort_by_key(|run| {
            let task = self.tasks.get(run);
            task.is_some_and(|task| task.phase == Phase::Killing)
        });
        for task_run in own {
            let Some(task) = self.tasks.get_mut(&task_run) else {
                continue;
            };
            let key = (task.spec.id.clone(), task.incarnation);
            let is_live = !matches!(task.phase, Phase::Ended | Phase::Recording);
            if named.contains(&key) {
                task.word.is_sent = true;
                let is_killing = task.phase == Phase::Killing;
                if is_live {
                    unknown.remove(&key);
                }
                if is_killing {
                    self.stop_again(now, task_run, effects);
                }
            } else if is_live && task.word.taken > 0 {
                let (state, message) = (TaskState::Lost, "its executor no longer knows it");
                self.end(now, task_run, state, Reason::None, message, None, effects);
            } else if is_live && task.phase == Phase::Killing {
                let kill = task.kill.as_ref().map(|kill| kill.reason);
                let reason = kill.unwrap_or(Reason::KillRequested);
                let message = "ended before it was started";
                let state = TaskState::Killed;
                self.end(now, task_run, state, reason, message, None, effects);
            } else {
                task.word.is_sent = false;
            }
        }
    }

    /// Ends what an executor runs and the agent has given up.
    fn end_unknown(
        &self,
        session: SessionId,
        unknown: BTreeSet<(TaskId, Incarnation)>,
        effects: &mut Effects,
    ) {
        let mut executors = self.executors.values();
        let own = executors.find(|it| it.session.is_some_and(|own| own.id == session));
        // Of Mesos's API only what somebody has said is said.
        let is_of_mesos = own.is_some_and(|it| it.spec.api == ExecutorApi::MesosV1);
        let grace = (!is_of_mesos).then_some(KILL_GRACE_DEFAULT);
        for (task, incarnation) in unknown {
            let event = ExecutorEvent::Kill {
                task,
                incarnation,
                grace,
            };
            let after = After::Seq(self.seq);
            effects.push(Effect::SendExecutor {
                session,
                event,
                after,
            });
        }
    }

    /// One that was told to end before is told again, with what is left of its grace.
    fn repeat_shutdown(&self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(executor) = self.executors.get(&run) else {
            return;
        };
        if let (Some(session), Some(end)) = (executor.told_in(), &executor.end) {
            let left = end.deadline.map(|deadline| deadline.since(now));
            let grace = left.unwrap_or(end.grace);
            effects.push(Effect::SendExecutor {
                session,
                event: ExecutorEvent::Shutdown { grace },
                after: After::Seq(executor.seq),
            });
        }
    }

    /// Something was ordered about what is not there.
    pub(crate) fn ignore(&self, framework: &FrameworkId, name: &str, effects: &mut Effects) {
        effects.push(Effect::Record(Fact::OrderIgnored {
            framework: framework.clone(),
            name: name.to_owned(),
        }));
    }
}

fn close(session: SessionId, problem: Problem, effects: &mut Effects) {
    effects.push(Effect::SendExecutor {
        session,
        event: ExecutorEvent::Closed(problem),
        after: After::Nothing,
    });
    effects.push(Effect::CloseExecutor { session });
}
