//! Ending tasks: who may ask, what is kept before anything is signalled, and when SIGKILL follows.
//!
//! The wish is durable before the first signal, so an agent that restarts goes on killing. A second wish can only make
//! the grace shorter. SIGKILL is repeated until the container is gone. What an executor ends by itself may still be asked to end.
//!
//! Executors of Mesos's API are told as Mesos's agents tell them: once for each wish, again when they subscribe, and how long a
//! task is to have only where somebody has said so: that would override what the task itself says. Only an agent that is drained
//! ends one that does not end what it is to end.

use std::time::Duration;

use proffer_model::executor::ExecutorEvent;
use proffer_model::{ExecutorApi, FrameworkId, Incarnation, Reason, TaskId, TaskState, Time};

use crate::core::Core;
use crate::effect::{After, Change, Effect, Effects, Entry, Fact, Signal};
use crate::event::{RunId, TimerKey};
use crate::limits::KILL_RETRY_INTERVAL;
use crate::task::{Kill, Task};
use crate::tasks::{Input, Phase, Step, step};

/// A kill as the leader sends it.
pub(crate) struct KillOrder {
    pub(crate) framework: FrameworkId,
    pub(crate) task: TaskId,
    pub(crate) incarnation: Incarnation,
    pub(crate) grace: Option<Duration>,
    pub(crate) reason: Reason,
}

impl Core {
    pub(crate) fn on_kill(&mut self, now: Time, order: KillOrder, effects: &mut Effects) {
        let run = self.run_of(&order.framework, &order.task, order.incarnation);
        let live = run.and_then(|run| {
            let task = self.tasks.get(&run)?;
            (task.phase != Phase::Ended).then_some((run, task.spec.kill_grace))
        });
        let Some((run, default)) = live else {
            // Its last status is on its way, or has been acknowledged: there is nothing to add.
            effects.push(Effect::Record(Fact::KillIgnored {
                framework: order.framework,
                task: order.task,
                incarnation: order.incarnation,
            }));
            return;
        };
        let grace = (order.grace.unwrap_or(default), order.grace.is_some());
        self.ask(now, run, grace, order.reason, "", effects);
    }

    /// Ends a run, for this reason; `message` says more, for people.
    pub(crate) fn ask_kill(
        &mut self,
        now: Time,
        run: RunId,
        grace: Duration,
        reason: Reason,
        message: &str,
        effects: &mut Effects,
    ) {
        self.ask(now, run, (grace, false), reason, message, effects);
    }

    /// The same, with whether whoever asks has said how long the run is to have.
    fn ask(
        &mut self,
        now: Time,
        run: RunId,
        (grace, is_given): (Duration, bool),
        reason: Reason,
        message: &str,
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        // Its executor has not heard of it, and will not.
        let is_unsent =
            task.executor.is_some() && task.phase == Phase::Starting && !task.word.is_sent;
        let step = match task.phase {
            _ if is_unsent => Step::Killed,
            Phase::Killing if task.is_unasked() => Step::Stop,
            phase => step(phase, Input::KillAsked),
        };
        match step {
            Step::Killed => {
                let message = "ended before it was started";
                let executor = task.executor;
                self.end(now, run, TaskState::Killed, reason, message, None, effects);
                if let Some(executor) = executor {
                    self.end_untold(now, executor, effects);
                }
            }
            Step::Mark | Step::Stop => {
                task.phase = Phase::Killing;
                task.kill = Some(Kill {
                    grace,
                    reason,
                    deadline: None,
                    is_given,
                    is_asked: true,
                });
                let has_executor = task.executor.is_some();
                self.keep_kill(run, grace, reason, effects);
                self.report(now, run, TaskState::Killing, reason, message, None, effects);
                self.end_checks(run, effects);
                if step == Step::Stop || has_executor {
                    self.stop(now, run, effects);
                } else {
                    self.abandon(run, effects);
                }
            }
            Step::Hasten if self.is_of_mesos(run) => {
                self.ask_again(now, run, (grace, is_given), reason, effects);
            }
            Step::Hasten => self.hasten(now, run, grace, effects),
            Step::Ignore
            | Step::Start
            | Step::Run
            | Step::Resume
            | Step::StopNow
            | Step::Destroy
            | Step::Finish
            | Step::Fail
            | Step::RunThenFinish
            | Step::RunThenFail
            | Step::FailLaunch
            | Step::LoseSupervisor
            | Step::LoseHost => {}
        }
    }

    /// A run that is to end needs nothing any more that is on its way to its sandbox, once the wish is durable.
    fn abandon(&self, run: RunId, effects: &mut Effects) {
        if let Some(task) = self.tasks.get(&run) {
            effects.push(Effect::StopFetching {
                run,
                after: After::Seq(task.seq),
            });
        }
    }

    /// Signals a run that is to end, once the wish is durable, and begins its grace.
    pub(crate) fn stop(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let Some(kill) = task.kill.as_mut() else {
            return;
        };
        let mut deadline = now.after(kill.grace);
        // However often a framework asks, an agent that is to be empty is not later so.
        if let Some(before) = kill
            .deadline
            .filter(|_| kill.reason == Reason::AgentDrained)
        {
            deadline = deadline.min(before);
        }
        kill.deadline = Some(deadline);
        if task.executor.is_some() {
            self.repeat_kill(now, run, effects);
        } else {
            effects.push(Effect::SignalContainer {
                run,
                signal: Signal::Terminate,
                after: After::Seq(task.seq),
            });
        }
        effects.push(Effect::SetTimer {
            key: TimerKey::Grace(run),
            at: deadline,
        });
    }

