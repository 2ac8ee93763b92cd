//! Executors of frameworks: how they are started, told to end, and what becomes of their tasks when they are gone.
//!
//! An executor is started by a supervisor like a task, in a run directory of its own, and is checkpointed before. It lives
//! from its first task until it exits or is told to end. What it said last of its tasks counts, so when its process has
//! ended while its session is open, that is heard to its end first.

use std::collections::BTreeSet;
use std::sync::Arc;

use proffer_model::executor::ExecutorEvent;
use proffer_model::link::{Payer, ToMaster};
use proffer_model::{ExecutorApi, ExecutorId, ExecutorSpec, FrameworkId, Reason, TaskState, Time};

use crate::core::Core;
use crate::effect::{After, Change, Effect, Effects, Entry, ExecutorState, Fact, Signal};
use crate::event::{RunId, Seq, SessionId, TimerKey};
use crate::limits::{EXECUTOR_LAST_WORDS_WAIT, KILL_RETRY_INTERVAL};
use crate::task::Kill;
use crate::tasks::Phase;

/// One start of an executor.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pub(crate) framework: FrameworkId,
    pub(crate) spec: Arc<ExecutorSpec>,
    pub(crate) payer: Option<Payer>,
    pub(crate) phase: ExecutorPhase,
    pub(crate) session: Option<Session>,
    /// Its tasks, also those that have ended and are not settled.
    pub(crate) tasks: BTreeSet<RunId>,
    pub(crate) pid: Option<u32>,
    /// It was told of a task, or may have been.
    pub(crate) was_told: bool,
    /// The wish to end it.
    pub(crate) end: Option<Kill>,
    /// Its last checkpoint.
    pub(crate) seq: Seq,
}

/// The session of an executor that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Too much waits for the executor: it is heard, and told nothing any more in this session.
    pub(crate) is_overrun: bool,
    /// It has broken a rule: it is not heard any more, and over when the executor has read what waits.
    pub(crate) is_refused: bool,
}

/// Where an executor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExecutorPhase {
    /// Its checkpoint is being written.
    Recording,
    /// Its process is being started.
    Starting,
    /// Its process runs.
    Running,
    /// Its process has ended, like this, but it may not have been heard to the end.
    Exited(String),
    /// It is no more.
    Ended,
}

impl Executor {
    /// The session in which it can be told something.
    pub(crate) fn told_in(&self) -> Option<SessionId> {
        let session = self.session.filter(|session| !session.is_overrun);
        session.map(|session| session.id)
    }
}

impl Core {
    /// The start of the executor that a new task is for; there is one now.
    pub(crate) fn executor_for(
        &mut self,
        framework: &FrameworkId,
        spec: &Arc<ExecutorSpec>,
        payer: Option<&Payer>,
        effects: &mut Effects,
    ) -> RunId {
        let key = (framework.clone(), spec.id.clone());
        if let Some(run) = self.live_executors.get(&key) {
            return *run;
        }
        let run = self.draw_run();
        let change = Change::Executor {
            run,
            framework: framework.clone(),
            spec: spec.clone(),
            payer: payer.cloned(),
        };
        let seq = self.persist(change, effects);
        let executor = Executor {
            framework: framework.clone(),
            spec: spec.clone(),
            payer: payer.cloned(),
            phase: ExecutorPhase::Recording,
            session: None,
            tasks: BTreeSet::new(),
            pid: None,
            was_told: false,
            end: None,
            seq,
        };
        self.insert_executor(run, executor);
        self.recording.push_back((seq, run));
        self.record_executor(run, ExecutorState::Starting, "", effects);
        let message = ToMaster::ExecutorChanged {
            framework: key.0,
            executor: key.1,
            is_ended: false,
            message: String::new(),
        };
        self.tell_master(message, After::Seq(seq), effects);
        run
    }

    pub(crate) fn insert_executor(&mut self, run: RunId, executor: Executor) {
        let key = (executor.framework.clone(), executor.spec.id.clone());
        self.used.add(&executor.spec.resources);
        self.loads.executor_came(&executor.spec);
        self.live_executors.insert(key, run);
        self.executors.insert(run, executor);
    }