    /// Whether a run is a task of an executor of Mesos's API.
    fn is_of_mesos(&self, run: RunId) -> bool {
        let task = self.tasks.get(&run);
        let executor = task.and_then(|task| self.executors.get(&task.executor?));
        executor.is_some_and(|executor| executor.spec.api == ExecutorApi::MesosV1)
    }

    /// A further wish to end a task of such an executor, which hears each of them: what was said last counts.
    fn ask_again(
        &mut self,
        now: Time,
        run: RunId,
        (grace, is_given): (Duration, bool),
        reason: Reason,
        effects: &mut Effects,
    ) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let Some(kill) = task.kill.as_mut() else {
            return;
        };
        let before = (kill.grace, kill.reason);
        (kill.grace, kill.is_given) = (grace, is_given);
        // An agent that is to be empty still is.
        if kill.reason != Reason::AgentDrained {
            kill.reason = reason;
        }
        let reason = kill.reason;
        if before != (grace, reason) {
            self.keep_kill(run, grace, reason, effects);
        }
        self.stop(now, run, effects);
    }

    fn hasten(&mut self, now: Time, run: RunId, grace: Duration, effects: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&run) else {
            return;
        };
        let Some(kill) = task.kill.as_mut() else {
            return;
        };
        let deadline = now.after(grace);
        let is_sooner = match kill.deadline {
            Some(old) => deadline.mono_ns < old.mono_ns,
            None => grace < kill.grace,
        };
        if !is_sooner {
            return;
        }
        kill.grace = grace;
        let reason = kill.reason;
        if kill.deadline.is_some() {
            kill.deadline = Some(deadline);
            effects.push(Effect::SetTimer {
                key: TimerKey::Grace(run),
                at: deadline,
            });
        }
        self.keep_kill(run, grace, reason, effects);
        self.repeat_kill(now, run, effects);
    }

    /// An executor has come back that has a task that is to end: it is told again, unless it ends it by itself.
    pub(crate) fn stop_again(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let asked = self.tasks.get(&run).filter(|task| !task.is_unasked());
        let Some(task) = asked else {
            return;
        };
        let kill = task.kill.as_ref();
        match kill.and_then(|kill| kill.deadline) {
            Some(_) => self.repeat_kill(now, run, effects),
            None => self.stop(now, run, effects),
        }
    }

    /// Tells the executor of a task, if it has one with a session, that the task is to end, with what is left of its grace.
    pub(crate) fn repeat_kill(&self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(task) = self.tasks.get(&run) else {
            return;
        };
        let executor = task.executor.and_then(|run| self.executors.get(&run));
        let session = executor.and_then(|executor| executor.told_in());
        if let (Some(session), Some(kill)) = (session, &task.kill) {
            let left = kill.deadline.map(|deadline| deadline.since(now));
            let grace = match self.is_of_mesos(run) {
                true => kill.is_given.then_some(kill.grace),
                false => Some(left.unwrap_or(kill.grace)),
            };
            effects.push(Effect::SendExecutor {
                session,
                event: ExecutorEvent::Kill {
                    task: task.spec.id.clone(),
                    incarnation: task.incarnation,
                    grace,
                },
                after: After::Seq(task.seq),
            });
        }
    }

    pub(crate) fn on_grace_over(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let Some(task) = self.tasks.get(&run) else {
            return self.on_executor_grace_over(now, run, effects);
        };
        if self.is_of_mesos(run) {
            return self.end_drained(now, run, effects);
        }
        if task.executor.is_some() && task.phase == Phase::Killing {
            // What it makes of it is its executor's; it is reminded.
            self.repeat_kill(now, run, effects);
            effects.push(Effect::SetTimer {
                key: TimerKey::Grace(run),
                at: now.after(KILL_RETRY_INTERVAL),
            });
        }
        // A task that has ended has no kill to carry on, unless its container was found where none should be.
        if task.pid.is_none() {
            return;
        }
        effects.push(Effect::SignalContainer {
            run,
            signal: Signal::Kill,
            after: After::Seq(task.seq),
        });
        effects.push(Effect::SetTimer {
            key: TimerKey::Grace(run),
            at: now.after(KILL_RETRY_INTERVAL),
        });
    }

    /// The grace of a task is over that its executor, of Mesos's API, was to end. Mesos leaves it at that; but an agent that is
    /// drained is to be empty in the end: when that was told of all tasks that the executor has, it is ended itself.
    fn end_drained(&mut self, now: Time, run: RunId, effects: &mut Effects) {
        let executor = self.tasks.get(&run).and_then(|task| task.executor);
        let Some(executor) = executor else { return };
        let own = self.tasks.values();
        let mut own = own.filter(|task| task.executor == Some(executor));
        let is_over = |task: &Task| {
            let kill = task.kill.as_ref();
            let kill = kill.filter(|kill| kill.is_asked && kill.reason == Reason::AgentDrained);
            let deadline = kill.and_then(|kill| kill.deadline);
            deadline.is_some_and(|deadline| deadline.mono_ns <= now.mono_ns)
        };
        if own.all(|task| task.phase == Phase::Ended || is_over(task)) {
            self.end_executor(now, executor, Reason::AgentDrained, effects);
        }
    }

    fn keep_kill(&mut self, run: RunId, grace: Duration, reason: Reason, effects: &mut Effects) {
        let entry = Entry::Kill { grace, reason };
        let seq = self.persist(Change::Entry { run, entry }, effects);
        if let Some(task) = self.tasks.get_mut(&run) {
            task.seq = seq;
        }
    }
}