    /// Its checkpoint is durable, or it was found never to have been started.
    pub(crate) fn start_executor(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let has_work = self.has_work(run);
        let Some(executor) = self.executors.get_mut(&run) else {
            return;
        };
        if executor.end.is_some() || !has_work {
            self.executor_over(now, run, "ended before it was started", effects);
            return;
        }
        executor.phase = ExecutorPhase::Starting;
        effects.push(Effect::StartExecutor {
            run,
            framework: executor.framework.clone(),
            spec: executor.spec.clone(),
            agent: self.identity.agent.clone(),
            role: executor.payer.as_ref().map(|payer| payer.role.clone()),
        });
    }

    pub(crate) fn on_executor_started(
        &mut self,
        now: Time,
        run: RunId,
        pid: u32,
        effects: &mut Effects,
    ) {
        let Some(executor) = self.executors.get_mut(&run) else {
            return;
        };
        executor.pid = Some(pid);
        executor.phase = ExecutorPhase::Running;
        if executor.end.is_some() {
            self.stop_executor(now, run, effects);
        } else if executor.session.is_none() {
            self.await_executor(now, run, effects);
            self.record_executor(run, ExecutorState::Running, "", effects);
        }
    }

    /// Its process was found by the next life of the agent. One that is to end was told so, or will be when it comes back: until
    /// its grace is over, nobody ends it for having no session.
    pub(crate) fn resume_executor(
        &mut self,
        now: Time,
        run: RunId,
        pid: u32,
        effects: &mut Effects,
    ) {
        let Some(executor) = self.executors.get_mut(&run) else {
            return;
        };
        let Some(end) = executor.end.as_mut() else {
            return self.on_executor_started(now, run, pid, effects);
        };
        let deadline = now.after(end.grace);
        end.deadline = Some(deadline);
        executor.pid = Some(pid);
        executor.phase = ExecutorPhase::Running;
        effects.push(Effect::SetTimer {
            key: TimerKey::Grace(run),
            at: deadline,
        });
    }

    /// Its process is gone, and nothing of it is left.
    pub(crate) fn on_executor_gone(
        &mut self,
        now: Time,
        run: RunId,
        message: &str,
        effects: &mut Effects,
    ) {
        let Some(executor) = self.executors.get_mut(&run) else {
            return;
        };
        executor.pid = None;
        if executor.session.is_none_or(|session| session.is_refused) {
            self.executor_over(now, run, message, effects);
        } else if executor.phase != ExecutorPhase::Ended {
            executor.phase = ExecutorPhase::Exited(message.to_owned());
            effects.push(Effect::SetTimer {
                key: TimerKey::Executor(run),
                at: now.after(EXECUTOR_LAST_WORDS_WAIT),
            });
        }
    }

    /// The leader wants an executor to end.
    pub(crate) fn on_shutdown_executor(
        &mut self,
        now: Time,
        framework: FrameworkId,
        id: ExecutorId,
        reason: Reason,
        effects: &mut Effects,
    ) {
        let key = (framework, id);
        match self.live_executors.get(&key) {
            Some(run) => {
                let run = *run;
                self.end_executor(now, run, self.reason_of_end(run, reason), effects);
            }
            None => self.ignore(&key.0, key.1.as_str(), effects),
        }
    }

    /// The tasks of an executor of Mesos's API that its framework ends FAIL with it: what was written for Mesos counts on that.
    fn reason_of_end(&self, run: RunId, reason: Reason) -> Reason {
        let executor = self.executors.get(&run);
        let is_of_mesos = executor.is_some_and(|it| it.spec.api == ExecutorApi::MesosV1);
        match reason {
            Reason::KillRequested if is_of_mesos => Reason::ExecutorEnded,
            reason => reason,
        }
    }

    /// Ends an executor, for this reason: the wish is kept first.
    pub(crate) fn end_executor(
        &mut self,
        now: Time,
        run: RunId,
        reason: Reason,
        effects: &mut Effects,
    ) {
        let Some(executor) = self.executors.get(&run) else {
            return;
        };
        if executor.end.is_some() || matches!(executor.phase, ExecutorPhase::Exited(_)) {
            return;
        }
        let grace = executor.spec.shutdown_grace;
        let entry = Entry::Kill { grace, reason };
        let seq = self.persist(Change::Entry { run, entry }, effects);
        let Some(executor) = self.executors.get_mut(&run) else {
            return;
        };
        executor.seq = seq;
        executor.end = Some(Kill {
            grace,
            reason,
            deadline: None,
            is_given: false,
            is_asked: true,
        });
        effects.push(Effect::CancelTimer(TimerKey::Executor(run)));
        self.record_executor(run, ExecutorState::Ending, &reason.to_string(), effects);
        let executor = self.executors.get(&run);
        if executor.is_some_and(|it| it.phase == ExecutorPhase::Running || it.told_in().is_some()) {
            self.stop_executor(now, run, effects);
        } else {
            let after = After::Seq(seq);
            effects.push(Effect::StopFetching { run, after });
        }
    }

    /// Whether a task of an executor has not ended.
    pub(crate) fn has_work(&self, run: RunId) -> bool {
        let executor = self.executors.get(&run);
        let mut tasks = executor.into_iter().flat_map(|it| &it.tasks);
        tasks.any(|task| {
            let task = self.tasks.get(task);
            task.is_some_and(|task| task.phase != Phase::Ended)
        })
    }

    /// Ends an executor of Mesos's API that has come and has nothing to do, since all that it was started for has ended before it
    /// was told. As in Mesos: most end when their tasks have, and such a one would wait for them for ever.
    pub(crate) fn end_untold(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let executor = self.executors.get(&run);
        let is_untold = executor.is_some_and(|it| {
            it.spec.api == ExecutorApi::MesosV1 && it.session.is_some() && !it.was_told
        });
        if is_untold && !self.has_work(run) {
            self.end_executor(now, run, Reason::KillRequested, effects);
        }
    }

    /// Tells an executor that is to end so, and begins its grace. One that cannot be told is signalled.
    fn stop_executor(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(executor) = self.executors.get_mut(&run) else {
            return;
        };
        let Some(end) = executor.end.as_mut() else {
            return;
        };
        let deadline = now.after(end.grace);
        end.deadline = Some(deadline);
        let (grace, after) = (end.grace, After::Seq(executor.seq));
        effects.push(match executor.told_in() {
            Some(session) => Effect::SendExecutor {
                session,
                event: ExecutorEvent::Shutdown { grace },
                after,
            },
            None => Effect::SignalContainer {
                run,
                signal: Signal::Terminate,
                after,
            },
        });
        effects.push(Effect::SetTimer {
            key: TimerKey::Grace(run),
            at: deadline,
        });
    }

    /// An executor that was told to end has not: SIGKILL, and again until it is gone.
    pub(crate) fn on_executor_grace_over(&self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(executor) = self.executors.get(&run) else {
            return;
        };
        if executor.pid.is_none() {
            return;
        }
        effects.push(Effect::SignalContainer {
            run,
            signal: Signal::Kill,
            after: After::Seq(executor.seq),
        });
        effects.push(Effect::SetTimer {
            key: TimerKey::Grace(run),
            at: now.after(KILL_RETRY_INTERVAL),
        });
    }

    /// It has a time to subscribe in.
    pub(crate) fn await_executor(&self, now: Time, run: RunId, effects: &mut Effects) {
        effects.push(Effect::SetTimer {
            key: TimerKey::Executor(run),
            at: now.after(self.settings.executor_wait),
        });
    }

    /// It has not subscribed in its time, or is not heard of any more.
    pub(crate) fn on_executor_timer(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(executor) = self.executors.get(&run) else {
            return;
        };
        match &executor.phase {
            ExecutorPhase::Exited(message) => {
                let message = message.clone();
                self.executor_over(now, run, &message, effects);
            }
            ExecutorPhase::Running if executor.session.is_none() => {
                self.end_executor(now, run, Reason::ExecutorEnded, effects);
            }
            ExecutorPhase::Recording
            | ExecutorPhase::Starting
            | ExecutorPhase::Running
            | ExecutorPhase::Ended => {}
        }
    }

    /// Says of an executor that it is no more, and of its tasks what has become of them.
    pub(crate) fn executor_over(
        &mut self,
        now: Time,
        run: RunId,
        message: &str,
        effects: &mut Effects,
    ) {
        let Some(executor) = self.executors.get_mut(&run) else {
            return;
        };
        if std::mem::replace(&mut executor.phase, ExecutorPhase::Ended) == ExecutorPhase::Ended {
            return;
        }
        executor.pid = None;
        let key = (executor.framework.clone(), executor.spec.id.clone());
        let session = executor.session.take();
        effects.extend(session.map(|it| Effect::CloseExecutor { session: it.id }));
        effects.push(Effect::LeaveExecutor { run });
        effects.push(Effect::CancelTimer(TimerKey::Executor(run)));
        effects.push(Effect::CancelTimer(TimerKey::Grace(run)));
        let held = executor.spec.clone();
        let told = executor.end.as_ref().map(|end| end.reason);
        let tasks: Vec<RunId> = executor.tasks.iter().copied().collect();
        self.used.subtract(&held.resources);
        self.loads.executor_went(&held);
        if self.live_executors.get(&key) == Some(&run) {
            self.live_executors.remove(&key);
        }
        for task in tasks {
            self.end_with_executor(now, task, told, message, effects);
        }
        self.record_executor(run, ExecutorState::Ended, message, effects);
        let word = ToMaster::ExecutorChanged {
            framework: key.0,
            executor: key.1,
            is_ended: true,
            message: message.to_owned(),
        };
        self.tell_master(word, After::Seq(self.seq), effects);
        self.discard_executor(now, run, effects);
    }

    /// An executor of Mesos's API could not be started: its tasks say so, as in Mesos, and not that it has ended. Those that were
    /// to end do as with any other.
    pub(crate) fn fail_launches(
        &mut self,
        now: Time,
        run: RunId,
        reason: Reason,
        message: &str,
        effects: &mut Effects,
    ) {
        let executor = self.executors.get(&run).filter(|it| {
            let is_started = it.pid.is_some() || it.session.is_some();
            it.spec.api == ExecutorApi::MesosV1 && it.end.is_none() && !is_started
        });
        let tasks = executor.map(|it| it.tasks.clone()).unwrap_or_default();
        let message = format!("Failed to launch container: {message}");
        // Each fails by itself, also those of a group.
        let was_ending = std::mem::replace(&mut self.is_group_ending, true);
        for task in tasks {
            let live = self.tasks.get(&task);
            if live.is_some_and(|it| it.phase != Phase::Ended && it.kill.is_none()) {
                self.end(
                    now,
                    task,
                    TaskState::Failed,
                    reason,
                    &message,
                    None,
                    effects,
                );
            }
        }
        self.is_group_ending = was_ending;
    }

    /// A task whose executor is no more, and has not said what became of it. `told` is why the executor was told to end.
    pub(crate) fn end_with_executor(
        &mut self,
        now: Time,
        run: RunId,
        told: Option<Reason>,
        message: &str,
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get(&run) else {
            return;
        };
        if task.phase == Phase::Ended {
            return;
        }
        let wish = task.kill.as_ref().map(|kill| kill.reason).or(told);
        let (state, reason) = match wish {
            None | Some(Reason::ExecutorEnded) => (TaskState::Failed, Reason::ExecutorEnded),
            Some(reason) => (TaskState::Killed, reason),
        };
        let message = format!("its executor is no more: {message}");
        self.end(now, run, state, reason, &message, None, effects);
    }

    pub(crate) fn record_executor(
        &self,
        run: RunId,
        state: ExecutorState,
        message: &str,
        effects: &mut Effects,
    ) {
        if let Some(executor) = self.executors.get(&run) {
            effects.push(Effect::Record(Fact::Executor {
                run,
                framework: executor.framework.clone(),
                executor: executor.spec.id.clone(),
                state,
                message: message.to_owned(),
            }));
        }
    }
}
